/* SPDX-License-Identifier: MIT */
/* Is an experiment one that can be run? All of it is looked at before anything is done. */
#include "experiment/arm.h"
#include "experiment/pipeline.h"

#include <string.h>

static pare_status check_arm(const struct arm_spec *arm, const struct registry *reg,
                             struct error *err) {
    const struct plugin_entry *entry;
    if (strcmp(arm->backend, "auto") != 0 &&
        registry_find_backend(reg, arm->backend, err, &entry) != PARE_OK)
        return err->status;
    if (arm->threads < 1 || arm->threads > 1024)
        return error_set(err, PARE_E_RANGE, "threads is %d, wanted 1..1024", arm->threads);
    if (arm->batch < 1 || arm->batch > MAX_TIMED_IMAGES)
        return error_set(err, PARE_E_RANGE, "batch is %d, wanted 1..%d", arm->batch,
                         MAX_TIMED_IMAGES);
    int32_t samples;
    return arm_scenario(arm->scenario, arm->batch, err, &samples);
}

static pare_status check_pipeline(const struct pipeline_spec *spec, const struct registry *reg,
                                  struct error *err) {
    struct pipeline *pipeline;
    if (pipeline_resolve(spec, reg, err, &pipeline) != PARE_OK)
        return err->status;
    pipeline_destroy(pipeline);
    return PARE_OK;
}

static pare_status check_dims(const struct experiment *exp, struct error *err) {
    const struct dataset_info *info = dataset_find_info(exp->dataset, err);
    if (!info)
        return err->status;
    const pare_graph *g = &exp->model.model->graph;
    if (memcmp(info->dims, g->input_dims, sizeof info->dims) != 0 ||
        info->n_classes != g->n_classes)
        return error_set(
            err, PARE_E_ARG,
            "model %s takes %dx%dx%d and gives %d classes, dataset %s has %dx%dx%d and "
            "%d classes",
            exp->model.label, g->input_dims[0], g->input_dims[1], g->input_dims[2], g->n_classes,
            info->name, info->dims[0], info->dims[1], info->dims[2], info->n_classes);
    return PARE_OK;
}

pare_status experiment_check(const struct experiment *exp, const struct registry *reg,
                             struct error *err) {
    if (check_dims(exp, err) != PARE_OK)
        return err->status;
    for (size_t i = 0; i < exp->n_pipelines; i++) {
        if (check_pipeline(&exp->pipelines[i], reg, err) != PARE_OK)
            return error_prefix(err, "pipeline %zu", i + 1);
    }
    for (size_t i = 0; i < exp->n_arms; i++) {
        if (check_arm(&exp->arms[i], reg, err) != PARE_OK)
            return error_prefix(err, "arm %zu", i + 1);
    }
    return PARE_OK;
}
