/* SPDX-License-Identifier: MIT */
#include "snapshot.h"

#include <string.h>

static int64_t elems_before(const pare_graph *graph, int32_t weight) {
    int64_t n = 0;
    for (int32_t k = 0; k < weight; k++) {
        n += graph->weights[k]->n_elems;
    }
    return n;
}

pare_status snapshot_take(const pare_host *host, const pare_graph *graph,
                          struct snapshot *snapshot) {
    const int64_t n = elems_before(graph, graph->n_weights);
    if (!snapshot->data) {
        snapshot->host = host;
        snapshot->data = host->alloc(host, (size_t)n * sizeof *snapshot->data);
    }
    if (!snapshot->data) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a copy of %lld weights", (long long)n);
    }
    float *at = snapshot->data;
    for (int32_t k = 0; k < graph->n_weights; k++) {
        memcpy(at, graph->weights[k]->data, (size_t)graph->weights[k]->n_elems * sizeof *at);
        at += graph->weights[k]->n_elems;
    }
    return PARE_OK;
}

const float *snapshot_of(const struct snapshot *snapshot, const pare_graph *graph, int32_t weight) {
    return snapshot->data + elems_before(graph, weight);
}

pare_status snapshot_restore(const struct snapshot *snapshot, const pare_graph *graph) {
    pare_status status = PARE_OK;
    const float *at = snapshot->data;
    for (int32_t k = 0; k < graph->n_weights && status == PARE_OK; k++) {
        status = snapshot->host->set_weight(snapshot->host, graph, k, at);
        at += graph->weights[k]->n_elems;
    }
    return status;
}

void snapshot_clear(struct snapshot *snapshot) {
    if (snapshot->data) {
        snapshot->host->free(snapshot->host, snapshot->data);
    }
    *snapshot = (struct snapshot){0};
}
