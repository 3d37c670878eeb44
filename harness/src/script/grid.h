/* SPDX-License-Identifier: MIT */
/* Pipelines as a script writes them, with alternatives, and their expansion. Plain C, no Lua. */
#ifndef SCRIPT_GRID_H
#define SCRIPT_GRID_H

#include "core/error.h"
#include "experiment/experiment.h"

#include <stddef.h>

/* One value of a step: n alternatives (1 without a grid), all with the same name. */
struct written_value {
    size_t n;
    struct param_input *alternatives;
};

struct written_step {
    struct written_value method; /* strings */
    size_t n_values;
    struct written_value *values;
};

struct written_pipeline {
    size_t n_steps;
    struct written_step *steps;
};
void written_clear(struct written_pipeline *written);

/* The cartesian product of all alternatives: steps in order, in a step the method and then the
 * values in their order; the last one varies fastest. PARE_E_LIMIT above max_pipelines. */
pare_status grid_expand(const struct written_pipeline *written, size_t max_pipelines, int32_t line,
                        struct error *err, struct pipeline_spec **out, size_t *n_out);

/* Frees what n pipelines hold, and the array. */
void grid_free(struct pipeline_spec *pipelines, size_t n);

#endif
