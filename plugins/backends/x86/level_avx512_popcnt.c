/* SPDX-License-Identifier: MIT */
/* avx512_vnni where a vector's popcounts are one instruction. */
#include "level_avx512.h"

#define LEVEL avx512_popcnt

INLINE VI vi_dot_bytes(VI acc, VI a, VI w) {
    return (VI)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)a, (__m512i)w);
}

#include "tiles.inc"

#include "dot_bytes.inc"
#define HALF_I8
#include "half.inc"
KIND(f32, 32, 1, 16, 12);
KIND(i8, 8, 4, 16, 12);
KIND(i8w4, 4, 8, 16, 12);
KIND(i8w2, 2, 16, 16, 12);
KIND(i8w1, 1, 4, 16, 12);
#define KIND_W1 [TILED_I8_W1] = &kind_i8w1

INLINE VI vi_popcount_away(VI acc, VI bits) {
    return acc - (VI)_mm512_popcnt_epi32((__m512i)bits);
}
#include "bits.inc"
KIND(b1, 1, 32, 16, 12);
KIND(b1_masked, 1, 32, 16, 12);

#include "rows.inc"
#include "steps.inc"
