/* SPDX-License-Identifier: MIT */
/* Base models: the network that pipelines start from, one per seed where it is trained or
 * initialised by the experiment, one in all where it is a checkpoint. */
#ifndef EXPERIMENT_BASE_H
#define EXPERIMENT_BASE_H

#include "experiment/trial.h"

struct base_env {
    const struct experiment *exp;
    const struct dataset *ds;
    struct pool *pool;
    const struct cache *cache; /* trained bases are kept here; NULL: not kept */
    int quiet;
};

/* What decides the base, for trial ids: the SHA-256 of a checkpoint, or the way to make it;
 * malloc'd. */
pare_status base_identity(const struct experiment *exp, struct error *err, char **out);

/* Fails only for want of memory for the struct: a base that cannot be trained or evaluated is kept,
 * with the reason, so that it is not tried again for each of its trials. */
pare_status base_create(const struct base_env *env, uint64_t seed, struct error *err,
                        struct base **out);
void base_destroy(struct base *base);

#endif
