/* SPDX-License-Identifier: MIT */
#include "level_avx512.h"

#define LEVEL avx512_vnni

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

INLINE VI vi_bytes_away(VI acc, VI counts) {
    return vi_dot_bytes(acc, counts, vi_set1(-1));
}
#include "bits_table.inc"

#include "bits.inc"
KIND(b1, 1, 32, 16, 12);
KIND(b1_masked, 1, 32, 16, 12);

#include "rows.inc"
#include "steps.inc"
