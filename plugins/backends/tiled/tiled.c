/* SPDX-License-Identifier: MIT */
#include "tiled.h"

#include <pare/ext/observe.h>
#include <stdio.h>
#include <string.h>

/* Tasks that each thread gets of a step, so that a late one does not hold up the others for long.
 */
#define TASKS_PER_THREAD 4

struct instance {
    const pare_host *host;
    const struct tiled_backend *backend;
    uint32_t features;
};

struct executable {
    const pare_host *host;
    const struct tiled_backend *backend;
    const struct tiled_level *level;
    struct tiled_plan plan; /* its weights are dropped: each step holds its own, packed */
    int32_t n_steps;
    struct tiled_step *steps; /* (n_steps) */
    void *arena;
    int32_t input_elems;
    pare_executable_info info;
    pare_kernel_info *kernel_infos;       /* (n_steps) */
    const pare_kernel_info **kernel_list; /* (n_steps) */
};

/* ---- instances ---- */

const struct tiled_level *tiled_find_level(const struct tiled_backend *backend, uint32_t features,
                                           const char *isa) {
    for (int32_t k = backend->n_levels; k-- > 0;) {
        const struct tiled_level *level = &backend->levels[k];
        if ((features & level->needs) == level->needs &&
            (isa == NULL || strcmp(isa, level->isa) == 0)) {
            return level;
        }
    }
    return NULL;
}

pare_status tiled_probe(const struct tiled_backend *backend, pare_probe *probe) {
    probe->score = 100;
    probe->reason[0] = '\0';
    memset(probe->isa, 0, sizeof probe->isa);
    const char *isa = tiled_find_level(backend, backend->cpu_features(), NULL)->isa;
    memcpy(probe->isa, isa, strlen(isa));
    return PARE_OK;
}

pare_status tiled_create_with(const pare_host *host, const struct tiled_backend *backend,
                              uint32_t features, void **instance) {
    struct instance *self = host->alloc(host, sizeof *self);
    if (self == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an instance");
    }
    self->host = host;
    self->backend = backend;
    self->features = features;
    *instance = self;
    return PARE_OK;
}

void tiled_destroy(void *instance) {
    struct instance *self = instance;
    if (self != NULL) {
        self->host->free(self->host, self);
    }
}

pare_status tiled_supports(void *instance, const pare_graph *graph, int32_t node) {
    return lower_check_node(((const struct instance *)instance)->host, graph, node);
}

static pare_status refuse_isa(const struct instance *self, const char *isa) {
    char known[128] = "";
    const struct tiled_level *levels = self->backend->levels;
    for (int32_t k = 0; k < self->backend->n_levels; k++) {
        if ((self->features & levels[k].needs) == levels[k].needs) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "",
                     levels[k].isa);
        }
    }
    return self->host->fail(self->host, PARE_E_UNSUPPORTED, "isa is \"%s\", this machine has %s",
                            isa, known);
}

/* ---- packing ---- */

/* By the arithmetic; conversions by the codes' container; products by their weights' bits too. */
static const char *kernel_name(const struct executable *exe, const pare_graph *graph,
                               const struct lower_step *s) {
    enum lower_rep rep = s->arith;
    if (s->kind == LOWER_QUANTIZE) {
        rep = exe->plan.low.values[s->out].rep;
    } else if (s->kind == LOWER_DEQUANTIZE) {
        rep = exe->plan.low.values[s->in[0]].rep;
    }
    int is_product = s->kind == LOWER_CONV2D || s->kind == LOWER_LINEAR;
    if (is_product && rep == LOWER_I8) {
        int32_t bits = graph->nodes[s->node]->weights[PARE_ROLE_WEIGHT]->quant.bits;
        if (bits <= TILED_MAX_WIDENED_BITS) {
            return exe->backend->widened_names[bits - 1][s->kind == LOWER_CONV2D];
        }
    }
    return exe->backend->kernel_names[s->kind][rep];
}

static int pack_affine(struct tiled_packer *packer, struct tiled_step *step) {
    int32_t n = step->low.out_c;
    step->gain = tiled_keep(packer, n, sizeof(float));
    step->shift = tiled_keep(packer, n, sizeof(float));
    if (step->gain == NULL || step->shift == NULL) {
        return 0;
    }
    memcpy(step->gain, step->low.multiplier, (size_t)n * sizeof(float));
    memcpy(step->shift, step->low.bias_f32, (size_t)n * sizeof(float));
    return 1;
}

