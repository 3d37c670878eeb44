/* SPDX-License-Identifier: MIT */
/* The models that methods are tried on. */
#include "check/life_stages.h"
#include "core/alloc.h"
#include "core/rng.h"

#include <stdlib.h>

struct builder {
    struct model *model;
    struct error *err;
};

static int32_t add(struct builder *b, struct node_spec spec) {
    int32_t index = 0;
    if (b->err->status == PARE_OK && model_add(b->model, &spec, b->err, &index))
        return 0;
    return index;
}

static int32_t add_conv(struct builder *b, const char *name, const char *norm, int32_t in,
                        int32_t channels, int32_t groups) {
    int32_t x = add(b, (struct node_spec){.op = PARE_OP_CONV2D,
                                          .name = name,
                                          .inputs = {in},
                                          .out_channels = channels,
                                          .kernel_h = 3,
                                          .kernel_w = 3,
                                          .pad_h = 1,
                                          .pad_w = 1,
                                          .groups = groups,
                                          .bias = norm == NULL});
    if (!norm)
        return x;
    return add(b, (struct node_spec){.op = PARE_OP_BATCH_NORM, .name = norm, .inputs = {x}});
}

static int32_t add_linear(struct builder *b, const char *name, int32_t in, int32_t outputs) {
    return add(b, (struct node_spec){.op = PARE_OP_LINEAR,
                                     .name = name,
                                     .inputs = {in},
                                     .out_channels = outputs,
                                     .bias = 1});
}

static int32_t add_simple(struct builder *b, pare_op op, const char *name, int32_t in) {
    return add(b, (struct node_spec){.op = op, .name = name, .inputs = {in}});
}

static void build_linears(struct builder *b) {
    int32_t x = add_simple(b, PARE_OP_FLATTEN, "flatten", 0);
    x = add_simple(b, PARE_OP_RELU, "relu1", add_linear(b, "fc1", x, 24));
    x = add_simple(b, PARE_OP_RELU, "relu2", add_linear(b, "fc2", x, 16));
    add_linear(b, "fc3", x, 5);
}

static void build_convolutions(struct builder *b) {
    int32_t x = add_simple(b, PARE_OP_RELU, "relu1", add_conv(b, "conv1", "bn1", 0, 8, 1));
    int32_t y = add_simple(b, PARE_OP_RELU, "relu2", add_conv(b, "conv2", "bn2", x, 8, 1));
    y = add_conv(b, "conv3", "bn3", y, 8, 2);
    x = add(b, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {y, x}});
    x = add_simple(b, PARE_OP_RELU, "relu3", x);
    x = add(b, (struct node_spec){.op = PARE_OP_MAX_POOL,
                                  .name = "pool",
                                  .inputs = {x},
                                  .kernel_h = 2,
                                  .kernel_w = 2,
                                  .stride_h = 2,
                                  .stride_w = 2});
    x = add_simple(b, PARE_OP_RELU, "relu4", add_conv(b, "conv4", NULL, x, 12, 1));
    x = add_simple(b, PARE_OP_GLOBAL_AVG_POOL, "average", x);
    add_linear(b, "fc", x, 5);
}

/* Batch norms as after training: means, variances and factors of their own. */
static void stir_norms(struct model *model, uint64_t seed) {
    pare_rng rng;
    rng_init(&rng, seed, "norms", 0);
    for (int32_t i = 0; i < model->graph.n_weights; i++) {
        const pare_weight *w = model->graph.weights[i];
        float *data = model_weight_data(model, i);
        int is_positive = w->role == PARE_ROLE_GAMMA || w->role == PARE_ROLE_VAR;
        if (w->role == PARE_ROLE_WEIGHT)
            continue;
        for (int64_t k = 0; k < w->n_elems; k++)
            data[k] = is_positive ? 0.5f + rng_float(&rng) : 0.4f * rng_float(&rng) - 0.2f;
    }
}

pare_status life_prune_half(struct model *model, uint64_t seed, struct error *err) {
    pare_rng rng;
    rng_init(&rng, seed, "mask", 0);
    for (int32_t k = 0; k < model->graph.n_weights; k++) {
        const pare_weight *w = model->graph.weights[k];
        uint8_t *mask = w->role == PARE_ROLE_WEIGHT ? alloc_array((size_t)w->n_elems, 1) : NULL;
        for (int64_t i = 0; mask && i < w->n_elems; i++)
            mask[i] = (uint8_t)(rng_next(&rng) >> 63);
        pare_status status = mask ? model_set_mask(model, k, mask, err) : PARE_OK;
        free(mask);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

const char *life_model_name(int which) {
    static const char *const names[LIFE_N_MODELS] = {"linear layers", "convolutions",
                                                     "pruned linear layers"};
    return names[which];
}

pare_status life_make_model(int which, uint64_t seed, struct error *err, struct model **out) {
    struct builder b = {NULL, err};
    const int32_t dims[LIFE_N_MODELS][3] = {{3, 4, 2}, {8, 8, 3}, {3, 4, 2}};
    err->status = PARE_OK;
    int is_linear = which != 1;
    if (model_create(is_linear ? "linears" : "convolutions", dims[which], err, &b.model))
        return life_own_failure(err);
    if (is_linear)
        build_linears(&b);
    else
        build_convolutions(&b);
    if (err->status != PARE_OK || model_finish(b.model, err)) {
        model_destroy(b.model);
        return life_own_failure(err);
    }
    model_init_weights(b.model, seed);
    stir_norms(b.model, seed);
    if (which == 2 && life_prune_half(b.model, seed, err)) {
        model_destroy(b.model);
        return life_own_failure(err);
    }
    *out = b.model;
    return PARE_OK;
}
