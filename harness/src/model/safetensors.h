/* SPDX-License-Identifier: MIT */
/* The safetensors container: 8 bytes length of the header (little-endian), the header as JSON, then
 * the tensors' bytes. https://github.com/huggingface/safetensors describes it. */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include "core/error.h"

#include <jansson.h>
#include <pare/graph.h>
#include <stddef.h>
#include <stdint.h>

enum st_dtype { ST_F32, ST_U8 };
enum { ST_MAX_HEADER_BYTES = 4 << 20 };

struct st_tensor {
    const char *name;
    enum st_dtype dtype;
    int32_t rank;
    int64_t dims[PARE_MAX_RANK]; /* unused ones are 1; may be 0 */
    size_t begin, n_bytes;       /* within the data */
    const uint8_t *data;
    int is_used; /* free for the reader's own bookkeeping */
};

/* ---- writing ---- */

struct st_writer {
    struct st_tensor *tensors; /* names and data owned */
    size_t n_tensors;
    size_t least_bytes; /* the file gets so many, by more spaces in its header */
};

/* A new tensor of zeros, to be filled through *data. The name is copied. */
pare_status st_add(struct st_writer *writer, const char *name, enum st_dtype dtype, int32_t rank,
                   const int64_t *dims, struct error *err, void **data);
/* The whole file: F32 tensors first, then U8, each kind in the order it was added, the header
 * padded with spaces to a multiple of 8 bytes, and until the file has least_bytes. *file is freed
 * by the caller. Metadata: an object of strings. */
pare_status st_write(struct st_writer *writer, json_t *metadata, struct error *err, uint8_t **file,
                     size_t *n_bytes);
void st_writer_clear(struct st_writer *writer);

/* ---- reading ---- */

struct st_file {
    json_t *header;
    json_t *metadata;          /* object of strings, or NULL; borrowed from the header */
    struct st_tensor *tensors; /* by name; data borrowed from the caller */
    size_t n_tensors;
};

/* Checks everything about the container: lengths, JSON (depth, duplicates), dtypes, shapes, and
 * that the tensors cover the data exactly, without overlap or hole. On failure *file is untouched.
 */
pare_status st_read(const uint8_t *data, size_t n_bytes, struct error *err, struct st_file *file);
struct st_tensor *st_find(const struct st_file *file, const char *name);
void st_file_clear(struct st_file *file);

/* JSON that came from outside: at most `max_depth` deep, no duplicate keys. `what` begins messages.
 */
pare_status st_parse_json(const char *text, size_t n_bytes, int max_depth, const char *what,
                          struct error *err, json_t **out);

#endif
