/* SPDX-License-Identifier: MIT */
/* Verdicts on files: what is compared with what, and what each difference makes of it. */
#include "compare/compare.h"

#include "compare/side.h"
#include "compare_fixtures.h"
#include "record/record.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static char dir[256];
static struct sheet base, new;

static int open_sheets(void **state) {
    (void)state;
    scratch_make(dir);
    base = sheet_open(dir, "base.csv");
    new = sheet_open(dir, "new.csv");
    return 0;
}
static int remove_dir(void **state) {
    (void)state;
    scratch_remove(dir);
    return 0;
}

static pare_status try_compare(int across_machines, struct error *err, struct comparison **cmp) {
    struct compare_options options;
    char a[300], b[300];
    snprintf(a, sizeof a, "%s/base.csv", dir);
    snprintf(b, sizeof b, "%s/new.csv", dir);
    compare_default_options(&options);
    options.across_machines = across_machines;
    return compare_files(a, b, &options, err, cmp);
}

static struct comparison *compare_sheets(int across_machines) {
    struct error err;
    struct comparison *cmp = NULL;
    sheet_close(&base);
    sheet_close(&new);
    if (try_compare(across_machines, &err, &cmp) != PARE_OK)
        fail_msg("%s", err.text);
    return cmp;
}

static void refuse_sheets(int across_machines, const char *a, const char *b) {
    struct error err;
    struct comparison *cmp = NULL;
    sheet_close(&base);
    sheet_close(&new);
    assert_int_not_equal(try_compare(across_machines, &err, &cmp), PARE_OK);
    assert_message(err.text, a, b);
    assert_null(cmp);
}

/* The verdict of the only arm. */
static void expect(enum verdict wanted, const char *reason) {
    struct comparison *cmp = compare_sheets(0);
    assert_int_equal(cmp->n_arms, 1);
    if (cmp->arms[0].verdict != wanted)
        fail_msg("got %s (%s), wanted %s", verdict_name(cmp->arms[0].verdict), cmp->arms[0].reason,
                 verdict_name(wanted));
    assert_message(cmp->arms[0].reason, reason);
    assert_int_equal(cmp->n_of[wanted], 1);
    assert_int_equal(cmp->n_failing_gate, wanted == VERDICT_REGRESSED || wanted == VERDICT_FAILED);
    compare_destroy(cmp);
}

/* ---- columns ---- */

/* A name that the schema lacks would never be found in a file. */
static void all_columns_are_those_of_the_schema(void **state) {
    (void)state;
    const struct column_info *infos = column_infos();
    for (int k = 0; k < N_TEXTS + N_NUMBERS; k++) {
        const char *name = k < N_TEXTS ? side_text_name((enum side_text)k)
                                       : side_number_name((enum side_number)(k - N_TEXTS));
        int found = 0;
        for (int c = 0; c < N_COLUMNS && !found; c++)
            found = strcmp(name, infos[c].name) == 0;
        if (!found)
            fail_msg("no column %s", name);
    }
    sheet_close(&base);
    sheet_close(&new);
}

/* ---- latency ---- */

static void a_slower_ratio_is_a_regression(void **state) {
    (void)state;
    sheet_row(&base, RATIO(0.300, 0.001));
    sheet_row(&new, RATIO(0.309, 0.001)); /* 3 % */
    expect(VERDICT_REGRESSED, "latency +3.0 % [+2.");
}
static void a_faster_ratio_is_an_improvement(void **state) {
    (void)state;
    sheet_row(&base, RATIO(0.309, 0.001));
    sheet_row(&new, RATIO(0.300, 0.001));
    expect(VERDICT_IMPROVED, "latency -2.9 %");
}
static void a_small_change_is_the_same(void **state) {
    (void)state;
    sheet_row(&base, RATIO(0.300, 0.001));
    sheet_row(&new, RATIO(0.303, 0.001)); /* 1 %, resolved */
    expect(VERDICT_SAME, "");
}
static void a_wide_interval_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, RATIO(0.300, 0.05));
    sheet_row(&new, RATIO(0.312, 0.05));
    expect(VERDICT_INCONCLUSIVE, "ratio not resolved");
}
static void no_interval_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, "ratio_arm_id=b median_ns=9 ratio=0.5 ratio_ci_lo=nan ratio_ci_hi=NaN");
    sheet_row(&new, "ratio_arm_id=b median_ns=9 ratio=0.9");
    expect(VERDICT_INCONCLUSIVE, "too few samples");
}
static void another_cache_state_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, RATIO(0.300, 0.005));
    sheet_row(&new, "cache_state=cold-all " RATIO(0.600, 0.005));
    expect(VERDICT_INCONCLUSIVE, "cache_state differs");
}
static void an_arm_that_differs_from_itself_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, RATIO(0.300, 0.005));
    sheet_row(&new, "aa_ratio=1.02 aa_ratio_ci_lo=1.015 aa_ratio_ci_hi=1.025 " RATIO(0.33, 0.005));
    expect(VERDICT_INCONCLUSIVE, "in NEW the arm differs from itself by +2.0 %");
}
static void a_control_that_holds_changes_nothing(void **state) {
    (void)state;
    sheet_row(&base, "aa_ratio=1.004 aa_ratio_ci_lo=1.002 aa_ratio_ci_hi=1.006 " RATIO(0.3, 0.005));
    sheet_row(&new, "aa_ratio=0.98 aa_ratio_ci_lo=0.93 aa_ratio_ci_hi=1.03 " RATIO(0.33, 0.005));
    expect(VERDICT_REGRESSED, "latency +10.0 %");
}

