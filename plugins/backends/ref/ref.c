/* SPDX-License-Identifier: MIT */
#include "ref.h"
#include "show.h"

#include <pare/ext/profile.h>
#include <string.h>

struct executable {
    const pare_host *host;
    const struct ref_kernels *kernels;
    struct lower_plan *plan; /* its weights are dropped: each step holds its own, packed */
    int32_t n_steps;
    struct ref_step *steps; /* (n_steps) */
    void *arena;
    int32_t input_elems;
    int64_t bytes_resident;
    pare_executable_info info;
    pare_kernel_info *kernel_infos;       /* (n_steps) */
    const pare_kernel_info **kernel_list; /* (n_steps) */
};

/* ---- instances ---- */

/* The level for `isa`, NULL: the best. NULL when it is not known or not on this CPU. */
static const struct ref_kernels *find_kernels(const char *isa) {
#ifdef REF_HAVE_AVX2
    /* Asks for the operating system's support too. */
    if (__builtin_cpu_supports("avx2") && (isa == NULL || strcmp(isa, ref_kernels_avx2.isa) == 0)) {
        return &ref_kernels_avx2;
    }
#endif
    return isa == NULL || strcmp(isa, ref_kernels_portable.isa) == 0 ? &ref_kernels_portable : NULL;
}

static pare_status ref_probe(const pare_host *host, pare_probe *probe) {
    (void)host;
    probe->score = 1;
    probe->reason[0] = '\0';
    memset(probe->isa, 0, sizeof probe->isa);
    const char *isa = find_kernels(NULL)->isa;
    memcpy(probe->isa, isa, strlen(isa));
    return PARE_OK;
}

static pare_status ref_create(const pare_host *host, const pare_params *params, void **instance) {
    (void)params;
    const pare_host **self = host->alloc(host, sizeof *self);
    if (self == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an instance");
    }
    *self = host;
    *instance = self;
    return PARE_OK;
}

static void ref_destroy(void *instance) {
    if (instance != NULL) {
        const pare_host *host = *(const pare_host **)instance;
        host->free(host, instance);
    }
}

static pare_status ref_supports(void *instance, const pare_graph *graph, int32_t node) {
    return lower_check_node(*(const pare_host **)instance, graph, node);
}

/* ---- packing ---- */

/* Memory that counts as resident, cleared. */
static void *keep(struct executable *exe, int64_t n, size_t size) {
    size_t bytes = (size_t)n * size;
    void *ptr = exe->host->alloc(exe->host, bytes > 0 ? bytes : 1);
    if (ptr != NULL) {
        memset(ptr, 0, bytes);
        exe->bytes_resident += (int64_t)bytes;
    }
    return ptr;
}

static int32_t width_for(int32_t n) {
    return n > 8 ? 16 : n > 4 ? 8 : 4;
}

/* Cuts each group's output channels into blocks; *n_params is their number with padding. */
static int plan_blocks(struct executable *exe, const struct lower_step *s, struct ref_product *p,
                       int64_t *n_weights, int32_t *n_params) {
    int32_t per_group = s->out_c / s->groups;
    int64_t taps = (int64_t)s->kernel_h * s->kernel_w * (s->in_c / s->groups);
    p->n_blocks = s->groups * ((per_group + REF_MAX_WIDTH - 1) / REF_MAX_WIDTH);
    p->blocks = keep(exe, p->n_blocks, sizeof *p->blocks);
    if (p->blocks == NULL) {
        return 0;
    }
    *n_weights = 0;
    *n_params = 0;
    struct ref_block *block = p->blocks;
    for (int32_t g = 0; g < s->groups; g++) {
        for (int32_t c = 0; c < per_group; c += REF_MAX_WIDTH, block++) {
            int32_t n = per_group - c < REF_MAX_WIDTH ? per_group - c : REF_MAX_WIDTH;
            *block = (struct ref_block){.first = g * per_group + c,
                                        .n = n,
                                        .width = width_for(n),
                                        .first_in = g * (s->in_c / s->groups),
                                        .weights = *n_weights,
                                        .params = *n_params};
            *n_weights += taps * block->width;
            *n_params += block->width;
        }
    }
    return 1;
}

