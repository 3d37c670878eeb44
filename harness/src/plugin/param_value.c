/* SPDX-License-Identifier: MIT */
#include "plugin/param_value.h"
#include "core/alloc.h"
#include "core/file.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A whole number must be exact as a double, which is how scripts and JSON hold it. */
#define MAX_WHOLE 9007199254740992.0 /* 2^53 */

static char *copy_string(const char *text) {
    return text ? alloc_printf("%s", text) : NULL;
}

static pare_status no_memory(struct error *err) {
    return error_set(err, PARE_E_NOMEM, "parameters: out of memory");
}

static const char *type_words(pare_param_type type) {
    switch (type) {
    case PARE_PARAM_BOOL:
        return "true or false";
    case PARE_PARAM_INT:
        return "a whole number";
    case PARE_PARAM_FLOAT:
        return "a number";
    case PARE_PARAM_STRING:
        return "a string";
    case PARE_PARAM_STRINGS:
        return "a list of strings";
    case PARE_PARAM_NUMBERS:
        return "a list of numbers";
    }
    return "a value";
}

static const char *kind_words(enum input_kind kind) {
    switch (kind) {
    case INPUT_BOOL:
        return "a boolean";
    case INPUT_NUMBER:
        return "a number";
    case INPUT_STRING:
        return "a string";
    case INPUT_STRINGS:
        return "a list of strings";
    case INPUT_NUMBERS:
        return "a list of numbers";
    }
    return "something else";
}

static int is_bounded(const pare_param_desc *row) {
    return row->min != 0.0 || row->max != 0.0;
}

/* "2..8 bits", "at least 0", "any". */
static void range_words(const pare_param_desc *row, char text[96]) {
    const char *space = row->unit[0] ? " " : "";
    if (!is_bounded(row) || (isinf(row->min) && isinf(row->max))) {
        snprintf(text, 96, "finite");
    } else if (isinf(row->max)) {
        snprintf(text, 96, "%.15g%s%.40s or more", row->min, space, row->unit);
    } else if (isinf(row->min)) {
        snprintf(text, 96, "%.15g%s%.40s or less", row->max, space, row->unit);
    } else {
        snprintf(text, 96, "%.15g..%.15g%s%.40s", row->min, row->max, space, row->unit);
    }
}

static pare_status wrong_type(const struct param_place *at, const char *got, struct error *err) {
    return error_set(err, PARE_E_ARG, "%s: got %s, wanted %s (%s)", at->row->name, got,
                     type_words(at->row->type), at->table->owner);
}

static pare_status check_number(const struct param_place *at, double number, struct error *err) {
    const pare_param_desc *row = at->row;
    if (!isfinite(number)) {
        return error_set(err, PARE_E_NUMERIC, "%s: got %g, wanted a finite number (%s)", row->name,
                         number, at->table->owner);
    }
    if (is_bounded(row) && !(number >= row->min && number <= row->max)) {
        char range[96];
        range_words(row, range);
        return error_set(err, PARE_E_RANGE, "%s: got %.15g, wanted %s (%s)", row->name, number,
                         range, at->table->owner);
    }
    return PARE_OK;
}

static pare_status set_number(const struct param_place *at, double number, struct error *err,
                              pare_param_value *value) {
    pare_status status = check_number(at, number, err);
    if (status < 0) {
        return status;
    }
    if (at->row->type == PARE_PARAM_INT) {
        if (number != floor(number)) {
            return error_set(err, PARE_E_ARG, "%s: got %.15g, wanted a whole number (%s)",
                             at->row->name, number, at->table->owner);
        }
        if (fabs(number) > MAX_WHOLE) {
            return error_set(err, PARE_E_RANGE,
                             "%s: got %.17g, wanted a whole number of at most 2^53 (%s)",
                             at->row->name, number, at->table->owner);
        }
        value->i = (int64_t)number;
    }
    value->f = number;
    return PARE_OK;
}

/* Is `text` one of the '|'-separated choices? */
static int is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *at = choices; length > 0 && *at;) {
        size_t n = strcspn(at, "|");
        if (n == length && memcmp(at, text, n) == 0) {
            return 1;
        }
        at += n + (at[n] == '|');
    }
    return 0;
}

