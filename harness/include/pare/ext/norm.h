/* SPDX-License-Identifier: MIT */
/* Extension of methods: batch norms' running statistics estimated anew. */
#ifndef PARE_EXT_NORM_H
#define PARE_EXT_NORM_H

#include <pare/method.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARE_METHOD_NORM "pare.method.norm/1"

/* For methods after which the values that batch norms read have another distribution, such as those
 * that remove channels. */
typedef struct pare_method_norm {
    uint32_t struct_size;

    /* Asked once, after apply and before any training: over how many batches of the training split
     * (not augmented, in an order chosen by the seed) the host is to take every batch norm's mean
     * and variance anew; 0: none, they stay. Nothing happens in a graph without batch norms. [main]
     */
    int32_t (*n_batches)(void *instance, const pare_graph *graph);
} pare_method_norm;

#ifdef __cplusplus
}
#endif
#endif
