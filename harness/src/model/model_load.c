/* SPDX-License-Identifier: MIT */
/* Models from safetensors files. Nothing in the file is trusted: the graph is built through the
 * same checked functions as any other, every tensor must have exactly the shape that the graph
 * gives it, and no tensor may be left over. */
#include "core/file.h"
#include "model/compact.h"
#include "model/model_file.h"
#include "model/weight_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON fields ---- */

pare_status json_check_keys(json_t *object, const char *where, const char *const *allowed,
                            struct error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return error_set(err, PARE_E_FORMAT, "%s: is not a JSON object", where);
    json_object_foreach(object, key, value) {
        size_t i = 0;
        while (allowed[i] != NULL && strcmp(allowed[i], key) != 0)
            i++;
        if (allowed[i] == NULL)
            return error_set(err, PARE_E_FORMAT, "%s: unknown key \"%.60s\"", where, key);
    }
    return PARE_OK;
}

pare_status json_to_int(json_t *value, const char *where, const char *key, struct error *err,
                        int32_t *out) {
    if (!json_is_integer(value))
        return error_set(err, PARE_E_FORMAT, "%s: %s is missing or not a whole number", where, key);
    json_int_t v = json_integer_value(value);
    if (v < INT32_MIN || v > INT32_MAX)
        return error_set(err, PARE_E_FORMAT, "%s: %s is %lld, out of range", where, key,
                         (long long)v);
    *out = (int32_t)v;
    return PARE_OK;
}

pare_status json_get_int(json_t *object, const char *where, const char *key, struct error *err,
                         int32_t *out) {
    return json_to_int(json_object_get(object, key), where, key, err, out);
}

/* The same, leaving *out as it is where there is no such key. */
static pare_status get_optional_int(json_t *object, const char *where, const char *key,
                                    struct error *err, int32_t *out) {
    return json_object_get(object, key) == NULL ? PARE_OK
                                                : json_get_int(object, where, key, err, out);
}

