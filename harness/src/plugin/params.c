/* SPDX-License-Identifier: MIT */
#include "plugin/params.h"
#include "core/alloc.h"
#include "core/file.h"
#include "plugin/names.h"
#include "plugin/param_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROWS 256u
#define MAX_TABLES 16u

struct resolved_table {
    pare_params view;
    pare_param_value *values;          /* (view.n) */
    const pare_param_value **pointers; /* (view.n) */
};

struct params {
    size_t n_tables;
    struct resolved_table *tables;
};

static const pare_param_desc *row_of(const struct param_table *table, uint32_t k) {
    const char *base = (const char *)table->rows;
    return (const pare_param_desc *)(const void *)(base + (size_t)k * table->row_size);
}

/* ---- inputs ---- */

void param_input_clear(struct param_input *input) {
    if (!input) {
        return;
    }
    for (int32_t k = 0; input->strings && k < input->n; k++) {
        free(input->strings[k]);
    }
    free(input->name);
    free(input->string);
    free(input->strings);
    free(input->numbers);
    memset(input, 0, sizeof *input);
}

static char *copy_string(const char *text) {
    return text ? alloc_printf("%s", text) : NULL;
}

static pare_status no_memory(struct error *err) {
    return error_set(err, PARE_E_NOMEM, "parameters: out of memory");
}

pare_status param_input_copy(const struct param_input *from, struct error *err,
                             struct param_input *to) {
    struct param_input copy = *from;
    copy.name = copy_string(from->name);
    copy.string = copy_string(from->string);
    copy.strings = NULL;
    copy.numbers = NULL;
    int ok = (copy.name || !from->name) && (copy.string || !from->string);
    if (ok && from->strings) {
        copy.strings = alloc_array((size_t)from->n, sizeof *copy.strings);
        ok = copy.strings != NULL;
        for (int32_t k = 0; ok && k < from->n; k++) {
            copy.strings[k] = copy_string(from->strings[k]);
            ok = copy.strings[k] != NULL;
        }
    }
    if (ok && from->numbers) {
        copy.numbers = alloc_array((size_t)from->n, sizeof *copy.numbers);
        ok = copy.numbers != NULL;
        if (ok && from->n > 0) {
            memcpy(copy.numbers, from->numbers, (size_t)from->n * sizeof *copy.numbers);
        }
    }
    if (!ok) {
        param_input_clear(&copy);
        return no_memory(err);
    }
    *to = copy;
    return PARE_OK;
}

/* ---- tables ---- */

static pare_status check_choices(const struct param_place *at, struct error *err) {
    const char *choices = at->row->choices;
    if (!choices) {
        return PARE_OK;
    }
    if (at->row->type != PARE_PARAM_STRING) {
        return error_set(err, PARE_E_ABI, "%s: has choices, which only a STRING may have (%s)",
                         at->row->name, at->table->owner);
    }
    size_t n = strlen(choices);
    if (n == 0 || choices[0] == '|' || choices[n - 1] == '|' || strstr(choices, "||")) {
        return error_set(err, PARE_E_ABI, "%s: choices \"%s\" hold an empty one (%s)",
                         at->row->name, choices, at->table->owner);
    }
    return PARE_OK;
}

