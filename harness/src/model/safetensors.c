/* SPDX-License-Identifier: MIT */
#include "model/safetensors.h"

#include "core/alloc.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors data is little-endian and is copied as it lies in memory"
#endif

enum {
    MAX_HEADER_BYTES = ST_MAX_HEADER_BYTES,
    MAX_HEADER_DEPTH = 3, /* the object, a tensor, its shape */
    MAX_TENSORS = 1 << 16,
};

static const size_t dtype_bytes[] = {[ST_F32] = 4, [ST_U8] = 1};
static const char *const dtype_names[] = {[ST_F32] = "F32", [ST_U8] = "U8"};

static pare_status no_memory(struct error *err) {
    return error_set(err, PARE_E_NOMEM, "safetensors: out of memory");
}

/* ---- writing ---- */

pare_status st_add(struct st_writer *writer, const char *name, enum st_dtype dtype, int32_t rank,
                   const int64_t *dims, struct error *err, void **data) {
    struct st_tensor *more =
        alloc_resize(writer->tensors, writer->n_tensors + 1, sizeof *writer->tensors);
    if (more == NULL)
        return no_memory(err);
    writer->tensors = more;
    struct st_tensor t = {.dtype = dtype, .rank = rank, .dims = {1, 1, 1, 1}};
    size_t n = dtype_bytes[dtype];
    for (int32_t i = 0; i < rank; i++) {
        t.dims[i] = dims[i];
        n *= (size_t)dims[i]; /* a model's dims: no overflow */
    }
    t.n_bytes = n;
    char *copy = strdup(name);
    void *bytes = alloc_array(n, 1);
    if (copy == NULL || bytes == NULL) {
        free(copy);
        free(bytes);
        return no_memory(err);
    }
    t.name = copy;
    t.data = bytes;
    more[writer->n_tensors++] = t;
    *data = bytes;
    return PARE_OK;
}

void st_writer_clear(struct st_writer *writer) {
    for (size_t i = 0; i < writer->n_tensors; i++) {
        free((void *)(uintptr_t)writer->tensors[i].name);
        free((void *)(uintptr_t)writer->tensors[i].data);
    }
    free(writer->tensors);
    *writer = (struct st_writer){0};
}

/* Gives every tensor its place; returns the size of the data. */
static size_t lay_out(struct st_writer *writer) {
    size_t end = 0;
    for (int pass = ST_F32; pass <= ST_U8; pass++)
        for (size_t i = 0; i < writer->n_tensors; i++)
            if ((int)writer->tensors[i].dtype == pass) {
                writer->tensors[i].begin = end;
                end += writer->tensors[i].n_bytes;
            }
    return end;
}

static json_t *tensor_json(const struct st_tensor *t) {
    json_t *shape = json_array();
    for (int32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer(t->dims[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_names[t->dtype], "shape", shape,
                     "data_offsets", (json_int_t)t->begin, (json_int_t)(t->begin + t->n_bytes));
}

/* The header's text, in the order of the data. NULL: no memory. */
static char *header_text(const struct st_writer *writer, json_t *metadata) {
    json_t *header = json_object();
    int failed = json_object_set(header, "__metadata__", metadata);
    for (int pass = ST_F32; pass <= ST_U8; pass++)
        for (size_t i = 0; i < writer->n_tensors; i++)
            if ((int)writer->tensors[i].dtype == pass)
                failed |= json_object_set_new(header, writer->tensors[i].name,
                                              tensor_json(&writer->tensors[i]));
    char *text = failed ? NULL : json_dumps(header, JSON_COMPACT);
    json_decref(header);
    return text;
}

pare_status st_write(struct st_writer *writer, json_t *metadata, struct error *err, uint8_t **file,
                     size_t *n_bytes) {
    size_t data_bytes = lay_out(writer);
    char *text = header_text(writer, metadata);
    if (text == NULL)
        return no_memory(err);
    size_t text_bytes = strlen(text);
    size_t header_bytes = (text_bytes + 7) / 8 * 8;
    if (8 + header_bytes + data_bytes < writer->least_bytes)
        header_bytes = (writer->least_bytes - data_bytes) / 8 * 8;
    if (header_bytes > MAX_HEADER_BYTES) {
        free(text);
        return error_set(err, PARE_E_LIMIT,
                         "safetensors: the header takes %zu bytes, at most %d fit", header_bytes,
                         MAX_HEADER_BYTES);
    }
    uint8_t *out = alloc_array(8 + header_bytes + data_bytes, 1);
    if (out == NULL) {
        free(text);
        return no_memory(err);
    }
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)header_bytes >> (8 * i));
    memcpy(out + 8, text, text_bytes);
    memset(out + 8 + text_bytes, ' ', header_bytes - text_bytes);
    free(text);
    for (size_t i = 0; i < writer->n_tensors; i++)
        memcpy(out + 8 + header_bytes + writer->tensors[i].begin, writer->tensors[i].data,
               writer->tensors[i].n_bytes);
    *file = out;
    *n_bytes = 8 + header_bytes + data_bytes;
    return PARE_OK;
}