/* Exactly n whole numbers. */
static pare_status get_ints(json_t *object, const char *where, const char *key, size_t n,
                            struct error *err, int32_t *out) {
    json_t *list = json_object_get(object, key);
    if (!json_is_array(list) || json_array_size(list) != n)
        return error_set(err, PARE_E_FORMAT, "%s: %s is missing or not a list of %zu numbers",
                         where, key, n);
    for (size_t i = 0; i < n; i++) {
        pare_status status = json_to_int(json_array_get(list, i), where, key, err, &out[i]);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static pare_status get_optional_pair(json_t *object, const char *where, const char *key,
                                     struct error *err, int32_t *a, int32_t *b) {
    int32_t values[2];
    if (json_object_get(object, key) == NULL)
        return PARE_OK;
    pare_status status = get_ints(object, where, key, 2, err, values);
    if (status == PARE_OK) {
        *a = values[0];
        *b = values[1];
    }
    return status;
}

/* A float; the conversion overflows to infinity, which the checks of the value then refuse. */
static pare_status get_float(json_t *object, const char *where, const char *key, struct error *err,
                             float *out) {
    json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        return error_set(err, PARE_E_FORMAT, "%s: %s is missing or not a number", where, key);
    *out = (float)json_number_value(value);
    return PARE_OK;
}

/* ---- nodes ---- */

static pare_status get_op(json_t *node, const char *where, struct error *err, pare_op *op) {
    const char *name = json_string_value(json_object_get(node, "op"));
    for (int i = PARE_OP_INPUT; i <= PARE_OP_QUANTIZE && name != NULL; i++)
        if (strcmp(name, op_name((pare_op)i)) == 0) {
            *op = (pare_op)i;
            return PARE_OK;
        }
    return error_set(err, PARE_E_FORMAT, "%s: op is \"%.40s\", which is not an operator", where,
                     name != NULL ? name : "(missing)");
}

static pare_status read_bias(json_t *node, struct error *err, struct node_spec *spec) {
    json_t *bias = json_object_get(node, "bias");
    if (bias == NULL)
        return PARE_OK;
    if (!json_is_boolean(bias))
        return error_set(err, PARE_E_FORMAT, "%s: bias is not true or false", spec->name);
    spec->bias = json_is_true(bias);
    return PARE_OK;
}

static pare_status read_spec(json_t *node, struct error *err, struct node_spec *spec) {
    static const char *const keys[] = {"name",    "op",         "inputs", "out_channels", "kernel",
                                       "stride",  "pad",        "groups", "bias",         "eps",
                                       "storage", "activation", NULL};
    const char *where = spec->name;
    pare_status status = json_check_keys(node, where, keys, err);
    if (status == PARE_OK)
        status =
            get_ints(node, where, "inputs", spec->op == PARE_OP_ADD ? 2 : 1, err, spec->inputs);
    if (status == PARE_OK)
        status = get_optional_int(node, where, "out_channels", err, &spec->out_channels);
    if (status == PARE_OK)
        status = get_optional_pair(node, where, "kernel", err, &spec->kernel_h, &spec->kernel_w);
    if (status == PARE_OK)
        status = get_optional_pair(node, where, "stride", err, &spec->stride_h, &spec->stride_w);
    if (status == PARE_OK)
        status = get_optional_pair(node, where, "pad", err, &spec->pad_h, &spec->pad_w);
    if (status == PARE_OK)
        status = get_optional_int(node, where, "groups", err, &spec->groups);
    if (status == PARE_OK)
        status = read_bias(node, err, spec);
    if (status == PARE_OK && json_object_get(node, "eps") != NULL)
        status = get_float(node, where, "eps", err, &spec->eps);
    return status;
}

static pare_status read_input_node(json_t *node, struct error *err) {
    static const char *const keys[] = {"name", "op", "activation", NULL};
    pare_op op = PARE_OP_SOFTMAX;
    const char *name = json_string_value(json_object_get(node, "name"));
    pare_status status = json_check_keys(node, "node 0", keys, err);
    if (status == PARE_OK)
        status = get_op(node, "node 0", err, &op);
    if (status == PARE_OK && (op != PARE_OP_INPUT || name == NULL || strcmp(name, "input") != 0))
        status = error_set(err, PARE_E_FORMAT, "node 0: wanted op input of name input");
    return status;
}

static pare_status read_node(struct model *model, json_t *node, size_t index, struct error *err) {
    char where[32];
    snprintf(where, sizeof where, "node %zu", index);
    if (index == 0)
        return read_input_node(node, err);
    struct node_spec spec = {.name = json_string_value(json_object_get(node, "name"))};
    pare_status status = model_check_name(where, spec.name, err);
    if (status == PARE_OK)
        status = get_op(node, spec.name, err, &spec.op);
    if (status == PARE_OK)
        status = read_spec(node, err, &spec);
    return status == PARE_OK ? model_add(model, &spec, err, NULL) : status;
}

static pare_status read_nodes(struct model *model, json_t *nodes, struct error *err) {
    if (!json_is_array(nodes) || json_array_size(nodes) == 0)
        return error_set(err, PARE_E_FORMAT, "graph: nodes is missing or not a list");
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(nodes) && status == PARE_OK; i++)
        status = read_node(model, json_array_get(nodes, i), i, err);
    return status == PARE_OK ? model_finish(model, err) : status;
}

/* ---- weights ---- */

/* A node's "storage" names weights that the node has, and nothing else. */
static pare_status check_storage(const pare_node *node, json_t *all, struct error *err) {
    const char *key;
    json_t *value;
    if (all != NULL && !json_is_object(all))
        return error_set(err, PARE_E_FORMAT, "%s: storage is not a JSON object", node->name);
    json_object_foreach(all, key, value) {
        bool found = false;
        for (int role = 0; role < PARE_N_ROLES; role++)
            found = found || (node->weights[role] != NULL &&
                              strcmp(strrchr(node->weights[role]->name, '.') + 1, key) == 0);
        if (!found)
            return error_set(err, PARE_E_FORMAT,
                             "%s: storage names \"%.40s\", which it does not have", node->name,
                             key);
    }
    return PARE_OK;
}

static pare_status read_weights(struct model *model, const struct st_file *file, json_t *nodes,
                                struct error *err) {
    pare_status status = PARE_OK;
    for (int32_t i = 0; i < model->graph.n_nodes && status == PARE_OK; i++) {
        const pare_node *node = model->graph.nodes[i];
        json_t *all = json_object_get(json_array_get(nodes, (size_t)i), "storage");
        status = check_storage(node, all, err);
        for (int role = 0; role < PARE_N_ROLES && status == PARE_OK; role++) {
            if (node->weights[role] == NULL)
                continue;
            struct weight_store *w = weight_of(node->weights[role]);
            json_t *entry = json_object_get(all, strrchr(w->name, '.') + 1);
            status = weight_read(model, file, entry, w, err);
        }
    }
    return status;
}

static pare_status read_activation(struct model *model, int32_t node, json_t *entry,
                                   struct error *err) {
    static const char *const keys[] = {"bits", "qmin", "qmax", "scale", "zero_point", NULL};
    const char *name = model->graph.nodes[node]->name;
    float scale = 0.0f;
    int32_t zero_point = 0;
    pare_quant q = {.axis = -1, .n = 1, .scale = &scale, .zero_point = &zero_point};
    pare_status status = json_check_keys(entry, name, keys, err);
    if (status == PARE_OK)
        status = json_get_int(entry, name, "bits", err, &q.bits);
    if (status == PARE_OK && q.bits == 0)
        status = error_set(err, PARE_E_FORMAT, "%s: activation bits is 0, wanted 1..16", name);
    if (status == PARE_OK)
        status = json_get_int(entry, name, "qmin", err, &q.qmin);
    if (status == PARE_OK)
        status = json_get_int(entry, name, "qmax", err, &q.qmax);
    if (status == PARE_OK)
        status = json_get_int(entry, name, "zero_point", err, &zero_point);
    if (status == PARE_OK)
        status = get_float(entry, name, "scale", err, &scale);
    return status == PARE_OK ? model_set_activation_quant(model, node, &q, err) : status;
}

static pare_status read_activations(struct model *model, json_t *nodes, struct error *err) {
    pare_status status = PARE_OK;
    for (size_t i = 0; i < json_array_size(nodes) && status == PARE_OK; i++) {
        json_t *entry = json_object_get(json_array_get(nodes, i), "activation");
        if (entry != NULL)
            status = read_activation(model, (int32_t)i, entry, err);
    }
    return status;
}

/* ---- the whole ---- */

static pare_status check_all_used(const struct st_file *file, struct error *err) {
    for (size_t i = 0; i < file->n_tensors; i++)
        if (!file->tensors[i].is_used)
            return error_set(err, PARE_E_FORMAT, "%s: the tensor belongs to no weight of the graph",
                             file->tensors[i].name);
    return PARE_OK;
}

static pare_status read_notes(struct model *model, const struct st_file *file, struct error *err) {
    const char *key;
    json_t *value;
    size_t n = strlen(NOTE_PREFIX);
    json_object_foreach(file->metadata, key, value) {
        if (strncmp(key, NOTE_PREFIX, n) != 0)
            continue;
        pare_status status = model_add_note(model, key + n, json_string_value(value), err);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static pare_status parse_graph_text(const struct st_file *file, struct error *err, json_t **graph) {
    static const char *const keys[] = {"schema", "name", "input", "classes", "nodes", NULL};
    int32_t schema = 0;
    json_t *text = json_object_get(file->metadata, "pare.graph"), *parsed = NULL;
    if (text == NULL)
        return error_set(
            err, PARE_E_FORMAT,
            "has no \"pare.graph\" in its metadata; only models written by pare can be loaded");
    pare_status status = st_parse_json(json_string_value(text), json_string_length(text),
                                       MAX_GRAPH_DEPTH, "graph", err, &parsed);
    if (status == PARE_OK)
        status = json_get_int(parsed, "graph", "schema", err, &schema);
    if (status == PARE_OK && schema != GRAPH_SCHEMA)
        status = error_set(err, PARE_E_UNSUPPORTED, "graph: schema is %d, this pare reads %d",
                           schema, GRAPH_SCHEMA);
    if (status == PARE_OK)
        status = json_check_keys(parsed, "graph", keys, err);
    if (status != PARE_OK) {
        json_decref(parsed);
        return status;
    }
    *graph = parsed;
    return PARE_OK;
}

/* The graph without values. Weights may have at most `max_elems` elements in all. */
static pare_status build(json_t *graph, int64_t max_elems, struct error *err, struct model **out) {
    int32_t dims[3], n_classes = 0;
    struct model *model = NULL;
    pare_status status = get_ints(graph, "graph", "input", 3, err, dims);
    if (status == PARE_OK)
        status = json_get_int(graph, "graph", "classes", err, &n_classes);
    if (status == PARE_OK)
        status = model_create(json_string_value(json_object_get(graph, "name")), dims, err, &model);
    if (status != PARE_OK)
        return status;
    model->priv->elems_left = max_elems;
    status = read_nodes(model, json_object_get(graph, "nodes"), err);
    model->priv->elems_left = INT64_MAX;
    if (status == PARE_OK && n_classes != model->graph.n_classes)
        status = error_set(err, PARE_E_FORMAT, "graph: classes is %d, but the last node makes %d",
                           n_classes, model->graph.n_classes);
    if (status != PARE_OK) {
        model_destroy(model);
        return status;
    }
    *out = model;
    return PARE_OK;
}

/* The file, or the one within it; *inner holds that one's bytes. */
static pare_status open_file(const uint8_t *data, size_t n_bytes, struct error *err,
                             struct st_file *file, uint8_t **inner) {
    size_t inner_bytes = 0;
    struct st_file outer = {0};
    pare_status status = st_read(data, n_bytes, err, &outer);
    if (status != PARE_OK)
        return status;
    if (!compact_is(&outer)) {
        *file = outer;
        return PARE_OK;
    }
    status = compact_open(&outer, err, inner, &inner_bytes);
    if (status == PARE_OK)
        status = st_read(*inner, inner_bytes, err, file);
    st_file_clear(&outer);
    return status;
}

static pare_status parse(const uint8_t *data, size_t n_bytes, struct error *err,
                         struct model **out) {
    struct st_file file = {0};
    json_t *graph = NULL;
    struct model *model = NULL;
    uint8_t *inner = NULL;
    pare_status status = open_file(data, n_bytes, err, &file, &inner);
    if (status == PARE_OK)
        status = parse_graph_text(&file, err, &graph);
    if (status == PARE_OK)
        status = build(graph, (int64_t)n_bytes * MAX_ELEMS_PER_BYTE, err, &model);
    json_t *nodes = json_object_get(graph, "nodes");
    if (status == PARE_OK)
        status = read_weights(model, &file, nodes, err);
    if (status == PARE_OK)
        status = read_activations(model, nodes, err);
    if (status == PARE_OK)
        status = check_all_used(&file, err);
    if (status == PARE_OK)
        status = read_notes(model, &file, err);
    if (status == PARE_OK)
        *out = model;
    else
        model_destroy(model);
    json_decref(graph);
    st_file_clear(&file);
    free(inner);
    return status;
}

pare_status model_parse(const uint8_t *data, size_t n_bytes, const char *origin, struct error *err,
                        struct model **out) {
    pare_status status = parse(data, n_bytes, err, out);
    return status == PARE_OK ? PARE_OK : error_prefix(err, "%s", origin);
}

pare_status model_load(const char *path, struct error *err, struct model **out) {
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    pare_status status = file_read(path, MAX_FILE_BYTES, err, &data, &n_bytes);
    if (status != PARE_OK)
        return status;
    status = model_parse(data, n_bytes, path, err, out);
    free(data);
    return status;
}
