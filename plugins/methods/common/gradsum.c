/* SPDX-License-Identifier: MIT */
#include "gradsum.h"

pare_status gradsum_make(const struct pruner *p, struct gradsum *g) {
    g->sum = p->host->alloc(p->host, (size_t)p->n_elems * sizeof *g->sum);
    if (!g->sum) {
        return p->host->fail(p->host, PARE_E_NOMEM, "no memory for gradients of %lld weights",
                             (long long)p->n_elems);
    }
    gradsum_clear(p, g);
    return PARE_OK;
}

void gradsum_clear(const struct pruner *p, struct gradsum *g) {
    g->n_images = 0;
    for (int64_t i = 0; i < p->n_elems; i++) {
        g->sum[i] = 0.0;
    }
}

void gradsum_add(const struct pruner *p, struct gradsum *g, int32_t weight, const float *gradient,
                 int32_t n) {
    for (int32_t k = 0; k < p->n_layers; k++) {
        const struct pruner_layer *layer = &p->layers[k];
        if (layer->weight != weight) {
            continue;
        }
        g->n_images += k == 0 ? n : 0; /* once per batch */
        const int64_t n_elems = layer->units.outer * layer->units.n * layer->units.inner;
        for (int64_t i = 0; i < n_elems; i++) {
            g->sum[layer->first_elem + i] += (double)n * (double)gradient[i];
        }
    }
}
