/* SPDX-License-Identifier: MIT */
/* 3x3 convolutions of stride 1 by Winograd's F(2x2,3x3) and its transposes: 16 multiplications
 * where the plain sum has 36. Used in training; evaluation keeps the plain sums. See conv.h. */
#ifndef TRAIN_WINOGRAD_H
#define TRAIN_WINOGRAD_H

#include "train/conv.h"

/* Even sizes, channels in multiples of 16, one group, padding of at most 2. */
int winograd_applies(const struct conv *c);
int64_t winograd_tile_elems(const struct conv *c);

/* taps (9,IC,OC) -> packed (16,IC,OC). */
void winograd_pack_forward(const struct kernels *k, const struct conv *c, const float *taps,
                           struct pool *pool, float *packed);
/* w (OC,9,IC) -> packed (16,OC,IC), turned by 180 degrees. */
void winograd_pack_backward(const struct kernels *k, const struct conv *c, const float *w,
                            struct pool *pool, float *packed);

/* y (out_h,out_w,out_c) = or += the convolution of the padded image x, rows of `pitch` floats. */
struct winograd_pass {
    const float *x;
    ptrdiff_t pitch;
    int32_t in_c;
    const float *packed; /* (16,in_c,out_c) */
    float *y;
    int32_t out_h, out_w, out_c;
    int32_t add;
    int32_t ahead_part, ahead_parts; /* which share of scratch->ahead to fetch meanwhile */
};
void winograd_convolve(const struct kernels *k, const struct winograd_pass *p,
                       const struct conv_scratch *scratch);

/* Both gradients of one image. image: padded, as conv_forward reads it; gradient points at output
 * pixel (0,0) in the padded copy. */
void winograd_backward(const struct kernels *k, const struct conv *c, const float *image,
                       const float *gradient, ptrdiff_t gradient_pitch, const float *packed,
                       const struct conv_scratch *scratch, const struct conv_gradients *out);

/* gw_sum (16,OC,IC) -> gw (OC,9,IC) */
void winograd_finish_weights(const struct kernels *k, const struct conv *c, const float *gw_sum,
                             float *gw);

#endif
