/* SPDX-License-Identifier: MIT */
/* Records: rows of named columns, on disk as CSV. Columns exist only in columns.inc. */
#ifndef RECORD_RECORD_H
#define RECORD_RECORD_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

#define RECORD_SCHEMA_VERSION 1

enum column {
#define COLUMN(name, group, type, unit, repeatable, doc) COL_##name,
#include "record/columns.inc"
#undef COLUMN
    N_COLUMNS
};

struct column_info {
    const char *name, *group;
    const char *type; /* "text", "int" or "real" */
    const char *unit; /* "" where there is none */
    int repeatable; /* 1: the same in every run of the arm on one machine */
    const char *doc;
};
const struct column_info *column_infos(void); /* (N_COLUMNS) */

/* A row. Cells that were never set are empty: "not measured". */
struct record {
    char *cells[N_COLUMNS];
};
void record_clear(struct record *rec);
/* Setters copy; NaN and infinities leave the cell empty. Numbers are written so that they read back
 * as the same double, shortest form. Out of memory is sticky: record_append then fails. */
void record_set(struct record *rec, enum column col, const char *text);
void record_set_int(struct record *rec, enum column col, int64_t value);
void record_set_real(struct record *rec, enum column col, double value);
const char *record_get(const struct record *rec, enum column col); /* "" when empty */

/* ---- files ---- */

struct record_file;

/* Opens for appending; writes the header when new. An existing file must have this schema (columns
 * may stand in another order and others may be missing or added: rows are written in the file's own
 * order), else a clear error. A last line without its newline (a killed writer) is cut off, with a
 * note on stderr. Folders are created. Several processes may append: whole rows, under a lock. */
pare_status record_open(const char *path, struct error *err, struct record_file **out);
/* Writes one whole row and syncs it to disk before it returns. */
pare_status record_append(struct record_file *file, const struct record *rec, struct error *err);
void record_close(struct record_file *file);

/* Reads all whole rows; *rows is freed by record_rows_free. Columns that the file lacks are empty.
 */
pare_status record_read(const char *path, struct error *err, struct record **rows, size_t *n_rows);
void record_rows_free(struct record *rows, size_t n_rows);

/* Joins files into `out`: rows in order of first appearance; identical duplicates (same arm_id and
 * deterministic columns) are dropped, conflicting ones are an error naming both places. */
pare_status record_merge(const char *const *paths, size_t n_paths, const char *out_path,
                         struct error *err);

#endif
