/* SPDX-License-Identifier: MIT */
/* The float executor: forward (with fake quantization where the graph asks for it) and backward.
 * Results do not depend on the number of threads. */
#ifndef TRAIN_NETWORK_H
#define TRAIN_NETWORK_H

#include "core/error.h"
#include "core/pool.h"
#include "model/model.h"

#include <stdint.h>

/* Replacements that a method puts into the passes; every member may be NULL. They return a status
 * and say why through their own channel (the pipeline turns it into an error). See
 * <pare/ext/train.h>. */
struct network_hooks {
    void *context;
    int (*wants_weight)(void *context, int32_t weight); /* asked once, at network_create */
    int (*wants_activation)(void *context, int32_t node);
    int (*wants_image_gradient)(void *context, int32_t node); /* node reads node 0; NULL: yes */
    pare_status (*weight_forward)(void *context, int32_t weight, const float *w, float *used);
    pare_status (*weight_backward)(void *context, int32_t weight, const float *w,
                                   const float *grad_used, float *grad_w);
    pare_status (*activation_forward)(void *context, int32_t node, const float *x, float *y,
                                      int64_t n);
    pare_status (*activation_backward)(void *context, int32_t node, const float *x,
                                       const float *grad_y, float *grad_x, int64_t n);
};

struct network;

/* For batches of up to max_batch. The model is borrowed; its weights and quantization are read at
 * each forward, its topology must not change while the network lives. Hooks work in both modes.
 * train 0: forward in evaluation mode only (running statistics), no memory for gradients. */
pare_status network_create(struct model *model, int32_t max_batch, int train,
                           const struct network_hooks *hooks, struct pool *pool, struct error *err,
                           struct network **out);
void network_destroy(struct network *net);

/* images (n,H,W,C) fp32 -> logits (n,n_classes), the value of the last node, owned by the network.
 * Evaluation mode: batch norm by running statistics; values and weights with quantization
 * parameters lie on their grid: v = scale * (clamp(rne(v / scale) + zp, qmin, qmax) - zp), or, of 1
 * bit, v = v >= 0 ? scale : -scale: simulated accuracy. */
pare_status network_infer(struct network *net, const float *images, int32_t n, struct error *err,
                          const float **logits);

/* After network_infer: called for each node's value in order, (n, node dims) fp32, input included.
 */
typedef pare_status (*network_visitor)(void *context, int32_t node, const float *value, int32_t n);
pare_status network_infer_observed(struct network *net, const float *images, int32_t n,
                                   network_visitor visit, void *context, struct error *err,
                                   const float **logits);

/* Training mode: batch statistics, running statistics updated (momentum 0.1, unbiased variance, as
 * PyTorch), no fake quantization (a method's hooks do that). A softmax at the end is left out: the
 * loss applies its own, so logits are its input. Needs train 1. */
pare_status network_forward(struct network *net, const float *images, int32_t n, struct error *err,
                            const float **logits);

/* After network_forward: grad_logits (n,n_classes) -> the gradients of all weights. */
pare_status network_backward(struct network *net, const float *grad_logits, struct error *err);

/* Gradient of a weight, (dims), of the last backward; NULL for running statistics. */
const float *network_gradient(const struct network *net, int32_t weight);

/* How far running statistics move towards a batch's, 0..1; 0.1 at first. */
void network_set_norm_momentum(struct network *net, float momentum);

/* 1: network_forward takes the running statistics as constants, as in evaluation, and leaves them;
 * the gradient passes through. 0, at first: a batch's own. */
void network_freeze_norm(struct network *net, int frozen);

int64_t network_bytes(const struct network *net); /* memory it holds */

#endif
