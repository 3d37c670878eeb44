/* SPDX-License-Identifier: MIT */
/* The loops of fake quantization: one source compiled once per instruction set. Every lane of a sum
 * has its place, and no multiplication is fused, so all of them give the same bits. [any] [hot] */
#ifndef METHODS_COMMON_FAKE_LOOPS_H
#define METHODS_COMMON_FAKE_LOOPS_H

#include <stdint.h>

/* A grid as the loops see it: y = scale * clamp(rne(x / scale), lo, hi). lo and hi are the bounds
 * of the codes less the zero point: whole numbers of magnitude below 2^22. */
struct fake_grid {
    float scale;
    float lo, hi;
};

/* What the gradient g of y says about the grid; x / scale is t. Three sums, over
 *   lo < t < hi     g (rne(t) - t)
 *   t <= lo         g
 *   t >= hi         g */
struct fake_sums {
    double inside, low, high;
};

/* What min and max, and the mean of |x|, are made of. */
struct fake_stats {
    float min, max; /* of no values: +inf, -inf; a NaN is passed over */
    double abs_sum; /* not finite if a value is not */
};

struct fake_loops {
    void (*forward)(const struct fake_grid *grid, const float *x, float *y, int64_t n);
    /* gx = g where lo < t < hi, 0 elsewhere (straight through: Bengio et al. 2013, arXiv
     * 1308.3432). gx and g may be the same memory. The sums are added to *sums. */
    void (*backward)(const struct fake_grid *grid, const float *x, const float *g, float *gx,
                     int64_t n, struct fake_sums *sums);
    /* codes (n) = clamp(rne(x / scale), lo, hi): for weights, whose zero point is 0 */
    void (*encode)(const struct fake_grid *grid, const float *x, int16_t *codes, int64_t n);
    void (*stats)(const float *x, int64_t n, struct fake_stats *stats); /* replaces *stats */
};

extern const struct fake_loops fake_loops_base;
extern const struct fake_loops fake_loops_avx2; /* where FAKE_HAVE_AVX2 */

#endif
