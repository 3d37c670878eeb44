/* SPDX-License-Identifier: MIT */
#include "onednn.h"

#include <pare/ext/observe.h>
#include <string.h>

/* What one step is given on one piece. */
struct binding {
    dnnl_memory_t in[2], out, scratch;
};

struct piece {
    char *arena;
    char *scratch;
    dnnl_stream_t stream;
    struct binding *bindings; /* (n_steps) */
    dnnl_status_t status;     /* of its last run */
};

struct executable {
    const pare_host *host;
    dnnl_engine_t engine;
    struct lower_plan *plan; /* for one piece; its weights are dropped */
    int32_t max_batch, n_pieces, n_steps;
    struct onednn_step *steps; /* (n_steps) */
    struct piece *pieces;      /* (n_pieces) */
    float *stage_in;           /* a piece of images, for the one that is not full */
    float *stage_out;
    int64_t in_elems, out_elems; /* of a sample */
    pare_executable_info info;
    pare_kernel_info *kernel_infos;       /* (n_steps) */
    const pare_kernel_info **kernel_list; /* (n_steps) */
};

/* ---- instances ---- */

const char *onednn_isa(void) {
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
        return "sse41";
    case dnnl_cpu_isa_avx:
        return "avx";
    case dnnl_cpu_isa_avx2:
        return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
        return "avx-vnni";
    case dnnl_cpu_isa_avx512_core:
        return "avx512";
    case dnnl_cpu_isa_avx512_core_vnni:
        return "avx512-vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
        return "avx512-bf16";
    case dnnl_cpu_isa_avx512_core_amx:
        return "avx512-amx";
    default:
        return "generic";
    }
}

/* As ref's, the least that is usable: "auto" finds x86 first wherever this is built. */
static pare_status onednn_probe(const pare_host *host, pare_probe *probe) {
    (void)host;
    probe->score = 1;
    probe->reason[0] = '\0';
    memset(probe->isa, 0, sizeof probe->isa);
    const char *isa = onednn_isa();
    memcpy(probe->isa, isa, strlen(isa));
    return PARE_OK;
}

static pare_status onednn_create(const pare_host *host, const pare_params *params,
                                 void **instance) {
    (void)params;
    const pare_host **self = host->alloc(host, sizeof *self);
    if (self == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an instance");
    }
    *self = host;
    *instance = self;
    return PARE_OK;
}

static void onednn_destroy(void *instance) {
    if (instance != NULL) {
        const pare_host *host = *(const pare_host **)instance;
        host->free(host, instance);
    }
}

static pare_status refuse_codes(const pare_host *host, const char *name) {
    return host->fail(host, PARE_E_UNSUPPORTED,
                      "%s: its value is quantized, and onednn computes in float only; use backend "
                      "\"auto\"",
                      name);
}

static pare_status onednn_supports(void *instance, const pare_graph *graph, int32_t node) {
    const pare_host *host = *(const pare_host **)instance;
    pare_status status = lower_check_node(host, graph, node);
    return status == PARE_OK && graph->nodes[node]->activation.bits != 0
               ? refuse_codes(host, graph->nodes[node]->name)
               : status;
}

/* ---- memory of an executable ---- */

