/* SPDX-License-Identifier: MIT */
/* Models to safetensors files, and their sizes. */
#include "core/alloc.h"
#include "core/file.h"
#include "model/compact.h"
#include "model/model_file.h"
#include "model/weight_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* ---- the graph as JSON ---- */

/* A failed jansson call shows as NULL or -1 somewhere on the way; `failed` gathers them. */
static void put(json_t *object, const char *key, json_t *value, int *failed) {
    *failed |= json_object_set_new(object, key, value) != 0;
}

static json_t *pair(int32_t a, int32_t b) {
    return json_pack("[i, i]", a, b);
}

/* Only of weights that are not plain fp32 tensors. */
static void put_storage(json_t *object, const pare_node *node, const struct storage *storage,
                        int *failed) {
    json_t *all = json_object();
    for (int role = 0; role < PARE_N_ROLES; role++) {
        const pare_weight *w = node->weights[role];
        json_t *entry = w != NULL ? weight_entry(w, &storage[w->index], failed) : NULL;
        if (entry != NULL)
            put(all, strrchr(w->name, '.') + 1, entry, failed);
    }
    if (json_object_size(all) > 0)
        put(object, "storage", all, failed);
    else
        json_decref(all);
}

static void put_activation(json_t *object, const pare_quant *q, int *failed) {
    json_t *entry = json_object();
    put(entry, "bits", json_integer(q->bits), failed);
    put(entry, "qmin", json_integer(q->qmin), failed);
    put(entry, "qmax", json_integer(q->qmax), failed);
    put(entry, "scale", json_real((double)q->scale[0]), failed);
    put(entry, "zero_point", json_integer(q->zero_point[0]), failed);
    put(object, "activation", entry, failed);
}

static void put_window(json_t *object, const pare_node *n, int *failed) {
    if (n->kernel_h != 0)
        put(object, "kernel", pair(n->kernel_h, n->kernel_w), failed);
    if (n->stride_h != 0)
        put(object, "stride", pair(n->stride_h, n->stride_w), failed);
    if (n->pad_h != 0 || n->pad_w != 0)
        put(object, "pad", pair(n->pad_h, n->pad_w), failed);
    if (n->groups != 1)
        put(object, "groups", json_integer(n->groups), failed);
}

static json_t *node_json(const pare_node *n, const struct storage *storage, int *failed) {
    json_t *object = json_object(), *inputs = json_array();
    put(object, "name", json_string(n->name), failed);
    put(object, "op", json_string(op_name(n->op)), failed);
    for (int32_t i = 0; i < n->n_inputs; i++)
        *failed |= json_array_append_new(inputs, json_integer(n->inputs[i]));
    if (n->n_inputs > 0)
        put(object, "inputs", inputs, failed);
    else
        json_decref(inputs);
    if (op_has_weights(n->op) || n->op == PARE_OP_SHORTCUT_A)
        put(object, "out_channels", json_integer(n->dims[2]), failed);
    put_window(object, n, failed);
    if (op_has_weights(n->op))
        put(object, "bias", json_boolean(n->weights[PARE_ROLE_BIAS] != NULL), failed);
    if (n->op == PARE_OP_BATCH_NORM)
        put(object, "eps", json_real((double)n->eps), failed);
    if (storage != NULL)
        put_storage(object, n, storage, failed);
    if (storage != NULL && n->activation.bits != 0)
        put_activation(object, &n->activation, failed);
    return object;
}

