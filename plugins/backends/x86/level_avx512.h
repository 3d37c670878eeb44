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

INLINE VF vf_load(const float *x) {
    return _mm512_loadu_ps(x);
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
INLINE VI vi_add(VI a, VI b) {
    return a + b;
}

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
INLINE void store_codes(const struct x86_tiles *t, char *y, int vectors, VI c0, VI c1) {
    store_bytes(y, c0, t->n);
    if (vectors > 1) {
        store_bytes(y + LANES, c1, t->n - LANES);
    }
}
INLINE void store_floats(char *y, VF f, int32_t n) {
    if (n >= LANES) {
        _mm512_storeu_ps(y, f);
    } else {
        _mm512_mask_storeu_ps(y, (__mmask16)((1u << n) - 1u), f);
    }
}
INLINE void store_f32(const struct x86_tiles *t, char *y, int vectors, VF f0, VF f1) {
    store_floats(y, f0, t->n);
    if (vectors > 1) {
        store_floats(y + LANES * 4, f1, t->n - LANES);
    }
}

#endif
