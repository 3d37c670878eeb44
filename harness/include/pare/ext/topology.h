/* SPDX-License-Identifier: MIT */
/* Extension of the host: change a model's nodes. A method that calls any of this declares
 * PARE_TOPOLOGY among what it writes. */
#ifndef PARE_EXT_TOPOLOGY_H
#define PARE_EXT_TOPOLOGY_H

#include <pare/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARE_HOST_TOPOLOGY "pare.host.topology/1"

/* From host->get_extension(host, PARE_HOST_TOPOLOGY). Functions are added at its end: ask for later
 * ones with PARE_HAS. Each checks its arguments, leaves the graph as it was when it fails, and
 * otherwise makes every pointer and index into it invalid. Weights, masks and quantizations of
 * other nodes stay. To be called from apply, from begin of calibration or training, or from end of
 * training: not while the graph is observed or trained. [main] */
typedef struct pare_host_topology {
    uint32_t struct_size;

    /* Puts a PARE_OP_QUANTIZE node between node `node` and its input `slot` (0, 1); other readers
     * of that input are left alone. The new node is named "<node>.quantize", or "<node>.quantize2"
     * for slot 1, has no quantization yet, and is *quantize; the reader is now *quantize + 1.
     * PARE_E_STATE when that input has such a node already. */
    pare_status (*insert_quantize)(const pare_host *host, const pare_graph *graph, int32_t node,
                                   int32_t slot, int32_t *quantize);

    /* Takes relu `node` out; its readers read what it read. For networks whose nonlinearity is a
     * sign: behind a relu every sign is 1. PARE_E_STATE when its value is quantized,
     * PARE_E_UNSUPPORTED when it is the last node. */
    pare_status (*remove_relu)(const pare_host *host, const pare_graph *graph, int32_t node);
} pare_host_topology;

#ifdef __cplusplus
}
#endif
#endif
