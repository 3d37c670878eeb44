/* SPDX-License-Identifier: MIT */
#include "remove.h"

#include <string.h>

static int is_kept(const struct choice *c, int32_t node, int64_t channel) {
    const int32_t class = channels_class(c->channels, node, channel);
    return class < 0 || !c->goes[class];
}

/* keep (channels of all nodes); nodes and keeps (n_nodes). */
struct lists {
    uint8_t *keep;
    int32_t *nodes;
    const uint8_t **keeps;
};

static void fill_lists(const struct choice *c, const pare_graph *graph, struct lists *lists) {
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const int64_t first = c->channels->first[i];
        lists->nodes[i] = i;
        lists->keeps[i] = lists->keep + first;
        for (int64_t k = 0; k < graph->nodes[i]->dims[2]; k++) {
            lists->keep[first + k] = (uint8_t)is_kept(c, i, k);
        }
    }
}

pare_status remove_chosen(const struct choice *c, const pare_graph *graph) {
    const pare_host *host = c->channels->host;
    const size_t n = (size_t)graph->n_nodes;
    struct lists lists = {host->alloc(host, (size_t)c->channels->n),
                          host->alloc(host, n * sizeof *lists.nodes),
                          host->alloc(host, n * sizeof *lists.keeps)};
    pare_status status = PARE_OK;
    if (lists.keep && lists.nodes && lists.keeps) {
        fill_lists(c, graph, &lists);
        status = c->channels->topology->remove_channels(host, graph, graph->n_nodes, lists.nodes,
                                                        lists.keeps);
    } else {
        status = host->fail(host, PARE_E_NOMEM, "no memory for a list of %lld channels",
                            (long long)c->channels->n);
    }
    host->free(host, lists.keep);
    host->free(host, lists.nodes);
    host->free(host, lists.keeps);
    return status;
}

/* ---- masks ---- */

/* Is element i of a weight of `node` one that stays? Weights are (out,KH,KW,in), (out,in) or (out);
 * of a convolution in groups, `in` counts within the group. */
static int keeps_element(const struct choice *c, const pare_node *node, const pare_weight *w,
                         int64_t i) {
    const int64_t out = i / (w->n_elems / w->dims[0]);
    if (w->rank == 1) {
        return is_kept(c, node->index, out);
    }
    const int64_t ins = w->dims[w->rank - 1];
    const int64_t group = out / (w->dims[0] / node->groups);
    return is_kept(c, node->index, out) && is_kept(c, node->inputs[0], group * ins + i % ins);
}

static pare_status mask_weight(const struct choice *c, const pare_graph *graph,
                               const pare_node *node, const pare_weight *w) {
    const pare_host *host = c->channels->host;
    uint8_t *mask = host->alloc(host, (size_t)w->n_elems);
    if (!mask) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a mask of %lld weights",
                          (long long)w->n_elems);
    }
    for (int64_t i = 0; i < w->n_elems; i++) {
        mask[i] = (!w->mask || w->mask[i]) && keeps_element(c, node, w, i);
    }
    pare_status status = PARE_OK;
    if (w->mask || memchr(mask, 0, (size_t)w->n_elems)) { /* dense weights stay dense */
        status = host->set_mask(host, graph, w->index, mask);
    }
    host->free(host, mask);
    return status;
}

pare_status mask_chosen(const struct choice *c, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < graph->n_weights && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[k];
        if (w->role != PARE_ROLE_MEAN && w->role != PARE_ROLE_VAR) {
            status = mask_weight(c, graph, graph->nodes[w->node], w);
        }
    }
    return status;
}
