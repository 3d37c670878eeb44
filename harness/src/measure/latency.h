/* SPDX-License-Identifier: MIT */
/* Timing of a repeatable action. README.md in this folder tells how and why; results/README.md what
 * each figure of a record means. */
#ifndef MEASURE_LATENCY_H
#define MEASURE_LATENCY_H

#include "core/error.h"

#include <pare/status.h>
#include <stddef.h>
#include <stdint.h>

enum latency_profile { PROFILE_QUICK = 0, PROFILE_DEFAULT = 1, PROFILE_MLPERF = 2 };

/* "quick", "default" or "mlperf"; anything else is PARE_E_NOT_FOUND. */
pare_status latency_parse_profile(const char *name, struct error *err, enum latency_profile *out);

/* Timing ends, for all arms together, when every arm has reached both of its minimums and, where
 * arms take turns, min_rounds are done (12 in all profiles: fewer tell a ratio badly), or when any
 * arm reaches a maximum. max_duration_ns waits for the 11 samples that a median needs, up to four
 * times itself. Warm-up (per arm) ends at warmup_max queries, or from warmup_min queries and a
 * tenth of min_duration_ns (at most 0.2 s) on when it is stable or has taken min_duration_ns (at
 * most 5 s).
 *
 *              duration min..max      queries min..max    warm-up queries
 *     quick     0.1 s ..    1 s        100 ..    100000     3 ..   10000
 *     default     1 s ..   10 s       1000 ..   1000000    10 ..  100000
 *     mlperf    600 s .. 3600 s       1024 ..  10000000    20 .. 1000000
 *
 * mlperf is MLPerf Inference's single-stream rule (600 s, 1024 queries). */
struct latency_options {
    int64_t min_duration_ns, max_duration_ns; /* of the timed part, per arm */
    int64_t min_queries, max_queries;
    int64_t warmup_min, warmup_max; /* queries */
    /* Looks at the machine, before the first block and after each; 1 if something changed or took
     * time away since it was last called. Called with watch_arg; NULL: nobody looks. */
    int (*watch)(void *watch_arg);
    void *watch_arg;
    int64_t min_rounds; /* where there are two arms or more */
};
void latency_profile_options(enum latency_profile profile, struct latency_options *options);

/* One arm: query(context, i) runs query number i (inputs rotate by i). Numbers start at 0 for the
 * first query and the warm-up, and again at 0 for the timed part, so that arms see the same inputs
 * in the same rounds. */
struct latency_arm {
    void *context;
    pare_status (*query)(void *context, int64_t i);
    int32_t samples_per_query; /* for throughput, >= 1 */
    size_t against;            /* the arm that its ratio compares with; itself: no ratio */
    /* Called untimed before each timed query, which then is a sample of its own; may be NULL. */
    void (*prepare)(void *context, int64_t i);
};

/* Outliers by Tukey's fences: beyond 1.5 (mild) or 3 (severe) interquartile ranges of the
 * quartiles. */
enum latency_outlier {
    OUTLIER_LOW_SEVERE,
    OUTLIER_LOW_MILD,
    OUTLIER_HIGH_MILD,
    OUTLIER_HIGH_SEVERE,
    N_OUTLIER_CLASSES
};

/* NaN where a figure has no sample to stand on. */
struct latency {
    int64_t n;        /* timed queries */
    int64_t warmup_n; /* queries before them, the first one included */
    double first_ns;  /* the very first query */
    double min_ns;
    double median_ns, median_ci_lo_ns, median_ci_hi_ns; /* NaN below 11 samples */
    double p90_ns, p95_ns, p99_ns; /* NaN below 64, 130 and 662 samples, and where
                                      queries_per_sample > 1 */
    double mad_ns;                 /* NaN below 11 samples */
    double mean_ns, cv;
    int64_t outliers; /* samples beyond median +- 5 MAD; counted, never dropped */
    int64_t outliers_of[N_OUTLIER_CLASSES]; /* by Tukey's fences; -1 below 11 samples */
    double throughput_ips;
    double ratio, ratio_ci_lo, ratio_ci_hi; /* time against the arm that it is compared with:
                                               median of per-round ratios, and its interval from 6
                                               rounds on; NaN against itself */
    char stop_rule[24];         /* "min_duration", "min_queries", "min_rounds", "max_duration",
                                   "max_queries" */
    int32_t queries_per_sample; /* 1; more where a query is so short that reading the clock would
                                   weigh (100 times the clock's cost): then each sample is the mean
                                   of that many queries, timed as one */
    int64_t n_rounds;           /* in which arms took turns */
    int64_t blocks_disturbed;   /* of its n_rounds blocks, those in which watch saw something; -1:
                                   nobody looked */
};

/* Times n_arms (1..64) together, in short blocks in a balanced order that `seed` shuffles; arm 0 is
 * the baseline unless an arm names another. `out` (n_arms). A query that fails stops everything
 * with its status. When all is timed, the samples of each arm, in order, are given to `sample` (may
 * be NULL) with the number of their (first) query. PARE_E_ARG for options that contradict each
 * other, PARE_E_NOMEM, and PARE_E_UNSUPPORTED if the clock jumps back or ahead again and again.
 * [main] */
pare_status latency_measure(const struct latency_arm *arms, size_t n_arms,
                            const struct latency_options *options, uint64_t seed,
                            void (*sample)(void *arg, size_t arm, int64_t query, double ns),
                            void *arg, struct error *err, struct latency *out);

#endif
