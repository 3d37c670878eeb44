/* SPDX-License-Identifier: MIT */
/* Rounding that can be learned: each weight goes down or up by a number V of its own,
 *     w = s clip(floor(w0 / s) + h(V), -qmax, qmax)     h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)
 * with the penalty sum of 1 - |2 h - 1|^beta, which drives h to 0 or 1. Nagel et al. 2020 (arXiv
 * 2004.10568), section 3.2, eq. 22 to 24. */
#ifndef METHODS_COMMON_SOFT_ROUND_H
#define METHODS_COMMON_SOFT_ROUND_H

#include <stdint.h>

/* One weight with scale s. */
struct soft_weight {
    float floor; /* of w0 / s */
    float scale;
    float qmax;
};

/* sigmoid(V), from which all else follows; it is by far the most costly part. */
float soft_sigmoid(float v);
float soft_h(float sigmoid);

/* The V for which h is the part of w0 / s above its floor: rounding starts where the weight is. */
float soft_start(float w0, float scale, struct soft_weight *weight, float qmax);

/* The weight between its two codes. */
float soft_value(const struct soft_weight *weight, float sigmoid);

/* The code that is left when V is settled. */
int16_t soft_code(const struct soft_weight *weight, float v);

/* The gradient with respect to V of loss + strength (1 - |2 h - 1|^beta), g being the loss's with
 * respect to the weight. strength 0: no penalty. */
float soft_gradient(const struct soft_weight *weight, float v, float g, float strength, float beta);

#endif
