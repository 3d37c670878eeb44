/* SPDX-License-Identifier: MIT */
#include "level_avx512.h"

#define LEVEL avx512_vnni

INLINE VI vi_dot_bytes(VI acc, VI a, VI w) {
    return (VI)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)a, (__m512i)w);
}

#include "tiles.inc"

#include "dot_bytes.inc"
KIND(f32, 1, 16, 12);
KIND(i8, 4, 16, 12);
#define KINDS [TILED_F32] = &kind_f32, [TILED_I8] = &kind_i8

#include "rows.inc"
#include "steps.inc"
