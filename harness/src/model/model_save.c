/* SPDX-License-Identifier: MIT */
/* Models to safetensors files, and their sizes. */
#include "core/alloc.h"
#include "core/file.h"
#include "model/model_file.h"
#include "model/model_private.h"
#include "model/pack.h"
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

static const char *const storage_names[] = STORAGE_NAMES;

/* ---- tensors ---- */

static int64_t count_kept(const pare_weight *w) {
    int64_t n = 0;
    for (int64_t i = 0; i < w->n_elems; i++)
        n += w->mask[i];
    return n;
}

static int64_t value_bytes(const pare_weight *w, int64_t n) {
    if (w->quant.bits == 0)
        return n * (int64_t)sizeof(float);
    return (int64_t)pack_n_bytes(w->quant.bits, n);
}

/* Can the mask be read off the zeros? Not if a kept value is 0. */
static bool zeros_tell_mask(const pare_weight *w) {
    for (int64_t i = 0; i < w->n_elems; i++) {
        bool is_zero = w->quant.bits == 0 ? w->data[i] == 0.0f : w->codes[i] == 0;
        if (w->mask[i] != 0 && is_zero)
            return false;
    }
    return true;
}

static enum storage choose_storage(const pare_weight *w) {
    if (w->mask == NULL)
        return STORAGE_DENSE;
    int64_t with_bitmap = (w->n_elems + 7) / 8 + value_bytes(w, count_kept(w));
    bool zeros = zeros_tell_mask(w) && value_bytes(w, w->n_elems) <= with_bitmap;
    return zeros ? STORAGE_ZEROS : STORAGE_BITMAP;
}

const char *model_storage_name(const pare_weight *w) {
    static const char *const names[2][2] = {{"fp32", "fp32-bitmap"}, {"packed", "packed-bitmap"}};
    return names[w->quant.bits != 0][choose_storage(w) == STORAGE_BITMAP];
}

static pare_status add_bytes(struct st_writer *writer, const char *name, const char *suffix,
                             enum st_dtype dtype, int64_t n, struct error *err, void **data) {
    char full[MAX_TENSOR_NAME_BYTES];
    snprintf(full, sizeof full, "%s.%s", name, suffix);
    return st_add(writer, full, dtype, 1, &n, err, data);
}

/* Does element i have a place of its own in the file? */
static bool is_stored(const pare_weight *w, enum storage storage, int64_t i) {
    return storage != STORAGE_BITMAP || w->mask[i] != 0;
}

static pare_status add_floats(struct st_writer *writer, const pare_weight *w, enum storage storage,
                              int64_t n_stored, struct error *err) {
    void *place = NULL;
    pare_status status = storage == STORAGE_BITMAP
                             ? add_bytes(writer, w->name, "values", ST_F32, n_stored, err, &place)
                             : st_add(writer, w->name, ST_F32, w->rank, w->dims, err, &place);
    float *values = place;
    for (int64_t i = 0; i < w->n_elems && status == PARE_OK; i++)
        if (is_stored(w, storage, i))
            *values++ = storage == STORAGE_ZEROS && w->mask[i] == 0 ? 0.0f : w->data[i];
    return status;
}