static int pack_step(struct executable *exe, struct tiled_packer *packer, const pare_graph *graph,
                     int32_t index) {
    const struct lower_step *low = &exe->plan.low.steps[index];
    struct tiled_step *step = &exe->steps[index];
    step->low = *low;
    step->kernel = kernel_name(exe, graph, low);
    int64_t weight_bytes = 0;
    int done = 1;
    int product = low->kind == LOWER_CONV2D || low->kind == LOWER_LINEAR;
    if (product) {
        done = tiled_pack_product(packer, step, &weight_bytes);
    } else if (low->kind == LOWER_AFFINE) {
        done = pack_affine(packer, step);
        weight_bytes = 2 * (int64_t)sizeof(float) * low->out_c;
    } else if (low->multiplier != NULL) {
        memcpy(step->m, low->multiplier, (low->kind == LOWER_ADD ? 2 : 1) * sizeof(float));
    }
    /* The plan's own copies are freed after packing. */
    step->low.weight_f32 = NULL;
    step->low.weight_codes = NULL;
    step->low.bias_f32 = NULL;
    step->low.multiplier = NULL;
    exe->kernel_infos[index] = (pare_kernel_info){
        .struct_size = sizeof(pare_kernel_info),
        .node = low->node,
        .kernel = step->kernel,
        .is_integer = low->arith != LOWER_F32,
        /* There is no fast kernel for int16 products. */
        .is_fallback = low->is_fallback || (product && low->arith == LOWER_I16),
        .macs = low->macs,
        .weight_bytes = weight_bytes,
    };
    exe->kernel_list[index] = &exe->kernel_infos[index];
    return done;
}

/* ---- executables ---- */

void tiled_executable_destroy(void *executable) {
    struct executable *exe = executable;
    if (exe == NULL) {
        return;
    }
    const pare_host *host = exe->host;
    for (int32_t s = 0; exe->steps != NULL && s < exe->n_steps; s++) {
        struct tiled_step *step = &exe->steps[s];
        void *const parts[] = {
            step->product.blocks, step->product.weights,
            step->product.start,  step->product.multiplier,
            step->product.bias,   step->product.run_bytes,
            step->gain,           step->shift,
        };
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            host->free(host, parts[k]);
        }
    }
    host->free(host, exe->steps);
    host->free(host, exe->arena);
    host->free(host, exe->kernel_infos);
    host->free(host, exe->kernel_list);
    tiled_plan_destroy(host, &exe->plan);
    host->free(host, exe);
}

static pare_status pack(struct executable *exe, const pare_graph *graph) {
    const struct lower_plan *low = &exe->plan.low;
    struct tiled_packer packer = {.host = exe->host,
                                  .kernels = exe->level->kernels,
                                  .plan = &exe->plan,
                                  .code_offset = exe->backend->code_offset};
    size_t arena_bytes = low->arena_bytes > 0 ? (size_t)low->arena_bytes : 1;
    exe->n_steps = low->n_steps;
    exe->steps = tiled_keep(&packer, low->n_steps, sizeof *exe->steps);
    exe->kernel_infos = tiled_keep(&packer, low->n_steps, sizeof *exe->kernel_infos);
    exe->kernel_list = tiled_keep(&packer, low->n_steps, sizeof *exe->kernel_list);
    exe->arena = exe->host->alloc(exe->host, arena_bytes);
    int done = exe->steps != NULL && exe->kernel_infos != NULL && exe->kernel_list != NULL &&
               exe->arena != NULL;
    for (int32_t s = 0; done && s < low->n_steps; s++) {
        done = pack_step(exe, &packer, graph, s);
    }
    lower_drop_weights(exe->host, exe->plan.lowered);
    if (!done) {
        return exe->host->fail(exe->host, PARE_E_NOMEM,
                               "out of memory: packed weights and %lld bytes of activations",
                               (long long)low->arena_bytes);
    }
    memset(exe->arena, 0, arena_bytes); /* so that no run is the first to touch a page */
    exe->info = (pare_executable_info){
        .struct_size = sizeof(pare_executable_info),
        .isa = exe->level->isa,
        .execution = low->execution,
        .bytes_resident = packer.bytes_resident,
        .bytes_activations = low->arena_bytes,
        .n_kernels = exe->n_steps,
        .kernels = exe->kernel_list,
    };
    return PARE_OK;
}

