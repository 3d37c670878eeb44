/* SPDX-License-Identifier: MIT */
/* Extensions of methods: look at activations before `apply`, and at the end of the step. */
#ifndef PARE_EXT_CALIBRATE_H
#define PARE_EXT_CALIBRATE_H

#include <pare/method.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARE_METHOD_CALIBRATE "pare.method.calibrate/1"

/* The same struct once more, at the end of the step: after `apply`, and after the training where
 * there is one. For methods that settle at last what is to be deployed. */
#define PARE_METHOD_CALIBRATE_AFTER "pare.method.calibrate_after/1"

/* Steps with either extension also take the host's parameters `calibration_samples` (512, from the
 * training split, chosen by the seed) and `calibration_batch` (64). */
typedef struct pare_method_calibrate {
    uint32_t struct_size;

    /* Before the first observation. May change the graph (fold batch norm). [main] */
    pare_status (*begin)(void *instance, const pare_graph *graph);

    /* One call per node and batch, in execution order, the input node included: the value that node
     * makes, (n, dims of the node) fp32. Passes repeat over the same batches in the same order
     * until `end` says that it has seen enough. [main] */
    pare_status (*observe)(void *instance, const pare_graph *graph, int32_t node,
                           const float *value, int32_t n);

    /* After each pass. *again = 1 asks for one more pass. May change weights, masks and
     * quantizations, which the next pass shows, but not the nodes. [main] */
    pare_status (*end)(void *instance, const pare_graph *graph, int32_t *again);
} pare_method_calibrate;

#ifdef __cplusplus
}
#endif
#endif
