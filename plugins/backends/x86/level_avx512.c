/* SPDX-License-Identifier: MIT */
#include "level_avx512.h"

#define LEVEL avx512

#include "tiles.inc"

#include "dot_pairs.inc"
KIND(f32, 1, 16, 12);
KIND(i8, 4, 16, 12);
#define KINDS [TILED_F32] = &kind_f32, [TILED_I8] = &kind_i8

#include "rows.inc"
#include "steps.inc"
