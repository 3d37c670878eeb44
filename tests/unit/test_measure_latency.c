/* SPDX-License-Identifier: MIT */
/* Timing against a synthetic clock that only queries (and, if wished, the clock itself) move on, so
 * that every figure has a known true value. */
#include "core/rng.h"
#include "measure/latency.h"
#include "measure/latency_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LOG = 4096 };

struct world {
    double now_ns;
    int64_t read_cost_ns; /* of the clock itself */
    int64_t step_back_every, reads;
    int frozen;
    double (*slowness)(double now_ns); /* drift of the whole machine; NULL: 1 */
    int64_t n_log;
    uint8_t log[LOG]; /* which arm ran, in order */
    int last_id;      /* whose data the caches hold */
};

struct subject {
    struct world *world;
    uint8_t id;
    double ns, first_extra_ns, noise; /* noise: relative, exponential */
    pare_rng rng;
    int64_t n_calls, fail_at, spike_every;
    int64_t last_i;
    double refill_ns;                 /* extra time of a query that follows another arm's */
    double slow_calls, slow_extra_ns; /* extra time that fades out over the first calls */
};

static int64_t world_now(void *arg) {
    struct world *w = arg;
    if (!w->frozen)
        w->now_ns += (double)w->read_cost_ns;
    w->reads++;
    if (w->step_back_every > 0 && w->reads % w->step_back_every == 0)
        w->now_ns -= 1e9;
    return (int64_t)w->now_ns;
}

static pare_status subject_query(void *context, int64_t i) {
    struct subject *s = context;
    struct world *w = s->world;
    double ns = s->ns;
    if (s->n_calls == 0)
        ns += s->first_extra_ns;
    if ((double)s->n_calls < s->slow_calls)
        ns += s->slow_extra_ns * (1 - (double)s->n_calls / s->slow_calls);
    if (w->last_id != s->id)
        ns += s->refill_ns;
    w->last_id = s->id;
    if (s->noise > 0)
        ns *= 1 - s->noise * log(1 - rng_double(&s->rng));
    if (s->spike_every > 0 && s->n_calls % s->spike_every == 0)
        ns *= 20;
    if (w->slowness != NULL)
        ns *= w->slowness(w->now_ns);
    if (!w->frozen)
        w->now_ns += ns;
    if (w->n_log < LOG)
        w->log[w->n_log++] = s->id;
    s->last_i = i;
    s->n_calls++;
    return s->fail_at > 0 && s->n_calls == s->fail_at ? PARE_E_RANGE : PARE_OK;
}

static struct subject make_subject(struct world *w, uint8_t id, double ns, double noise) {
    struct subject s = {.world = w, .id = id, .ns = ns, .noise = noise};
    rng_init(&s.rng, 99, "subject", id);
    return s;
}

static pare_status measure(struct world *w, struct subject *subjects, size_t n,
                           const struct latency_options *options, struct error *err,
                           struct latency *out) {
    const struct latency_clock clock = {world_now, NULL, w};
    struct latency_arm arms[64];
    for (size_t k = 0; k < n; k++)
        arms[k] = (struct latency_arm){&subjects[k], subject_query, 8};
    return latency_measure_by(&clock, arms, n, options, 1, NULL, NULL, err, out);
}

static void must_measure(struct world *w, struct subject *subjects, size_t n,
                         const struct latency_options *options, struct latency *out) {
    struct error err = {0};
    if (measure(w, subjects, n, options, &err, out) != PARE_OK)
        fail_msg("%s", err.text);
}

static void near(double got, double wanted, double relative) {
    if (!(fabs(got - wanted) <= relative * fabs(wanted)))
        fail_msg("got %.12g, wanted %.12g +- %g %%", got, wanted, 100 * relative);
}

static struct latency_options quick(void) {
    struct latency_options options;
    latency_profile_options(PROFILE_QUICK, &options);
    return options;
}

static void constant_query_gives_exact_figures(void **state) {
    struct world w = {0};
    struct subject s = make_subject(&w, 0, 20000, 0);
    struct latency_options o = quick();
    struct latency r;
    (void)state;
    s.first_extra_ns = 1e6;
    must_measure(&w, &s, 1, &o, &r);
    near(r.first_ns, 1020000, 0);
    near(r.min_ns, 20000, 0);
    near(r.median_ns, 20000, 0);
    near(r.median_ci_lo_ns, 20000, 0);
    near(r.median_ci_hi_ns, 20000, 0);
    near(r.p90_ns, 20000, 0);
    near(r.p99_ns, 20000, 0);
    near(r.mean_ns, 20000, 0);
    assert_true(r.mad_ns == 0 && r.cv == 0 && r.outliers == 0);
    near(r.throughput_ips, 8 / 20e-6, 1e-12);
    assert_true(isnan(r.ratio) && isnan(r.ratio_ci_lo) && isnan(r.ratio_ci_hi));
    assert_string_equal(r.stop_rule, "min_duration");
    assert_int_equal(r.queries_per_sample, 1);
    assert_in_range(r.n, 5000, 5000 + 4096);
    assert_int_equal(s.n_calls, r.n + r.warmup_n); /* one arm: no untimed queries */
    assert_int_equal(s.last_i, r.n - 1);
}

