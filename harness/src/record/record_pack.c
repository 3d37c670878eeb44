/* SPDX-License-Identifier: MIT */
#include "record/record.h"

#include <stdlib.h>
#include <string.h>

char *record_pack(const struct record *rec, size_t *n_bytes) {
    size_t n = 0;
    for (int k = 0; k < N_COLUMNS; k++)
        n += strlen(record_get(rec, (enum column)k)) + 1;
    char *data = rec->exhausted ? NULL : malloc(n), *at = data;
    if (!data)
        return NULL;
    for (int k = 0; k < N_COLUMNS; k++) {
        size_t cell = strlen(record_get(rec, (enum column)k)) + 1;
        memcpy(at, record_get(rec, (enum column)k), cell);
        at += cell;
    }
    *n_bytes = n;
    return data;
}

pare_status record_unpack(const void *data, size_t n_bytes, struct error *err, struct record *rec) {
    struct record got = {0};
    const char *at = data, *end = at + n_bytes;
    int k = 0;
    for (; k < N_COLUMNS; k++) {
        const char *stop = memchr(at, '\0', (size_t)(end - at));
        if (!stop)
            break;
        record_set(&got, (enum column)k, at);
        at = stop + 1;
    }
    if (k < N_COLUMNS || at != end || got.exhausted) {
        int no_memory = got.exhausted;
        record_clear(&got);
        return no_memory ? error_set(err, PARE_E_NOMEM, "out of memory for a row")
                         : error_set(err, PARE_E_FORMAT,
                                     "%zu bytes hold %d of the %d cells of a row, or more", n_bytes,
                                     k, (int)N_COLUMNS);
    }
    *rec = got;
    return PARE_OK;
}
