/* SPDX-License-Identifier: MIT */
/* Which training images a method gets to see before it acts. */
#ifndef EXPERIMENT_SAMPLES_H
#define EXPERIMENT_SAMPLES_H

#include "dataset/dataset.h"

/* n different items of the training split, chosen by the seed; malloc'd. More than there are:
 * PARE_E_RANGE. */
pare_status samples_choose(const struct dataset *ds, int64_t n, uint64_t seed, struct error *err,
                           uint32_t **items);

#endif
