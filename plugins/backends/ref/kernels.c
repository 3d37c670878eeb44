/* SPDX-License-Identifier: MIT */
/* The loops that take the time. Compiled once per level with that level's flags; the results are
 * the same bits at every level, because each output is one chain of operations in one order, and
 * lanes are different output channels. */
#include "ref.h"

#include <math.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Index of the first weight of kernel row `i`, column `j` in a block. */
ALWAYS_INLINE int64_t tap(const struct lower_step *s, const struct ref_block *block, int32_t i,
                          int32_t j) {
    int64_t per_group = s->in_c / s->groups;
    return block->weights + ((int64_t)i * s->kernel_w + j) * per_group * block->width;
}

/* clamp(z + rne(p), lo, hi). Clamping first is the same (rounding is monotone and leaves integers
 * alone), and makes the conversion safe. */
ALWAYS_INLINE int32_t to_code(float p, int32_t zero, int32_t lo, int32_t hi) {
    float low = (float)(lo - zero);
    float high = (float)(hi - zero);
    p = p > low ? p : low; /* a NaN becomes low */
    p = p < high ? p : high;
    return zero + (int32_t)rintf(p);
}

/* The weights `w` of tap k, read in place or widened once for all pixels. */
#define IN_PLACE(ARRAY, TYPE) const TYPE *w = &layer->ARRAY[from + k * W];
#define WIDENED(ARRAY, TYPE)                                                                       \
    TYPE w[REF_MAX_WIDTH];                                                                         \
    for (int o = 0; o < W; o++) {                                                                  \
        w[o] = layer->ARRAY[from + k * W + o];                                                     \
    }

/* NAME: acc[p][o] += sum over the window of x * w, in the order (row, column, channel); for P
 * pixels and W channels. The weights of a kernel row are one contiguous run when there is one
 * group. */
