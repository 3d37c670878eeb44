/* SPDX-License-Identifier: MIT */
#include "level_avx512.h"

#define LEVEL avx512_vnni
#define DOT X86_DOT_BYTES

typedef __m512i i8_act;
typedef __m512i i8_weight;
#define i8_WEIGHT_BYTES (LANES * 4)

INLINE i8_act i8_broadcast(const char *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}
INLINE i8_weight i8_load_weight(const char *w) {
    return _mm512_loadu_si512(w);
}
INLINE VI i8_dot(VI acc, i8_act a, i8_weight w) {
    return (VI)_mm512_dpbusd_epi32((__m512i)acc, a, w);
}

#include "tiles.inc"
#include "tiles_512.inc"

#include "steps.inc"
