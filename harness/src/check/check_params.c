/* SPDX-License-Identifier: MIT */
/* Every parameter at its limits, beyond them, and with nonsense. What lies in the declared range
 * may be used or refused, with a message; what lies beyond is the host's to refuse. */
#include "check/live.h"

#include "core/alloc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_TEXT = 5000, MANY = 300, MAX_VARIANTS = 24 };

/* One value to try. */
struct variant {
    struct param_input input;
    int is_outside; /* the host must refuse it */
    char what[64];
};

/* Values of one row, and memory that they point to. */
struct variants {
    struct variant all[MAX_VARIANTS];
    int n;
    char *long_text; /* (LONG_TEXT + 1) */
    char **texts;    /* (MANY) */
    double *numbers; /* (MANY) */
    char choice[MAX_VARIANTS][64];
};

static void add(struct variants *v, struct param_input input, int is_outside, const char *what) {
    struct variant *to = &v->all[v->n];
    if (v->n == MAX_VARIANTS)
        return;
    v->n++;
    *to = (struct variant){.input = input, .is_outside = is_outside};
    snprintf(to->what, sizeof to->what, "%s", what);
}

static void add_number(struct variants *v, double x, int is_outside) {
    char what[64];
    snprintf(what, sizeof what, "%.17g", x);
    add(v, (struct param_input){.kind = INPUT_NUMBER, .is_integer = x == rint(x), .number = x},
        is_outside, what);
}

static int is_bounded(const pare_param_desc *row) {
    return !(row->min == 0 && row->max == 0);
}

static void add_numbers(struct variants *v, const pare_param_desc *row) {
    static const double anything[] = {0, 1, -1, 9007199254740992.0, -9007199254740992.0};
    static const double fractions[] = {0.5, 1e-300, 1e300, -1e300};
    if (is_bounded(row)) {
        double step = row->type == PARE_PARAM_INT ? 1 : (row->max - row->min) / 16;
        add_number(v, row->min, 0);
        add_number(v, row->max, 0);
        add_number(v, row->min + step, row->min + step > row->max);
        add_number(v, row->max - step, row->max - step < row->min);
        add_number(v, row->min - step, 1);
        add_number(v, row->max + step, 1);
    } else {
        for (int k = 0; k < 5; k++)
            add_number(v, anything[k], 0);
        for (int k = 0; k < 4 && row->type == PARE_PARAM_FLOAT; k++)
            add_number(v, fractions[k], 0);
    }
    add_number(v, NAN, 1);
    add_number(v, INFINITY, 1);
    add(v, (struct param_input){.kind = INPUT_STRING, .string = v->long_text}, 1, "text");
}

static void add_text(struct variants *v, const char *text, int is_outside, const char *what) {
    add(v, (struct param_input){.kind = INPUT_STRING, .string = (char *)(uintptr_t)text},
        is_outside, what);
}

static void add_strings(struct variants *v, const pare_param_desc *row) {
    int k = 0;
    for (const char *at = row->choices; at && *at && k < MAX_VARIANTS - 6; k++) {
        size_t n = strcspn(at, "|");
        snprintf(v->choice[k], sizeof v->choice[k], "%.*s", (int)(n < 63 ? n : 63), at);
        add_text(v, v->choice[k], 0, v->choice[k]);
        at += n + (at[n] == '|');
    }
    int has_choices = row->choices != NULL;
    add_text(v, "", has_choices, "\"\"");
    add_text(v, "no such choice", has_choices, "\"no such choice\"");
    add_text(v, "%s%n/../\xc3\xbc", has_choices, "\"%s%n/../\xc3\xbc\"");
    add_text(v, v->long_text, has_choices, "a text of 5000 characters");
    add_number(v, 7, 1);
}

static void add_list(struct variants *v, const pare_param_desc *row, int32_t n, double number,
                     const char *what) {
    for (int32_t k = 0; k < n; k++)
        v->numbers[k] = number;
    int is_numbers = row->type == PARE_PARAM_NUMBERS;
    struct param_input input = {.kind = is_numbers ? INPUT_NUMBERS : INPUT_STRINGS, .n = n};
    if (is_numbers)
        input.numbers = v->numbers;
    else
        input.strings = v->texts;
    add(v, input, 0, what);
}

/* All variants of a list share one array, so only one is asked for. */
static void add_lists(struct variants *v, const pare_param_desc *row, int k) {
    static const char *const what[] = {"an empty list", "a list of one", "a list of 300",
                                       "a list of 300 at the other limit"};
    static const int32_t n[] = {0, 1, MANY, MANY};
    double number = is_bounded(row) ? (k == 3 ? row->max : row->min) : (k == 3 ? 1e300 : -1);
    add_list(v, row, n[k], number, what[k]);
}