/* The choice nearest to `text`, copied; NULL when none is near (or memory is short). */
static char *nearest_choice(const char *choices, const char *text) {
    char *copy = copy_string(choices);
    const char *names[64];
    size_t n = 0;
    char *rest = copy;
    while (copy && n < 64) {
        char *name = strsep(&rest, "|");
        if (!name) {
            break;
        }
        names[n++] = name;
    }
    char *found = copy_string(nearest_name(text, names, n));
    free(copy);
    return found;
}

static pare_status check_utf8(const struct param_place *at, const char *text, struct error *err) {
    json_t *json = json_string(text);
    if (!json) {
        return error_set(err, PARE_E_ARG, "%s: the string is not UTF-8 (%s)", at->row->name,
                         at->table->owner);
    }
    json_decref(json);
    return PARE_OK;
}

static pare_status set_string(const struct param_place *at, const char *text, struct error *err,
                              pare_param_value *value) {
    const pare_param_desc *row = at->row;
    pare_status status = check_utf8(at, text, err);
    if (status < 0) {
        return status;
    }
    if (row->choices && !is_choice(row->choices, text)) {
        char *nearest = nearest_choice(row->choices, text);
        status =
            error_set(err, PARE_E_ARG, "%s: got \"%s\", wanted one of %s (%s)%s%s%s", row->name,
                      text, row->choices, at->table->owner, nearest ? "; did you mean \"" : "",
                      nearest ? nearest : "", nearest ? "\"?" : "");
        free(nearest);
        return status;
    }
    value->s = copy_string(text);
    return value->s ? PARE_OK : no_memory(err);
}

static pare_status set_strings(const struct param_place *at, char *const *strings, int32_t n,
                               struct error *err, pare_param_value *value) {
    const char **copies = alloc_array((size_t)n, sizeof *copies);
    if (!copies) {
        return no_memory(err);
    }
    value->strings = copies; /* owned by the value from here on, whatever happens */
    for (int32_t k = 0; k < n; k++) {
        pare_status status = check_utf8(at, strings[k], err);
        if (status < 0) {
            return status;
        }
        copies[k] = copy_string(strings[k]);
        if (!copies[k]) {
            return no_memory(err);
        }
        value->n = k + 1;
    }
    return PARE_OK;
}

static pare_status set_numbers(const struct param_place *at, const double *numbers, int32_t n,
                               struct error *err, pare_param_value *value) {
    double *copies = alloc_array((size_t)n, sizeof *copies);
    if (!copies) {
        return no_memory(err);
    }
    value->numbers = copies;
    value->n = n;
    for (int32_t k = 0; k < n; k++) {
        pare_status status = check_number(at, numbers[k], err);
        if (status < 0) {
            return status;
        }
        copies[k] = numbers[k];
    }
    return PARE_OK;
}

/* ---- values written as text: defaults, and --set on a command line ---- */

static pare_status parse_number(const struct param_place *at, const char *text, struct error *err,
                                double *number) {
    char *end = NULL;
    double parsed = strtod(text, &end);
    if (end == text || *end != '\0') {
        char got[160];
        snprintf(got, sizeof got, "\"%.140s\"", text);
        return wrong_type(at, got, err);
    }
    *number = parsed;
    return PARE_OK;
}

/* Splits at commas; "" is the empty list. */
static pare_status set_list_text(const struct param_place *at, const char *text, struct error *err,
                                 pare_param_value *value) {
    pare_status status = PARE_E_NOMEM;
    size_t n = 0;
    size_t max_n = 1;
    for (const char *c = text; *c; c++) {
        max_n += *c == ',';
    }
    char *copy = copy_string(text);
    char **items = alloc_array(max_n, sizeof *items);
    double *numbers = alloc_array(max_n, sizeof *numbers);
    if (!copy || !items || !numbers || max_n > INT32_MAX) {
        no_memory(err);
        goto cleanup;
    }
    for (char *rest = copy; text[0] && rest;) {
        items[n++] = strsep(&rest, ",");
    }
    if (at->row->type == PARE_PARAM_STRINGS) {
        status = set_strings(at, items, (int32_t)n, err, value);
        goto cleanup;
    }
    for (size_t k = 0; k < n; k++) {
        status = parse_number(at, items[k], err, &numbers[k]);
        if (status < 0) {
            goto cleanup;
        }
    }
    status = set_numbers(at, numbers, (int32_t)n, err, value);
cleanup:
    free(copy);
    free(items);
    free(numbers);
    return status;
}

