/* SPDX-License-Identifier: MIT */
#include "script/grid.h"

#include "core/alloc.h"

#include <stdlib.h>
#include <string.h>

static void value_clear(struct written_value *value) {
    for (size_t k = 0; k < value->n; k++)
        param_input_clear(&value->alternatives[k]);
    free(value->alternatives);
}

void written_clear(struct written_pipeline *written) {
    for (size_t s = 0; s < written->n_steps; s++) {
        struct written_step *step = &written->steps[s];
        value_clear(&step->method);
        for (size_t k = 0; k < step->n_values; k++)
            value_clear(&step->values[k]);
        free(step->values);
    }
    free(written->steps);
    *written = (struct written_pipeline){0};
}

static void pipeline_clear(struct pipeline_spec *pipeline) {
    for (size_t s = 0; s < pipeline->n_steps; s++) {
        struct step_spec *step = &pipeline->steps[s];
        for (size_t k = 0; k < step->n_inputs; k++)
            param_input_clear(&step->inputs[k]);
        free(step->inputs);
        free(step->method);
    }
    free(pipeline->steps);
}

void grid_free(struct pipeline_spec *pipelines, size_t n) {
    for (size_t k = 0; k < n; k++)
        pipeline_clear(&pipelines[k]);
    free(pipelines);
}

static int multiply(size_t *product, size_t factor, size_t max) {
    if (factor > max / *product)
        return 0;
    *product *= factor;
    return 1;
}

/* The number of combinations, 0 if there are more than max. */
static size_t count_combinations(const struct written_pipeline *written, size_t max) {
    size_t product = 1;
    for (size_t s = 0; s < written->n_steps; s++) {
        const struct written_step *step = &written->steps[s];
        if (!multiply(&product, step->method.n, max))
            return 0;
        for (size_t k = 0; k < step->n_values; k++)
            if (!multiply(&product, step->values[k].n, max))
                return 0;
    }
    return product;
}

/* Takes this value's digit off the combination's number, lowest digit first. */
static const struct param_input *pick(const struct written_value *value, size_t *number) {
    size_t digit = *number % value->n;
    *number /= value->n;
    return &value->alternatives[digit];
}

static pare_status expand_step(const struct written_step *written, size_t *number,
                               struct error *err, struct step_spec *step) {
    step->inputs = alloc_array(written->n_values, sizeof *step->inputs);
    if (!step->inputs)
        return error_set(err, PARE_E_NOMEM, "pipelines: out of memory");
    step->n_inputs = written->n_values;
    for (size_t k = written->n_values; k-- > 0;)
        if (param_input_copy(pick(&written->values[k], number), err, &step->inputs[k]))
            return err->status;
    step->method = strdup(pick(&written->method, number)->string);
    if (!step->method)
        return error_set(err, PARE_E_NOMEM, "pipelines: out of memory");
    return PARE_OK;
}

static pare_status expand_one(const struct written_pipeline *written, size_t number,
                              struct error *err, struct pipeline_spec *pipeline) {
    pipeline->steps = alloc_array(written->n_steps, sizeof *pipeline->steps);
    if (!pipeline->steps)
        return error_set(err, PARE_E_NOMEM, "pipelines: out of memory");
    pipeline->n_steps = written->n_steps;
    for (size_t s = written->n_steps; s-- > 0;)
        if (expand_step(&written->steps[s], &number, err, &pipeline->steps[s]))
            return err->status;
    return PARE_OK;
}

pare_status grid_expand(const struct written_pipeline *written, size_t max_pipelines, int32_t line,
                        struct error *err, struct pipeline_spec **out, size_t *n_out) {
    size_t n = count_combinations(written, max_pipelines);
    if (n == 0)
        return error_set(err, PARE_E_LIMIT, "the grid makes more than %zu pipelines",
                         max_pipelines);
    struct pipeline_spec *pipelines = alloc_array(n, sizeof *pipelines);
    if (!pipelines)
        return error_set(err, PARE_E_NOMEM, "pipelines: out of memory");
    for (size_t k = 0; k < n; k++) {
        pipelines[k].line = line;
        if (expand_one(written, k, err, &pipelines[k])) {
            grid_free(pipelines, n);
            return err->status;
        }
    }
    *out = pipelines;
    *n_out = n;
    return PARE_OK;
}