/* A query that gets faster for a while is not timed before it has settled. */
static void warms_up_until_stable(void **state) {
    struct world w = {0};
    struct subject s = make_subject(&w, 0, 1e6, 0);
    struct latency_options o = quick();
    struct latency r;
    (void)state;
    s.slow_calls = 60;
    s.slow_extra_ns = 3e6;
    must_measure(&w, &s, 1, &o, &r);
    assert_in_range(r.warmup_n, 30, 70);
    assert_true(r.median_ns < 1.1e6);

    /* Never stable: the time cap ends it. */
    memset(&w, 0, sizeof w);
    s = make_subject(&w, 0, 1e6, 0);
    s.slow_calls = 1e9;
    s.slow_extra_ns = 0;
    s.noise = 3;
    o.warmup_max = 50;
    o.min_duration_ns = 5000000000;
    o.max_duration_ns = 5000000000;
    o.min_queries = 20;
    must_measure(&w, &s, 1, &o, &r);
    assert_in_range(r.warmup_n, 17, 51);

    /* No warm-up at all, if so wished; the first query stands apart still. */
    memset(&w, 0, sizeof w);
    s = make_subject(&w, 0, 1e6, 0);
    o.warmup_min = o.warmup_max = 0;
    must_measure(&w, &s, 1, &o, &r);
    assert_int_equal(r.warmup_n, 1);

    /* The floor holds however stable the query is. */
    memset(&w, 0, sizeof w);
    s = make_subject(&w, 0, 1e6, 0);
    o.warmup_min = 77;
    o.warmup_max = 1000;
    o.min_duration_ns = 0;
    must_measure(&w, &s, 1, &o, &r);
    assert_int_equal(r.warmup_n, 78);
}

static double drifting(double now_ns) {
    return 1 + 3 * now_ns / 1e9; /* gets slower all the time: four times after a second */
}

static double throttling(double now_ns) {
    return fmod(now_ns, 60e6) < 30e6 ? 1 : 1.7;
}

static void ratio_survives_drift(void **state) {
    double (*const kinds[])(double) = {drifting, throttling};
    (void)state;
    for (size_t kind = 0; kind < 2; kind++) {
        struct world w = {.slowness = kinds[kind]};
        struct subject s[3] = {make_subject(&w, 0, 100000, 0.01), make_subject(&w, 1, 150000, 0.01),
                               make_subject(&w, 2, 80000, 0.01)};
        struct latency_options o = quick();
        struct latency r[3];
        must_measure(&w, s, 3, &o, r);
        print_message("kind %zu: %.4f [%.4f, %.4f]  %.4f [%.4f, %.4f] in %lld rounds\n", kind,
                      r[1].ratio, r[1].ratio_ci_lo, r[1].ratio_ci_hi, r[2].ratio, r[2].ratio_ci_lo,
                      r[2].ratio_ci_hi, (long long)r[1].n_rounds);
        near(r[1].ratio, 1.5, 0.01);
        near(r[2].ratio, 0.8, 0.01);
        assert_true(r[1].ratio_ci_lo <= 1.5 && 1.5 <= r[1].ratio_ci_hi);
        assert_true(r[2].ratio_ci_lo <= 0.8 && 0.8 <= r[2].ratio_ci_hi);
        assert_true(r[1].ratio_ci_hi - r[1].ratio_ci_lo < 0.05);
        assert_true(isnan(r[0].ratio));
        assert_int_equal(r[0].n, r[1].n); /* the same number of queries each */
        assert_int_equal(r[0].n, r[2].n);
    }
}

/* Many measurements of two arms whose true ratio is known, with exponential noise of 30 % on a
 * machine that gets slower all the time: how often the interval holds the truth, and how often the
 * arm against itself seems to differ. */
