/* SPDX-License-Identifier: MIT */
/* Ranges by minimum and maximum, for qat and for the 8-bit layers of methods whose own arithmetic
 * is for few bits. Jacob et al. 2018 (arXiv 1712.05877), section 3.1. */
#ifndef METHODS_COMMON_LOWBIT_MINMAX_H
#define METHODS_COMMON_LOWBIT_MINMAX_H

#include "lowbit.h"

/* scale = max |w| / (2^(b-1) - 1), from the weights as they are, in every pass. */
extern const struct lowbit_weight_ops lowbit_weight_minmax;

/* Affine grid over a moving average of the smallest and largest value of each batch, that keeps
 * 0.99 of the past. */
extern const struct lowbit_value_ops lowbit_value_average;

#endif
