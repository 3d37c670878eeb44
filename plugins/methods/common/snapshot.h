/* SPDX-License-Identifier: MIT */
/* The values of all tensors of a graph at one time, to be put back later. Masks are not part of it:
 * what is masked when they are put back stays 0. */
#ifndef METHODS_COMMON_SNAPSHOT_H
#define METHODS_COMMON_SNAPSHOT_H

#include <pare/plugin.h>

struct snapshot {
    const pare_host *host;
    float *data; /* all tensors, one after the other; NULL: none taken */
};

/* Takes (or takes anew) the values as they are. [main] */
pare_status snapshot_take(const pare_host *host, const pare_graph *graph,
                          struct snapshot *snapshot);
pare_status snapshot_restore(const struct snapshot *snapshot, const pare_graph *graph);
void snapshot_clear(struct snapshot *snapshot);

/* The saved values (n_elems) of a weight. */
const float *snapshot_of(const struct snapshot *snapshot, const pare_graph *graph, int32_t weight);

#endif
