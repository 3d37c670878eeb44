/* SPDX-License-Identifier: MIT */
#include "level_avx2.h"

#define LEVEL avx_vnni

INLINE VI vi_dot_bytes(VI acc, VI a, VI w) {
    return (VI)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)a, (__m256i)w);
}

#include "tiles.inc"

#include "dot_bytes.inc"
KIND(f32, 1, 8, 6);
KIND(i8, 4, 8, 5);
#define KINDS [TILED_F32] = &kind_f32, [TILED_I8] = &kind_i8

#include "rows.inc"
#include "steps.inc"
