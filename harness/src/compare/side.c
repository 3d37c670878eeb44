/* SPDX-License-Identifier: MIT */
#include "compare/side.h"

#include "core/alloc.h"
#include "record/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const text_names[] = {
#define SIDE_TEXT(name) #name,
#define SIDE_NUMBER(name, min, max)
#include "compare/side_columns.inc"
#undef SIDE_TEXT
#undef SIDE_NUMBER
};
static const struct {
    const char *name;
    double min, max;
} numbers[] = {
#define SIDE_TEXT(name)
#define SIDE_NUMBER(name, min, max) {#name, min, max},
#include "compare/side_columns.inc"
#undef SIDE_TEXT
#undef SIDE_NUMBER
};

const char *side_text_name(enum side_text text) {
    return text_names[text];
}
const char *side_number_name(enum side_number number) {
    return numbers[number].name;
}

/* ---- rows ---- */

struct loading {
    struct side *side;
    struct reader reader;
    int *text_of, *number_of; /* (n_columns) what a column of the file is, or -1 */
};

static int find_columns(struct loading *loading) {
    size_t n = loading->reader.n_columns;
    loading->text_of = alloc_array(n, sizeof *loading->text_of);
    loading->number_of = alloc_array(n, sizeof *loading->number_of);
    if (!loading->text_of || !loading->number_of)
        return 0;
    for (size_t c = 0; c < n; c++) {
        loading->text_of[c] = loading->number_of[c] = -1;
        for (int k = 0; k < N_TEXTS; k++)
            if (strcmp(loading->reader.names[c], text_names[k]) == 0)
                loading->text_of[c] = k;
        for (int k = 0; k < N_NUMBERS; k++)
            if (strcmp(loading->reader.names[c], numbers[k].name) == 0)
                loading->number_of[c] = k;
    }
    return 1;
}

/* Empty, and what other programs write for "no number", is not measured. Infinity is no figure. */
static int parse_number(const char *cell, double *out) {
    char *end;
    *out = NAN;
    if (!cell[0])
        return 1;
    double value = strtod(cell, &end);
    if (*end != '\0' || strpbrk(cell, "xX \t\n\r") || isinf(value))
        return 0;
    *out = value;
    return 1;
}

static pare_status take_numbers(const struct loading *loading, char *const *cells, size_t n_cells,
                                struct side_row *row, struct error *err) {
    for (int k = 0; k < N_NUMBERS; k++)
        row->numbers[k] = NAN;
    for (size_t c = 0; c < n_cells; c++) {
        int k = loading->number_of[c];
        if (k < 0)
            continue;
        double value;
        int is_number = parse_number(cells[c], &value);
        int is_time = k >= NUMBER_min_ns; /* from there on 0 makes no sense */
        if (!is_number || value < numbers[k].min || value > numbers[k].max ||
            (is_time && value <= 0))
            return error_set(err, PARE_E_FORMAT,
                             "%s: line %zu: %s is '%.32s', wanted a number %s %g..%g; repair or "
                             "remove that line",
                             loading->side->path, row->line, numbers[k].name, cells[c],
                             is_time ? "above" : "in", numbers[k].min, numbers[k].max);
        row->numbers[k] = value;
    }
    return PARE_OK;
}

/* An interval holds its figure, or something wrote the wrong cell. */
static pare_status check_intervals(const struct side *side, const struct side_row *row,
                                   struct error *err) {
    static const enum side_number triples[][3] = {
        {NUMBER_median_ci_lo_ns, NUMBER_median_ns, NUMBER_median_ci_hi_ns},
        {NUMBER_ratio_ci_lo, NUMBER_ratio, NUMBER_ratio_ci_hi},
        {NUMBER_aa_ratio_ci_lo, NUMBER_aa_ratio, NUMBER_aa_ratio_ci_hi}};
    for (size_t k = 0; k < sizeof triples / sizeof *triples; k++) {
        double lo = row->numbers[triples[k][0]], value = row->numbers[triples[k][1]];
        double hi = row->numbers[triples[k][2]];
        if (lo > value || value > hi) /* never so with NaN */
            return error_set(err, PARE_E_FORMAT,
                             "%s: line %zu: %s is %g outside its interval %g..%g; repair or remove "
                             "that line",
                             side->path, row->line, numbers[triples[k][1]].name, value, lo, hi);
    }
    return PARE_OK;
}

static pare_status take_texts(const struct loading *loading, char *const *cells, size_t n_cells,
                              struct side_row *row, struct error *err) {
    size_t n_bytes = 1, at = 0;
    for (size_t c = 0; c < n_cells; c++)
        if (loading->text_of[c] >= 0)
            n_bytes += strlen(cells[c]) + 1;
    row->block = malloc(n_bytes);
    if (!row->block)
        return error_set(err, PARE_E_NOMEM, "%s: line %zu: out of memory", loading->side->path,
                         row->line);
    for (int k = 0; k < N_TEXTS; k++)
        row->texts[k] = "";
    for (size_t c = 0; c < n_cells; c++) {
        if (loading->text_of[c] < 0)
            continue;
        row->texts[loading->text_of[c]] = row->block + at;
        size_t n = strlen(cells[c]) + 1;
        memcpy(row->block + at, cells[c], n);
        at += n;
    }
    return PARE_OK;
}

