/* SPDX-License-Identifier: MIT */
/* Pipelines: their steps resolved against the methods' parameter tables, and done to a model. */
#ifndef EXPERIMENT_PIPELINE_H
#define EXPERIMENT_PIPELINE_H

#include "experiment/cache.h"
#include "experiment/experiment.h"

struct pipeline; /* checked and resolved */

/* Finds each step's method, checks its parameters and the order of the steps. */
pare_status pipeline_resolve(const struct pipeline_spec *spec, const struct registry *reg,
                             struct error *err, struct pipeline **out);
void pipeline_destroy(struct pipeline *pipeline);

/* [{"method":"ptq","version":"1.0.0","params":{...}}]: everything that decides the result;
 * malloc'd. */
char *pipeline_json(const struct pipeline *pipeline);

/* "ptq 1.0.0; magnitude 1.0.0": the plugins in use; malloc'd. */
char *pipeline_methods(const struct pipeline *pipeline);

/* Training that all steps ask for together, in epochs. */
double pipeline_epochs(const struct pipeline *pipeline);

/* The first value of parameter `name` over the steps, or NULL. */
const pare_param_value *pipeline_param(const struct pipeline *pipeline, const char *name);

struct pipeline_env {
    const struct dataset *ds;
    struct model *teacher; /* for distillation: the model as it was before the pipeline; borrowed */
    uint64_t seed;
    struct pool *pool;
    const char *label;         /* for progress lines; NULL: silent */
    const struct cache *cache; /* of steps that train; NULL: none */
    const char *base_sha256;   /* of the model that the pipeline starts from; for the cache */
};

/* Does all steps to `model`, in place, verifying after each. A message begins with the step. What a
 * cache holds of the first steps is taken from there: pipelines that begin alike share their
 * training. `seconds` (may be NULL) is what the
 * steps took when they were done. */
pare_status pipeline_apply(const struct pipeline *pipeline, const struct pipeline_env *env,
                           struct model *model, struct error *err, double *seconds);

#endif
