/* SPDX-License-Identifier: MIT */
/* The exact figures were computed with rational arithmetic from the binomial distribution. */
#include "core/rng.h"
#include "measure/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void near(double got, double wanted, double tolerance) {
    if (!(fabs(got - wanted) <= tolerance))
        fail_msg("got %.17g, wanted %.17g +- %g", got, wanted, tolerance);
}

static void sorts_nans_last(void **state) {
    double x[] = {3, NAN, -1, INFINITY, 0, -INFINITY, NAN, 2};
    static const double wanted[] = {-INFINITY, -1, 0, 2, 3, INFINITY};
    (void)state;
    stats_sort(x, 8);
    for (int i = 0; i < 6; i++)
        assert_true(x[i] == wanted[i]);
    assert_true(isnan(x[6]) && isnan(x[7]));
    stats_sort(x, 0);
    stats_sort(NULL, 0);
}

static void quantiles_are_type_7(void **state) {
    static const double x[] = {1, 1, 2, 3, 4, 5, 6, 9};
    (void)state;
    near(stats_quantile(x, 8, 0), 1, 0);
    near(stats_quantile(x, 8, 0.1), 1, 1e-15);
    near(stats_quantile(x, 8, 0.25), 1.75, 1e-15);
    near(stats_quantile(x, 8, 0.5), 3.5, 1e-15);
    near(stats_quantile(x, 8, 0.9), 6.9, 1e-14);
    near(stats_quantile(x, 8, 0.99), 8.79, 1e-14);
    near(stats_quantile(x, 8, 1), 9, 0);
    near(stats_quantile(x, 1, 0.37), 1, 0);
    near(stats_quantile(x, 7, 0.5), 3, 0);
    /* An infinite maximum does not spoil quantiles that do not touch it. */
    static const double y[] = {1, 2, INFINITY};
    near(stats_quantile(y, 3, 0.5), 2, 0);
}

static void median_interval_is_exact(void **state) {
    static const struct {
        size_t n, lo, hi;
        double coverage;
    } cases[] = {
        {6, 0, 5, 0.96875},
        {7, 0, 6, 0.984375},
        {10, 1, 8, 0.978515625},
        {11, 1, 9, 0.98828125},
        {20, 5, 14, 0.9586105346679688},
        {25, 7, 17, 0.9567147493362427},
        {64, 23, 40, 0.9672342409011768},
        {100, 39, 60, 0.9647997997822951},
        {1000, 468, 531, 0.9537088026395019},
    };
    size_t lo = 77, hi = 78;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        near(stats_median_interval(cases[i].n, 0.95, &lo, &hi), cases[i].coverage, 1e-12);
        assert_int_equal(lo, cases[i].lo);
        assert_int_equal(hi, cases[i].hi);
    }
    /* Large n: against the normal approximation. */
    near(stats_median_interval(1000000, 0.95, &lo, &hi), 0.95, 1e-3);
    near((double)lo, 500000 - 1.96 * 500, 3);
    assert_int_equal(hi, 999999 - lo);
    /* Too few samples: 0, and the results stay untouched. */
    lo = 77;
    hi = 78;
    for (size_t n = 0; n < 6; n++)
        assert_true(stats_median_interval(n, 0.95, &lo, &hi) == 0);
    assert_int_equal(lo, 77);
    assert_int_equal(hi, 78);
}

/* The interpolated interval lies between the two that enclose the level. */
static void median_ci_is_interpolated(void **state) {
    double x[40], lo = 77, hi = 78;
    (void)state;
    for (int i = 0; i < 40; i++)
        x[i] = i;
    /* n 10, level 0.955: 2..9 covers 0.978515625, 3..8 0.890625; share 0.26755556,
     * weight 8 * share / (2 + 6 * share) = 0.593688. */
    assert_int_equal(stats_median_ci(x, 10, &lo, &hi), 1);
    near(lo, 1.593688, 1e-5);
    near(hi, 9 - 1.593688, 1e-5);
    for (size_t n = 6; n <= 40; n++) {
        size_t below = 0, above = 0;
        stats_median_interval(n, 0.955, &below, &above);
        assert_int_equal(stats_median_ci(x, n, &lo, &hi), 1);
        assert_true(lo >= (double)below && lo <= (double)below + 1);
        near(lo + hi, (double)(n - 1), 1e-9);
    }
    for (size_t n = 0; n < 6; n++) {
        assert_int_equal(stats_median_ci(x, n, &lo, &hi), 0);
        assert_true(isnan(lo) && isnan(hi));
    }
    double equal[] = {4, 4, 4, 4, 4, 4, 4};
    stats_median_ci(equal, 7, &lo, &hi);
    near(lo, 4, 1e-12);
    near(hi, 4, 1e-12);
}

