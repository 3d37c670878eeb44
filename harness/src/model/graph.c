/* SPDX-License-Identifier: MIT */
/* Building, copying and destroying models. */
#include "core/alloc.h"
#include "model/model_private.h"

#include <stdlib.h>
#include <string.h>

static pare_status no_memory(struct error *err, const char *name) {
    return error_set(err, PARE_E_NOMEM, "%s: out of memory", name);
}

pare_status model_check_name(const char *what, const char *name, struct error *err) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (name == NULL || *name == '\0')
        return error_set(err, PARE_E_ARG, "%s: it has no name", what);
    size_t n = strlen(name);
    if (n > MAX_NAME_BYTES)
        return error_set(err, PARE_E_ARG, "%s: its name has %zu characters, at most %d are allowed",
                         what, n, MAX_NAME_BYTES);
    if (strspn(name, allowed) != n)
        return error_set(err, PARE_E_ARG,
                         "%s: its name is \"%s\", wanted letters, digits, '.', '_' and '-' only",
                         what, name);
    return PARE_OK;
}

/* ---- stores ---- */

void weight_destroy(struct weight_store *weight) {
    if (weight == NULL)
        return;
    free(weight->name);
    free(weight->data);
    free(weight->mask);
    free(weight->codes);
    free(weight->scale);
    free(weight);
}

pare_status weight_create(const char *node_name, const char *suffix, pare_role role, int32_t rank,
                          const int64_t dims[PARE_MAX_RANK], struct error *err,
                          struct weight_store **out) {
    int64_t n = shape_n_elems(dims);
    if (n < 0)
        return error_set(err, PARE_E_LIMIT, "%s.%s: (%lld,%lld,%lld,%lld) is over %d elements",
                         node_name, suffix, (long long)dims[0], (long long)dims[1],
                         (long long)dims[2], (long long)dims[3], MAX_ELEMS);
    struct weight_store *w = calloc(1, sizeof *w);
    if (w == NULL)
        return no_memory(err, node_name);
    w->name = alloc_printf("%s.%s", node_name, suffix);
    w->data = alloc_array((size_t)n, sizeof *w->data);
    if (w->name == NULL || w->data == NULL) {
        weight_destroy(w);
        return no_memory(err, node_name);
    }
    w->view = (pare_weight){.struct_size = sizeof w->view,
                            .role = role,
                            .name = w->name,
                            .rank = rank,
                            .n_elems = n,
                            .data = w->data};
    memcpy(w->view.dims, dims, sizeof w->view.dims);
    *out = w;
    return PARE_OK;
}

void node_destroy(struct node_store *node) {
    if (node == NULL)
        return;
    free(node->name);
    free(node);
}

pare_status node_create(const pare_node *view, struct error *err, struct node_store **out) {
    struct node_store *node = calloc(1, sizeof *node);
    if (node == NULL)
        return no_memory(err, view->name);
    node->name = strdup(view->name);
    if (node->name == NULL) {
        node_destroy(node);
        return no_memory(err, view->name);
    }
    node->view = *view;
    node->view.name = node->name;
    memset(node->view.weights, 0, sizeof node->view.weights);
    *out = node;
    return PARE_OK;
}

/* ---- the lists ---- */

/* Grows a pointer array to hold at least `wanted`. */
static pare_status grow(void **list, int32_t *capacity, int32_t wanted, struct error *err) {
    if (wanted <= *capacity)
        return PARE_OK;
    int32_t n = wanted + wanted / 2 + 8;
    void *bigger = alloc_resize(*list, (size_t)n, sizeof(void *));
    if (bigger == NULL)
        return no_memory(err, "model");
    *list = bigger;
    *capacity = n;
    return PARE_OK;
}

pare_status model_reserve(struct model *model, int32_t more_nodes, int32_t more_weights,
                          struct error *err) {
    struct model_private *p = model->priv;
    void *nodes = p->nodes, *weights = p->weights;
    pare_status status = grow(&nodes, &p->node_capacity, model->graph.n_nodes + more_nodes, err);
    p->nodes = nodes;
    if (status == PARE_OK)
        status = grow(&weights, &p->weight_capacity, model->graph.n_weights + more_weights, err);
    p->weights = weights;
    model->graph.nodes = p->nodes;
    model->graph.weights = p->weights;
    return status;
}

