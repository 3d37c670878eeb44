/* SPDX-License-Identifier: MIT */
/* Initial weights. */
#include "core/rng.h"
#include "model/model_private.h"

#include <math.h>

/* Is `node` the linear that makes the logits (with nothing after it but a softmax)? */
static bool makes_logits(const pare_graph *graph, const pare_node *node) {
    int32_t last = graph->n_nodes - 1;
    if (graph->nodes[last]->op == PARE_OP_SOFTMAX)
        last = graph->nodes[last]->inputs[0];
    return node->op == PARE_OP_LINEAR && node->index == last;
}

/* Uniform in [-bound, bound) on a grid of 2^24 points: an integer, one product in double and one
 * rounding to float, so the same bits on every machine. */
static void fill_uniform(struct weight_store *w, uint64_t seed, double bound) {
    pare_rng rng;
    rng_init(&rng, seed, w->name, 0);
    for (int64_t i = 0; i < w->view.n_elems; i++) {
        int32_t k = (int32_t)(rng_next(&rng) >> 40) - (1 << 23);
        w->data[i] = (float)((double)k * (bound / 8388608.0));
    }
}

void model_init_weights(struct model *model, uint64_t seed) {
    for (int32_t i = 0; i < model->graph.n_weights; i++) {
        struct weight_store *w = weight_at(model, i);
        w->view.mask = NULL;
        w->view.codes = NULL;
        w->view.quant = (pare_quant){0};
        if (w->view.role == PARE_ROLE_WEIGHT) {
            double fan_in = (double)(w->view.n_elems / w->view.dims[0]);
            bool is_last = makes_logits(&model->graph, model->graph.nodes[w->view.node]);
            fill_uniform(w, seed, sqrt((is_last ? 1.0 : 6.0) / fan_in));
            continue;
        }
        float fill = w->view.role == PARE_ROLE_GAMMA || w->view.role == PARE_ROLE_VAR ? 1.0f : 0.0f;
        for (int64_t k = 0; k < w->view.n_elems; k++)
            w->data[k] = fill;
    }
}