static pare_status check_row(const struct param_place *at, uint32_t k, struct error *err) {
    const pare_param_desc *row = at->row;
    const char *owner = at->table->owner;
    if (!name_is_snake_case(row->name)) {
        return error_set(err, PARE_E_ABI, "parameter %u of %s: name \"%s\" is not lower_snake_case",
                         k, owner, row->name ? row->name : "(null)");
    }
    if ((int)row->type < PARE_PARAM_BOOL || (int)row->type > PARE_PARAM_NUMBERS) {
        return error_set(err, PARE_E_ABI, "%s: type %d is unknown, wanted 1..%d (%s)", row->name,
                         (int)row->type, PARE_PARAM_NUMBERS, owner);
    }
    if (!row->unit || !row->doc || !row->doc[0]) {
        return error_set(err, PARE_E_ABI, "%s: %s (%s)", row->name,
                         row->unit ? "has no doc" : "unit is NULL, wanted \"\"", owner);
    }
    if (!(row->min <= row->max)) {
        return error_set(err, PARE_E_ABI, "%s: bounds %g..%g are empty (%s)", row->name, row->min,
                         row->max, owner);
    }
    if (row->type == PARE_PARAM_INT && (floor(row->min) < row->min || floor(row->max) < row->max)) {
        return error_set(err, PARE_E_ABI, "%s: bounds %g..%g of an INT are not whole numbers (%s)",
                         row->name, row->min, row->max, owner);
    }
    pare_status status = check_choices(at, err);
    if (status < 0) {
        return status;
    }
    int is_list = row->type == PARE_PARAM_STRINGS || row->type == PARE_PARAM_NUMBERS;
    if (is_list && row->default_value) {
        return error_set(err, PARE_E_ABI,
                         "%s: a list's default is the empty list, wanted NULL (%s)", row->name,
                         owner);
    }
    if (!row->default_value) {
        return PARE_OK;
    }
    pare_param_value value = {0};
    status = param_value_set_default(at, err, &value);
    param_value_clear(&value);
    if (status < 0) {
        error_prefix(err, "default value");
        err->status = PARE_E_ABI;
        return PARE_E_ABI;
    }
    return PARE_OK;
}

pare_status param_table_check(const struct param_table *table, struct error *err) {
    if (table->n > MAX_ROWS || (table->n > 0 && !table->rows)) {
        return error_set(err, PARE_E_ABI, "parameter table of %s: %u rows at %s, wanted 0..%u",
                         table->owner, table->n, table->rows ? "an address" : "NULL", MAX_ROWS);
    }
    for (uint32_t k = 0; k < table->n; k++) {
        struct param_place at = {table, row_of(table, k)};
        pare_status status = check_row(&at, k, err);
        if (status < 0) {
            return status;
        }
        for (uint32_t j = 0; j < k; j++) {
            if (strcmp(row_of(table, j)->name, at.row->name) == 0) {
                return error_set(err, PARE_E_ABI, "%s: declared twice (%s)", at.row->name,
                                 table->owner);
            }
        }
    }
    return PARE_OK;
}

/* ---- resolving ---- */

