/* SPDX-License-Identifier: MIT */
#include "measure/latency.h"

#include "core/alloc.h"
#include "core/progress.h"
#include "core/rng.h"
#include "measure/latency_internal.h"
#include "measure/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MAX_ARMS = 64,
    WARMUP_WINDOW = 8, /* queries */
    MAX_BLOCK_QUERIES = 4096,
    MAX_QUERIES_PER_SAMPLE = 1000,
    SHORT_QUERY_CLOCKS = 100, /* a query below this many clock reads is timed in groups */
    MAX_JUMPS = 3,
    /* Arms whose speeds differ by no more than this run the same number of queries per round. */
    SAME_PACE = 8,
    MAX_PACE = 64,
};

static const double STABLE_WITHIN = 0.03;
#define MS INT64_C(1000000) /* in ns */

struct arm_state {
    const struct latency_arm *arm;
    double *samples; /* (n_samples), in order; ns per query */
    size_t n_samples, capacity;
    int64_t n_queries, duration_ns; /* of the timed part */
    int64_t warmup_n;
    double first_ns, typical_ns;
    int32_t per_sample; /* queries */
    int64_t block_samples;
    double *ratios; /* (n_ratios), one per round */
    size_t n_ratios, ratios_capacity;
    double block_median_ns;
    int64_t blocks_disturbed;
    const char *minimum_met; /* the bound that was met last, once both are */
};

struct timing {
    const struct latency_clock *clock;
    const struct latency_options *options;
    struct arm_state arms[MAX_ARMS];
    size_t n_arms;
    int64_t clock_cost_ns, clock_grain_ns, block_ns, n_rounds;
    int n_jumps;
    double *scratch; /* (the longest block) */
    struct error *err;
};

static int64_t now(const struct timing *t) {
    return t->clock->now_ns(t->clock->arg);
}

static double median_of(const double *x, size_t n, double *scratch) {
    memcpy(scratch, x, n * sizeof *x);
    stats_sort(scratch, n);
    return stats_quantile(scratch, n, 0.5);
}

/* Cost: the least that two reads in a row differ by, which every interval holds of the clock
 * itself. Grain: the least that is not 0. */
static void measure_clock(struct timing *t) {
    int64_t least = INT64_MAX, grain = INT64_MAX;
    for (int k = 0; k < 64 || (k < 100000 && grain == INT64_MAX); k++) {
        int64_t before = now(t), step = now(t) - before;
        if (step >= 0 && step < least)
            least = step;
        if (step > 0 && step < grain)
            grain = step;
    }
    t->clock_cost_ns = least < INT64_MAX ? least : 0;
    t->clock_grain_ns = grain < INT64_MAX ? grain : 1;
}

static pare_status run_query(struct timing *t, size_t k, int64_t i, const char *phase) {
    const struct latency_arm *arm = t->arms[k].arm;
    pare_status status = arm->query(arm->context, i);
    if (status == PARE_OK)
        return PARE_OK;
    return error_set(t->err, status, "latency: arm %zu, %s query %lld failed: %s", k, phase,
                     (long long)i, status_text(status));
}

static int64_t check_now(const struct timing *t) {
    return t->clock->check_ns != NULL ? t->clock->check_ns(t->clock->arg) : 0;
}

/* Did the clock jump in an interval of took_ns? The second clock was read around it, so what lies
 * between the reads can only make its interval longer. */
static int has_jumped(const struct timing *t, int64_t took_ns, int64_t checked_ns) {
    if (took_ns < 0)
        return 1;
    return t->clock->check_ns != NULL && took_ns - took_ns / 100 > checked_ns + MS;
}

static pare_status note_jump(struct timing *t, int64_t took_ns) {
    if (++t->n_jumps <= MAX_JUMPS)
        return PARE_OK;
    return error_set(t->err, PARE_E_UNSUPPORTED,
                     "latency: the clock jumped %d times, last to an interval of %lld ns: this "
                     "machine cannot be timed on",
                     t->n_jumps, (long long)took_ns);
}

/* Times `n` queries from number `first` on as one interval; the clock's own cost is taken off. An
 * interval in which the clock jumps is run again. */
