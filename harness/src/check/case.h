/* SPDX-License-Identifier: MIT */
/* One case of a check: what the functions that do the checking get and say. */
#ifndef CHECK_CASE_H
#define CHECK_CASE_H

#include "check/check.h"
#include "core/child.h"
#include "core/note.h"

struct subject {
    const struct check_options *options;
    const struct plugin_entry *entry; /* NULL: the plugin as a file */
    const struct plugin_entry
        *reference; /* the backend "ref"; NULL: not found, or it is the subject */
};

/* What a case gives back; crosses the process border as bytes. */
struct report {
    int32_t verdict; /* enum check_verdict */
    char text[640];  /* the reason; of a pass: a remark, or "" */
};

struct check_case {
    const struct subject *subject;
    int64_t index;   /* 0 .. number of cases - 1 */
    int64_t memo[4]; /* what count leaves for run */
    struct note *note;
    struct child *child;
    struct report report;
};

struct check {
    const char *name, *doc;
    int of_plugin, of_methods, of_backends;
    int slow_is_no_failure; /* a case that runs into its time limit is only told */
    /* How many cases there are. Runs in a child, too, and may call the plugin; a negative number:
     * it failed, and case_fail has said why. */
    int64_t (*count)(struct check_case *c);
    void (*run)(struct check_case *c);
};

/* What the case is ("bits = 9"): stands before its reason, also when it crashes. */
void case_label(struct check_case *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The verdict; the first failure stands. A case that says nothing passes. */
void case_fail(struct check_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void case_skip(struct check_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void case_remark(struct check_case *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* All checks, in the order in which they run; ended by a NULL name. */
const struct check *check_table(void);

/* The checks, by file. */
int64_t count_one(struct check_case *c);
void check_load(struct check_case *c); /* check_file.c */
void check_exports(struct check_case *c);
int64_t count_lives(struct check_case *c); /* check_life.c: methods and backends */
void check_life(struct check_case *c);
void check_memory(struct check_case *c);
void check_threads(struct check_case *c);
void check_output(struct check_case *c);
int64_t count_repeats(struct check_case *c);
void check_repeat(struct check_case *c);
void check_loops(struct check_case *c);
int64_t count_allocs(struct check_case *c); /* check_alloc.c */
void check_alloc(struct check_case *c);
int64_t count_params(struct check_case *c); /* check_params.c */
void check_params(struct check_case *c);
int64_t count_effects(struct check_case *c); /* check_effects.c: methods */
void check_effects(struct check_case *c);
int64_t count_gradients(struct check_case *c); /* check_gradient.c: methods */
void check_gradient(struct check_case *c);
int64_t count_graphs(struct check_case *c); /* check_graphs.c: backends */
void check_graphs(struct check_case *c);

#endif
