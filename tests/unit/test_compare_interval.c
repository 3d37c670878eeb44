/* SPDX-License-Identifier: MIT */
/* The statistics of a comparison against known values. */
#include "compare/interval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void near(double got, double wanted, double within) {
    if (!(fabs(got - wanted) <= within))
        fail_msg("got %.10g, wanted %.10g +- %g", got, wanted, within);
}

/* Normal and Student quantiles as tables have them. */
static void factors_are_quantiles(void **state) {
    (void)state;
    near(interval_factor(1, 0), 1.959963984540054, 1e-9);
    near(interval_factor(10, 0), 2.807033768, 1e-8);
    near(interval_factor(10000, 0), 4.564787734, 1e-7);
    near(interval_factor(0, 0), 1.959963985, 1e-8);
    near(interval_factor(1, 1), 12.70620474, 1e-6);
    near(interval_factor(1, 2), 4.302652730, 1e-7);
    near(interval_factor(1, 5), 2.570581836, 1e-7);
    near(interval_factor(1, 30), 2.042272456, 1e-7);
    near(interval_factor(5, 9), 3.249835544, 1e-7); /* 0.995 */
    assert_true(interval_factor(100, 1000) > interval_factor(100, 0));
}

static void log_errors_undo_intervals(void **state) {
    (void)state;
    near(interval_log_error(exp(-1.959963984540054 * 0.1), exp(1.959963984540054 * 0.1)), 0.1,
         1e-12);
    near(interval_log_error(2, 2), 0, 0);
    assert_true(isnan(interval_log_error(NAN, 2)));
}

static void judges(double value, double lo, double hi, enum verdict wanted) {
    struct interval change = {value, lo, hi, lo, hi}, mirrored = {-value, -hi, -lo, -hi, -lo};
    enum verdict opposite = wanted == VERDICT_REGRESSED  ? VERDICT_IMPROVED
                            : wanted == VERDICT_IMPROVED ? VERDICT_REGRESSED
                                                         : wanted;
    assert_int_equal(interval_judge(&change, 0.02, 1), wanted);
    assert_int_equal(interval_judge(&change, 0.02, -1), opposite);
    assert_int_equal(interval_judge(&mirrored, 0.02, 1), opposite);
}

static void effect_and_interval_decide_together(void **state) {
    (void)state;
    judges(0.03, 0.01, 0.05, VERDICT_REGRESSED);
    judges(-0.03, -0.05, -0.01, VERDICT_IMPROVED);
    judges(0.03, -0.01, 0.07, VERDICT_INCONCLUSIVE); /* large, but not resolved */
    judges(0.01, 0.005, 0.015, VERDICT_SAME);        /* resolved, but small */
    judges(0.01, -0.01, 0.03, VERDICT_INCONCLUSIVE); /* small, but it might be large */
    judges(0, -0.02, 0.02, VERDICT_SAME);
    judges(0.02, 0.02, 0.02, VERDICT_SAME); /* exactly the threshold */
    judges(INFINITY, INFINITY, INFINITY, VERDICT_REGRESSED);
    judges(NAN, NAN, NAN, VERDICT_INCONCLUSIVE);
    judges(0.5, NAN, NAN, VERDICT_INCONCLUSIVE);
    struct interval exact, alone = {0.03, 0.01, 0.05, -0.01, 0.07},
                           same = {0, -0.01, 0.01, -0.03, 0.03};
    interval_exact(0.03, &exact);
    assert_int_equal(interval_judge(&exact, 0.02, 1), VERDICT_REGRESSED);
    assert_int_equal(interval_judge(&alone, 0.02, 1), VERDICT_INCONCLUSIVE); /* one of many */
    assert_int_equal(interval_judge(&same, 0.02, 1), VERDICT_SAME);
}

/* Newcombe (1998), table II, method 10. */
static void shares_differ_as_newcombe_says(void **state) {
    (void)state;
    struct {
        double lo, hi;
    } d;
    interval_newcombe(3, 9, 10, 1.959963984540054, &d.lo, &d.hi);
    near(d.lo, 0.1705, 5e-5);
    near(d.hi, 0.8090, 5e-5);
    interval_newcombe(0, 10, 10, 1.959963984540054, &d.lo, &d.hi);
    near(d.lo, 0.6075, 5e-5);
    near(d.hi, 1.0000, 5e-5);
    interval_newcombe(0, 0, 10, 1.959963984540054, &d.lo, &d.hi);
    near(d.lo, -0.2775, 5e-5);
    near(d.hi, 0.2775, 5e-5);
}

static void pairs_use_what_can_differ(void **state) {
    (void)state;
    struct {
        double lo, hi;
    } d, wide;
    const double z = 1.959963984540054;
    interval_paired(9900, 9900, 10000, 0, z, &d.lo, &d.hi);
    near(d.lo, 0, 0);
    near(d.hi, 0, 0);
    /* 40 lost and 10 won: Wilson's interval of 10/50 is 0.1124..0.3304. */
    interval_paired(9900, 9870, 10000, 50, z, &d.lo, &d.hi);
    near(d.lo, (2 * 0.1124 - 1) * 0.005, 2e-6);
    near(d.hi, (2 * 0.3304 - 1) * 0.005, 2e-6);
    interval_paired(9900, 9870, 10000, 200, z, &wide.lo, &wide.hi);
    assert_true(wide.lo < d.lo && wide.hi > d.hi);
    interval_paired(0, 5, 5, 5, z, &d.lo, &d.hi);
    near(d.hi, 1, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_are_quantiles),
        cmocka_unit_test(log_errors_undo_intervals),
        cmocka_unit_test(effect_and_interval_decide_together),
        cmocka_unit_test(shares_differ_as_newcombe_says),
        cmocka_unit_test(pairs_use_what_can_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
