/* SPDX-License-Identifier: MIT */
#include "experiment/done.h"

#include "core/alloc.h"
#include "core/file.h"
#include "core/rng.h"
#include "record/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_BYTES = 17 };

/* A hash table with open addressing; an empty string is a free slot. */
struct done {
    char (*slots)[ID_BYTES]; /* (n_slots), a power of two, more than the rows there are */
    size_t n_slots;
};

static size_t find_slot(const struct done *done, const char *id) {
    size_t at = (size_t)hash_bytes(id, strlen(id), 0) & (done->n_slots - 1);
    while (done->slots[at][0] && strcmp(done->slots[at], id) != 0)
        at = (at + 1) & (done->n_slots - 1);
    return at;
}

/* Of a row; -1 for a name that is none. Profiles are in the order of their thoroughness. */
static int profile_of(const struct record *rec) {
    struct error ignored;
    enum latency_profile profile;
    const char *name = record_get(rec, COL_profile);
    return latency_parse_profile(name, &ignored, &profile) == PARE_OK ? (int)profile : -1;
}

static void add_rows(struct done *done, const struct record *rows, size_t n_rows, int least) {
    for (size_t i = 0; i < n_rows; i++) {
        const char *id = record_get(&rows[i], COL_arm_id);
        if (strcmp(record_get(&rows[i], COL_status), "ok") == 0 && profile_of(&rows[i]) >= least &&
            strlen(id) < ID_BYTES)
            snprintf(done->slots[find_slot(done, id)], ID_BYTES, "%s", id);
    }
}

pare_status done_read(const char *path, enum latency_profile profile, struct error *err,
                      struct done **out) {
    struct record *rows = NULL;
    size_t n_rows = 0;
    if (file_exists(path) && record_read(path, err, &rows, &n_rows) != PARE_OK)
        return err->status;
    struct done *done = alloc_array(1, sizeof *done);
    if (done) {
        for (done->n_slots = 16; done->n_slots < 2 * n_rows; done->n_slots *= 2)
            ;
        done->slots = alloc_array(done->n_slots, sizeof *done->slots);
    }
    if (!done || !done->slots) {
        record_rows_free(rows, n_rows);
        done_destroy(done);
        return error_set(err, PARE_E_NOMEM, "out of memory for the rows done");
    }
    add_rows(done, rows, n_rows, (int)profile);
    record_rows_free(rows, n_rows);
    *out = done;
    return PARE_OK;
}

void done_destroy(struct done *done) {
    if (!done)
        return;
    free(done->slots);
    free(done);
}

int done_has(const struct done *done, const char *arm_id) {
    return done && done->slots[find_slot(done, arm_id)][0];
}
