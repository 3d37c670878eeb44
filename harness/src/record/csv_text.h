/* SPDX-License-Identifier: MIT */
/* CSV in memory, by libcsv both ways: RFC 4180 with LF or CRLF line ends. */
#ifndef RECORD_CSV_TEXT_H
#define RECORD_CSV_TEXT_H

#include "core/error.h"

#include <stddef.h>

/* One row; `cells` (n_cells) live for the call only. `line` is the 1-based line it starts on. A
 * failure ends the scan. */
typedef pare_status (*csv_row_fn)(void *arg, char *const *cells, size_t n_cells, size_t line,
                                  struct error *err);

/* Calls `row` for each whole row of text (n), that is, one ended by a newline outside quotes. Blank
 * lines are skipped. *n_whole becomes the number of bytes up to and with the last whole row; what
 * follows is a row that is not finished. `name` stands in messages, `first_line` is the line number
 * of text[0]. Malformed quoting, a NUL byte: PARE_E_FORMAT with the line. */
pare_status csv_text_scan(const char *name, const char *text, size_t n, size_t first_line,
                          csv_row_fn row, void *arg, struct error *err, size_t *n_whole);

/* Text that grows. Starts zeroed; free(data). After a failed allocation `exhausted` stays 1. */
struct csv_text {
    char *data;
    size_t n, capacity;
    int exhausted;
};

/* Appends a cell, quoted where it must be, with a comma before it unless it is the row's first. */
void csv_text_cell(struct csv_text *out, const char *cell, int is_first);
void csv_text_end_row(struct csv_text *out);

#endif
