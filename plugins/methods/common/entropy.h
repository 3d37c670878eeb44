/* SPDX-License-Identifier: MIT */
/* Where to clip so that rounding loses least information: S. Migacz, "8-bit Inference with
 * TensorRT", GPU Technology Conference 2017. */
#ifndef METHODS_COMMON_ENTROPY_H
#define METHODS_COMMON_ENTROPY_H

#include <stdint.h>

#define ENTROPY_N_BINS 2048 /* of magnitudes, of equal width, the first from 0 on */

/* How many of the bins to keep, n_levels (>= 1) .. ENTROPY_N_BINS: those with the least
 * Kullback-Leibler divergence between the clipped histogram P, whose last bin takes what lies
 * beyond, and Q, which is the kept bins merged to n_levels equal parts, each spread again over its
 * bins that are not empty:
 *     KL = sum P log(P / Q),   both normalised.
 * Of equals the most. The first bin counts as many as the second: the zeros of a relu are exact in
 * every grid. bins (ENTROPY_N_BINS). [any] */
int entropy_clip(const int64_t *bins, int n_levels);

#endif
