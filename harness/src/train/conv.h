/* SPDX-License-Identifier: MIT */
/* Convolution of one image, forward and both gradients, as strided matrix products over a
 * zero-padded copy of the image, so that the inner loops see no border. Single-threaded and [hot],
 * but for the two pack functions, which share their work among a pool. Exact in the sense that the
 * order of every sum is fixed by the shape alone. */
#ifndef TRAIN_CONV_H
#define TRAIN_CONV_H

#include "core/pool.h"
#include "train/kernel.h"

#include <pare/graph.h>
#include <stdint.h>

struct conv {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c;
    int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, groups;
    int32_t winograd; /* use Winograd's algorithm */
};

/* `fast` allows Winograd's algorithm where it applies: less than half the multiplications, results
 * that differ from the plain sums by a few roundings more. */
struct conv conv_of(const pare_graph *graph, const pare_node *node, int fast);

/* Floats that the packed weights and the padded copies need, slack included. */
int64_t conv_packed_elems(const struct conv *c); /* for either packing */
int64_t conv_image_elems(const struct conv *c);
int64_t conv_gradient_elems(const struct conv *c);
int64_t conv_tile_elems(const struct conv *c);
int64_t conv_sum_elems(const struct conv *c); /* gradient of the weights, as it is summed */

/* w (OC,KH,KW,IC/groups) as the forward pass and as the gradient of the image read it. [main] */
void conv_pack_forward(const struct kernels *k, const struct conv *c, const float *w,
                       struct pool *pool, float *packed);
void conv_pack_backward(const struct kernels *k, const struct conv *c, const float *w,
                        struct pool *pool, float *packed);

/* What the thread will read for its next image, fetched into the cache piece by piece between bands
 * of arithmetic, which leaves the memory idle. */
struct conv_ahead {
    const float *at[6]; /* NULL: none */
    int64_t n[6];       /* floats */
};

/* One thread's memory. */
struct conv_scratch {
    struct conv_ahead ahead;
    float *image;    /* (conv_image_elems) */
    float *gradient; /* (conv_gradient_elems) */
    float *tiles;    /* (conv_tile_elems) */
    float *work;     /* (2 * kernel_period(OC)) */
};

/* y (OH,OW,OC) of the image x (IH,IW,IC); bias (OC) with slack, or NULL. */
void conv_forward(const struct kernels *k, const struct conv *c, const struct source *x,
                  const float *packed, const float *bias, const struct conv_scratch *scratch,
                  float *y);

/* The gradient that comes in: plain, or made from a batch norm's as it is read. */
struct gradient_source {
    const float *plain; /* (OH,OW,OC), or NULL: norm */
    struct norm_gradient norm;
};

/* Of one image: gw_sum (conv_sum_elems) is set or, with gw_accumulate, added to; the same for gx
 * (IH,IW,IC), NULL when nobody wants it; bias_sums (OC) is added to, or NULL. `packed` by
 * conv_pack_backward. */
struct conv_gradients {
    float *gw_sum;
    float *gx;
    double *bias_sums;
    int32_t gw_accumulate, gx_accumulate;
};
void conv_backward(const struct kernels *k, const struct conv *c, const struct source *x,
                   const struct gradient_source *gy, const float *packed,
                   const struct conv_scratch *scratch, const struct conv_gradients *out);
/* gw (OC,KH,KW,IC/groups) from the sum over all images. */
void conv_finish_weights(const struct kernels *k, const struct conv *c, const float *gw_sum,
                         float *gw);

/* Linear layers: x (n,in), w (out,in), y (n,out). Cut into blocks of outputs that are independent.
 */
struct linear {
    int32_t in, out;
};
int64_t linear_packed_elems(const struct linear *l);
void linear_pack_forward(const struct linear *l, const float *w, struct pool *pool, float *packed);
void linear_pack_backward(const struct linear *l, const float *w, float *packed);
void linear_forward(const struct kernels *k, const struct linear *l, const float *x,
                    const float *packed, const float *bias, int32_t n, struct pool *pool, float *y);
void linear_backward_input(const struct kernels *k, const struct linear *l, const float *gy,
                           const float *packed, int32_t n, int32_t accumulate, struct pool *pool,
                           float *gx);
void linear_backward_weight(const struct kernels *k, const struct linear *l, const float *x,
                            const float *gy, int32_t n, struct pool *pool, float *gw);

#endif