/* The times below stand for one run each: a time alone then says nothing, whatever its interval. */
#define TIME(value)                                                                                \
    "min_ns=%g median_ns=%g median_ci_lo_ns=%g median_ci_hi_ns=%g", (value)*0.9, (value),          \
        (value)*0.999, (value)*1.001
static void a_time_of_one_run_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, TIME(1000.0));
    sheet_row(&new, TIME(1100.0));
    expect(VERDICT_INCONCLUSIVE, "only with repeats");
}
static void an_equal_time_of_one_run_is_the_same(void **state) {
    (void)state;
    sheet_row(&base, TIME(1000.0));
    sheet_row(&new, TIME(1005.0));
    expect(VERDICT_SAME, "");
}
static void add_repeats(double scale, double peak, double min_scale) {
    static const double times[] = {1000, 1004, 997};
    for (int k = 0; k < 3; k++) {
        double t = times[k] * scale;
        sheet_row(&base, "peak_gmacs=100 " TIME(times[k]));
        sheet_row(&new,
                  "peak_gmacs=%g min_ns=%g median_ns=%g median_ci_lo_ns=%g median_ci_hi_ns=%g",
                  peak, times[k] * 0.9 * min_scale, t, t * 0.999, t * 1.001);
    }
}
static void repeated_times_decide(void **state) {
    (void)state;
    add_repeats(1.10, 100, 1.10);
    expect(VERDICT_REGRESSED, "latency +10.0 %");
}
static void times_of_a_slower_machine_do_not_decide(void **state) {
    (void)state;
    add_repeats(1.10, 90, 1.10);
    expect(VERDICT_INCONCLUSIVE, "time not resolved");
}
static void times_of_a_disturbed_machine_do_not_decide(void **state) {
    (void)state;
    add_repeats(1.10, 100, 1.00); /* the fastest query is as fast as ever */
    expect(VERDICT_INCONCLUSIVE, "time not resolved");
}
static void repeats_that_scatter_widen_the_interval(void **state) {
    (void)state;
    static const double at[] = {0.30, 0.33, 0.27, 0.31};
    for (int k = 0; k < 4; k++) {
        sheet_row(&base, RATIO(at[k], 0.001));
        sheet_row(&new, RATIO(at[3 - k] * 1.04, 0.001));
    }
    expect(VERDICT_INCONCLUSIVE, "ratio not resolved");
}
static void repeats_of_another_commit_are_left_out(void **state) {
    (void)state;
    sheet_row(&base, "git_commit=old " RATIO(0.200, 0.001));
    sheet_row(&base, RATIO(0.300, 0.001));
    sheet_row(&new, RATIO(0.301, 0.001));
    expect(VERDICT_SAME, "");
}

/* ---- a ratio moves with its baseline ---- */

