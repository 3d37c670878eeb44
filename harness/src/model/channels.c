/* SPDX-License-Identifier: MIT */
/* Which channels stand or fall together (DepGraph, Fang et al. 2023, arXiv 2301.12900,
 * section 3.2), channel by channel instead of layer by layer, so that channels that move (flatten,
 * the padded shortcut) need no case of their own when they are removed. */
#include "model/channels.h"
#include "core/alloc.h"

#include <stdlib.h>

/* A forest over all channels: parent[e] == e at a root, which is the first channel of its class. */
struct forest {
    int64_t *first;  /* (n_nodes + 1) place of a node's channel 0 among all channels */
    int32_t *parent; /* (first[n_nodes]) */
};

pare_status channels_place(const pare_graph *graph, struct error *err, int64_t **first) {
    int64_t *place = alloc_array((size_t)graph->n_nodes + 1, sizeof *place);
    if (place == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", graph->name);
    for (int32_t i = 0; i < graph->n_nodes; i++)
        place[i + 1] = place[i] + graph->nodes[i]->dims[2];
    *first = place;
    return PARE_OK;
}

int64_t model_n_channels(const struct model *model) {
    int64_t n = 0;
    for (int32_t i = 0; i < model->graph.n_nodes; i++)
        n += model->graph.nodes[i]->dims[2];
    return n;
}

static int32_t root_of(int32_t *parent, int32_t e) {
    while (parent[e] != e) {
        parent[e] = parent[parent[e]];
        e = parent[e];
    }
    return e;
}

/* Channel c of node a and channel d of node b share a fate. */
static void couple(const struct forest *f, int32_t a, int64_t c, int32_t b, int64_t d) {
    int32_t x = root_of(f->parent, (int32_t)(f->first[a] + c));
    int32_t y = root_of(f->parent, (int32_t)(f->first[b] + d));
    if (x < y)
        f->parent[y] = x;
    else
        f->parent[x] = y;
}

static void couple_alike(const struct forest *f, const pare_node *node) {
    for (int32_t k = 0; k < node->n_inputs; k++)
        for (int32_t c = 0; c < node->dims[2]; c++)
            couple(f, node->index, c, node->inputs[k], c);
}

static void couple_flatten(const struct forest *f, const pare_node *node, int32_t in_channels) {
    for (int32_t c = 0; c < node->dims[2]; c++)
        couple(f, node->index, c, node->inputs[0], c % in_channels);
}

/* The op puts as many zero channels before as after (one more after, where the number is odd), so
 * they go in pairs. */
static void couple_shortcut(const struct forest *f, const pare_node *node, int32_t in_channels) {
    int32_t before = (node->dims[2] - in_channels) / 2;
    for (int32_t c = 0; c < in_channels; c++)
        couple(f, node->index, before + c, node->inputs[0], c);
    for (int32_t c = 0; c < before; c++)
        couple(f, node->index, c, node->index, before + in_channels + c);
}

/* One input channel per group: a group is removed with it. Otherwise every group loses channels at
 * the same places, so that groups stay of one size. */
static void couple_groups(const struct forest *f, const pare_node *node, int32_t in_channels) {
    int32_t outs = node->dims[2] / node->groups, ins = in_channels / node->groups;
    if (node->groups == 1)
        return;
    for (int32_t g = 0; g < node->groups; g++) {
        for (int32_t c = 0; c < outs && ins > 1; c++)
            couple(f, node->index, c, node->index, (int64_t)g * outs + c);
        for (int32_t c = 0; c < ins && ins > 1; c++)
            couple(f, node->inputs[0], c, node->inputs[0], (int64_t)g * ins + c);
        for (int32_t c = 0; c < outs && ins == 1; c++)
            couple(f, node->inputs[0], g, node->index, (int64_t)g * outs + c);
    }
}

static void couple_node(const struct forest *f, const pare_graph *graph, const pare_node *node) {
    int32_t in_channels = node->n_inputs > 0 ? graph->nodes[node->inputs[0]]->dims[2] : 0;
    switch (node->op) {
    case PARE_OP_INPUT:
    case PARE_OP_LINEAR:
        break;
    case PARE_OP_CONV2D:
        couple_groups(f, node, in_channels);
        break;
    case PARE_OP_FLATTEN:
        couple_flatten(f, node, in_channels);
        break;
    case PARE_OP_SHORTCUT_A:
        couple_shortcut(f, node, in_channels);
        break;
    default:
        couple_alike(f, node);
    }
}

/* Marks the class of every channel of a node that stays as it is. */
static void fix_node(const struct forest *f, const pare_node *node, int32_t *class_of) {
    for (int64_t e = f->first[node->index]; e < f->first[node->index + 1]; e++)
        class_of[root_of(f->parent, (int32_t)e)] = -1;
}

/* Roots come before the other channels of their class. */
static void number_classes(const struct forest *f, int64_t n, int32_t *class_of) {
    int32_t n_classes = 0;
    for (int64_t e = 0; e < n; e++) {
        int32_t root = root_of(f->parent, (int32_t)e);
        if (root != e)
            class_of[e] = class_of[root];
        else if (class_of[e] == 0)
            class_of[e] = n_classes++;
    }
}

pare_status model_channel_classes(const struct model *model, int64_t n, struct error *err,
                                  int32_t *class_of) {
    const pare_graph *g = &model->graph;
    int64_t wanted = model_n_channels(model);
    if (!model->priv->is_finished)
        return error_set(err, PARE_E_STATE,
                         "%s: the model is not finished, its channels are not known", g->name);
    if (n != wanted)
        return error_set(err, PARE_E_ARG, "%s: got room for %lld channels, all nodes have %lld",
                         g->name, (long long)n, (long long)wanted);
    if (n > INT32_MAX)
        return error_set(err, PARE_E_LIMIT, "%s: has %lld channels, at most %d can be told apart",
                         g->name, (long long)n, INT32_MAX);
    struct forest f = {NULL, alloc_array((size_t)n, sizeof *f.parent)};
    pare_status status = channels_place(g, err, &f.first);
    if (status == PARE_OK && f.parent == NULL)
        status =
            error_set(err, PARE_E_NOMEM, "%s: no memory for %lld channels", g->name, (long long)n);
    if (status != PARE_OK)
        goto cleanup;
    for (int64_t e = 0; e < n; e++) {
        f.parent[e] = (int32_t)e;
        class_of[e] = 0;
    }
    for (int32_t i = 0; i < g->n_nodes; i++)
        couple_node(&f, g, g->nodes[i]);
    fix_node(&f, g->nodes[0], class_of);
    fix_node(&f, g->nodes[g->n_nodes - 1], class_of);
    number_classes(&f, n, class_of);
cleanup:
    free(f.first);
    free(f.parent);
    return status;
}
