/* SPDX-License-Identifier: MIT */
#include "experiment/samples.h"

#include "core/alloc.h"
#include "core/rng.h"

pare_status samples_choose(const struct dataset *ds, int64_t n, uint64_t seed, struct error *err,
                           uint32_t **out) {
    const struct dataset_split *split = &ds->splits[SPLIT_TRAIN];
    if (dataset_need_train(ds, "calibration", err) != PARE_OK)
        return err->status;
    if (n > split->n)
        return error_set(
            err, PARE_E_RANGE,
            "calibration_samples is %lld, but the training split of %s has %lld images",
            (long long)n, ds->name, (long long)split->n);
    uint32_t *items = alloc_array((size_t)split->n, sizeof *items);
    if (!items)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    for (int64_t i = 0; i < split->n; i++)
        items[i] = (uint32_t)i;
    pare_rng rng;
    rng_init(&rng, seed, "calibration", 0);
    for (int64_t i = 0; i < n; i++) { /* the first n of a Fisher-Yates shuffle */
        int64_t j = i + (int64_t)rng_below(&rng, (uint64_t)(split->n - i));
        uint32_t t = items[i];
        items[i] = items[j];
        items[j] = t;
    }
    *out = items;
    return PARE_OK;
}
