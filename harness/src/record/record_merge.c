/* SPDX-License-Identifier: MIT */
#include "core/alloc.h"
#include "core/file.h"
#include "core/rng.h"
#include "record/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const char *path;
    char has[N_COLUMNS]; /* columns in its header */
};

struct merged_row {
    char *cells[N_COLUMNS]; /* NULL: empty */
    char **extra;           /* (n_extra) cells of columns that the schema lacks */
    size_t n_extra;
    const struct source *source;
    size_t line;
};

struct merge {
    struct reader reader; /* of the file being read */
    struct source *source;
    char **extra_names; /* (n_extra) in order of first appearance */
    size_t n_extra;
    size_t *extra_of; /* (reader.n_columns) place among extra_names */
    struct merged_row *rows;
    size_t n_rows, capacity;
    size_t *slots; /* (n_slots) hash table of row number + 1, 0: free; n_slots is a power of two */
    size_t n_slots;
};

static const char *cell_of(const struct merged_row *row, enum column col) {
    return row->cells[col] ? row->cells[col] : "";
}

static int is_ok(const struct merged_row *row) {
    return strcmp(cell_of(row, COL_status), "ok") == 0;
}

static void clear_row(struct merged_row *row) {
    for (int k = 0; k < N_COLUMNS; k++)
        free(row->cells[k]);
    for (size_t k = 0; k < row->n_extra; k++)
        free(row->extra[k]);
    free(row->extra);
    *row = (struct merged_row){0};
}

static void clear_merge(struct merge *merge) {
    for (size_t k = 0; k < merge->n_rows; k++)
        clear_row(&merge->rows[k]);
    for (size_t k = 0; k < merge->n_extra; k++)
        free(merge->extra_names[k]);
    free(merge->rows);
    free(merge->extra_names);
    free(merge->slots);
}

/* ---- columns that the schema lacks ---- */

static int place_extra(struct merge *merge, const char *name, size_t *place) {
    for (size_t k = 0; k < merge->n_extra; k++)
        if (strcmp(merge->extra_names[k], name) == 0) {
            *place = k;
            return 1;
        }
    char **grown = alloc_resize(merge->extra_names, merge->n_extra + 1, sizeof *grown);
    if (!grown)
        return 0;
    merge->extra_names = grown;
    grown[merge->n_extra] = strdup(name);
    if (!grown[merge->n_extra])
        return 0;
    *place = merge->n_extra++;
    return 1;
}

/* Once per file, at its first row: where its columns go. */
static int place_columns(struct merge *merge) {
    const struct reader *reader = &merge->reader;
    merge->extra_of = alloc_array(reader->n_columns, sizeof *merge->extra_of);
    if (!merge->extra_of)
        return 0;
    for (size_t k = 0; k < reader->n_columns; k++) {
        if (reader->columns[k] >= 0)
            merge->source->has[reader->columns[k]] = 1;
        else if (!place_extra(merge, reader->names[k], &merge->extra_of[k]))
            return 0;
    }
    return 1;
}

/* ---- which rows are one measurement ---- */

static uint64_t row_hash(const struct merged_row *row) {
    const char *arm = cell_of(row, COL_arm_id), *host = cell_of(row, COL_host);
    return hash_bytes(host, strlen(host), hash_bytes(arm, strlen(arm), 0));
}

static int is_same_arm(const struct merged_row *a, const struct merged_row *b) {
    return strcmp(cell_of(a, COL_arm_id), cell_of(b, COL_arm_id)) == 0 &&
           strcmp(cell_of(a, COL_host), cell_of(b, COL_host)) == 0;
}

/* The slot that holds the row's arm, or the free one where it belongs. */
static size_t find_slot(const struct merge *merge, const struct merged_row *row) {
    size_t at = (size_t)row_hash(row) & (merge->n_slots - 1);
    while (merge->slots[at] && !is_same_arm(&merge->rows[merge->slots[at] - 1], row))
        at = (at + 1) & (merge->n_slots - 1);
    return at;
}

static int grow_rows(struct merge *merge) {
    if (merge->n_rows < merge->capacity)
        return 1;
    size_t capacity = merge->capacity ? 2 * merge->capacity : 64;
    struct merged_row *rows = alloc_resize(merge->rows, capacity, sizeof *rows);
    if (!rows)
        return 0;
    merge->rows = rows;
    merge->capacity = capacity;
    size_t *slots = alloc_array(2 * capacity, sizeof *slots);
    if (!slots)
        return 0;
    free(merge->slots);
    merge->slots = slots;
    merge->n_slots = 2 * capacity;
    for (size_t k = 0; k < merge->n_rows; k++)
        if (cell_of(&rows[k], COL_arm_id)[0])
            slots[find_slot(merge, &rows[k])] = k + 1;
    return 1;
}

