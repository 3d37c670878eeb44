/* SPDX-License-Identifier: MIT */
/* A method: something that changes a model (a quantizer, a pruner). The host treats one step of a
 * pipeline in this order:
 *     create -> [calibrate: begin, observe..., end] -> [gradients: begin, observe..., end]
 *            -> apply -> [norm: n_batches] -> [train: begin, ..., end]
 *            -> [calibrate_after: begin, observe..., end] -> destroy
 * Calibration and passes over gradients run if the method has that extension; training, if it has
 * that extension and the step's `epochs` is not 0. After the step the host verifies what every step
 * so far has established (masked weights are 0, codes in range, scales finite). */
#ifndef PARE_METHOD_H
#define PARE_METHOD_H

#include <pare/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a method reads, writes, and preserves of what earlier steps did. A step that writes
 * something an earlier step established, and does not preserve it, is rejected before anything
 * runs. */
typedef enum pare_aspect {
    PARE_WEIGHTS = 1u << 0, /* values of weights and biases */
    PARE_MASK = 1u << 1,    /* which weights are zero */
    PARE_WEIGHT_QUANT = 1u << 2,
    PARE_ACTIVATION_QUANT = 1u << 3,
    PARE_TOPOLOGY = 1u << 4,   /* nodes and shapes; folding batch norm counts */
    PARE_ACTIVATIONS = 1u << 5 /* activation values (reads only) */
} pare_aspect;

struct pare_method {
    uint32_t struct_size;
    const char *id; /* "ptq": lower_snake_case, unique among methods */
    const char *version;
    const char *doc;               /* one sentence */
    const char *reference;         /* paper and section or equation */
    const pare_param_desc *params; /* (n_params) */
    uint32_t n_params;
    uint32_t reads, writes, preserves; /* sets of pare_aspect */

    /* Makes an instance from checked, resolved parameters (borrowed for the instance's life).
     * [main] */
    pare_status (*create)(const pare_host *host, const pare_params *params, void **instance);
    void (*destroy)(void *instance); /* NULL is fine. [main] */

    /* Changes the graph, through the host. A method that does all its work while training may leave
     * this NULL. [main] */
    pare_status (*apply)(void *instance, const pare_graph *graph);

    /* The method's side of extension `id` (<pare/ext/...>), or NULL. A method without any may leave
     * the function itself NULL. [any] */
    const void *(*get_extension)(const char *id);
};

#ifdef __cplusplus
}
#endif
#endif
