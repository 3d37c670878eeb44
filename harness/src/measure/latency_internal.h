/* SPDX-License-Identifier: MIT */
/* For latency.c and its tests: timing by any clock. */
#ifndef MEASURE_LATENCY_INTERNAL_H
#define MEASURE_LATENCY_INTERNAL_H

#include "measure/latency.h"

struct latency_clock {
    int64_t (*now_ns)(void *arg);
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

#endif