void model_renew_view(struct model *model) {
    struct model_private *p = model->priv;
    pare_graph *g = &model->graph;
    g->name = p->name;
    g->nodes = p->nodes;
    g->weights = p->weights;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        struct node_store *node = node_at(model, i);
        node->view.index = i;
        node->view.n_consumers = 0;
        for (int32_t k = 0; k < node->view.n_inputs; k++)
            node_at(model, node->view.inputs[k])->view.n_consumers++;
        for (int role = 0; role < PARE_N_ROLES; role++)
            if (node->view.weights[role] != NULL)
                weight_of(node->view.weights[role])->view.node = i;
    }
    for (int32_t i = 0; i < g->n_weights; i++)
        weight_at(model, i)->view.index = i;
    g->n_classes = p->is_finished ? p->nodes[g->n_nodes - 1]->dims[2] : 0;
}

/* ---- building ---- */

static pare_status check_input_dims(const char *name, const int32_t dims[3], struct error *err) {
    int64_t n = 1;
    for (int i = 0; i < 3; i++) {
        if (dims[i] < 1 || dims[i] > MAX_DIM)
            return error_set(err, PARE_E_RANGE, "%s: input dimension %d is %d, wanted 1..%d", name,
                             i, dims[i], MAX_DIM);
        n *= dims[i];
    }
    if (n > MAX_ELEMS)
        return error_set(err, PARE_E_LIMIT,
                         "%s: the input has %lld elements, at most %d are allowed", name,
                         (long long)n, MAX_ELEMS);
    return PARE_OK;
}

pare_status model_create(const char *name, const int32_t input_dims[3], struct error *err,
                         struct model **out) {
    pare_status status = model_check_name("model", name, err);
    if (status == PARE_OK)
        status = check_input_dims(name, input_dims, err);
    if (status != PARE_OK)
        return status;
    struct model *model = calloc(1, sizeof *model);
    struct model_private *p = calloc(1, sizeof *p);
    if (model == NULL || p == NULL) {
        free(model);
        free(p);
        return no_memory(err, name);
    }
    model->priv = p;
    model->graph.struct_size = sizeof model->graph;
    memcpy(model->graph.input_dims, input_dims, sizeof model->graph.input_dims);
    p->elems_left = INT64_MAX;
    p->name = strdup(name);
    pare_node input = {
        .struct_size = sizeof input, .op = PARE_OP_INPUT, .name = "input", .rank = 3, .groups = 1};
    memcpy(input.dims, input_dims, sizeof input.dims);
    struct node_store *node = NULL;
    status = p->name == NULL ? no_memory(err, name) : model_reserve(model, 1, 0, err);
    if (status == PARE_OK)
        status = node_create(&input, err, &node);
    if (status != PARE_OK) {
        model_destroy(model);
        return status;
    }
    p->nodes[model->graph.n_nodes++] = &node->view;
    model_renew_view(model);
    *out = model;
    return PARE_OK;
}

void model_destroy(struct model *model) {
    if (model == NULL)
        return;
    for (int32_t i = 0; i < model->graph.n_nodes; i++)
        node_destroy(node_at(model, i));
    for (int32_t i = 0; i < model->graph.n_weights; i++)
        weight_destroy(weight_at(model, i));
    struct model_private *p = model->priv;
    for (size_t i = 0; i < p->n_notes; i++) {
        free(p->notes[i].key);
        free(p->notes[i].value);
    }
    free(p->notes);
    free(p->nodes);
    free(p->weights);
    free(p->name);
    free(p);
    free(model);
}

static pare_status check_addition(const struct model *model, const struct node_spec *spec,
                                  struct error *err) {
    pare_status status = model_check_name("node", spec->name, err);
    if (status != PARE_OK)
        return status;
    const pare_graph *g = &model->graph;
    if (model->priv->is_finished)
        return error_set(err, PARE_E_STATE, "%s: the model %s is finished, no node can be added",
                         spec->name, g->name);
    if (g->n_nodes >= MAX_NODES)
        return error_set(err, PARE_E_LIMIT,
                         "%s: the model %s has %d nodes already, the most allowed", spec->name,
                         g->name, MAX_NODES);
    if (model_find_node(model, spec->name) >= 0)
        return error_set(err, PARE_E_ARG,
                         "%s: there is a node of this name already, choose another", spec->name);
    return PARE_OK;
}

