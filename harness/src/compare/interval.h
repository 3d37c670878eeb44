/* SPDX-License-Identifier: MIT */
/* The statistics of a comparison: intervals that hold for many arms at once. Pure functions. */
#ifndef COMPARE_INTERVAL_H
#define COMPARE_INTERVAL_H

#include "compare/compare.h"

#include <stdint.h>

/* A change, as a logarithm or a difference. */
struct interval {
    double value;
    double lo, hi;         /* holds this change with 95 % */
    double all_lo, all_hi; /* holds the changes of all arms at once with 95 % */
};

/* The factor on a standard error that makes n_tests two-sided intervals hold together with 95 %
 * (Bonferroni): a quantile of the normal distribution, or of Student's with df degrees of freedom
 * where df > 0. n_tests >= 1. */
double interval_factor(size_t n_tests, size_t df);

/* The standard error behind a recorded 95 % interval of a positive figure, of its logarithm. */
double interval_log_error(double lo, double hi);

/* Beyond the threshold, and beyond 0 by the interval for all arms: regressed or improved (`worse`
 * is the sign of a change for the worse). Its own interval within the threshold: same. Else
 * inconclusive. */
enum verdict interval_judge(const struct interval *change, double threshold, int worse);

/* Sets both intervals to the value: a change that is known exactly. */
void interval_exact(double value, struct interval *out);

/* Difference of two shares k/n of different samples: Newcombe's hybrid score interval (Stat. Med.
 * 17:873, 1998, method 10), made of Wilson intervals with `factor` in place of 1.96. */
void interval_newcombe(int64_t k_base, int64_t k_new, int64_t n, double factor, double *lo,
                       double *hi);

/* The same where both were measured on the same n samples and differ on at most `discordant` of
 * them: Wilson's interval of the share of those that NEW won, given how many there are. The more
 * there are the wider it is, so a bound will do. discordant >= |k_new - k_base|. */
void interval_paired(int64_t k_base, int64_t k_new, int64_t n, int64_t discordant, double factor,
                     double *lo, double *hi);

#endif