static int alloc_product(struct executable *exe, const struct lower_step *s, struct ref_product *p,
                         int64_t n_weights, int32_t n_params) {
    p->bias = keep(exe, n_params, sizeof(float));
    switch (s->arith) {
    case LOWER_F32:
        p->weights_f32 = keep(exe, n_weights, sizeof(float));
        return p->bias != NULL && p->weights_f32 != NULL;
    case LOWER_I8:
        p->weights_i8 = keep(exe, n_weights, sizeof(int8_t));
        p->multiplier = keep(exe, n_params, sizeof(float));
        return p->bias != NULL && p->weights_i8 != NULL && p->multiplier != NULL;
    case LOWER_I16:
        break;
    }
    p->weights_i16 = keep(exe, n_weights, sizeof(int16_t));
    p->multiplier = keep(exe, n_params, sizeof(float));
    return p->bias != NULL && p->weights_i16 != NULL && p->multiplier != NULL;
}

/* Channel `o` of a block: weights (taps) strided by the block's width, bias, multiplier. */
static void pack_channel(const struct lower_step *s, struct ref_product *p,
                         const struct ref_block *block, int32_t o, int64_t taps) {
    int64_t channel = block->first + o;
    for (int64_t k = 0; k < taps; k++) {
        int64_t from = channel * taps + k;
        int64_t to = block->weights + k * block->width + o;
        if (s->arith == LOWER_F32) {
            p->weights_f32[to] = s->weight_f32[from];
        } else if (s->arith == LOWER_I8) {
            p->weights_i8[to] = (int8_t)s->weight_codes[from];
        } else {
            p->weights_i16[to] = s->weight_codes[from];
        }
    }
    p->bias[block->params + o] = s->bias_f32[channel];
    if (s->arith != LOWER_F32) {
        p->multiplier[block->params + o] = s->multiplier[channel];
    }
}

static int pack_product(struct executable *exe, struct ref_step *step, int64_t *weight_bytes) {
    const struct lower_step *s = &step->low;
    struct ref_product *p = &step->product;
    int64_t n_weights;
    int32_t n_params;
    if (!plan_blocks(exe, s, p, &n_weights, &n_params) ||
        !alloc_product(exe, s, p, n_weights, n_params)) {
        return 0;
    }
    int64_t taps = (int64_t)s->kernel_h * s->kernel_w * (s->in_c / s->groups);
    for (int32_t b = 0; b < p->n_blocks; b++) {
        for (int32_t o = 0; o < p->blocks[b].n; o++) {
            pack_channel(s, p, &p->blocks[b], o, taps);
        }
    }
    step->n_chunks = (p->n_blocks + REF_CHUNK - 1) / REF_CHUNK;
    *weight_bytes = n_weights * lower_rep_bytes(s->arith);
    return 1;
}

static int pack_affine(struct executable *exe, struct ref_step *step) {
    int32_t n = step->low.out_c;
    step->gain = keep(exe, n, sizeof(float));
    step->shift = keep(exe, n, sizeof(float));
    if (step->gain == NULL || step->shift == NULL) {
        return 0;
    }
    memcpy(step->gain, step->low.multiplier, (size_t)n * sizeof(float));
    memcpy(step->shift, step->low.bias_f32, (size_t)n * sizeof(float));
    return 1;
}

/* By the arithmetic; conversions by the codes' container. */
static const char *kernel_name(const struct lower_plan *plan, const struct lower_step *s) {
    static const char *const names[LOWER_N_KINDS][3] = {
        [LOWER_COPY] = {"ref_copy_f32", "", ""},
        [LOWER_QUANTIZE] = {"", "ref_quantize_i8", "ref_quantize_i16"},
        [LOWER_DEQUANTIZE] = {"", "ref_dequantize_i8", "ref_dequantize_i16"},
        [LOWER_REQUANTIZE] = {"", "ref_requantize_i8", "ref_requantize_i16"},
        [LOWER_SIGN] = {"ref_sign_f32", "ref_sign_i8", "ref_sign_i16"},
        [LOWER_CONV2D] = {"ref_conv2d_f32", "ref_conv2d_i8", "ref_conv2d_i16"},
        [LOWER_LINEAR] = {"ref_linear_f32", "ref_linear_i8", "ref_linear_i16"},
        [LOWER_AFFINE] = {"ref_batch_norm_f32", "", ""},
        [LOWER_RELU] = {"ref_relu_f32", "", ""},
        [LOWER_ADD] = {"ref_add_f32", "ref_add_i8", "ref_add_i16"},
        [LOWER_MAX_POOL] = {"ref_max_pool_f32", "ref_max_pool_i8", "ref_max_pool_i16"},
        [LOWER_AVG_POOL] = {"ref_avg_pool_f32", "ref_avg_pool_i8", "ref_avg_pool_i16"},
        [LOWER_SHORTCUT_A] = {"ref_shortcut_a_f32", "ref_shortcut_a_i8", "ref_shortcut_a_i16"},
        [LOWER_SOFTMAX] = {"ref_softmax_f32", "", ""},
    };
    enum lower_rep rep = s->arith;
    if (s->kind == LOWER_QUANTIZE) {
        rep = plan->values[s->out].rep;
    } else if (s->kind == LOWER_DEQUANTIZE) {
        rep = plan->values[s->in[0]].rep;
    }
    return names[s->kind][rep];
}