static void intervals_of_ratios_cover(void **state) {
    enum { TRIALS = 3000 };
    const double truth = 1.03;
    int covered = 0, alarms = 0, median_covered = 0;
    (void)state;
    for (int trial = 0; trial < TRIALS; trial++) {
        struct world w = {.slowness = drifting}, still = {0};
        struct subject s[3] = {make_subject(&w, 0, 1e6, 0.3), make_subject(&w, 1, 1e6 * truth, 0.3),
                               make_subject(&w, 2, 1e6 * truth, 0.3)};
        struct subject alone = make_subject(&still, 3, 1e6, 0.3);
        const struct latency_clock clock = {world_now, NULL, &w};
        const struct latency_arm arms[3] = {{&s[0], subject_query, 1, 0},
                                            {&s[1], subject_query, 1, 0},
                                            {&s[2], subject_query, 1, 1}};
        struct latency_options o = quick();
        struct latency r[3];
        struct error err = {0};
        for (uint64_t k = 0; k < 3; k++)
            rng_init(&s[k].rng, (uint64_t)trial, "arms", k);
        rng_init(&alone.rng, (uint64_t)trial, "alone", 0);
        assert_int_equal(
            latency_measure_by(&clock, arms, 3, &o, (uint64_t)trial, NULL, NULL, &err, r), PARE_OK);
        assert_true(isnan(r[0].ratio));
        covered += r[1].ratio_ci_lo <= truth && truth <= r[1].ratio_ci_hi;
        alarms += r[2].ratio_ci_lo > 1 || r[2].ratio_ci_hi < 1;
        must_measure(&still, &alone, 1, &o, r);
        /* The median of 1 + 0.3 E, E exponential. */
        double median = 1e6 * (1 + 0.3 * log(2));
        median_covered += r[0].median_ci_lo_ns <= median && median <= r[0].median_ci_hi_ns;
    }
    print_message(
        "of %d: ratio covered %.2f %%, A/A false alarms %.2f %%, median covered %.2f %%\n", TRIALS,
        100.0 * covered / TRIALS, 100.0 * alarms / TRIALS, 100.0 * median_covered / TRIALS);
    assert_in_range(covered, TRIALS * 93 / 100, TRIALS * 97 / 100);
    assert_in_range(median_covered, TRIALS * 93 / 100, TRIALS * 97 / 100);
    assert_in_range(alarms, 0, TRIALS * 5 / 100);
}

/* The same arm twice is compared with itself, whatever the baseline is. */
static void an_arm_may_be_compared_with_another(void **state) {
    struct world w = {0};
    struct subject s[3] = {make_subject(&w, 0, 1e6, 0), make_subject(&w, 1, 2e6, 0),
                           make_subject(&w, 2, 2e6, 0)};
    const struct latency_clock clock = {world_now, NULL, &w};
    struct latency_arm arms[3] = {
        {&s[0], subject_query, 1, 0}, {&s[1], subject_query, 1, 0}, {&s[2], subject_query, 1, 1}};
    struct latency_options o = quick();
    struct latency r[3];
    struct error err = {0};
    (void)state;
    assert_int_equal(latency_measure_by(&clock, arms, 3, &o, 1, NULL, NULL, &err, r), PARE_OK);
    assert_true(isnan(r[0].ratio));
    near(r[1].ratio, 2, 1e-9);
    near(r[2].ratio, 1, 1e-9);
    near(r[2].ratio_ci_lo, 1, 1e-9);
    arms[2].against = 3;
    assert_int_equal(latency_measure_by(&clock, arms, 3, &o, 1, NULL, NULL, &err, r), PARE_E_ARG);
}

struct watcher {
    int64_t n_looks, disturbed_every;
};

static int look(void *arg) {
    struct watcher *w = arg;
    return ++w->n_looks > 1 && w->disturbed_every > 0 && w->n_looks % w->disturbed_every == 0;
}

static void disturbed_blocks_are_counted_and_kept(void **state) {
    struct world w = {0};
    struct subject s[2] = {make_subject(&w, 0, 1e6, 0), make_subject(&w, 1, 1e6, 0)};
    struct latency_options o = quick();
    struct watcher watcher = {0, 5};
    struct latency r[2];
    (void)state;
    must_measure(&w, s, 2, &o, r);
    assert_int_equal(r[0].blocks_disturbed, -1); /* nobody looked: not 0 */
    o.watch = look;
    o.watch_arg = &watcher;
    must_measure(&w, s, 2, &o, r);
    assert_int_equal(watcher.n_looks, 1 + 2 * r[0].n_rounds);
    assert_int_equal(r[0].blocks_disturbed + r[1].blocks_disturbed, watcher.n_looks / 5);
    assert_int_equal(r[0].n, r[1].n);
}