/* ---- JSON from outside ---- */

/* jansson parses nested values by recursion, so depth is bounded before it sees the text. */
static bool is_too_deep(const char *text, size_t n_bytes, int max_depth) {
    bool in_string = false;
    int depth = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        char c = text[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']'))
            depth--;
        if (depth > max_depth)
            return true;
    }
    return false;
}

pare_status st_parse_json(const char *text, size_t n_bytes, int max_depth, const char *what,
                          struct error *err, json_t **out) {
    json_error_t error;
    if (is_too_deep(text, n_bytes, max_depth))
        return error_set(err, PARE_E_FORMAT, "%s: JSON is nested more than %d deep", what,
                         max_depth);
    json_t *value = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL)
        return error_set(err, PARE_E_FORMAT, "%s: not valid JSON at byte %d: %s", what,
                         error.position, error.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return error_set(err, PARE_E_FORMAT, "%s: JSON is not an object", what);
    }
    *out = value;
    return PARE_OK;
}

/* ---- reading ---- */

static pare_status read_dtype(const char *name, json_t *value, struct error *err,
                              enum st_dtype *dtype) {
    const char *text = json_string_value(value);
    for (int i = ST_F32; i <= ST_U8; i++)
        if (text != NULL && strcmp(text, dtype_names[i]) == 0) {
            *dtype = (enum st_dtype)i;
            return PARE_OK;
        }
    return error_set(err, PARE_E_FORMAT, "%s: dtype is \"%.20s\", wanted \"F32\" or \"U8\"", name,
                     text != NULL ? text : "(not a string)");
}

/* The shape, and how many bytes it takes, with no product beyond `limit`. */
static pare_status read_shape(json_t *shape, size_t limit, struct error *err, struct st_tensor *t) {
    if (!json_is_array(shape) || json_array_size(shape) > PARE_MAX_RANK)
        return error_set(err, PARE_E_FORMAT, "%s: shape is not a list of at most %d numbers",
                         t->name, PARE_MAX_RANK);
    t->rank = (int32_t)json_array_size(shape);
    size_t n = dtype_bytes[t->dtype];
    for (int32_t i = 0; i < PARE_MAX_RANK; i++) {
        json_t *dim = i < t->rank ? json_array_get(shape, (size_t)i) : NULL;
        t->dims[i] = 1;
        if (i >= t->rank)
            continue;
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return error_set(err, PARE_E_FORMAT, "%s: dimension %d is not a whole number >= 0",
                             t->name, i);
        t->dims[i] = json_integer_value(dim);
        if (t->dims[i] != 0 && n > limit / (size_t)t->dims[i])
            return error_set(err, PARE_E_FORMAT,
                             "%s: dimension %d is %" PRId64
                             ", the shape is larger than the file's data",
                             t->name, i, t->dims[i]);
        n *= (size_t)t->dims[i];
    }
    t->n_bytes = n;
    return PARE_OK;
}

static pare_status read_offsets(json_t *offsets, size_t data_bytes, struct error *err,
                                struct st_tensor *t) {
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return error_set(err, PARE_E_FORMAT, "%s: data_offsets is not a list of two whole numbers",
                         t->name);
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return error_set(err, PARE_E_FORMAT,
                         "%s: data_offsets are [%" PRId64 ",%" PRId64 "], wanted within 0..%zu",
                         t->name, begin, end, data_bytes);
    if ((size_t)(end - begin) != t->n_bytes)
        return error_set(err, PARE_E_FORMAT, "%s: data has %" PRId64 " bytes, its shape needs %zu",
                         t->name, end - begin, t->n_bytes);
    t->begin = (size_t)begin;
    return PARE_OK;
}

static pare_status read_tensor(const char *name, json_t *entry, size_t data_bytes,
                               struct error *err, struct st_tensor *t) {
    *t = (struct st_tensor){.name = name};
    if (!json_is_object(entry) || json_object_size(entry) != 3 ||
        json_object_get(entry, "dtype") == NULL || json_object_get(entry, "shape") == NULL ||
        json_object_get(entry, "data_offsets") == NULL)
        return error_set(err, PARE_E_FORMAT,
                         "%s: its entry is not an object of dtype, shape and data_offsets", name);
    pare_status status = read_dtype(name, json_object_get(entry, "dtype"), err, &t->dtype);
    if (status == PARE_OK)
        status = read_shape(json_object_get(entry, "shape"), data_bytes, err, t);
    if (status == PARE_OK)
        status = read_offsets(json_object_get(entry, "data_offsets"), data_bytes, err, t);
    return status;
}

