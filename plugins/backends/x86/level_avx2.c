/* SPDX-License-Identifier: MIT */
#include "level_avx2.h"

#define LEVEL avx2

#include "tiles.inc"

#include "dot_pairs.inc"
KIND(f32, 32, 1, 8, 6);
KIND(i8, 8, 4, 8, 5);
KIND(i8w4, 4, 8, 8, 5);
KIND(i8w2, 2, 16, 8, 5);
#define KIND_W1 /* spills: weights of 1 bit are faster at 2 */

#include "rows.inc"
#include "steps.inc"