static pare_status add_codes(struct st_writer *writer, const pare_weight *w, enum storage storage,
                             int64_t n_stored, struct error *err) {
    void *packed = NULL, *scale = NULL;
    int16_t *codes = alloc_array((size_t)n_stored, sizeof *codes);
    if (codes == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", w->name);
    int64_t k = 0;
    for (int64_t i = 0; i < w->n_elems; i++)
        if (is_stored(w, storage, i))
            codes[k++] = w->codes[i];
    int64_t n_bytes = (int64_t)pack_n_bytes(w->quant.bits, n_stored);
    pare_status status = add_bytes(writer, w->name, "packed", ST_U8, n_bytes, err, &packed);
    if (status == PARE_OK)
        pack_codes(codes, n_stored, w->quant.bits, w->quant.qmax, packed);
    if (status == PARE_OK)
        status = add_bytes(writer, w->name, "scale", ST_F32, w->quant.n, err, &scale);
    if (status == PARE_OK)
        memcpy(scale, w->quant.scale, (size_t)w->quant.n * sizeof(float));
    free(codes);
    return status;
}

static pare_status add_weight(struct st_writer *writer, const pare_weight *w, enum storage storage,
                              struct error *err) {
    int64_t n_stored = storage == STORAGE_BITMAP ? count_kept(w) : w->n_elems;
    void *mask = NULL;
    if (storage == STORAGE_BITMAP) {
        pare_status status =
            add_bytes(writer, w->name, "mask", ST_U8, (w->n_elems + 7) / 8, err, &mask);
        if (status != PARE_OK)
            return status;
        pack_mask(w->mask, w->n_elems, mask);
    }
    return w->quant.bits == 0 ? add_floats(writer, w, storage, n_stored, err)
                              : add_codes(writer, w, storage, n_stored, err);
}

/* ---- the graph as JSON ---- */

/* A failed jansson call shows as NULL or -1 somewhere on the way; `failed` gathers them. */
static void put(json_t *object, const char *key, json_t *value, int *failed) {
    *failed |= json_object_set_new(object, key, value) != 0;
}

static json_t *pair(int32_t a, int32_t b) {
    return json_pack("[i, i]", a, b);
}

static json_t *storage_json(const pare_weight *w, enum storage storage, int *failed) {
    json_t *entry = json_object();
    put(entry, "encoding", json_string(storage_names[storage]), failed);
    if (w->quant.bits == 0)
        return entry;
    put(entry, "bits", json_integer(w->quant.bits), failed);
    put(entry, "qmax", json_integer(w->quant.qmax), failed);
    put(entry, "axis", json_integer(w->quant.axis), failed);
    return entry;
}

/* Only of weights that are not plain fp32 tensors. */
static void put_storage(json_t *object, const pare_node *node, int *failed) {
    json_t *all = json_object();
    for (int role = 0; role < PARE_N_ROLES; role++) {
        const pare_weight *w = node->weights[role];
        if (w != NULL && (w->mask != NULL || w->quant.bits != 0))
            put(all, strrchr(w->name, '.') + 1, storage_json(w, choose_storage(w), failed), failed);
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

static json_t *node_json(const pare_node *n, bool plain, int *failed) {
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
    if (!plain)
        put_storage(object, n, failed);
    if (!plain && n->activation.bits != 0)
        put_activation(object, &n->activation, failed);
    return object;
}

/* The graph's text; reals have 17 digits, which give back every float exactly. NULL: no memory. */
static char *graph_text(const pare_graph *g, bool plain) {
    int failed = 0;
    json_t *graph = json_object(), *nodes = json_array();
    put(graph, "schema", json_integer(GRAPH_SCHEMA), &failed);
    put(graph, "name", json_string(g->name), &failed);
    put(graph, "input",
        json_pack("[i, i, i]", g->input_dims[0], g->input_dims[1], g->input_dims[2]), &failed);
    put(graph, "classes", json_integer(g->n_classes), &failed);
    for (int32_t i = 0; i < g->n_nodes; i++)
        failed |= json_array_append_new(nodes, node_json(g->nodes[i], plain, &failed)) != 0;
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
                                 size_t n_notes, bool plain, struct error *err, json_t **out) {
    int failed = 0;
    pare_status status = PARE_OK;
    char *text = graph_text(&model->graph, plain);
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

/* `plain`: as if every weight were dense fp32 and nothing were quantized. */
static pare_status serialize(const struct model *model, const struct model_note *notes,
                             size_t n_notes, bool plain, struct error *err, uint8_t **data,
                             size_t *n_bytes) {
    struct st_writer writer = {0};
    json_t *metadata = NULL;
    if (!model->priv->is_finished)
        return error_set(err, PARE_E_STATE, "%s: the model is not finished and cannot be stored",
                         model->graph.name);
    pare_status status = model_verify(model, err);
    if (status == PARE_OK)
        status = make_metadata(model, notes, n_notes, plain, err, &metadata);
    for (int32_t i = 0; i < model->graph.n_weights && status == PARE_OK; i++) {
        const pare_weight *w = model->graph.weights[i];
        status = plain ? add_floats(&writer, w, STORAGE_DENSE, w->n_elems, err)
                       : add_weight(&writer, w, choose_storage(w), err);
    }
    if (status == PARE_OK)
        status = st_write(&writer, metadata, err, data, n_bytes);
    json_decref(metadata);
    st_writer_clear(&writer);
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
