/* SPDX-License-Identifier: MIT */
/* What timing and counting of an arm share: queries. */
#ifndef EXPERIMENT_ARM_INTERNAL_H
#define EXPERIMENT_ARM_INTERNAL_H

#include "experiment/arm.h"

/* Inputs of queries. Hot or where only weights are cold: query i gets block i. Cold: whichever arm
 * asks gets the next block of a store that is twice as large as the caches. */
struct inputs {
    const float *images; /* (n_blocks, samples_per_query,H,W,C) */
    int64_t n_blocks, block_elems;
    float *store; /* what it owns; NULL where inputs are the request's */
    int64_t turn; /* of the store */
};

/* One deployment as something that can be queried again and again. */
struct querier {
    struct deployment *dep;
    const struct arm_request *request;
    struct inputs *inputs;
    float *output; /* (samples_per_query,n_outputs) */
    struct error err;
};

/* Query i of the struct querier at `context`; what went wrong is in its err. */
pare_status arm_query(void *context, int64_t i);

/* The images of query i; where they rotate, the next ones. */
const float *arm_inputs(struct querier *q, int64_t i);

/* Brings the inputs of query i of the struct querier at `context` into the caches, from which the
 * weights of other executables may have driven them. */
void arm_warm_inputs(void *context, int64_t i);

/* Counters, in passes of their own, then energy; fills their columns. */
pare_status arm_count(struct querier *subject, struct error *err, struct record *rec);

/* Times of layers, in runs of their own, where the backend can tell; fills their column. */
pare_status arm_profile(struct querier *subject, struct error *err, struct record *rec);

#endif
