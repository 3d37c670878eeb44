/* SPDX-License-Identifier: MIT */
#include "standard.h"

#include <float.h>
#include <math.h>

struct standard standard_make(const float *w, int64_t n) {
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)w[i];
    }
    const double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        squares += ((double)w[i] - mean) * ((double)w[i] - mean);
    }
    const double deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0.0;
    return (struct standard){mean, deviation > (double)FLT_MIN ? deviation : 1.0};
}

void standard_codes(const struct standard *s, const float *w, int64_t n, int16_t *codes) {
    for (int64_t i = 0; i < n; i++) {
        codes[i] = standard_of(s, w[i]) < 0.0 ? -1 : 1;
    }
}

void standard_backward(const struct standard *s, const float *w, int64_t n, float *gw) {
    double sum = 0.0, dot = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)gw[i];
        dot += (double)gw[i] * standard_of(s, w[i]);
    }
    const double mean = sum / (double)n;
    const double along = n > 1 ? dot / (double)(n - 1) : 0.0;
    for (int64_t i = 0; i < n; i++) {
        gw[i] = (float)(((double)gw[i] - mean - standard_of(s, w[i]) * along) / s->deviation);
    }
}

double standard_mean_abs(const struct standard *s, const float *w, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs(standard_of(s, w[i]));
    }
    return sum / (double)n;
}