/* 100 samples in a narrow band and some around it, on both sides of each fence. */
static void outliers_are_classified(void **state) {
    double ns[106], scratch[212];
    struct latency r;
    (void)state;
    for (int i = 0; i < 100; i++)
        ns[i] = 1000 + i;
    /* Quartiles about 1024 and 1076, range 52: fences near 946 and 1154, 868 and 1232. */
    static const double others[] = {700, 800, 900, 1200, 1220, 2000};
    memcpy(ns + 100, others, sizeof others);
    const struct latency_samples samples = {ns, 106, 106, 106000, 1, 1, 1};
    latency_summarize(&samples, scratch, &r);
    assert_int_equal(r.outliers_of[OUTLIER_LOW_SEVERE], 2);
    assert_int_equal(r.outliers_of[OUTLIER_LOW_MILD], 1);
    assert_int_equal(r.outliers_of[OUTLIER_HIGH_MILD], 2);
    assert_int_equal(r.outliers_of[OUTLIER_HIGH_SEVERE], 1);
    assert_int_equal(r.n, 106);
    near(r.min_ns, 700, 0);
    const struct latency_samples few = {ns, 10, 10, 10000, 1, 1, 1};
    latency_summarize(&few, scratch, &r);
    assert_int_equal(r.outliers_of[OUTLIER_LOW_SEVERE], -1);
    /* A clock that ticks coarsely makes no outliers. */
    for (int i = 0; i < 100; i++)
        ns[i] = i == 0 ? 1100 : 1000;
    const struct latency_samples coarse = {ns, 100, 100, 100000, 1, 1, 100};
    latency_summarize(&coarse, scratch, &r);
    for (int k = 0; k < N_OUTLIER_CLASSES; k++)
        assert_int_equal(r.outliers_of[k], 0);
}

static void outliers_are_counted_not_dropped(void **state) {
    struct world w = {0};
    struct subject s = make_subject(&w, 0, 1e6, 0.01);
    struct latency_options o = quick();
    struct latency r;
    (void)state;
    s.spike_every = 10;
    must_measure(&w, &s, 1, &o, &r);
    assert_in_range(r.outliers, r.n / 10 - 1, r.n / 10 + r.n / 20);
    near(r.median_ns, 1.008e6, 0.01);
    near(r.mean_ns, 2.93e6, 0.1); /* nine at 1, one at 20 */
    near(r.p99_ns > 0 ? r.p99_ns : 20.2e6, 20.2e6, 0.2);
}

static void floors_leave_percentiles_empty(void **state) {
    static const struct {
        int64_t n;
        int median, p90, p95, p99;
    } cases[] = {{1, 0, 0, 0, 0},   {10, 0, 0, 0, 0},  {11, 1, 0, 0, 0},  {63, 1, 0, 0, 0},
                 {64, 1, 1, 0, 0},  {129, 1, 1, 0, 0}, {130, 1, 1, 1, 0}, {661, 1, 1, 1, 0},
                 {662, 1, 1, 1, 1}, {1000, 1, 1, 1, 1}};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct world w = {0};
        struct subject s = make_subject(&w, 0, 1e6, 0.1);
        struct latency_options o = {0, INT64_MAX / 8, cases[c].n, cases[c].n, 1, 1};
        struct latency r;
        must_measure(&w, &s, 1, &o, &r);
        assert_int_equal(r.n, cases[c].n);
        assert_int_equal(!isnan(r.median_ns), cases[c].median);
        assert_int_equal(!isnan(r.median_ci_lo_ns), cases[c].median);
        assert_int_equal(!isnan(r.median_ci_hi_ns), cases[c].median);
        assert_int_equal(!isnan(r.mad_ns), cases[c].median);
        assert_int_equal(!isnan(r.p90_ns), cases[c].p90);
        assert_int_equal(!isnan(r.p95_ns), cases[c].p95);
        assert_int_equal(!isnan(r.p99_ns), cases[c].p99);
        assert_false(isnan(r.min_ns) || isnan(r.mean_ns) || isnan(r.throughput_ips));
        assert_string_equal(r.stop_rule, "min_queries");
    }
}

static void ratio_needs_six_rounds_for_an_interval(void **state) {
    (void)state;
    for (int64_t rounds = 2; rounds <= 8; rounds += 2) {
        struct world w = {0};
        struct subject s[2] = {make_subject(&w, 0, 1e9, 0), make_subject(&w, 1, 2e9, 0)};
        struct latency_options o = {0, INT64_MAX / 8, rounds, 1000, 1, 1};
        struct latency r[2];
        must_measure(&w, s, 2, &o, r);
        assert_int_equal(r[1].n_rounds, rounds);
        near(r[1].ratio, 2, 1e-9);
        assert_int_equal(isnan(r[1].ratio_ci_lo), rounds < 6);
        assert_int_equal(isnan(r[1].ratio_ci_hi), rounds < 6);
    }
}

