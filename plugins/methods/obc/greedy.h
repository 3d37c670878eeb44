/* SPDX-License-Identifier: MIT */
/* Pruning one weight at a time: the one whose loss costs least once all others have made it good.
 * Frantar & Alistarh 2022 (arXiv 2208.11580), section 4: score w_p^2 / [H^-1]_pp (eq. 3), algorithm
 * 1 for one channel, the joint choice among channels of section 4, "step 3". */
#ifndef OBC_GREEDY_H
#define OBC_GREEDY_H

#include <pare/plugin.h>

/* The channels of one group; what is pruned already counts first. */
struct pruning {
    int64_t n, n_rows;  /* weights of a channel, channels */
    const double *h;    /* (n,n), damped */
    int64_t n_pruned;   /* in all channels together; unused with m */
    int64_t keep, m;    /* of each m weights along the input channels `keep` stay; m 0: n_pruned */
    int64_t n_channels; /* input channels of the group: the last axis */
    float *w;           /* (n_rows, n) in and out */
    uint8_t *mask;      /* (n_rows, n) in and out: 1 kept */
};

/* PARE_E_NOMEM; PARE_E_NUMERIC where h is not positive definite. [main] */
pare_status greedy_prune(const pare_host *host, const struct pruning *pruning, const char *layer);

#endif
