/* SPDX-License-Identifier: MIT */
/* Passes in which a method sees gradients: the host's side of <pare/ext/gradients.h>. */
#ifndef EXPERIMENT_GRADIENTS_H
#define EXPERIMENT_GRADIENTS_H

#include "core/pool.h"
#include "dataset/dataset.h"
#include "model/model.h"
#include "plugin/registry.h"

#include <pare/ext/gradients.h>

struct gradient_env {
    const struct dataset *ds;
    uint64_t seed;
    struct pool *pool;
    int64_t n_samples;
    int32_t batch;
};

/* All passes that the method asks for, over images that the seed chooses. The model's weights and
 * masks are whatever the method left; its running statistics are as before. A gradient that is not
 * finite is PARE_E_NUMERIC and names the weight. */
pare_status gradients_run(const pare_method_gradients *ext, struct instance *inst,
                          const struct gradient_env *env, struct model *model, struct error *err);

#endif