static pare_status time_queries(struct timing *t, size_t k, int64_t first, int32_t n,
                                const char *phase, int64_t *out_ns) {
    const struct latency_arm *arm = t->arms[k].arm;
    for (;;) {
        if (arm->prepare != NULL)
            arm->prepare(arm->context, first);
        int64_t check_ns = check_now(t), begin_ns = now(t);
        for (int32_t j = 0; j < n; j++) {
            pare_status status = run_query(t, k, first + j, phase);
            if (status != PARE_OK)
                return status;
        }
        int64_t took_ns = now(t) - begin_ns;
        if (!has_jumped(t, took_ns, check_now(t) - check_ns)) {
            *out_ns = took_ns > t->clock_cost_ns ? took_ns - t->clock_cost_ns : 0;
            return PARE_OK;
        }
        if (note_jump(t, took_ns) != PARE_OK)
            return t->err->status;
    }
}

/* ---- warm-up ---- */

/* True when the last two windows of `recent`, a ring of the last 2 * WARMUP_WINDOW times, agree. */
static int is_stable(const double *recent, int64_t n, double grain_ns) {
    double older[WARMUP_WINDOW], newer[WARMUP_WINDOW], a, b;
    if (n < 2 * WARMUP_WINDOW)
        return 0;
    for (int64_t j = 0; j < WARMUP_WINDOW; j++) {
        newer[j] = recent[(n - 1 - j) % (2 * WARMUP_WINDOW)];
        older[j] = recent[(n - 1 - j - WARMUP_WINDOW) % (2 * WARMUP_WINDOW)];
    }
    stats_sort(older, WARMUP_WINDOW);
    stats_sort(newer, WARMUP_WINDOW);
    a = stats_quantile(older, WARMUP_WINDOW, 0.5);
    b = stats_quantile(newer, WARMUP_WINDOW, 0.5);
    return fabs(a - b) <= STABLE_WITHIN * fmax(a, b) + 2 * grain_ns;
}

static int64_t at_most(int64_t x, int64_t limit) {
    return x < limit ? x : limit;
}

/* The first query, then warm-up. Leaves the typical time of a query. */
static pare_status warm_up(struct timing *t, size_t k) {
    const struct latency_options *o = t->options;
    const int64_t floor_ns = at_most(o->min_duration_ns / 10, 200 * MS);
    const int64_t cap_ns = at_most(o->min_duration_ns, 5000 * MS);
    struct arm_state *arm = &t->arms[k];
    double recent[2 * WARMUP_WINDOW], scratch[2 * WARMUP_WINDOW];
    int64_t n = 0, total_ns = 0, took_ns;
    pare_status status = time_queries(t, k, 0, 1, "first", &took_ns);
    if (status != PARE_OK)
        return status;
    arm->first_ns = (double)took_ns;
    recent[0] = (double)took_ns; /* stands in where there is no warm-up at all */
    while (n < o->warmup_max) {
        if (n >= o->warmup_min && total_ns >= floor_ns &&
            (total_ns >= cap_ns || is_stable(recent, n, (double)t->clock_grain_ns)))
            break;
        status = time_queries(t, k, n + 1, 1, "warm-up", &took_ns);
        if (status != PARE_OK)
            return status;
        recent[n % (2 * WARMUP_WINDOW)] = (double)took_ns;
        total_ns += took_ns;
        n++;
    }
    arm->warmup_n = n + 1;
    n = n < 1 ? 1 : at_most(n, 2 * WARMUP_WINDOW);
    arm->typical_ns = median_of(recent, (size_t)n, scratch);
    return PARE_OK;
}

/* ---- blocks ---- */

/* How many queries each arm runs per round: the slowest fills block_ns, the others run as many,
 * unless they are so much faster that they would never reach their minimums beside it. */
static void plan_blocks(struct timing *t) {
    double slowest_ns = 0, fit;
    const double short_ns =
        (double)SHORT_QUERY_CLOCKS * fmax((double)t->clock_cost_ns, (double)t->clock_grain_ns);
    for (size_t k = 0; k < t->n_arms; k++)
        slowest_ns = fmax(slowest_ns, t->arms[k].typical_ns);
    fit = slowest_ns > 0 ? floor((double)t->block_ns / slowest_ns) : MAX_BLOCK_QUERIES;
    fit = fmin(fmax(fit, 1), MAX_BLOCK_QUERIES);
    for (size_t k = 0; k < t->n_arms; k++) {
        struct arm_state *arm = &t->arms[k];
        double typical_ns = fmax(arm->typical_ns, 1);
        double pace = fmin(fmax(ceil(slowest_ns / (SAME_PACE * typical_ns)), 1), MAX_PACE);
        double group = fmin(fmax(ceil(short_ns / typical_ns), 1), MAX_QUERIES_PER_SAMPLE);
        group = arm->arm->prepare != NULL ? 1 : fmin(group, (double)t->options->max_queries);
        arm->per_sample = (int32_t)group;
        arm->block_samples = (int64_t)fmax(fit * pace / group, 1);
    }
}