/* The graph's text; reals have 17 digits, which give back every float exactly. NULL: no memory. */
static char *graph_text(const pare_graph *g, const struct storage *storage) {
    int failed = 0;
    json_t *graph = json_object(), *nodes = json_array();
    put(graph, "schema", json_integer(GRAPH_SCHEMA), &failed);
    put(graph, "name", json_string(g->name), &failed);
    put(graph, "input",
        json_pack("[i, i, i]", g->input_dims[0], g->input_dims[1], g->input_dims[2]), &failed);
    put(graph, "classes", json_integer(g->n_classes), &failed);
    for (int32_t i = 0; i < g->n_nodes; i++)
        failed |= json_array_append_new(nodes, node_json(g->nodes[i], storage, &failed)) != 0;
    put(graph, "nodes", nodes, &failed);
    char *text = failed ? NULL : json_dumps(graph, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(graph);
    return text;
}

/* ---- metadata ---- */

static pare_status put_note(json_t *metadata, const struct model_note *note, struct error *err) {
    if (note->key == NULL || note->value == NULL || *note->key == '\0' ||
        strlen(note->key) > MAX_NAME_BYTES)
        return error_set(err, PARE_E_ARG,
                         "note: it has no key or value, or its key is over %d bytes",
                         MAX_NAME_BYTES);
    char key[sizeof NOTE_PREFIX + MAX_NAME_BYTES];
    snprintf(key, sizeof key, "%s%s", NOTE_PREFIX, note->key);
    if (json_object_get(metadata, key) != NULL)
        return error_set(err, PARE_E_ARG, "note %s: it is given twice", note->key);
    json_t *value = json_string(note->value);
    if (value == NULL || json_object_set_new(metadata, key, value) != 0)
        return error_set(err, PARE_E_ARG, "note %s: key or value is not valid UTF-8", note->key);
    return PARE_OK;
}

static pare_status make_metadata(const struct model *model, const struct model_note *notes,
                                 size_t n_notes, const struct storage *storage, struct error *err,
                                 json_t **out) {
    int failed = 0;
    pare_status status = PARE_OK;
    char *text = graph_text(&model->graph, storage);
    json_t *metadata = json_object();
    put(metadata, "format", json_string("pare"), &failed);
    put(metadata, "pare.version", json_string(PARE_VERSION), &failed);
    put(metadata, "pare.graph", text != NULL ? json_string(text) : NULL, &failed);
    free(text);
    if (failed)
        status = error_set(err, PARE_E_NOMEM, "%s: out of memory", model->graph.name);
    for (size_t i = 0; i < n_notes && status == PARE_OK; i++)
        status = put_note(metadata, &notes[i], err);
    if (status != PARE_OK) {
        json_decref(metadata);
        return status;
    }
    *out = metadata;
    return PARE_OK;
}

/* ---- files ---- */

/* How each weight is stored: (n_weights), freed by the caller. *is_special: one of them in a way of
 * which a general reader makes little. Then the small tensors, biases and statistics, are coded
 * too, where that is smaller. */
static pare_status choose_storage(const struct model *model, struct error *err,
                                  struct storage **out, bool *is_special) {
    const pare_graph *g = &model->graph;
    struct storage *all = alloc_array((size_t)g->n_weights, sizeof *all);
    pare_status status =
        all == NULL ? error_set(err, PARE_E_NOMEM, "%s: out of memory", g->name) : PARE_OK;
    int64_t n_bytes;
    *is_special = false;
    for (int32_t i = 0; i < g->n_weights && status == PARE_OK; i++) {
        status = storage_choose(g->weights[i], false, err, &all[i], &n_bytes);
        *is_special = *is_special || (status == PARE_OK && storage_is_special(&all[i]));
    }
    for (int32_t i = 0; i < g->n_weights && status == PARE_OK && *is_special; i++)
        if (g->weights[i]->mask == NULL && g->weights[i]->role != PARE_ROLE_WEIGHT)
            status = storage_choose(g->weights[i], true, err, &all[i], &n_bytes);
    if (status == PARE_OK)
        *out = all;
    else
        free(all);
    return status;
}

/* storage NULL: as if every weight were dense fp32 and nothing were quantized. */
static pare_status write_tensors(const struct model *model, const struct model_note *notes,
                                 size_t n_notes, const struct storage *storage, struct error *err,
                                 uint8_t **data, size_t *n_bytes) {
    struct st_writer writer = {0};
    json_t *metadata = NULL;
    pare_status status = make_metadata(model, notes, n_notes, storage, err, &metadata);
    for (int32_t i = 0; i < model->graph.n_weights && status == PARE_OK; i++) {
        const pare_weight *w = model->graph.weights[i];
        status = storage == NULL ? weight_write_plain(&writer, w, err)
                                 : weight_write(&writer, w, &storage[i], err);
    }
    if (status == PARE_OK)
        status = st_write(&writer, metadata, err, data, n_bytes);
    json_decref(metadata);
    st_writer_clear(&writer);
    return status;
}

static pare_status make_compact(const struct model *model, struct error *err, uint8_t **data,
                                size_t *n_bytes) {
    uint8_t *open = *data;
    int64_t n_elems = 0;
    for (int32_t i = 0; i < model->graph.n_weights; i++)
        n_elems += model->graph.weights[i]->n_elems;
    size_t least = (size_t)(n_elems / MAX_ELEMS_PER_BYTE + 1);
    pare_status status = compact_make(open, *n_bytes, least, err, data, n_bytes);
    free(open);
    if (status != PARE_OK)
        *data = NULL;
    return status;
}

static pare_status serialize(const struct model *model, const struct model_note *notes,
                             size_t n_notes, bool plain, struct error *err, uint8_t **data,
                             size_t *n_bytes) {
    struct storage *storage = NULL;
    bool is_special = false;
    if (!model->priv->is_finished)
        return error_set(err, PARE_E_STATE, "%s: the model is not finished and cannot be stored",
                         model->graph.name);
    pare_status status = model_verify(model, err);
    if (status == PARE_OK && !plain)
        status = choose_storage(model, err, &storage, &is_special);
    if (status == PARE_OK)
        status = write_tensors(model, notes, n_notes, storage, err, data, n_bytes);
    if (status == PARE_OK && is_special)
        status = make_compact(model, err, data, n_bytes);
    free(storage);
    return status;
}

pare_status model_serialize(const struct model *model, const struct model_note *notes,
                            size_t n_notes, struct error *err, uint8_t **data, size_t *n_bytes) {
    return serialize(model, notes, n_notes, false, err, data, n_bytes);
}

pare_status model_save(const struct model *model, const char *path, const struct model_note *notes,
                       size_t n_notes, struct error *err) {
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    pare_status status = model_serialize(model, notes, n_notes, err, &data, &n_bytes);
    if (status == PARE_OK && n_bytes > MAX_FILE_BYTES)
        status =
            error_set(err, PARE_E_LIMIT, "%s: the model takes %zu bytes, at most %d can be loaded",
                      path, n_bytes, MAX_FILE_BYTES);
    if (status == PARE_OK)
        status = file_write(path, data, n_bytes, err);
    free(data);
    return status;
}

pare_status model_weight_storage(const pare_weight *weight, struct error *err,
                                 struct model_storage *out) {
    struct st_writer writer = {0};
    struct storage storage;
    int64_t n_bytes = 0;
    pare_status status = storage_choose(weight, false, err, &storage, &n_bytes);
    if (status == PARE_OK)
        status = weight_write(&writer, weight, &storage, err);
    if (status == PARE_OK) {
        out->n_bytes = 0;
        for (size_t i = 0; i < writer.n_tensors; i++)
            out->n_bytes += (int64_t)writer.tensors[i].n_bytes;
        storage_name(&storage, weight, out->name);
    }
    st_writer_clear(&writer);
    return status;
}

static pare_status zstd_bytes(const uint8_t *data, size_t n_bytes, struct error *err,
                              int64_t *out) {
    size_t bound = ZSTD_compressBound(n_bytes);
    void *compressed = malloc(bound);
    if (compressed == NULL)
        return error_set(err, PARE_E_NOMEM, "zstd: out of memory");
    size_t n = ZSTD_compress(compressed, bound, data, n_bytes, 19);
    free(compressed);
    if (ZSTD_isError(n))
        return error_set(err, PARE_E_NOMEM, "zstd: %s", ZSTD_getErrorName(n));
    *out = (int64_t)n;
    return PARE_OK;
}

pare_status model_measure_sizes(const struct model *model, struct error *err,
                                struct model_sizes *out) {
    struct model_sizes sizes = {0};
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    pare_status status = serialize(model, NULL, 0, true, err, &data, &n_bytes);
    if (status != PARE_OK)
        return status;
    sizes.bytes_fp32 = (int64_t)n_bytes;
    free(data);
    status = serialize(model, NULL, 0, false, err, &data, &n_bytes);
    if (status != PARE_OK)
        return status;
    sizes.bytes_file = (int64_t)n_bytes;
    status = zstd_bytes(data, n_bytes, err, &sizes.bytes_zstd);
    free(data);
    if (status == PARE_OK)
        *out = sizes;
    return status;
}