static void stop_rules_name_the_bound(void **state) {
    static const struct {
        double ns;
        struct latency_options options;
        const char *rule;
    } cases[] = {
        {1e5, {100000000, 1000000000, 100, 100000, 3, 100}, "min_duration"},
        {5e6, {100000000, 1000000000, 100, 100000, 3, 100}, "min_queries"},
        {50e6, {100000000, 1000000000, 100, 100000, 3, 100}, "max_duration"},
        {1e5, {100000000, 1000000000, 10, 500, 3, 100}, "max_queries"},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct world w = {0};
        struct subject s = make_subject(&w, 0, cases[c].ns, 0);
        struct latency r;
        must_measure(&w, &s, 1, &cases[c].options, &r);
        assert_string_equal(r.stop_rule, cases[c].rule);
        if (strcmp(r.stop_rule, "max_duration") == 0)
            assert_int_equal(r.n, 20);
        if (strcmp(r.stop_rule, "max_queries") == 0)
            assert_int_equal(r.n, 500);
        if (strcmp(r.stop_rule, "min_queries") == 0)
            assert_in_range(r.n, 100, 105);
    }
}

static double slow_later(double now_ns) {
    return now_ns < 60e6 ? 1 : 12;
}

/* On a machine that is suddenly busy, a few long blocks make up the minimum of time: the ratio gets
 * its rounds all the same. */
static void ratios_get_enough_rounds(void **state) {
    struct latency_options o = quick();
    struct latency r[2];
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct world w = {.slowness = slow_later};
        struct subject s[2] = {make_subject(&w, 0, 1e5, 0), make_subject(&w, 1, 1e5, 0)};
        o.min_rounds = k == 0 ? 0 : 12;
        must_measure(&w, s, 2, &o, r);
        if (k == 0)
            assert_in_range(r[1].n_rounds, 2, 11);
        else
            assert_int_equal(r[1].n_rounds, 12);
        assert_string_equal(r[1].stop_rule, k == 0 ? "min_duration" : "min_rounds");
    }
    struct world w = {.slowness = slow_later};
    struct subject alone = make_subject(&w, 0, 1e5, 0);
    must_measure(&w, &alone, 1, &o, r); /* nothing to compare: no rounds needed */
    assert_string_equal(r[0].stop_rule, "min_duration");
}

/* The cap waits for the 11 samples of a median, but not for more than four times itself. */
static void cap_waits_for_a_median(void **state) {
    static const struct {
        double ns;
        int64_t n;
    } cases[] = {{0.3e9, 11}, {0.5e9, 8}, {10e9, 1}};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct world w = {0};
        struct subject s = make_subject(&w, 0, cases[c].ns, 0);
        struct latency_options o = quick();
        struct latency r;
        must_measure(&w, &s, 1, &o, &r);
        assert_int_equal(r.n, cases[c].n);
        assert_string_equal(r.stop_rule, "max_duration");
    }
}

/* A block's first query finds the caches as another arm left them: it is not among the samples. */
static void blocks_begin_with_their_own_data_in_the_caches(void **state) {
    struct world w = {0};
    struct subject s[2] = {make_subject(&w, 0, 1e6, 0), make_subject(&w, 1, 1e6, 0)};
    struct latency_options o = quick();
    struct latency r[2];
    (void)state;
    s[0].refill_ns = s[1].refill_ns = 5e5;
    must_measure(&w, s, 2, &o, r);
    for (int k = 0; k < 2; k++) {
        near(r[k].mean_ns, 1e6, 0);
        assert_int_equal(r[k].outliers, 0);
        assert_int_equal(s[k].n_calls, r[k].n + r[k].warmup_n + r[k].n_rounds);
    }
}

/* A slow and a very fast arm: both reach enough samples, within the slow one's cap. */
static void unequal_arms_both_get_samples(void **state) {
    struct world w = {0};
    struct subject s[2] = {make_subject(&w, 0, 20e6, 0.02), make_subject(&w, 1, 50e3, 0.02)};
    struct latency_options o = quick();
    struct latency r[2];
    (void)state;
    must_measure(&w, s, 2, &o, r);
    assert_in_range(r[0].n, 40, 110);
    assert_true(r[1].n > 10 * r[0].n);
    near(r[1].ratio, 50e3 / 20e6, 0.02);
    assert_true(r[1].p99_ns > 0);
}

static void failing_query_stops_with_its_status(void **state) {
    static const struct {
        int64_t fail_at;
        const char *phase;
    } cases[] = {{1, "first"}, {2, "warm-up"}, {2000, "timed"}};
    (void)state;
    for (size_t c = 0; c < 3; c++) {
        struct world w = {0};
        struct subject s[2] = {make_subject(&w, 0, 1e5, 0), make_subject(&w, 1, 1e5, 0)};
        struct latency_options o = quick();
        struct latency r[2], before;
        struct error err = {0};
        o.min_queries = 5000;
        memset(r, 0x5a, sizeof r);
        before = r[0];
        s[1].fail_at = cases[c].fail_at;
        assert_int_equal(measure(&w, s, 2, &o, &err, r), PARE_E_RANGE);
        assert_non_null(strstr(err.text, "arm 1"));
        assert_non_null(strstr(err.text, cases[c].phase));
        assert_int_equal(s[1].n_calls, cases[c].fail_at);   /* nothing runs after it */
        assert_memory_equal(&r[0], &before, sizeof before); /* untouched on failure */
    }
}

