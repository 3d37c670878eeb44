/* SPDX-License-Identifier: MIT */
/* One of the two files: its rows, as far as they are compared, put together by arm. */
#ifndef COMPARE_SIDE_H
#define COMPARE_SIDE_H

#include "core/error.h"

#include <stddef.h>

enum side_text {
#define SIDE_TEXT(name) TEXT_##name,
#define SIDE_NUMBER(name, min, max)
#include "compare/side_columns.inc"
#undef SIDE_TEXT
#undef SIDE_NUMBER
    N_TEXTS
};
enum side_number {
#define SIDE_TEXT(name)
#define SIDE_NUMBER(name, min, max) NUMBER_##name,
#include "compare/side_columns.inc"
#undef SIDE_TEXT
#undef SIDE_NUMBER
    N_NUMBERS
};
const char *side_text_name(enum side_text text);
const char *side_number_name(enum side_number number);

struct side_row {
    size_t line;                /* of the file, where the row begins */
    const char *texts[N_TEXTS]; /* "" when empty */
    double numbers[N_NUMBERS];  /* NaN: not measured */
    char *block;                /* what texts point into */
};

/* The rows of one arm on one machine that are compared: the last good one and its repeats (same
 * git_commit). If none is good: the last one. */
struct side_arm {
    struct side_row **rows; /* (n) the last row comes last; n >= 1 */
    size_t n;
    int is_ok;
    size_t place; /* for the user of this module */
};

struct side {
    const char *path; /* borrowed */
    struct side_row *rows;
    size_t n_rows, capacity;
    int is_cut;              /* the last row has no end: a writer was killed; it is left out */
    size_t n_without_id;     /* rows that were left out: no arm_id */
    struct side_row **order; /* (n_rows) by arm_id, trial_id, host, line */
    struct side_arm *arms;   /* (n_arms) in that order */
    size_t n_arms;
};

pare_status side_read(struct side *side, const char *path, struct error *err);
void side_clear(struct side *side);

static inline const struct side_row *side_last(const struct side_arm *arm) {
    return arm->rows[arm->n - 1];
}
static inline const struct side_row *side_last_row(const struct side *side) {
    return &side->rows[side->n_rows - 1];
}
static inline const char *side_id(const struct side_arm *arm) {
    return side_last(arm)->texts[TEXT_arm_id];
}

/* The first arm with this arm_id and how many there are, of other trials or hosts; NULL if none. */
struct side_arm *side_find(const struct side *side, const char *arm_id, size_t *n);

#endif
