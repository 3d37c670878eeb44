/* SPDX-License-Identifier: MIT */
/* Nodes put in and taken out of a finished model. Stores of nodes and weights stay where they are;
 * only lists and indices change. */
#include "model/model_private.h"

#include <stdio.h>
#include <string.h>

void model_remove_node(struct model *model, int32_t index) {
    struct model_private *p = model->priv;
    struct node_store *removed = node_at(model, index);
    int32_t input = removed->view.inputs[0];
    for (int role = 0; role < PARE_N_ROLES; role++)
        if (removed->view.weights[role] != NULL)
            weight_destroy(weight_of(removed->view.weights[role]));
    node_destroy(removed);
    model->graph.n_nodes--;
    for (int32_t i = index; i < model->graph.n_nodes; i++) {
        p->nodes[i] = p->nodes[i + 1];
        struct node_store *node = node_at(model, i);
        for (int k = 0; k < node->view.n_inputs; k++) {
            int32_t *in = &node->view.inputs[k];
            *in = *in == index ? input : *in > index ? *in - 1 : *in;
        }
    }
}

static pare_status check_node(const struct model *model, int32_t node, struct error *err) {
    const pare_graph *g = &model->graph;
    if (!model->priv->is_finished)
        return error_set(err, PARE_E_STATE, "%s: the model is not finished, no node can be changed",
                         g->name);
    if (node < 0 || node >= g->n_nodes)
        return error_set(err, PARE_E_ARG, "%s: node is %d, wanted 0..%d", g->name, node,
                         g->n_nodes - 1);
    return PARE_OK;
}

/* Name of what stands before input `slot` of a node: "conv2.quantize", of a second input
 * "add1.quantize2". */
static pare_status name_quantize(const struct model *model, const pare_node *reader, int32_t slot,
                                 struct error *err, char name[2 * MAX_NAME_BYTES]) {
    snprintf(name, 2 * MAX_NAME_BYTES, "%s.quantize%s", reader->name, slot == 0 ? "" : "2");
    if (strlen(name) > MAX_NAME_BYTES)
        return error_set(err, PARE_E_LIMIT,
                         "%s: a name of %zu characters, at most %d are allowed; rename %s", name,
                         strlen(name), MAX_NAME_BYTES, reader->name);
    if (model_find_node(model, name) >= 0)
        return error_set(err, PARE_E_STATE, "%s: input %d is quantized by %s already", reader->name,
                         slot, name);
    return PARE_OK;
}

/* Makes room at `index` for a node that is not yet made. */
static void open_gap(struct model *model, int32_t index) {
    struct model_private *p = model->priv;
    for (int32_t i = model->graph.n_nodes; i > index; i--) {
        p->nodes[i] = p->nodes[i - 1];
        struct node_store *node = node_at(model, i);
        for (int k = 0; k < node->view.n_inputs; k++)
            node->view.inputs[k] += node->view.inputs[k] >= index;
    }
    model->graph.n_nodes++;
}

pare_status model_insert_quantize(struct model *model, int32_t node, int32_t slot,
                                  struct error *err, int32_t *quantize) {
    pare_status status = check_node(model, node, err);
    if (status != PARE_OK)
        return status;
    const pare_node *reader = model->graph.nodes[node];
    if (slot < 0 || slot >= reader->n_inputs)
        return error_set(err, PARE_E_ARG, "%s: input is %d, the node has %d, counted from 0",
                         reader->name, slot, reader->n_inputs);
    if (model->graph.n_nodes >= MAX_NODES)
        return error_set(err, PARE_E_LIMIT,
                         "%s: the model %s has %d nodes already, the most allowed", reader->name,
                         model->graph.name, MAX_NODES);
    char name[2 * MAX_NAME_BYTES];
    status = name_quantize(model, reader, slot, err, name);
    if (status != PARE_OK)
        return status;
    struct node_spec spec = {
        .op = PARE_OP_QUANTIZE, .name = name, .inputs = {reader->inputs[slot]}};
    pare_node view;
    struct node_store *made = NULL;
    status = shape_infer(model, &spec, err, &view);
    if (status == PARE_OK)
        status = model_reserve(model, 1, 0, err);
    if (status == PARE_OK)
        status = node_create(&view, err, &made);
    if (status != PARE_OK)
        return status;
    open_gap(model, node);
    model->priv->nodes[node] = &made->view;
    node_at(model, node + 1)->view.inputs[slot] = node;
    model_renew_view(model);
    *quantize = node;
    return PARE_OK;
}

pare_status model_remove_relu(struct model *model, int32_t node, struct error *err) {
    pare_status status = check_node(model, node, err);
    if (status != PARE_OK)
        return status;
    const pare_node *relu = model->graph.nodes[node];
    if (relu->op != PARE_OP_RELU)
        return error_set(err, PARE_E_ARG, "%s: is a %s, wanted a relu", relu->name,
                         op_name(relu->op));
    if (relu->activation.bits != 0)
        return error_set(err, PARE_E_STATE,
                         "%s: its value is quantized, for values above 0; take it out before you "
                         "quantize",
                         relu->name);
    if (node == model->graph.n_nodes - 1)
        return error_set(err, PARE_E_UNSUPPORTED, "%s: makes the output and stays", relu->name);
    model_remove_node(model, node);
    model_renew_view(model);
    return PARE_OK;
}