/* One weight of `node`, filled, and its elements taken off *left. */
static pare_status create_planned(const pare_node *node, const struct weight_plan *plan,
                                  struct error *err, int64_t *left, struct weight_store **out) {
    int64_t elems = shape_n_elems(plan->dims); /* -1, too many: weight_create refuses that */
    if (elems > *left)
        return error_set(err, PARE_E_FORMAT,
                         "%s.%s: needs %lld elements, more than the whole file can hold",
                         node->name, plan->suffix, (long long)elems);
    pare_status status =
        weight_create(node->name, plan->suffix, plan->role, plan->rank, plan->dims, err, out);
    if (status != PARE_OK)
        return status;
    *left -= elems;
    for (int64_t k = 0; plan->fill != 0.0f && k < elems; k++)
        (*out)->data[k] = plan->fill;
    return PARE_OK;
}

/* Makes the weights that `node` needs; on failure none are left. */
static pare_status create_weights(struct model *model, const pare_node *node, bool bias,
                                  struct error *err, struct weight_store *made[PARE_N_ROLES],
                                  int32_t *n_made) {
    struct weight_plan plans[PARE_N_ROLES];
    int32_t in_channels = model->priv->nodes[node->inputs[0]]->dims[2];
    int32_t n = shape_plan_weights(node, in_channels, bias, plans);
    int64_t left = model->priv->elems_left;
    for (int32_t i = 0; i < n; i++) {
        pare_status status = create_planned(node, &plans[i], err, &left, &made[i]);
        if (status != PARE_OK) {
            while (i-- > 0)
                weight_destroy(made[i]);
            return status;
        }
    }
    model->priv->elems_left = left;
    *n_made = n;
    return PARE_OK;
}

pare_status model_add(struct model *model, const struct node_spec *spec, struct error *err,
                      int32_t *index) {
    struct model_private *p = model->priv;
    struct weight_store *weights[PARE_N_ROLES];
    struct node_store *node = NULL;
    int32_t n_weights = 0;
    pare_node view;
    pare_status status = check_addition(model, spec, err);
    if (status == PARE_OK)
        status = shape_infer(model, spec, err, &view);
    if (status == PARE_OK)
        status = model_reserve(model, 1, PARE_N_ROLES, err);
    if (status == PARE_OK)
        status = node_create(&view, err, &node);
    if (status == PARE_OK)
        status = create_weights(model, &view, spec->bias != 0, err, weights, &n_weights);
    if (status != PARE_OK) {
        node_destroy(node);
        return status;
    }
    for (int32_t i = 0; i < n_weights; i++) {
        node->view.weights[weights[i]->view.role] = &weights[i]->view;
        weights[i]->view.node = model->graph.n_nodes;
        weights[i]->view.index = model->graph.n_weights;
        p->weights[model->graph.n_weights++] = &weights[i]->view;
    }
    node->view.index = model->graph.n_nodes;
    for (int32_t k = 0; k < node->view.n_inputs; k++)
        node_at(model, node->view.inputs[k])->view.n_consumers++;
    p->nodes[model->graph.n_nodes++] = &node->view;
    if (index != NULL)
        *index = node->view.index;
    return PARE_OK;
}

pare_status model_finish(struct model *model, struct error *err) {
    const pare_graph *g = &model->graph;
    const pare_node *last = g->nodes[g->n_nodes - 1];
    if (model->priv->is_finished)
        return error_set(err, PARE_E_STATE, "%s: the model is finished already", g->name);
    if (g->n_nodes < 2)
        return error_set(err, PARE_E_ARG, "%s: the model has no node but its input, add some",
                         g->name);
    if (last->rank != 1)
        return error_set(err, PARE_E_ARG,
                         "%s: the last node makes (%d,%d,%d), wanted rank 1 (n_classes); "
                         "end with a linear layer",
                         last->name, last->dims[0], last->dims[1], last->dims[2]);
    for (int32_t i = 0; i < g->n_nodes - 1; i++)
        if (g->nodes[i]->n_consumers == 0)
            return error_set(err, PARE_E_ARG, "%s: nothing reads this node, and it is not the last",
                             g->nodes[i]->name);
    model->priv->is_finished = true;
    model_renew_view(model);
    return PARE_OK;
}

/* ---- copying ---- */

