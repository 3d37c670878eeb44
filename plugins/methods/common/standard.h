/* SPDX-License-Identifier: MIT */
/* Standardized weights x = (w - mean) / deviation. */
#ifndef METHODS_COMMON_STANDARD_H
#define METHODS_COMMON_STANDARD_H

#include <stdint.h>

struct standard {
    double mean, deviation; /* of n - 1; 1 where all weights are equal */
};

struct standard standard_make(const float *w, int64_t n);

static inline double standard_of(const struct standard *s, float w) {
    return ((double)w - s->mean) / s->deviation;
}

/* E|x| */
double standard_mean_abs(const struct standard *s, const float *w, int64_t n);

/* codes = sign(x), sign(0) = 1 */
void standard_codes(const struct standard *s, const float *w, int64_t n, int16_t *codes);

/* From gradients with respect to x, in gw (n), to those with respect to w. */
void standard_backward(const struct standard *s, const float *w, int64_t n, float *gw);

#endif
