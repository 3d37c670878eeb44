/* SPDX-License-Identifier: MIT */
#include "record/record.h"

#include "core/alloc.h"
#include "record/reader.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- cells ---- */

void record_clear(struct record *rec) {
    for (int k = 0; k < N_COLUMNS; k++)
        free(rec->cells[k]);
    *rec = (struct record){0};
}

void record_set(struct record *rec, enum column col, const char *text) {
    char *copy = NULL;
    if (text && text[0]) {
        copy = strdup(text);
        if (!copy)
            rec->exhausted = 1;
    }
    free(rec->cells[col]);
    rec->cells[col] = copy;
}

void record_set_int(struct record *rec, enum column col, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    record_set(rec, col, text);
}

void record_set_real(struct record *rec, enum column col, double value) {
    char text[40];
    text[0] = 0;
    if (isfinite(value) && fabs(value) < 1e15 && value == trunc(value))
        snprintf(text, sizeof text, "%.0f", value + 0.0); /* + 0.0: no "-0" */
    else if (isfinite(value))
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value)
                break;
        }
    record_set(rec, col, text);
}

const char *record_get(const struct record *rec, enum column col) {
    return rec->cells[col] ? rec->cells[col] : "";
}

/* ---- rows ---- */

struct rows {
    const struct reader *reader;
    struct record *items; /* (n) */
    size_t n, capacity;
};

static pare_status add_row(void *arg, char *const *cells, size_t n_cells, size_t line,
                           struct error *err) {
    struct rows *rows = arg;
    if (rows->n == rows->capacity) {
        size_t capacity = rows->capacity ? 2 * rows->capacity : 16;
        struct record *grown = alloc_resize(rows->items, capacity, sizeof *grown);
        if (!grown)
            return error_set(err, PARE_E_NOMEM, "%s: line %zu: out of memory", rows->reader->path,
                             line);
        rows->items = grown;
        rows->capacity = capacity;
    }
    struct record *rec = &rows->items[rows->n++];
    *rec = (struct record){0};
    for (size_t k = 0; k < n_cells; k++)
        if (rows->reader->columns[k] >= 0)
            record_set(rec, (enum column)rows->reader->columns[k], cells[k]);
    if (rec->exhausted)
        return error_set(err, PARE_E_NOMEM, "%s: line %zu: out of memory", rows->reader->path,
                         line);
    return PARE_OK;
}

/* Ends a read: gives the rows away or frees them. */
static pare_status finish(struct reader *reader, struct rows *got, pare_status status,
                          struct record **rows, size_t *n_rows) {
    reader_clear(reader);
    if (status != PARE_OK) {
        record_rows_free(got->items, got->n);
        return status;
    }
    *rows = got->items;
    *n_rows = got->n;
    return PARE_OK;
}

pare_status record_read(const char *path, struct error *err, struct record **rows, size_t *n_rows) {
    struct rows got = {0};
    struct reader reader = {.row = add_row, .arg = &got};
    got.reader = &reader;
    size_t n_whole;
    return finish(&reader, &got, reader_read(&reader, path, err, &n_whole), rows, n_rows);
}

pare_status record_parse(const char *name, const char *text, size_t n, struct error *err,
                         struct record **rows, size_t *n_rows) {
    struct rows got = {0};
    struct reader reader = {.path = name, .row = add_row, .arg = &got};
    got.reader = &reader;
    size_t n_whole;
    pare_status status = reader_text(&reader, text, n, err, &n_whole);
    return finish(&reader, &got, status, rows, n_rows);
}

void record_rows_free(struct record *rows, size_t n_rows) {
    for (size_t k = 0; k < n_rows; k++)
        record_clear(&rows[k]);
    free(rows);
}
