/* SPDX-License-Identifier: MIT */
/* Extension of methods: take part in training. */
#ifndef PARE_EXT_TRAIN_H
#define PARE_EXT_TRAIN_H

#include <pare/method.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARE_METHOD_TRAIN "pare.method.train/1"

/* Steps with this extension also take the host's training parameters (epochs, lr, batch, ...).
 * Masks of the graph always hold while training: the host re-applies them after each step. */
typedef struct pare_train_plan {
    uint32_t struct_size;
    int64_t n_steps; /* in all */
    int64_t steps_per_epoch;
    int32_t batch;
    double lr; /* peak learning rate */
} pare_train_plan;

typedef struct pare_train_step {
    uint32_t struct_size;
    int64_t step; /* 0 .. n_steps-1: the one just taken */
    double lr;    /* it was taken with */
} pare_train_step;

/* Every function but begin may be NULL: "does nothing"; a forward and its backward are there
 * together or not at all. The functions on tensors are called with
 * whole tensors, on the main thread; they may use host->parallel_for. */
typedef struct pare_method_train {
    uint32_t struct_size;

    /* Before the first step; the plan is borrowed for the call. May change the graph. [main] */
    pare_status (*begin)(void *instance, const pare_graph *graph, const pare_train_plan *plan);

    /* What the forward pass uses instead of weight `weight`: w (dims) -> used (dims). And back:
     * gradient with respect to `used` -> gradient with respect to w. Called for selected conv2d and
     * linear nodes' weights (role WEIGHT). grad_w and grad_used may be the same memory. [main] */
    pare_status (*weight_forward)(void *instance, const pare_graph *graph, int32_t weight,
                                  const float *w, float *used);
    pare_status (*weight_backward)(void *instance, const pare_graph *graph, int32_t weight,
                                   const float *w, const float *grad_used, float *grad_w);

    /* The same for the value that the selected node `node` reads as its input 0: x, y (n_elems).
     * x is kept by the host between forward and backward. [main] */
    pare_status (*activation_forward)(void *instance, const pare_graph *graph, int32_t node,
                                      const float *x, float *y, int64_t n_elems);
    pare_status (*activation_backward)(void *instance, const pare_graph *graph, int32_t node,
                                       const float *x, const float *grad_y, float *grad_x,
                                       int64_t n_elems);

    /* After each optimizer step: the place for mask updates and the method's own learned
     * parameters. May call set_mask and set_weight. [main] */
    pare_status (*after_step)(void *instance, const pare_graph *graph, const pare_train_step *step);

    /* After the last step: leave the graph as it is to be deployed (set_weight_quant, ...). [main]
     */
    pare_status (*end)(void *instance, const pare_graph *graph);

    /* Later than 1.0, at the end: is activation_backward to be called for node `node`, whose input
     * is the images? 0 saves the gradient that nothing else needs. NULL: it is. [main] */
    int32_t (*wants_image_gradient)(void *instance, const pare_graph *graph, int32_t node);

    /* Also later. After the last step of a training, before `end`: *from, which comes as -1, set to
     * a step (0 .. n_steps-1) asks for the training once more from that step on: the learning rate
     * and the order of the data are those of that step, momentum starts from 0; `begin` is not
     * called again. May change weights and masks. [main] */
    pare_status (*again)(void *instance, const pare_graph *graph, int64_t *from);
} pare_method_train;

#ifdef __cplusplus
}
#endif
#endif
