/* SPDX-License-Identifier: MIT */
/* What one task of each kind of step does. Compiled once per level, as kernels.c is. */
#include "ref.h"

#include <math.h>
#include <string.h>

static int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int32_t max32(int32_t a, int32_t b) {
    return a > b ? a : b;
}

static int32_t min32(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* ---- elements ---- */

static int32_t load_code(const void *x, enum lower_rep rep, int64_t k) {
    return rep == LOWER_I8 ? ((const int8_t *)x)[k] : ((const int16_t *)x)[k];
}

static void store_code(void *y, enum lower_rep rep, int64_t k, int32_t code) {
    if (rep == LOWER_I8) {
        ((int8_t *)y)[k] = (int8_t)code;
    } else {
        ((int16_t *)y)[k] = (int16_t)code;
    }
}

/* clamp(z + rne(p), lo, hi) */
static int32_t to_code(float p, int32_t zero, const struct lower_step *s) {
    float r = rintf(p);
    float low = (float)(s->clamp_lo - zero);
    float high = (float)(s->clamp_hi - zero);
    return zero + (int32_t)(r < low ? low : r > high ? high : r);
}

static float relu_if(float x, int32_t relu) {
    return relu && x < 0.0f ? 0.0f : x;
}

static const void *sample_in(const struct ref_call *call, int k, int64_t sample) {
    const struct lower_value *v = call->in[k];
    return (const char *)call->x[k] + sample * v->n_elems * lower_rep_bytes(v->rep);
}

static void *sample_out(const struct ref_call *call, int64_t sample) {
    const struct lower_value *v = call->out;
    return (char *)call->y + sample * v->n_elems * lower_rep_bytes(v->rep);
}

/* ---- elementwise: one task is one sample ---- */

static void dequantize(const struct ref_call *call, int64_t sample) {
    const struct lower_value *in = call->in[0];
    const void *x = sample_in(call, 0, sample);
    float *y = sample_out(call, sample);
    for (int64_t k = 0; k < in->n_elems; k++) {
        y[k] = (float)(load_code(x, in->rep, k) - in->zero) * in->scale;
    }
}

static void requantize(const struct ref_call *call, int64_t sample) {
    const struct lower_value *in = call->in[0];
    const void *x = sample_in(call, 0, sample);
    void *y = sample_out(call, sample);
    for (int64_t k = 0; k < in->n_elems; k++) {
        float product = (float)(load_code(x, in->rep, k) - in->zero) * call->step->m[0];
        store_code(y, call->out->rep, k, to_code(product, call->out->zero, &call->step->low));
    }
}

static void sign(const struct ref_call *call, int64_t sample) {
    const struct lower_value *in = call->in[0];
    const void *x = sample_in(call, 0, sample);
    int8_t *y = sample_out(call, sample);
    for (int64_t k = 0; k < in->n_elems; k++) {
        int positive = in->rep == LOWER_F32 ? ((const float *)x)[k] >= 0.0f
                                            : load_code(x, in->rep, k) >= in->zero;
        y[k] = positive ? 1 : -1;
    }
}

static void affine(const struct ref_call *call, int64_t sample) {
    const struct lower_step *s = &call->step->low;
    const float *x = sample_in(call, 0, sample);
    float *y = sample_out(call, sample);
    int64_t n_pixels = (int64_t)s->out_h * s->out_w;
    for (int64_t p = 0; p < n_pixels; p++) {
        for (int32_t c = 0; c < s->out_c; c++) {
            float product = x[p * s->out_c + c] * call->step->gain[c];
            y[p * s->out_c + c] = relu_if(product + call->step->shift[c], s->relu);
        }
    }
}

static void relu_f32(const struct ref_call *call, int64_t sample) {
    const float *x = sample_in(call, 0, sample);
    float *y = sample_out(call, sample);
    for (int64_t k = 0; k < call->out->n_elems; k++) {
        y[k] = relu_if(x[k], 1);
    }
}

static void add(const struct ref_call *call, int64_t sample) {
    const struct lower_value *in = call->in[0];
    const struct lower_value *in_b = call->in[1];
    const struct lower_step *s = &call->step->low;
    const void *a = sample_in(call, 0, sample);
    const void *b = sample_in(call, 1, sample);
    void *y = sample_out(call, sample);
    if (s->arith == LOWER_F32) {
        for (int64_t k = 0; k < in->n_elems; k++) {
            ((float *)y)[k] = relu_if(((const float *)a)[k] + ((const float *)b)[k], s->relu);
        }
        return;
    }
    for (int64_t k = 0; k < in->n_elems; k++) {
        float left = (float)(load_code(a, in->rep, k) - in->zero) * call->step->m[0];
        float right = (float)(load_code(b, in_b->rep, k) - in_b->zero) * call->step->m[1];
        store_code(y, call->out->rep, k, to_code(left + right, call->out->zero, s));
    }
}

/* In double, so that only the last rounding is seen. */
static void softmax(const struct ref_call *call, int64_t sample) {
    const float *x = sample_in(call, 0, sample);
    float *y = sample_out(call, sample);
    int64_t n = call->out->n_elems;
    float largest = x[0];
    for (int64_t k = 1; k < n; k++) {
        largest = x[k] > largest ? x[k] : largest;
    }
    double sum = 0.0;
    for (int64_t k = 0; k < n; k++) {
        sum += exp((double)x[k] - (double)largest);
    }
    for (int64_t k = 0; k < n; k++) {
        y[k] = (float)(exp((double)x[k] - (double)largest) / sum);
    }
}

/* ---- windows: one task is one sample ---- */

#define DEFINE_MAX_PIXEL(NAME, TYPE)                                                               \
    static void NAME(const struct lower_step *s, const TYPE *x, TYPE *y, int32_t top,              \
                     int32_t left) {                                                               \
        int first = 1;                                                                             \
        for (int32_t i = max32(top, 0); i < min32(top + s->kernel_h, s->in_h); i++) {              \
            for (int32_t j = max32(left, 0); j < min32(left + s->kernel_w, s->in_w); j++) {        \
                const TYPE *from = x + ((int64_t)i * s->in_w + j) * s->in_c;                       \
                for (int32_t c = 0; c < s->in_c; c++) {                                            \
                    y[c] = first || from[c] > y[c] ? from[c] : y[c];                               \
                }                                                                                  \
                first = 0;                                                                         \
            }                                                                                      \
        }                                                                                          \
    }
DEFINE_MAX_PIXEL(max_pixel_f32, float)
DEFINE_MAX_PIXEL(max_pixel_i8, int8_t)
DEFINE_MAX_PIXEL(max_pixel_i16, int16_t)

static void max_pool(const struct ref_call *call, int64_t sample) {
    const struct lower_step *s = &call->step->low;
    const void *x = sample_in(call, 0, sample);
    void *y = sample_out(call, sample);
    for (int32_t oy = 0; oy < s->out_h; oy++) {
        for (int32_t ox = 0; ox < s->out_w; ox++) {
            int64_t at = ((int64_t)oy * s->out_w + ox) * s->out_c;
            int32_t top = oy * s->stride_h - s->pad_h;
            int32_t left = ox * s->stride_w - s->pad_w;
            if (s->arith == LOWER_F32) {
                max_pixel_f32(s, x, (float *)y + at, top, left);
            } else if (s->arith == LOWER_I8) {
                max_pixel_i8(s, x, (int8_t *)y + at, top, left);
            } else {
                max_pixel_i16(s, x, (int16_t *)y + at, top, left);
            }
        }
    }
}

/* Sum of one channel over a window. */
static float window_sum_f32(const struct lower_step *s, const float *x, int32_t top, int32_t left) {
    float sum = 0.0f;
    for (int32_t i = 0; i < s->kernel_h; i++) {
        for (int32_t j = 0; j < s->kernel_w; j++) {
            sum += x[((int64_t)(top + i) * s->in_w + left + j) * s->in_c];
        }
    }
    return sum;
}

static int64_t window_sum_int(const struct lower_step *s, const struct lower_value *in,
                              const void *x, int32_t c, int32_t top, int32_t left) {
    int64_t sum = 0;
    for (int32_t i = 0; i < s->kernel_h; i++) {
        for (int32_t j = 0; j < s->kernel_w; j++) {
            int64_t at = ((int64_t)(top + i) * s->in_w + left + j) * s->in_c + c;
            sum += load_code(x, in->rep, at) - in->zero;
        }
    }
    return sum;
}

static void avg_pool(const struct ref_call *call, int64_t sample) {
    const struct lower_step *s = &call->step->low;
    const void *x = sample_in(call, 0, sample);
    void *y = sample_out(call, sample);
    float window = (float)((int64_t)s->kernel_h * s->kernel_w);
    int64_t k = 0;
    for (int32_t oy = 0; oy < s->out_h; oy++) {
        for (int32_t ox = 0; ox < s->out_w; ox++) {
            int32_t top = oy * s->stride_h;
            int32_t left = ox * s->stride_w;
            for (int32_t c = 0; c < s->out_c; c++, k++) {
                if (s->arith == LOWER_F32) {
                    ((float *)y)[k] = window_sum_f32(s, (const float *)x + c, top, left) / window;
                    continue;
                }
                int64_t sum = window_sum_int(s, call->in[0], x, c, top, left);
                int32_t code = to_code((float)sum * call->step->m[0], call->out->zero, s);
                store_code(y, call->out->rep, k, code);
            }
        }
    }
}

/* Zeros are the zero point; bytes are moved, so one loop serves every representation. */
static void shortcut_a(const struct ref_call *call, int64_t sample) {
    const struct lower_step *s = &call->step->low;
    const char *x = sample_in(call, 0, sample);
    void *y = sample_out(call, sample);
    int64_t bytes = lower_rep_bytes(call->in[0]->rep);
    int64_t before = (s->out_c - s->in_c) / 2;
    for (int32_t oy = 0; oy < s->out_h; oy++) {
        for (int32_t ox = 0; ox < s->out_w; ox++) {
            int64_t to = ((int64_t)oy * s->out_w + ox) * s->out_c;
            int64_t from =
                ((int64_t)oy * s->stride_h * s->in_w + (int64_t)ox * s->stride_w) * s->in_c;
            for (int32_t c = 0; c < s->out_c; c++) {
                if (s->arith == LOWER_F32) {
                    ((float *)y)[to + c] = 0.0f;
                } else {
                    store_code(y, call->out->rep, to + c, call->out->zero);
                }
            }
            memcpy((char *)y + (to + before) * bytes, x + from * bytes, (size_t)(s->in_c * bytes));
        }
    }
}

/* ---- conv2d and linear ---- */

static void run_block(const struct ref_call *call, const struct ref_tile *tile,
                      const struct ref_block *block) {
    switch (call->step->low.arith) {
    case LOWER_F32:
        call->kernels->product_f32(tile, block);
        break;
    case LOWER_I8:
        call->kernels->product_i8(tile, block);
        break;
    case LOWER_I16:
        call->kernels->product_i16(tile, block);
        break;
    }
}

/* Output pixels [ox, ox + n) of a row; n > 1 only where every window is whole in width. */
static void run_pixels(const struct ref_call *call, struct ref_tile *tile, const char *x, char *y,
                       int32_t top, int32_t ox, int32_t n, const struct ref_block *block) {
    const struct lower_step *s = &call->step->low;
    int64_t in_bytes = lower_rep_bytes(call->in[0]->rep);
    int64_t out_bytes = lower_rep_bytes(call->out->rep);
    int32_t left = ox * s->stride_w - s->pad_w;
    tile->n = n;
    tile->first_col = min32(max32(-left, 0), s->kernel_w);
    tile->n_cols = max32(min32(s->kernel_w, s->in_w - left) - tile->first_col, 0);
    /* A window may lie in the padding altogether; then nothing is read. */
    int inside = tile->n_rows > 0 && tile->n_cols > 0;
    for (int32_t p = 0; p < n; p++) {
        int64_t at =
            (int64_t)(top + tile->first_row) * s->in_w + left + p * s->stride_w + tile->first_col;
        tile->x[p] = inside ? x + at * s->in_c * in_bytes : x;
        tile->out[p] = y + (int64_t)(ox + p) * s->out_c * out_bytes;
    }
    run_block(call, tile, block);
}

/* One task is one row of one sample. */
static void conv2d(const struct ref_call *call, int64_t index) {
    const struct lower_step *s = &call->step->low;
    int64_t sample = index / s->out_h;
    int32_t oy = (int32_t)(index % s->out_h);
    int32_t top = oy * s->stride_h - s->pad_h;
    int64_t row_bytes = (int64_t)s->out_w * s->out_c * lower_rep_bytes(call->out->rep);
    const char *x = sample_in(call, 0, sample);
    char *y = (char *)sample_out(call, sample) + oy * row_bytes;
    struct ref_tile tile = {.step = call->step,
                            .out_rep = call->out->rep,
                            .in_zero = call->in[0]->zero,
                            .out_zero = call->out->zero};
    tile.first_row = min32(max32(-top, 0), s->kernel_h);
    tile.n_rows = max32(min32(s->kernel_h, s->in_h - top) - tile.first_row, 0);
    for (int32_t b = 0; b < call->step->product.n_blocks; b++) {
        for (int32_t ox = 0; ox < s->out_w;) {
            int32_t left = ox * s->stride_w - s->pad_w;
            int64_t end = (int64_t)left + (REF_TILE - 1) * (int64_t)s->stride_w + s->kernel_w;
            int32_t n = left >= 0 && end <= s->in_w && ox + REF_TILE <= s->out_w ? REF_TILE : 1;
            run_pixels(call, &tile, x, y, top, ox, n, &call->step->product.blocks[b]);
            ox += n;
        }
    }
}

/* One task is a tile of samples times a few blocks of channels. */
static void linear(const struct ref_call *call, int64_t index) {
    const struct ref_product *layer = &call->step->product;
    int64_t n_chunks = call->step->n_chunks;
    int64_t first = index / n_chunks * REF_TILE;
    int32_t n = (int32_t)min64(REF_TILE, call->n_samples - first);
    int32_t begin = (int32_t)(index % n_chunks) * REF_CHUNK;
    int32_t end = min32(begin + REF_CHUNK, layer->n_blocks);
    struct ref_tile tile = {.step = call->step,
                            .n_rows = 1,
                            .n_cols = 1,
                            .out_rep = call->out->rep,
                            .in_zero = call->in[0]->zero,
                            .out_zero = call->out->zero};
    int32_t step = n == REF_TILE ? REF_TILE : 1;
    tile.n = step;
    for (int32_t b = begin; b < end; b++) {
        for (int32_t i = 0; i < n; i += step) {
            for (int32_t p = 0; p < step; p++) {
                tile.x[p] = sample_in(call, 0, first + i + p);
                tile.out[p] = sample_out(call, first + i + p);
            }
            run_block(call, &tile, &layer->blocks[b]);
        }
    }
}

void REF_NAME(ref_run_task_)(void *arg, int64_t index) {
    const struct ref_call *call = arg;
    switch (call->step->low.kind) {
    case LOWER_COPY:
        memcpy(sample_out(call, index), sample_in(call, 0, index),
               (size_t)call->out->n_elems * sizeof(float));
        break;
    case LOWER_QUANTIZE:
        call->kernels->quantize(sample_in(call, 0, index), sample_out(call, index), call->out,
                                call->out->n_elems);
        break;
    case LOWER_DEQUANTIZE:
        dequantize(call, index);
        break;
    case LOWER_REQUANTIZE:
        requantize(call, index);
        break;
    case LOWER_SIGN:
        sign(call, index);
        break;
    case LOWER_CONV2D:
        conv2d(call, index);
        break;
    case LOWER_LINEAR:
        linear(call, index);
        break;
    case LOWER_AFFINE:
        affine(call, index);
        break;
    case LOWER_RELU:
        relu_f32(call, index);
        break;
    case LOWER_ADD:
        add(call, index);
        break;
    case LOWER_MAX_POOL:
        max_pool(call, index);
        break;
    case LOWER_AVG_POOL:
        avg_pool(call, index);
        break;
    case LOWER_SHORTCUT_A:
        shortcut_a(call, index);
        break;
    case LOWER_SOFTMAX:
        softmax(call, index);
        break;
    case LOWER_N_KINDS:
        break;
    }
}
