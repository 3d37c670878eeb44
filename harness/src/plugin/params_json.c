/* SPDX-License-Identifier: MIT */
#include "core/alloc.h"
#include "plugin/params.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static char *copy_string(const char *text) {
    return alloc_printf("%s", text);
}

/* jansson writes every real of a document with one precision, so values are written one by one,
 * each with the fewest digits that read back as the same double. */
static size_t real_flags(double number) {
    char text[40];
    for (int digits = 1; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            return JSON_ENCODE_ANY | JSON_REAL_PRECISION((size_t)digits);
        }
    }
    return JSON_ENCODE_ANY | JSON_REAL_PRECISION((size_t)17);
}

static char *json_text(json_t *json, size_t flags) {
    char *text = json ? json_dumps(json, flags) : NULL;
    json_decref(json);
    return text;
}

/* Appends "separator" and `item` (freed) to *text; both NULL when memory is short. */
static void append(char **text, const char *separator, char *item) {
    char *joined = *text && item ? alloc_printf("%s%s%s", *text, separator, item) : NULL;
    free(*text);
    free(item);
    *text = joined;
}

static char *value_json(const pare_param_value *value) {
    switch (value->type) {
    case PARE_PARAM_BOOL:
        return copy_string(value->i ? "true" : "false");
    case PARE_PARAM_INT:
        return json_text(json_integer(value->i), JSON_ENCODE_ANY);
    case PARE_PARAM_FLOAT:
        return json_text(json_real(value->f), real_flags(value->f));
    case PARE_PARAM_STRING:
        return json_text(json_string(value->s), JSON_ENCODE_ANY);
    case PARE_PARAM_STRINGS:
    case PARE_PARAM_NUMBERS:
        break;
    }
    char *text = copy_string("[");
    for (int32_t k = 0; k < value->n; k++) {
        char *item = value->type == PARE_PARAM_STRINGS
                         ? json_text(json_string(value->strings[k]), JSON_ENCODE_ANY)
                         : json_text(json_real(value->numbers[k]), real_flags(value->numbers[k]));
        append(&text, k ? "," : "", item);
    }
    append(&text, "", copy_string("]"));
    return text;
}

char *params_json(const struct params *params) {
    char *text = copy_string("{");
    int first = 1;
    const pare_params *view = params_of_table(params, 0);
    for (size_t t = 0; view; view = params_of_table(params, ++t)) {
        for (uint32_t k = 0; k < view->n; k++) {
            append(&text, first ? "\"" : ",\"", copy_string(view->values[k]->name));
            append(&text, "\":", value_json(view->values[k]));
            first = 0;
        }
    }
    append(&text, "", copy_string("}"));
    return text;
}
