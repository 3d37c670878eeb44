/* SPDX-License-Identifier: MIT */
#include "measure/stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    return (x > y) - (x < y);
}

void stats_sort(double *x, size_t n) {
    if (n > 1)
        qsort(x, n, sizeof *x, ascending);
}

double stats_quantile(const double *sorted, size_t n, double q) {
    double position, fraction;
    size_t below;
    assert(n >= 1 && q >= 0 && q <= 1);
    position = (double)(n - 1) * q;
    below = (size_t)position;
    fraction = position - (double)below;
    if (below + 1 >= n || fraction <= 0)
        return sorted[below];
    /* This form meets both ends exactly and is finite wherever they are. */
    return sorted[below] * (1 - fraction) + sorted[below + 1] * fraction;
}

double stats_median_interval(size_t n, double level, size_t *lo, size_t *hi) {
    /* [x(l), x(n+1-l)], 1-based, covers the median with P(l <= B <= n-l), B ~ Bin(n, 1/2). Widened
     * from the middle until that reaches `level`: the shortest symmetric interval. */
    const double log_half = -0.693147180559945309417;
    size_t l = n / 2;
    double p, coverage;
    if (n < 2)
        return 0;
    /* p = P(B = l), and by symmetry P(B = n-l). */
    p = exp(stats_log_choose((int64_t)n, (int64_t)l) + (double)n * log_half);
    coverage = n % 2 == 0 ? p : 2 * p;
    while (coverage < level && l > 1) {
        p *= (double)l / (double)(n - l + 1);
        l--;
        coverage += 2 * p;
    }
    if (coverage < level)
        return 0;
    *lo = l - 1;
    *hi = n - l;
    return coverage < 1 ? coverage : 1;
}

int stats_median_ci(const double *sorted, size_t n, double *lo, double *hi) {
    const double level = 0.955, log_half = -0.693147180559945309417;
    size_t below, above;
    double wider = stats_median_interval(n, level, &below, &above);
    *lo = *hi = NAN;
    if (!(wider > 0))
        return 0;
    /* In 1-based ranks the wider interval starts at l, the narrower one at l+1; it lacks the two
     * events in which exactly l samples lie on one side. */
    double l = (double)below + 1, m = (double)n;
    double edge = exp(stats_log_choose((int64_t)n, (int64_t)below + 1) + m * log_half);
    double share = below + 1 < above ? (wider - level) / (2 * edge) : 0;
    double weight = (m - l) * share / (l + (m - 2 * l) * share);
    *lo = sorted[below];
    *hi = sorted[above];
    if (weight > 0) { /* else an infinity next door stays out of it */
        *lo = (1 - weight) * sorted[below] + weight * sorted[below + 1];
        *hi = (1 - weight) * sorted[above] + weight * sorted[above - 1];
    }
    return 1;
}

double stats_mad(const double *sorted, size_t n, double *scratch) {
    double median = stats_quantile(sorted, n, 0.5);
    for (size_t i = 0; i < n; i++)
        scratch[i] = fabs(sorted[i] - median);
    stats_sort(scratch, n);
    return 1.4826 * stats_quantile(scratch, n, 0.5);
}

void stats_wilson(int64_t k, int64_t n, double *lo, double *hi) {
    const double z = 1.959963984540054, z2 = z * z;
    double p, m, centre, half;
    assert(k >= 0 && k <= n);
    if (n == 0) {
        *lo = 0;
        *hi = 1;
        return;
    }
    m = (double)n;
    p = (double)k / m;
    centre = (p + z2 / (2 * m)) / (1 + z2 / m);
    half = z / (1 + z2 / m) * sqrt(p * (1 - p) / m + z2 / (4 * m * m));
    /* Exact at the ends, where the two terms cancel but for rounding. */
    *lo = k == 0 ? 0 : centre - half;
    *hi = k == n ? 1 : centre + half;
}

double stats_mcnemar_exact(int64_t b, int64_t c) {
    int64_t n = b + c, m = b < c ? b : c;
    double term = 1, sum = 1, p;
    assert(b >= 0 && c >= 0);
    if (b == c)
        return 1;
    /* 2 P(B <= m), B ~ Bin(n, 1/2), as P(B = m) times the sum of ratios downwards. */
    for (int64_t k = m; k > 0 && term > 1e-18 * sum; k--) {
        term *= (double)k / (double)(n - k + 1);
        sum += term;
    }
    p = 2 * sum * exp(stats_log_choose(n, m) - (double)n * 0.693147180559945309417);
    return p < 1 ? p : 1;
}

double stats_log_choose(int64_t n, int64_t k) {
    double sum = 0, lost = 0;
    if (k < 0 || k > n)
        return -INFINITY;
    k = k < n - k ? k : n - k;
    for (int64_t i = 1; i <= k; i++) {
        /* Kahan: up to half a million terms, and exp() makes absolute errors relative. */
        double term = log((double)(n - k + i) / (double)i) - lost;
        double next = sum + term;
        lost = (next - sum) - term;
        sum = next;
    }
    return sum;
}
