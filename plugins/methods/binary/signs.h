/* SPDX-License-Identifier: MIT */
/* Values of 1 bit. */
#ifndef BINARY_SIGNS_H
#define BINARY_SIGNS_H

#include "lowbit.h"

/* y = b sign(x) with sign(0) = 1, b a moving average of E|x| that keeps lb->kept of the past. For
 * the gradient, sign is the piecewise polynomial of Bi-Real Net (Liu et al. 2018, arXiv 1808.00278,
 * eq. 7): its slope is 2 - 2 |u| where |u| < 1, 0 elsewhere, with u = x / (1.25 b). (E|x| of a
 * normal distribution is 0.8 of its deviation, so behind a batch norm u is about x, as in the
 * paper.) */
extern const struct lowbit_value_ops binary_signs;

#endif
