/* SPDX-License-Identifier: MIT */
#include "pieced.h"

#include "show.h"

#include <pare/ext/profile.h>
#include <string.h>

struct instance {
    const pare_host *host;
    const struct pieced_library *library;
};

struct lane {
    char *arena;
    char *images; /* a piece that is not full, or that the library would read past */
    char *output; /* of a piece that is not full */
    int status;   /* of its last run */
};

struct executable {
    const pare_host *host;
    const struct pieced_library *library;
    struct pieced_maker maker;
    struct lower_plan *plan; /* for one piece; its weights are dropped */
    int32_t max_batch;
    struct lane *lanes;          /* (maker.n_lanes) */
    int64_t in_elems, out_elems; /* of a sample */
    pare_executable_info info;
    pare_kernel_info *kernel_infos;       /* (n_steps) */
    const pare_kernel_info **kernel_list; /* (n_steps) */
};

void *pieced_alloc(const pare_host *host, int64_t n, size_t size) {
    if (n < 0 || (uint64_t)n > SIZE_MAX / 2 / size) {
        return NULL;
    }
    const size_t bytes = (size_t)n * size;
    void *ptr = host->alloc(host, bytes > 0 ? bytes : 1);
    if (ptr != NULL) {
        memset(ptr, 0, bytes);
    }
    return ptr;
}

/* ---- instances ---- */

pare_status pieced_create(const pare_host *host, const struct pieced_library *library,
                          void **instance) {
    struct instance *self = pieced_alloc(host, 1, sizeof *self);
    if (self == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an instance");
    }
    *self = (struct instance){host, library};
    *instance = self;
    return PARE_OK;
}

void pieced_destroy(void *instance) {
    if (instance != NULL) {
        const pare_host *host = ((struct instance *)instance)->host;
        host->free(host, instance);
    }
}

pare_status pieced_supports(void *instance, const pare_graph *graph, int32_t node) {
    const struct instance *self = instance;
    pare_status status = lower_check_node(self->host, graph, node);
    return status == PARE_OK ? self->library->supports(self->host, graph, node) : status;
}

/* ---- compiling ---- */

void pieced_executable_destroy(void *executable) {
    struct executable *exe = executable;
    if (exe == NULL) {
        return;
    }
    const pare_host *host = exe->host;
    exe->library->close(host, exe->maker.context);
    for (int32_t l = 0; exe->lanes != NULL && l < exe->maker.n_lanes; l++) {
        host->free(host, exe->lanes[l].arena);
        host->free(host, exe->lanes[l].images);
        host->free(host, exe->lanes[l].output);
    }
    host->free(host, exe->lanes);
    host->free(host, exe->kernel_infos);
    host->free(host, exe->kernel_list);
    lower_destroy(host, exe->plan);
    host->free(host, exe);
}

static int allocate(struct executable *exe) {
    const pare_host *host = exe->host;
    const int64_t n = exe->plan->max_batch, extra = exe->library->extra_bytes;
    const int64_t image_bytes = n * exe->in_elems * (int64_t)sizeof(float) + extra;
    const int64_t output_bytes = n * exe->out_elems * (int64_t)sizeof(float) + extra;
    const int64_t arena_bytes = exe->plan->arena_bytes + extra;
    const int32_t n_lanes = exe->maker.n_lanes;
    exe->kernel_infos = pieced_alloc(host, exe->plan->n_steps, sizeof *exe->kernel_infos);
    exe->kernel_list = pieced_alloc(host, exe->plan->n_steps, sizeof *exe->kernel_list);
    exe->lanes = pieced_alloc(host, n_lanes, sizeof *exe->lanes);
    int is_made = exe->kernel_infos != NULL && exe->kernel_list != NULL && exe->lanes != NULL;
    for (int32_t l = 0; is_made && l < n_lanes; l++) {
        struct lane *lane = &exe->lanes[l];
        lane->arena = pieced_alloc(host, arena_bytes, 1);
        lane->images = pieced_alloc(host, image_bytes, 1);
        lane->output = pieced_alloc(host, output_bytes, 1);
        is_made = lane->arena != NULL && lane->images != NULL && lane->output != NULL;
    }
    exe->info.bytes_activations = n_lanes * (arena_bytes + image_bytes + output_bytes);
    return is_made;
}

