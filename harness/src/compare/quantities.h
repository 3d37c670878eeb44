/* SPDX-License-Identifier: MIT */
/* How each quantity of one arm is compared. */
#ifndef COMPARE_QUANTITIES_H
#define COMPARE_QUANTITIES_H

#include "compare/compare.h"
#include "compare/interval.h"
#include "compare/side.h"

/* An arm in both files; both are ok. */
struct pair {
    const struct side_arm *base, *new;
    char why[128]; /* what keeps an arm of the same name from being `new`; "" */
};

/* How much a latency changes from run to run, from arms that were measured more than once. */
struct noise {
    double sum_squares; /* of logarithms, about each arm's mean */
    size_t df;          /* rows - arms */
};
enum basis { BASIS_RATIO, BASIS_TIME, N_BASES };

struct context {
    const struct compare_options *options;
    struct noise noise[N_BASES];
    size_t n_tests; /* comparisons that noise can fool */
    /* Factors on a standard error: for one interval, and for n_tests at once; [basis]: where the
     * error may come from repeats. */
    double one, all, one_of[N_BASES], all_of[N_BASES];
};
/* Sets the factors from the rest. */
void context_prepare(struct context *context);

/* Adds the repeats of an arm (once per arm and file). */
void noise_add(struct noise *noise, const struct side_arm *arm, enum basis basis);

/* Can latency be compared by ratio? (Both have one, against the same baseline.) */
int pair_has_ratio(const struct pair *pair);
/* How many of the n_tests this pair brings. */
size_t pair_n_tests(const struct pair *pair, int across_machines);

/* The change of an arm's own time, as a logarithm, and what one would say of it if times did not
 * also change with the machine. */
enum verdict pair_time(const struct pair *pair, const struct context *context,
                       struct interval *change);

/* By the ratio to the arm's baseline where there is one, else by its own time. */
void compare_latency(const struct pair *pair, const struct context *context, struct change *out);
void compare_top1(const struct pair *pair, const struct context *context, struct change *out);
void compare_bytes(const struct pair *pair, const struct context *context, enum side_number column,
                   struct change *out);

#endif