static void *cleared(const pare_host *host, int64_t n, size_t size) {
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

static void piece_free(const struct executable *exe, struct piece *piece) {
    for (int32_t s = 0; piece->bindings != NULL && s < exe->n_steps; s++) {
        const struct binding *b = &piece->bindings[s];
        dnnl_memory_destroy(b->in[0]);
        dnnl_memory_destroy(b->in[1]);
        dnnl_memory_destroy(b->out);
        dnnl_memory_destroy(b->scratch);
    }
    dnnl_stream_destroy(piece->stream);
    exe->host->free(exe->host, piece->bindings);
    exe->host->free(exe->host, piece->arena);
    exe->host->free(exe->host, piece->scratch);
}

static void onednn_executable_destroy(void *executable) {
    struct executable *exe = executable;
    if (exe == NULL) {
        return;
    }
    const pare_host *host = exe->host;
    for (int32_t p = 0; exe->pieces != NULL && p < exe->n_pieces; p++) {
        piece_free(exe, &exe->pieces[p]);
    }
    for (int32_t s = 0; exe->steps != NULL && s < exe->n_steps; s++) {
        onednn_step_free(host, &exe->steps[s]);
    }
    dnnl_engine_destroy(exe->engine);
    host->free(host, exe->pieces);
    host->free(host, exe->steps);
    host->free(host, exe->stage_in);
    host->free(host, exe->stage_out);
    host->free(host, exe->kernel_infos);
    host->free(host, exe->kernel_list);
    lower_destroy(host, exe->plan);
    host->free(host, exe);
}

/* ---- compiling ---- */

static pare_status check_float(const struct executable *exe, const pare_graph *graph) {
    for (int32_t v = 0; v < exe->plan->n_values; v++) {
        const struct lower_value *value = &exe->plan->values[v];
        if (value->rep != LOWER_F32) {
            return refuse_codes(exe->host, graph->nodes[value->node]->name);
        }
    }
    return PARE_OK;
}

static pare_status prepare_steps(struct executable *exe, const pare_graph *graph) {
    struct onednn_maker maker = {.host = exe->host, .engine = exe->engine, .plan = exe->plan};
    pare_status status = PARE_OK;
    if (dnnl_stream_create(&maker.stream, exe->engine, dnnl_stream_default_flags) != dnnl_success) {
        return exe->host->fail(exe->host, PARE_E_NOMEM, "oneDNN could not make a stream");
    }
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        const struct lower_step *low = &exe->plan->steps[s];
        const int64_t before = maker.bytes_resident;
        status = onednn_prepare(&maker, low, graph->nodes[low->node]->name, &exe->steps[s]);
        exe->kernel_infos[s] = (pare_kernel_info){
            .struct_size = sizeof(pare_kernel_info),
            .node = low->node,
            .kernel = exe->steps[s].kernel,
            .macs = low->macs,
            .weight_bytes = maker.bytes_resident - before,
        };
        exe->kernel_list[s] = &exe->kernel_infos[s];
    }
    dnnl_stream_destroy(maker.stream);
    exe->info.bytes_resident = maker.bytes_resident;
    return status;
}

/* Where value `v` of a piece lies; images and outputs get their place in each run. */
static void *arena_at(const struct executable *exe, const struct piece *piece, int32_t v) {
    const struct lower_value *value = &exe->plan->values[v];
    return value->place == LOWER_ARENA ? piece->arena + value->offset_bytes : NULL;
}

static dnnl_status_t bind_step(const struct executable *exe, struct piece *piece, int32_t index) {
    const struct onednn_step *step = &exe->steps[index];
    struct binding *b = &piece->bindings[index];
    const dnnl_dims_t bytes = {(dnnl_dim_t)step->scratch_bytes};
    dnnl_memory_desc_t scratch;
    dnnl_status_t status = dnnl_success;
    if (step->primitive == NULL) {
        return dnnl_success;
    }
    for (int32_t k = 0; k < step->low.n_inputs && status == dnnl_success; k++) {
        status = dnnl_memory_create(&b->in[k], &step->in[k], exe->engine,
                                    arena_at(exe, piece, step->low.in[k]));
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&b->out, &step->out, exe->engine,
                                    arena_at(exe, piece, step->low.out));
    }
    if (status == dnnl_success && step->scratch_bytes > 0) {
        status = dnnl_memory_desc_init_by_tag(&scratch, 1, bytes, dnnl_u8, dnnl_a);
        if (status == dnnl_success) {
            status = dnnl_memory_create(&b->scratch, &scratch, exe->engine, piece->scratch);
        }
    }
    return status;
}

