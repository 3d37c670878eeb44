/* SPDX-License-Identifier: MIT */
/* Range observers: from the values seen while calibrating to the range that a grid is to cover. */
#ifndef METHODS_COMMON_RANGE_H
#define METHODS_COMMON_RANGE_H

#include <pare/status.h>
#include <stdint.h>

enum observer {
    OBSERVER_MINMAX,
    OBSERVER_MOVING_AVERAGE,
    OBSERVER_PERCENTILE,
    OBSERVER_MSE,
    OBSERVER_ENTROPY
};

#define RANGE_N_BINS 4096 /* of a histogram over the range of the first pass; entropy: its own */

struct range {
    double lo, hi; /* smallest and largest value seen; moving average: of the batches' */
    int64_t n_batches;
    int64_t n_seen; /* in the histogram */
    int64_t
        *bins; /* (RANGE_N_BINS), or (ENTROPY_N_BINS) of magnitudes; NULL until the second pass */
};

struct range_rule {
    enum observer observer;
    double momentum;        /* moving average: part that the past keeps */
    double percentile;      /* that many percent of the values are inside, on either side */
    int bits, is_symmetric; /* of the grid to come; mse and entropy try it */
};

/* "minmax", "moving_average", "percentile", "mse", "entropy"; -1: none of them. */
int range_parse_observer(const char *name);

/* First pass. 0, or -1 if a value is not finite (its index in *where). */
int range_see(struct range *range, const struct range_rule *rule, const float *values, int64_t n,
              int64_t *where);

/* Does the observer need a second pass, and bins for it? */
int range_needs_bins(const struct range_rule *rule);

/* The second pass; lo and hi are those of the first, and the bins are there. */
void range_count(struct range *range, const struct range_rule *rule, const float *values,
                 int64_t n);

/* The range to cover, *lo <= 0 <= *hi. */
void range_final(const struct range *range, const struct range_rule *rule, double *lo, double *hi);

#endif
