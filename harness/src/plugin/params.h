/* SPDX-License-Identifier: MIT */
/* What users wrote, checked against parameter tables. */
#ifndef PLUGIN_PARAMS_H
#define PLUGIN_PARAMS_H

#include "core/error.h"

#include <pare/param.h>
#include <stdint.h>

enum input_kind { INPUT_BOOL, INPUT_NUMBER, INPUT_STRING, INPUT_STRINGS, INPUT_NUMBERS };

/* One name = value as it came from a script or a command line. */
struct param_input {
    char *name;
    enum input_kind kind;
    int is_integer; /* NUMBER: it was written as (or is exactly) an integer */
    int from_text;  /* STRING from a command line (--set k=v): may stand for any type */
    double number;  /* NUMBER; BOOL as 0 or 1 */
    char *string;
    int32_t n; /* lists */
    char **strings;
    double *numbers;
};
void param_input_clear(struct param_input *input); /* frees what it holds */
pare_status param_input_copy(const struct param_input *from, struct error *err,
                             struct param_input *to);

/* A table, and who it belongs to, for messages ("method ptq", "training"). */
struct param_table {
    const pare_param_desc *rows;
    uint32_t n;
    uint32_t row_size; /* sizeof(pare_param_desc) of whoever compiled the table */
    const char *owner;
};

struct params; /* resolved values of several tables; names are borrowed from the tables */

/* Is the table itself sane (names, types, bounds, defaults that parse)? */
pare_status param_table_check(const struct param_table *table, struct error *err);

/* Text from a command line stands for any type: true|false, a number, a string, and for lists their
 * elements between commas. From a script, a single string or number stands for a list of one, and
 * an empty list for either kind of list. Whole numbers reach to 2^53. Strings must be UTF-8.
 *
 * Resolves inputs against n_tables tables together (a name must be in exactly one). Unknown name:
 * the nearest one is named; wrong type, out of range, not a choice, not finite, missing, given
 * twice: each its own message, beginning with the parameter's name. */
pare_status params_resolve(const struct param_table *tables, size_t n_tables,
                           const struct param_input *inputs, size_t n_inputs, struct error *err,
                           struct params **out);
void params_destroy(struct params *params);

const pare_params *params_of_table(const struct params *params, size_t table);     /* for plugins */
const pare_param_value *params_get(const struct params *params, const char *name); /* NULL: none */

/* All resolved values as one JSON object in table order, malloc'd: {"bits":8,"observer":"minmax"}.
 * Numbers have the fewest digits that read back as the same double: 0.9, 1.0, 1e-5. NULL: out of
 * memory. */
char *params_json(const struct params *params);

#endif
