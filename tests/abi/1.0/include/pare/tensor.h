/* SPDX-License-Identifier: MIT */
/* Element types and quantization parameters. */
#ifndef PARE_TENSOR_H
#define PARE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pare_dtype {
    PARE_F32 = 1,
    PARE_I8 = 2,
    PARE_U8 = 3,
    PARE_I16 = 4,
    PARE_I32 = 5
} pare_dtype;

/* How a tensor of real numbers is held as integers:
 *     real = scale[c] * (code - zero_point[c]),   qmin <= code <= qmax,
 * c being the index along `axis` (or 0). Jacob et al. 2018 (arXiv 1712.05877), eq. 1.
 *
 * Weights: symmetric (zero points 0), codes in [-(2^(b-1)-1), 2^(b-1)-1] for b = 2..16 bits;
 * ternary is bits = 2 with {-1,0,1}; binary is bits = 1 with {-1,1} (codes 0 do not occur).
 * Activations: one scale and zero point per tensor, codes in a sub-range of int8 for b <= 8,
 * of int16 for 9..16. */
typedef struct pare_quant {
    int32_t bits; /* 1..16; 0: not quantized, and nothing else here means anything */
    int32_t qmin, qmax;
    int32_t axis;              /* -1: one scale for the whole tensor; 0: one per index of axis 0 */
    int32_t n;                 /* number of scales: 1, or the length of that axis */
    const float *scale;        /* (n), finite and > 0 */
    const int32_t *zero_point; /* (n), each in [qmin, qmax]; NULL: all zero */
} pare_quant;

#ifdef __cplusplus
}
#endif
#endif
