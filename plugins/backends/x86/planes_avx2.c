/* SPDX-License-Identifier: MIT */
/* Values in planes and sparse convolutions, for all levels with these vectors. */
#include "level_avx2.h"

#define LEVEL avx2
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Lane k of the result is lane lanes[k] of v, -1: 0. */
typedef struct {
    __m256i lanes, outside;
} VP;
INLINE VP vp_load(const int32_t *lanes) {
    __m256i all = _mm256_loadu_si256((const __m256i *)(const void *)lanes);
    return (VP){all, _mm256_srai_epi32(all, 31)};
}
INLINE VF vf_move(VF v, VP p) {
    return _mm256_andnot_ps(_mm256_castsi256_ps(p.outside), _mm256_permutevar8x32_ps(v, p.lanes));
}

/* For planes.inc: README.md says how the times were found. */
#define GRID_H 4
#define GRID_W 2
#define SPOT_POSITIONS 8
#define PLANES_COSTS                                                                               \
    .dense_step = 0.125f, .dense_end = 1.0f, .tap_vector = 0.135f, .tap = 0.3f,                    \
    .sparse_end = 0.4f, .move = 0.8f, .vector = 0.6f, .planes_elem = 0.3f

#include "planes.inc"
