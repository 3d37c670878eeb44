/* SPDX-License-Identifier: MIT */
/* Which elements are the smallest: exact counts, in linear time, with a fixed order of ties. */
#ifndef MAGNITUDE_SMALLEST_H
#define MAGNITUDE_SMALLEST_H

#include <pare/plugin.h>

/* A run of fp32 values of one tensor; several of them count as one, in the order given. */
struct run {
    const float *data; /* (n) finite */
    const uint8_t
        *kept; /* (n) 0: pruned before, which comes before everything else; NULL: all kept */
    int64_t n;
    uint8_t *mask; /* (n) out: 1 keep, 0 prune */
};

/* Where a cut through the order lies. */
struct cut {
    uint32_t key; /* elements with a smaller key go */
    int64_t ties; /* of those with this key, as many as this go, the first ones */
};

#define SMALLEST_N_COUNTS (1 << 16) /* of the scratch memory that smallest_cut needs */

/* Finds the cut below which exactly k elements lie, 0 <= k <= the sum of all n. `counts` is
 * scratch. The order: pruned before; then |value| ascending; then place in the runs, ascending. */
struct cut smallest_cut(const struct run *runs, int32_t n_runs, int64_t k,
                        int64_t counts[SMALLEST_N_COUNTS]);

/* Fills the masks of all runs by a cut. */
void smallest_mask(const struct run *runs, int32_t n_runs, struct cut cut);

/* k = round-half-even(fraction * n). */
int64_t smallest_count(double fraction, int64_t n);

#endif
