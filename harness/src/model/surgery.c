/* SPDX-License-Identifier: MIT */
/* Channels removed: the same graph built once more with fewer channels, through the functions that
 * build any graph, so that shapes are inferred and checked again; then what stays of each weight is
 * gathered from the old one. The new model replaces the old one only when everything has succeeded.
 */
#include "core/alloc.h"
#include "model/channels.h"

#include <stdlib.h>
#include <string.h>

struct cut {
    const pare_graph *graph;
    int64_t n;         /* channels of all nodes */
    int64_t *first;    /* (n_nodes + 1) place of a node's channel 0 among all */
    int32_t *class_of; /* (n) */
    uint8_t *keep;     /* (n) */
    int32_t *asked;    /* (n) by class: 1 + the channel that decided its fate; 0: none yet */
};

static void cut_clear(struct cut *cut) {
    free(cut->first);
    free(cut->class_of);
    free(cut->keep);
    free(cut->asked);
}

static pare_status cut_init(const struct model *model, struct error *err, struct cut *cut) {
    const pare_graph *g = &model->graph;
    size_t n = (size_t)model_n_channels(model);
    *cut = (struct cut){.graph = g,
                        .n = (int64_t)n,
                        .class_of = alloc_array(n, sizeof *cut->class_of),
                        .keep = alloc_array(n, sizeof *cut->keep),
                        .asked = alloc_array(n, sizeof *cut->asked)};
    if (cut->class_of == NULL || cut->keep == NULL || cut->asked == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: no memory for %zu channels", g->name, n);
    pare_status status = channels_place(g, err, &cut->first);
    return status == PARE_OK ? model_channel_classes(model, (int64_t)n, err, cut->class_of)
                             : status;
}

/* ---- what is asked for ---- */

static const pare_node *node_of(const struct cut *cut, int64_t channel) {
    int32_t i = 0;
    while (cut->first[i + 1] <= channel)
        i++;
    return cut->graph->nodes[i];
}

static pare_status take_channel(struct cut *cut, const pare_node *node, int32_t c, uint8_t keep,
                                struct error *err) {
    int64_t e = cut->first[node->index] + c;
    int32_t class = cut->class_of[e];
    if (keep > 1)
        return error_set(err, PARE_E_RANGE, "%s: keep[%d] is %d, wanted 0 (remove) or 1 (keep)",
                         node->name, c, keep);
    if (class < 0)
        return keep ? PARE_OK
                    : error_set(err, PARE_E_ARG,
                                "%s: channel %d is coupled with the network's input or output, "
                                "whose channels cannot be removed",
                                node->name, c);
    if (cut->asked[class] == 0) {
        cut->asked[class] = (int32_t)e + 1;
        cut->keep[e] = keep;
        return PARE_OK;
    }
    int64_t other = cut->asked[class] - 1;
    if (cut->keep[other] == keep)
        return PARE_OK;
    const pare_node *by = node_of(cut, other);
    return error_set(err, PARE_E_ARG,
                     "%s: channel %d is to be %s, but %s: channel %d, which is coupled with it, is "
                     "to be %s; they can only go together",
                     node->name, c, keep ? "kept" : "removed", by->name,
                     (int)(other - cut->first[by->index]), keep ? "removed" : "kept");
}

static pare_status take_requests(struct cut *cut, int32_t n_cuts, const int32_t *nodes,
                                 const uint8_t *const *keep, struct error *err) {
    for (int32_t i = 0; i < n_cuts; i++) {
        if (nodes[i] < 0 || nodes[i] >= cut->graph->n_nodes)
            return error_set(err, PARE_E_ARG, "%s: node is %d, wanted 0..%d", cut->graph->name,
                             nodes[i], cut->graph->n_nodes - 1);
        const pare_node *node = cut->graph->nodes[nodes[i]];
        if (keep[i] == NULL)
            return error_set(err, PARE_E_ARG, "%s: does not say which channels to keep",
                             node->name);
        for (int32_t c = 0; c < node->dims[2]; c++) {
            pare_status status = take_channel(cut, node, c, keep[i][c], err);
            if (status != PARE_OK)
                return status;
        }
    }
    return PARE_OK;
}

/* Every channel has its class's fate, and every node something left. */
static pare_status spread(struct cut *cut, struct error *err) {
    for (int64_t e = 0; e < cut->n; e++) {
        int32_t by = cut->class_of[e] >= 0 ? cut->asked[cut->class_of[e]] : 0;
        cut->keep[e] = by > 0 ? cut->keep[by - 1] : 1;
    }
    for (int32_t i = 0; i < cut->graph->n_nodes; i++) {
        const pare_node *node = cut->graph->nodes[i];
        if (memchr(cut->keep + cut->first[i], 1, (size_t)node->dims[2]) == NULL)
            return error_set(err, PARE_E_RANGE,
                             "%s: all its %d channels would be removed, which cuts the network; "
                             "keep one at least",
                             node->name, node->dims[2]);
    }
    return PARE_OK;
}

static int32_t n_kept(const struct cut *cut, int32_t node) {
    int32_t n = 0;
    for (int64_t e = cut->first[node]; e < cut->first[node + 1]; e++)
        n += cut->keep[e];
    return n;
}

/* ---- the new model ---- */

/* Convolutions whose groups have one input channel each lose whole groups. */
static int loses_groups(const struct cut *cut, const pare_node *node) {
    return node->groups > 1 && cut->graph->nodes[node->inputs[0]]->dims[2] == node->groups;
}

static struct node_spec spec_of(const struct cut *cut, const pare_node *node) {
    bool has_kernel =
        node->op == PARE_OP_CONV2D || node->op == PARE_OP_MAX_POOL || node->op == PARE_OP_AVG_POOL;
    bool has_channels = op_has_weights(node->op) || node->op == PARE_OP_SHORTCUT_A;
    struct node_spec spec = {.op = node->op,
                             .name = node->name,
                             .out_channels = has_channels ? n_kept(cut, node->index) : 0,
                             .bias =
                                 op_has_weights(node->op) && node->weights[PARE_ROLE_BIAS] != NULL,
                             .eps = node->eps};
    memcpy(spec.inputs, node->inputs, sizeof spec.inputs);
    if (has_kernel) {
        spec.kernel_h = node->kernel_h;
        spec.kernel_w = node->kernel_w;
        spec.pad_h = node->pad_h;
        spec.pad_w = node->pad_w;
    }
    if (has_kernel || node->op == PARE_OP_SHORTCUT_A) {
        spec.stride_h = node->stride_h;
        spec.stride_w = node->stride_w;
    }
    if (node->op == PARE_OP_CONV2D)
        spec.groups = loses_groups(cut, node) ? n_kept(cut, node->inputs[0]) : node->groups;
    return spec;
}

/* What stays of a tensor (n_out, middle, n_in), whose elements have `size` bytes. NULL: all of that
 * axis. */
struct part {
    const uint8_t *keep_out, *keep_in;
    int64_t n_out, middle, n_in;
};

static void gather(const struct part *part, const void *from, size_t size, void *to) {
    const char *in = from;
    char *out = to;
    for (int64_t o = 0; o < part->n_out; o++) {
        for (int64_t k = 0; k < part->middle * part->n_in; k++, in += size) {
            if (!part->keep_out[o] || (part->keep_in != NULL && !part->keep_in[k % part->n_in]))
                continue;
            memcpy(out, in, size);
            out += size;
        }
    }
}

/* Weights are (out,KH,KW,in), (out,in) or (out). Groups that keep their number lose inputs at the
 * same places, those of the first group. */
static struct part part_of(const struct cut *cut, const pare_node *node, const pare_weight *w) {
    struct part part = {.keep_out = cut->keep + cut->first[node->index],
                        .n_out = w->dims[0],
                        .middle = 1,
                        .n_in = 1};
    if (w->rank > 1) {
        part.n_in = w->dims[w->rank - 1];
        part.middle = w->n_elems / (part.n_out * part.n_in);
        if (!loses_groups(cut, node))
            part.keep_in = cut->keep + cut->first[node->inputs[0]];
    }
    return part;
}

static pare_status fill_codes(const struct part *part, const struct weight_store *from,
                              struct error *err, struct weight_store *to) {
    const struct part scales = {part->keep_out, NULL, part->n_out, 1, 1};
    pare_quant quant = from->view.quant;
    pare_status status = weight_make_quant_buffers(to, err);
    if (status != PARE_OK)
        return status;
    gather(part, from->codes, sizeof *from->codes, to->codes);
    if (quant.n == 1)
        to->scale[0] = from->scale[0];
    else
        gather(&scales, from->scale, sizeof *from->scale, to->scale);
    quant.n = quant.axis == 0 ? (int32_t)to->view.dims[0] : 1;
    quant.scale = to->scale;
    weight_put_quant(to, &quant);
    return PARE_OK;
}

static pare_status fill_weight(const struct cut *cut, const pare_node *node,
                               const struct weight_store *from, struct error *err,
                               struct weight_store *to) {
    const struct part part = part_of(cut, node, &from->view);
    pare_status status = PARE_OK;
    gather(&part, from->data, sizeof *from->data, to->data);
    if (from->view.mask != NULL) {
        status = weight_make_mask_buffer(to, err);
        if (status != PARE_OK)
            return status;
        gather(&part, from->mask, sizeof *from->mask, to->mask);
        to->view.mask = to->mask;
    }
    return from->view.codes != NULL ? fill_codes(&part, from, err, to) : PARE_OK;
}

static pare_status add_nodes(const struct cut *cut, struct model *to, struct error *err) {
    for (int32_t i = 1; i < cut->graph->n_nodes; i++) {
        const pare_node *node = cut->graph->nodes[i];
        struct node_spec spec = spec_of(cut, node);
        pare_status status = model_add(to, &spec, err, NULL);
        for (int role = 0; role < PARE_N_ROLES && status == PARE_OK; role++)
            if (node->weights[role] != NULL)
                status = fill_weight(cut, node, weight_of(node->weights[role]), err,
                                     weight_of(to->graph.nodes[i]->weights[role]));
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static pare_status rebuild(const struct cut *cut, const struct model *model, struct error *err,
                           struct model **out) {
    const pare_graph *g = cut->graph;
    struct model *to = NULL;
    pare_status status = model_create(g->name, g->input_dims, err, &to);
    if (status != PARE_OK)
        return status;
    status = add_nodes(cut, to, err);
    if (status == PARE_OK)
        status = model_finish(to, err);
    for (int32_t i = 0; i < g->n_nodes && status == PARE_OK; i++)
        status = model_set_activation_quant(to, i, &g->nodes[i]->activation, err);
    for (size_t i = 0; i < model->priv->n_notes && status == PARE_OK; i++)
        status = model_add_note(to, model->priv->notes[i].key, model->priv->notes[i].value, err);
    if (status != PARE_OK) {
        model_destroy(to);
        return status;
    }
    *out = to;
    return PARE_OK;
}

pare_status model_remove_channels(struct model *model, int32_t n_cuts, const int32_t *nodes,
                                  const uint8_t *const *keep, struct error *err) {
    struct cut cut = {0};
    struct model *made = NULL;
    pare_status status = cut_init(model, err, &cut);
    if (status == PARE_OK)
        status = take_requests(&cut, n_cuts, nodes, keep, err);
    if (status == PARE_OK)
        status = spread(&cut, err);
    if (status == PARE_OK)
        status = rebuild(&cut, model, err, &made);
    if (status == PARE_OK) {
        struct model old = *model;
        *model = *made;
        *made = old;
        model_destroy(made);
    }
    cut_clear(&cut);
    return status;
}
