/* SPDX-License-Identifier: MIT */
#include "level_avx512.h"

#define LEVEL avx512
#define DOT X86_DOT_PAIRS

/* Codes 0 and 2, 1 and 3 of four, widened to int16. */
typedef struct {
    __m512i even, odd;
} i8_act;
typedef struct {
    __m512i even, odd;
} i8_weight;
#define i8_WEIGHT_BYTES (LANES * 8)

INLINE i8_act i8_broadcast(const char *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m512i a = _mm512_set1_epi32(four);
    return (i8_act){_mm512_and_si512(a, _mm512_set1_epi16(255)), _mm512_srli_epi16(a, 8)};
}
INLINE i8_weight i8_load_weight(const char *w) {
    return (i8_weight){_mm512_loadu_si512(w), _mm512_loadu_si512(w + LANES * 4)};
}
/* vpmaddwd: exact, as vpmaddubsw is not. */
INLINE VI i8_dot(VI acc, i8_act a, i8_weight w) {
    acc += (VI)_mm512_madd_epi16(a.even, w.even);
    return acc + (VI)_mm512_madd_epi16(a.odd, w.odd);
}

#include "tiles.inc"
#include "tiles_512.inc"

#include "steps.inc"
