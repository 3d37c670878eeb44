/* SPDX-License-Identifier: MIT */
/* One trial: a model built by a pipeline from a base and a seed, measured on its arms. A trial gets
 * everything it needs in a struct trial_env and gives back rows through `emit`, so that it does not
 * matter in which process it runs. */
#ifndef EXPERIMENT_TRIAL_H
#define EXPERIMENT_TRIAL_H

#include "experiment/experiment.h"
#include "experiment/pipeline.h"
#include "measure/machine.h"

/* A base model ready to be compressed, with what comparisons need. */
struct base {
    uint64_t seed;
    struct model *model;
    char sha256[65];      /* of its file */
    float *logits;        /* (n_test,n_classes), by the float executor */
    uint8_t *predictions; /* (n_test) */
    double top1;
    struct error failure; /* PARE_OK, or why it could not be made: every trial on it fails so */
};

enum trial_stage { TRIAL_BUILD, TRIAL_ACCURACY, TRIAL_TIMING };

struct trial_env {
    const struct experiment *exp;
    const struct registry *reg;
    const struct dataset *ds;
    const struct topology *topo;
    const struct run_options *options;
    const char *checkpoint_dir; /* where models go if the experiment names a checkpoint */
    const struct cache *cache;  /* of trained models */
    int only_trial;             /* the run has one trial: its checkpoint needs no id in its name */
    struct pool *pool;          /* all cores: training, accuracy */
    const struct base *base;
    const struct record *common; /* machine, run and experiment columns */
    const float *images;         /* (n_images,H,W,C) of the test split, for timing */
    int64_t n_images;
    /* The id of the trial that ratios compare with: the empty pipeline with the same seed. */
    void (*baseline_id)(void *arg, uint64_t seed, char id[17]);
    void *baseline_arg;
    void (*sample)(void *arg, const char *arm_id, int64_t query, double ns); /* may be NULL */
    void *sample_arg;
    /* What begins now; `arm` is an index into the experiment's arms, -1 for TRIAL_BUILD. May be
     * NULL. A failure ends the trial. */
    pare_status (*stage)(void *arg, enum trial_stage stage, int32_t arm, struct error *err);
    void *stage_arg;
};

struct trial {
    const struct pipeline_spec *spec;
    const struct pipeline *pipeline;
    const char *label;    /* of the pipeline */
    const char *progress; /* for lines on the work: "[3/12] ptq(bits=8), seed 1" */
    uint64_t seed;
    char id[17];
    const int32_t *arms; /* (n_arms) indices into the experiment's arms: those to be done */
    size_t n_arms;
};

/* 16 hex digits each. */
void trial_make_id(const struct experiment *exp, const char *base_identity,
                   const char *pipeline_json, uint64_t seed, char id[17]);
void trial_make_arm_id(const char *trial_id, const struct arm_spec *arm, char id[17]);

/* Builds and measures. Every arm gives exactly one row to `emit`, also when it failed; only
 * failures of emit and stage themselves and of saving the checkpoint (a full disk) are returned. */
typedef pare_status (*trial_emit)(void *context, const struct record *rec, struct error *err);
pare_status trial_run(const struct trial_env *env, const struct trial *trial, trial_emit emit,
                      void *context, struct error *err);

/* Rows for the trial's first n arms that say why they failed; no plugin is called for them. */
pare_status trial_fail(const struct trial_env *env, const struct trial *trial, size_t n,
                       const struct error *why, trial_emit emit, void *context, struct error *err);

#endif
