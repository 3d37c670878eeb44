/* SPDX-License-Identifier: MIT */
/* SSE2, which every x86-64 has. */
#include "x86.h"

#include <emmintrin.h>
#include <string.h>

#define LEVEL sse
#define INLINE static inline __attribute__((always_inline))
#define LANES 4
#define PLANES NULL

typedef __m128 VF;
/* Not __m128i: GCC 12 converts between its 64-bit lanes and the dot product's 32-bit ones by moving
 * every accumulator to another register, twice for each step. */
typedef int32_t VI __attribute__((vector_size(16)));
typedef uint16_t VH __attribute__((vector_size(16)));
typedef int16_t VS __attribute__((vector_size(16)));

INLINE VF vf_load(const float *x) {
    return _mm_loadu_ps(x);
}
INLINE VF vf_set1(float x) {
    return _mm_set1_ps(x);
}
INLINE VF vf_add(VF a, VF b) {
    return _mm_add_ps(a, b);
}
INLINE VF vf_mul(VF a, VF b) {
    return _mm_mul_ps(a, b);
}
INLINE VF vf_madd(VF acc, VF a, VF w) {
    return _mm_add_ps(acc, _mm_mul_ps(a, w));
}
INLINE VF vf_min(VF a, VF b) {
    return _mm_min_ps(a, b);
}
INLINE VF vf_max(VF a, VF b) {
    return _mm_max_ps(a, b);
}
/* To the nearest integer, ties to even; of numbers that an int32 holds. */
INLINE VF vf_round(VF a) {
    return _mm_cvtepi32_ps(_mm_cvtps_epi32(a));
}
INLINE VI vf_to_int(VF a) {
    return (VI)_mm_cvtps_epi32(a);
}
INLINE VF vi_to_float(VI a) {
    return _mm_cvtepi32_ps((__m128i)a);
}
INLINE VI vi_load(const int32_t *x) {
    return (VI)_mm_loadu_si128((const __m128i *)(const void *)x);
}
INLINE VI vi_set1(int32_t x) {
    return (VI)_mm_set1_epi32(x);
}
INLINE VI vi_max(VI a, VI b) {
    VI greater = a > b;
    return (a & greater) | (b & ~greater);
}

/* Sums of pairs of products of int16. */
INLINE VI vi_madd(VI a, VI b) {
    return (VI)_mm_madd_epi16((__m128i)a, (__m128i)b);
}

/* One vector of bytes, widened. */
INLINE VI vi_load_bytes(const uint8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m128i bytes = _mm_unpacklo_epi8(_mm_cvtsi32_si128(four), _mm_setzero_si128());
    return (VI)_mm_unpacklo_epi16(bytes, _mm_setzero_si128());
}
/* Codes are 0..255. */
INLINE void vi_store_bytes(uint8_t *y, VI code) {
    __m128i words = _mm_packs_epi32((__m128i)code, (__m128i)code);
    int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    memcpy(y, &four, sizeof four);
}

/* Codes are 0..255, so that no pack saturates. */
INLINE void store_codes(const struct tiled_tiles *t, char *y, int vectors, VI c0, VI c1) {
    __m128i words = _mm_packs_epi32((__m128i)c0, (__m128i)c1);
    __m128i bytes = _mm_packus_epi16(words, words);
    if (vectors > 1 && t->n == 2 * LANES) {
        _mm_storel_epi64((__m128i *)(void *)y, bytes);
        return;
    }
    char buffer[2 * LANES];
    _mm_storel_epi64((__m128i *)(void *)buffer, bytes);
    memcpy(y, buffer, (size_t)t->n);
}
/* Four vectors of rounded codes, still without the zero point and the lower bound: of four
 * positions or (vectors == 2) of two. */
INLINE void store_four(const struct tiled_tiles *t, char *y, int vectors, VI c0, VI c1, VI c2,
                       VI c3) {
    const VI low = vi_set1(t->stored_low);
    c0 = vi_max(c0 + t->zero, low);
    c1 = vi_max(c1 + t->zero, low);
    c2 = vi_max(c2 + t->zero, low);
    c3 = vi_max(c3 + t->zero, low);
    if (vectors == 1) {
        store_codes(t, y, 1, c0, c0);
        store_codes(t, y + t->y_step_bytes, 1, c1, c1);
        store_codes(t, y + 2 * t->y_step_bytes, 1, c2, c2);
        store_codes(t, y + 3 * t->y_step_bytes, 1, c3, c3);
    } else {
        store_codes(t, y, 2, c0, c1);
        store_codes(t, y + t->y_step_bytes, 2, c2, c3);
    }
}
INLINE void store_f32(const struct tiled_tiles *t, char *y, int vectors, VF f0, VF f1) {
    if (t->n == vectors * LANES) {
        _mm_storeu_ps((float *)(void *)y, f0);
        if (vectors > 1) {
            _mm_storeu_ps((float *)(void *)y + LANES, f1);
        }
        return;
    }
    float buffer[2 * LANES];
    _mm_storeu_ps(buffer, f0);
    _mm_storeu_ps(buffer + LANES, f1);
    memcpy(y, buffer, (size_t)t->n * sizeof(float));
}

#include "tiles.inc"

#include "dot_pairs.inc"
#define KIND_HALF
KIND(f32, 32, 1, 8, 6);
KIND(i8, 8, 4, 8, 5);
KIND(i8w4, 4, 8, 8, 5);
KIND(i8w2, 2, 16, 8, 5);
#define KIND_B1 /* needs a table lookup */
#define KIND_W1 /* spills: weights of 1 bit are faster at 2 */

#include "rows.inc"
#include "steps.inc"