static pare_status reserve(struct timing *t, double **array, size_t *capacity, size_t wanted) {
    double *larger;
    size_t n = *capacity * 2 > wanted ? *capacity * 2 : wanted;
    if (wanted <= *capacity)
        return PARE_OK;
    larger = alloc_resize(*array, n, sizeof *larger);
    if (larger == NULL)
        return error_set(t->err, PARE_E_NOMEM, "latency: no memory for %zu samples", n);
    *array = larger;
    *capacity = n;
    return PARE_OK;
}

/* One block of one arm. Where arms take turns, its first query finds the caches as another arm left
 * them; a query short enough for that to matter is run once beforehand, untimed. */
static pare_status run_block(struct timing *t, size_t k) {
    struct arm_state *arm = &t->arms[k];
    int64_t left = (t->options->max_queries - arm->n_queries) / arm->per_sample;
    int64_t n = at_most(arm->block_samples, left > 1 ? left : 1);
    int64_t block_ns = 0, took_ns = 0;
    size_t first = arm->n_samples;
    pare_status status = reserve(t, &arm->samples, &arm->capacity, first + (size_t)n);
    if (status == PARE_OK && t->n_arms > 1 && arm->typical_ns < 5.0 * (double)MS)
        status = run_query(t, k, arm->n_queries > 0 ? arm->n_queries - 1 : 0, "untimed");
    if (status != PARE_OK)
        return status;
    /* A block that has become far slower than planned is cut short. */
    for (int64_t j = 0; j < n && block_ns <= 10 * t->block_ns; j++) {
        status = time_queries(t, k, arm->n_queries, arm->per_sample, "timed", &took_ns);
        if (status != PARE_OK)
            return status;
        arm->samples[arm->n_samples++] = (double)took_ns / arm->per_sample;
        arm->n_queries += arm->per_sample;
        block_ns += took_ns;
    }
    arm->duration_ns += block_ns;
    arm->block_median_ns = median_of(arm->samples + first, arm->n_samples - first, t->scratch);
    return PARE_OK;
}

void latency_order(size_t n, size_t row, const uint32_t *labels, uint32_t *order) {
    for (size_t j = 0; j < n; j++) {
        /* 0, 1, n-1, 2, n-2, ...: all steps between neighbours differ. */
        size_t place = j % 2 == 1 ? (j + 1) / 2 : (n - j / 2) % n;
        order[j] = labels[(place + row) % n];
    }
}

static pare_status run_round(struct timing *t, const uint32_t *order) {
    for (size_t j = 0; j < t->n_arms; j++) {
        pare_status status = run_block(t, order[j]);
        if (status != PARE_OK)
            return status;
        if (t->options->watch != NULL)
            t->arms[order[j]].blocks_disturbed += t->options->watch(t->options->watch_arg) != 0;
    }
    t->n_rounds++;
    for (size_t k = 0; k < t->n_arms; k++) {
        struct arm_state *arm = &t->arms[k];
        double baseline_ns = t->arms[arm->arm->against].block_median_ns;
        if (arm->arm->against == k || !(baseline_ns > 0))
            continue;
        pare_status status = reserve(t, &arm->ratios, &arm->ratios_capacity, arm->n_ratios + 1);
        if (status != PARE_OK)
            return status;
        arm->ratios[arm->n_ratios++] = arm->block_median_ns / baseline_ns;
    }
    return PARE_OK;
}

/* ---- stop rules ---- */

/* What an arm had before the last round. */
struct progress_of_arm {
    int64_t duration_ns, n_queries;
};

/* Notes which arms have reached all minimums by now, and which bound was the last of them; 1 if all
 * arms have. */
static int note_minimums(struct timing *t, const struct progress_of_arm *before) {
    const struct latency_options *o = t->options;
    int enough_rounds = t->n_arms == 1 || t->n_rounds >= o->min_rounds, all = 1;
    for (size_t k = 0; k < t->n_arms; k++) {
        struct arm_state *arm = &t->arms[k];
        int had_time = before[k].duration_ns >= o->min_duration_ns;
        int had_queries = before[k].n_queries >= o->min_queries;
        if (arm->minimum_met == NULL && enough_rounds && arm->duration_ns >= o->min_duration_ns &&
            arm->n_queries >= o->min_queries)
            arm->minimum_met = had_time && had_queries ? "min_rounds"
                               : had_time              ? "min_queries"
                                                       : "min_duration";
        all &= arm->minimum_met != NULL;
    }
    return all;
}

