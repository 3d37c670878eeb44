/* SPDX-License-Identifier: MIT */
/* Cross-layer equalization: a relu lets positive factors through, so a channel between two layers
 * can be scaled down in the first and up in the second without a change of what the network
 * computes. The factors are chosen such that channel i has the same range in both:
 *     s_i = sqrt(r1_i r2_i) / r2_i,   W1_i <- W1_i / s_i,   b1_i <- b1_i / s_i,   W2_i <- W2_i s_i
 * with r1_i and r2_i the largest absolute weights of the first layer's output channel and the
 * second's input channel i. Nagel et al. 2019 (arXiv 1906.04721), section 4.1, eq. 11. */
#ifndef PTQ_EQUALIZE_H
#define PTQ_EQUALIZE_H

#include <pare/plugin.h>

/* Equalizes all pairs of selected layers between which lie only relu, pools and flatten, each value
 * with one reader and without a quantization; pair after pair, until a round changes no factor by
 * more than 1 %. A channel that is 0 in either layer is left alone. Batch norm is folded by now.
 * *n_pairs (may be 0) is out. [main] */
pare_status equalize(const pare_host *host, const pare_graph *graph, int32_t *n_pairs);

#endif
