/* SPDX-License-Identifier: MIT */
#include "level_avx2.h"

#define LEVEL avx2
#define DOT X86_DOT_PAIRS

/* Codes 0 and 2, 1 and 3 of four, widened to int16. */
typedef struct {
    __m256i even, odd;
} i8_act;
typedef struct {
    __m256i even, odd;
} i8_weight;
#define i8_WEIGHT_BYTES (LANES * 8)

INLINE i8_act i8_broadcast(const char *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m256i a = _mm256_set1_epi32(four);
    return (i8_act){_mm256_and_si256(a, _mm256_set1_epi16(255)), _mm256_srli_epi16(a, 8)};
}
INLINE i8_weight i8_load_weight(const char *w) {
    return (i8_weight){_mm256_loadu_si256((const __m256i *)(const void *)w),
                       _mm256_loadu_si256((const __m256i *)(const void *)(w + LANES * 4))};
}
/* vpmaddwd: exact, as vpmaddubsw is not. */
INLINE VI i8_dot(VI acc, i8_act a, i8_weight w) {
    acc += (VI)_mm256_madd_epi16(a.even, w.even);
    return acc + (VI)_mm256_madd_epi16(a.odd, w.odd);
}

#include "tiles.inc"
#include "tiles_short.inc"

#include "steps.inc"
