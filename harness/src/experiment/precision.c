/* SPDX-License-Identifier: MIT */
#include "experiment/precision.h"

#include "core/alloc.h"
#include "experiment/pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct precision precisions[] = {
    {"fp32", 0, 0, 0},    {"int8", 8, 0, 0},           {"int4", 4, 0, 0},   {"int2", 2, 0, 0},
    {"ternary", 8, 2, 0}, {"binary-weights", 8, 1, 0}, {"binary", 8, 1, 1},
};

const struct precision *precision_find(const char *name, struct error *err) {
    for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++) {
        if (strcmp(precisions[i].name, name) == 0)
            return &precisions[i];
    }
    error_set(err, PARE_E_ARG,
              "precision is \"%s\", wanted fp32, int8, int4, int2, ternary, binary-weights or "
              "binary",
              name);
    return NULL;
}

/* ---- inner layers: all but the first and the last ---- */

static int is_layer(const pare_node *node) {
    return node->op == PARE_OP_CONV2D || node->op == PARE_OP_LINEAR;
}

/* The first inner layer after node `after`, -1: none. */
static int32_t next_inner(const pare_graph *g, int32_t after) {
    int32_t first = -1, last = -1, found = -1;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        if (is_layer(g->nodes[i])) {
            first = first < 0 ? i : first;
            last = i;
        }
    }
    for (int32_t i = g->n_nodes - 1; i > after; i--)
        found = is_layer(g->nodes[i]) && i != first && i != last ? i : found;
    return found;
}

/* Ternary: 0 below 0.7 E|w| (Li et al. 2016, eq. 6); binary: sign. Scale E|w| of what is kept. */
static void low_bit_channel(const float *w, int64_t n, int bits, int16_t *codes, float *scale) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)w[i]);
    double threshold = bits == 2 ? 0.7 * sum / (double)n : -1;
    double kept = 0, n_kept = 0;
    for (int64_t i = 0; i < n; i++) {
        int keep = fabs((double)w[i]) > threshold;
        codes[i] = (int16_t)(!keep ? 0 : w[i] < 0 ? -1 : 1);
        kept += keep ? fabs((double)w[i]) : 0;
        n_kept += keep;
    }
    *scale = n_kept > 0 && kept > 0 ? (float)(kept / n_kept) : 1;
}

static pare_status low_bit_weight(struct model *model, const pare_weight *w, int bits,
                                  struct error *err) {
    int64_t n_channels = w->dims[0], n = w->n_elems / n_channels;
    int16_t *codes = alloc_array((size_t)w->n_elems, sizeof *codes);
    float *scales = alloc_array((size_t)n_channels, sizeof *scales);
    pare_status status = PARE_E_NOMEM;
    if (codes && scales) {
        for (int64_t c = 0; c < n_channels; c++)
            low_bit_channel(w->data + c * n, n, bits, codes + c * n, &scales[c]);
        pare_quant quant = {.bits = bits,
                            .qmin = -1,
                            .qmax = 1,
                            .axis = 0,
                            .n = (int32_t)n_channels,
                            .scale = scales};
        status = model_set_weight_quant(model, w->index, &quant, codes, err);
    } else {
        error_set(err, PARE_E_NOMEM, "out of memory for %s", w->name);
    }
    free(scales);
    free(codes);
    return status;
}

static pare_status lower_weights(struct model *model, int bits, struct error *err) {
    const pare_graph *g = &model->graph;
    for (int32_t i = next_inner(g, 0); i >= 0; i = next_inner(g, i)) {
        if (low_bit_weight(model, g->nodes[i]->weights[PARE_ROLE_WEIGHT], bits, err) != PARE_OK)
            return err->status;
    }
    return PARE_OK;
}

/* The relu whose values an inner layer reads, if only pooling and flatten are between; -1: none. */
static int32_t relu_before(const pare_graph *g, int32_t layer) {
    const pare_node *node = g->nodes[g->nodes[layer]->inputs[0]];
    while (node->op == PARE_OP_MAX_POOL || node->op == PARE_OP_AVG_POOL ||
           node->op == PARE_OP_FLATTEN)
        node = g->nodes[node->inputs[0]];
    return node->op == PARE_OP_RELU ? node->index : -1;
}

