/* SPDX-License-Identifier: MIT */
#include "x86.h"

#include <pare/ext/observe.h>
#include <stdio.h>
#include <string.h>

/* Tasks that each thread gets, so that a late one does not hold up the others for long: rows of a
 * step when there is one image, images otherwise. */
#define ROW_TASKS_PER_THREAD 4
#define IMAGE_TASKS_PER_THREAD 2

/* A batch is run in chunks, each through all steps, so that its values stay in the cache. One image
 * is best for that; but a linear layer's weights, read once for each chunk, want more. */
#define CHUNK_LINEAR 8
#define LARGE_LINEAR_WEIGHTS 32768

struct instance {
    const pare_host *host;
    uint32_t features;
};

struct executable {
    const pare_host *host;
    const struct x86_level *level;
    int32_t max_batch;
    struct x86_plan
        plan; /* for a chunk; its weights are dropped: each step holds its own, packed */
    int32_t n_steps;
    struct x86_step *steps; /* (n_steps) */
    char *arenas;           /* (n_arenas) of plan.low.arena_bytes each, one for each task */
    int32_t n_arenas;
    int32_t input_elems, output_elems; /* of one image */
    pare_executable_info info;
    pare_kernel_info *kernel_infos;       /* (n_steps) */
    const pare_kernel_info **kernel_list; /* (n_steps) */
};

/* ---- instances ---- */

static pare_status x86_probe(const pare_host *host, pare_probe *probe) {
    (void)host;
    probe->score = 100;
    probe->reason[0] = '\0';
    memset(probe->isa, 0, sizeof probe->isa);
    const char *isa = x86_find_level(x86_cpu_features(), NULL)->isa;
    memcpy(probe->isa, isa, strlen(isa));
    return PARE_OK;
}

pare_status x86_create_with(const pare_host *host, uint32_t features, void **instance) {
    struct instance *self = host->alloc(host, sizeof *self);
    if (self == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an instance");
    }
    self->host = host;
    self->features = features;
    *instance = self;
    return PARE_OK;
}

static pare_status x86_create(const pare_host *host, const pare_params *params, void **instance) {
    (void)params;
    return x86_create_with(host, x86_cpu_features(), instance);
}

static void x86_destroy(void *instance) {
    struct instance *self = instance;
    if (self != NULL) {
        self->host->free(self->host, self);
    }
}

static pare_status x86_supports(void *instance, const pare_graph *graph, int32_t node) {
    return lower_check_node(((const struct instance *)instance)->host, graph, node);
}

