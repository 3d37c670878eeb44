/* SPDX-License-Identifier: MIT */
#include "level_avx2.h"

#define LEVEL avx_vnni

INLINE VI vi_dot_bytes(VI acc, VI a, VI w) {
    return (VI)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)a, (__m256i)w);
}

#include "tiles.inc"

#include "dot_bytes.inc"
#define KIND_HALF
KIND(f32, 32, 1, 8, 6);
KIND(i8, 8, 4, 8, 5);
KIND(i8w4, 4, 8, 8, 5);
KIND(i8w2, 2, 16, 8, 5);
KIND(i8w1, 1, 4, 8, 5);
#define KIND_W1 [TILED_I8_W1] = &kind_i8w1

INLINE VI vi_bytes_away(VI acc, VI counts) {
    return vi_dot_bytes(acc, counts, vi_set1(-1));
}
#include "bits_table.inc"

#include "bits.inc"
KIND(b1, 1, 32, 8, 5);
KIND(b1_masked, 1, 32, 8, 5);

#include "rows.inc"
#include "steps.inc"
