/* SPDX-License-Identifier: MIT */
/* run_n MODEL BACKEND ISA PRECISION BATCH N: runs a model file N times on one thread, and nothing
 * that depends on time; for counting instructions (scripts/bench/arm_instructions.sh). ISA "best":
 * the best here. PRECISION fp32, or int8: batch norms are folded, and weights and values put on
 * grids of 8 bits whatever their range is, because the instructions do not depend on it. */
#include "core/alloc.h"
#include "core/pool.h"
#include "core/rng.h"
#include "experiment/deployment.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;

static void check(pare_status status) {
    if (status != PARE_OK) {
        fprintf(stderr, "run_n: %s\n", err.text);
        exit(1);
    }
}

static void quantize_weight(struct model *model, const pare_weight *w) {
    int64_t each = w->n_elems / w->dims[0];
    float *scales = alloc_array((size_t)w->dims[0], sizeof *scales);
    if (!scales)
        check(error_set(&err, PARE_E_NOMEM, "out of memory for scales"));
    for (int64_t c = 0; c < w->dims[0]; c++) {
        float largest = 1e-6f;
        for (int64_t k = c * each; k < (c + 1) * each; k++)
            largest = fmaxf(largest, fabsf(w->data[k]));
        scales[c] = largest / 127.0f;
    }
    pare_quant quant = {
        .bits = 8, .qmin = -127, .qmax = 127, .axis = 0, .n = (int32_t)w->dims[0], .scale = scales};
    check(model_set_weight_quant(model, w->index, &quant, NULL, &err));
    free(scales);
}

/* Is the value of `node` stored, or does a relu take it straight away? */
static int feeds_relu_alone(const pare_graph *g, const pare_node *node) {
    for (int32_t k = node->index + 1; k < g->n_nodes; k++)
        if (g->nodes[k]->op == PARE_OP_RELU && g->nodes[k]->inputs[0] == node->index)
            return node->n_consumers == 1;
    return 0;
}

static void quantize(struct model *model) {
    const float scale = 0.05f;
    check(model_fold_batch_norm(model, &err));
    const pare_graph *g = &model->graph;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const pare_node *node = g->nodes[i];
        const int32_t zero = node->op == PARE_OP_RELU ? -128 : 3;
        const pare_quant quant = {.bits = 8,
                                  .qmin = -128,
                                  .qmax = 127,
                                  .axis = -1,
                                  .n = 1,
                                  .scale = &scale,
                                  .zero_point = &zero};
        int moves = node->op == PARE_OP_MAX_POOL || node->op == PARE_OP_FLATTEN ||
                    node->op == PARE_OP_SHORTCUT_A;
        if (i < g->n_nodes - 1 && !moves && !feeds_relu_alone(g, node))
            check(model_set_activation_quant(model, i, &quant, &err));
        if (node->weights[PARE_ROLE_WEIGHT])
            quantize_weight(model, node->weights[PARE_ROLE_WEIGHT]);
    }
}

static float *seeded_images(const pare_graph *g, int32_t batch) {
    size_t n = (size_t)batch * (size_t)g->input_dims[0] * (size_t)g->input_dims[1] *
               (size_t)g->input_dims[2];
    float *images = alloc_array(n, sizeof *images);
    pare_rng rng;
    rng_init(&rng, 1, "run-n", 0);
    for (size_t i = 0; images && i < n; i++)
        images[i] = (float)rng_below(&rng, 256) / 64.0f - 2.0f;
    return images;
}

int main(int argc, char **argv) {
    struct model *model;
    struct registry *reg;
    struct pool *pool;
    struct deployment *dep;
    int batch = argc == 7 ? atoi(argv[5]) : 0;
    int n = argc == 7 ? atoi(argv[6]) : 0;
    if (batch < 1 || n < 0 || argc != 7) {
        fprintf(stderr, "usage: run_n MODEL BACKEND ISA|best fp32|int8 BATCH N\n");
        return 2;
    }
    check(model_load(argv[1], &err, &model));
    if (strcmp(argv[4], "int8") == 0)
        quantize(model);
    check(registry_create(&err, &reg));
    check(registry_scan_default(reg, &err));
    check(pool_create(1, NULL, &err, &pool));
    const char *isa = strcmp(argv[3], "best") == 0 ? NULL : argv[3];
    check(deployment_create(&model->graph, reg, argv[2], isa, batch, pool, &err, &dep));
    float *images = seeded_images(&model->graph, batch);
    float *outputs = alloc_array((size_t)batch * (size_t)dep->n_outputs, sizeof *outputs);
    if (!images || !outputs)
        check(error_set(&err, PARE_E_NOMEM, "out of memory for images"));
    const pare_backend *b = instance_entry(dep->inst)->backend;
    for (int i = 0; i < n; i++)
        check(instance_status(dep->inst, b->run(dep->executable, images, batch, outputs), "run",
                              &err));
    printf("%s %s\n", dep->info->isa, dep->info->execution);
    free(outputs);
    free(images);
    deployment_destroy(dep);
    pool_destroy(pool);
    registry_destroy(reg);
    model_destroy(model);
    return 0;
}