static void clock_that_steps_back_is_survived_or_reported(void **state) {
    struct world w = {.read_cost_ns = 20};
    struct subject s = make_subject(&w, 0, 1e6, 0);
    struct latency_options o = quick();
    struct latency r;
    struct error err = {0};
    (void)state;
    w.step_back_every = 250; /* a few times: those queries run again */
    must_measure(&w, &s, 1, &o, &r);
    near(r.median_ns, 1e6, 1e-4);
    assert_true(r.min_ns > 0);
    assert_true(w.reads > 250);

    memset(&w, 0, sizeof w);
    w.step_back_every = 2; /* every interval */
    s = make_subject(&w, 0, 1e6, 0);
    assert_int_equal(measure(&w, &s, 1, &o, &err, &r), PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "clock"));
}

static int64_t world_check(void *arg) {
    return (int64_t)((struct world *)arg)->now_ns;
}

/* The same clock, but that on one read in `step_back_every` it is an hour ahead. */
static int64_t jumping_now(void *arg) {
    struct world *w = arg;
    w->now_ns += 20;
    w->reads++;
    int ahead = w->step_back_every > 0 && w->reads % w->step_back_every == 0;
    return (int64_t)w->now_ns + (ahead ? INT64_C(3600000000000) : 0);
}

static void clock_that_jumps_ahead_is_survived_or_reported(void **state) {
    struct world w = {.step_back_every = 101};
    struct subject s = make_subject(&w, 0, 1e6, 0);
    const struct latency_arm arm = {&s, subject_query, 1};
    const struct latency_clock checked = {jumping_now, world_check, &w},
                               alone = {jumping_now, NULL, &w};
    struct latency_options o = quick();
    struct latency r;
    struct error err = {0};
    (void)state;
    assert_int_equal(latency_measure_by(&checked, &arm, 1, &o, 1, NULL, NULL, &err, &r), PARE_OK);
    near(r.mean_ns, 1e6, 1e-4); /* no hour in it */
    assert_string_equal(r.stop_rule, "min_duration");
    assert_true(w.reads > 303);

    w.reads = 0; /* without the second clock the hour is believed: the test can fail */
    assert_int_equal(latency_measure_by(&alone, &arm, 1, &o, 1, NULL, NULL, &err, &r), PARE_OK);
    assert_true(r.mean_ns > 1e9);

    w.step_back_every = 3;
    assert_int_equal(latency_measure_by(&checked, &arm, 1, &o, 1, NULL, NULL, &err, &r),
                     PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "the clock jumped 4 times"));
}

static void frozen_clock_ends(void **state) {
    struct world w = {.frozen = 1};
    struct subject s[2] = {make_subject(&w, 0, 1e6, 0), make_subject(&w, 1, 1e6, 0)};
    struct latency_options o = quick();
    struct latency r[2];
    (void)state;
    must_measure(&w, s, 2, &o, r);
    assert_string_equal(r[0].stop_rule, "max_queries");
    assert_int_equal(r[0].n, o.max_queries);
    assert_true(isnan(r[1].ratio)); /* 0 / 0 */
    assert_true(isnan(r[0].throughput_ips));
}

/* The clock's cost is taken off, and queries that it would swamp are timed in groups. */
static void clock_cost_is_accounted_for(void **state) {
    struct latency_options o = quick();
    struct latency r[2];
    (void)state;
    struct world w = {.read_cost_ns = 25};
    struct subject s = make_subject(&w, 0, 100000, 0);
    must_measure(&w, &s, 1, &o, r);
    near(r[0].median_ns, 100000, 1e-9);
    assert_int_equal(r[0].queries_per_sample, 1);

    struct world fast = {.read_cost_ns = 25};
    struct subject pair[2] = {make_subject(&fast, 0, 500, 0), make_subject(&fast, 1, 750, 0)};
    must_measure(&fast, pair, 2, &o, r);
    assert_int_equal(r[0].queries_per_sample, 5); /* 2500 ns: a hundred reads */
    assert_int_equal(r[1].queries_per_sample, 4);
    near(r[0].median_ns, 500, 1e-3);
    near(r[1].median_ns, 750, 1e-3);
    near(r[1].ratio, 1.5, 2e-3);
    assert_true(isnan(r[0].p90_ns) && isnan(r[0].p95_ns) &&
                isnan(r[0].p99_ns)); /* means have another tail */
    assert_int_equal(r[0].n % 5, 0);
    assert_true(r[0].n <= o.max_queries);
}