static void add_with_baseline(double own, double baselines) {
    sheet_row(&base, "arm_id=base " TIME(1000.0));
    sheet_row(&new, "arm_id=base " TIME(1000.0 * baselines));
    sheet_row(
        &base,
        "arm_id=x ratio_arm_id=base ratio=0.3 ratio_ci_lo=0.299 ratio_ci_hi=0.301 " TIME(300.0));
    double r = 0.3 * own / baselines;
    sheet_row(&new,
              "arm_id=x ratio_arm_id=base ratio=%g ratio_ci_lo=%g ratio_ci_hi=%g min_ns=%g "
              "median_ns=%g median_ci_lo_ns=%g median_ci_hi_ns=%g",
              r, r * 0.997, r * 1.003, 270 * own, 300 * own, 299 * own, 301 * own);
}
static enum verdict verdict_of_x(void) {
    struct comparison *cmp = compare_sheets(0);
    assert_int_equal(cmp->n_arms, 2);
    assert_string_equal(cmp->arms[1].arm_id, "x");
    enum verdict verdict = cmp->arms[1].verdict;
    compare_destroy(cmp);
    return verdict;
}
static void a_faster_baseline_is_no_regression_of_the_others(void **state) {
    (void)state;
    add_with_baseline(1.0, 0.8);
    assert_int_equal(verdict_of_x(), VERDICT_INCONCLUSIVE);
}
static void a_slower_baseline_is_no_improvement_of_the_others(void **state) {
    (void)state;
    add_with_baseline(1.0, 1.2);
    assert_int_equal(verdict_of_x(), VERDICT_INCONCLUSIVE);
}
static void a_slower_machine_hides_no_regression(void **state) {
    (void)state;
    add_with_baseline(1.3 * 1.1, 1.3);
    assert_int_equal(verdict_of_x(), VERDICT_REGRESSED);
}
static void what_is_slower_by_both_regressed(void **state) {
    (void)state;
    add_with_baseline(1.1, 0.9);
    assert_int_equal(verdict_of_x(), VERDICT_REGRESSED);
}

/* ---- accuracy ---- */

static void a_clear_loss_of_accuracy_is_a_regression(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9953");
    sheet_row(&new, "top1=0.9890");
    expect(VERDICT_REGRESSED, "top1 -0.63 points [-0.88");
}
static void a_gain_of_accuracy_is_an_improvement(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9890");
    sheet_row(&new, "top1=0.9953");
    expect(VERDICT_IMPROVED, "top1 +0.63 points");
}
static void a_loss_that_chance_makes_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, "n_samples=500 top1=0.9");
    sheet_row(&new, "n_samples=500 top1=0.892");
    expect(VERDICT_INCONCLUSIVE, "less than chance can on 500 samples");
}
/* -0.5 points in 10,000 samples: unpaired that is within chance, but the two nets differ in few. */
static void pairs_resolve_what_shares_do_not(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9000 top1_baseline=0.9000 flips_lost=5 flips_won=5");
    sheet_row(&new, "top1=0.8950 top1_baseline=0.9000 flips_lost=60 flips_won=10");
    expect(VERDICT_REGRESSED, "top1 -0.50 points [-0.");
}
static void without_pairs_the_same_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9000 top1_baseline=0.9000 flips_lost=5 flips_won=5 base_sha256=x");
    sheet_row(&new, "top1=0.8950 top1_baseline=0.9000 flips_lost=60 flips_won=10");
    expect(VERDICT_INCONCLUSIVE, "chance");
}
static void a_hair_of_accuracy_is_the_same(void **state) {
    (void)state;
    sheet_row(&base, "n_samples=500 top1=0.9");
    sheet_row(&new, "n_samples=500 top1=0.9");
    expect(VERDICT_SAME, "");
}
static void accuracy_on_other_samples_is_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9");
    sheet_row(&new, "n_samples=500 top1=0.5");
    expect(VERDICT_INCONCLUSIVE, "not of the same samples");
}

/* ---- sizes ---- */

static void a_larger_file_is_a_regression(void **state) {
    (void)state;
    sheet_row(&base, "bytes_file=1000");
    sheet_row(&new, "bytes_file=1011");
    expect(VERDICT_REGRESSED, "bytes_file +1.1 %");
}
static void more_activation_memory_is_a_regression(void **state) {
    (void)state;
    sheet_row(&base, "bytes_file=1000 bytes_activations=0");
    sheet_row(&new, "bytes_file=500 bytes_activations=64");
    expect(VERDICT_REGRESSED, "bytes_activations +inf %");
}
static void repeats_that_contradict_are_inconclusive(void **state) {
    (void)state;
    sheet_row(&base, "bytes_file=1000");
    sheet_row(&new, "bytes_file=1000");
    sheet_row(&new, "bytes_file=2000");
    expect(VERDICT_INCONCLUSIVE, "bytes_file differs between lines 2 and 3");
}