static pare_status refuse_isa(const struct instance *self, const char *isa) {
    char known[128] = "";
    int32_t n;
    const struct x86_level *levels = x86_levels(&n);
    for (int32_t k = 0; k < n; k++) {
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

/* By the arithmetic; conversions by the codes' container. */
static const char *kernel_name(const struct lower_plan *plan, const struct lower_step *s) {
    static const char *const names[LOWER_N_KINDS][3] = {
        [LOWER_COPY] = {"x86_copy_f32", "x86_copy_i8", "x86_copy_i16"},
        [LOWER_QUANTIZE] = {"", "x86_quantize_i8", "x86_quantize_i16"},
        [LOWER_DEQUANTIZE] = {"", "x86_dequantize_i8", "x86_dequantize_i16"},
        [LOWER_REQUANTIZE] = {"", "x86_requantize_i8", "x86_requantize_i16"},
        [LOWER_SIGN] = {"x86_sign_f32", "x86_sign_i8", "x86_sign_i16"},
        [LOWER_CONV2D] = {"x86_conv2d_f32", "x86_conv2d_i8", "x86_conv2d_i16"},
        [LOWER_LINEAR] = {"x86_linear_f32", "x86_linear_i8", "x86_linear_i16"},
        [LOWER_AFFINE] = {"x86_batch_norm_f32", "", ""},
        [LOWER_RELU] = {"x86_relu_f32", "", ""},
        [LOWER_ADD] = {"x86_add_f32", "x86_add_i8", "x86_add_i16"},
        [LOWER_MAX_POOL] = {"x86_max_pool_f32", "x86_max_pool_i8", "x86_max_pool_i16"},
        [LOWER_AVG_POOL] = {"x86_avg_pool_f32", "x86_avg_pool_i8", "x86_avg_pool_i16"},
        [LOWER_SHORTCUT_A] = {"x86_shortcut_a_f32", "x86_shortcut_a_i8", "x86_shortcut_a_i16"},
        [LOWER_SOFTMAX] = {"x86_softmax_f32", "", ""},
    };
    enum lower_rep rep = s->arith;
    if (s->kind == LOWER_QUANTIZE) {
        rep = plan->values[s->out].rep;
    } else if (s->kind == LOWER_DEQUANTIZE) {
        rep = plan->values[s->in[0]].rep;
    }
    return names[s->kind][rep];
}

/* Weights of fewer than 8 bits are widened when they are packed, and the name says so. */
static const char *product_name(const pare_graph *graph, const struct lower_step *s,
                                const char *name) {
    const pare_weight *w = graph->nodes[s->node]->weights[PARE_ROLE_WEIGHT];
    int conv = s->kind == LOWER_CONV2D;
    if (s->arith != LOWER_I8) {
        return name;
    }
    if (s->n_inputs == 2) { /* an add is done at once */
        switch (w->quant.bits) {
        case 1:
            return "x86_conv2d_i8_w1_widened_add";
        case 2:
            return "x86_conv2d_i8_w2_widened_add";
        case 3:
            return "x86_conv2d_i8_w3_widened_add";
        case 4:
            return "x86_conv2d_i8_w4_widened_add";
        default:
            return "x86_conv2d_i8_add";
        }
    }
    switch (w->quant.bits) {
    case 1:
        return conv ? "x86_conv2d_i8_w1_widened" : "x86_linear_i8_w1_widened";
    case 2:
        return conv ? "x86_conv2d_i8_w2_widened" : "x86_linear_i8_w2_widened";
    case 3:
        return conv ? "x86_conv2d_i8_w3_widened" : "x86_linear_i8_w3_widened";
    case 4:
        return conv ? "x86_conv2d_i8_w4_widened" : "x86_linear_i8_w4_widened";
    default:
        return name;
    }
}

static int pack_affine(struct x86_packer *packer, struct x86_step *step) {
    int32_t n = step->low.out_c;
    step->gain = x86_keep(packer, n, sizeof(float));
    step->shift = x86_keep(packer, n, sizeof(float));
    if (step->gain == NULL || step->shift == NULL) {
        return 0;
    }
    memcpy(step->gain, step->low.multiplier, (size_t)n * sizeof(float));
    memcpy(step->shift, step->low.bias_f32, (size_t)n * sizeof(float));
    return 1;
}

static int pack_step(struct executable *exe, struct x86_packer *packer, const pare_graph *graph,
                     int32_t index) {
    const struct lower_step *low = &exe->plan.low.steps[index];
    struct x86_step *step = &exe->steps[index];
    step->low = *low;
    step->fused = exe->plan.fused[low->out];
    step->kernel = kernel_name(&exe->plan.low, low);
    int64_t weight_bytes = 0;
    int done = 1;
    int product = low->kind == LOWER_CONV2D || low->kind == LOWER_LINEAR;
    if (product) {
        step->kernel = product_name(graph, low, step->kernel);
        done = x86_pack_product(packer, step, &weight_bytes);
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

static void x86_executable_destroy(void *executable) {
    struct executable *exe = executable;
    if (exe == NULL) {
        return;
    }
    const pare_host *host = exe->host;
    for (int32_t s = 0; exe->steps != NULL && s < exe->n_steps; s++) {
        struct x86_step *step = &exe->steps[s];
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
    host->free(host, exe->arenas);
    host->free(host, exe->kernel_infos);
    host->free(host, exe->kernel_list);
    x86_plan_destroy(host, &exe->plan);
    host->free(host, exe);
}

static pare_status pack(struct executable *exe, const pare_graph *graph) {
    const struct lower_plan *low = &exe->plan.low;
    struct x86_packer packer = {
        .host = exe->host, .kernels = exe->level->kernels, .plan = &exe->plan};
    size_t arenas_bytes = (size_t)exe->n_arenas * (size_t)low->arena_bytes;
    exe->n_steps = low->n_steps;
    exe->steps = x86_keep(&packer, low->n_steps, sizeof *exe->steps);
    exe->kernel_infos = x86_keep(&packer, low->n_steps, sizeof *exe->kernel_infos);
    exe->kernel_list = x86_keep(&packer, low->n_steps, sizeof *exe->kernel_list);
    exe->arenas = exe->host->alloc(exe->host, arenas_bytes > 0 ? arenas_bytes : 1);
    int done = exe->steps != NULL && exe->kernel_infos != NULL && exe->kernel_list != NULL &&
               exe->arenas != NULL;
    for (int32_t s = 0; done && s < low->n_steps; s++) {
        done = pack_step(exe, &packer, graph, s);
    }
    lower_drop_weights(exe->host, exe->plan.lowered);
    if (!done) {
        return exe->host->fail(exe->host, PARE_E_NOMEM,
                               "out of memory: packed weights and %lld bytes of activations",
                               (long long)arenas_bytes);
    }
    memset(exe->arenas, 0, arenas_bytes); /* so that no run is the first to touch a page */
    exe->info = (pare_executable_info){
        .struct_size = sizeof(pare_executable_info),
        .isa = exe->level->isa,
        .execution = low->execution,
        .bytes_resident = packer.bytes_resident,
        .bytes_activations = (int64_t)arenas_bytes,
        .n_kernels = exe->n_steps,
        .kernels = exe->kernel_list,
    };
    return PARE_OK;
}

static int32_t images_in_chunk(const pare_graph *graph, int32_t max_batch) {
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const pare_node *node = graph->nodes[i];
        const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
        if (node->op == PARE_OP_LINEAR && w != NULL && w->n_elems >= LARGE_LINEAR_WEIGHTS) {
            return max_batch < CHUNK_LINEAR ? max_batch : CHUNK_LINEAR;
        }
    }
    return 1;
}

/* Lowers and packs. */
static pare_status fill(struct executable *exe, const pare_graph *graph, int32_t max_batch) {
    const pare_host *host = exe->host;
    if (max_batch < 1) {
        return host->fail(host, PARE_E_RANGE, "%s: a batch of %d, wanted 1 or more", graph->name,
                          max_batch);
    }
    int32_t chunk = images_in_chunk(graph, max_batch);
    pare_status status = x86_plan_graph(host, graph, chunk, &exe->plan);
    if (status != PARE_OK) {
        return status;
    }
    const int32_t *d = graph->nodes[0]->dims;
    exe->max_batch = max_batch;
    exe->input_elems = d[0] * d[1] * d[2];
    exe->output_elems = graph->n_classes;
    /* One task for each image, at most, uses an arena at a time. */
    int32_t n_threads = host->n_threads(host);
    int64_t n = n_threads > 1 ? (int64_t)IMAGE_TASKS_PER_THREAD * n_threads : 1;
    exe->n_arenas = (int32_t)(n < max_batch ? n : max_batch);
    if (exe->plan.low.arena_bytes > INT64_MAX / exe->n_arenas) {
        return host->fail(host, PARE_E_LIMIT,
                          "%s: activations for %d threads do not fit into memory", graph->name,
                          n_threads);
    }
    return pack(exe, graph);
}

static pare_status x86_compile(void *instance, const pare_graph *graph,
                               const pare_compile_options *options, void **executable) {
    const struct instance *self = instance;
    const pare_host *host = self->host;
    const struct x86_level *level = x86_find_level(self->features, options->isa);
    if (level == NULL) {
        return refuse_isa(self, options->isa);
    }
    struct executable *exe = host->alloc(host, sizeof *exe);
    if (exe == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    memset(exe, 0, sizeof *exe);
    exe->host = host;
    exe->level = level;
    pare_status status = fill(exe, graph, options->max_batch);
    if (status != PARE_OK) {
        x86_executable_destroy(exe);
        return status;
    }
    *executable = exe;
    return PARE_OK;
}

static pare_status x86_executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

/* ---- running ---- */

/* Some images of a batch on their way through the steps. */
struct chunk {
    const struct executable *exe;
    const float *images; /* (n,H,W,C) */
    float *output;       /* (n,n_classes) */
    int32_t n;
    char *arena;
    int shared; /* is each step shared by the threads? */
};

/* A value's memory: the images are only read. */
static char *value_memory(const struct chunk *chunk, int32_t v) {
    const struct lower_value *value = &chunk->exe->plan.low.values[v];
    switch (value->place) {
    case LOWER_IMAGES:
        return (char *)(uintptr_t)chunk->images;
    case LOWER_OUTPUT:
        return (char *)chunk->output;
    case LOWER_ARENA:
        break;
    }
    return chunk->arena + value->offset_bytes;
}

static pare_status check_images(const struct executable *exe, const float *images, int32_t n) {
    if (n < 1 || n > exe->max_batch) {
        return exe->host->fail(exe->host, PARE_E_RANGE, "batch is %d, compiled for 1..%d", n,
                               exe->max_batch);
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
static int32_t n_pieces(const struct x86_call *call) {
    const struct lower_step *s = &call->step->low;
    if (s->kind == LOWER_LINEAR) {
        return s->arith == LOWER_I16 ? call->n_samples : call->step->product.n_blocks;
    }
    return s->out_h;
}

static void run_part(const struct x86_call *call, int32_t sample, int32_t part) {
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
    const struct x86_call *call = arg;
    run_part(call, (int32_t)(index / call->n_parts), (int32_t)(index % call->n_parts));
}

/* Every output is one chain of operations whatever the parts, so that they may depend on the number
 * of threads. */
static void share(const struct chunk *chunk, struct x86_call *call) {
    const pare_host *host = chunk->exe->host;
    int32_t n_samples = call->step->low.kind == LOWER_LINEAR ? 1 : call->n_samples;
    if (!chunk->shared) {
        call->n_parts = 1;
        for (int32_t i = 0; i < n_samples; i++) {
            run_part(call, i, 0);
        }
        return;
    }
    int64_t wanted = (int64_t)ROW_TASKS_PER_THREAD * host->n_threads(host);
    int64_t parts = (wanted + n_samples - 1) / n_samples;
    int64_t pieces = n_pieces(call);
    call->n_parts = (int32_t)(parts < pieces ? parts : pieces);
    host->parallel_for(host, (int64_t)n_samples * call->n_parts, run_task, call);
}

static void run_step(const struct chunk *chunk, int32_t index) {
    const struct executable *exe = chunk->exe;
    const struct x86_step *step = &exe->steps[index];
    struct x86_call call = {
        .kernels = exe->level->kernels,
        .step = step,
        .out = &exe->plan.low.values[step->low.out],
        .out_layout = &exe->plan.layouts[step->low.out],
        .middle = &exe->plan.low.values[step->fused.middle],
        .y = value_memory(chunk, step->low.out),
        .n_samples = chunk->n,
    };
    for (int32_t k = 0; k < step->low.n_inputs; k++) {
        int32_t v = step->low.in[k];
        call.in[k] = &exe->plan.low.values[v];
        call.in_layout[k] = &exe->plan.layouts[v];
        call.x[k] = value_memory(chunk, v);
    }
    share(chunk, &call);
}

/* Images [first, first + n) of a batch, in the arena of task `task`. */
static struct chunk chunk_at(const struct executable *exe, const float *images, float *output,
                             int32_t first, int32_t n, int32_t task) {
    return (struct chunk){
        .exe = exe,
        .images = images + (int64_t)first * exe->input_elems,
        .output = output + (int64_t)first * exe->output_elems,
        .n = n,
        .arena = exe->arenas + task * exe->plan.low.arena_bytes,
    };
}

struct batch {
    const struct executable *exe;
    const float *images;
    float *output;
    int32_t n, n_tasks;
};

/* A task's share of the images, chunk after chunk. */
static void run_images(void *arg, int64_t task) {
    const struct batch *b = arg;
    int32_t first = (int32_t)(b->n * task / b->n_tasks);
    int32_t end = (int32_t)(b->n * (task + 1) / b->n_tasks);
    int32_t most = b->exe->plan.low.max_batch;
    for (int32_t i = first; i < end; i += most) {
        int32_t n = end - i < most ? end - i : most;
        struct chunk chunk = chunk_at(b->exe, b->images, b->output, i, n, (int32_t)task);
        for (int32_t s = 0; s < b->exe->n_steps; s++) {
            run_step(&chunk, s);
        }
    }
}

static pare_status x86_run(void *executable, const float *images, int32_t n, float *output) {
    const struct executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    if (status != PARE_OK) {
        return status;
    }
    int32_t n_threads = exe->host->n_threads(exe->host);
    if (n_threads == 1) {
        run_images(&(struct batch){exe, images, output, n, 1}, 0);
    } else if (n == 1) {
        struct chunk chunk = chunk_at(exe, images, output, 0, 1, 0);
        chunk.shared = 1;
        for (int32_t s = 0; s < exe->n_steps; s++) {
            run_step(&chunk, s);
        }
    } else {
        struct batch b = {exe, images, output, n, n < exe->n_arenas ? n : exe->n_arenas};
        exe->host->parallel_for(exe->host, b.n_tasks, run_images, &b);
    }
    return PARE_OK;
}

void x86_run_step(void *executable, int32_t step, const float *images, float *output) {
    struct chunk chunk = chunk_at(executable, images, output, 0, 1, 0);
    run_step(&chunk, step);
}

const struct x86_step *x86_steps(void *executable, int32_t *n) {
    const struct executable *exe = executable;
    *n = exe->n_steps;
    return exe->steps;
}

/* ---- showing values ---- */

/* One row without borders, as floats or as int16 codes: elements `at` and on of `to`. */
static void show_row(const struct lower_value *value, const struct x86_layout *l, const char *row,
                     void *to, int64_t at) {
    int64_t n = (int64_t)l->w * l->c;
    if (value->rep == LOWER_F32) {
        memcpy((float *)to + at, row, (size_t)n * sizeof(float));
        return;
    }
    int16_t *codes = (int16_t *)to + at;
    for (int64_t k = 0; k < n; k++) {
        codes[k] = value->rep == LOWER_I8 ? (int16_t)(((const uint8_t *)row)[k] - 128)
                                          : ((const int16_t *)(const void *)row)[k];
    }
}

/* Where each value of a batch is gathered, by value; NULL: it is not a node's own. */
struct gathered {
    void **values; /* (n_values) float or int16 (n, n_elems) */
};

static void gathered_free(const struct executable *exe, struct gathered *all) {
    for (int32_t v = 0; all->values != NULL && v < exe->plan.low.n_values; v++) {
        exe->host->free(exe->host, all->values[v]);
    }
    exe->host->free(exe->host, all->values);
}

static pare_status gathered_init(const struct executable *exe, int32_t n, struct gathered *all) {
    const pare_host *host = exe->host;
    int32_t n_values = exe->plan.low.n_values;
    all->values = host->alloc(host, (size_t)n_values * sizeof *all->values);
    if (all->values == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory to show %d values", n_values);
    }
    memset(all->values, 0, (size_t)n_values * sizeof *all->values);
    for (int32_t v = 0; v < n_values; v++) {
        const struct lower_value *value = &exe->plan.low.values[v];
        size_t size = value->rep == LOWER_F32 ? sizeof(float) : sizeof(int16_t);
        if (!value->is_stored) {
            continue;
        }
        all->values[v] = host->alloc(host, (size_t)n * (size_t)value->n_elems * size);
        if (all->values[v] == NULL) {
            gathered_free(exe, all);
            return host->fail(host, PARE_E_NOMEM, "out of memory to show a value of %d images", n);
        }
    }
    return PARE_OK;
}

/* Value v of a chunk, whose first image is image `first`. */
static void gather(const struct gathered *all, const struct chunk *chunk, int32_t v,
                   int64_t first) {
    const struct lower_value *value = &chunk->exe->plan.low.values[v];
    const struct x86_layout *l = &chunk->exe->plan.layouts[v];
    const char *memory = value_memory(chunk, v);
    if (all->values[v] == NULL) {
        return;
    }
    for (int64_t i = 0; i < chunk->n; i++) {
        for (int64_t y = 0; y < l->h; y++) {
            const char *row = memory + i * l->sample_bytes + l->first_bytes + y * l->row_bytes;
            show_row(value, l, row, all->values[v], ((first + i) * l->h + y) * l->w * l->c);
        }
    }
}

static pare_status show(const struct executable *exe, const struct gathered *all, int32_t v,
                        int32_t n, pare_observer observer, void *context) {
    const struct lower_value *value = &exe->plan.low.values[v];
    int is_float = value->rep == LOWER_F32;
    return all->values[v] == NULL ? PARE_OK
                                  : observer(context, value->node, is_float ? all->values[v] : NULL,
                                             is_float ? NULL : all->values[v], value->n_elems * n);
}

static pare_status observe_run(void *executable, const float *images, int32_t n, float *output,
                               pare_observer observer, void *context) {
    const struct executable *exe = executable;
    struct gathered all;
    pare_status status = check_images(exe, images, n);
    if (status == PARE_OK) {
        status = gathered_init(exe, n, &all);
    }
    if (status != PARE_OK) {
        return status;
    }
    int32_t most = exe->plan.low.max_batch;
    for (int32_t i = 0; i < n; i += most) {
        struct chunk chunk = chunk_at(exe, images, output, i, n - i < most ? n - i : most, 0);
        gather(&all, &chunk, 0, i); /* value 0 is the images */
        for (int32_t s = 0; s < exe->n_steps; s++) {
            run_step(&chunk, s);
            gather(&all, &chunk, exe->steps[s].low.out, i);
        }
    }
    status = show(exe, &all, 0, n, observer, context);
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        status = show(exe, &all, exe->steps[s].low.out, n, observer, context);
    }
    gathered_free(exe, &all);
    return status;
}

static const void *x86_get_extension(const char *id) {
    static const pare_backend_observe observe = {
        .struct_size = sizeof(pare_backend_observe),
        .run = observe_run,
    };
    return strcmp(id, PARE_BACKEND_OBSERVE) == 0 ? &observe : NULL;
}

const pare_backend x86_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "x86",
    .version = "1.0.0",
    .doc = "x86-64 from SSE2 to AVX-512-VNNI, the level chosen at run time",
    .reference = "plugins/backends/README.md (arithmetic), plugins/backends/x86/README.md",
    .probe = x86_probe,
    .create = x86_create,
    .destroy = x86_destroy,
    .supports = x86_supports,
    .compile = x86_compile,
    .executable_destroy = x86_executable_destroy,
    .executable_info = x86_executable_info,
    .run = x86_run,
    .get_extension = x86_get_extension,
};
