/* SPDX-License-Identifier: MIT */
/* Elements, rows and clamp bounds, for the rows and products of each level. The level has defined
 * INLINE, and CODE8 and CODE8_OFFSET: the type of an 8-bit code in memory, and what is added to a
 * code there (its backend's code_offset). */
#ifndef BACKENDS_TILED_ELEMENTS_H
#define BACKENDS_TILED_ELEMENTS_H

#include "tiled.h"

#include <string.h>

INLINE int32_t min32(int32_t a, int32_t b) {
    return a < b ? a : b;
}
INLINE int32_t max32(int32_t a, int32_t b) {
    return a > b ? a : b;
}

/* rne(clamp(p, lo - zero, hi - zero)) + zero; a NaN becomes lo. Adding and taking away 1.5 * 2^23
 * rounds a float below 2^22 to the nearest integer, ties to even, without a call. */
INLINE int32_t to_code(float p, float low, float high, int32_t zero) {
    p = p > low ? p : low;
    p = p < high ? p : high;
    return (int32_t)((p + 0x1.8p23f) - 0x1.8p23f) + zero;
}

INLINE float relu_if(float x, int32_t relu) {
    return relu && x < 0.0f ? 0.0f : x;
}

/* The code of zero, as it is stored. */
INLINE int32_t stored_zero(const struct lower_value *v) {
    return v->rep == LOWER_F32 ? 0 : v->rep == LOWER_I8 ? v->zero + CODE8_OFFSET : v->zero;
}

INLINE const char *row_in(const struct tiled_call *call, int k, int32_t sample, int32_t y) {
    const struct tiled_layout *l = call->in_layout[k];
    return call->x[k] + sample * l->sample_bytes + l->first_bytes + y * l->row_bytes;
}

INLINE char *row_out(const struct tiled_call *call, int32_t sample, int32_t y) {
    const struct tiled_layout *l = call->out_layout;
    return call->y + sample * l->sample_bytes + l->first_bytes + y * l->row_bytes;
}

/* Clamp bounds of a step's codes less the zero point. */
INLINE float step_low(const struct tiled_call *call) {
    return (float)(call->step->low.clamp_lo - call->out->zero);
}
INLINE float step_high(const struct tiled_call *call) {
    return (float)(call->step->low.clamp_hi - call->out->zero);
}

INLINE int32_t load_code(const void *x, enum lower_rep rep, int64_t k) {
    return rep == LOWER_I8 ? (int32_t)((const CODE8 *)x)[k] - CODE8_OFFSET
                           : ((const int16_t *)x)[k];
}

INLINE void store_code(void *y, enum lower_rep rep, int64_t k, int32_t code) {
    if (rep == LOWER_I8) {
        ((CODE8 *)y)[k] = (CODE8)(code + CODE8_OFFSET);
    } else {
        ((int16_t *)y)[k] = (int16_t)code;
    }
}

/* ---- borders ---- */

INLINE void fill(char *y, int64_t bytes, const struct lower_value *v) {
    int32_t zero = stored_zero(v);
    if (v->rep == LOWER_I16) {
        for (int64_t k = 0; k < bytes / 2; k++) {
            ((int16_t *)(void *)y)[k] = (int16_t)zero;
        }
        return;
    }
    memset(y, zero, (size_t)bytes);
}

INLINE void fill_border(const struct tiled_call *call, char *y, int64_t bytes) {
    if (call->out_layout->is_bits) {
        memset(y, 0, (size_t)bytes);
    } else {
        fill(y, bytes, call->out);
    }
}

/* The borders of rows [first, end), with those above the first and below the last row. */
INLINE void fill_borders(const struct tiled_call *call, int32_t sample, int32_t first,
                         int32_t end) {
    const struct tiled_layout *l = call->out_layout;
    if (l->border_h == 0 && l->border_w == 0) {
        return;
    }
    int64_t side = l->border_w * l->pixel_bytes;
    int64_t inner = l->w * l->pixel_bytes;
    if (first == 0) {
        fill_border(call, call->y + sample * l->sample_bytes, l->first_bytes);
    }
    for (int32_t y = first; y < end; y++) {
        char *after = row_out(call, sample, y) + inner;
        /* Its right border and the next row's left one are neighbours. */
        fill_border(call, after, y + 1 < l->h ? 2 * side : l->first_bytes);
    }
}

#endif
