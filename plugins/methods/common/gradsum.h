/* SPDX-License-Identifier: MIT */
/* Mean gradients of a pruner's layers over one pass of <pare/ext/gradients.h>. */
#ifndef METHODS_COMMON_GRADSUM_H
#define METHODS_COMMON_GRADSUM_H

#include "pruner.h"

struct gradsum {
    double *sum; /* (pruner->n_elems), each gradient times the images of its batch */
    int64_t n_images;
};

/* Room for the layers of a prepared pruner, all 0. Freed with host->free(sum). */
pare_status gradsum_make(const struct pruner *pruner, struct gradsum *g);
void gradsum_clear(const struct pruner *pruner, struct gradsum *g); /* to 0 */

/* One batch's gradient (dims) of a weight; weights of no layer are passed over. */
void gradsum_add(const struct pruner *pruner, struct gradsum *g, int32_t weight,
                 const float *gradient, int32_t n);

/* The mean over all images of element i of layer `layer`. */
static inline double gradsum_at(const struct gradsum *g, const struct pruner_layer *layer,
                                int64_t i) {
    return g->sum[layer->first_elem + i] / (double)g->n_images;
}

#endif
