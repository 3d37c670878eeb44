/* SPDX-License-Identifier: MIT */
/* CIFAR-10's binary version: records of one label byte and 3072 pixel bytes, the red, green and
 * blue planes row by row (format description on the CIFAR page of A. Krizhevsky). */
#include "core/alloc.h"
#include "core/file.h"
#include "dataset/sources.h"

#include <inttypes.h>
#include <stdlib.h>

enum { READ_SLACK_BYTES = 1 << 16 };

static size_t record_bytes(const struct dataset_info *info) {
    return 1 + (size_t)info->dims[0] * (size_t)info->dims[1] * (size_t)info->dims[2];
}

pare_status cifar_parse(const char *name, const uint8_t *data, size_t n_bytes, struct samples *into,
                        int64_t first, struct error *err, int64_t *count) {
    const struct dataset_info *info = into->info;
    size_t record = record_bytes(info), pixels = (size_t)info->dims[0] * (size_t)info->dims[1];
    size_t channels = (size_t)info->dims[2];
    if (n_bytes == 0 || n_bytes % record != 0)
        return error_set(err, PARE_E_FORMAT,
                         "%s: %zu bytes are not whole records of %zu (truncated, or another "
                         "format); fetch it again",
                         name, n_bytes, record);
    size_t n = n_bytes / record, room = (size_t)(into->n - first);
    if (n > room)
        return error_set(err, PARE_E_FORMAT, "%s: %zu records, wanted at most %zu here", name, n,
                         room);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = data + i * record;
        if (from[0] >= info->n_classes)
            return error_set(err, PARE_E_FORMAT,
                             "%s: label of record %zu is %d, wanted 0..%" PRId32, name, i, from[0],
                             info->n_classes - 1);
        size_t at = (size_t)first + i;
        if (into->place)
            at = into->place[at];
        uint8_t *to = into->images + at * pixels * channels;
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < pixels; p++)
                to[p * channels + c] = from[1 + c * pixels + p];
        into->labels[at] = from[0];
    }
    *count = (int64_t)n;
    return PARE_OK;
}

pare_status cifar_load(const char *dir, const char *const *files, size_t n_files,
                       struct samples *into, struct error *err) {
    int64_t done = 0;
    pare_status status = PARE_OK;
    for (size_t k = 0; k < n_files && status == PARE_OK; k++) {
        char *path = NULL;
        uint8_t *data = NULL;
        size_t n_bytes, max_bytes = (size_t)into->n * record_bytes(into->info) + READ_SLACK_BYTES;
        int64_t count = 0;
        status = idx_find(dir, files[k], err, &path);
        if (status == PARE_OK)
            status = file_read(path, max_bytes, err, &data, &n_bytes);
        if (status == PARE_OK)
            status = cifar_parse(path, data, n_bytes, into, done, err, &count);
        done += count;
        free(data);
        free(path);
    }
    if (status == PARE_OK && done != into->n)
        status = error_set(err, PARE_E_FORMAT,
                           "%s: %" PRId64 " records in %zu files, wanted %" PRId64
                           ": this is not %s, or not all of it",
                           dir, done, n_files, into->n, into->info->name);
    return status;
}