static pare_status prepare_steps(struct executable *exe, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t s = 0; status == PARE_OK && s < exe->plan->n_steps; s++) {
        const struct lower_step *low = &exe->plan->steps[s];
        const int64_t before = exe->maker.bytes_resident;
        const char *kernel = "";
        status = exe->library->prepare(&exe->maker, s, graph->nodes[low->node]->name, &kernel);
        exe->kernel_infos[s] = (pare_kernel_info){
            .struct_size = sizeof(pare_kernel_info),
            .node = low->node,
            .kernel = kernel,
            .is_integer = low->arith != LOWER_F32,
            .macs = low->macs,
            .weight_bytes = exe->maker.bytes_resident - before,
        };
        exe->kernel_list[s] = &exe->kernel_infos[s];
    }
    return status;
}

static int32_t n_lanes_for(const pare_host *host, int32_t n_pieces) {
    const int32_t n_threads = host->n_threads(host);
    return n_threads < 1 ? 1 : n_threads < n_pieces ? n_threads : n_pieces;
}

static pare_status build(struct executable *exe, const pare_graph *graph) {
    const struct pieced_library *library = exe->library;
    const int32_t *d = graph->input_dims;
    const int32_t piece =
        exe->max_batch < library->most_samples ? exe->max_batch : library->most_samples;
    pare_status status = lower_graph(exe->host, graph, piece, &exe->plan);
    if (status == PARE_OK) {
        status = library->accepts(exe->host, exe->plan, graph);
    }
    if (status != PARE_OK) {
        return status;
    }
    exe->in_elems = (int64_t)d[0] * d[1] * d[2];
    exe->out_elems = graph->n_classes;
    exe->maker.host = exe->host;
    exe->maker.plan = exe->plan;
    exe->maker.n_lanes = n_lanes_for(exe->host, (exe->max_batch - 1) / piece + 1);
    if (!allocate(exe)) {
        return exe->host->fail(exe->host, PARE_E_NOMEM,
                               "out of memory for %lld bytes of activations",
                               (long long)exe->info.bytes_activations);
    }
    status = library->open(&exe->maker);
    if (status == PARE_OK) {
        status = prepare_steps(exe, graph);
    }
    lower_drop_weights(exe->host, exe->plan);
    return status;
}

