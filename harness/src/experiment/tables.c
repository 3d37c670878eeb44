/* SPDX-License-Identifier: MIT */
#include "experiment/tables.h"

#include "experiment/experiment.h"
#include "train/train.h"

#include <string.h>

static const pare_param_desc where_rows[] = {
    {"include", PARE_PARAM_STRINGS, "", 0, 0, NULL, NULL,
     "Patterns (* and ?) of the conv2d and linear nodes to treat; none given: all of them."},
    {"exclude", PARE_PARAM_STRINGS, "", 0, 0, NULL, NULL,
     "Patterns of nodes to leave alone; wins over include."},
};

static const pare_param_desc calibration_rows[] = {
    {"calibration_samples", PARE_PARAM_INT, "images", 1, 1000000, NULL, "512",
     "Images of the training split, chosen by the seed, that the method observes."},
    {"calibration_batch", PARE_PARAM_INT, "images", 1, 1024, NULL, "64",
     "Images per observed batch."},
};

static const pare_param_desc training_rows[] = {
    {"epochs", PARE_PARAM_FLOAT, "epochs", 0, 10000, NULL, "0",
     "Passes over the training split; may be a fraction; 0: no training."},
    {"lr", PARE_PARAM_FLOAT, "", 0, 100, NULL, "0.02", "Peak learning rate."},
    {"batch", PARE_PARAM_INT, "images", 1, 4096, NULL, "128", "Images per training step."},
    {"lr_schedule", PARE_PARAM_STRING, "", 0, 0, "linear|cosine|constant", "linear",
     "Learning rate after the warm-up: down to 0, or constant."},
    {"warmup", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.15",
     "Part of all steps in which the learning rate rises linearly from 0."},
    {"momentum", PARE_PARAM_FLOAT, "", 0, 0.9999, NULL, "0.9", "Nesterov momentum."},
    {"weight_decay", PARE_PARAM_FLOAT, "", 0, 1, NULL, "0.0005",
     "L2 penalty; not on batch norm and biases."},
    {"label_smoothing", PARE_PARAM_FLOAT, "fraction", 0, 0.9999, NULL, "0",
     "Part of each target spread evenly over all classes."},
    {"shift", PARE_PARAM_INT, "pixels", -1, 16, NULL, "-1",
     "Random shift of training images; -1: as suits the dataset."},
    {"flip", PARE_PARAM_INT, "", -1, 1, NULL, "-1",
     "Random left-right flip; -1: as suits the dataset."},
    {"clip_norm", PARE_PARAM_FLOAT, "", 0, 1e9, NULL, "0",
     "Largest norm of the whole gradient; 0: not clipped."},
    {"distill_weight", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0",
     "Weight of distillation from the model as it was before the pipeline; 0: none."},
    {"distill_temperature", PARE_PARAM_FLOAT, "", 0.01, 100, NULL, "4",
     "Softmax temperature of the distillation."},
};

#define TABLE(rows_, owner_)                                                                       \
    (struct param_table) {                                                                         \
        .rows = (rows_), .n = sizeof(rows_) / sizeof *(rows_), .row_size = sizeof *(rows_),        \
        .owner = (owner_)                                                                          \
    }

struct param_table tables_where(void) {
    return TABLE(where_rows, "selection");
}

struct param_table tables_calibration(void) {
    return TABLE(calibration_rows, "calibration");
}

struct param_table experiment_train_table(void) {
    return TABLE(training_rows, "training");
}

static double real_of(const struct params *params, const char *name) {
    return params_get(params, name)->f;
}

pare_status experiment_train_options(const struct params *params, const struct dataset *ds,
                                     uint64_t seed, struct error *err, struct train_options *out) {
    (void)ds;
    train_defaults(out);
    out->epochs = real_of(params, "epochs");
    out->batch = (int32_t)params_get(params, "batch")->i;
    out->lr = real_of(params, "lr");
    const char *schedule = params_get(params, "lr_schedule")->s;
    out->schedule = strcmp(schedule, "cosine") == 0     ? LR_COSINE
                    : strcmp(schedule, "constant") == 0 ? LR_CONSTANT
                                                        : LR_LINEAR;
    out->warmup = real_of(params, "warmup");
    out->momentum = real_of(params, "momentum");
    out->weight_decay = real_of(params, "weight_decay");
    out->label_smoothing = real_of(params, "label_smoothing");
    out->shift = (int32_t)params_get(params, "shift")->i;
    out->flip = (int32_t)params_get(params, "flip")->i;
    out->clip_norm = real_of(params, "clip_norm");
    out->distill_weight = real_of(params, "distill_weight");
    out->distill_temperature = real_of(params, "distill_temperature");
    out->seed = seed;
    if (out->epochs <= 0)
        return error_set(err, PARE_E_RANGE,
                         "epochs is %g, wanted more than 0 (train { epochs = 10 })", out->epochs);
    return PARE_OK;
}
