/* SPDX-License-Identifier: MIT */
/* Values in planes and sparse convolutions, for all levels with these vectors. */
#include "level_avx512.h"

#define LEVEL avx512
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Lane k of the result is lane lanes[k] of v, -1: 0. */
typedef struct {
    __m512i lanes;
    __mmask16 inside;
} VP;
INLINE VP vp_load(const int32_t *lanes) {
    __m512i all = _mm512_loadu_si512(lanes);
    return (VP){all, (__mmask16)~_mm512_movepi32_mask(all)};
}
INLINE VF vf_move(VF v, VP p) {
    return _mm512_maskz_permutexvar_ps(p.inside, p.lanes, v);
}

/* For planes.inc: README.md says how the times were found. */
#define GRID_H 4
#define GRID_W 4
#define SPOT_POSITIONS 16
#define PLANES_COSTS                                                                               \
    .dense_step = 0.113f, .dense_end = 1.0f, .tap_vector = 0.15f, .tap = 0.4f, .sparse_end = 0.5f, \
    .move = 1.0f, .vector = 1.0f, .planes_elem = 0.3f

#include "planes.inc"
