/* SPDX-License-Identifier: MIT */
/* The statistics behind every column. Pure functions. */
#ifndef MEASURE_STATS_H
#define MEASURE_STATS_H

#include <stddef.h>
#include <stdint.h>

/* Sorts in place, ascending; NaNs last. */
void stats_sort(double *x, size_t n);

/* Quantile of sorted data by linear interpolation (Hyndman & Fan type 7), 0 <= q <= 1, n >= 1. */
double stats_quantile(const double *sorted, size_t n, double q);

/* Distribution-free interval of the median by order statistics (binomial): indices lo, hi (0-based)
 * of the sorted sample; returns the true coverage, >= level, or 0 with the indices untouched if n
 * is too small for `level` (n < 6 at 0.95). */
double stats_median_interval(size_t n, double level, size_t *lo, size_t *hi);

/* The 95 % interval of the median that records hold: interpolated between the two order-statistic
 * intervals whose coverages enclose the level (Hettmansperger & Sheather 1986), since those
 * alone jump: from 10 to 30 samples they cover between 95 and 98.8 %. The level aimed at is 95.5 %,
 * so that what interpolation may lack is made up for: simulated coverage is 94 to 96 % from 6
 * samples on, also on skewed data. 1, or 0 with NaNs for n < 6. */
int stats_median_ci(const double *sorted, size_t n, double *lo, double *hi);

/* Median absolute deviation, times 1.4826 (consistent for the normal). `scratch` (n). */
double stats_mad(const double *sorted, size_t n, double *scratch);

/* Wilson score interval of k successes in n at 95 %. n == 0 gives [0,1]. */
void stats_wilson(int64_t k, int64_t n, double *lo, double *hi);

/* Exact two-sided McNemar test (binomial, p = 1/2) of b against c discordant pairs. */
double stats_mcnemar_exact(int64_t b, int64_t c);

/* log of the binomial coefficient, from lgamma-free exact sums; n up to 1e6. -INFINITY unless
 * 0 <= k <= n. */
double stats_log_choose(int64_t n, int64_t k);

#endif
