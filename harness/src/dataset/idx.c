/* SPDX-License-Identifier: MIT */
/* IDX files: two zero bytes, element type, number of dimensions, the dimensions as big-endian
 * 32-bit numbers, then the elements (format description on the MNIST page of Y. LeCun). */
#include "core/alloc.h"
#include "core/file.h"
#include "dataset/sources.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { IDX_UNSIGNED_BYTE = 0x08, MAX_DIMS = 3 };

/* A file may be this much longer than it should before it is not even read. */
enum { READ_SLACK_BYTES = 1 << 16 };

static uint32_t read_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static pare_status parse_header(const char *name, const uint8_t *data, size_t n_bytes,
                                unsigned n_dims, struct error *err, uint32_t dims[MAX_DIMS]) {
    size_t header_bytes = 4 + 4 * (size_t)n_dims;
    const char *what = n_dims == 3 ? "images" : "labels";
    if (n_bytes < header_bytes)
        return error_set(err, PARE_E_FORMAT,
                         "%s: truncated: %zu bytes, an IDX header of %s has %zu; fetch it again",
                         name, n_bytes, what, header_bytes);
    if (data[0] != 0 || data[1] != 0)
        return error_set(err, PARE_E_FORMAT,
                         "%s: not an IDX file: begins with %02x %02x %02x %02x, wanted 00 00 08 "
                         "%02x",
                         name, data[0], data[1], data[2], data[3], n_dims);
    if (data[2] != IDX_UNSIGNED_BYTE)
        return error_set(err, PARE_E_FORMAT,
                         "%s: IDX element type is 0x%02x, wanted 0x08 (unsigned byte)", name,
                         data[2]);
    if (data[3] != n_dims)
        return error_set(err, PARE_E_FORMAT,
                         "%s: IDX data of %u dimensions, wanted %u (%s); are the files of images "
                         "and labels swapped?",
                         name, data[3], n_dims, what);
    for (unsigned k = 0; k < n_dims; k++)
        dims[k] = read_be32(data + 4 + 4 * k);
    return PARE_OK;
}

static pare_status check_size(const char *name, const char *what, uint64_t count,
                              uint64_t item_bytes, size_t header_bytes, size_t n_bytes,
                              struct error *err) {
    if (count == 0)
        return error_set(err, PARE_E_FORMAT, "%s: header says 0 %s", name, what);
    /* count < 2^32 and item_bytes < 2^31 cannot overflow 64 bits. */
    uint64_t wanted = header_bytes + count * item_bytes;
    if (n_bytes < wanted)
        return error_set(err, PARE_E_FORMAT,
                         "%s: truncated: header says %" PRIu64 " %s, that is %" PRIu64
                         " bytes, got %zu; fetch it again",
                         name, count, what, wanted, n_bytes);
    if (n_bytes > wanted)
        return error_set(err, PARE_E_FORMAT,
                         "%s: trailing bytes: header says %" PRIu64 " %s, that is %" PRIu64
                         " bytes, got %zu; fetch it again",
                         name, count, what, wanted, n_bytes);
    return PARE_OK;
}

pare_status idx_parse_images(const char *name, const uint8_t *data, size_t n_bytes,
                             const int32_t dims[3], struct error *err, int64_t *count,
                             const uint8_t **items) {
    uint32_t got[MAX_DIMS] = {0};
    pare_status status = parse_header(name, data, n_bytes, 3, err, got);
    if (status != PARE_OK)
        return status;
    if (got[1] != (uint32_t)dims[0] || got[2] != (uint32_t)dims[1])
        return error_set(err, PARE_E_FORMAT,
                         "%s: images are %" PRIu32 "x%" PRIu32 ", wanted %" PRId32 "x%" PRId32,
                         name, got[1], got[2], dims[0], dims[1]);
    status = check_size(name, "images", got[0], (uint64_t)got[1] * got[2], 16, n_bytes, err);
    if (status != PARE_OK)
        return status;
    *count = got[0];
    *items = data + 16;
    return PARE_OK;
}

pare_status idx_parse_labels(const char *name, const uint8_t *data, size_t n_bytes,
                             int32_t n_classes, struct error *err, int64_t *count,
                             const uint8_t **items) {
    uint32_t got[MAX_DIMS] = {0};
    pare_status status = parse_header(name, data, n_bytes, 1, err, got);
    if (status == PARE_OK)
        status = check_size(name, "labels", got[0], 1, 8, n_bytes, err);
    if (status != PARE_OK)
        return status;
    for (uint32_t k = 0; k < got[0]; k++)
        if (data[8 + k] >= n_classes)
            return error_set(err, PARE_E_FORMAT, "%s: label %" PRIu32 " is %d, wanted 0..%" PRId32,
                             name, k, data[8 + k], n_classes - 1);
    *count = got[0];
    *items = data + 8;
    return PARE_OK;
}

pare_status idx_find(const char *dir, const char *name, struct error *err, char **path) {
    for (int packed = 0; packed < 2; packed++) {
        char *file = alloc_printf("%s/%s%s", dir, name, packed ? ".gz" : "");
        if (!file)
            return error_set(err, PARE_E_NOMEM, "%s: out of memory", dir);
        if (file_exists(file)) {
            *path = file;
            return PARE_OK;
        }
        free(file);
    }
    return error_set(err, PARE_E_NOT_FOUND, "%s: lacks %s (plain or .gz)", dir, name);
}

/* One file, read and parsed; *data is freed by the caller, *items points into it. */
static pare_status load_one(const char *dir, const char *name, const struct samples *into,
                            int is_images, struct error *err, uint8_t **data,
                            const uint8_t **items) {
    const struct dataset_info *info = into->info;
    size_t item_bytes = is_images ? (size_t)info->dims[0] * (size_t)info->dims[1] : 1;
    size_t max_bytes = 16 + (size_t)into->n * item_bytes + READ_SLACK_BYTES, n_bytes;
    char *path = NULL;
    int64_t count;
    pare_status status = idx_find(dir, name, err, &path);
    if (status == PARE_OK)
        status = file_read(path, max_bytes, err, data, &n_bytes);
    if (status == PARE_OK)
        status = is_images
                     ? idx_parse_images(path, *data, n_bytes, info->dims, err, &count, items)
                     : idx_parse_labels(path, *data, n_bytes, info->n_classes, err, &count, items);
    if (status == PARE_OK && count != into->n)
        status =
            error_set(err, PARE_E_FORMAT,
                      "%s: %" PRId64 " %s, wanted %" PRId64 ": this is not %s, or not all of it",
                      path, count, is_images ? "images" : "labels", into->n, info->name);
    free(path);
    return status;
}

pare_status idx_load(const char *dir, const char *images, const char *labels, struct samples *into,
                     struct error *err) {
    uint8_t *image_data = NULL, *label_data = NULL;
    const uint8_t *image_items, *label_items;
    size_t pixels = (size_t)into->info->dims[0] * (size_t)into->info->dims[1];
    pare_status status = load_one(dir, images, into, 1, err, &image_data, &image_items);
    if (status == PARE_OK)
        status = load_one(dir, labels, into, 0, err, &label_data, &label_items);
    for (int64_t i = 0; status == PARE_OK && i < into->n; i++) {
        size_t at = into->place ? into->place[i] : (size_t)i;
        memcpy(into->images + at * pixels, image_items + (size_t)i * pixels, pixels);
        into->labels[at] = label_items[i];
    }
    free(image_data);
    free(label_data);
    return status;
}
