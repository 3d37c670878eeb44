/* SPDX-License-Identifier: MIT */
/* Rows of a record file, checked against the schema. */
#ifndef RECORD_READER_H
#define RECORD_READER_H

#include "record/csv_text.h"
#include "record/record.h"

/* Takes rows of CSV: the first one is the header, all others are checked and passed on. */
struct reader {
    const char *path; /* for messages; borrowed */
    csv_row_fn row;   /* gets each row after the header; NULL: rows are only checked */
    void *arg;
    size_t n_columns; /* of the file; 0 until the header was read */
    char **names;     /* (n_columns) */
    int *columns;     /* (n_columns) enum column, or -1: a column that this schema does not have */
};
void reader_clear(struct reader *reader);

/* A csv_row_fn; arg is a struct reader. A header with a name twice or without schema_version, a row
 * of another length than the header or of another schema version: PARE_E_FORMAT. */
pare_status reader_row(void *arg, char *const *cells, size_t n_cells, size_t line,
                       struct error *err);

/* All bytes of a regular file from offset `from` on, malloc'd. */
pare_status reader_load(const char *path, int fd, size_t from, struct error *err, char **text,
                        size_t *n);

/* Reads all whole rows of text (n) through `reader`; the header must be there. *n_whole is where
 * the last whole row ends. */
pare_status reader_text(struct reader *reader, const char *text, size_t n, struct error *err,
                        size_t *n_whole);

/* The same for a file; sets reader->path. */
pare_status reader_read(struct reader *reader, const char *path, struct error *err,
                        size_t *n_whole);

/* Makes the folder that a file is to be written in. */
pare_status reader_make_folder(const char *path, struct error *err);

#endif
