/* SPDX-License-Identifier: MIT */
/* Measuring one arm: latency against a baseline in the same rounds, then counters and times of
 * layers in passes of their own. Only ever called after the arm's output check has passed. */
#ifndef EXPERIMENT_ARM_H
#define EXPERIMENT_ARM_H

#include "experiment/deployment.h"

struct arm_request {
    struct deployment *subject;
    struct deployment *baseline; /* fp32 on the same backend and threads; NULL: no ratio */
    struct deployment *control;  /* subject compiled once more, for the A/A ratio; NULL: none */
    const pare_graph *graph;     /* the subject's; NULL: its layers are not timed */
    const float *images;         /* (n_images,H,W,C): queries rotate through them */
    int64_t n_images;
    enum cache_state cache; /* other than hot: the deployments have copies that rotate */
    int64_t rotation_bytes; /* what weights and inputs rotate through: arm_rotation_bytes */
    int32_t samples_per_query;
    int32_t threads;
    enum latency_profile profile;
    uint64_t seed;
    int64_t macs_dense;        /* per sample, for the fraction of peak */
    const char *const *events; /* counters to read, beside those that have a column */
    size_t n_events;
    void (*sample)(void *arg, int64_t query,
                   double ns); /* raw latencies of the subject; may be NULL */
    void *sample_arg;
};

pare_status arm_measure(const struct arm_request *request, struct error *err, struct record *rec);

/* How many bytes make caches cold: twice the largest that hwloc tells, or 64 MiB; 0 for hot. */
int64_t arm_rotation_bytes(enum cache_state cache, const struct topology *topo);

/* Samples per query of a scenario: single takes 1, multi 8, offline `batch`. PARE_E_ARG for an
 * unknown one, and for a batch that contradicts it. */
pare_status arm_scenario(const char *scenario, int32_t batch, struct error *err,
                         int32_t *samples_per_query);

#endif
