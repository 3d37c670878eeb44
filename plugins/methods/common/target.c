/* SPDX-License-Identifier: MIT */
#include "target.h"

pare_status target_init(const pare_host *host, const pare_graph *graph, struct target *target) {
    int32_t n = 0;
    int32_t *weights = host->alloc(host, (size_t)graph->n_weights * sizeof *weights);
    if (!weights) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a list of %d weights",
                          graph->n_weights);
    }
    for (int32_t k = 0; k < graph->n_weights; k++) {
        const pare_weight *weight = graph->weights[k];
        if (weight->role == PARE_ROLE_WEIGHT && host->selected(host, graph, weight->node)) {
            weights[n++] = k;
        }
    }
    if (n == 0) {
        host->free(host, weights);
        return host->fail(host, PARE_E_NOT_FOUND, "%s has no conv2d or linear that is selected",
                          graph->name);
    }
    *target = (struct target){host, n, weights};
    return PARE_OK;
}

void target_clear(struct target *target) {
    if (target->host) {
        target->host->free(target->host, target->weights);
    }
    *target = (struct target){0};
}