static pare_status prepare_piece(struct executable *exe, struct piece *piece,
                                 size_t scratch_bytes) {
    const pare_host *host = exe->host;
    piece->arena = cleared(host, exe->plan->arena_bytes, 1);
    piece->scratch = cleared(host, (int64_t)scratch_bytes, 1);
    piece->bindings = cleared(host, exe->n_steps, sizeof *piece->bindings);
    dnnl_status_t status = dnnl_out_of_memory;
    if (piece->arena != NULL && piece->scratch != NULL && piece->bindings != NULL) {
        status = dnnl_stream_create(&piece->stream, exe->engine, dnnl_stream_default_flags);
    }
    for (int32_t s = 0; status == dnnl_success && s < exe->n_steps; s++) {
        status = bind_step(exe, piece, s);
    }
    return status == dnnl_success
               ? PARE_OK
               : host->fail(host, PARE_E_NOMEM, "out of memory for %lld bytes of activations",
                            (long long)exe->plan->arena_bytes);
}

static pare_status prepare_pieces(struct executable *exe) {
    size_t scratch_bytes = 0;
    for (int32_t s = 0; s < exe->n_steps; s++) {
        const size_t bytes = exe->steps[s].scratch_bytes;
        scratch_bytes = bytes > scratch_bytes ? bytes : scratch_bytes;
    }
    for (int32_t p = 0; p < exe->n_pieces; p++) {
        pare_status status = prepare_piece(exe, &exe->pieces[p], scratch_bytes);
        if (status != PARE_OK) {
            return status;
        }
    }
    const int64_t of_piece = exe->plan->arena_bytes + (int64_t)scratch_bytes;
    exe->info.bytes_activations = of_piece * exe->n_pieces;
    return PARE_OK;
}

static pare_status allocate(struct executable *exe) {
    const pare_host *host = exe->host;
    const int64_t n = exe->plan->max_batch;
    exe->n_steps = exe->plan->n_steps;
    exe->n_pieces = (exe->max_batch - 1) / exe->plan->max_batch + 1;
    exe->steps = cleared(host, exe->n_steps, sizeof *exe->steps);
    exe->pieces = cleared(host, exe->n_pieces, sizeof *exe->pieces);
    exe->kernel_infos = cleared(host, exe->n_steps, sizeof *exe->kernel_infos);
    exe->kernel_list = cleared(host, exe->n_steps, sizeof *exe->kernel_list);
    exe->stage_in = cleared(host, n * exe->in_elems, sizeof(float));
    exe->stage_out = cleared(host, n * exe->out_elems, sizeof(float));
    return exe->steps != NULL && exe->pieces != NULL && exe->kernel_infos != NULL &&
                   exe->kernel_list != NULL && exe->stage_in != NULL && exe->stage_out != NULL
               ? PARE_OK
               : host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
}

static pare_status build(struct executable *exe, const pare_graph *graph) {
    const int32_t *d = graph->input_dims;
    int32_t piece = exe->max_batch < ONEDNN_PIECE ? exe->max_batch : ONEDNN_PIECE;
    pare_status status = lower_graph(exe->host, graph, piece, &exe->plan);
    if (status == PARE_OK) {
        status = check_float(exe, graph);
    }
    if (status != PARE_OK) {
        return status;
    }
    exe->in_elems = (int64_t)d[0] * d[1] * d[2];
    exe->out_elems = graph->n_classes;
    status = allocate(exe);
    if (status == PARE_OK && dnnl_engine_create(&exe->engine, dnnl_cpu, 0) != dnnl_success) {
        status = exe->host->fail(exe->host, PARE_E_UNSUPPORTED, "oneDNN has no engine for a CPU");
    }
    if (status == PARE_OK) {
        status = prepare_steps(exe, graph);
    }
    lower_drop_weights(exe->host, exe->plan);
    return status == PARE_OK ? prepare_pieces(exe) : status;
}

