/* SPDX-License-Identifier: MIT */
#include "level_avx512.h"

#define LEVEL avx512

#include "tiles.inc"

#include "dot_pairs.inc"

/* Weights of 1 bit: bit i is set where int16 i is to be -1; the others are 1. */
typedef i8_weight i8w1_packed;
#define i8w1_WEIGHT_BYTES (LANES / 2)
#define i8w1_PARTS 1
#define i8w1_SCALE 1
#define i8w1_unpack(packed, part) (packed)
INLINE i8w1_packed i8w1_load(const char *w) {
    return (i8w1_packed){vi_signs_16(w), vi_signs_16(w + LANES / 4)};
}
static void i8w1_put(char *step, int32_t lane, int32_t k, const struct lower_step *s,
                     int64_t from) {
    int32_t i = (k % 2 * LANES + lane) * 2 + k / 2;
    step[i / 8] = (char)(step[i / 8] | (s->weight_codes[from] < 0) << i % 8);
}

#include "half.inc"
KIND(f32, 32, 1, 16, 12);
KIND(i8, 8, 4, 16, 12);
KIND(i8w4, 4, 8, 16, 12);
KIND(i8w2, 2, 16, 16, 12);
KIND(i8w1, 1, 4, 16, 12);
#define KIND_W1 [TILED_I8_W1] = &kind_i8w1

INLINE VI vi_bytes_away(VI acc, VI counts) {
    __m512i pairs = _mm512_maddubs_epi16((__m512i)counts, _mm512_set1_epi8(1));
    return acc - (VI)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}
#include "bits_table.inc"

#include "bits.inc"
KIND(b1, 1, 32, 16, 12);
KIND(b1_masked, 1, 32, 16, 12);

#include "rows.inc"
#include "steps.inc"