static int pack_step(struct executable *exe, const struct lower_step *low, int32_t index) {
    struct ref_step *step = &exe->steps[index];
    step->low = *low;
    step->kernel = kernel_name(exe->plan, low);
    int64_t weight_bytes = 0;
    int done = 1;
    if (low->kind == LOWER_CONV2D || low->kind == LOWER_LINEAR) {
        done = pack_product(exe, step, &weight_bytes);
    } else if (low->kind == LOWER_AFFINE) {
        done = pack_affine(exe, step);
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
        .is_fallback = low->is_fallback,
        .macs = low->macs,
        .weight_bytes = weight_bytes,
    };
    exe->kernel_list[index] = &exe->kernel_infos[index];
    return done;
}

/* ---- executables ---- */

static void ref_executable_destroy(void *executable) {
    struct executable *exe = executable;
    if (exe == NULL) {
        return;
    }
    const pare_host *host = exe->host;
    for (int32_t s = 0; exe->steps != NULL && s < exe->n_steps; s++) {
        struct ref_step *step = &exe->steps[s];
        void *const parts[] = {
            step->product.blocks,
            step->product.weights_f32,
            step->product.weights_i8,
            step->product.weights_i16,
            step->product.bias,
            step->product.multiplier,
            step->gain,
            step->shift,
        };
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            host->free(host, parts[k]);
        }
    }
    host->free(host, exe->steps);
    host->free(host, exe->arena);
    host->free(host, exe->kernel_infos);
    host->free(host, exe->kernel_list);
    lower_destroy(host, exe->plan);
    host->free(host, exe);
}

static pare_status pack(struct executable *exe) {
    const struct lower_plan *plan = exe->plan;
    exe->n_steps = plan->n_steps;
    exe->steps = keep(exe, plan->n_steps, sizeof *exe->steps);
    exe->kernel_infos = keep(exe, plan->n_steps, sizeof *exe->kernel_infos);
    exe->kernel_list = keep(exe, plan->n_steps, sizeof *exe->kernel_list);
    exe->arena = exe->host->alloc(exe->host, plan->arena_bytes > 0 ? (size_t)plan->arena_bytes : 1);
    int done = exe->steps != NULL && exe->kernel_infos != NULL && exe->kernel_list != NULL &&
               exe->arena != NULL;
    for (int32_t s = 0; done && s < plan->n_steps; s++) {
        done = pack_step(exe, &plan->steps[s], s);
    }
    lower_drop_weights(exe->host, exe->plan);
    if (!done) {
        return exe->host->fail(exe->host, PARE_E_NOMEM,
                               "out of memory: packed weights and %lld bytes of activations",
                               (long long)plan->arena_bytes);
    }
    exe->info = (pare_executable_info){
        .struct_size = sizeof(pare_executable_info),
        .isa = exe->kernels->isa,
        .execution = plan->execution,
        .bytes_resident = exe->bytes_resident,
        .bytes_activations = plan->arena_bytes,
        .n_kernels = exe->n_steps,
        .kernels = exe->kernel_list,
    };
    return PARE_OK;
}

