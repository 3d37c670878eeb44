/* SPDX-License-Identifier: MIT */
/* The second derivatives of a layer's squared error: H = 2 X X' over all calibration images and
 * places of the output, divided by their number. All output channels of a group share it. Frantar &
 * Alistarh 2022 (arXiv 2208.11580), section 4. */
#ifndef OBC_HESSIAN_H
#define OBC_HESSIAN_H

#include "patches.h"

struct hessian {
    const pare_host *host;
    struct patches patches;
    int64_t n;      /* weights of an output channel */
    int64_t n_rows; /* of X, seen so far */
    double *h;      /* (groups, n, n); after hessian_finish whole, before it the upper part */
    float *rows;    /* a chunk of X */
    float *sums;    /* (n, n) of one chunk */
};

/* Freed by hessian_clear, after a failure, too. [main] */
pare_status hessian_init(const pare_host *host, const pare_graph *graph, const pare_node *layer,
                         struct hessian *hessian);
void hessian_clear(struct hessian *hessian);

/* Adds n images of the value that the layer reads. [main] */
void hessian_see(struct hessian *hessian, const float *value, int32_t n);

/* Divides by the number of rows and adds `damping` times the mean of the diagonal to it. Inputs
 * that were 0 throughout have that alone. PARE_E_STATE: nothing was seen. PARE_E_NUMERIC: a value
 * was not finite, or too large for fp32. A group that read nothing but 0 keeps a matrix of zeros.
 * [main] */
pare_status hessian_finish(struct hessian *hessian, const char *layer, double damping);

#endif