/* ---- what could not be measured ---- */

static void a_crash_in_new_fails_the_gate(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9");
    sheet_row(&new, "status=failed error=crashed");
    expect(VERDICT_FAILED, "failed in NEW: crashed");
}
static void a_later_success_counts(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9");
    sheet_row(&new, "status=failed error=crashed");
    sheet_row(&new, "top1=0.9");
    expect(VERDICT_SAME, "");
}
static void an_empty_cell_in_new_fails_the_gate(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9 bytes_file=5");
    sheet_row(&new, "top1=NaN bytes_file=5");
    expect(VERDICT_FAILED, "top1 is empty in NEW");
}
static void what_failed_before_does_not_fail_the_gate(void **state) {
    (void)state;
    sheet_row(&base, "status=unsupported error=no");
    sheet_row(&new, "status=failed error=crashed");
    struct comparison *cmp = compare_sheets(0);
    assert_int_equal(cmp->arms[0].verdict, VERDICT_FAILED);
    assert_int_equal(cmp->n_failing_gate, 0);
    compare_destroy(cmp);
}
static void missing_and_added_arms_are_told(void **state) {
    (void)state;
    sheet_row(&base, "arm_id=a top1=0.9");
    sheet_row(&base, "arm_id=b top1=0.9");
    sheet_row(&base, "arm_id= top1=0.9");
    sheet_row(&new, "arm_id=c top1=0.9");
    sheet_row(&new, "arm_id=b top1=0.9");
    struct comparison *cmp = compare_sheets(0);
    assert_int_equal(cmp->n_arms, 2);
    assert_int_equal(cmp->arms[0].verdict, VERDICT_FAILED);
    assert_string_equal(cmp->arms[0].reason, "not in NEW");
    assert_int_equal(cmp->arms[0].fails_gate, 1);
    assert_int_equal(cmp->arms[1].verdict, VERDICT_SAME);
    assert_int_equal(cmp->n_only_new, 1);
    assert_int_equal(cmp->n_without_id[0], 1);
    compare_destroy(cmp);
}
/* An arm "x" whose method has these parameters, in BASE; one with others and another id, in NEW. */
static struct comparison *rename_arm(const char *in_base, const char *in_new, const char *more) {
    const char *form = "\"[{\"\"method\"\":\"\"ptq\"\",\"\"params\"\":{%s}}]\"";
    char params[2][512];
    snprintf(params[0], sizeof params[0], form, in_base);
    snprintf(params[1], sizeof params[1], form, in_new);
    sheet_row(&base, "arm_id=shared ratio=0.5");
    sheet_row(&new, "arm_id=shared ratio=0.5");
    sheet_row(&base, "arm_id=x trial_id=t1 bytes_file=1000 params_json=%s", params[0]);
    sheet_row(&new, "arm_id=y trial_id=t2 bytes_file=2000 params_json=%s%s", params[1], more);
    return compare_sheets(0);
}

static const struct compared_arm *arm_called(const struct comparison *cmp, const char *id) {
    for (size_t k = 0; k < cmp->n_arms; k++)
        if (strcmp(cmp->arms[k].arm_id, id) == 0)
            return &cmp->arms[k];
    fail();
    return NULL;
}

#define BITS_8 "\"\"bits\"\":8"
#define MINMAX ",\"\"observer\"\":\"\"minmax\"\""

/* A method that got a parameter, or lost one: other ids, the same arms. */
static void arms_with_a_new_parameter_are_paired_by_name(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct comparison *cmp =
            rename_arm(k ? BITS_8 MINMAX : BITS_8, k ? BITS_8 : BITS_8 MINMAX, "");
        assert_int_equal(arm_called(cmp, "x")->verdict, VERDICT_REGRESSED);
        assert_int_equal(cmp->n_only_new, 0);
        assert_non_null(strstr(cmp->notes[0], "1 arms are paired by name"));
        assert_non_null(strstr(cmp->notes[0], "observer of ptq"));
        compare_destroy(cmp);
        base = sheet_open(dir, "base.csv");
        new = sheet_open(dir, "new.csv");
    }
}