static pare_status copy_weight(const struct weight_store *from, const char *node_name,
                               struct error *err, struct weight_store **out) {
    const char *suffix = strrchr(from->name, '.') + 1;
    struct weight_store *w = NULL;
    pare_status status = weight_create(node_name, suffix, from->view.role, from->view.rank,
                                       from->view.dims, err, &w);
    if (status != PARE_OK)
        return status;
    size_t n = (size_t)from->view.n_elems;
    memcpy(w->data, from->data, n * sizeof *w->data);
    if (from->view.mask != NULL) {
        status = weight_make_mask_buffer(w, err);
        if (status == PARE_OK) {
            memcpy(w->mask, from->mask, n);
            w->view.mask = w->mask;
        }
    }
    if (status == PARE_OK && from->view.codes != NULL) {
        status = weight_make_quant_buffers(w, err);
        if (status == PARE_OK) {
            memcpy(w->codes, from->codes, n * sizeof *w->codes);
            weight_put_quant(w, &from->view.quant);
        }
    }
    if (status != PARE_OK) {
        weight_destroy(w);
        return status;
    }
    *out = w;
    return PARE_OK;
}

static pare_status copy_node(struct model *copy, const struct node_store *from, struct error *err) {
    struct node_store *node = NULL;
    pare_status status = node_create(&from->view, err, &node);
    if (status != PARE_OK)
        return status;
    node->activation_scale = from->activation_scale;
    node->activation_zero_point = from->activation_zero_point;
    if (node->view.activation.bits != 0) {
        node->view.activation.scale = &node->activation_scale;
        node->view.activation.zero_point = &node->activation_zero_point;
    }
    struct model_private *p = copy->priv;
    p->nodes[copy->graph.n_nodes++] = &node->view;
    for (int role = 0; role < PARE_N_ROLES; role++) {
        if (from->view.weights[role] == NULL)
            continue;
        struct weight_store *w = NULL;
        status = copy_weight(weight_of(from->view.weights[role]), node->name, err, &w);
        if (status != PARE_OK)
            return status;
        node->view.weights[role] = &w->view;
        p->weights[copy->graph.n_weights++] = &w->view;
    }
    return PARE_OK;
}

pare_status model_copy(const struct model *model, struct error *err, struct model **out) {
    const pare_graph *g = &model->graph;
    struct model *copy = NULL;
    pare_status status = model_create(g->name, g->input_dims, err, &copy);
    if (status != PARE_OK)
        return status;
    status = model_reserve(copy, g->n_nodes, g->n_weights, err);
    node_destroy(node_at(copy, 0));
    copy->graph.n_nodes = 0;
    for (int32_t i = 0; i < g->n_nodes && status == PARE_OK; i++)
        status = copy_node(copy, node_at(model, i), err);
    for (size_t i = 0; i < model->priv->n_notes && status == PARE_OK; i++)
        status = model_add_note(copy, model->priv->notes[i].key, model->priv->notes[i].value, err);
    if (status != PARE_OK) {
        model_destroy(copy);
        return status;
    }
    copy->priv->is_finished = model->priv->is_finished;
    model_renew_view(copy);
    *out = copy;
    return PARE_OK;
}

/* ---- looking ---- */

int32_t model_find_node(const struct model *model, const char *name) {
    for (int32_t i = 0; i < model->graph.n_nodes; i++)
        if (strcmp(model->graph.nodes[i]->name, name) == 0)
            return i;
    return -1;
}

int32_t model_find_weight(const struct model *model, const char *name) {
    for (int32_t i = 0; i < model->graph.n_weights; i++)
        if (strcmp(model->graph.weights[i]->name, name) == 0)
            return i;
    return -1;
}

pare_status model_add_note(struct model *model, const char *key, const char *value,
                           struct error *err) {
    struct model_private *p = model->priv;
    struct note_store *notes = alloc_resize(p->notes, p->n_notes + 1, sizeof *notes);
    if (notes == NULL)
        return no_memory(err, model->graph.name);
    p->notes = notes;
    struct note_store note = {.key = strdup(key), .value = strdup(value)};
    if (note.key == NULL || note.value == NULL) {
        free(note.key);
        free(note.value);
        return no_memory(err, model->graph.name);
    }
    notes[p->n_notes++] = note;
    return PARE_OK;
}

const char *model_note(const struct model *model, const char *key) {
    for (size_t i = 0; i < model->priv->n_notes; i++)
        if (strcmp(model->priv->notes[i].key, key) == 0)
            return model->priv->notes[i].value;
    return NULL;
}
