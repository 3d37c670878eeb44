/* SPDX-License-Identifier: MIT */
/* The little of tar that CIFAR-10's archive needs (POSIX.1 ustar): plain files, found by name.
 * Nothing of the archive decides where anything is written. */
#include "core/alloc.h"
#include "core/file.h"
#include "dataset/sources.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, NAME_BYTES = 100, SIZE_AT = 124, SUM_AT = 148, TYPE_AT = 156, MAX_FILES = 64 };

/* An octal field: digits, ended by a blank or NUL. 1 if it is one. */
static int parse_octal(const uint8_t *field, size_t n, uint64_t *value) {
    size_t k = 0;
    uint64_t sum = 0;
    while (k < n && field[k] == ' ')
        k++;
    size_t first = k;
    for (; k < n && field[k] >= '0' && field[k] <= '7'; k++)
        sum = 8 * sum + (uint64_t)(field[k] - '0'); /* at most 12 digits: 36 bits */
    *value = sum;
    return k > first && (k == n || field[k] == ' ' || field[k] == 0);
}

static int checksum_is_right(const uint8_t *header) {
    uint64_t sum = 0, wanted;
    for (int k = 0; k < BLOCK; k++)
        sum += k >= SUM_AT && k < SUM_AT + 8 ? ' ' : header[k];
    return parse_octal(header + SUM_AT, 8, &wanted) && sum == wanted;
}

static int is_zero(const uint8_t *block) {
    for (int k = 0; k < BLOCK; k++)
        if (block[k])
            return 0;
    return 1;
}

/* The row that an entry belongs to, n_files when to none. */
static size_t find_row(const uint8_t *header, const struct manifest_file *files, size_t n_files) {
    char name[NAME_BYTES + 1];
    memcpy(name, header, NAME_BYTES);
    name[NAME_BYTES] = 0;
    const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
    int is_plain = header[TYPE_AT] == '0' || header[TYPE_AT] == 0;
    size_t k = 0;
    while (k < n_files && !(is_plain && !files[k].url[0] && strcmp(files[k].file, last) == 0))
        k++;
    return k;
}

static pare_status write_entry(const char *name, const uint8_t *data, uint64_t n_bytes,
                               const struct manifest_file *file, const char *dir,
                               struct error *err) {
    char got[80];
    int same;
    if (n_bytes != (uint64_t)file->n_bytes)
        return error_set(err, PARE_E_FORMAT, "%s: %s has %" PRIu64 " bytes, wanted %" PRId64, name,
                         file->file, n_bytes, file->n_bytes);
    digest_compare_bytes(data, (size_t)n_bytes, file->content_digest, &same, got);
    if (!same)
        return error_set(err, PARE_E_FORMAT, "%s: checksum of %s is %s, wanted %s", name,
                         file->file, got, file->content_digest);
    char *path = file_join(dir, file->file);
    if (!path)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", name);
    pare_status status = file_write(path, data, (size_t)n_bytes, err);
    free(path);
    return status;
}

pare_status tar_unpack(const char *name, const uint8_t *data, size_t n_bytes,
                       const struct manifest_file *files, size_t n_files, const char *dir,
                       struct error *err) {
    char seen[MAX_FILES] = {0};
    if (n_files > MAX_FILES)
        return error_set(err, PARE_E_LIMIT, "%s: more than %d files wanted", name, MAX_FILES);
    for (size_t at = 0; n_bytes - at >= BLOCK && !is_zero(data + at);) {
        const uint8_t *header = data + at;
        uint64_t size;
        if (!checksum_is_right(header) || !parse_octal(header + SIZE_AT, 12, &size))
            return error_set(err, PARE_E_FORMAT, "%s: damaged tar header at byte %zu", name, at);
        at += BLOCK;
        if (size > n_bytes - at)
            return error_set(err, PARE_E_FORMAT,
                             "%s: truncated: an entry of %" PRIu64 " bytes, %zu are left", name,
                             size, n_bytes - at);
        size_t row = find_row(header, files, n_files);
        if (row < n_files) {
            pare_status status = write_entry(name, data + at, size, &files[row], dir, err);
            if (status != PARE_OK)
                return status;
            seen[row] = 1;
        }
        size_t padded = ((size_t)size + BLOCK - 1) / BLOCK * BLOCK;
        at += padded < n_bytes - at ? padded : n_bytes - at;
    }
    for (size_t k = 0; k < n_files; k++)
        if (!files[k].url[0] && !seen[k])
            return error_set(err, PARE_E_FORMAT, "%s: truncated: %s is not in it", name,
                             files[k].file);
    return PARE_OK;
}