static pare_status set_text(const struct param_place *at, const char *text, struct error *err,
                            pare_param_value *value) {
    double number = 0.0;
    pare_status status = PARE_OK;
    switch (at->row->type) {
    case PARE_PARAM_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            char got[160];
            snprintf(got, sizeof got, "\"%.140s\"", text);
            return wrong_type(at, got, err);
        }
        value->i = text[0] == 't';
        return PARE_OK;
    case PARE_PARAM_INT:
    case PARE_PARAM_FLOAT:
        status = parse_number(at, text, err, &number);
        return status < 0 ? status : set_number(at, number, err, value);
    case PARE_PARAM_STRING:
        return set_string(at, text, err, value);
    case PARE_PARAM_STRINGS:
    case PARE_PARAM_NUMBERS:
        break;
    }
    return set_list_text(at, text, err, value);
}

/* ---- values from a script ---- */

/* A single string or number stands for a list of one; an empty list has no element type. */
static pare_status set_list(const struct param_place *at, const struct param_input *in,
                            struct error *err, pare_param_value *value) {
    int wants_strings = at->row->type == PARE_PARAM_STRINGS;
    int is_list = in->kind == INPUT_STRINGS || in->kind == INPUT_NUMBERS;
    if (is_list && in->n == 0) {
        return wants_strings ? set_strings(at, NULL, 0, err, value)
                             : set_numbers(at, NULL, 0, err, value);
    }
    if (wants_strings && in->kind == INPUT_STRINGS) {
        return set_strings(at, in->strings, in->n, err, value);
    }
    if (wants_strings && in->kind == INPUT_STRING) {
        return set_strings(at, &in->string, 1, err, value);
    }
    if (!wants_strings && in->kind == INPUT_NUMBERS) {
        return set_numbers(at, in->numbers, in->n, err, value);
    }
    if (!wants_strings && in->kind == INPUT_NUMBER) {
        return set_numbers(at, &in->number, 1, err, value);
    }
    return wrong_type(at, kind_words(in->kind), err);
}

pare_status param_value_set_input(const struct param_place *at, const struct param_input *in,
                                  struct error *err, pare_param_value *value) {
    if (in->kind == INPUT_STRING && in->from_text) {
        return set_text(at, in->string, err, value);
    }
    switch (at->row->type) {
    case PARE_PARAM_BOOL:
        if (in->kind == INPUT_BOOL) {
            value->i = in->number != 0.0;
            return PARE_OK;
        }
        break;
    case PARE_PARAM_INT:
    case PARE_PARAM_FLOAT:
        if (in->kind == INPUT_NUMBER) {
            return set_number(at, in->number, err, value);
        }
        break;
    case PARE_PARAM_STRING:
        if (in->kind == INPUT_STRING) {
            return set_string(at, in->string, err, value);
        }
        break;
    case PARE_PARAM_STRINGS:
    case PARE_PARAM_NUMBERS:
        return set_list(at, in, err, value);
    }
    return wrong_type(at, kind_words(in->kind), err);
}

pare_status param_value_set_default(const struct param_place *at, struct error *err,
                                    pare_param_value *value) {
    const pare_param_desc *row = at->row;
    int is_list = row->type == PARE_PARAM_STRINGS || row->type == PARE_PARAM_NUMBERS;
    if (is_list) {
        return set_list_text(at, "", err, value);
    }
    if (!row->default_value) {
        return error_set(err, PARE_E_ARG, "%s: not given, and it has no default: %s needs %s",
                         row->name, at->table->owner, type_words(row->type));
    }
    return set_text(at, row->default_value, err, value);
}

void param_value_clear(pare_param_value *value) {
    for (int32_t k = 0; value->strings && k < value->n; k++) {
        free((void *)(uintptr_t)value->strings[k]);
    }
    free((void *)(uintptr_t)value->strings);
    free((void *)(uintptr_t)value->numbers);
    free((void *)(uintptr_t)value->s);
}
