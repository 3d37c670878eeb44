/* SPDX-License-Identifier: MIT */
/* For latency.c and its tests: timing by any clock. */
#ifndef MEASURE_LATENCY_INTERNAL_H
#define MEASURE_LATENCY_INTERNAL_H

#include "measure/latency.h"

struct latency_clock {
    int64_t (*now_ns)(void *arg);
    /* A second clock that nobody sets, against which jumps of the first show; may be NULL. */
    int64_t (*check_ns)(void *arg);
    void *arg;
};

/* latency_measure by `clock`. */
pare_status latency_measure_by(const struct latency_clock *clock, const struct latency_arm *arms,
                               size_t n_arms, const struct latency_options *options, uint64_t seed,
                               void (*sample)(void *arg, size_t arm, int64_t query, double ns),
                               void *arg, struct error *err, struct latency *out);

/* Row `row` (0..n-1) of a Latin square over n arms: order[j] is the arm that runs j-th, by way of
 * `labels` (n), a permutation. Over the n rows each arm holds each place once, and for even n each
 * arm follows each other arm once (Williams 1949). */
void latency_order(size_t n, size_t row, const uint32_t *labels, uint32_t *order);

/* What was timed of one arm; figures come from nothing else. */
struct latency_samples {
    const double *ns; /* (n) per query, in order */
    size_t n;
    int64_t n_queries, duration_ns;
    int32_t per_sample;        /* queries */
    int32_t samples_per_query; /* images, for throughput */
    int64_t clock_grain_ns;
};

/* Figures of the distribution, n >= 1. scratch (2 n). */
void latency_summarize(const struct latency_samples *samples, double *scratch, struct latency *out);

/* The ratio and its interval from per-round ratios (n), which get sorted. */
void latency_summarize_ratios(double *ratios, size_t n, struct latency *out);

/* Samples that a median needs. */
enum { LATENCY_FLOOR_MEDIAN = 11 };

#endif
