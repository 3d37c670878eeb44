/* SPDX-License-Identifier: MIT */
#include "level_avx2.h"

#define LEVEL avx2

#include "tiles.inc"

#include "dot_pairs.inc"
#define KIND_HALF
KIND(f32, 32, 1, 8, 6);
KIND(i8, 8, 4, 8, 5);
KIND(i8w4, 4, 8, 8, 5);
KIND(i8w2, 2, 16, 8, 5);
#define KIND_W1 /* spills: weights of 1 bit are faster at 2 */

INLINE VI vi_bytes_away(VI acc, VI counts) {
    __m256i pairs = _mm256_maddubs_epi16((__m256i)counts, _mm256_set1_epi8(1));
    return acc - (VI)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#include "bits_table.inc"

#include "bits.inc"
KIND(b1, 1, 32, 8, 5);
KIND(b1_masked, 1, 32, 8, 5);

#include "rows.inc"
#include "steps.inc"