static void add_variants(struct variants *v, const pare_param_desc *row, int list) {
    if (row->type == PARE_PARAM_BOOL) {
        add(v, (struct param_input){.kind = INPUT_BOOL, .number = 0}, 0, "false");
        add(v, (struct param_input){.kind = INPUT_BOOL, .number = 1}, 0, "true");
        add_number(v, 2, 1);
    } else if (row->type == PARE_PARAM_INT || row->type == PARE_PARAM_FLOAT) {
        add_numbers(v, row);
    } else if (row->type == PARE_PARAM_STRING) {
        add_strings(v, row);
    } else {
        for (int k = 0; k < 4; k++) /* as many as there are, the wanted one whole */
            add_lists(v, row, list < 0 ? k : list);
    }
}

static struct variants *make_variants(const pare_param_desc *row, int list) {
    struct variants *v = alloc_array(1, sizeof *v);
    if (!v)
        return NULL;
    v->long_text = alloc_array(LONG_TEXT + 1, 1);
    v->texts = alloc_array(MANY, sizeof *v->texts);
    v->numbers = alloc_array(MANY, sizeof *v->numbers);
    if (v->long_text && v->texts && v->numbers) {
        memset(v->long_text, 'x', LONG_TEXT);
        for (int k = 0; k < MANY; k++)
            v->texts[k] = (char *)(uintptr_t) "conv*";
        add_variants(v, row, list);
    }
    return v;
}

static void free_variants(struct variants *v) {
    if (!v)
        return;
    free(v->long_text);
    free(v->texts);
    free(v->numbers);
    free(v);
}

static const pare_param_desc *row_of(const struct param_table *table, uint32_t k) {
    return (const void *)((const char *)table->rows + (size_t)k * table->row_size);
}

int64_t count_params(struct check_case *c) {
    struct param_table table = registry_param_table(c->subject->entry);
    int64_t n = 0;
    for (uint32_t k = 0; k < table.n; k++) {
        struct variants *v = make_variants(row_of(&table, k), -1);
        n += v ? v->n : 0;
        free_variants(v);
    }
    return n;
}

/* With the variant in the place of what the user may have set for the row. */
static void try_variant(struct check_case *c, const pare_param_desc *row,
                        const struct variant *variant) {
    const struct check_options *o = c->subject->options;
    struct error err;
    struct params *params = NULL;
    struct param_input *inputs = alloc_array(o->n_settings + 1, sizeof *inputs);
    size_t n = 0;
    if (!inputs) {
        case_fail(c, "pare check itself: out of memory");
        return;
    }
    for (size_t k = 0; k < o->n_settings; k++)
        if (strcmp(o->settings[k].name, row->name) != 0)
            inputs[n++] = o->settings[k];
    inputs[n] = variant->input;
    inputs[n++].name = (char *)(uintptr_t)row->name;
    pare_status status = live_params(c->subject, inputs, n, &err, &params);
    free(inputs);
    if (status != PARE_OK && !variant->is_outside)
        case_fail(c, "lies in the declared range, and is refused: %s", err.text);
    else if (status == PARE_OK && variant->is_outside)
        case_fail(c, "is not what the table declares, and is taken");
    for (int which = 0; status == PARE_OK && which < live_n(c->subject); which++) {
        struct watch_options options = live_options(c);
        struct outcome out;
        live(c, which, params, &options, &out);
        if (out.is_own)
            case_fail(c, "pare check itself: %s", out.err.text);
        else if (out.status != PARE_OK && !out.is_told)
            case_fail(c, "%s", out.err.text);
        else if (out.misuse[0])
            case_fail(c, "%s", out.misuse);
        else if (out.leaked_bytes > 0)
            case_fail(c, "leaks %zu bytes of host memory", out.leaked_bytes);
    }
    params_destroy(params);
}

void check_params(struct check_case *c) {
    struct param_table table = registry_param_table(c->subject->entry);
    int64_t k = c->index;
    for (uint32_t r = 0; r < table.n; r++) {
        const pare_param_desc *row = row_of(&table, r);
        int is_list = row->type == PARE_PARAM_STRINGS || row->type == PARE_PARAM_NUMBERS;
        struct variants *v = make_variants(row, is_list && k < 4 ? (int)k : -1);
        if (v && k < v->n) {
            case_label(c, "%s = %s", row->name, v->all[k].what);
            try_variant(c, row, &v->all[k]);
            free_variants(v);
            return;
        }
        k -= v ? v->n : 0;
        free_variants(v);
    }
}
