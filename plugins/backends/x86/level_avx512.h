/* SPDX-License-Identifier: MIT */
/* Vectors of 512 bits, for the levels that have them. */
#ifndef BACKENDS_X86_LEVEL_AVX512_H
#define BACKENDS_X86_LEVEL_AVX512_H

#include "x86.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES 16

typedef __m512 VF;
/* Not __m512i: GCC 12 converts between its 64-bit lanes and the dot product's 32-bit ones by moving
 * every accumulator to another register, twice for each step. */
typedef int32_t VI __attribute__((vector_size(64)));
typedef uint16_t VH __attribute__((vector_size(64)));
typedef int16_t VS __attribute__((vector_size(64)));

INLINE VF vf_load(const float *x) {
    return _mm512_loadu_ps(x);
}
INLINE void vf_store(float *y, VF v) {
    _mm512_storeu_ps(y, v);
}
INLINE VF vf_set1(float x) {
    return _mm512_set1_ps(x);
}
INLINE VF vf_add(VF a, VF b) {
    return _mm512_add_ps(a, b);
}
INLINE VF vf_mul(VF a, VF b) {
    return _mm512_mul_ps(a, b);
}
INLINE VF vf_madd(VF acc, VF a, VF w) {
    return _mm512_fmadd_ps(a, w, acc);
}
INLINE VF vf_min(VF a, VF b) {
    return _mm512_min_ps(a, b);
}
INLINE VF vf_max(VF a, VF b) {
    return _mm512_max_ps(a, b);
}
/* To the nearest integer, ties to even. */
INLINE VF vf_round(VF a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT);
}
INLINE VI vf_to_int(VF a) {
    return (VI)_mm512_cvtps_epi32(a);
}
INLINE VF vi_to_float(VI a) {
    return _mm512_cvtepi32_ps((__m512i)a);
}
INLINE VI vi_load(const int32_t *x) {
    return (VI)_mm512_loadu_si512(x);
}
INLINE VI vi_set1(int32_t x) {
    return (VI)_mm512_set1_epi32(x);
}
INLINE VI vi_max(VI a, VI b) {
    return (VI)_mm512_max_epi32((__m512i)a, (__m512i)b);
}

/* Sums of pairs of products of int16. */
INLINE VI vi_madd(VI a, VI b) {
    return (VI)_mm512_madd_epi16((__m512i)a, (__m512i)b);
}

/* -1 where the bit of a byte, or of an int16, is set, 1 elsewhere. */
INLINE VI vi_signs_8(const char *bits) {
    uint64_t mask;
    memcpy(&mask, bits, sizeof mask);
    return (VI)_mm512_mask_blend_epi8(mask, _mm512_set1_epi8(1), _mm512_set1_epi8(-1));
}
INLINE VI vi_signs_16(const char *bits) {
    uint32_t mask;
    memcpy(&mask, bits, sizeof mask);
    return (VI)_mm512_mask_blend_epi16(mask, _mm512_set1_epi16(1), _mm512_set1_epi16(-1));
}

/* Counts of a byte's low nibble's bits, for bits.inc; the high nibbles are 0. */
typedef uint8_t V8 __attribute__((vector_size(64)));
INLINE VI vi_nibbles(VI nibbles) {
    const __m512i counts =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    return (VI)_mm512_shuffle_epi8(counts, (__m512i)nibbles);
}

/* Bit k of the result: x[k] >= zero. */
INLINE uint64_t sign_bits_64(const uint8_t *x, int32_t zero) {
    return _mm512_cmpge_epu8_mask(_mm512_loadu_si512(x), _mm512_set1_epi8((char)zero));
}
#define SIGN_BITS_64 sign_bits_64

/* One vector of bytes, widened. */
INLINE VI vi_load_bytes(const uint8_t *x) {
    return (VI)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)x));
}
INLINE void vi_store_bytes(uint8_t *y, VI code) {
    _mm_storeu_si128((__m128i *)(void *)y, _mm512_cvtepi32_epi8((__m512i)code));
}

/* The first n lanes of `code` as bytes. */
INLINE void store_bytes(char *y, VI code, int32_t n) {
    __m128i bytes = _mm512_cvtepi32_epi8((__m512i)code);
    if (n >= LANES) {
        _mm_storeu_si128((__m128i *)(void *)y, bytes);
    } else {
        _mm_mask_storeu_epi8(y, (__mmask16)((1u << n) - 1u), bytes);
    }
}
INLINE void store_codes(const struct tiled_tiles *t, char *y, int vectors, VI c0, VI c1) {
    store_bytes(y, c0, t->n);
    if (vectors > 1) {
        store_bytes(y + LANES, c1, t->n - LANES);
    }
}
/* Four vectors of rounded codes, still without the zero point and the lower bound: of four
 * positions or (vectors == 2) of two. */
INLINE void store_four(const struct tiled_tiles *t, char *y, int vectors, VI c0, VI c1, VI c2,
                       VI c3) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i zero = _mm512_set1_epi16((int16_t)t->zero);
    __m512i low = _mm512_packs_epi32((__m512i)c0, (__m512i)c1);
    __m512i high = _mm512_packs_epi32((__m512i)c2, (__m512i)c3);
    low = _mm512_adds_epi16(low, zero);
    high = _mm512_adds_epi16(high, zero);
    __m512i bytes = _mm512_packus_epi16(low, high);
    bytes = _mm512_max_epu8(bytes, _mm512_set1_epi8((char)t->stored_low));
    bytes = _mm512_permutexvar_epi32(order, bytes); /* packing works within quarters */
    const int64_t step = t->y_step_bytes;
    if (t->n == vectors * LANES && step == vectors * LANES) {
        _mm512_storeu_si512(y, bytes);
    } else if (vectors == 1) {
        __mmask16 mask = (__mmask16)(t->n >= LANES ? 0xffffu : (1u << t->n) - 1u);
        _mm_mask_storeu_epi8(y, mask, _mm512_castsi512_si128(bytes));
        _mm_mask_storeu_epi8(y + step, mask, _mm512_extracti32x4_epi32(bytes, 1));
        _mm_mask_storeu_epi8(y + 2 * step, mask, _mm512_extracti32x4_epi32(bytes, 2));
        _mm_mask_storeu_epi8(y + 3 * step, mask, _mm512_extracti32x4_epi32(bytes, 3));
    } else if (t->n == 2 * LANES) {
        _mm256_storeu_si256((__m256i *)(void *)y, _mm512_castsi512_si256(bytes));
        _mm256_storeu_si256((__m256i *)(void *)(y + step), _mm512_extracti64x4_epi64(bytes, 1));
    } else {
        __mmask32 mask = (__mmask32)((1u << t->n) - 1u);
        _mm256_mask_storeu_epi8(y, mask, _mm512_castsi512_si256(bytes));
        _mm256_mask_storeu_epi8(y + step, mask, _mm512_extracti64x4_epi64(bytes, 1));
    }
}
INLINE void store_floats(char *y, VF f, int32_t n) {
    if (n >= LANES) {
        _mm512_storeu_ps(y, f);
    } else {
        _mm512_mask_storeu_ps(y, (__mmask16)((1u << n) - 1u), f);
    }
}
INLINE void store_f32(const struct tiled_tiles *t, char *y, int vectors, VF f0, VF f1) {
    store_floats(y, f0, t->n);
    if (vectors > 1) {
        store_floats(y + LANES * 4, f1, t->n - LANES);
    }
}

#define PLANES &tiled_planes_avx512

#endif