static pare_status onednn_compile(void *instance, const pare_graph *graph,
                                  const pare_compile_options *options, void **executable) {
    const pare_host *host = *(const pare_host **)instance;
    if (options->isa != NULL && strcmp(options->isa, onednn_isa()) != 0) {
        return host->fail(host, PARE_E_UNSUPPORTED,
                          "isa is \"%s\", oneDNN takes \"%s\" here; the environment variable "
                          "ONEDNN_MAX_CPU_ISA makes it take less",
                          options->isa, onednn_isa());
    }
    struct executable *exe = cleared(host, 1, sizeof *exe);
    if (exe == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    exe->host = host;
    exe->max_batch = options->max_batch;
    /* The library plans its primitives for the threads that it may start: none. */
    const int n_threads = omp_get_max_threads();
    omp_set_num_threads(1);
    pare_status status = build(exe, graph);
    omp_set_num_threads(n_threads);
    if (status != PARE_OK) {
        onednn_executable_destroy(exe);
        return status;
    }
    exe->info.struct_size = sizeof(pare_executable_info);
    exe->info.isa = onednn_isa();
    exe->info.execution = exe->plan->execution;
    exe->info.n_kernels = exe->n_steps;
    exe->info.kernels = exe->kernel_list;
    *executable = exe;
    return PARE_OK;
}

static pare_status onednn_executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

/* ---- running ---- */

struct call {
    const struct executable *exe;
    const float *images;
    float *output;
    int32_t n;
    int32_t first_step, end_step;
};

/* The last piece of a batch may not be full: then it is computed on staged images. */
static float *value_memory(const struct call *call, int32_t p, int32_t v) {
    const struct executable *exe = call->exe;
    const int64_t first = (int64_t)p * exe->plan->max_batch;
    const int is_full = first + exe->plan->max_batch <= call->n;
    switch (exe->plan->values[v].place) {
    case LOWER_IMAGES:
        return is_full ? (float *)(uintptr_t)call->images + first * exe->in_elems : exe->stage_in;
    case LOWER_OUTPUT:
        return is_full ? call->output + first * exe->out_elems : exe->stage_out;
    case LOWER_ARENA:
        break;
    }
    return arena_at(exe, &exe->pieces[p], v);
}

static dnnl_status_t run_primitive(const struct call *call, int32_t p, int32_t index) {
    const struct onednn_step *step = &call->exe->steps[index];
    const struct lower_value *values = call->exe->plan->values;
    const struct piece *piece = &call->exe->pieces[p];
    const struct binding *b = &piece->bindings[index];
    dnnl_exec_arg_t args[6];
    int n_args = 0;
    for (int32_t k = 0; k < step->low.n_inputs; k++) {
        const int32_t v = step->low.in[k];
        if (values[v].place != LOWER_ARENA) {
            dnnl_memory_set_data_handle(b->in[k], value_memory(call, p, v));
        }
        args[n_args++] = (dnnl_exec_arg_t){k == 0 ? DNNL_ARG_SRC_0 : DNNL_ARG_SRC_1, b->in[k]};
    }
    if (values[step->low.out].place != LOWER_ARENA) {
        dnnl_memory_set_data_handle(b->out, value_memory(call, p, step->low.out));
    }
    args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_DST, b->out};
    if (step->weights != NULL) {
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, step->weights};
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, step->bias};
    }
    if (b->scratch != NULL) {
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, b->scratch};
    }
    return dnnl_primitive_execute(step->primitive, piece->stream, n_args, args);
}

