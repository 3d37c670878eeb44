/* SPDX-License-Identifier: MIT */
/* Places of channels: those of node 0 first, then those of node 1, and so on. */
#ifndef MODEL_CHANNELS_H
#define MODEL_CHANNELS_H

#include "model/model_private.h"

/* first[i] is the place of channel 0 of node i, first[n_nodes] the number of all; (n_nodes + 1),
 * freed by the caller. */
pare_status channels_place(const pare_graph *graph, struct error *err, int64_t **first);

#endif
