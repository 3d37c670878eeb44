/* SPDX-License-Identifier: MIT */
#include "model/compact.h"

#include "core/alloc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char TENSOR[] = "pare.model", KEY[] = "pare.header", DEFLATE[] = "deflate";

enum { HEAD_BYTES = 16 }; /* lengths of the header, deflated and not; 8 bytes each */

static void put_u64(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *at) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static pare_status no_memory(struct error *err) {
    return error_set(err, PARE_E_NOMEM, "%s: out of memory", TENSOR);
}

pare_status compact_make(const uint8_t *file, size_t n_bytes, size_t least_bytes, struct error *err,
                         uint8_t **out, size_t *n_out) {
    size_t header_bytes = (size_t)get_u64(file), data_bytes = n_bytes - 8 - header_bytes;
    uLongf deflated_bytes = compressBound((uLong)header_bytes);
    uint8_t *deflated = alloc_array(deflated_bytes, 1);
    json_t *metadata =
        json_pack("{s:s, s:s, s:s}", "format", "pare", "pare.version", PARE_VERSION, KEY, DEFLATE);
    struct st_writer writer = {.least_bytes = least_bytes};
    void *place = NULL;
    pare_status status = PARE_OK;
    if (deflated == NULL || metadata == NULL ||
        compress2(deflated, &deflated_bytes, file + 8, (uLong)header_bytes, 9) != Z_OK)
        status = no_memory(err);
    int64_t n = (int64_t)(HEAD_BYTES + deflated_bytes + data_bytes);
    if (status == PARE_OK)
        status = st_add(&writer, TENSOR, ST_U8, 1, &n, err, &place);
    if (status == PARE_OK) {
        uint8_t *to = place;
        put_u64(to, deflated_bytes);
        put_u64(to + 8, header_bytes);
        memcpy(to + HEAD_BYTES, deflated, deflated_bytes);
        memcpy(to + HEAD_BYTES + deflated_bytes, file + 8 + header_bytes, data_bytes);
        status = st_write(&writer, metadata, err, out, n_out);
    }
    st_writer_clear(&writer);
    json_decref(metadata);
    free(deflated);
    return status;
}

bool compact_is(const struct st_file *file) {
    return json_object_get(file->metadata, KEY) != NULL;
}

static pare_status check(const struct st_file *file, const struct st_tensor *t, struct error *err) {
    const char *how = json_string_value(json_object_get(file->metadata, KEY));
    if (how == NULL || strcmp(how, DEFLATE) != 0)
        return error_set(err, PARE_E_UNSUPPORTED, "%s: is \"%.20s\", this pare reads \"%s\"", KEY,
                         how != NULL ? how : "(not a string)", DEFLATE);
    if (t == NULL || t->dtype != ST_U8 || t->rank != 1 || file->n_tensors != 1)
        return error_set(err, PARE_E_FORMAT, "%s: wanted exactly this tensor, U8 of rank 1",
                         TENSOR);
    if (t->n_bytes < HEAD_BYTES)
        return error_set(err, PARE_E_FORMAT, "%s: has %zu bytes, wanted at least %d", TENSOR,
                         t->n_bytes, HEAD_BYTES);
    uint64_t deflated = get_u64(t->data), header = get_u64(t->data + 8);
    if (deflated > t->n_bytes - HEAD_BYTES || header > ST_MAX_HEADER_BYTES)
        return error_set(err, PARE_E_FORMAT,
                         "%s: its header is %" PRIu64 " bytes long, %" PRIu64
                         " deflated; wanted at most %d, and %zu",
                         TENSOR, header, deflated, ST_MAX_HEADER_BYTES, t->n_bytes - HEAD_BYTES);
    return PARE_OK;
}

pare_status compact_open(const struct st_file *file, struct error *err, uint8_t **out,
                         size_t *n_out) {
    const struct st_tensor *t = st_find(file, TENSOR);
    pare_status status = check(file, t, err);
    if (status != PARE_OK)
        return status;
    size_t deflated_bytes = (size_t)get_u64(t->data), header_bytes = (size_t)get_u64(t->data + 8);
    size_t data_bytes = t->n_bytes - HEAD_BYTES - deflated_bytes;
    uLongf got = (uLongf)header_bytes;
    uint8_t *inner = alloc_array(8 + header_bytes + data_bytes, 1);
    if (inner == NULL)
        return no_memory(err);
    int z = uncompress(inner + 8, &got, t->data + HEAD_BYTES, (uLong)deflated_bytes);
    if (z != Z_OK || got != header_bytes) {
        free(inner);
        return error_set(err, PARE_E_FORMAT, "%s: its header cannot be inflated to %zu bytes: %s",
                         TENSOR, header_bytes, z != Z_OK ? zError(z) : "it is shorter");
    }
    put_u64(inner, header_bytes);
    memcpy(inner + 8 + header_bytes, t->data + HEAD_BYTES + deflated_bytes, data_bytes);
    *out = inner;
    *n_out = 8 + header_bytes + data_bytes;
    return PARE_OK;
}