/* Says what there is instead: the nearest name, and all of them as far as they fit. */
static pare_status unknown_name(const struct param_table *tables, size_t n_tables, const char *name,
                                struct error *err) {
    const char *names[MAX_ROWS * 4] = {NULL};
    size_t n = 0;
    for (size_t t = 0; t < n_tables; t++) {
        for (uint32_t k = 0; k < tables[t].n && n < MAX_ROWS * 4; k++) {
            names[n++] = row_of(&tables[t], k)->name;
        }
    }
    const char *near = nearest_name(name, names, n);
    char all[256] = "none";
    for (size_t k = 0, used = 0; k < n && used < sizeof all; k++) {
        int wrote = snprintf(all + used, sizeof all - used, "%s%s", k ? ", " : "", names[k]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return error_set(err, PARE_E_NOT_FOUND, "%s: unknown parameter of %s%s%s%s (known: %s)", name,
                     n_tables ? tables[0].owner : "nothing", near ? "; did you mean \"" : "",
                     near ? near : "", near ? "\"?" : "", all);
}

static pare_status find_row(const struct param_table *tables, size_t n_tables, const char *name,
                            struct error *err, size_t *table) {
    size_t found = 0;
    for (size_t t = 0; t < n_tables; t++) {
        for (uint32_t k = 0; k < tables[t].n; k++) {
            if (strcmp(row_of(&tables[t], k)->name, name) == 0) {
                if (found++ > 0) {
                    return error_set(err, PARE_E_ABI, "%s: declared by %s and by %s", name,
                                     tables[*table].owner, tables[t].owner);
                }
                *table = t;
            }
        }
    }
    return found > 0 ? PARE_OK : unknown_name(tables, n_tables, name, err);
}

static pare_status check_inputs(const struct param_table *tables, size_t n_tables,
                                const struct param_input *inputs, size_t n_inputs,
                                struct error *err) {
    for (size_t k = 0; k < n_inputs; k++) {
        size_t table = 0;
        pare_status status = find_row(tables, n_tables, inputs[k].name, err, &table);
        if (status < 0) {
            return status;
        }
        for (size_t j = 0; j < k; j++) {
            if (strcmp(inputs[j].name, inputs[k].name) == 0) {
                return error_set(err, PARE_E_ARG, "%s: given twice (%s)", inputs[k].name,
                                 tables[table].owner);
            }
        }
    }
    return PARE_OK;
}

static pare_status resolve_table(const struct param_table *table, const struct param_input *inputs,
                                 size_t n_inputs, struct error *err, struct resolved_table *out) {
    out->values = alloc_array(table->n, sizeof *out->values);
    out->pointers = alloc_array(table->n, sizeof *out->pointers);
    if (!out->values || !out->pointers) {
        return no_memory(err);
    }
    out->view.struct_size = sizeof out->view;
    out->view.n = table->n;
    out->view.values = out->pointers;
    for (uint32_t k = 0; k < table->n; k++) {
        struct param_place at = {table, row_of(table, k)};
        const struct param_input *given = NULL;
        for (size_t j = 0; j < n_inputs && !given; j++) {
            given = strcmp(inputs[j].name, at.row->name) == 0 ? &inputs[j] : NULL;
        }
        pare_param_value *value = &out->values[k];
        out->pointers[k] = value;
        value->name = at.row->name;
        value->type = at.row->type;
        pare_status status = given ? param_value_set_input(&at, given, err, value)
                                   : param_value_set_default(&at, err, value);
        if (status < 0) {
            return status;
        }
    }
    return PARE_OK;
}

pare_status params_resolve(const struct param_table *tables, size_t n_tables,
                           const struct param_input *inputs, size_t n_inputs, struct error *err,
                           struct params **out) {
    if (n_tables > MAX_TABLES) {
        return error_set(err, PARE_E_LIMIT, "%zu parameter tables, wanted at most %u", n_tables,
                         MAX_TABLES);
    }
    pare_status status = check_inputs(tables, n_tables, inputs, n_inputs, err);
    if (status < 0) {
        return status;
    }
    struct params *params = alloc_array(1, sizeof *params);
    if (!params) {
        return no_memory(err);
    }
    params->n_tables = n_tables;
    params->tables = alloc_array(n_tables, sizeof *params->tables);
    if (!params->tables) {
        params->n_tables = 0;
        status = no_memory(err);
    }
    for (size_t t = 0; status == PARE_OK && t < n_tables; t++) {
        status = resolve_table(&tables[t], inputs, n_inputs, err, &params->tables[t]);
    }
    if (status < 0) {
        params_destroy(params);
        return status;
    }
    *out = params;
    return PARE_OK;
}

void params_destroy(struct params *params) {
    if (!params) {
        return;
    }
    for (size_t t = 0; t < params->n_tables; t++) {
        struct resolved_table *table = &params->tables[t];
        for (uint32_t k = 0; table->values && k < table->view.n; k++) {
            param_value_clear(&table->values[k]);
        }
        free(table->values);
        free(table->pointers);
    }
    free(params->tables);
    free(params);
}

const pare_params *params_of_table(const struct params *params, size_t table) {
    return table < params->n_tables ? &params->tables[table].view : NULL;
}

const pare_param_value *params_get(const struct params *params, const char *name) {
    for (size_t t = 0; t < params->n_tables; t++) {
        const pare_params *view = &params->tables[t].view;
        for (uint32_t k = 0; k < view->n; k++) {
            if (strcmp(view->values[k]->name, name) == 0) {
                return view->values[k];
            }
        }
    }
    return NULL;
}
