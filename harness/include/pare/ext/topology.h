/* SPDX-License-Identifier: MIT */
/* Extension of the host: change a model's nodes and shapes. A method that calls what changes
 * anything declares PARE_TOPOLOGY among what it writes. */
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

    /* Which channels can only be removed together (Fang et al. 2023, arXiv 2301.12900): those of a
     * layer's value, of its batch norm's, of what is added to it, and so on through every node that
     * does not mix channels. class_of (n), n being dims[2] of all nodes added up: the channels of
     * node 0 first, then those of node 1, ... It gets numbers from 0 up in order of appearance, the
     * same number for channels of one class, and -1 for those coupled with a channel of the image
     * or with an output, which stay. Two that are not obvious: the zero channels that a shortcut
     * puts before and after go in pairs, and groups of a convolution lose channels at the same
     * places, or, where they have one input channel, as a whole. Changes nothing. [main] */
    pare_status (*channel_classes)(const pare_host *host, const pare_graph *graph, int64_t n,
                                   int32_t *class_of);

    /* Removes channels and all that is coupled with them, and shrinks every tensor: weights,
     * biases, batch norms' parameters and statistics, masks, codes and scales. nodes (n_cuts), keep
     * (n_cuts): keep[i], (dims[2] of node nodes[i]), 1 keeps a channel, 0 removes it; nodes that
     * are not listed follow. The network then computes what it computed with these channels 0
     * everywhere; signs of 1 bit have no 0. PARE_E_ARG when coupled channels are asked to differ
     * (the message names both nodes) or one is the input's or an output; PARE_E_RANGE when a
     * node would be left without any. Indices of nodes stay, pointers do not. [main] */
    pare_status (*remove_channels)(const pare_host *host, const pare_graph *graph, int32_t n_cuts,
                                   const int32_t *nodes, const uint8_t *const *keep);
} pare_host_topology;

#ifdef __cplusplus
}
#endif
#endif
