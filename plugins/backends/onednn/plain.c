/* SPDX-License-Identifier: MIT */
/* Steps that oneDNN has no operator for, or that only move values; in float, as ref computes them.
 */
#include "onednn.h"

#include <math.h>
#include <string.h>

static float relu_if(float x, int32_t relu) {
    return relu && x < 0.0f ? 0.0f : x;
}

static void affine(const struct onednn_step *step, const float *x, float *y, int64_t n_pixels) {
    const struct lower_step *s = &step->low;
    for (int64_t p = 0; p < n_pixels; p++) {
        for (int32_t c = 0; c < s->out_c; c++) {
            float product = x[p * s->out_c + c] * step->gain[c];
            y[p * s->out_c + c] = relu_if(product + step->shift[c], s->relu);
        }
    }
}

static void shortcut_a(const struct lower_step *s, const float *x, float *y) {
    int64_t before = (s->out_c - s->in_c) / 2;
    memset(y, 0, (size_t)s->out_h * (size_t)s->out_w * (size_t)s->out_c * sizeof *y);
    for (int32_t oy = 0; oy < s->out_h; oy++) {
        for (int32_t ox = 0; ox < s->out_w; ox++) {
            int64_t from =
                ((int64_t)oy * s->stride_h * s->in_w + (int64_t)ox * s->stride_w) * s->in_c;
            int64_t to = ((int64_t)oy * s->out_w + ox) * s->out_c + before;
            memcpy(y + to, x + from, (size_t)s->in_c * sizeof *y);
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

void onednn_run_plain(const struct onednn_step *step, const float *x, float *y, int32_t n) {
    const struct lower_step *s = &step->low;
    int64_t n_in = (int64_t)s->in_h * s->in_w * s->in_c;
    int64_t n_out = (int64_t)s->out_h * s->out_w * s->out_c;
    switch (s->kind) {
    case LOWER_RELU:
        for (int64_t k = 0; k < n * n_out; k++) {
            y[k] = relu_if(x[k], 1);
        }
        break;
    case LOWER_AFFINE:
        affine(step, x, y, (int64_t)n * s->out_h * s->out_w);
        break;
    case LOWER_SHORTCUT_A:
        for (int32_t i = 0; i < n; i++) {
            shortcut_a(s, x + i * n_in, y + i * n_out);
        }
        break;
    case LOWER_SOFTMAX:
        for (int32_t i = 0; i < n; i++) {
            softmax(x + i * n_in, y + i * n_out, s->out_c);
        }
        break;
    default: /* LOWER_COPY */
        memcpy(y, x, (size_t)(n * n_out) * sizeof *y);
        break;
    }
}
