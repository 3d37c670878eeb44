/* SPDX-License-Identifier: MIT */
#include "core/table.h"

#include "core/alloc.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_GAP 2
/* Text in columns narrower than this is a pain to read: then the table is folded instead. */
#define MIN_NARROWED 16

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

/* The character with index `at`; its first byte, for what is not ASCII. */
static char character(const char *text, size_t at) {
    for (size_t n = 0; *text; text++)
        if (!is_continuation(*text) && n++ == at)
            return *text;
    return '\0';
}

/* Where the line of at most `width` characters that begins at character `first` ends: at the last
 * space that fits, or in a word that is longer. *next is where the following line begins. */
static size_t line_end(const char *text, size_t first, size_t width, size_t *next) {
    size_t length = utf8_length(text);
    *next = length;
    if (length - first <= width)
        return length;
    for (size_t end = first + width; end > first; end--)
        if (character(text, end) == ' ') {
            *next = end + 1;
            return end;
        }
    *next = first + width;
    return *next;
}

/* Prints the next line of a cell in exactly `width` characters, and the gap after it. Moves *at
 * behind it; 1 if more is to come. */
static int print_cell(struct line *line, const char *text, size_t *at, size_t width, int right) {
    size_t next;
    size_t end = line_end(text, *at, width, &next);
    size_t padding = width - (end - *at);
    line->n_spaces += right ? padding : 0;
    print_part(line, text, *at, end);
    line->n_spaces += COLUMN_GAP + (right ? 0 : padding);
    *at = next;
    return next < utf8_length(text);
}

/* The width of each column that its cells ask for; returns the table's. */
static size_t natural_widths(const struct table *table, size_t *widths) {
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
    return total;
}

/* Takes the widest left-aligned columns down to what fits; 0 where that cannot be. */
static int narrow(const struct table *table, size_t limit, size_t total, size_t *widths) {
    while (total > limit) {
        size_t widest = table->n_columns;
        size_t second = MIN_NARROWED; /* how far down the widest may go in one step */
        for (size_t k = 0; k < table->n_columns; k++) {
            if (table->right[k] || widths[k] <= MIN_NARROWED)
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
            return 0;
        size_t excess = total - limit;
        size_t step = widths[widest] > second ? widths[widest] - second : 1;
        if (step > excess)
            step = excess;
        widths[widest] -= step;
        total -= step;
    }
    return 1;
}

/* Columns that stand beside each other: the first of the table, then first..last-1. */
struct block {
    const size_t *widths;
    size_t first, last;
    size_t *at; /* (n_columns) how much of each cell of a row is printed */
};

static void print_row(const struct table *table, const struct block *block, char *const *cells,
                      struct line *line) {
    int more = 1;
    memset(block->at, 0, table->n_columns * sizeof *block->at);
    while (more) {
        more = 0;
        for (size_t k = 0; k < block->last; k++)
            if (k == 0 || k >= block->first)
                more |= print_cell(line, cells[k] ? cells[k] : "", &block->at[k], block->widths[k],
                                   table->right[k]);
        end_line(line);
    }
}

static void print_block(const struct table *table, const struct block *block, FILE *file) {
    struct line line = {file, 0};
    print_row(table, block, table->headers, &line);
    for (size_t k = 0; k < block->last; k++) {
        if (k > 0 && k < block->first)
            continue;
        for (size_t i = 0; i < block->widths[k]; i++)
            print_char(&line, '-');
        line.n_spaces += COLUMN_GAP;
    }
    end_line(&line);
    for (size_t r = 0; r < table->n_rows; r++)
        print_row(table, block, table->cells + r * table->n_columns, &line);
}

/* Too many columns for one line: blocks of as many as fit, each begun by the first column. */
static void print_folded(const struct table *table, FILE *file, size_t limit, size_t *widths,
                         size_t *at) {
    size_t n = table->n_columns;
    if (widths[0] > limit / 3 && !table->right[0])
        widths[0] = limit / 3 > MIN_NARROWED ? limit / 3 : MIN_NARROWED;
    size_t used = widths[0] + COLUMN_GAP;
    size_t room = limit > used + MIN_NARROWED ? limit - used : MIN_NARROWED;
    for (size_t first = 1, last; first < n; first = last) {
        size_t taken = 0;
        for (last = first; last < n; last++) {
            size_t left = taken < room ? room - taken : 0;
            if (widths[last] > left) {
                if (last > first && (table->right[last] || left < room / 2))
                    break;
                if (!table->right[last])
                    widths[last] = left;
            }
            taken += widths[last] + COLUMN_GAP;
        }
        struct block block = {widths, first, last, at};
        if (first > 1)
            putc('\n', file);
        print_block(table, &block, file);
    }
}

static void print_text(const struct table *table, FILE *file, int limit) {
    size_t n = table->n_columns;
    if (n == 0)
        return;
    size_t *widths = alloc_array(n, sizeof *widths), *at = alloc_array(n, sizeof *at);
    if (!widths || !at) {
        fputs("(out of memory)\n", file);
    } else {
        struct block all = {widths, 1, n, at};
        size_t total = natural_widths(table, widths);
        if (limit > 0 && !narrow(table, (size_t)limit, total, widths) && n > 1) {
            natural_widths(table, widths);
            print_folded(table, file, (size_t)limit, widths, at);
        } else {
            print_block(table, &all, file);
        }
    }
    free(widths);
    free(at);
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

void table_print_json_string(FILE *file, const char *text) {
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
            table_print_json_string(file, table->headers[k]);
            fputs(": ", file);
            if (!cell)
                fputs("null", file);
            else if (is_json_number(cell))
                fputs(cell, file);
            else
                table_print_json_string(file, cell);
        }
        fputs("}", file);
    }
    fputs(table->n_rows ? "\n]\n" : "]\n", file);
}

/* A cell of a Markdown table: nothing in it ends the cell or the row, or is markup. */
static void print_markdown_cell(FILE *file, const char *text) {
    putc(' ', file);
    for (; *text; text++) {
        if (strchr("\\|<>`*_[]", *text))
            putc('\\', file);
        putc((unsigned char)*text < 0x20 || *text == 0x7F ? ' ' : *text, file);
    }
    fputs(" |", file);
}

static void print_markdown(const struct table *table, FILE *file) {
    size_t n = table->n_columns;
    putc('|', file);
    for (size_t k = 0; k < n; k++)
        print_markdown_cell(file, table->headers[k]);
    fputs("\n|", file);
    for (size_t k = 0; k < n; k++)
        fputs(table->right[k] ? "---:|" : "---|", file);
    for (size_t r = 0; r < table->n_rows; r++) {
        fputs("\n|", file);
        for (size_t k = 0; k < n; k++)
            print_markdown_cell(file, table->cells[r * n + k] ? table->cells[r * n + k] : "");
    }
    putc('\n', file);
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
    case TABLE_MARKDOWN:
        print_markdown(table, file);
        return;
    }
}

pare_status table_parse_format(const char *name, struct error *err, enum table_format *format) {
    static const char *const names[] = {"table", "csv", "json", "md"};
    static const enum table_format values[] = {TABLE_TEXT, TABLE_CSV, TABLE_JSON, TABLE_MARKDOWN};
    for (size_t k = 0; k < 4; k++)
        if (strcmp(name, names[k]) == 0) {
            *format = values[k];
            return PARE_OK;
        }
    return error_set(err, PARE_E_ARG, "format is '%s', wanted table, csv, json or md", name);
}