/* Another value is another arm, and so is what differs in anything that names it. */
static void arms_with_another_parameter_are_not_paired(void **state) {
    static const struct {
        const char *in_new, *more, *why;
    } cases[] = {
        {"\"\"bits\"\":4" MINMAX, "", "bits of ptq is 8 in BASE, 4 in NEW"},
        {BITS_8, "", "not in NEW"}, /* the same parameters: something else made the id another */
        {BITS_8 MINMAX, " seed=2", "not in NEW"},
        {BITS_8 MINMAX, " experiment=other", "not in NEW"},
        {BITS_8 MINMAX, " base_sha256=other", "not in NEW"},
        {BITS_8 MINMAX, " threads=2", "not in NEW"},
        {BITS_8 MINMAX, " host=other", "not in NEW"},
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct comparison *cmp = rename_arm(BITS_8, cases[k].in_new, cases[k].more);
        assert_int_equal(arm_called(cmp, "x")->verdict, VERDICT_FAILED);
        assert_non_null(strstr(arm_called(cmp, "x")->reason, cases[k].why));
        assert_int_equal(cmp->n_only_new, 1);
        compare_destroy(cmp);
        base = sheet_open(dir, "base.csv");
        new = sheet_open(dir, "new.csv");
    }
}

static void two_of_one_name_are_not_paired(void **state) {
    (void)state;
    sheet_row(
        &new,
        "arm_id=z trial_id=t3 params_json=\"[{\"\"method\"\":\"\"ptq\"\",\"\"params\"\":{}}]\"");
    struct comparison *cmp = rename_arm(BITS_8, BITS_8 MINMAX, "");
    assert_int_equal(arm_called(cmp, "x")->verdict, VERDICT_FAILED);
    assert_int_equal(cmp->n_only_new, 2);
    compare_destroy(cmp);
}

static void the_worst_quantity_is_the_arms(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9953 bytes_file=1000 " RATIO(0.3, 0.005));
    sheet_row(&new, "top1=0.9890 bytes_file=500 " RATIO(0.3, 0.05));
    expect(VERDICT_REGRESSED, "top1 -0.63");
}

/* ---- machines ---- */

static void another_machine_is_refused(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9");
    sheet_row(&new, "top1=0.9 governor=powersave");
    refuse_sheets(0, "two machines: governor is 'performance'", "--across-machines");
}
static void across_machines_only_ratios_count(void **state) {
    (void)state;
    sheet_row(&base, RATIO(0.3, 0.005));
    sheet_row(&base, "arm_id=base top1=0.5 " TIME(1000.0));
    sheet_row(&new, "host=other cpu=arm " RATIO(0.4, 0.005));
    sheet_row(&new, "host=other cpu=arm arm_id=base top1=0.5 " TIME(9000.0));
    struct comparison *cmp = compare_sheets(1);
    assert_int_equal(cmp->arms[0].verdict, VERDICT_REGRESSED);
    assert_int_equal(cmp->arms[1].verdict, VERDICT_SAME);
    assert_int_equal(cmp->arms[1].changes[QUANTITY_LATENCY].is_compared, 0);
    compare_destroy(cmp);
}
static void an_arm_of_two_other_hosts_is_ambiguous(void **state) {
    (void)state;
    sheet_row(&base, "top1=0.9");
    sheet_row(&new, "top1=0.9 host=x");
    sheet_row(&new, "top1=0.9 host=y");
    refuse_sheets(1, "no row of host 'h'", "2 other hosts");
}
static void each_host_is_compared_with_itself(void **state) {
    (void)state;
    sheet_row(&base, "bytes_file=100 host=x");
    sheet_row(&base, "bytes_file=200 host=y");
    sheet_row(&new, "bytes_file=200 host=y");
    sheet_row(&new, "bytes_file=100 host=x");
    struct comparison *cmp = compare_sheets(0);
    assert_int_equal(cmp->n_of[VERDICT_SAME], 2);
    compare_destroy(cmp);
}
static void an_older_new_is_noted(void **state) {
    (void)state;
    sheet_row(&base, "bytes_file=100 time_utc=2026-02-01T00:00:00Z");
    sheet_row(&base, "arm_id=b bytes_file=100 time_utc=2025-02-01T00:00:00Z");
    sheet_row(&new, "bytes_file=100 time_utc=2026-01-01T00:00:00Z run_id=q");
    struct comparison *cmp = compare_sheets(0);
    assert_message(cmp->notes[0], "NEW is older than BASE");
    compare_destroy(cmp);
}

/* ---- bad input ---- */