static void run_piece(void *arg, int64_t index) {
    const struct call *call = arg;
    const struct executable *exe = call->exe;
    const int32_t p = (int32_t)index;
    struct piece *piece = &exe->pieces[p];
    omp_set_num_threads(1); /* of this thread */
    piece->status = dnnl_success;
    for (int32_t s = call->first_step; piece->status == dnnl_success && s < call->end_step; s++) {
        const struct onednn_step *step = &exe->steps[s];
        if (step->primitive != NULL) {
            piece->status = run_primitive(call, p, s);
        } else {
            onednn_run_plain(step, value_memory(call, p, step->low.in[0]),
                             value_memory(call, p, step->low.out), exe->plan->max_batch);
        }
    }
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

static int32_t n_pieces_of(const struct call *call) {
    const int32_t size = call->exe->plan->max_batch;
    return (call->n - 1) / size + 1;
}

/* Samples of the batch that lie in the piece that is not full. */
static int32_t n_staged(const struct call *call) {
    return call->n % call->exe->plan->max_batch;
}

static void stage_images(const struct call *call) {
    const int64_t n = n_staged(call);
    const int64_t elems = call->exe->in_elems;
    if (n > 0) {
        memcpy(call->exe->stage_in, call->images + (call->n - n) * elems,
               (size_t)(n * elems) * sizeof(float));
    }
}

/* Steps [first_step, end_step) on all pieces. */
static pare_status run_steps(struct call *call) {
    const struct executable *exe = call->exe;
    const int32_t n_pieces = n_pieces_of(call);
    if (n_pieces == 1) {
        run_piece(call, 0);
    } else {
        exe->host->parallel_for(exe->host, n_pieces, run_piece, call);
    }
    for (int32_t p = 0; p < n_pieces; p++) {
        if (exe->pieces[p].status != dnnl_success) {
            return exe->host->fail(exe->host, PARE_E_PLUGIN, "oneDNN failed with status %d",
                                   (int)exe->pieces[p].status);
        }
    }
    const int64_t n = n_staged(call);
    if (n > 0 && call->end_step == exe->n_steps) {
        memcpy(call->output + (call->n - n) * exe->out_elems, exe->stage_out,
               (size_t)(n * exe->out_elems) * sizeof(float));
    }
    return PARE_OK;
}

static pare_status onednn_run(void *executable, const float *images, int32_t n, float *output) {
    const struct executable *exe = executable;
    struct call call = {exe, images, output, n, 0, exe->n_steps};
    pare_status status = check_images(exe, images, n);
    if (status != PARE_OK) {
        return status;
    }
    stage_images(&call);
    return run_steps(&call);
}

/* ---- observing ---- */

/* Value `v` of the whole batch, gathered from the pieces. */
static pare_status show(const struct call *call, int32_t v, float *all, pare_observer observer,
                        void *context) {
    const struct lower_plan *plan = call->exe->plan;
    const struct lower_value *value = &plan->values[v];
    if (!value->is_stored) {
        return PARE_OK;
    }
    for (int32_t i = 0; i < call->n; i++) {
        const float *from = value_memory(call, i / plan->max_batch, v);
        memcpy(all + i * value->n_elems, from + i % plan->max_batch * value->n_elems,
               (size_t)value->n_elems * sizeof *all);
    }
    return observer(context, value->node, all, NULL, call->n * value->n_elems);
}

static pare_status observe_run(void *executable, const float *images, int32_t n, float *output,
                               pare_observer observer, void *context) {
    const struct executable *exe = executable;
    struct call call = {exe, images, output, n, 0, 0};
    pare_status status = check_images(exe, images, n);
    if (status != PARE_OK) {
        return status;
    }
    int64_t largest = 1;
    for (int32_t v = 0; v < exe->plan->n_values; v++) {
        const int64_t n_elems = exe->plan->values[v].n_elems * n;
        largest = n_elems > largest ? n_elems : largest;
    }
    float *all = exe->host->alloc(exe->host, (size_t)largest * sizeof *all);
    if (all == NULL) {
        return exe->host->fail(exe->host, PARE_E_NOMEM, "out of memory to show values");
    }
    stage_images(&call);
    status = show(&call, 0, all, observer, context); /* value 0 is the images */
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        call.first_step = s;
        call.end_step = s + 1;
        status = run_steps(&call);
        if (status == PARE_OK) {
            status = show(&call, exe->steps[s].low.out, all, observer, context);
        }
    }
    exe->host->free(exe->host, all);
    return status;
}

static const void *onednn_get_extension(const char *id) {
    static const pare_backend_observe observe = {
        .struct_size = sizeof(pare_backend_observe),
        .run = observe_run,
    };
    return strcmp(id, PARE_BACKEND_OBSERVE) == 0 ? &observe : NULL;
}

const pare_backend onednn_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "onednn",
    .version = "1.0.0",
    .doc = "Comparator: float graphs on oneDNN's kernels; never chosen by auto",
    .reference = "https://oneapi-src.github.io/oneDNN, version 2",
    .probe = onednn_probe,
    .create = onednn_create,
    .destroy = onednn_destroy,
    .supports = onednn_supports,
    .compile = onednn_compile,
    .executable_destroy = onednn_executable_destroy,
    .executable_info = onednn_executable_info,
    .run = onednn_run,
    .get_extension = onednn_get_extension,
};
