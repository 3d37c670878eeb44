/* SPDX-License-Identifier: MIT */
/* The gate against simulated noise: whole comparisons of files in which nothing changed must raise
 * an alarm in fewer than 5 of 100, and a slowdown of 3 % must be found. */
#include "compare/compare.h"
#include "compare_fixtures.h"
#include "core/rng.h"
#include "measure/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_ARMS = 20, N_ROUNDS = 25 };

static char dir[256];

static int make_dir(void **state) {
    (void)state;
    scratch_make(dir);
    return 0;
}
static int remove_dir(void **state) {
    (void)state;
    scratch_remove(dir);
    return 0;
}

/* What one run of one arm suffers. */
struct noise {
    double rounds; /* scale of the skewed noise of a round's ratio */
    double runs;   /* standard deviation of what stays for a whole run */
};

static double normal(pare_rng *rng) {
    double u = 1 - rng_double(rng), v = rng_double(rng);
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
}

/* Median of skewed ratios (a long tail of slow rounds, median 0), and its interval. */
static void measure(pare_rng *rng, const struct noise *noise, double change, double out[3]) {
    double x[N_ROUNDS], offset = noise->runs * normal(rng);
    size_t lo, hi;
    for (int r = 0; r < N_ROUNDS; r++)
        x[r] = exp(change + offset + noise->rounds * (exp(0.8 * normal(rng)) - 1));
    stats_sort(x, N_ROUNDS);
    assert_true(stats_median_interval(N_ROUNDS, 0.95, &lo, &hi) >= 0.95);
    out[0] = x[N_ROUNDS / 2];
    out[1] = x[lo];
    out[2] = x[hi];
}

static void write_side(const char *name, pare_rng *rng, const struct noise *noise, int n_repeats,
                       double change) {
    struct sheet sheet = sheet_open(dir, name);
    for (int k = 0; k < n_repeats; k++)
        for (int a = 0; a < N_ARMS; a++) {
            double r[3];
            measure(rng, noise, a == 0 ? change : 0, r);
            sheet_row(&sheet,
                      "arm_id=%d ratio_arm_id=b top1=0.9 median_ns=1000 ratio=%.17g "
                      "ratio_ci_lo=%.17g ratio_ci_hi=%.17g",
                      a, r[0], r[1], r[2]);
        }
    sheet_close(&sheet);
}

/* Of `n` comparisons: how many raise an alarm on an arm that did not change, and in how many the
 * first arm, changed by `change`, regressed. */
static void simulate(uint64_t seed, const struct noise *noise, int n_repeats, double change, int n,
                     int *n_alarms, int *n_found) {
    struct compare_options options;
    pare_rng rng;
    char a[300], b[300];
    snprintf(a, sizeof a, "%s/a.csv", dir);
    snprintf(b, sizeof b, "%s/b.csv", dir);
    compare_default_options(&options);
    rng_init(&rng, seed, "compare", 0);
    *n_alarms = *n_found = 0;
    for (int k = 0; k < n; k++) {
        struct error err;
        struct comparison *cmp;
        write_side("a.csv", &rng, noise, n_repeats, 0);
        write_side("b.csv", &rng, noise, n_repeats, change);
        if (compare_files(a, b, &options, &err, &cmp) != PARE_OK)
            fail_msg("%s", err.text);
        int alarm = 0;
        for (size_t i = change > 0; i < cmp->n_arms; i++)
            alarm |= cmp->arms[i].verdict == VERDICT_REGRESSED ||
                     cmp->arms[i].verdict == VERDICT_IMPROVED;
        *n_alarms += alarm;
        *n_found += cmp->arms[0].verdict == VERDICT_REGRESSED;
        compare_destroy(cmp);
    }
    print_message("rounds %.1f %%, runs %.1f %%, %d repeats: %d alarms, %d found of %d\n",
                  100 * noise->rounds, 100 * noise->runs, n_repeats, *n_alarms, *n_found, n);
}

/* At most 5 % and what 400 comparisons may add to that by chance (binomial, 99 %). */
static void stays_quiet(const struct noise *noise, int n_repeats) {
    int n_alarms, n_found;
    simulate(7, noise, n_repeats, 0, 400, &n_alarms, &n_found);
    assert_true(n_alarms <= 20);
}

static void one_run_of_a_quiet_machine(void **state) {
    (void)state;
    stays_quiet(&(struct noise){0.01, 0}, 1);
    stays_quiet(&(struct noise){0.10, 0}, 1);
}
/* Noise that stays for a run is not in the interval of a run. */
static void one_run_of_a_noisy_machine(void **state) {
    (void)state;
    stays_quiet(&(struct noise){0.02, 0.006}, 1);
    stays_quiet(&(struct noise){0.05, 0.015}, 1);
}
static void repeats_on_a_noisy_machine(void **state) {
    (void)state;
    for (int n_repeats = 2; n_repeats <= 5; n_repeats++)
        stays_quiet(&(struct noise){0.01, 0.015}, n_repeats);
    stays_quiet(&(struct noise){0.10, 0.05}, 3);
}

static void finds(const struct noise *noise, int n_repeats, int wanted) {
    int n_alarms, n_found;
    simulate(9, noise, n_repeats, log(1.03), 100, &n_alarms, &n_found);
    assert_true(n_alarms <= 5);
    if (n_found < wanted)
        fail_msg("a slowdown of 3 %% was found %d times of 100, wanted %d", n_found, wanted);
}

static void a_slowdown_of_3_percent_is_found(void **state) {
    (void)state;
    finds(&(struct noise){0.003, 0.001}, 1, 90);
    finds(&(struct noise){0.01, 0.006}, 5, 90);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_run_of_a_quiet_machine),
        cmocka_unit_test(one_run_of_a_noisy_machine),
        cmocka_unit_test(repeats_on_a_noisy_machine),
        cmocka_unit_test(a_slowdown_of_3_percent_is_found),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
