/* SPDX-License-Identifier: MIT */
#include "tiled.h"

#include <stdio.h>
#include <string.h>

/* A batch is run in chunks, each through all steps, so that its values stay in the cache. One image
 * is best for that; but a linear layer's weights, read once for each chunk, want more. */
#define CHUNK_LINEAR 8
#define LARGE_LINEAR_WEIGHTS 32768

struct instance {
    const pare_host *host;
    const struct tiled_backend *backend;
    uint32_t features;
    enum tiled_sparsity sparsity;
};

/* ---- instances ---- */

const pare_param_desc tiled_params[TILED_N_PARAMS] = {
    {.name = "sparse",
     .type = PARE_PARAM_STRING,
     .unit = "",
     .choices = "auto|never|always",
     .default_value = "auto",
     .doc = "Whether convolutions leave out weights that are 0: where that is estimated to be "
            "faster, never, or wherever there is a kernel for it (for tests)."},
};

static enum tiled_sparsity read_sparsity(const pare_params *params) {
    const char *s = params != NULL && params->n > 0 ? params->values[0]->s : "auto";
    return strcmp(s, "never") == 0    ? TILED_SPARSE_NEVER
           : strcmp(s, "always") == 0 ? TILED_SPARSE_ALWAYS
                                      : TILED_SPARSE_AUTO;
}

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
                              uint32_t features, const pare_params *params, void **instance) {
    struct instance *self = host->alloc(host, sizeof *self);
    if (self == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an instance");
    }
    self->host = host;
    self->backend = backend;
    self->features = features;
    self->sparsity = read_sparsity(params);
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

/* "x86_conv2d_i8_w4_add": what is done, in which arithmetic (conversions: the codes' container),
 * with weights packed at how many bits if fewer than 8 (or widened to 8 from how many), by a kind
 * of product that has a name of its own, and if an add is done at once. */
static void name_kernel(const struct tiled_executable *exe, const pare_graph *graph,
                        struct tiled_step *step) {
    static const char *const kinds[LOWER_N_KINDS] = {
        [LOWER_COPY] = "copy",
        [LOWER_QUANTIZE] = "quantize",
        [LOWER_DEQUANTIZE] = "dequantize",
        [LOWER_REQUANTIZE] = "requantize",
        [LOWER_SIGN] = "sign",
        [LOWER_CONV2D] = "conv2d",
        [LOWER_LINEAR] = "linear",
        [LOWER_AFFINE] = "batch_norm",
        [LOWER_RELU] = "relu",
        [LOWER_ADD] = "add",
        [LOWER_MAX_POOL] = "max_pool",
        [LOWER_AVG_POOL] = "avg_pool",
        [LOWER_SHORTCUT_A] = "shortcut_a",
        [LOWER_SOFTMAX] = "softmax",
    };
    static const char *const reps[] = {"f32", "i8", "i16", "b1"};
    enum { SIGNS = 3 };
    const struct lower_step *s = &step->low;
    int rep = s->kind == LOWER_QUANTIZE     ? (int)exe->plan.low.values[s->out].rep
              : s->kind == LOWER_DEQUANTIZE ? (int)exe->plan.low.values[s->in[0]].rep
                                            : (int)s->arith;
    if (exe->plan.layouts[s->kind == LOWER_SIGN ? s->out : s->in[0]].is_bits) {
        rep = SIGNS;
    }
    const char *layout = "";
    if (exe->plan.layouts[s->out].planes.pitch_h > 0) {
        layout = s->kind == LOWER_CONV2D ? "_sparse" : s->kind == LOWER_COPY ? "_in" : "_planes";
    } else if (exe->plan.layouts[s->in[0]].planes.pitch_h > 0) {
        layout = "_out";
    }
    char weights[24] = "";
    if (step->product.kind != NULL && rep == LOWER_I8) {
        int32_t bits = graph->nodes[s->node]->weights[PARE_ROLE_WEIGHT]->quant.bits;
        if (step->product.kind->bits < 8) {
            snprintf(weights, sizeof weights, "_w%d", step->product.kind->bits);
        } else if (bits <= 4) {
            snprintf(weights, sizeof weights, "_w%d_widened", bits);
        }
    }
    const char *suffix = step->product.kind != NULL ? step->product.kind->suffix : NULL;
    snprintf(step->kernel, sizeof step->kernel, "%s_%s_%s%s%s%s%s", exe->backend->id,
             kinds[s->kind], reps[rep], weights, suffix != NULL ? suffix : "", layout,
             step->fused.is_fused ? "_add" : "");
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

static int pack_step(struct tiled_executable *exe, struct tiled_packer *packer,
                     const pare_graph *graph, int32_t index) {
    const struct lower_step *low = &exe->plan.low.steps[index];
    struct tiled_step *step = &exe->steps[index];
    step->low = *low;
    step->fused = exe->plan.fused[low->out];
    int64_t weight_bytes = 0;
    int done = 1;
    int product = low->kind == LOWER_CONV2D || low->kind == LOWER_LINEAR;
    if (exe->plan.layouts[low->out].planes.pitch_h > 0 && product) {
        done = tiled_pack_sparse(packer, step, &weight_bytes);
    } else if (product) {
        int32_t bits = graph->nodes[low->node]->weights[PARE_ROLE_WEIGHT]->quant.bits;
        done = tiled_pack_product(packer, step, bits, &weight_bytes);
    } else if (low->kind == LOWER_AFFINE) {
        done = pack_affine(packer, step);
        weight_bytes = 2 * (int64_t)sizeof(float) * low->out_c;
    } else if (low->multiplier != NULL) {
        memcpy(step->m, low->multiplier, (low->kind == LOWER_ADD ? 2 : 1) * sizeof(float));
    }
    name_kernel(exe, graph, step);
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
        .macs =
            step->sparse.taps != NULL ? step->sparse.n_taps * low->out_h * low->out_w : low->macs,
        .weight_bytes = weight_bytes,
    };
    exe->kernel_list[index] = &exe->kernel_infos[index];
    return done;
}

/* ---- executables ---- */

void tiled_executable_destroy(void *executable) {
    struct tiled_executable *exe = executable;
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
            step->sparse.spots,   step->sparse.first,
            step->sparse.taps,    step->sparse.bias,
        };
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            host->free(host, parts[k]);
        }
    }
    host->free(host, exe->steps);
    host->free(host, exe->arenas);
    host->free(host, exe->kernel_infos);
    host->free(host, exe->kernel_list);
    tiled_plan_destroy(host, &exe->plan);
    host->free(host, exe);
}