pare_status pieced_compile(void *instance, const pare_graph *graph,
                           const pare_compile_options *options, void **executable) {
    const struct instance *self = instance;
    const struct pieced_library *library = self->library;
    const pare_host *host = self->host;
    if (options->isa != NULL && strcmp(options->isa, library->isa()) != 0) {
        return host->fail(host, PARE_E_UNSUPPORTED, "isa is \"%s\", %s takes \"%s\" here; %s",
                          options->isa, library->name, library->isa(), library->isa_advice);
    }
    struct executable *exe = pieced_alloc(host, 1, sizeof *exe);
    if (exe == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    exe->host = host;
    exe->library = library;
    exe->max_batch = options->max_batch;
    pare_status status = build(exe, graph);
    if (status != PARE_OK) {
        pieced_executable_destroy(exe);
        return status;
    }
    exe->info.struct_size = sizeof(pare_executable_info);
    exe->info.isa = library->isa();
    exe->info.execution = library->execution(exe->plan);
    exe->info.bytes_resident = exe->maker.bytes_resident;
    exe->info.bytes_activations += exe->maker.bytes_scratch;
    exe->info.n_kernels = exe->plan->n_steps;
    exe->info.kernels = exe->kernel_list;
    *executable = exe;
    return PARE_OK;
}

pare_status pieced_executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

/* ---- running ---- */

struct call {
    const struct executable *exe;
    const float *images;
    float *output;
    int32_t n, n_pieces;
    pare_kernel_done done; /* after each step, NULL: nobody is told */
    void *context;
};

static struct call call_of(const struct executable *exe, const float *images, int32_t n,
                           float *output) {
    return (struct call){
        .exe = exe,
        .images = images,
        .output = output,
        .n = n,
        .n_pieces = (n - 1) / exe->plan->max_batch + 1,
    };
}

static int32_t n_samples_of(const struct call *call, int32_t piece) {
    const int32_t size = call->exe->plan->max_batch;
    const int32_t left = call->n - piece * size;
    return left < size ? left : size;
}

static const char *images_of(const struct call *call, int32_t piece, struct lane *lane) {
    const struct executable *exe = call->exe;
    const int32_t n = n_samples_of(call, piece);
    const float *images = call->images + (int64_t)piece * exe->plan->max_batch * exe->in_elems;
    if (n == exe->plan->max_batch && exe->library->extra_bytes == 0) {
        return (const char *)images;
    }
    memcpy(lane->images, images, (size_t)(n * exe->in_elems) * sizeof *images);
    return lane->images;
}

static float *output_of(const struct call *call, int32_t piece) {
    return call->output + (int64_t)piece * call->exe->plan->max_batch * call->exe->out_elems;
}

/* Where value `v` of a piece is while it is computed. */
static char *value_at(const struct executable *exe, const struct lane *lane, const char *images,
                      char *output, int32_t v) {
    const struct lower_value *value = &exe->plan->values[v];
    switch (value->place) {
    case LOWER_IMAGES:
        return (char *)(uintptr_t)images;
    case LOWER_OUTPUT:
        return output;
    case LOWER_ARENA:
        break;
    }
    return lane->arena + value->offset_bytes;
}

static int run_step(const struct executable *exe, int32_t l, const char *images, char *output,
                    int32_t index) {
    const struct lower_step *low = &exe->plan->steps[index];
    const struct lane *lane = &exe->lanes[l];
    const void *x[PARE_MAX_INPUTS] = {NULL, NULL};
    for (int32_t k = 0; k < low->n_inputs; k++) {
        x[k] = value_at(exe, lane, images, output, low->in[k]);
    }
    return exe->library->run(exe->maker.context, l, index, x,
                             value_at(exe, lane, images, output, low->out));
}

static int run_piece(const struct call *call, int32_t l, int32_t piece) {
    const struct executable *exe = call->exe;
    struct lane *lane = &exe->lanes[l];
    const int32_t n = n_samples_of(call, piece);
    const int is_full = n == exe->plan->max_batch;
    const char *images = images_of(call, piece, lane);
    float *output = is_full ? output_of(call, piece) : (float *)(void *)lane->output;
    int status = 0;
    for (int32_t s = 0; status == 0 && s < exe->plan->n_steps; s++) {
        status = run_step(exe, l, images, (char *)output, s);
        if (call->done != NULL) {
            call->done(call->context, s);
        }
    }
    if (!is_full) {
        memcpy(output_of(call, piece), output, (size_t)(n * exe->out_elems) * sizeof *output);
    }
    return status;
}

static void run_lane(void *arg, int64_t index) {
    const struct call *call = arg;
    const struct executable *exe = call->exe;
    const int32_t l = (int32_t)index;
    int status = 0;
    if (exe->library->enter != NULL) {
        exe->library->enter();
    }
    for (int32_t p = l; status == 0 && p < call->n_pieces; p += exe->maker.n_lanes) {
        status = run_piece(call, l, p);
    }
    exe->lanes[l].status = status;
}

static int all_finite(const float *x, int64_t n) {
    int bad = 0;
    for (int64_t k = 0; k < n; k++) {
        bad |= !(x[k] - x[k] == 0.0f);
    }
    return !bad;
}

static pare_status check_images(const struct executable *exe, const float *images, int32_t n) {
    if (n < 1 || n > exe->max_batch) {
        return exe->host->fail(exe->host, PARE_E_RANGE, "batch is %d, compiled for 1..%d", n,
                               exe->max_batch);
    }
    for (int32_t i = 0; i < n; i++) {
        if (!all_finite(images + i * exe->in_elems, exe->in_elems)) {
            return exe->host->fail(exe->host, PARE_E_NUMERIC,
                                   "image %d of the batch holds a value that is not finite", i);
        }
    }
    return PARE_OK;
}

static pare_status failed(const struct executable *exe, int status) {
    return exe->host->fail(exe->host, PARE_E_PLUGIN, "%s failed with status %d", exe->library->name,
                           status);
}

pare_status pieced_run(void *executable, const float *images, int32_t n, float *output) {
    const struct executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    if (status != PARE_OK) {
        return status;
    }
    struct call call = call_of(exe, images, n, output);
    const int32_t n_lanes = exe->maker.n_lanes < call.n_pieces ? exe->maker.n_lanes : call.n_pieces;
    if (n_lanes == 1) {
        run_lane(&call, 0);
    } else {
        exe->host->parallel_for(exe->host, exe->maker.n_lanes, run_lane, &call);
    }
    for (int32_t l = 0; l < n_lanes; l++) {
        if (exe->lanes[l].status != 0) {
            return failed(exe, exe->lanes[l].status);
        }
    }
    return PARE_OK;
}

/* ---- observing ---- */

/* One piece, on the first lane: each value is gathered before a later one takes its place. */
static pare_status show_piece(const struct call *call, int32_t piece, struct show *show) {
    const struct executable *exe = call->exe;
    const struct lower_plan *plan = exe->plan;
    struct lane *lane = &exe->lanes[0];
    const char *images = images_of(call, piece, lane);
    const int64_t first = (int64_t)piece * plan->max_batch;
    const int64_t n = n_samples_of(call, piece);
    pare_status status =
        show_gather(show, 0, first * exe->in_elems, n * exe->in_elems, images); /* value 0 */
    for (int32_t s = 0; status == PARE_OK && s < plan->n_steps; s++) {
        const int32_t v = plan->steps[s].out;
        const int64_t n_elems = plan->values[v].n_elems;
        const int failure = run_step(exe, 0, images, lane->output, s);
        status = failure != 0 ? failed(exe, failure)
                              : show_gather(show, v, first * n_elems, n * n_elems,
                                            value_at(exe, lane, images, lane->output, v));
    }
    return status;
}

static pare_status observe_run(void *executable, const float *images, int32_t n, float *output,
                               pare_observer observer, void *context) {
    const struct executable *exe = executable;
    struct show show;
    pare_status status = pieced_run(executable, images, n, output);
    if (status == PARE_OK) {
        status = show_begin(&show, exe->host, exe->plan, n, 0);
    }
    if (status != PARE_OK) {
        return status;
    }
    struct call call = call_of(exe, images, n, output);
    if (exe->library->enter != NULL) {
        exe->library->enter();
    }
    for (int32_t p = 0; status == PARE_OK && p < call.n_pieces; p++) {
        status = show_piece(&call, p, &show);
    }
    if (status == PARE_OK) {
        status = show_hand_over(&show, 0, observer, context);
    }
    for (int32_t s = 0; status == PARE_OK && s < exe->plan->n_steps; s++) {
        status = show_hand_over(&show, exe->plan->steps[s].out, observer, context);
    }
    show_end(&show);
    return status;
}

/* All pieces on the first lane, one after the other. */
static pare_status profile_run(void *executable, const float *images, int32_t n, float *output,
                               pare_kernel_done done, void *context) {
    const struct executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    done(context, -1);
    if (status != PARE_OK) {
        return status;
    }
    struct call call = call_of(exe, images, n, output);
    call.done = done;
    call.context = context;
    if (exe->library->enter != NULL) {
        exe->library->enter();
    }
    int failure = 0;
    for (int32_t p = 0; failure == 0 && p < call.n_pieces; p++) {
        failure = run_piece(&call, 0, p);
    }
    return failure != 0 ? failed(exe, failure) : PARE_OK;
}

const void *pieced_get_extension(const char *id) {
    static const pare_backend_observe observe = {
        .struct_size = sizeof(pare_backend_observe),
        .run = observe_run,
    };
    static const pare_backend_profile profile = {
        .struct_size = sizeof(pare_backend_profile),
        .run = profile_run,
    };
    if (strcmp(id, PARE_BACKEND_PROFILE) == 0) {
        return &profile;
    }
    return strcmp(id, PARE_BACKEND_OBSERVE) == 0 ? &observe : NULL;
}
