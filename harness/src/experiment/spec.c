/* SPDX-License-Identifier: MIT */
/* Experiments as data: freeing, labels, proposals. */
#include "core/alloc.h"
#include "experiment/experiment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void inputs_free(struct param_input *inputs, size_t n) {
    for (size_t i = 0; i < n; i++)
        param_input_clear(&inputs[i]);
    free(inputs);
}

static void pipeline_clear(struct pipeline_spec *pipeline) {
    for (size_t i = 0; i < pipeline->n_steps; i++) {
        free(pipeline->steps[i].method);
        inputs_free(pipeline->steps[i].inputs, pipeline->steps[i].n_inputs);
    }
    free(pipeline->steps);
    *pipeline = (struct pipeline_spec){0};
}

void experiment_clear(struct experiment *exp) {
    free(exp->name);
    free(exp->dataset);
    free(exp->script);
    free(exp->checkpoint);
    free(exp->model.label);
    model_destroy(exp->model.model);
    inputs_free(exp->model.train_inputs, exp->model.n_train_inputs);
    free(exp->seeds);
    for (size_t i = 0; i < exp->n_pipelines; i++)
        pipeline_clear(&exp->pipelines[i]);
    free(exp->pipelines);
    for (size_t i = 0; i < exp->n_arms; i++) {
        free(exp->arms[i].backend);
        free(exp->arms[i].scenario);
    }
    free(exp->arms);
    for (size_t i = 0; i < exp->n_counters; i++)
        free(exp->counters[i]);
    free(exp->counters);
    *exp = (struct experiment){0};
}

pare_status experiment_propose(struct experiment *exp, struct pipeline_spec *take,
                               struct error *err) {
    struct pipeline_spec *grown = alloc_resize(exp->pipelines, exp->n_pipelines + 1, sizeof *grown);
    if (!grown)
        return error_set(err, PARE_E_NOMEM, "out of memory for one more pipeline");
    exp->pipelines = grown;
    grown[exp->n_pipelines++] = *take;
    *take = (struct pipeline_spec){0};
    return PARE_OK;
}

static const char *const cache_names[] = {
    [CACHE_HOT] = "hot", [CACHE_COLD_WEIGHTS] = "cold-weights", [CACHE_COLD_ALL] = "cold-all"};

const char *experiment_cache_name(enum cache_state cache) {
    return cache_names[cache];
}

pare_status experiment_parse_cache(const char *name, struct error *err, enum cache_state *out) {
    for (size_t i = 0; i < sizeof cache_names / sizeof *cache_names; i++) {
        if (strcmp(name, cache_names[i]) == 0) {
            *out = (enum cache_state)i;
            return PARE_OK;
        }
    }
    return error_set(err, PARE_E_ARG, "cache is \"%s\", wanted hot, cold-weights or cold-all",
                     name);
}

static void print_input(FILE *out, const struct param_input *input) {
    fprintf(out, "%s=", input->name);
    switch (input->kind) {
    case INPUT_BOOL:
        fputs(input->number != 0 ? "true" : "false", out);
        break;
    case INPUT_NUMBER:
        fprintf(out, "%.12g", input->number);
        break;
    case INPUT_STRING:
        fputs(input->string, out);
        break;
    case INPUT_STRINGS:
        for (int32_t i = 0; i < input->n; i++)
            fprintf(out, "%s%s", i ? "|" : "", input->strings[i]);
        break;
    case INPUT_NUMBERS:
        for (int32_t i = 0; i < input->n; i++)
            fprintf(out, "%s%.12g", i ? "|" : "", input->numbers[i]);
        break;
    }
}

char *pipeline_label(const struct pipeline_spec *pipeline) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return NULL;
    if (pipeline->n_steps == 0)
        fputs("fp32", out);
    for (size_t i = 0; i < pipeline->n_steps; i++) {
        const struct step_spec *step = &pipeline->steps[i];
        fprintf(out, "%s%s", i ? " + " : "", step->method);
        for (size_t k = 0; k < step->n_inputs; k++) {
            fputs(k ? ", " : "(", out);
            print_input(out, &step->inputs[k]);
        }
        if (step->n_inputs > 0)
            fputc(')', out);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
