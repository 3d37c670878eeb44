/* SPDX-License-Identifier: MIT */
/* Extension of methods: look at gradients before `apply`. */
#ifndef PARE_EXT_GRADIENTS_H
#define PARE_EXT_GRADIENTS_H

#include <pare/method.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Steps with this extension also take the host's parameters `calibration_samples` (512, from the
 * training split, chosen by the seed, not augmented) and `calibration_batch` (64). */
#define PARE_METHOD_GRADIENTS "pare.method.gradients/1"

typedef enum pare_loss {
    PARE_LOSS_CROSS_ENTROPY = 0, /* mean over the batch, of softmax(logits / temperature) */
    PARE_LOSS_OUTPUT_SUM = 1     /* sum of the logits of one image of which all values are 1 */
} pare_loss;

/* What one pass computes. A softmax at the end of the graph is left out: logits are its input. */
typedef struct pare_gradient_pass {
    uint32_t struct_size;
    int32_t loss;        /* a pare_loss */
    int32_t frozen_norm; /* 0: batch norms use the batch's statistics, as in training; 1: the
                            running ones, as constants. OUTPUT_SUM always uses the running ones.
                            Neither changes them. */
    double temperature;  /* > 0; of CROSS_ENTROPY */
} pare_gradient_pass;

/* One pass: begin, observe..., end. Passes go over the same batches in the same order until `end`
 * has seen enough. Masks hold: what is pruned is 0 in the forward pass; its gradient is shown like
 * that of any other weight. */
typedef struct pare_method_gradients {
    uint32_t struct_size;

    /* Before pass `number` (0, 1, ...). *pass comes filled with CROSS_ENTROPY, the batch's
     * statistics, temperature 1. May change weights and masks (not the topology), and has to put
     * back itself what is not to stay. [main] */
    pare_status (*begin)(void *instance, const pare_graph *graph, int64_t number,
                         pare_gradient_pass *pass);

    /* For each batch, each learned weight of the graph in order (of every role, selected or not):
     * the gradient (dims of the weight) of the batch's loss, all finite; n images were in the
     * batch. May not change the graph. [main] */
    pare_status (*observe)(void *instance, const pare_graph *graph, int32_t weight,
                           const float *gradient, int32_t n);

    /* After each pass. *again = 1 asks for one more. May change weights and masks. [main] */
    pare_status (*end)(void *instance, const pare_graph *graph, int32_t *again);
} pare_method_gradients;

#ifdef __cplusplus
}
#endif
#endif