static const char *maximum_reached(const struct timing *t) {
    const struct latency_options *o = t->options;
    for (size_t k = 0; k < t->n_arms; k++) {
        const struct arm_state *arm = &t->arms[k];
        if (arm->n_queries > o->max_queries - arm->per_sample)
            return "max_queries";
        if (arm->duration_ns >= o->max_duration_ns &&
            (arm->n_samples >= LATENCY_FLOOR_MEDIAN || arm->duration_ns / 4 >= o->max_duration_ns))
            return "max_duration";
    }
    return NULL;
}

/* Rounds until a bound is reached; *maximum is the maximum that was, or NULL. The minimums are
 * looked at after whole squares only, so that every arm has held every place equally often. */
static pare_status run_rounds(struct timing *t, uint64_t seed, const char **maximum) {
    uint32_t labels[MAX_ARMS], order[MAX_ARMS];
    struct progress_of_arm before[MAX_ARMS] = {{0}};
    pare_rng rng;
    rng_init(&rng, seed, "latency", 0);
    for (size_t k = 0; k < t->n_arms; k++)
        labels[k] = (uint32_t)k;
    if (t->options->watch != NULL)
        t->options->watch(t->options->watch_arg);
    for (;;) {
        rng_shuffle(&rng, labels, (uint32_t)t->n_arms);
        int all_met = 0;
        for (size_t row = 0; row < t->n_arms; row++) {
            for (size_t k = 0; k < t->n_arms; k++)
                before[k] = (struct progress_of_arm){t->arms[k].duration_ns, t->arms[k].n_queries};
            latency_order(t->n_arms, row, labels, order);
            pare_status status = run_round(t, order);
            if (status != PARE_OK)
                return status;
            all_met = note_minimums(t, before);
            *maximum = maximum_reached(t);
            if (*maximum != NULL)
                break;
        }
        if (all_met)
            *maximum = NULL;
        if (all_met || *maximum != NULL)
            return PARE_OK;
    }
}

/* ---- results ---- */

static void summarize(struct timing *t, struct arm_state *arm, const char *maximum, double *scratch,
                      struct latency *out) {
    const struct latency_samples samples = {arm->samples,     arm->n_samples,
                                            arm->n_queries,   arm->duration_ns,
                                            arm->per_sample,  arm->arm->samples_per_query,
                                            t->clock_grain_ns};
    memset(out, 0, sizeof *out);
    latency_summarize(&samples, scratch, out);
    latency_summarize_ratios(arm->ratios, arm->n_ratios, out);
    out->warmup_n = arm->warmup_n;
    out->first_ns = arm->first_ns;
    snprintf(out->stop_rule, sizeof out->stop_rule, "%s",
             maximum != NULL ? maximum : arm->minimum_met);
    out->n_rounds = t->n_rounds;
    out->blocks_disturbed = t->options->watch != NULL ? arm->blocks_disturbed : -1;
}

/* ---- the whole ---- */

static pare_status check_arguments(const struct latency_arm *arms, size_t n_arms,
                                   const struct latency_options *o, struct error *err) {
    if (n_arms < 1 || n_arms > MAX_ARMS)
        return error_set(err, PARE_E_ARG, "latency: %zu arms, wanted 1..%d", n_arms, (int)MAX_ARMS);
    for (size_t k = 0; k < n_arms; k++) {
        if (arms[k].query == NULL || arms[k].samples_per_query < 1)
            return error_set(err, PARE_E_ARG,
                             "latency: arm %zu has no query or no samples per query", k);
        if (arms[k].against >= n_arms)
            return error_set(err, PARE_E_ARG, "latency: arm %zu is compared with arm %zu of %zu", k,
                             arms[k].against, n_arms);
    }
    if (o->min_duration_ns < 0 || o->max_duration_ns < 1 || o->max_duration_ns < o->min_duration_ns)
        return error_set(err, PARE_E_ARG, "latency: duration %lld..%lld ns, wanted 0 <= min <= max",
                         (long long)o->min_duration_ns, (long long)o->max_duration_ns);
    if (o->min_queries < 1 || o->max_queries < o->min_queries)
        return error_set(err, PARE_E_ARG, "latency: %lld..%lld queries, wanted 1 <= min <= max",
                         (long long)o->min_queries, (long long)o->max_queries);
    if (o->warmup_min < 0 || o->warmup_max < o->warmup_min)
        return error_set(err, PARE_E_ARG, "latency: warm-up %lld..%lld, wanted 0 <= min <= max",
                         (long long)o->warmup_min, (long long)o->warmup_max);
    return PARE_OK;
}