static pare_status check_conflict(const struct merged_row *a, const struct merged_row *b,
                                  struct error *err) {
    const struct column_info *infos = column_infos();
    for (int k = 0; k < N_COLUMNS; k++) {
        if (!infos[k].repeatable || !a->source->has[k] || !b->source->has[k])
            continue;
        const char *x = cell_of(a, (enum column)k), *y = cell_of(b, (enum column)k);
        if (strcmp(x, y) != 0)
            return error_set(err, PARE_E_FORMAT,
                             "arm %s: %s is '%.64s' at %s line %zu and '%.64s' at %s line %zu; one "
                             "arm gives one value on one machine: remove the wrong row",
                             cell_of(a, COL_arm_id), infos[k].name, x, a->source->path, a->line, y,
                             b->source->path, b->line);
    }
    return PARE_OK;
}

/* Takes the row: into the list, in place of an earlier one, or away. */
static pare_status take_row(struct merge *merge, struct merged_row *row, struct error *err) {
    if (!grow_rows(merge)) {
        clear_row(row);
        return error_set(err, PARE_E_NOMEM, "out of memory at %zu rows", merge->n_rows);
    }
    if (!cell_of(row, COL_arm_id)[0]) {
        merge->rows[merge->n_rows++] = *row;
        return PARE_OK;
    }
    size_t slot = find_slot(merge, row);
    if (!merge->slots[slot]) {
        merge->rows[merge->n_rows++] = *row;
        merge->slots[slot] = merge->n_rows;
        return PARE_OK;
    }
    struct merged_row *known = &merge->rows[merge->slots[slot] - 1];
    pare_status status = PARE_OK;
    if (is_ok(known) && is_ok(row))
        status = check_conflict(known, row, err);
    if (!is_ok(known)) { /* a later attempt tells more than an earlier failure */
        struct merged_row old = *known;
        *known = *row;
        *row = old;
    }
    clear_row(row);
    return status;
}

static pare_status add_row(void *arg, char *const *cells, size_t n_cells, size_t line,
                           struct error *err) {
    struct merge *merge = arg;
    struct merged_row row = {.source = merge->source, .line = line};
    int ok = merge->extra_of || place_columns(merge);
    if (ok && merge->n_extra > 0)
        ok = (row.extra = alloc_array(merge->n_extra, sizeof *row.extra)) != NULL;
    if (ok)
        row.n_extra = merge->n_extra;
    for (size_t k = 0; ok && k < n_cells; k++) {
        int col = merge->reader.columns[k];
        char **cell = col >= 0 ? &row.cells[col] : &row.extra[merge->extra_of[k]];
        if (cells[k][0])
            ok = (*cell = strdup(cells[k])) != NULL;
    }
    if (!ok) {
        clear_row(&row);
        return error_set(err, PARE_E_NOMEM, "%s: line %zu: out of memory", merge->reader.path,
                         line);
    }
    return take_row(merge, &row, err);
}

/* ---- the result ---- */

static pare_status write_result(const struct merge *merge, const char *path, struct error *err) {
    struct csv_text text = {0};
    for (int k = 0; k < N_COLUMNS; k++)
        csv_text_cell(&text, column_infos()[k].name, k == 0);
    for (size_t k = 0; k < merge->n_extra; k++)
        csv_text_cell(&text, merge->extra_names[k], 0);
    csv_text_end_row(&text);
    for (size_t r = 0; r < merge->n_rows; r++) {
        const struct merged_row *row = &merge->rows[r];
        for (int k = 0; k < N_COLUMNS; k++)
            csv_text_cell(&text, cell_of(row, (enum column)k), k == 0);
        for (size_t k = 0; k < merge->n_extra; k++)
            csv_text_cell(&text, k < row->n_extra && row->extra[k] ? row->extra[k] : "", 0);
        csv_text_end_row(&text);
    }
    pare_status status = text.exhausted ? error_set(err, PARE_E_NOMEM, "%s: out of memory", path)
                                        : file_write(path, text.data, text.n, err);
    free(text.data);
    return status;
}

pare_status record_merge(const char *const *paths, size_t n_paths, const char *out_path,
                         struct error *err) {
    if (n_paths == 0)
        return error_set(err, PARE_E_ARG, "no files to merge");
    struct source *sources = alloc_array(n_paths, sizeof *sources);
    if (!sources)
        return error_set(err, PARE_E_NOMEM, "out of memory for %zu files", n_paths);
    struct merge merge = {0};
    pare_status status = PARE_OK;
    for (size_t k = 0; k < n_paths && status == PARE_OK; k++) {
        size_t n_whole;
        sources[k].path = paths[k];
        merge.source = &sources[k];
        merge.reader = (struct reader){.row = add_row, .arg = &merge};
        status = reader_read(&merge.reader, paths[k], err, &n_whole);
        reader_clear(&merge.reader);
        free(merge.extra_of);
        merge.extra_of = NULL;
    }
    if (status == PARE_OK)
        status = reader_make_folder(out_path, err);
    if (status == PARE_OK)
        status = write_result(&merge, out_path, err);
    clear_merge(&merge);
    free(sources);
    return status;
}
