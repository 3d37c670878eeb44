/* SPDX-License-Identifier: MIT */
#include "level_avx2.h"

#define LEVEL avx2

#include "tiles.inc"

#include "dot_pairs.inc"
KIND(f32, 1, 8, 6);
KIND(i8, 4, 8, 5);
#define KINDS [TILED_F32] = &kind_f32, [TILED_I8] = &kind_i8

#include "rows.inc"
#include "steps.inc"