/* Inner layers read signs. Signs take the place of relus, as in Bi-Real Net (arXiv 1808.00278):
 * behind a relu every sign is 1. */
static pare_status put_signs(struct model *model, struct error *err) {
    const pare_graph *g = &model->graph;
    const float scale = 1;
    const pare_quant signs = {
        .bits = 1, .qmin = -1, .qmax = 1, .axis = -1, .n = 1, .scale = &scale};
    for (int32_t i = next_inner(g, 0); i >= 0; i = next_inner(g, i)) {
        int32_t relu = relu_before(g, i), quantize;
        if (relu >= 0 && model_remove_relu(model, relu, err) != PARE_OK)
            return err->status;
        i -= relu >= 0;
        if (model_insert_quantize(model, i, 0, err, &quantize) != PARE_OK ||
            model_set_activation_quant(model, quantize, &signs, err) != PARE_OK)
            return err->status;
        i = quantize + 1;
    }
    return PARE_OK;
}

/* ---- the whole ---- */

static pare_status run_step(const struct step_spec *step, struct model *model,
                            const struct dataset *ds, uint64_t seed, const struct registry *reg,
                            struct error *err) {
    struct step_spec copy = *step;
    struct pipeline_spec spec = {1, &copy, 0};
    struct pipeline *pipeline;
    if (pipeline_resolve(&spec, reg, err, &pipeline) != PARE_OK)
        return err->status;
    struct pipeline_env env = {.ds = ds, .seed = seed};
    pare_status status = pipeline_apply(pipeline, &env, model, err, NULL);
    pipeline_destroy(pipeline);
    return status;
}

static pare_status run_ptq(struct model *model, const struct precision *precision,
                           const struct dataset *ds, int32_t n_samples, uint64_t seed,
                           const struct registry *reg, struct error *err) {
    struct param_input inputs[] = {
        {.name = "bits", .kind = INPUT_NUMBER, .is_integer = 1, .number = precision->bits},
        {.name = "calibration_samples", .kind = INPUT_NUMBER, .is_integer = 1, .number = n_samples},
    };
    struct step_spec step = {"ptq", 2, inputs};
    return run_step(&step, model, ds, seed, reg, err);
}

pare_status precision_check_prune(double sparsity, const char *pattern, struct error *err) {
    if (strcmp(pattern, "unstructured") != 0 && strcmp(pattern, "2:4") != 0)
        return error_set(err, PARE_E_ARG, "sparsity pattern is \"%s\", wanted unstructured or 2:4",
                         pattern);
    if (strcmp(pattern, "2:4") == 0 && sparsity != 0.5)
        return error_set(err, PARE_E_ARG, "sparsity is %g, wanted 0.5: that is what 2:4 is",
                         sparsity);
    return PARE_OK;
}

pare_status precision_prune(struct model *model, double sparsity, const char *pattern,
                            const struct dataset *ds, uint64_t seed, const struct registry *reg,
                            struct error *err) {
    struct param_input inputs[] = {{.name = "sparsity", .kind = INPUT_NUMBER, .number = sparsity}};
    struct step_spec magnitude = {"magnitude", 1, inputs}, nm = {"nm", 0, NULL};
    if (precision_check_prune(sparsity, pattern, err) != PARE_OK)
        return err->status;
    return run_step(strcmp(pattern, "2:4") == 0 ? &nm : &magnitude, model, ds, seed, reg, err);
}

pare_status precision_apply(const struct precision *precision, struct model *model,
                            const struct dataset *ds, int32_t n_samples, uint64_t seed,
                            const struct registry *reg, struct error *err) {
    pare_status status = precision->inner_signs ? put_signs(model, err) : PARE_OK;
    if (status == PARE_OK)
        status = run_ptq(model, precision, ds, n_samples, seed, reg, err);
    if (status == PARE_OK && precision->inner_weight_bits)
        status = lower_weights(model, precision->inner_weight_bits, err);
    return status;
}
