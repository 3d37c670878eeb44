/* SPDX-License-Identifier: MIT */
/* Parameters of methods and backends: a plugin declares a table of pare_param_desc; the host checks
 * what the user wrote against it (unknown name, wrong type, out of range: an error with the nearest
 * name), fills in defaults, and hands the plugin one resolved value per table row, in table order.
 */
#ifndef PARE_PARAM_H
#define PARE_PARAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pare_param_type {
    PARE_PARAM_BOOL = 1,
    PARE_PARAM_INT = 2,
    PARE_PARAM_FLOAT = 3,
    PARE_PARAM_STRING = 4,  /* with choices: one of them */
    PARE_PARAM_STRINGS = 5, /* list of strings, may be empty; default is the empty list */
    PARE_PARAM_NUMBERS = 6  /* list of numbers, may be empty; default is the empty list; min and max
                               bound each element */
} pare_param_type;

/* One row of a parameter table: static data of the plugin. */
typedef struct pare_param_desc {
    const char *name; /* lower_snake_case, unique in the table */
    pare_param_type type;
    const char *unit;          /* "bits", "fraction", ...; "" where there is none */
    double min, max;           /* inclusive bounds, INT, FLOAT and NUMBERS; both 0: unbounded */
    const char *choices;       /* STRING: "minmax|percentile"; NULL: any string */
    const char *default_value; /* as a user would write it: "8", "0.5", "true", "minmax"; for lists
                                  NULL; NULL otherwise: the parameter must be given */
    const char *doc;           /* one sentence */
} pare_param_desc;

/* One resolved value. Owned by the host, valid as long as the instance it was given to. */
typedef struct pare_param_value {
    const char *name;
    pare_param_type type;
    int64_t i;                  /* INT, and BOOL as 0 or 1 */
    double f;                   /* FLOAT; for INT the same number */
    const char *s;              /* STRING */
    int32_t n;                  /* STRINGS, NUMBERS: number of elements */
    const char *const *strings; /* STRINGS: (n) */
    const double *numbers;      /* NUMBERS: (n) */
} pare_param_value;

/* All values of an instance: values[k] belongs to row k of the plugin's table. */
typedef struct pare_params {
    uint32_t struct_size;
    uint32_t n;
    const pare_param_value *const *values;
} pare_params;

#ifdef __cplusplus
}
#endif
#endif