static void count_preparation(void *context, int64_t i) {
    struct subject *s = context;
    s->slow_calls++; /* how often; slow_extra_ns is 0 */
    s->last_i = -1 - i;
    s->world->now_ns += 5e6; /* not timed */
}

/* Before every timed query, with its number, outside of its time; and no groups. */
static void preparation_is_not_timed(void **state) {
    struct world w = {.read_cost_ns = 25};
    struct subject s = make_subject(&w, 0, 500, 0);
    const struct latency_clock clock = {world_now, NULL, &w};
    const struct latency_arm arm = {&s, subject_query, 1, 0, count_preparation};
    struct latency_options o = {0, INT64_MAX / 8, 50, 50, 5, 5};
    struct latency r;
    struct error err = {0};
    (void)state;
    assert_int_equal(latency_measure_by(&clock, &arm, 1, &o, 1, NULL, NULL, &err, &r), PARE_OK);
    assert_int_equal(r.queries_per_sample, 1);
    assert_true(s.slow_calls == (double)(r.n + r.warmup_n));
    near(r.median_ns, 500, 1e-9);
    near(r.mean_ns, 500, 1e-9);
}

static void order_is_a_latin_square(void **state) {
    uint32_t labels[64], order[64];
    (void)state;
    for (size_t n = 1; n <= 64; n += n < 9 ? 1 : 11) {
        uint8_t place[64][64] = {{0}}, follows[64][64] = {{0}};
        for (size_t k = 0; k < n; k++)
            labels[k] = (uint32_t)((k * 7 + 3) % n); /* any labels; a permutation where 7 | n not */
        if (n % 7 == 0)
            for (size_t k = 0; k < n; k++)
                labels[k] = (uint32_t)k;
        for (size_t row = 0; row < n; row++) {
            latency_order(n, row, labels, order);
            for (size_t j = 0; j < n; j++) {
                assert_true(order[j] < n);
                place[order[j]][j]++;
                if (j > 0)
                    follows[order[j - 1]][order[j]]++;
            }
        }
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < n; j++) {
                assert_int_equal(place[k][j], 1);
                if (n % 2 == 0 && k != j)
                    assert_int_equal(follows[k][j], 1);
            }
    }
}

/* What really ran: blocks of whole rounds, each arm once per round, and not always in one order. */
static void arms_take_turns(void **state) {
    struct world w = {0};
    struct subject s[2] = {make_subject(&w, 0, 1e9, 0), make_subject(&w, 1, 1e9, 0)};
    struct latency_options o = {0, INT64_MAX / 8, 200, 1000, 0, 0};
    struct latency r[2];
    int first_counts[2] = {0, 0}, changes = 0;
    (void)state;
    must_measure(&w, s, 2, &o, r);
    assert_int_equal(r[0].n, 200);
    assert_int_equal(w.n_log, 402); /* 1 s each: no untimed queries */
    for (int64_t i = 2; i < w.n_log; i += 2) {
        assert_int_not_equal(w.log[i], w.log[i + 1]);
        first_counts[w.log[i]]++;
        changes += i > 2 && w.log[i] == w.log[i - 2];
    }
    assert_int_equal(first_counts[0], 100);
    assert_int_equal(first_counts[1], 100);
    assert_in_range(changes, 25, 75); /* reshuffled: neither strict alternation nor never */
}

struct collected {
    int64_t n[2];
    double sum[2];
    int64_t last[2];
};

static void collect(void *arg, size_t arm, int64_t query, double ns) {
    struct collected *c = arg;
    assert_int_equal(query, c->n[arm]);
    c->n[arm]++;
    c->sum[arm] += ns;
}

static void samples_are_handed_out_in_order(void **state) {
    struct world w = {0};
    struct subject s[2] = {make_subject(&w, 0, 1e6, 0.1), make_subject(&w, 1, 2e6, 0.1)};
    const struct latency_clock clock = {world_now, NULL, &w};
    struct latency_arm arms[2] = {{&s[0], subject_query, 1}, {&s[1], subject_query, 1}};
    struct latency_options o = quick();
    struct collected c = {{0}, {0}, {0}};
    struct latency r[2];
    struct error err = {0};
    (void)state;
    assert_int_equal(latency_measure_by(&clock, arms, 2, &o, 5, collect, &c, &err, r), PARE_OK);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(c.n[k], r[k].n);
        near(c.sum[k] / (double)c.n[k], r[k].mean_ns, 1e-12);
    }
}

