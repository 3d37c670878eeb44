/* SPDX-License-Identifier: MIT */
/* Vectors of 256 bits, for the levels that have no longer ones. */
#ifndef BACKENDS_X86_LEVEL_AVX2_H
#define BACKENDS_X86_LEVEL_AVX2_H

#include "x86.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES 8

typedef __m256 VF;
/* Not __m256i: GCC 12 converts between its 64-bit lanes and the dot product's 32-bit ones by moving
 * every accumulator to another register, twice for each step. */
typedef int32_t VI __attribute__((vector_size(32)));
typedef uint16_t VH __attribute__((vector_size(32)));
typedef int16_t VS __attribute__((vector_size(32)));

INLINE VF vf_load(const float *x) {
    return _mm256_loadu_ps(x);
}
INLINE void vf_store(float *y, VF v) {
    _mm256_storeu_ps(y, v);
}
INLINE VF vf_set1(float x) {
    return _mm256_set1_ps(x);
}
INLINE VF vf_add(VF a, VF b) {
    return _mm256_add_ps(a, b);
}
INLINE VF vf_mul(VF a, VF b) {
    return _mm256_mul_ps(a, b);
}
INLINE VF vf_madd(VF acc, VF a, VF w) {
    return _mm256_fmadd_ps(a, w, acc);
}
INLINE VF vf_min(VF a, VF b) {
    return _mm256_min_ps(a, b);
}
INLINE VF vf_max(VF a, VF b) {
    return _mm256_max_ps(a, b);
}
/* To the nearest integer, ties to even. */
INLINE VF vf_round(VF a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE VI vf_to_int(VF a) {
    return (VI)_mm256_cvtps_epi32(a);
}
INLINE VF vi_to_float(VI a) {
    return _mm256_cvtepi32_ps((__m256i)a);
}
INLINE VI vi_load(const int32_t *x) {
    return (VI)_mm256_loadu_si256((const __m256i *)(const void *)x);
}
INLINE VI vi_set1(int32_t x) {
    return (VI)_mm256_set1_epi32(x);
}
INLINE VI vi_max(VI a, VI b) {
    return (VI)_mm256_max_epi32((__m256i)a, (__m256i)b);
}

/* Sums of pairs of products of int16. */
INLINE VI vi_madd(VI a, VI b) {
    return (VI)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}

/* -1 where the bit of a byte is set, 1 elsewhere. */
INLINE VI vi_signs_8(const char *bits) {
    int32_t four;
    memcpy(&four, bits, sizeof four);
    const __m256i place =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(four), place), bit);
    return (VI)_mm256_or_si256(_mm256_cmpeq_epi8(set, bit), _mm256_set1_epi8(1));
}

/* Counts of a byte's low nibble's bits, for bits.inc; the high nibbles are 0. */
typedef uint8_t V8 __attribute__((vector_size(32)));
INLINE VI vi_nibbles(VI nibbles) {
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1,
                                            2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    return (VI)_mm256_shuffle_epi8(counts, (__m256i)nibbles);
}

/* One vector of bytes, widened. */
INLINE VI vi_load_bytes(const uint8_t *x) {
    return (VI)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x));
}
/* Codes are 0..255. */
INLINE void vi_store_bytes(uint8_t *y, VI code) {
    __m128i low = _mm256_castsi256_si128((__m256i)code);
    __m128i words = _mm_packs_epi32(low, _mm256_extracti128_si256((__m256i)code, 1));
    _mm_storel_epi64((__m128i *)(void *)y, _mm_packus_epi16(words, words));
}

/* Codes are 0..255, so that no pack saturates. Packing works within halves: the dwords are then in
 * the order c0 low, c1 low, c0 high, c1 high. */
INLINE void store_codes(const struct tiled_tiles *t, char *y, int vectors, VI c0, VI c1) {
    __m256i words = _mm256_packs_epi32((__m256i)c0, (__m256i)c1);
    __m256i bytes = _mm256_packus_epi16(words, words);
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0));
    __m128i low = _mm256_castsi256_si128(bytes);
    if (t->n == vectors * LANES) {
        if (vectors > 1) {
            _mm_storeu_si128((__m128i *)(void *)y, low);
        } else {
            _mm_storel_epi64((__m128i *)(void *)y, low);
        }
        return;
    }
    char buffer[2 * LANES];
    _mm_storeu_si128((__m128i *)(void *)buffer, low);
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
        _mm256_storeu_ps((float *)(void *)y, f0);
        if (vectors > 1) {
            _mm256_storeu_ps((float *)(void *)y + LANES, f1);
        }
        return;
    }
    float buffer[2 * LANES];
    _mm256_storeu_ps(buffer, f0);
    _mm256_storeu_ps(buffer + LANES, f1);
    memcpy(y, buffer, (size_t)t->n * sizeof(float));
}

#define PLANES &tiled_planes_avx2

#endif
