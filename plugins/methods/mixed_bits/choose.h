/* SPDX-License-Identifier: MIT */
/* One width for each layer: least score within a budget. */
#ifndef MIXED_BITS_CHOOSE_H
#define MIXED_BITS_CHOOSE_H

#include <pare/plugin.h>

#define CHOOSE_MAX_WIDTHS 15 /* 2..16 bits */

/* What a layer's widths would cost, and how much they would hurt. */
struct choice {
    int32_t n;                       /* of widths, 1 .. CHOOSE_MAX_WIDTHS */
    int64_t cost[CHOOSE_MAX_WIDTHS]; /* > 0 */
    double score[CHOOSE_MAX_WIDTHS]; /* >= 0 */
    int32_t taken;                   /* out: index of the width */
};

/* The choices of least total score whose total cost is within the budget; of equals a cheaper one.
 * Exact where the costs' common divisor is at least budget / 131072; otherwise costs are rounded up
 * to multiples of that, so that the budget holds. PARE_E_RANGE where the cheapest do not fit.
 * [main] */
pare_status choose(const pare_host *host, struct choice *choices, int32_t n, int64_t budget);

#endif
