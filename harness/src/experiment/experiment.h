/* SPDX-License-Identifier: MIT */
/* Experiments: a grid of trials (model x pipeline x seed), each measured on arms (backend, threads,
 * batch, scenario), recorded row by row. */
#ifndef EXPERIMENT_EXPERIMENT_H
#define EXPERIMENT_EXPERIMENT_H

#include "core/error.h"
#include "core/table.h"
#include "core/topology.h"
#include "dataset/dataset.h"
#include "measure/latency.h"
#include "model/model.h"
#include "plugin/registry.h"
#include "record/record.h"

#include <stdint.h>

/* ---- what is to be done; built by the script module, owned by struct experiment ---- */

struct step_spec {
    char *method;
    size_t n_inputs;
    struct param_input *inputs; /* the step's parameters as written, grids already expanded */
};

struct pipeline_spec {
    size_t n_steps;
    struct step_spec *steps; /* none: the fp32 baseline */
    int32_t line;            /* in the script, for messages; 0: unknown */
};

enum model_source { MODEL_INIT, MODEL_CHECKPOINT, MODEL_TRAIN };

struct model_spec {
    char *label; /* "resnet20", "resnet20-mnist": what the record's column `model` says */
    enum model_source source;
    struct model
        *model; /* the network: untrained for INIT and TRAIN, with weights for CHECKPOINT */
    size_t n_train_inputs;
    struct param_input *train_inputs; /* MODEL_TRAIN: epochs, lr, ... */
};

/* What is in the caches when a query begins: what the last one left there; no weights; neither
 * weights nor inputs. */
enum cache_state { CACHE_HOT, CACHE_COLD_WEIGHTS, CACHE_COLD_ALL };
/* "hot", "cold-weights" or "cold-all"; PARE_E_ARG otherwise. */
pare_status experiment_parse_cache(const char *name, struct error *err, enum cache_state *out);
const char *experiment_cache_name(enum cache_state cache);

struct arm_spec {
    char *backend; /* "ref", "auto" */
    int32_t threads, batch;
    char *scenario; /* "single", "offline" */
    enum cache_state cache;
    enum core_kind cores;
};

struct experiment_hooks {
    void *context;
    /* Before a trial: 0 in *go skips it. */
    pare_status (*on_trial)(void *context, const struct pipeline_spec *pipeline, uint64_t seed,
                            int *go, struct error *err);
    /* After each row. May propose more pipelines by calling experiment_propose. */
    pare_status (*on_record)(void *context, const struct record *rec, struct error *err);
};

struct experiment {
    char *name;
    char *dataset;
    char *script; /* path, for provenance; may be NULL */
    struct dataset_options data_options;
    struct model_spec model;
    size_t n_seeds;
    uint64_t *seeds;
    size_t n_pipelines;
    struct pipeline_spec *pipelines;
    size_t n_arms;
    struct arm_spec *arms;
    size_t n_counters;
    char **counters;
    char *checkpoint; /* name under which each trial's model is saved; NULL: not saved */
    int confusion;    /* record each arm's confusion matrix */
    struct experiment_hooks hooks;
};
void experiment_clear(struct experiment *exp); /* frees everything it owns */
pare_status experiment_propose(struct experiment *exp, struct pipeline_spec *take,
                               struct error *err);

/* ---- doing it ---- */

struct run_options {
    const char *out_path; /* CSV */
    enum latency_profile profile;
    int resume;  /* skip arms that the file has already with status ok and at least this profile */
    int dry_run; /* list the trials, run nothing */
    const char *filter;               /* pattern on the trial's label; NULL: all */
    int32_t shard_index, shard_count; /* 1-based I of N; count 0: all */
    int isolate;                      /* each trial in a child process, with these limits: */
    double trial_timeout_s;           /* of a whole trial; 0: none */
    double call_timeout_s;            /* of one call into a plugin; 0: none */
    int64_t trial_memory_bytes;       /* 0: none */
    const char *samples_path;         /* --keep-samples: long CSV of raw latencies; NULL */
    int quiet;
};

struct run_summary {
    size_t n_trials, n_arms, n_done, n_failed, n_skipped;
    struct table *plan; /* of a dry run, a row per trial; the caller destroys it */
};

enum { MAX_TIMED_IMAGES = 256 }; /* and so the largest batch of an arm */

/* Three quarters of the memory that this process may use: that of the machine or, if less, of its
 * control group. 0 where neither can be read. */
int64_t experiment_default_memory(void);

/* Every step of every pipeline is checked (methods, parameters, order) before anything runs. */
pare_status experiment_check(const struct experiment *exp, const struct registry *reg,
                             struct error *err);
pare_status experiment_run(struct experiment *exp, const struct registry *reg,
                           const struct run_options *options, struct error *err,
                           struct run_summary *summary);

/* "magnitude(sparsity=0.9) + ptq(bits=8)", "fp32" for an empty pipeline; malloc'd. */
char *pipeline_label(const struct pipeline_spec *pipeline);

/* ---- pieces that other commands use too ---- */

/* Training parameters as a table ("epochs", "lr", "batch", ...), for base models and for steps. */
struct param_table experiment_train_table(void);

struct train_options;
pare_status experiment_train_options(const struct params *params, const struct dataset *ds,
                                     uint64_t seed, struct error *err, struct train_options *out);

/* Runs a split through a compiled backend: logits (n_split,n_classes). */
pare_status experiment_infer_split(struct instance *backend, void *executable, int32_t batch,
                                   const struct dataset *ds, enum split_id split, struct error *err,
                                   float *logits);

/* `pare bench`: one model on one arm, no data needed (seeded inputs); fills the record. */
struct bench_options {
    const char *backend, *scenario, *isa, *precision; /* see experiment/precision.h */
    double sparsity; /* of the weights before that: see precision_prune; 0: none */
    const char *sparsity_pattern;
    int32_t threads, batch;
    enum latency_profile profile;
    uint64_t seed;
    enum cache_state cache;
    enum core_kind cores;
    const char *const *counters; /* (n_counters) events or groups, beside those with a column */
    size_t n_counters;
};
pare_status experiment_bench(const struct model *model, const struct registry *reg,
                             const struct bench_options *options, struct error *err,
                             struct record *rec);

/* Accuracy of a model on a dataset's split: by a backend (deployed) and simulated; fills the
 * record. */
struct eval_options {
    const char *dataset;
    enum split_id split;
    int64_t n_samples;         /* the first ones of the split; 0: all */
    const char *backend, *isa; /* isa NULL: the best */
    int32_t threads;           /* 0: all cores */
    int confusion;             /* record the confusion matrix */
    const char *logits_path;   /* where the deployed logits go, (n,n_classes) fp32; NULL: nowhere */
};
pare_status experiment_eval(struct model *model, const struct eval_options *options,
                            const struct registry *reg, struct error *err, struct record *rec);

#endif
