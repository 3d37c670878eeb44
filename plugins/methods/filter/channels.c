/* SPDX-License-Identifier: MIT */
#include "channels.h"

#include <string.h>

/* ---- families ---- */

static int32_t root_of(int32_t *parent, int32_t k) {
    while (parent[k] != k) {
        parent[k] = parent[parent[k]];
        k = parent[k];
    }
    return k;
}

/* Classes that meet in a node are one family; families are numbered in order of appearance. */
static void find_families(struct channels *ch, const pare_graph *graph) {
    int32_t *parent = ch->family;
    for (int32_t k = 0; k < ch->n_classes; k++) {
        parent[k] = k;
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        int32_t before = -1;
        for (int64_t e = ch->first[i]; e < ch->first[i + 1]; e++) {
            const int32_t k = ch->class_of[e];
            if (k < 0) {
                continue;
            }
            const int32_t a = root_of(parent, before < 0 ? k : before);
            const int32_t b = root_of(parent, k);
            parent[a > b ? a : b] = a > b ? b : a; /* roots are the first of their family */
            before = k;
        }
    }
    for (int32_t k = 0; k < ch->n_classes; k++) {
        parent[k] = root_of(parent, k);
    }
    for (int32_t k = 0; k < ch->n_classes; k++) {
        parent[k] = parent[k] == k ? ch->n_families++ : parent[parent[k]];
    }
}

/* ---- what may go ---- */

static int keeps_all(const struct channels *ch, const pare_graph *graph, const pare_node *node,
                     int is_inner_only) {
    const int is_tied = node->op == PARE_OP_ADD || node->op == PARE_OP_SHORTCUT_A;
    return (is_inner_only && is_tied) ||
           (is_layer(node) && !ch->host->selected(ch->host, graph, node->index));
}

static pare_status find_candidates(struct channels *ch, const pare_graph *graph,
                                   int is_inner_only) {
    memset(ch->may_go, 1, (size_t)ch->n_classes);
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        if (!keeps_all(ch, graph, graph->nodes[i], is_inner_only)) {
            continue;
        }
        for (int64_t e = ch->first[i]; e < ch->first[i + 1]; e++) {
            if (ch->class_of[e] >= 0) {
                ch->may_go[ch->class_of[e]] = 0;
            }
        }
    }
    if (ch->n_classes == 0 || !memchr(ch->may_go, 1, (size_t)ch->n_classes)) {
        return ch->host->fail(ch->host, PARE_E_NOT_FOUND,
                              "%s: no channels may be removed: outputs stay, as do channels of "
                              "layers left out%s",
                              graph->name,
                              is_inner_only ? ", and those that an addition ties; channels = "
                                              "\"all\" takes these as well"
                                            : "");
    }
    return PARE_OK;
}

/* ---- the whole ---- */

static pare_status find_classes(struct channels *ch, const pare_graph *graph) {
    const pare_host *host = ch->host;
    const size_t n = (size_t)ch->n;
    ch->class_of = host->alloc(host, n * sizeof *ch->class_of);
    ch->family = host->alloc(host, n * sizeof *ch->family);
    ch->may_go = host->alloc(host, n);
    if (!ch->class_of || !ch->family || !ch->may_go) {
        return host->fail(host, PARE_E_NOMEM, "no memory for %lld channels", (long long)ch->n);
    }
    const pare_status status = ch->topology->channel_classes(host, graph, ch->n, ch->class_of);
    for (int64_t e = 0; e < ch->n && status == PARE_OK; e++) {
        if (ch->class_of[e] >= ch->n_classes) {
            ch->n_classes = ch->class_of[e] + 1;
        }
    }
    return status;
}

pare_status channels_init(const pare_host *host, const pare_graph *graph, int is_inner_only,
                          struct channels *channels) {
    struct channels *ch = channels;
    *ch =
        (struct channels){.host = host, .topology = host->get_extension(host, PARE_HOST_TOPOLOGY)};
    if (!ch->topology || !PARE_HAS(ch->topology, pare_host_topology, remove_channels)) {
        return host->fail(host, PARE_E_UNSUPPORTED, "this pare cannot remove channels; update it");
    }
    ch->first = host->alloc(host, ((size_t)graph->n_nodes + 1) * sizeof *ch->first);
    if (!ch->first) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a list of %d nodes", graph->n_nodes);
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        ch->first[i] = ch->n;
        ch->n += graph->nodes[i]->dims[2];
    }
    ch->first[graph->n_nodes] = ch->n;
    const pare_status status = find_classes(ch, graph);
    if (status < 0) {
        return status;
    }
    find_families(ch, graph);
    return find_candidates(ch, graph, is_inner_only);
}

void channels_clear(struct channels *ch) {
    if (ch->host) {
        ch->host->free(ch->host, ch->first);
        ch->host->free(ch->host, ch->class_of);
        ch->host->free(ch->host, ch->family);
        ch->host->free(ch->host, ch->may_go);
    }
    *ch = (struct channels){0};
}