static pare_status prepare(struct timing *t) {
    int64_t longest = 1;
    measure_clock(t);
    t->block_ns = t->options->min_duration_ns / 25;
    t->block_ns = t->block_ns < MS ? MS : at_most(t->block_ns, 50 * MS);
    for (size_t k = 0; k < t->n_arms; k++) {
        pare_status status = warm_up(t, k);
        if (status != PARE_OK)
            return status;
    }
    plan_blocks(t);
    for (size_t k = 0; k < t->n_arms; k++)
        longest = t->arms[k].block_samples > longest ? t->arms[k].block_samples : longest;
    t->scratch = alloc_array((size_t)longest, sizeof *t->scratch);
    if (t->scratch == NULL)
        return error_set(t->err, PARE_E_NOMEM, "latency: out of memory");
    return PARE_OK;
}

/* Fills `out`, all of it or, out of memory, nothing; then hands out the samples. */
static pare_status report(struct timing *t, const char *maximum,
                          void (*sample)(void *arg, size_t arm, int64_t query, double ns),
                          void *arg, struct latency *out) {
    size_t most = 0;
    double *scratch;
    for (size_t k = 0; k < t->n_arms; k++)
        most = t->arms[k].n_samples > most ? t->arms[k].n_samples : most;
    scratch = alloc_array(most, 2 * sizeof *scratch);
    if (scratch == NULL)
        return error_set(t->err, PARE_E_NOMEM, "latency: out of memory");
    for (size_t k = 0; k < t->n_arms; k++)
        summarize(t, &t->arms[k], maximum, scratch, &out[k]);
    free(scratch);
    for (size_t k = 0; k < t->n_arms && sample != NULL; k++) {
        for (size_t i = 0; i < t->arms[k].n_samples; i++)
            sample(arg, k, (int64_t)i * t->arms[k].per_sample, t->arms[k].samples[i]);
    }
    return PARE_OK;
}

pare_status latency_measure_by(const struct latency_clock *clock, const struct latency_arm *arms,
                               size_t n_arms, const struct latency_options *options, uint64_t seed,
                               void (*sample)(void *arg, size_t arm, int64_t query, double ns),
                               void *arg, struct error *err, struct latency *out) {
    const char *maximum = NULL;
    struct timing *t;
    pare_status status = check_arguments(arms, n_arms, options, err);
    if (status != PARE_OK)
        return status;
    t = alloc_array(1, sizeof *t);
    if (t == NULL)
        return error_set(err, PARE_E_NOMEM, "latency: out of memory");
    t->clock = clock;
    t->options = options;
    t->n_arms = n_arms;
    t->err = err;
    for (size_t k = 0; k < n_arms; k++)
        t->arms[k].arm = &arms[k];
    status = prepare(t);
    if (status == PARE_OK)
        status = run_rounds(t, seed, &maximum);
    if (status == PARE_OK)
        status = report(t, maximum, sample, arg, out);
    for (size_t k = 0; k < n_arms; k++) {
        free(t->arms[k].samples);
        free(t->arms[k].ratios);
    }
    free(t->scratch);
    free(t);
    return status;
}

static int64_t monotonic_ns(void *arg) {
    (void)arg;
    return clock_ns();
}

/* Not steered by NTP, and set by nobody. */
static int64_t raw_ns(void *arg) {
    struct timespec raw;
    (void)arg;
    clock_gettime(CLOCK_MONOTONIC_RAW, &raw);
    return (int64_t)raw.tv_sec * 1000000000 + raw.tv_nsec;
}

pare_status latency_measure(const struct latency_arm *arms, size_t n_arms,
                            const struct latency_options *options, uint64_t seed,
                            void (*sample)(void *arg, size_t arm, int64_t query, double ns),
                            void *arg, struct error *err, struct latency *out) {
    const struct latency_clock clock = {monotonic_ns, raw_ns, NULL};
    return latency_measure_by(&clock, arms, n_arms, options, seed, sample, arg, err, out);
}
