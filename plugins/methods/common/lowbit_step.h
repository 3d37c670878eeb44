/* SPDX-License-Identifier: MIT */
/* Learned step sizes: Esser et al. 2020, arXiv 1902.08153 (LSQ); with learned offsets Bhalgat et
 * al. 2020, arXiv 2004.09576 (LSQ+). */
#ifndef METHODS_COMMON_LOWBIT_STEP_H
#define METHODS_COMMON_LOWBIT_STEP_H

#include "lowbit.h"

/* Values with a learned step size, and a learned offset where lb->has_offset and they can be
 * negative. */
extern const struct lowbit_value_ops lowbit_value_step;

/* A step size as float, normal and positive; a NaN stays one. */
float lowbit_step_size(double value);

/* LSQ, equation 3: ds = rne(v/s) - v/s inside, -Q_n = lo or Q_p = hi outside; times 1 / sqrt(n
 * qmax) (section 2.2). */
double lowbit_step_gradient(const struct fake_sums *sums, double lo, double hi, double n,
                            double qmax);

#endif