static void contradicting_options_are_refused(void **state) {
    static const struct latency_options bad[] = {
        {-1, 10, 1, 1, 0, 0}, {20, 10, 1, 1, 0, 0}, {0, 0, 1, 1, 0, 0},  {0, 10, 0, 1, 0, 0},
        {0, 10, 5, 4, 0, 0},  {0, 10, 1, 1, -1, 0}, {0, 10, 1, 1, 2, 1},
    };
    struct world w = {0};
    struct subject s = make_subject(&w, 0, 1e6, 0);
    struct latency_options o = quick();
    struct latency r;
    struct error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(measure(&w, &s, 1, &bad[i], &err, &r), PARE_E_ARG);
    assert_int_equal(measure(&w, &s, 0, &o, &err, &r), PARE_E_ARG);
    struct latency_arm many[65];
    for (int k = 0; k < 65; k++)
        many[k] = (struct latency_arm){&s, subject_query, 1};
    assert_int_equal(latency_measure(many, 65, &o, 1, NULL, NULL, &err, &r), PARE_E_ARG);
    many[0].query = NULL;
    assert_int_equal(latency_measure(many, 1, &o, 1, NULL, NULL, &err, &r), PARE_E_ARG);
    many[0] = (struct latency_arm){&s, subject_query, 0};
    assert_int_equal(latency_measure(many, 1, &o, 1, NULL, NULL, &err, &r), PARE_E_ARG);
    assert_int_equal(s.n_calls, 0);
}

static void profiles_parse(void **state) {
    static const char *const names[] = {"quick", "default", "mlperf"};
    enum latency_profile profile = PROFILE_MLPERF;
    struct error err = {0};
    int64_t shortest = 0;
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct latency_options o;
        assert_int_equal(latency_parse_profile(names[i], &err, &profile), PARE_OK);
        assert_int_equal(profile, i);
        latency_profile_options(profile, &o);
        assert_true(o.min_duration_ns > shortest && o.max_duration_ns > o.min_duration_ns);
        shortest = o.min_duration_ns;
    }
    assert_int_equal(latency_parse_profile("Quick", &err, &profile), PARE_E_NOT_FOUND);
    assert_int_equal(profile, PROFILE_MLPERF);
    assert_non_null(strstr(err.text, "Quick"));
    assert_non_null(strstr(err.text, "quick, default or mlperf"));
}

static volatile double sink;

static pare_status real_work(void *context, int64_t i) {
    double x = (double)i;
    for (int k = 0; k < *(int *)context; k++)
        x = x * 0.999 + 1;
    sink = x;
    return PARE_OK;
}

/* The real clock, on real work: one arm does twice the other's. */
static void real_clock_sees_twice_the_work(void **state) {
    int once = 20000, twice = 40000;
    struct latency_arm arms[2] = {{&once, real_work, 1}, {&twice, real_work, 1}};
    struct latency_options o = quick();
    struct latency r[2];
    struct error err = {0};
    (void)state;
    assert_int_equal(latency_measure(arms, 2, &o, 1, NULL, NULL, &err, r), PARE_OK);
    print_message("median %.0f ns, ratio %.4f [%.4f, %.4f], n %lld, %s\n", r[0].median_ns,
                  r[1].ratio, r[1].ratio_ci_lo, r[1].ratio_ci_hi, (long long)r[0].n,
                  r[0].stop_rule);
    assert_true(r[1].ratio > 1.6 && r[1].ratio < 2.4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_query_gives_exact_figures),
        cmocka_unit_test(warms_up_until_stable),
        cmocka_unit_test(ratio_survives_drift),
        cmocka_unit_test(intervals_of_ratios_cover),
        cmocka_unit_test(an_arm_may_be_compared_with_another),
        cmocka_unit_test(disturbed_blocks_are_counted_and_kept),
        cmocka_unit_test(outliers_are_classified),
        cmocka_unit_test(outliers_are_counted_not_dropped),
        cmocka_unit_test(floors_leave_percentiles_empty),
        cmocka_unit_test(ratio_needs_six_rounds_for_an_interval),
        cmocka_unit_test(stop_rules_name_the_bound),
        cmocka_unit_test(ratios_get_enough_rounds),
        cmocka_unit_test(cap_waits_for_a_median),
        cmocka_unit_test(blocks_begin_with_their_own_data_in_the_caches),
        cmocka_unit_test(unequal_arms_both_get_samples),
        cmocka_unit_test(failing_query_stops_with_its_status),
        cmocka_unit_test(clock_that_steps_back_is_survived_or_reported),
        cmocka_unit_test(clock_that_jumps_ahead_is_survived_or_reported),
        cmocka_unit_test(frozen_clock_ends),
        cmocka_unit_test(clock_cost_is_accounted_for),
        cmocka_unit_test(preparation_is_not_timed),
        cmocka_unit_test(order_is_a_latin_square),
        cmocka_unit_test(arms_take_turns),
        cmocka_unit_test(samples_are_handed_out_in_order),
        cmocka_unit_test(contradicting_options_are_refused),
        cmocka_unit_test(profiles_parse),
        cmocka_unit_test(real_clock_sees_twice_the_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
