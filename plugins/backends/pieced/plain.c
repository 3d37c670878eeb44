/* SPDX-License-Identifier: MIT */
/* Steps that a library has no operator for, or that only move values, as ref computes them. */
#include "pieced.h"

#include <math.h>
#include <string.h>

static float relu_if(float x, int32_t relu) {
    return relu && x < 0.0f ? 0.0f : x;
}

static void affine(const struct lower_step *s, const float *gain, const float *shift,
                   const float *x, float *y, int64_t n_pixels) {
    for (int64_t p = 0; p < n_pixels; p++) {
        for (int32_t c = 0; c < s->out_c; c++) {
            float product = x[p * s->out_c + c] * gain[c];
            y[p * s->out_c + c] = relu_if(product + shift[c], s->relu);
        }
    }
}

void pieced_shortcut_a(const struct lower_step *s, const void *x, void *y, int32_t n,
                       int64_t elem_bytes, int fill) {
    const int64_t before = (s->out_c - s->in_c) / 2;
    const int64_t in_bytes = elem_bytes * s->in_c, out_bytes = elem_bytes * s->out_c;
    const char *from = x;
    char *to = y;
    memset(y, fill, (size_t)(out_bytes * s->out_h * s->out_w * n));
    for (int64_t row = 0; row < (int64_t)n * s->out_h; row++) {
        const int64_t in_row = row / s->out_h * s->in_h + row % s->out_h * s->stride_h;
        for (int32_t ox = 0; ox < s->out_w; ox++) {
            memcpy(to + (row * s->out_w + ox) * out_bytes + before * elem_bytes,
                   from + (in_row * s->in_w + (int64_t)ox * s->stride_w) * in_bytes,
                   (size_t)in_bytes);
        }
    }
}

static void softmax(const float *x, float *y, int32_t n) {
    float largest = x[0];
    for (int32_t k = 1; k < n; k++) {
        largest = x[k] > largest ? x[k] : largest;
    }
    double sum = 0.0;
    for (int32_t k = 0; k < n; k++) {
        sum += exp((double)x[k] - (double)largest);
    }
    for (int32_t k = 0; k < n; k++) {
        y[k] = (float)(exp((double)x[k] - (double)largest) / sum);
    }
}

void pieced_run_plain(const struct lower_step *s, const float *gain, const float *shift,
                      const float *x, float *y, int32_t n) {
    const int64_t n_out = (int64_t)s->out_h * s->out_w * s->out_c;
    switch (s->kind) {
    case LOWER_RELU:
        for (int64_t k = 0; k < n * n_out; k++) {
            y[k] = relu_if(x[k], 1);
        }
        break;
    case LOWER_AFFINE:
        affine(s, gain, shift, x, y, (int64_t)n * s->out_h * s->out_w);
        break;
    case LOWER_SHORTCUT_A:
        pieced_shortcut_a(s, x, y, n, sizeof *y, 0);
        break;
    case LOWER_SOFTMAX:
        for (int32_t i = 0; i < n; i++) {
            softmax(x + i * n_out, y + i * n_out, s->out_c);
        }
        break;
    default: /* LOWER_COPY */
        memcpy(y, x, (size_t)(n * n_out) * sizeof *y);
        break;
    }
}
