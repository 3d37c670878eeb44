/* SPDX-License-Identifier: MIT */
/* A graph's channels as the filter method sees them: in classes that go as a whole, and families of
 * classes that lie in the same layers. */
#ifndef FILTER_CHANNELS_H
#define FILTER_CHANNELS_H

#include <pare/ext/topology.h>

struct channels {
    const pare_host *host;
    const pare_host_topology *topology;
    int64_t n;         /* channels of all nodes */
    int64_t *first;    /* (n_nodes + 1) place of a node's channel 0 */
    int32_t *class_of; /* (n) -1: stays in any case */
    int32_t n_classes, n_families;
    int32_t *family; /* (n_classes) */
    uint8_t *may_go; /* (n_classes) 1: not left out by `where`, nor by is_inner_only */
};

/* is_inner_only: classes that reach an addition or a padded shortcut stay. None that may go is
 * PARE_E_NOT_FOUND, said. Freed by channels_clear. [main] */
pare_status channels_init(const pare_host *host, const pare_graph *graph, int is_inner_only,
                          struct channels *channels);
void channels_clear(struct channels *channels);

/* The class of channel c of a node, -1: it stays. */
static inline int32_t channels_class(const struct channels *ch, int32_t node, int64_t c) {
    return ch->class_of[ch->first[node] + c];
}

static inline int is_layer(const pare_node *node) {
    return node->op == PARE_OP_CONV2D || node->op == PARE_OP_LINEAR;
}

#endif