/* On skewed data, the interval holds the true median about as often as it says. */
static void median_interval_covers(void **state) {
    enum { TRIALS = 6000, MAX_N = 401 };
    static const size_t sizes[] = {6, 8, 11, 16, 27, 101, MAX_N};
    static double x[MAX_N];
    const double median = exp(0.0); /* of exp(2 z), z symmetric about 0 */
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s], lo = 0, hi = 0;
        int covered = 0, covered_interpolated = 0;
        double from, to;
        pare_rng rng;
        rng_init(&rng, 20240607, "median", s);
        double coverage = stats_median_interval(n, 0.95, &lo, &hi);
        for (int trial = 0; trial < TRIALS; trial++) {
            for (size_t i = 0; i < n; i++) {
                /* Logistic z: exp(2 z) has no mean, a harsher tail than latencies have. */
                double u = rng_double(&rng);
                u = u > 0 ? u : 0.5;
                x[i] = exp(2 * log(u / (1 - u)));
            }
            stats_sort(x, n);
            covered += x[lo] <= median && median <= x[hi];
            stats_median_ci(x, n, &from, &to);
            covered_interpolated += from <= median && median <= to;
        }
        double rate = (double)covered / TRIALS,
               interpolated = (double)covered_interpolated / TRIALS;
        print_message("n %zu: interpolated %.4f; order statistics %.4f, exactly %.4f\n", n,
                      interpolated, rate, coverage);
        assert_true(interpolated > 0.93 && interpolated < 0.97);
        near(rate, coverage, 0.012); /* four standard errors */
    }
}

static void mad_is_scaled(void **state) {
    static const double x[] = {1, 1, 2, 2, 4, 6, 9};
    double scratch[7];
    (void)state;
    /* Deviations from 2: 1 1 0 0 2 4 7, median 1. */
    near(stats_mad(x, 7, scratch), 1.4826, 1e-12);
    near(stats_mad(x, 1, scratch), 0, 0);
}

static void mad_estimates_sigma(void **state) {
    enum { N = 20001 };
    static double x[N], scratch[N];
    pare_rng rng;
    (void)state;
    rng_init(&rng, 7, "mad", 0);
    for (int i = 0; i < N; i++) {
        x[i] = -6;
        for (int k = 0; k < 12; k++) /* nearly normal, variance 1 */
            x[i] += rng_double(&rng);
    }
    stats_sort(x, N);
    near(stats_mad(x, N, scratch), 1, 0.04);
}

static void wilson_matches_known_values(void **state) {
    double lo, hi;
    (void)state;
    stats_wilson(5, 10, &lo, &hi);
    near(lo, 0.236593090512564, 1e-12);
    near(hi, 0.7634069094874361, 1e-12);
    stats_wilson(9912, 10000, &lo, &hi);
    near(lo, 0.9891715358948607, 1e-12);
    near(hi, 0.9928512241057865, 1e-12);
    stats_wilson(0, 10, &lo, &hi);
    near(lo, 0, 0);
    near(hi, 0.2775327998628892, 1e-12);
    stats_wilson(10, 10, &lo, &hi);
    near(lo, 1 - 0.2775327998628892, 1e-12);
    near(hi, 1, 0);
    stats_wilson(0, 0, &lo, &hi);
    near(lo, 0, 0);
    near(hi, 1, 0);
}

static void mcnemar_is_exact(void **state) {
    (void)state;
    near(stats_mcnemar_exact(5, 15), 0.04138946533203125, 1e-14);
    near(stats_mcnemar_exact(15, 5), 0.04138946533203125, 1e-14);
    near(stats_mcnemar_exact(0, 6), 0.03125, 1e-15);
    near(stats_mcnemar_exact(1, 0), 1, 1e-15);
    near(stats_mcnemar_exact(3, 3), 1, 0);
    near(stats_mcnemar_exact(0, 0), 1, 0);
    near(stats_mcnemar_exact(10, 30), 0.0022214337732293643, 1e-14);
    near(stats_mcnemar_exact(120, 180), 0.0006342200069283569, 1e-14);
    near(stats_mcnemar_exact(0, 1000) / 1.8665272370064378e-301, 1, 1e-10);
    assert_true(stats_mcnemar_exact(0, 100000) >= 0);
    assert_true(stats_mcnemar_exact(500000, 500001) <= 1);
}

static void log_choose_is_exact(void **state) {
    (void)state;
    near(stats_log_choose(100, 3), 11.993498045565198, 1e-13);
    near(stats_log_choose(100, 97), 11.993498045565198, 1e-13);
    near(stats_log_choose(1000, 500), 689.4672615678512, 1e-11);
    near(stats_log_choose(100000, 50000), 69308.73579940939, 1e-9);
    near(stats_log_choose(0, 0), 0, 0);
    near(stats_log_choose(5, 0), 0, 0);
    near(stats_log_choose(5, 5), 0, 0);
    assert_true(stats_log_choose(5, 6) == -INFINITY);
    assert_true(stats_log_choose(5, -1) == -INFINITY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_nans_last),          cmocka_unit_test(quantiles_are_type_7),
        cmocka_unit_test(median_interval_is_exact), cmocka_unit_test(median_ci_is_interpolated),
        cmocka_unit_test(median_interval_covers),   cmocka_unit_test(mad_is_scaled),
        cmocka_unit_test(mad_estimates_sigma),      cmocka_unit_test(wilson_matches_known_values),
        cmocka_unit_test(mcnemar_is_exact),         cmocka_unit_test(log_choose_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
