/* SPDX-License-Identifier: MIT */
/* Batches of training images: shuffled, shifted, flipped, normalised. */
#ifndef TRAIN_BATCHES_H
#define TRAIN_BATCHES_H

#include "core/error.h"
#include "core/pool.h"
#include "dataset/dataset.h"

#include <stdint.h>

struct batches {
    const struct dataset *ds;
    uint64_t seed;
    int64_t steps_per_epoch;
    int32_t shift, flip; /* resolved: 0 or more; 0 or 1 */
    int64_t epoch;       /* that `order` belongs to; -1: none yet */
    uint32_t *order;     /* (n of the training split) */
    float *images;       /* (batch,H,W,C) of the current step */
    uint8_t *labels;     /* (batch) */
    int32_t n;           /* images of the current step */
    float table[3][256]; /* what each value of a pixel becomes, per channel */
};

/* shift and flip -1: what suits the dataset. */
pare_status batches_create(const struct dataset *ds, int32_t batch, int32_t shift, int32_t flip,
                           uint64_t seed, struct error *err, struct batches *out);
void batches_destroy(struct batches *b);

/* Makes the batch of step `step`, the same whatever came before and however many threads there are.
 */
void batches_load(struct batches *b, int64_t step, struct pool *pool);

int64_t batches_per_epoch(int64_t n, int32_t batch);

#endif
