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
    int repeatable;   /* 1: the same in every run of the arm on one machine */
    const char *doc;
};
const struct column_info *column_infos(void); /* (N_COLUMNS) */

/* A row; starts zeroed. Cells that were never set are empty: "not measured". */
struct record {
    char *cells[N_COLUMNS];
    int exhausted; /* a setter ran out of memory: record_append refuses the row */
};
void record_clear(struct record *rec);
/* Setters copy; NULL, "", NaN and infinities leave the cell empty. Numbers are written so that they
 * read back as the same double, in the fewest digits. */
void record_set(struct record *rec, enum column col, const char *text);
void record_set_int(struct record *rec, enum column col, int64_t value);
void record_set_real(struct record *rec, enum column col, double value);
const char *record_get(const struct record *rec, enum column col); /* "" when empty */

/* A row as bytes, for another process: every cell in column order, each with its NUL; malloc'd.
 * NULL when out of memory, or when the row is exhausted. */
char *record_pack(const struct record *rec, size_t *n_bytes);
/* Bytes that are not exactly one cell per column: PARE_E_FORMAT. */
pare_status record_unpack(const void *data, size_t n_bytes, struct error *err, struct record *rec);

/* ---- files ---- */

struct record_file;

/* Opens for appending; writes the header when new. An existing file must be of this schema version;
 * its columns may stand in another order, some may be missing (a note on stderr names them: their
 * figures are not written) and others added (left empty in new rows). A last row without its
 * newline (a killed writer) is cut off, with a note on stderr. Folders are created. Several
 * processes may append to one file: whole rows, under a lock (flock). PARE_E_FORMAT: another schema
 * version, not a file of records, or damaged; nothing is then changed. */
pare_status record_open(const char *path, struct error *err, struct record_file **out);
/* Writes one whole row, with schema_version filled in, and syncs it to disk before it returns. On
 * failure (disk full) the file is left with the whole rows it had. */
pare_status record_append(struct record_file *file, const struct record *rec, struct error *err);
void record_close(struct record_file *file); /* NULL is fine */

/* Reads all whole rows; *rows is freed by record_rows_free. Columns that the file lacks are empty;
 * columns that the schema lacks are passed over. record_parse does it for text (n) in memory,
 * `name` stands in its messages. */
pare_status record_read(const char *path, struct error *err, struct record **rows, size_t *n_rows);
pare_status record_parse(const char *name, const char *text, size_t n, struct error *err,
                         struct record **rows, size_t *n_rows);
void record_rows_free(struct record *rows, size_t n_rows);

/* Does the file end in the middle of a row (a killed writer's), which readers leave out? Looks at
 * its last byte alone. 0 if it cannot be read. */
int record_is_cut(const char *path);

/* Joins files into out_path (replaced as a whole): rows in order of first appearance, columns of
 * this schema first, columns that any file added after them. Rows with the same arm_id and host are
 * one measurement: a row with status ok takes the place of one without; of two ok rows the first
 * stays, and a difference in a repeatable column that both files have is PARE_E_FORMAT, naming both
 * places. Rows without arm_id are all kept. */
pare_status record_merge(const char *const *paths, size_t n_paths, const char *out_path,
                         struct error *err);

#endif
