/* SPDX-License-Identifier: MIT */
/* What a choice does to the graph: channels removed, or masked where they lie. */
#ifndef FILTER_REMOVE_H
#define FILTER_REMOVE_H

#include "choose.h"

/* Indices of nodes stay; see pare_host_topology.remove_channels. [main] */
pare_status remove_chosen(const struct choice *choice, const pare_graph *graph);

/* The same network with every shape as it was: of each layer the filters that make these channels,
 * with their biases, the weights that read them, and gamma and beta of batch norms are pruned.
 * [main] */
pare_status mask_chosen(const struct choice *choice, const pare_graph *graph);

#endif
