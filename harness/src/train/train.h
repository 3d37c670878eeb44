/* SPDX-License-Identifier: MIT */
/* Training: SGD with Nesterov momentum over a dataset's training split. One seed fixes data order,
 * augmentation and everything else. */
#ifndef TRAIN_TRAIN_H
#define TRAIN_TRAIN_H

#include "core/error.h"
#include "core/pool.h"
#include "dataset/dataset.h"
#include "model/model.h"
#include "train/network.h"

#include <stdint.h>

enum lr_schedule { LR_LINEAR = 0, LR_COSINE = 1, LR_CONSTANT = 2 };

/* Defaults: train_defaults. */
struct train_options {
    double epochs;             /* may be a fraction */
    int32_t batch;             /* 128 */
    double lr;                 /* peak, 0.1 */
    enum lr_schedule schedule; /* after the warm-up, to 0 */
    double warmup;             /* fraction of all steps, linear from 0; 0.15 */
    double momentum;           /* 0.9, Nesterov */
    double weight_decay;       /* 5e-4; not on batch norm and biases */
    double label_smoothing;    /* 0 */
    int32_t shift; /* random shift by up to this many pixels with zero padding, as pad + crop; 2 for
                      digits, 4 for CIFAR; -1: by dataset */
    int32_t flip;  /* random left-right flip: 1, 0, -1: by dataset */
    double clip_norm;           /* clip the global gradient norm; 0: off */
    struct model *teacher;      /* distillation: NULL for none; borrowed */
    double distill_weight;      /* l in (1-l) CE + l T^2 KL(teacher || student) */
    double distill_temperature; /* T */
    uint64_t seed;
    int64_t first_step; /* 0; the steps before are left out, as if they had been taken */
};
void train_defaults(struct train_options *options);

/* Called after each step, and may change the model (masks, weights). */
struct train_hooks {
    struct network_hooks network;
    void *context;
    pare_status (*after_step)(void *context, int64_t step, double lr);
    /* After each epoch; returning a failure stops the training with it. May save a checkpoint. */
    pare_status (*after_epoch)(void *context, int32_t epoch, double train_loss,
                               double train_accuracy);
};

struct train_result {
    int64_t steps;
    double seconds;
    double final_loss; /* mean over the last epoch */
};

/* Steps in all, and per epoch: every epoch is one pass over all of the training split in batches
 * that differ in size by at most one image, none larger than `batch`. */
int64_t train_n_steps(const struct dataset *ds, const struct train_options *options,
                      int64_t *steps_per_epoch);

/* The learning rate of step `step` of n_steps (0-based). */
double train_learning_rate(const struct train_options *options, int64_t step, int64_t n_steps);

/* Trains the model in place. `label` names the progress line; NULL: silent. Masked weights stay 0;
 * quantized weights are frozen. The order of images and their augmentation depend on the seed, the
 * epoch and the image alone. A loss that is not finite stops it with PARE_E_NUMERIC. */
pare_status train_run(struct model *model, const struct dataset *ds,
                      const struct train_options *options, const struct train_hooks *hooks,
                      struct pool *pool, const char *label, struct error *err,
                      struct train_result *result);

/* Cross-entropy with label smoothing and optional distillation: mean loss over n, and its gradient.
 * logits, teacher_logits (NULL: none), grad (n,n_classes). Hinton et al. 2015 (arXiv 1503.02531).
 */
double train_loss(const float *logits, const float *teacher_logits, const uint8_t *labels,
                  int32_t n, int32_t n_classes, const struct train_options *options, float *grad);

/* Runs a split through the float executor: logits (n_split, n_classes). */
pare_status train_infer_split(struct model *model, const struct dataset *ds, enum split_id split,
                              struct pool *pool, struct error *err, float *logits);

/* Batch norm statistics anew from `n_batches` batches of training data, weights untouched. */
pare_status train_reestimate_batch_norm(struct model *model, const struct dataset *ds,
                                        int32_t n_batches, uint64_t seed, struct pool *pool,
                                        struct error *err);

#endif
