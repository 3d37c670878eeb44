/* SPDX-License-Identifier: MIT */
#include "compare/interval.h"

#include <math.h>

#define LEVEL 0.95

static double normal_upper_tail(double z, size_t df) {
    (void)df;
    return 0.5 * erfc(z / sqrt(2));
}

/* P(T > t) of Student's t with df degrees of freedom: Abramowitz & Stegun 26.7.3 and 26.7.4. */
static double student_upper_tail(double t, size_t df) {
    const double pi = 3.14159265358979323846;
    double theta = atan(t / sqrt((double)df)), c2 = cos(theta) * cos(theta);
    double term = df % 2 ? cos(theta) : 1, sum = df > 1 ? term : 0;
    for (size_t k = df % 2 ? 3 : 2; k < df; k += 2) {
        term *= c2 * ((double)k - 1) / (double)k;
        sum += term;
    }
    double central =
        df % 2 ? 2 / pi * (theta + sin(theta) * sum) : sin(theta) * sum; /* P(-t < T < t) */
    return 0.5 * (1 - central);
}

double interval_factor(size_t n_tests, size_t df) {
    double (*tail)(double, size_t) = df > 0 && df <= 1000 ? student_upper_tail : normal_upper_tail;
    double wanted = 0.5 * (1 - LEVEL) / (double)(n_tests > 0 ? n_tests : 1);
    double lo = 0, hi = 1e6; /* far beyond any factor that is of use */
    for (int i = 0; i < 200 && hi - lo > 1e-12 * hi; i++) {
        double middle = 0.5 * (lo + hi);
        if (tail(middle, df) > wanted)
            lo = middle;
        else
            hi = middle;
    }
    return hi;
}

double interval_log_error(double lo, double hi) {
    return (log(hi) - log(lo)) / (2 * 1.959963984540054);
}

enum verdict interval_judge(const struct interval *change, double threshold, int worse) {
    if (fabs(change->value) > threshold && (change->all_lo > 0 || change->all_hi < 0))
        return (change->value > 0) == (worse > 0) ? VERDICT_REGRESSED : VERDICT_IMPROVED;
    if (change->lo >= -threshold && change->hi <= threshold)
        return VERDICT_SAME;
    return VERDICT_INCONCLUSIVE;
}

void interval_exact(double value, struct interval *out) {
    *out = (struct interval){value, value, value, value, value};
}

/* Wilson's score interval of k in n for `factor` standard errors. */
static void wilson(double k, double n, double factor, double *lo, double *hi) {
    double f2 = factor * factor, p = k / n;
    double centre = (p + f2 / (2 * n)) / (1 + f2 / n);
    double half = factor / (1 + f2 / n) * sqrt(p * (1 - p) / n + f2 / (4 * n * n));
    *lo = k <= 0 ? 0 : centre - half;
    *hi = k >= n ? 1 : centre + half;
}

void interval_newcombe(int64_t k_base, int64_t k_new, int64_t n, double factor, double *lo,
                       double *hi) {
    double m = (double)n, p1 = (double)k_new / m, p0 = (double)k_base / m, lo1, hi1, lo0, hi0;
    wilson((double)k_new, m, factor, &lo1, &hi1);
    wilson((double)k_base, m, factor, &lo0, &hi0);
    *lo = p1 - p0 - hypot(p1 - lo1, hi0 - p0);
    *hi = p1 - p0 + hypot(hi1 - p1, p0 - lo0);
}

void interval_paired(int64_t k_base, int64_t k_new, int64_t n, int64_t discordant, double factor,
                     double *lo, double *hi) {
    double m = (double)n, d = (double)discordant, diff = (double)(k_new - k_base);
    *lo = *hi = diff / m;
    if (discordant == 0)
        return; /* the same samples are right */
    double share_lo, share_hi;
    wilson(0.5 * (d + diff), d, factor, &share_lo, &share_hi);
    *lo = (2 * share_lo - 1) * d / m;
    *hi = (2 * share_hi - 1) * d / m;
}
