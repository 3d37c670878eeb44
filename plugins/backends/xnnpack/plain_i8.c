/* SPDX-License-Identifier: MIT */
#include "xnnpack_backend.h"

#include <math.h>

/* int8 codes -> logits; sums fit an int32, which lower.c has proved. */
static void linear(const struct xnnpack_step *step, const int8_t *x, float *y) {
    const int32_t n_in = step->low.in_c;
    for (int32_t o = 0; o < step->low.out_c; o++) {
        const int8_t *w = step->codes + (int64_t)o * n_in;
        int32_t sum = 0;
        for (int32_t i = 0; i < n_in; i++) {
            sum += (x[i] - step->in[0].zero) * w[i];
        }
        const float product = (float)sum * step->gain[o];
        const float logit = product + step->shift[o];
        y[o] = step->low.relu && logit < 0.0f ? 0.0f : logit;
    }
}

static void requantize(const struct xnnpack_step *step, const int8_t *x, int8_t *y, int64_t n) {
    const float low = (float)(step->low.clamp_lo - step->out.zero);
    const float high = (float)(step->low.clamp_hi - step->out.zero);
    for (int64_t k = 0; k < n; k++) {
        const float r = rintf((float)(x[k] - step->in[0].zero) * step->multiplier);
        const float clamped = r < low ? low : r > high ? high : r;
        y[k] = (int8_t)((int32_t)clamped + step->out.zero);
    }
}

static void sign(const struct xnnpack_step *step, const void *x, int8_t *y, int64_t n) {
    for (int64_t k = 0; k < n; k++) {
        const int plus = step->low.arith == LOWER_F32 ? ((const float *)x)[k] >= 0.0f
                                                      : ((const int8_t *)x)[k] >= step->in[0].zero;
        y[k] = plus ? 1 : -1;
    }
}

void xnnpack_run_plain_i8(const struct xnnpack_step *step, const void *x, void *y, int32_t n) {
    const struct lower_step *s = &step->low;
    const int8_t *codes = x;
    float *real = y;
    switch (s->kind) {
    case LOWER_LINEAR:
        for (int32_t i = 0; i < n; i++) {
            linear(step, codes + (int64_t)i * s->in_c, real + (int64_t)i * s->out_c);
        }
        break;
    case LOWER_DEQUANTIZE:
        for (int64_t k = 0; k < n * step->out.n_elems; k++) {
            real[k] = (float)(codes[k] - step->in[0].zero) * step->in[0].scale;
        }
        break;
    case LOWER_REQUANTIZE:
        requantize(step, codes, y, n * step->out.n_elems);
        break;
    case LOWER_SIGN:
        sign(step, x, y, n * step->out.n_elems);
        break;
    default: /* LOWER_SHORTCUT_A */
        pieced_shortcut_a(s, x, y, n, 1, step->out.zero);
        break;
    }
}
