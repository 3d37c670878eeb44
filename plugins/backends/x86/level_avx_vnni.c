/* SPDX-License-Identifier: MIT */
#include "level_avx2.h"

#define LEVEL avx_vnni
#define DOT X86_DOT_BYTES

typedef __m256i i8_act;
typedef __m256i i8_weight;
#define i8_WEIGHT_BYTES (LANES * 4)

INLINE i8_act i8_broadcast(const char *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}
INLINE i8_weight i8_load_weight(const char *w) {
    return _mm256_loadu_si256((const __m256i *)(const void *)w);
}
INLINE VI i8_dot(VI acc, i8_act a, i8_weight w) {
    return (VI)_mm256_dpbusd_avx_epi32((__m256i)acc, a, w);
}

#include "tiles.inc"
#include "tiles_short.inc"

#include "steps.inc"