static pare_status ref_compile(void *instance, const pare_graph *graph,
                               const pare_compile_options *options, void **executable) {
    const pare_host *host = *(const pare_host **)instance;
    const struct ref_kernels *kernels = find_kernels(options->isa);
    if (kernels == NULL) {
        return host->fail(host, PARE_E_UNSUPPORTED,
                          "isa is \"%s\", this machine has \"portable\"%s", options->isa,
                          find_kernels(NULL) == &ref_kernels_portable ? ""
                                                                      : " and \"portable-avx2\"");
    }
    struct executable *exe = host->alloc(host, sizeof *exe);
    if (exe == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    memset(exe, 0, sizeof *exe);
    exe->host = host;
    exe->kernels = kernels;
    pare_status status = lower_graph(host, graph, options->max_batch, &exe->plan);
    if (status == PARE_OK) {
        const int32_t *d = graph->nodes[0]->dims;
        exe->input_elems = d[0] * d[1] * d[2];
        status = pack(exe);
    }
    if (status != PARE_OK) {
        ref_executable_destroy(exe);
        return status;
    }
    *executable = exe;
    return PARE_OK;
}

static pare_status ref_executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

/* ---- running ---- */

/* A value's memory: the images are only read. */
static void *value_memory(const struct executable *exe, int32_t v, const float *images,
                          float *output) {
    const struct lower_value *value = &exe->plan->values[v];
    switch (value->place) {
    case LOWER_IMAGES:
        return (void *)(uintptr_t)images;
    case LOWER_OUTPUT:
        return output;
    case LOWER_ARENA:
        break;
    }
    return (char *)exe->arena + value->offset_bytes;
}

static pare_status check_images(const struct executable *exe, const float *images, int32_t n) {
    if (n < 1 || n > exe->plan->max_batch) {
        return exe->host->fail(exe->host, PARE_E_RANGE, "batch is %d, compiled for 1..%d", n,
                               exe->plan->max_batch);
    }
    for (int32_t i = 0; i < n; i++) {
        if (!exe->kernels->all_finite(images + (int64_t)i * exe->input_elems, exe->input_elems)) {
            return exe->host->fail(exe->host, PARE_E_NUMERIC,
                                   "image %d of the batch holds a value that is not finite", i);
        }
    }
    return PARE_OK;
}

/* Not by the number of threads. */
static int64_t count_tasks(const struct ref_step *step, int32_t n_samples) {
    int64_t n = n_samples;
    switch (step->low.kind) {
    case LOWER_CONV2D:
        return n * step->low.out_h;
    case LOWER_LINEAR:
        return (n + REF_TILE - 1) / REF_TILE * step->n_chunks;
    default:
        return n;
    }
}

static void run_step(const struct executable *exe, int32_t index, const float *images, int32_t n,
                     float *output) {
    const struct ref_step *step = &exe->steps[index];
    struct ref_call call = {
        .kernels = exe->kernels,
        .step = step,
        .out = &exe->plan->values[step->low.out],
        .y = value_memory(exe, step->low.out, images, output),
        .n_samples = n,
    };
    for (int32_t k = 0; k < step->low.n_inputs; k++) {
        call.in[k] = &exe->plan->values[step->low.in[k]];
        call.x[k] = value_memory(exe, step->low.in[k], images, output);
    }
    int64_t n_tasks = count_tasks(step, n);
    if (n_tasks == 1) {
        exe->kernels->run_task(&call, 0);
    } else {
        exe->host->parallel_for(exe->host, n_tasks, exe->kernels->run_task, &call);
    }
}

static pare_status ref_run(void *executable, const float *images, int32_t n, float *output) {
    const struct executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        run_step(exe, s, images, n, output);
    }
    return status;
}

/* Shows value `v` if it is a node's own. */
static pare_status show_value(struct show *show, int32_t v, const void *memory,
                              pare_observer observer, void *context) {
    int64_t n_elems = show->plan->values[v].n_elems * show->n_samples;
    pare_status status = show_gather(show, v, 0, n_elems, memory);
    return status == PARE_OK ? show_hand_over(show, v, observer, context) : status;
}

static pare_status observe_run(void *executable, const float *images, int32_t n, float *output,
                               pare_observer observer, void *context) {
    const struct executable *exe = executable;
    struct show show;
    pare_status status = check_images(exe, images, n);
    if (status == PARE_OK) {
        status = show_begin(&show, exe->host, exe->plan, n, 0);
    }
    if (status != PARE_OK) {
        return status;
    }
    status = show_value(&show, 0, images, observer, context); /* value 0 is the images */
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        run_step(exe, s, images, n, output);
        int32_t v = exe->steps[s].low.out;
        status = show_value(&show, v, value_memory(exe, v, images, output), observer, context);
    }
    show_end(&show);
    return status;
}

static pare_status profile_run(void *executable, const float *images, int32_t n, float *output,
                               pare_kernel_done done, void *context) {
    const struct executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    done(context, -1);
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        run_step(exe, s, images, n, output);
        done(context, s);
    }
    return status;
}

static const void *ref_get_extension(const char *id) {
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

const pare_backend ref_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "ref",
    .version = "1.0.0",
    .doc = "Portable C; the integers that every other backend must reproduce",
    .reference = "Jacob et al. 2018 (arXiv 1712.05877), section 2; plugins/backends/README.md",
    .probe = ref_probe,
    .create = ref_create,
    .destroy = ref_destroy,
    .supports = ref_supports,
    .compile = ref_compile,
    .executable_destroy = ref_executable_destroy,
    .executable_info = ref_executable_info,
    .run = ref_run,
    .get_extension = ref_get_extension,
};