pare_status tiled_compile(void *instance, const pare_graph *graph,
                          const pare_compile_options *options, void **executable) {
    const struct instance *self = instance;
    const pare_host *host = self->host;
    const struct tiled_level *level = tiled_find_level(self->backend, self->features, options->isa);
    if (level == NULL) {
        return refuse_isa(self, options->isa);
    }
    struct executable *exe = host->alloc(host, sizeof *exe);
    if (exe == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    memset(exe, 0, sizeof *exe);
    exe->host = host;
    exe->backend = self->backend;
    exe->level = level;
    pare_status status = tiled_plan_graph(host, graph, options->max_batch, &exe->plan);
    if (status == PARE_OK) {
        const int32_t *d = graph->nodes[0]->dims;
        exe->input_elems = d[0] * d[1] * d[2];
        status = pack(exe, graph);
    }
    if (status != PARE_OK) {
        tiled_executable_destroy(exe);
        return status;
    }
    *executable = exe;
    return PARE_OK;
}

pare_status tiled_executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

/* ---- running ---- */

/* A value's memory: the images are only read. */
static char *value_memory(const struct executable *exe, int32_t v, const float *images,
                          float *output) {
    const struct lower_value *value = &exe->plan.low.values[v];
    switch (value->place) {
    case LOWER_IMAGES:
        return (char *)(uintptr_t)images;
    case LOWER_OUTPUT:
        return (char *)output;
    case LOWER_ARENA:
        break;
    }
    return (char *)exe->arena + value->offset_bytes;
}

static pare_status check_images(const struct executable *exe, const float *images, int32_t n) {
    if (n < 1 || n > exe->plan.low.max_batch) {
        return exe->host->fail(exe->host, PARE_E_RANGE, "batch is %d, compiled for 1..%d", n,
                               exe->plan.low.max_batch);
    }
    for (int32_t i = 0; i < n; i++) {
        if (!exe->level->kernels->all_finite(images + (int64_t)i * exe->input_elems,
                                             exe->input_elems)) {
            return exe->host->fail(exe->host, PARE_E_NUMERIC,
                                   "image %d of the batch holds a value that is not finite", i);
        }
    }
    return PARE_OK;
}

/* What there is to cut for threads: blocks or (16-bit) samples of a linear layer for all samples
 * together, rows of each sample otherwise. */
static int32_t n_pieces(const struct tiled_call *call) {
    const struct lower_step *s = &call->step->low;
    if (s->kind == LOWER_LINEAR) {
        return s->arith == LOWER_I16 ? call->n_samples : call->step->product.n_blocks;
    }
    return s->out_h;
}

static void run_part(const struct tiled_call *call, int32_t sample, int32_t part) {
    int64_t n = n_pieces(call);
    int32_t first = (int32_t)(n * part / call->n_parts);
    int32_t end = (int32_t)(n * (part + 1) / call->n_parts);
    if (call->step->low.kind == LOWER_LINEAR) {
        call->kernels->run_linear(call, first, end);
    } else {
        call->kernels->run_rows(call, sample, first, end);
    }
}

static void run_task(void *arg, int64_t index) {
    const struct tiled_call *call = arg;
    run_part(call, (int32_t)(index / call->n_parts), (int32_t)(index % call->n_parts));
}

/* Every output is one chain of operations whatever the parts, so that they may depend on the number
 * of threads. */
static void share(const struct executable *exe, struct tiled_call *call) {
    int32_t n_threads = exe->host->n_threads(exe->host);
    int32_t n_samples = call->step->low.kind == LOWER_LINEAR ? 1 : call->n_samples;
    int64_t wanted = n_threads > 1 ? (int64_t)TASKS_PER_THREAD * n_threads : 1;
    int64_t parts = (wanted + n_samples - 1) / n_samples;
    int64_t pieces = n_pieces(call);
    call->n_parts = (int32_t)(parts < pieces ? parts : pieces);
    if (n_threads > 1) {
        exe->host->parallel_for(exe->host, (int64_t)n_samples * call->n_parts, run_task, call);
        return;
    }
    for (int32_t i = 0; i < n_samples; i++) {
        run_part(call, i, 0);
    }
}

static void run_step(const struct executable *exe, int32_t index, const float *images, int32_t n,
                     float *output) {
    const struct tiled_step *step = &exe->steps[index];
    struct tiled_call call = {
        .kernels = exe->level->kernels,
        .step = step,
        .out = &exe->plan.low.values[step->low.out],
        .out_layout = &exe->plan.layouts[step->low.out],
        .y = value_memory(exe, step->low.out, images, output),
        .n_samples = n,
    };
    for (int32_t k = 0; k < step->low.n_inputs; k++) {
        int32_t v = step->low.in[k];
        call.in[k] = &exe->plan.low.values[v];
        call.in_layout[k] = &exe->plan.layouts[v];
        call.x[k] = value_memory(exe, v, images, output);
    }
    share(exe, &call);
}

pare_status tiled_run(void *executable, const float *images, int32_t n, float *output) {
    const struct executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        run_step(exe, s, images, n, output);
    }
    return status;
}