static pare_status check_metadata(json_t *metadata, struct error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(err, PARE_E_FORMAT, "__metadata__: is not an object");
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return error_set(err, PARE_E_FORMAT, "__metadata__: \"%.100s\" is not a string", key);
    }
    return PARE_OK;
}

static int by_begin(const void *a, const void *b) {
    const struct st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

/* The tensors, in order of their place, must cover the data exactly. */
static pare_status check_cover(const struct st_tensor *tensors, size_t n, size_t data_bytes,
                               struct error *err) {
    size_t end = 0;
    for (size_t i = 0; i < n; i++) {
        if (tensors[i].begin < end)
            return error_set(err, PARE_E_FORMAT,
                             "%s: overlaps %s (begins at %zu, which ends at %zu)", tensors[i].name,
                             tensors[i - 1].name, tensors[i].begin, end);
        if (tensors[i].begin > end)
            return error_set(err, PARE_E_FORMAT, "%s: begins at %zu, leaving a hole from %zu",
                             tensors[i].name, tensors[i].begin, end);
        end += tensors[i].n_bytes;
    }
    if (end != data_bytes)
        return error_set(err, PARE_E_FORMAT, "data has %zu bytes, but the tensors end at %zu",
                         data_bytes, end);
    return PARE_OK;
}

static pare_status read_entries(const uint8_t *data, size_t data_bytes, struct error *err,
                                struct st_file *file) {
    const char *key;
    json_t *value;
    pare_status status = PARE_OK;
    json_object_foreach(file->header, key, value) {
        if (strcmp(key, "__metadata__") == 0) {
            file->metadata = value;
            status = check_metadata(value, err);
        } else {
            status = read_tensor(key, value, data_bytes, err, &file->tensors[file->n_tensors++]);
        }
        if (status != PARE_OK)
            return status;
    }
    for (size_t i = 0; i < file->n_tensors; i++)
        file->tensors[i].data = data + file->tensors[i].begin;
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_begin);
    status = check_cover(file->tensors, file->n_tensors, data_bytes, err);
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_name);
    return status;
}

pare_status st_read(const uint8_t *data, size_t n_bytes, struct error *err, struct st_file *out) {
    uint64_t header_bytes = 0;
    if (n_bytes < 8)
        return error_set(err, PARE_E_FORMAT, "has %zu bytes, too few for a safetensors file",
                         n_bytes);
    for (int i = 0; i < 8; i++)
        header_bytes |= (uint64_t)data[i] << (8 * i);
    if (header_bytes > MAX_HEADER_BYTES || header_bytes > n_bytes - 8)
        return error_set(err, PARE_E_FORMAT,
                         "header is %" PRIu64
                         " bytes long, wanted at most %d, in a file of %zu bytes; "
                         "truncated, or not a safetensors file",
                         header_bytes, MAX_HEADER_BYTES, n_bytes);
    struct st_file file = {0};
    const char *text = (const char *)data + 8;
    pare_status status =
        st_parse_json(text, (size_t)header_bytes, MAX_HEADER_DEPTH, "header", err, &file.header);
    if (status != PARE_OK)
        return status;
    size_t n = json_object_size(file.header);
    file.tensors = n <= MAX_TENSORS ? alloc_array(n, sizeof *file.tensors) : NULL;
    if (n > MAX_TENSORS)
        status = error_set(err, PARE_E_LIMIT, "header lists %zu tensors, at most %d are allowed", n,
                           MAX_TENSORS);
    else if (file.tensors == NULL)
        status = no_memory(err);
    else
        status =
            read_entries(data + 8 + header_bytes, n_bytes - 8 - (size_t)header_bytes, err, &file);
    if (status != PARE_OK)
        st_file_clear(&file);
    else
        *out = file;
    return status;
}

struct st_tensor *st_find(const struct st_file *file, const char *name) {
    struct st_tensor key = {.name = name};
    if (file->n_tensors == 0)
        return NULL;
    return bsearch(&key, file->tensors, file->n_tensors, sizeof key, by_name);
}

void st_file_clear(struct st_file *file) {
    json_decref(file->header);
    free(file->tensors);
    *file = (struct st_file){0};
}