static pare_status add_row(void *arg, char *const *cells, size_t n_cells, size_t line,
                           struct error *err) {
    struct loading *loading = arg;
    struct side *side = loading->side;
    if (!loading->text_of && !find_columns(loading))
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", side->path);
    if (side->n_rows == side->capacity) {
        size_t capacity = side->capacity ? 2 * side->capacity : 64;
        struct side_row *grown = alloc_resize(side->rows, capacity, sizeof *grown);
        if (!grown)
            return error_set(err, PARE_E_NOMEM, "%s: line %zu: out of memory", side->path, line);
        side->rows = grown;
        side->capacity = capacity;
    }
    struct side_row row = {.line = line};
    pare_status status = take_numbers(loading, cells, n_cells, &row, err);
    if (status == PARE_OK)
        status = check_intervals(side, &row, err);
    if (status == PARE_OK)
        status = take_texts(loading, cells, n_cells, &row, err);
    if (status != PARE_OK)
        return status;
    if (row.texts[TEXT_arm_id][0]) {
        side->rows[side->n_rows++] = row;
    } else {
        side->n_without_id++;
        free(row.block);
    }
    return PARE_OK;
}

/* ---- arms ---- */

static int order_keys(const struct side_row *a, const struct side_row *b) {
    static const enum side_text keys[] = {TEXT_arm_id, TEXT_trial_id, TEXT_host};
    int order = 0;
    for (size_t k = 0; k < 3 && order == 0; k++)
        order = strcmp(a->texts[keys[k]], b->texts[keys[k]]);
    return order;
}

static int order_rows(const void *x, const void *y) {
    const struct side_row *a = *(struct side_row *const *)x, *b = *(struct side_row *const *)y;
    int order = order_keys(a, b);
    return order ? order : (a->line > b->line) - (a->line < b->line);
}

static int is_ok(const struct side_row *row) {
    return strcmp(row->texts[TEXT_status], "ok") == 0;
}

/* Keeps, of the rows of one arm, the last good one and its repeats, in their order. */
static void select_rows(struct side_arm *arm) {
    size_t last = arm->n;
    while (last > 0 && !is_ok(arm->rows[last - 1]))
        last--;
    arm->is_ok = last > 0;
    if (!arm->is_ok) {
        arm->rows += arm->n - 1;
        arm->n = 1;
        return;
    }
    const char *commit = arm->rows[last - 1]->texts[TEXT_git_commit];
    size_t n = 0;
    for (size_t k = 0; k < last; k++)
        if (is_ok(arm->rows[k]) && strcmp(arm->rows[k]->texts[TEXT_git_commit], commit) == 0)
            arm->rows[n++] = arm->rows[k];
    arm->n = n;
}

static pare_status group(struct side *side, struct error *err) {
    side->order = alloc_array(side->n_rows, sizeof *side->order);
    side->arms = alloc_array(side->n_rows, sizeof *side->arms);
    if (!side->order || !side->arms)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory at %zu rows", side->path,
                         side->n_rows);
    for (size_t r = 0; r < side->n_rows; r++)
        side->order[r] = &side->rows[r];
    qsort(side->order, side->n_rows, sizeof *side->order, order_rows);
    for (size_t r = 0; r < side->n_rows; r++) {
        if (r == 0 || order_keys(side->order[r - 1], side->order[r]) != 0)
            side->arms[side->n_arms++] = (struct side_arm){.rows = &side->order[r]};
        side->arms[side->n_arms - 1].n++;
    }
    for (size_t k = 0; k < side->n_arms; k++)
        select_rows(&side->arms[k]);
    return PARE_OK;
}

pare_status side_read(struct side *side, const char *path, struct error *err) {
    struct loading loading = {.side = side};
    size_t n_whole;
    side->path = path;
    loading.reader = (struct reader){.row = add_row, .arg = &loading};
    pare_status status = reader_read(&loading.reader, path, err, &n_whole);
    reader_clear(&loading.reader);
    free(loading.text_of);
    free(loading.number_of);
    struct stat st;
    if (status == PARE_OK && stat(path, &st) == 0)
        side->is_cut = (size_t)st.st_size > n_whole;
    if (status == PARE_OK && side->n_rows == 0)
        status = error_set(err, PARE_E_FORMAT,
                           "%s: nothing to compare: %zu rows, none with an arm_id; wanted a file "
                           "that `pare run` or `pare merge` wrote",
                           path, side->n_without_id);
    return status == PARE_OK ? group(side, err) : status;
}

void side_clear(struct side *side) {
    for (size_t r = 0; r < side->n_rows; r++)
        free(side->rows[r].block);
    free(side->rows);
    free(side->order);
    free(side->arms);
    *side = (struct side){0};
}

struct side_arm *side_find(const struct side *side, const char *arm_id, size_t *n) {
    size_t lo = 0, hi = side->n_arms;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (strcmp(side_id(&side->arms[middle]), arm_id) < 0)
            lo = middle + 1;
        else
            hi = middle;
    }
    size_t end = lo;
    while (end < side->n_arms && strcmp(side_id(&side->arms[end]), arm_id) == 0)
        end++;
    *n = end - lo;
    return *n ? &side->arms[lo] : NULL;
}
