/* SPDX-License-Identifier: MIT */
#include "core/table.h"

#include "core/alloc.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_GAP 2
/* A column is never shortened below this many characters: a line that wraps is still read, a name
 * cut to its first letters is not. */
#define MIN_SHORTENED 24
#define ELLIPSIS "\xe2\x80\xa6"

struct table {
    size_t n_columns;
    char **headers;       /* (n_columns), without the alignment mark */
    unsigned char *right; /* (n_columns) 1: right-aligned */
    size_t n_rows, capacity;
    char **cells; /* (n_rows,n_columns), NULL: empty */
};

struct table *table_create(const char *const *headers) {
    struct table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    size_t n = 0;
    while (headers[n])
        n++;
    table->headers = alloc_array(n, sizeof *table->headers);
    table->right = alloc_array(n, 1);
    if (!table->headers || !table->right)
        goto fail;
    table->n_columns = n;
    for (size_t k = 0; k < n; k++) {
        table->right[k] = headers[k][0] == '>';
        table->headers[k] = strdup(headers[k] + table->right[k]);
        if (!table->headers[k])
            goto fail;
    }
    return table;
fail:
    table_destroy(table);
    return NULL;
}

void table_destroy(struct table *table) {
    if (!table)
        return;
    for (size_t k = 0; k < table->n_columns; k++)
        free(table->headers[k]);
    for (size_t k = 0; k < table->n_rows * table->n_columns; k++)
        free(table->cells[k]);
    free(table->headers);
    free(table->right);
    free(table->cells);
    free(table);
}

static pare_status grow(struct table *table, struct error *err) {
    if (table->n_rows < table->capacity)
        return PARE_OK;
    size_t capacity = table->capacity ? table->capacity * 2 : 16;
    char **cells = NULL;
    if (table->n_columns == 0 || capacity <= SIZE_MAX / table->n_columns)
        cells = alloc_resize(table->cells, capacity * table->n_columns, sizeof *cells);
    if (!cells)
        return error_set(err, PARE_E_NOMEM, "table: out of memory for %zu rows", capacity);
    table->cells = cells;
    table->capacity = capacity;
    return PARE_OK;
}

pare_status table_add(struct table *table, const char *const *cells, struct error *err) {
    if (grow(table, err))
        return err->status;
    char **row = table->cells + table->n_rows * table->n_columns;
    for (size_t k = 0; k < table->n_columns; k++) {
        row[k] = cells[k] ? strdup(cells[k]) : NULL;
        if (cells[k] && !row[k]) {
            while (k-- > 0)
                free(row[k]);
            return error_set(err, PARE_E_NOMEM, "table: out of memory for row %zu",
                             table->n_rows + 1);
        }
    }
    table->n_rows++;
    return PARE_OK;
}

/* ---- text ---- */

static int is_continuation(char c) {
    return ((unsigned char)c & 0xC0) == 0x80;
}

static size_t utf8_length(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += !is_continuation(*text);
    return n;
}

/* A line being printed: spaces are held back until something follows, so that no line ends in them.
 */
struct line {
    FILE *file;
    size_t n_spaces;
};

static void print_char(struct line *line, char c) {
    if (c == ' ') {
        line->n_spaces++;
        return;
    }
    fprintf(line->file, "%*s%c", (int)line->n_spaces, "", c);
    line->n_spaces = 0;
}

static void end_line(struct line *line) {
    putc('\n', line->file);
    line->n_spaces = 0;
}

/* Prints characters first..last-1 of `text`. Control characters, which could drive the terminal,
 * are shown as '?'. */
static void print_part(struct line *line, const char *text, size_t first, size_t last) {
    size_t n = 0;
    for (const char *c = text; *c; c++) {
        n += !is_continuation(*c);
        if (n > first && n <= last)
            print_char(line, iscntrl((unsigned char)*c) ? '?' : *c);
    }
}

/* Prints `text` in exactly `width` characters, padded or with its middle cut out (pipelines and
 * paths differ at their ends), and the gap after it. */
static void print_cell(struct line *line, const char *text, size_t width, int right) {
    size_t length = utf8_length(text);
    size_t padding = length <= width ? width - length : 0;
    line->n_spaces += right ? padding : 0;
    if (length <= width) {
        print_part(line, text, 0, length);
    } else {
        size_t tail = (width - 1) / 3;
        print_part(line, text, 0, width - 1 - tail);
        for (const char *c = ELLIPSIS; *c; c++)
            print_char(line, *c);
        print_part(line, text, length - tail, length);
    }
    line->n_spaces += COLUMN_GAP + (right ? 0 : padding);
}

/* The natural width of each column, then the widest left-aligned ones taken down to what fits. */
static void column_widths(const struct table *table, int limit, size_t *widths) {
    size_t total = 0;
    for (size_t k = 0; k < table->n_columns; k++) {
        widths[k] = utf8_length(table->headers[k]);
        for (size_t r = 0; r < table->n_rows; r++) {
            const char *cell = table->cells[r * table->n_columns + k];
            size_t length = cell ? utf8_length(cell) : 0;
            if (length > widths[k])
                widths[k] = length;
        }
        total += widths[k] + (k ? COLUMN_GAP : 0);
    }
    while (limit > 0 && total > (size_t)limit) {
        size_t widest = table->n_columns;
        size_t second = MIN_SHORTENED; /* how far down the widest may go in one step */
        for (size_t k = 0; k < table->n_columns; k++) {
            if (table->right[k] || widths[k] <= MIN_SHORTENED)
                continue;
            if (widest == table->n_columns || widths[k] > widths[widest]) {
                if (widest != table->n_columns)
                    second = widths[widest];
                widest = k;
            } else if (widths[k] > second) {
                second = widths[k];
            }
        }
        if (widest == table->n_columns)
            return; /* nothing left to shorten: the lines stay longer than the terminal */
        size_t excess = total - (size_t)limit;
        size_t step = widths[widest] > second ? widths[widest] - second : 1;
        if (step > excess)
            step = excess;
        widths[widest] -= step;
        total -= step;
    }
}

