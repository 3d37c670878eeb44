/* SPDX-License-Identifier: MIT */
/* Bias correction: rounding a channel's weights shifts the mean of what it computes; the bias takes
 * the shift back. Nagel et al. 2019 (arXiv 1906.04721), section 4.2:
 *     E[y'] - E[y] = E[(Wq - W) x],   b <- b - E[(Wq - W) x]
 * The mean of x is taken over the calibration images, for each place by itself, so that padding and
 * strides count as they do in the layer. */
#ifndef METHODS_COMMON_CORRECT_H
#define METHODS_COMMON_CORRECT_H

#include <pare/plugin.h>

struct value_mean {
    double *sum;      /* (H,W,C) of the value, over images; NULL: no selected layer reads it */
    int64_t n_images; /* added up so far */
};

struct correction {
    const pare_host *host;
    int32_t n;                 /* nodes */
    struct value_mean *values; /* (n) */
};

/* Room for the values that the selected layers read. Freed by correction_clear, after a failure,
 * too. [main] */
pare_status correction_init(const pare_host *host, const pare_graph *graph, struct correction *c);
void correction_clear(struct correction *c);

/* Adds n images of the value of `node`, (n, dims of the node). */
void correction_see(struct correction *c, const pare_graph *graph, int32_t node, const float *value,
                    int32_t n);

/* Corrects the bias of the layer of weight w, which is changed by now; `before`, (dims of w), is
 * what it was. `now`: what the layer reads from the layers that are changed already, b <- b - (E[Wq
 * x'] - E[W x]); NULL: x' = x. A layer without a bias is left alone, with a warning. PARE_E_STATE
 * without images, PARE_E_NUMERIC where their mean is not finite. [main] */
pare_status correction_apply(const struct correction *c, const struct correction *now,
                             const pare_graph *graph, const pare_weight *w, const float *before);

#endif
