/* SPDX-License-Identifier: MIT */
/* Where: the weight tensors that a method treats. */
#ifndef METHODS_COMMON_TARGET_H
#define METHODS_COMMON_TARGET_H

#include <pare/plugin.h>

struct target {
    const pare_host *host;
    int32_t n;
    int32_t *weights; /* (n) indices into pare_graph.weights, ascending */
};

/* Weights (role WEIGHT, never biases) of the conv2d and linear nodes that the step's include and
 * exclude patterns select. None at all is an error. Freed by target_clear. [main] */
pare_status target_init(const pare_host *host, const pare_graph *graph, struct target *target);
void target_clear(struct target *target);

#endif