#define SUM(NAME, WEIGHTS, ACC, X_TYPE, X_OF, PRODUCT)                                             \
    ALWAYS_INLINE void NAME(const struct ref_tile *tile, const struct ref_block *block, int P,     \
                            int W, ACC acc[REF_TILE][REF_MAX_WIDTH]) {                             \
        const struct lower_step *s = &tile->step->low;                                             \
        const struct ref_product *layer = &tile->step->product;                                    \
        const int64_t per_group = s->in_c / s->groups;                                             \
        const int together = s->groups == 1;                                                       \
        const int64_t len = together ? tile->n_cols * per_group : per_group;                       \
        const int32_t n_runs = together ? 1 : tile->n_cols;                                        \
        for (int32_t i = 0; i < tile->n_rows; i++) {                                               \
            for (int32_t j = 0; j < n_runs; j++) {                                                 \
                const int64_t at = ((int64_t)i * s->in_w + j) * s->in_c + block->first_in;         \
                const int64_t from = tap(s, block, tile->first_row + i, tile->first_col + j);      \
                for (int64_t k = 0; k < len; k++) {                                                \
                    WEIGHTS                                                                        \
                    for (int p = 0; p < P; p++) {                                                  \
                        const X_TYPE x = X_OF;                                                     \
                        for (int o = 0; o < W; o++) {                                              \
                            acc[p][o] += PRODUCT;                                                  \
                        }                                                                          \
                    }                                                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

SUM(sum_f32, IN_PLACE(weights_f32, float), float, float, ((const float *)tile->x[p])[at + k],
    w[o] * x)
/* |a - z| <= 255 and |w| <= 127: the product fits an int16. */
SUM(sum_i8, WIDENED(weights_i8, int16_t), int32_t, int16_t,
    (int16_t)(((const int8_t *)tile->x[p])[at + k] - tile->in_zero), (int16_t)(w[o] * x))
SUM(sum_i16, IN_PLACE(weights_i16, int16_t), int64_t, int32_t,
    ((const int16_t *)tile->x[p])[at + k] - tile->in_zero, (int64_t)w[o] * x)

/* Stores one pixel's block: floats, or codes. */
ALWAYS_INLINE void store(const struct ref_tile *tile, const struct ref_block *block, int p,
                         const float result[REF_MAX_WIDTH]) {
    const struct lower_step *s = &tile->step->low;
    if (tile->out_rep == LOWER_F32) {
        float *out = (float *)tile->out[p] + block->first;
        for (int32_t o = 0; o < block->n; o++) {
            out[o] = s->relu && result[o] < 0.0f ? 0.0f : result[o];
        }
        return;
    }
    int32_t codes[REF_MAX_WIDTH];
    for (int o = 0; o < REF_MAX_WIDTH; o++) {
        codes[o] = to_code(result[o], tile->out_zero, s->clamp_lo, s->clamp_hi);
    }
    if (tile->out_rep == LOWER_I8) {
        int8_t *out = (int8_t *)tile->out[p] + block->first;
        for (int32_t o = 0; o < block->n; o++) {
            out[o] = (int8_t)codes[o];
        }
    } else {
        int16_t *out = (int16_t *)tile->out[p] + block->first;
        for (int32_t o = 0; o < block->n; o++) {
            out[o] = (int16_t)codes[o];
        }
    }
}

/* Window, multiplier, bias, store: the whole equation, for P pixels and a block of W channels. The
 * sum begins with START; FINISH makes a float of it. */
#define BLOCK(NAME, SUM_OF, TYPE, START, FINISH)                                                   \
    ALWAYS_INLINE void NAME(const struct ref_tile *tile, const struct ref_block *block, int P,     \
                            int W) {                                                               \
        const struct ref_product *layer = &tile->step->product;                                    \
        const int32_t at = block->params;                                                          \
        TYPE acc[REF_TILE][REF_MAX_WIDTH];                                                         \
        for (int p = 0; p < P; p++) {                                                              \
            for (int o = 0; o < W; o++) {                                                          \
                acc[p][o] = START;                                                                 \
            }                                                                                      \
        }                                                                                          \
        SUM_OF(tile, block, P, W, acc);                                                            \
        for (int p = 0; p < P; p++) {                                                              \
            float result[REF_MAX_WIDTH] = {0};                                                     \
            for (int o = 0; o < W; o++) {                                                          \
                result[o] = FINISH;                                                                \
            }                                                                                      \
            store(tile, block, p, result);                                                         \
        }                                                                                          \
    }

/* The product and the sum are each rounded: this file is compiled without contraction. */
BLOCK(block_f32, sum_f32, float, layer->bias[at + o], acc[p][o])
BLOCK(block_i8, sum_i8, int32_t, 0,
      (float)acc[p][o] * layer->multiplier[at + o] + layer->bias[at + o])
BLOCK(block_i16, sum_i16, int64_t, 0,
      (float)acc[p][o] * layer->multiplier[at + o] + layer->bias[at + o])

/* Constant counts, so that the compiler keeps the sums in registers. */
#define DISPATCH(NAME, BLOCK_OF)                                                                   \
    static void NAME(const struct ref_tile *tile, const struct ref_block *block) {                 \
        switch (block->width * 8 + tile->n) {                                                      \
        case 16 * 8 + REF_TILE:                                                                    \
            BLOCK_OF(tile, block, REF_TILE, 16);                                                   \
            break;                                                                                 \
        case 16 * 8 + 1:                                                                           \
            BLOCK_OF(tile, block, 1, 16);                                                          \
            break;                                                                                 \
        case 8 * 8 + REF_TILE:                                                                     \
            BLOCK_OF(tile, block, REF_TILE, 8);                                                    \
            break;                                                                                 \
        case 8 * 8 + 1:                                                                            \
            BLOCK_OF(tile, block, 1, 8);                                                           \
            break;                                                                                 \
        case 4 * 8 + REF_TILE:                                                                     \
            BLOCK_OF(tile, block, REF_TILE, 4);                                                    \
            break;                                                                                 \
        default:                                                                                   \
            BLOCK_OF(tile, block, 1, 4);                                                           \
            break;                                                                                 \
        }                                                                                          \
    }

DISPATCH(product_f32, block_f32)
DISPATCH(product_i8, block_i8)
DISPATCH(product_i16, block_i16)

/* code = clamp(rne(x / s) + z, qmin, qmax): a division, which is correctly rounded, where a product
 * with 1/s is not. */
static void quantize(const float *x, void *codes, const struct lower_value *to, int64_t n) {
    if (to->rep == LOWER_I8) {
        int8_t *out = codes;
        for (int64_t k = 0; k < n; k++) {
            out[k] = (int8_t)to_code(x[k] / to->scale, to->zero, to->qmin, to->qmax);
        }
    } else {
        int16_t *out = codes;
        for (int64_t k = 0; k < n; k++) {
            out[k] = (int16_t)to_code(x[k] / to->scale, to->zero, to->qmin, to->qmax);
        }
    }
}

/* x - x is 0 for a finite number, NaN otherwise. */
static int all_finite(const float *x, int64_t n) {
    int bad = 0;
    for (int64_t k = 0; k < n; k++) {
        bad |= !(x[k] - x[k] == 0.0f);
    }
    return !bad;
}

const struct ref_kernels REF_NAME(ref_kernels_) = {
    .isa = REF_ISA,
    .run_task = REF_NAME(ref_run_task_),
    .product_f32 = product_f32,
    .product_i8 = product_i8,
    .product_i16 = product_i16,
    .quantize = quantize,
    .all_finite = all_finite,
};