static void print_text(const struct table *table, FILE *file, int limit) {
    if (table->n_columns == 0)
        return;
    size_t *widths = alloc_array(table->n_columns, sizeof *widths);
    if (!widths) {
        fputs("(out of memory)\n", file);
        return;
    }
    column_widths(table, limit, widths);
    struct line line = {file, 0};
    for (size_t k = 0; k < table->n_columns; k++)
        print_cell(&line, table->headers[k], widths[k], table->right[k]);
    end_line(&line);
    for (size_t k = 0; k < table->n_columns; k++) {
        for (size_t i = 0; i < widths[k]; i++)
            print_char(&line, '-');
        line.n_spaces += COLUMN_GAP;
    }
    end_line(&line);
    for (size_t r = 0; r < table->n_rows; r++) {
        for (size_t k = 0; k < table->n_columns; k++) {
            const char *cell = table->cells[r * table->n_columns + k];
            print_cell(&line, cell ? cell : "", widths[k], table->right[k]);
        }
        end_line(&line);
    }
    free(widths);
}

/* ---- CSV (RFC 4180, lines ended by \n) ---- */

static void print_csv_cell(FILE *file, const char *text, int is_last) {
    if (text && strpbrk(text, ",\"\r\n")) {
        putc('"', file);
        for (; *text; text++) {
            if (*text == '"')
                putc('"', file);
            putc(*text, file);
        }
        putc('"', file);
    } else if (text) {
        fputs(text, file);
    }
    putc(is_last ? '\n' : ',', file);
}

static void print_csv(const struct table *table, FILE *file) {
    size_t n = table->n_columns;
    for (size_t k = 0; k < n; k++)
        print_csv_cell(file, table->headers[k], k + 1 == n);
    for (size_t r = 0; r < table->n_rows; r++)
        for (size_t k = 0; k < n; k++)
            print_csv_cell(file, table->cells[r * n + k], k + 1 == n);
}

/* ---- JSON (RFC 8259) ---- */

static const char *skip_digits(const char *s) {
    while (isdigit((unsigned char)*s))
        s++;
    return s;
}

static int is_json_number(const char *s) {
    if (*s == '-')
        s++;
    const char *digits = s;
    s = skip_digits(s);
    if (s == digits || (digits[0] == '0' && s - digits > 1))
        return 0;
    if (*s == '.') {
        const char *fraction = ++s;
        s = skip_digits(s);
        if (s == fraction)
            return 0;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        if (*s == '+' || *s == '-')
            s++;
        const char *exponent = s;
        s = skip_digits(s);
        if (s == exponent)
            return 0;
    }
    return *s == '\0';
}

/* Length of the well-formed UTF-8 sequence at s, 0 if there is none (Unicode 15, table 3-7). */
static size_t utf8_sequence(const unsigned char *s) {
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    unsigned char lo = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char hi = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t k = 2; k < n; k++)
        if ((s[k] & 0xC0) != 0x80)
            return 0;
    return n;
}

static void print_json_string(FILE *file, const char *text) {
    putc('"', file);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t n = utf8_sequence(s);
        if (n == 0) {
            fputs("\\ufffd", file);
            s++;
        } else if (n == 1 && (*s == '"' || *s == '\\')) {
            fprintf(file, "\\%c", *s++);
        } else if (n == 1 && (*s < 0x20 || *s == 0x7F)) {
            fprintf(file, "\\u%04x", *s++);
        } else {
            fwrite(s, 1, n, file);
            s += n;
        }
    }
    putc('"', file);
}

static void print_json(const struct table *table, FILE *file) {
    size_t n = table->n_columns;
    fputs("[", file);
    for (size_t r = 0; r < table->n_rows; r++) {
        fputs(r ? ",\n  {" : "\n  {", file);
        for (size_t k = 0; k < n; k++) {
            const char *cell = table->cells[r * n + k];
            fputs(k ? ", " : "", file);
            print_json_string(file, table->headers[k]);
            fputs(": ", file);
            if (!cell)
                fputs("null", file);
            else if (is_json_number(cell))
                fputs(cell, file);
            else
                print_json_string(file, cell);
        }
        fputs("}", file);
    }
    fputs(table->n_rows ? "\n]\n" : "]\n", file);
}

void table_print(const struct table *table, FILE *file, enum table_format format, int width) {
    switch (format) {
    case TABLE_TEXT:
        print_text(table, file, width);
        return;
    case TABLE_CSV:
        print_csv(table, file);
        return;
    case TABLE_JSON:
        print_json(table, file);
        return;
    }
}

pare_status table_parse_format(const char *name, struct error *err, enum table_format *format) {
    static const char *const names[] = {"table", "csv", "json"};
    static const enum table_format values[] = {TABLE_TEXT, TABLE_CSV, TABLE_JSON};
    for (size_t k = 0; k < 3; k++)
        if (strcmp(name, names[k]) == 0) {
            *format = values[k];
            return PARE_OK;
        }
    return error_set(err, PARE_E_ARG, "format is '%s', wanted table, csv or json", name);
}
