/* SPDX-License-Identifier: MIT */
/* Parameters and multiply-accumulates. */
#include "model/model_private.h"

static bool is_learnable(const pare_weight *w) {
    return w->role != PARE_ROLE_MEAN && w->role != PARE_ROLE_VAR;
}

static int64_t n_kept(const pare_weight *w) {
    if (w->mask == NULL)
        return w->n_elems;
    int64_t n = 0;
    for (int64_t i = 0; i < w->n_elems; i++)
        n += w->mask[i];
    return n;
}

/* How often each weight of the node is used for one sample: once per output pixel (1 for linear).
 */
static int64_t uses_per_weight(const pare_node *node) {
    return (int64_t)node->dims[0] * node->dims[1];
}

int64_t model_node_macs(const pare_graph *graph, int32_t node) {
    const pare_node *n = graph->nodes[node];
    const pare_weight *w = n->weights[PARE_ROLE_WEIGHT];
    return w == NULL ? 0 : w->n_elems * uses_per_weight(n);
}

void model_count(const struct model *model, struct model_counts *counts) {
    const pare_graph *g = &model->graph;
    struct model_counts c = {0};
    for (int32_t i = 0; i < g->n_weights; i++) {
        const pare_weight *w = g->weights[i];
        if (!is_learnable(w))
            continue;
        int64_t kept = n_kept(w);
        c.params_total += w->n_elems;
        c.params_nonzero += kept;
        if (w->role != PARE_ROLE_WEIGHT)
            continue;
        int64_t uses = uses_per_weight(g->nodes[w->node]);
        c.prunable_total += w->n_elems;
        c.prunable_nonzero += kept;
        c.macs_dense += w->n_elems * uses;
        c.macs_effective += kept * uses;
    }
    *counts = c;
}
