/* SPDX-License-Identifier: MIT */
/* The arithmetic of the float executor: one source (kernel_body.inc) compiled once per instruction
 * set, chosen at run time. Every function is single-threaded; a caller splits work into pieces that
 * do not depend on the number of threads. All are [hot]: no allocation, lock or I/O. */
#ifndef TRAIN_KERNEL_H
#define TRAIN_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* Vector loads may read this many floats past the end of an operand `b`, an image row or a bias;
 * every buffer handed to the kernels has this slack. Nothing past the end is ever written or used.
 */
#define KERNEL_SLACK 16

/* A batched matrix product with strides, the one loop nest behind convolution and linear layers,
 * forward and both gradients. For r < n_r, m < n_m, n < n_n:
 *     c[r*c_r + m*c_m + n] (=, += or = bias[n] +)
 *         sum over j < n_j, k < n_k of a[r*a_r + m*a_m + j*a_j + k*a_k] * b[r*b_r + j*b_j + k*b_k +
 * n] One of a_m and a_k must be 1. Sums run over k, then j, in order. Strides in elements. */
struct gemm {
    const float *a;
    const float *b;
    float *c;
    const float *bias; /* (n_n) or NULL; not with accumulate */
    int32_t n_r, n_m, n_n, n_j, n_k;
    int32_t accumulate; /* 1: add to c */
    ptrdiff_t a_r, a_m, a_j, a_k;
    ptrdiff_t b_r, b_j, b_k;
    ptrdiff_t c_r, c_m;
};

struct pool_shape;

/* A value as it is read: x itself, or scale*x + shift per channel, either with a ReLU on top. */
struct source {
    const float *x;
    const float *scale, *shift; /* (kernel_period) or both NULL */
    int32_t relu;
};

/* The gradient of a batch norm's input, made as it is read: ca*g' + cb*x + cc, where g' is g, or g
 * where scale*x + shift > 0 (the ReLU behind the batch norm). All coefficients (kernel_period). */
struct norm_gradient {
    const float *g;
    const float *x;
    const float *ca, *cb, *cc;
    const float *scale, *shift; /* NULL: no ReLU */
};

struct quant_params {
    float scale;
    float zero_point, qmin, qmax;
};

/* Per-channel coefficients are repeated up to a length that vectorises whatever the number of
 * channels: kernel_period(c) is a multiple of c, at least 64 unless c alone is. */
static inline int32_t kernel_period(int32_t c) {
    return c >= 64 ? c : c * ((64 + c - 1) / c);
}

/* In all of them n counts elements (positions times channels) and `period` is kernel_period(C);
 * element i belongs to coefficient i % period. */
struct kernels {
    const char *name; /* "avx512" */

    void (*gemm)(const struct gemm *g);

    /* dst (n) = s */
    void (*load)(float *dst, const struct source *s, int64_t n, int32_t period);
    /* dst (n) = s + t, then ReLU if relu */
    void (*add)(float *dst, const struct source *s, const struct source *t, int32_t relu, int64_t n,
                int32_t period);
    /* dst (n) = the gradient */
    void (*load_gradient)(float *dst, const struct norm_gradient *g, int64_t n, int32_t period);

    /* Two passes: mean (C) of n/C positions and m2 (C), the sum of squared distances from it.
     * work (2*period). */
    void (*moments)(const float *x, int64_t n, int32_t c, int32_t period, float *work, double *mean,
                    double *m2);
    /* sums (2,C) += sum of g', and of g' * (x - centre), for norm_gradient's g' (ca, cb, cc
     * unused); centre (period). work (2*period). */
    void (*gradient_sums)(const struct norm_gradient *g, const float *centre, int64_t n, int32_t c,
                          int32_t period, float *work, double *sums);
    /* sums (C) += sum over positions. work (2*period). */
    void (*channel_sums)(const float *x, int64_t n, int32_t c, int32_t period, float *work,
                         double *sums);

    /* g (n) = 0 where not s > 0 */
    void (*relu_mask)(float *g, const struct source *s, int64_t n, int32_t period);
    void (*accumulate)(float *dst, const float *src, int64_t n); /* dst += src */
    void (*quantize)(float *x, int64_t n, const struct quant_params *q);
    /* d = g + decay*w; m = momentum*m + d; w -= lr * (d + momentum*m): Nesterov as PyTorch has it.
     * g is first multiplied by g_scale. */
    void (*sgd)(float *w, float *m, const float *g, int64_t n, float lr, float momentum,
                float decay, float g_scale);

    /* Winograd's F(2x2,3x3) (Lavin & Gray 2016, arXiv 1509.09308, section 4.1), for channels in
     * multiples of 16. A tile is 2x2 outputs; its 4x4 inputs become 16 points; `plane` is the
     * distance between points. Tiles (n_h,n_w) lie row by row. input: x rows of `pitch` floats -> u
     * (16 planes, tiles, c). output: m (16, tiles, c) -> y, rows of `pitch` floats, set or added
     * to. gradient: the transpose of output. */
    void (*winograd_input)(const float *x, ptrdiff_t pitch, int32_t n_h, int32_t n_w, int32_t c,
                           float *u, ptrdiff_t plane);
    void (*winograd_output)(const float *m, ptrdiff_t plane, int32_t n_h, int32_t n_w, int32_t c,
                            int32_t add, float *y, ptrdiff_t pitch);
    void (*winograd_gradient)(const float *gy, ptrdiff_t pitch, int32_t n_h, int32_t n_w, int32_t c,
                              float *u, ptrdiff_t plane);
    /* n 3x3 kernels, their taps `tap` apart, -> 16 points; flip turns them by 180 degrees. And the
     * transpose of that without the flip: gradients of points -> gradients of taps. */
    void (*winograd_weight)(const float *w, ptrdiff_t tap, int64_t n, int32_t flip, float *u,
                            ptrdiff_t plane);
    void (*winograd_weight_back)(const float *u, ptrdiff_t plane, int64_t n, float *gw,
                                 ptrdiff_t tap);

    /* Pools of one image: x (H,W,C) -> y (OH,OW,C), see struct pool_shape. Backward adds to gx. */
    void (*max_pool)(const struct pool_shape *p, const float *x, float *y);
    void (*max_pool_back)(const struct pool_shape *p, const float *x, const float *y,
                          const float *gy, float *gx, float *work /* (C) */);
    void (*avg_pool)(const struct pool_shape *p, const float *x, float *y);
    void (*avg_pool_back)(const struct pool_shape *p, const float *gy, float *gx);
};

/* Global average pooling is an average pool whose window is the image. */
struct pool_shape {
    int32_t in_h, in_w, c, out_h, out_w;
    int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};

/* The best set this machine can run; PARE_TRAIN_ISA=base|avx2|avx512 in the environment asks for a
 * lesser one. */
const struct kernels *kernels_best(void);

/* All sets this machine can run, best first; NULL past the last. For tests. */
const struct kernels *kernels_at(int32_t i);

#endif
