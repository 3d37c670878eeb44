/* SPDX-License-Identifier: MIT */
#include "record/csv_text.h"

#include "core/alloc.h"

#include <csv.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

struct scan {
    struct csv_text text; /* the row's cells, each with its NUL */
    size_t *starts;       /* (n_cells) offsets into text */
    char **cells;         /* (n_cells) made when the row is whole */
    size_t n_cells, capacity;
    int has_nul, row_is_whole;
};

static int grow_text(struct csv_text *out, size_t more) {
    if (out->exhausted)
        return 0;
    if (more <= out->capacity - out->n)
        return 1;
    size_t capacity = out->capacity ? out->capacity : 4096;
    while (capacity - out->n < more) {
        if (capacity > SIZE_MAX / 2) {
            out->exhausted = 1;
            return 0;
        }
        capacity *= 2;
    }
    char *grown = alloc_resize(out->data, capacity, 1);
    if (!grown) {
        out->exhausted = 1;
        return 0;
    }
    out->data = grown;
    out->capacity = capacity;
    return 1;
}

static int grow_cells(struct scan *scan) {
    if (scan->n_cells < scan->capacity)
        return 1;
    size_t capacity = scan->capacity ? 2 * scan->capacity : 256;
    size_t *starts = alloc_resize(scan->starts, capacity, sizeof *starts);
    if (starts)
        scan->starts = starts;
    char **cells = alloc_resize(scan->cells, capacity, sizeof *cells);
    if (cells)
        scan->cells = cells;
    if (!starts || !cells) {
        scan->text.exhausted = 1;
        return 0;
    }
    scan->capacity = capacity;
    return 1;
}

static void on_cell(void *cell, size_t n, void *arg) {
    struct scan *scan = arg;
    if (n > 0 && memchr(cell, 0, n))
        scan->has_nul = 1;
    if (!grow_text(&scan->text, n + 1) || !grow_cells(scan))
        return;
    scan->starts[scan->n_cells++] = scan->text.n;
    if (n > 0)
        memcpy(scan->text.data + scan->text.n, cell, n);
    scan->text.n += n;
    scan->text.data[scan->text.n++] = 0;
}

static void on_row_end(int terminator, void *arg) {
    (void)terminator;
    struct scan *scan = arg;
    scan->row_is_whole = 1;
}

/* Only a line feed ends a row, so that its place is known; the carriage return before it counts as
 * padding. Blanks around a cell belong to it. */
static int is_line_feed(unsigned char c) {
    return c == CSV_LF;
}
static int is_padding(unsigned char c) {
    return c == CSV_CR;
}

static pare_status give_row(struct scan *scan, const char *name, size_t line, csv_row_fn row,
                            void *arg, struct error *err) {
    if (scan->text.exhausted)
        return error_set(err, PARE_E_NOMEM, "%s: line %zu: out of memory", name, line);
    if (scan->has_nul)
        return error_set(err, PARE_E_FORMAT, "%s: line %zu: holds a NUL byte; this is not CSV text",
                         name, line);
    for (size_t k = 0; k < scan->n_cells; k++)
        scan->cells[k] = scan->text.data + scan->starts[k];
    pare_status status = row(arg, scan->cells, scan->n_cells, line, err);
    scan->text.n = 0;
    scan->n_cells = 0;
    scan->row_is_whole = 0;
    return status;
}

static int is_blank(const char *line, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (line[i] != CSV_CR && line[i] != CSV_LF)
            return 0;
    return 1;
}

static pare_status scan_lines(struct scan *scan, struct csv_parser *parser, const char *name,
                              const char *text, size_t n, size_t line, csv_row_fn row, void *arg,
                              struct error *err, size_t *n_whole) {
    size_t whole = 0, row_line = line;
    for (size_t at = 0, end; at < n; at = end, line++) {
        const char *feed = memchr(text + at, CSV_LF, n - at);
        end = feed ? (size_t)(feed - text) + 1 : n;
        if (csv_parse(parser, text + at, end - at, on_cell, on_row_end, scan) != end - at) {
            if (csv_error(parser) == CSV_ENOMEM)
                return error_set(err, PARE_E_NOMEM, "%s: line %zu: out of memory", name, line);
            return error_set(err, PARE_E_FORMAT,
                             "%s: line %zu: misplaced quote (got one inside a cell, wanted each "
                             "cell plain or quoted whole)",
                             name, line);
        }
        int ends_row = scan->row_is_whole;
        if (ends_row) {
            pare_status status = give_row(scan, name, row_line, row, arg, err);
            if (status != PARE_OK)
                return status;
        }
        /* `whole == at`: this line began outside any row. */
        if (feed && (ends_row || (whole == at && is_blank(text + at, end - at)))) {
            whole = end;
            row_line = line + 1;
        }
    }
    *n_whole = whole;
    return PARE_OK;
}

pare_status csv_text_scan(const char *name, const char *text, size_t n, size_t first_line,
                          csv_row_fn row, void *arg, struct error *err, size_t *n_whole) {
    struct csv_parser parser;
    if (csv_init(&parser, CSV_STRICT) != 0)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", name);
    csv_set_term_func(&parser, is_line_feed);
    csv_set_space_func(&parser, is_padding);
    csv_set_blk_size(&parser, 1u << 16);
    struct scan scan = {0};
    pare_status status =
        scan_lines(&scan, &parser, name, text, n, first_line, row, arg, err, n_whole);
    csv_free(&parser);
    free(scan.text.data);
    free(scan.starts);
    free(scan.cells);
    return status;
}

/* ---- writing ---- */

static int needs_quotes(const char *cell) {
    return strpbrk(cell, ",\"\r\n") != NULL;
}

void csv_text_cell(struct csv_text *out, const char *cell, int is_first) {
    size_t n = strlen(cell);
    if (n > SIZE_MAX / 4 || !grow_text(out, 2 * n + 3)) { /* each byte a quote, quotes, comma */
        out->exhausted = 1;
        return;
    }
    if (!is_first)
        out->data[out->n++] = ',';
    if (needs_quotes(cell))
        out->n += csv_write(out->data + out->n, out->capacity - out->n, cell, n);
    else {
        memcpy(out->data + out->n, cell, n);
        out->n += n;
    }
}

void csv_text_end_row(struct csv_text *out) {
    if (grow_text(out, 1))
        out->data[out->n++] = '\n';
}
