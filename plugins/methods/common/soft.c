/* SPDX-License-Identifier: MIT */
#include "soft.h"

#include <string.h>

pare_status soft_begin(struct pruner *p, const pare_graph *graph, const pare_train_plan *plan) {
    const pare_status status = pruner_prepare(p, graph);
    if (status < 0) {
        return status;
    }
    schedule_start(&p->options.schedule, plan->n_steps);
    for (int32_t k = 0; k < p->n_layers; k++) {
        units_kept(&p->layers[k].units, graph->weights[p->layers[k].weight]->mask,
                   p->keep + p->layers[k].first_unit);
    }
    return PARE_OK;
}

pare_status soft_forward(void *instance, const pare_graph *graph, int32_t weight, const float *w,
                         float *used) {
    const struct pruner *p = instance;
    const struct pruner_layer *layer = pruner_layer_of(p, weight);
    const int64_t n = graph->weights[weight]->n_elems;
    if (!layer) {
        memcpy(used, w, (size_t)n * sizeof *used);
        return PARE_OK;
    }
    const uint8_t *keep = p->keep + layer->first_unit;
    for (int64_t i = 0; i < n; i++) {
        used[i] = keep[i] ? w[i] : 0.0f;
    }
    return PARE_OK;
}
