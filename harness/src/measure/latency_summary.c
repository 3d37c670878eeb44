/* SPDX-License-Identifier: MIT */
/* From samples to figures. */
#include "measure/latency_internal.h"
#include "measure/stats.h"

#include <math.h>
#include <string.h>

/* Samples below which a percentile is not given: MLPerf's early-stopping table. */
enum { FLOOR_P90 = 64, FLOOR_P95 = 130, FLOOR_P99 = 662 };

static void summarize_percentiles(const double *sorted, size_t n, int32_t per_sample,
                                  struct latency *out) {
    out->median_ns = out->median_ci_lo_ns = out->median_ci_hi_ns = NAN;
    out->p90_ns = out->p95_ns = out->p99_ns = NAN;
    if (n >= LATENCY_FLOOR_MEDIAN) {
        out->median_ns = stats_quantile(sorted, n, 0.5);
        stats_median_ci(sorted, n, &out->median_ci_lo_ns, &out->median_ci_hi_ns);
    }
    if (per_sample > 1)
        return; /* the tail of means is not the tail of queries */
    if (n >= FLOOR_P90)
        out->p90_ns = stats_quantile(sorted, n, 0.9);
    if (n >= FLOOR_P95)
        out->p95_ns = stats_quantile(sorted, n, 0.95);
    if (n >= FLOOR_P99)
        out->p99_ns = stats_quantile(sorted, n, 0.99);
}

static void summarize_moments(const double *x, size_t n, struct latency *out) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    out->mean_ns = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - out->mean_ns) * (x[i] - out->mean_ns);
    out->cv = n > 1 && out->mean_ns > 0 ? sqrt(squares / (double)(n - 1)) / out->mean_ns : NAN;
}

/* The clock's grain bounds the MAD from below: a clock that ticks coarsely makes no outliers. */
static void summarize_spread(const double *sorted, size_t n, double grain_ns, double *scratch,
                             struct latency *out) {
    double median = stats_quantile(sorted, n, 0.5), mad = stats_mad(sorted, n, scratch);
    double limit = 5 * fmax(mad, grain_ns);
    out->mad_ns = n >= LATENCY_FLOOR_MEDIAN ? mad : NAN;
    out->outliers = 0;
    for (size_t i = 0; i < n; i++)
        out->outliers += fabs(sorted[i] - median) > limit;
}

/* Tukey (1977), chapter 2D: fences at 1.5 and 3 interquartile ranges, which the grain bounds too.
 */
static void classify_outliers(const double *sorted, size_t n, double grain_ns,
                              struct latency *out) {
    double low = stats_quantile(sorted, n, 0.25), high = stats_quantile(sorted, n, 0.75);
    double range = fmax(high - low, grain_ns);
    for (int k = 0; k < N_OUTLIER_CLASSES; k++)
        out->outliers_of[k] = n >= LATENCY_FLOOR_MEDIAN ? 0 : -1;
    for (size_t i = 0; i < n && n >= LATENCY_FLOOR_MEDIAN; i++) {
        double below = (low - sorted[i]) / range, above = (sorted[i] - high) / range;
        out->outliers_of[OUTLIER_LOW_SEVERE] += below > 3;
        out->outliers_of[OUTLIER_LOW_MILD] += below > 1.5 && below <= 3;
        out->outliers_of[OUTLIER_HIGH_MILD] += above > 1.5 && above <= 3;
        out->outliers_of[OUTLIER_HIGH_SEVERE] += above > 3;
    }
}

void latency_summarize(const struct latency_samples *s, double *scratch, struct latency *out) {
    memcpy(scratch, s->ns, s->n * sizeof *scratch);
    stats_sort(scratch, s->n);
    out->n = s->n_queries;
    out->min_ns = scratch[0];
    out->queries_per_sample = s->per_sample;
    summarize_percentiles(scratch, s->n, s->per_sample, out);
    summarize_moments(s->ns, s->n, out);
    summarize_spread(scratch, s->n, (double)s->clock_grain_ns, scratch + s->n, out);
    classify_outliers(scratch, s->n, (double)s->clock_grain_ns, out);
    out->throughput_ips = s->duration_ns > 0 ? (double)s->samples_per_query * (double)s->n_queries /
                                                   ((double)s->duration_ns * 1e-9)
                                             : NAN;
}

void latency_summarize_ratios(double *ratios, size_t n, struct latency *out) {
    out->ratio = out->ratio_ci_lo = out->ratio_ci_hi = NAN;
    if (n == 0)
        return;
    stats_sort(ratios, n);
    out->ratio = stats_quantile(ratios, n, 0.5);
    stats_median_ci(ratios, n, &out->ratio_ci_lo, &out->ratio_ci_hi);
}