static void no_shared_arm_is_refused(void **state) {
    (void)state;
    sheet_row(&base, "arm_id=a");
    sheet_row(&new, "arm_id=b");
    refuse_sheets(0, "share no arm", "p of m on d");
}
static void rows_without_ids_are_refused(void **state) {
    (void)state;
    sheet_row(&base, "arm_id=");
    sheet_row(&new, "arm_id=b");
    refuse_sheets(0, "base.csv: nothing to compare: 1 rows, none with an arm_id", "pare run");
}
static void bad_cells_are_refused(const char *cell, const char *message) {
    base = sheet_open(dir, "base.csv");
    new = sheet_open(dir, "new.csv");
    sheet_row(&base, "top1=0.5");
    sheet_row(&new, "%s", cell);
    refuse_sheets(0, "new.csv: line 2: ", message);
}
static void cells_that_are_no_figures_are_refused(void **state) {
    (void)state;
    sheet_close(&base);
    sheet_close(&new);
    bad_cells_are_refused("top1=1.5", "top1 is '1.5', wanted a number in 0..1");
    bad_cells_are_refused("top1=abc", "top1 is 'abc'");
    bad_cells_are_refused("top1=0.5x", "top1 is '0.5x'");
    bad_cells_are_refused("top1=0x1p-1", "top1 is '0x1p-1'");
    bad_cells_are_refused("top1=inf", "top1 is 'inf'");
    bad_cells_are_refused("bytes_file=-1", "bytes_file is '-1'");
    bad_cells_are_refused("median_ns=0", "median_ns is '0', wanted a number above 0");
    bad_cells_are_refused("ratio=0.5 ratio_ci_lo=0.6 ratio_ci_hi=0.7",
                          "ratio is 0.5 outside its interval 0.6..0.7");
    bad_cells_are_refused("n_samples=1e300", "n_samples is '1e300'");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_sheets, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(all_columns_are_those_of_the_schema),
        TEST(a_slower_ratio_is_a_regression),
        TEST(a_faster_ratio_is_an_improvement),
        TEST(a_small_change_is_the_same),
        TEST(a_wide_interval_is_inconclusive),
        TEST(no_interval_is_inconclusive),
        TEST(another_cache_state_is_inconclusive),
        TEST(an_arm_that_differs_from_itself_is_inconclusive),
        TEST(a_control_that_holds_changes_nothing),
        TEST(a_time_of_one_run_is_inconclusive),
        TEST(an_equal_time_of_one_run_is_the_same),
        TEST(repeated_times_decide),
        TEST(times_of_a_slower_machine_do_not_decide),
        TEST(times_of_a_disturbed_machine_do_not_decide),
        TEST(repeats_that_scatter_widen_the_interval),
        TEST(repeats_of_another_commit_are_left_out),
        TEST(a_faster_baseline_is_no_regression_of_the_others),
        TEST(a_slower_baseline_is_no_improvement_of_the_others),
        TEST(a_slower_machine_hides_no_regression),
        TEST(what_is_slower_by_both_regressed),
        TEST(a_clear_loss_of_accuracy_is_a_regression),
        TEST(a_gain_of_accuracy_is_an_improvement),
        TEST(a_loss_that_chance_makes_is_inconclusive),
        TEST(pairs_resolve_what_shares_do_not),
        TEST(without_pairs_the_same_is_inconclusive),
        TEST(a_hair_of_accuracy_is_the_same),
        TEST(accuracy_on_other_samples_is_inconclusive),
        TEST(a_larger_file_is_a_regression),
        TEST(more_activation_memory_is_a_regression),
        TEST(repeats_that_contradict_are_inconclusive),
        TEST(a_crash_in_new_fails_the_gate),
        TEST(a_later_success_counts),
        TEST(an_empty_cell_in_new_fails_the_gate),
        TEST(what_failed_before_does_not_fail_the_gate),
        TEST(missing_and_added_arms_are_told),
        TEST(arms_with_a_new_parameter_are_paired_by_name),
        TEST(arms_with_another_parameter_are_not_paired),
        TEST(two_of_one_name_are_not_paired),
        TEST(the_worst_quantity_is_the_arms),
        TEST(another_machine_is_refused),
        TEST(across_machines_only_ratios_count),
        TEST(an_arm_of_two_other_hosts_is_ambiguous),
        TEST(each_host_is_compared_with_itself),
        TEST(an_older_new_is_noted),
        TEST(no_shared_arm_is_refused),
        TEST(rows_without_ids_are_refused),
        TEST(cells_that_are_no_figures_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
