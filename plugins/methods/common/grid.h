/* SPDX-License-Identifier: MIT */
/* From a range of real numbers to the scale and zero point of a grid. */
#ifndef METHODS_COMMON_GRID_H
#define METHODS_COMMON_GRID_H

#include <pare/tensor.h>

/* A grid for one tensor: real = scale * (code - zero_point). */
struct grid {
    float scale;        /* finite, normal, > 0 */
    int32_t zero_point; /* in [qmin, qmax] */
    int32_t qmin, qmax;
};

/* Activations, affine: Jacob et al. 2018 (arXiv 1712.05877), section 3. The range is first widened
 * to hold 0, so that 0 (padding, a relu's floor) is a code. codes [-2^(b-1), 2^(b-1)-1]; scale =
 * (hi - lo) / (2^b - 1),  zero_point = qmin + rne(-lo / scale). A range of 0 (a dead value) gives
 * scale 1 and zero_point qmin. bits 2..16; lo <= hi, finite. */
struct grid grid_affine(double lo, double hi, int bits);

/* Symmetric: zero_point 0, codes [-(2^(b-1)-1), 2^(b-1)-1], scale = max(|lo|, |hi|) / (2^(b-1)-1).
 * A range of 0 gives scale 1. */
struct grid grid_symmetric(double lo, double hi, int bits);

/* What the value becomes: scale * (clamp(rne(value / scale) + zero_point) - zero_point). */
double grid_round(const struct grid *grid, double value);

/* The error that the mse observers add up: (value - grid_round(value))^2. */
double grid_error(const struct grid *grid, double value);

#define GRID_N_CLIPS 80 /* tried by the mse observers: k / 80 of the range, k = 80 .. 1 */

#endif
