/* SPDX-License-Identifier: MIT */
/* Timing of a repeatable action. See results/README.md for the meaning of each figure. */
#ifndef MEASURE_LATENCY_H
#define MEASURE_LATENCY_H

#include "core/error.h"

#include <pare/status.h>
#include <stddef.h>
#include <stdint.h>

enum latency_profile { PROFILE_QUICK = 0, PROFILE_DEFAULT = 1, PROFILE_MLPERF = 2 };
pare_status latency_parse_profile(const char *name, struct error *err, enum latency_profile *out);

struct latency_options {
    int64_t min_duration_ns, max_duration_ns; /* of the timed part, per arm */
    int64_t min_queries, max_queries;
    int64_t warmup_min, warmup_max; /* queries */
};
void latency_profile_options(enum latency_profile profile, struct latency_options *options);

/* One arm: query(context, i) runs query number i (inputs rotate by i). */
struct latency_arm {
    void *context;
    pare_status (*query)(void *context, int64_t i);
    int32_t samples_per_query; /* for throughput */
};

struct latency {
    int64_t n; /* timed queries */
    int64_t warmup_n;
    double first_ns; /* the very first query */
    double min_ns, median_ns, median_ci_lo_ns, median_ci_hi_ns;
    double p90_ns, p99_ns; /* NaN below their sample floor (64, 662) */
    double mad_ns, mean_ns, cv;
    int64_t outliers; /* beyond median +- 5 MAD; counted, never dropped */
    double throughput_ips;
    double ratio, ratio_ci_lo,
        ratio_ci_hi;    /* time against arm 0: median of per-round ratios; arm 0: NaN */
    char stop_rule[24]; /* "min_duration", "min_queries", "max_duration", "max_queries" */
};

/* Times n_arms together, in short blocks in a balanced order that `seed` shuffles; arm 0 is the
 * baseline. A query that fails stops everything with its status. Samples of arm k, in order, are
 * given to `sample` (may be NULL). */
pare_status latency_measure(const struct latency_arm *arms, size_t n_arms,
                            const struct latency_options *options, uint64_t seed,
                            void (*sample)(void *arg, size_t arm, int64_t query, double ns),
                            void *arg, struct error *err, struct latency *out);

#endif
