/* SPDX-License-Identifier: MIT */
/* Rounding column by column, each error made good by the columns that follow. Frantar et al. 2022
 * (arXiv 2210.17323), algorithm 1. */
#ifndef OBC_ROUND_H
#define OBC_ROUND_H

#include <pare/plugin.h>

/* The channels of one group. */
struct rounding {
    int64_t n, n_rows;    /* weights of a channel, channels */
    const double *u;      /* (n,n) upper, of factor_inverse; NULL: to the nearest code */
    const int32_t *order; /* (n) of the columns */
    const float *w;       /* (n_rows, n) */
    const uint8_t *mask;  /* (n_rows, n) or NULL: all kept; what is pruned has code 0 */
    const float *scale;   /* (n_rows) */
    int32_t qmax;         /* codes lie in [-qmax, qmax] */
    int16_t *codes;       /* (n_rows, n) out */
};

/* PARE_E_NOMEM. [main] */
pare_status round_channels(const pare_host *host, const struct rounding *rounding);

#endif