/* ---- showing values ---- */

/* One row without borders, as floats or as int16 codes. */
static void show_row(const struct executable *exe, const struct lower_value *value,
                     const struct tiled_layout *l, const char *row, float *real, int16_t *codes) {
    int64_t n = (int64_t)l->w * l->c;
    if (value->rep == LOWER_F32) {
        memcpy(real, row, (size_t)n * sizeof(float));
        return;
    }
    int32_t offset = exe->backend->code_offset;
    for (int64_t k = 0; k < n; k++) {
        codes[k] = value->rep == LOWER_I8
                       ? (int16_t)(int8_t)(uint8_t)(((const uint8_t *)row)[k] - offset)
                       : ((const int16_t *)(const void *)row)[k];
    }
}

/* Shows value `v` if it is a node's own. `scratch` holds the largest value. */
static pare_status show(const struct executable *exe, int32_t v, const char *memory, int32_t n,
                        void *scratch, pare_observer observer, void *context) {
    const struct lower_value *value = &exe->plan.low.values[v];
    const struct tiled_layout *l = &exe->plan.layouts[v];
    if (!value->is_stored) {
        return PARE_OK;
    }
    float *real = value->rep == LOWER_F32 ? scratch : NULL;
    int16_t *codes = value->rep == LOWER_F32 ? NULL : scratch;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t y = 0; y < l->h; y++) {
            const char *row = memory + i * l->sample_bytes + l->first_bytes + y * l->row_bytes;
            int64_t at = (i * l->h + y) * l->w * l->c;
            show_row(exe, value, l, row, real != NULL ? real + at : NULL,
                     codes != NULL ? codes + at : NULL);
        }
    }
    return observer(context, value->node, real, codes, value->n_elems * n);
}

static pare_status observe_run(void *executable, const float *images, int32_t n, float *output,
                               pare_observer observer, void *context) {
    const struct executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    if (status != PARE_OK) {
        return status;
    }
    int64_t largest = 1;
    for (int32_t v = 0; v < exe->plan.low.n_values; v++) {
        int64_t n_elems = exe->plan.low.values[v].n_elems * n;
        largest = n_elems > largest ? n_elems : largest;
    }
    void *scratch = exe->host->alloc(exe->host, (size_t)largest * sizeof(float));
    if (scratch == NULL) {
        return exe->host->fail(exe->host, PARE_E_NOMEM, "out of memory to show values");
    }
    /* Value 0 is the images. */
    const char *first = value_memory(exe, 0, images, output);
    status = show(exe, 0, first, n, scratch, observer, context);
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        run_step(exe, s, images, n, output);
        int32_t v = exe->steps[s].low.out;
        status = show(exe, v, value_memory(exe, v, images, output), n, scratch, observer, context);
    }
    exe->host->free(exe->host, scratch);
    return status;
}

const void *tiled_get_extension(const char *id) {
    static const pare_backend_observe observe = {
        .struct_size = sizeof(pare_backend_observe),
        .run = observe_run,
    };
    return strcmp(id, PARE_BACKEND_OBSERVE) == 0 ? &observe : NULL;
}