static pare_status pack(struct tiled_executable *exe, const pare_graph *graph) {
    const struct lower_plan *low = &exe->plan.low;
    struct tiled_packer packer = {.host = exe->host,
                                  .kernels = exe->kernels,
                                  .plan = &exe->plan,
                                  .code_offset = exe->backend->code_offset};
    size_t arenas_bytes = (size_t)exe->n_arenas * (size_t)low->arena_bytes;
    exe->n_steps = low->n_steps;
    exe->steps = tiled_keep(&packer, low->n_steps, sizeof *exe->steps);
    exe->kernel_infos = tiled_keep(&packer, low->n_steps, sizeof *exe->kernel_infos);
    exe->kernel_list = tiled_keep(&packer, low->n_steps, sizeof *exe->kernel_list);
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
static pare_status fill(struct tiled_executable *exe, const pare_graph *graph, int32_t max_batch,
                        enum tiled_sparsity sparsity) {
    const pare_host *host = exe->host;
    if (max_batch < 1) {
        return host->fail(host, PARE_E_RANGE, "%s: a batch of %d, wanted 1 or more", graph->name,
                          max_batch);
    }
    int32_t chunk = images_in_chunk(graph, max_batch);
    pare_status status = tiled_plan_graph(host, graph, chunk, exe->kernels, sparsity, &exe->plan);
    if (status != PARE_OK) {
        return status;
    }
    const int32_t *d = graph->nodes[0]->dims;
    exe->max_batch = max_batch;
    exe->input_elems = d[0] * d[1] * d[2];
    exe->output_elems = graph->n_classes;
    /* One task for each image, at most, uses an arena at a time. */
    int32_t n_threads = host->n_threads(host);
    int64_t n = n_threads > 1 ? (int64_t)TILED_IMAGE_TASKS_PER_THREAD * n_threads : 1;
    exe->n_arenas = (int32_t)(n < max_batch ? n : max_batch);
    if (exe->plan.low.arena_bytes > INT64_MAX / exe->n_arenas) {
        return host->fail(host, PARE_E_LIMIT,
                          "%s: activations for %d threads do not fit into memory", graph->name,
                          n_threads);
    }
    return pack(exe, graph);
}

pare_status tiled_compile(void *instance, const pare_graph *graph,
                          const pare_compile_options *options, void **executable) {
    const struct instance *self = instance;
    const pare_host *host = self->host;
    const struct tiled_level *level = tiled_find_level(self->backend, self->features, options->isa);
    if (level == NULL) {
        return refuse_isa(self, options->isa);
    }
    struct tiled_executable *exe = host->alloc(host, sizeof *exe);
    if (exe == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    memset(exe, 0, sizeof *exe);
    exe->host = host;
    exe->backend = self->backend;
    exe->level = level;
    int has_variant =
        level->variant != NULL && (self->features & level->variant_needs) == level->variant_needs;
    exe->kernels = has_variant ? level->variant : level->kernels;
    pare_status status = fill(exe, graph, options->max_batch, self->sparsity);
    if (status != PARE_OK) {
        tiled_executable_destroy(exe);
        return status;
    }
    *executable = exe;
    return PARE_OK;
}

pare_status tiled_executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct tiled_executable *)executable)->info;
    return PARE_OK;
}
