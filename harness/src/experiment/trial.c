/* SPDX-License-Identifier: MIT */
#include "experiment/trial.h"

#include "core/alloc.h"
#include "core/file.h"
#include "core/rng.h"
#include "core/surroundings.h"
#include "experiment/arm.h"
#include "experiment/base.h"
#include "experiment/divergence.h"
#include "experiment/fill.h"
#include "experiment/outputs.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hex_id(const char *text, char id[17]) {
    snprintf(id, 17, "%016llx", (unsigned long long)hash_bytes(text, strlen(text), 0));
}

void trial_make_id(const struct experiment *exp, const char *base_identity,
                   const char *pipeline_json, uint64_t seed, char id[17]) {
    const struct dataset_options *d = &exp->data_options;
    char *text =
        alloc_printf("%s|%s|%lld,%lld,%lld|%s|%s|%s|%llu", exp->name, exp->dataset,
                     (long long)d->max_train, (long long)d->max_val, (long long)d->max_test,
                     exp->model.label, base_identity, pipeline_json, (unsigned long long)seed);
    hex_id(text ? text : "", id);
    free(text);
}

void trial_make_arm_id(const char *trial_id, const struct arm_spec *arm, char id[17]) {
    char text[256];
    int n = snprintf(text, sizeof text, "%s|%s|%d|%d|%s", trial_id, arm->backend, arm->threads,
                     arm->batch, arm->scenario);
    /* Defaults are left out: ids of rows from before there was a choice stay what they are. */
    if (n > 0 && (size_t)n < sizeof text && (arm->cache != CACHE_HOT || arm->cores != CORES_ANY))
        snprintf(text + n, sizeof text - (size_t)n, "|%s|%s", experiment_cache_name(arm->cache),
                 topology_kind_name(arm->cores));
    hex_id(text, id);
}

/* What a trial holds while it runs. */
struct build {
    const struct trial_env *env;
    const struct trial *trial;
    struct model *model;
    struct record rec;    /* columns that all arms share */
    float *logits;        /* (n_test,n_classes): deployed, of the last backend evaluated */
    uint8_t *predictions; /* (n_test) of the same */
    uint8_t *simulated;   /* (n_test), NULL when nothing is quantized */
};

static void copy_record(const struct record *from, struct record *to) {
    for (int c = 0; c < N_COLUMNS; c++) {
        if (record_get(from, (enum column)c)[0])
            record_set(to, (enum column)c, record_get(from, (enum column)c));
    }
}

/* ---- building ---- */

static void fill_subject(struct build *b) {
    const struct trial *t = b->trial;
    struct record *rec = &b->rec;
    record_set(rec, COL_trial_id, t->id);
    record_set(rec, COL_pipeline, t->label);
    record_set_int(rec, COL_seed, (int64_t)t->seed);
    record_set(rec, COL_base_sha256, b->env->base->sha256);
    char *json = pipeline_json(t->pipeline);
    record_set(rec, COL_params_json, json ? json : "");
    free(json);
    char *methods = pipeline_methods(t->pipeline);
    record_set(rec, COL_methods, methods ? methods : "");
    free(methods);
    record_set_real(rec, COL_train_epochs, pipeline_epochs(t->pipeline));
    const pare_param_value *sparsity = pipeline_param(t->pipeline, "sparsity");
    if (sparsity && sparsity->f >= 0) /* -1: asked for in another way */
        record_set_real(rec, COL_sparsity_requested, sparsity->f);
    const pare_param_value *macs = pipeline_param(t->pipeline, "macs");
    if (macs && macs->f >= 0)
        record_set_real(rec, COL_sparsity_macs_requested, macs->f);
}

static pare_status simulate(struct build *b, struct error *err) {
    const struct dataset *ds = b->env->ds;
    const struct dataset_split *test = &ds->splits[SPLIT_TEST];
    if (!graph_is_quantized(&b->model->graph))
        return PARE_OK;
    b->simulated = alloc_array((size_t)test->n, 1);
    if (!b->simulated)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    struct accuracy acc;
    if (train_infer_split(b->model, ds, SPLIT_TEST, b->env->pool, err, b->logits) != PARE_OK ||
        outputs_measure(&b->model->graph, ds, SPLIT_TEST, b->logits, err, &acc, b->simulated) !=
            PARE_OK)
        return error_prefix(err, "simulated accuracy");
    record_set_real(&b->rec, COL_top1_simulated, acc.top1);
    return PARE_OK;
}

static pare_status build_model(struct build *b, struct error *err) {
    const struct trial_env *env = b->env;
    struct pipeline_env penv = {.ds = env->ds,
                                .teacher = env->base->model,
                                .seed = b->trial->seed,
                                .pool = env->pool,
                                .label = env->options->quiet ? NULL : b->trial->progress,
                                .cache = env->cache,
                                .base_sha256 = env->base->sha256};
    double seconds;
    if (model_copy(env->base->model, err, &b->model) != PARE_OK ||
        pipeline_apply(b->trial->pipeline, &penv, b->model, err, &seconds) != PARE_OK)
        return err->status;
    record_set_real(&b->rec, COL_trial_seconds, seconds);
    if (fill_size(&b->rec, b->model, env->base->model, err) != PARE_OK)
        return err->status;
    record_set_real(&b->rec, COL_top1_baseline, env->base->top1);
    return simulate(b, err);
}

/* ---- one arm ---- */

/* Accuracy on the backend, with all cores and large batches: results do not depend on either. */
static pare_status measure_accuracy(struct build *b, const struct arm_spec *arm, struct error *err,
                                    struct record *rec) {
    const struct trial_env *env = b->env;
    const struct dataset_split *test = &env->ds->splits[SPLIT_TEST];
    struct deployment *dep;
    if (deployment_create(&b->model->graph, env->reg, arm->backend, NULL, 64, env->pool, err,
                          &dep) != PARE_OK)
        return err->status;
    struct accuracy acc;
    struct accuracy_paired paired;
    pare_status status = deployment_check(dep, &b->model->graph, env->reg, env->images,
                                          (int32_t)(env->n_images < 16 ? env->n_images : 16), err);
    if (status == PARE_OK)
        status = experiment_infer_split(dep->inst, dep->executable, dep->max_batch, env->ds,
                                        SPLIT_TEST, err, b->logits);
    if (status == PARE_OK)
        status = outputs_measure(&b->model->graph, env->ds, SPLIT_TEST, b->logits, err, &acc,
                                 b->predictions);
    if (status == PARE_OK && b->simulated)
        status = divergence_find(dep, b->model, env->images,
                                 (int32_t)(env->n_images < 16 ? env->n_images : 16), err, rec);
    deployment_destroy(dep);
    if (status != PARE_OK)
        return status;
    if (env->exp->confusion && fill_confusion(rec, b->predictions, test->labels, test->n,
                                              env->ds->n_classes, err) != PARE_OK)
        return err->status;
    record_set(rec, COL_split, "test");
    fill_accuracy(rec, &acc);
    accuracy_compare(b->predictions, env->base->predictions, test->labels, test->n, &paired);
    fill_paired(rec, &paired);
    if (b->simulated) {
        accuracy_compare(b->predictions, b->simulated, test->labels, test->n, &paired);
        record_set_real(rec, COL_agreement_simulated, paired.agreement);
    }
    return PARE_OK;
}

struct sample_sink {
    const struct trial_env *env;
    const char *arm_id;
};

static void pass_sample(void *arg, int64_t query, double ns) {
    const struct sample_sink *sink = arg;
    sink->env->sample(sink->env->sample_arg, sink->arm_id, query, ns);
}

static pare_status time_deployments(struct build *b, const struct arm_spec *arm,
                                    struct deployment *subject, struct deployment *baseline,
                                    struct deployment *control, int32_t samples_per_query,
                                    struct error *err, struct record *rec) {
    const struct trial_env *env = b->env;
    struct model_counts counts;
    model_count(env->base->model, &counts);
    struct sample_sink sink = {env, record_get(rec, COL_arm_id)};
    struct arm_request request = {
        .subject = subject,
        .baseline = baseline,
        .control = control,
        .graph = &b->model->graph,
        .images = env->images,
        .n_images = env->n_images,
        .cache = arm->cache,
        .rotation_bytes = arm_rotation_bytes(arm->cache, env->topo),
        .samples_per_query = samples_per_query,
        .threads = arm->threads,
        .profile = env->options->profile,
        .seed = b->trial->seed,
        .macs_dense = counts.macs_dense,
        .events = (const char *const *)env->exp->counters,
        .n_events = env->exp->n_counters,
        .sample = env->sample ? pass_sample : NULL,
        .sample_arg = &sink,
    };
    fill_execution(rec, subject);
    return arm_measure(&request, err, rec);
}

/* A pool on cores of the arm's kind. */
static pare_status make_pool(const struct trial_env *env, const struct arm_spec *arm,
                             struct error *err, struct pool **out) {
    struct topology *cores = NULL;
    pare_status status = topology_of_kind(env->topo, arm->cores, err, &cores);
    if (status == PARE_OK)
        status = pool_create(arm->threads, cores, err, out);
    topology_destroy(cores);
    return status;
}

/* What takes turns: the subject, the same once more, and (but for its own row) the baseline. */
struct contenders {
    struct deployment *deps[MAX_ROTATING];
    const pare_graph *graphs[MAX_ROTATING];
    size_t n;
};

static pare_status deploy(const struct trial_env *env, const struct arm_spec *arm,
                          int32_t samples_per_query, struct pool *pool, struct error *err,
                          struct contenders *c) {
    for (size_t k = 0; k < c->n; k++) {
        if (deployment_create(c->graphs[k], env->reg, arm->backend, NULL, samples_per_query, pool,
                              err, &c->deps[k]) != PARE_OK)
            return err->status;
    }
    if (arm->cache == CACHE_HOT)
        return PARE_OK;
    return deployment_add_copies(c->deps, c->graphs, c->n, NULL,
                                 arm_rotation_bytes(arm->cache, env->topo), err);
}

static pare_status measure_latency(struct build *b, const struct arm_spec *arm, struct error *err,
                                   struct record *rec) {
    const struct trial_env *env = b->env;
    const pare_graph *graph = &b->model->graph;
    int32_t samples_per_query;
    if (arm_scenario(arm->scenario, arm->batch, err, &samples_per_query) != PARE_OK)
        return err->status;
    struct contenders c = {.graphs = {graph, graph, &env->base->model->graph}, .n = 2};
    if (b->trial->spec->n_steps > 0) {
        char base_trial[17], base_arm[17];
        env->baseline_id(env->baseline_arg, b->trial->seed, base_trial);
        trial_make_arm_id(base_trial, arm, base_arm);
        record_set(rec, COL_ratio_arm_id, base_arm);
        c.n = 3;
    }
    struct pool *pool = NULL;
    pare_status status = make_pool(env, arm, err, &pool);
    if (status == PARE_OK)
        status = deploy(env, arm, samples_per_query, pool, err, &c);
    if (status == PARE_OK) {
        record_set(rec, COL_binding, pool_binding(pool));
        status =
            time_deployments(b, arm, c.deps[0], c.deps[2], c.deps[1], samples_per_query, err, rec);
    }
    for (size_t k = 0; k < MAX_ROTATING; k++)
        deployment_destroy(c.deps[k]);
    pool_destroy(pool);
    return status;
}

static void start_row(const struct build *b, const struct arm_spec *arm, struct record *rec) {
    char arm_id[17];
    copy_record(b->env->common, rec);
    copy_record(&b->rec, rec);
    trial_make_arm_id(b->trial->id, arm, arm_id);
    record_set(rec, COL_arm_id, arm_id);
    record_set(rec, COL_backend, arm->backend);
    record_set_int(rec, COL_threads, arm->threads);
    record_set_int(rec, COL_batch, arm->batch);
    record_set(rec, COL_scenario, arm->scenario);
    record_set(rec, COL_cache_state, experiment_cache_name(arm->cache));
    record_set(rec, COL_core_kind, topology_kind_name(arm->cores));
    fill_profile(rec, b->env->options->profile);
}

/* An arm's accuracy is that of its backend: measured once per backend and copied. */
static const enum column accuracy_columns[] = {
    COL_n_samples,
    COL_top1,
    COL_top1_ci_lo,
    COL_top1_ci_hi,
    COL_top5,
    COL_loss,
    COL_precision_macro,
    COL_recall_macro,
    COL_f1_macro,
    COL_precision_micro,
    COL_recall_micro,
    COL_f1_micro,
    COL_precision_weighted,
    COL_recall_weighted,
    COL_f1_weighted,
    COL_flips_lost,
    COL_flips_won,
    COL_mcnemar_p,
    COL_agreement,
    COL_agreement_simulated,
    COL_diverging_layer,
    COL_split,
    COL_confusion_json,
};

struct evaluated {
    const char *backend; /* NULL: none yet */
    struct record rec;
};

static pare_status fill_arm_accuracy(struct build *b, const struct arm_spec *arm,
                                     struct evaluated *last, struct error *err,
                                     struct record *rec) {
    if (!last->backend || strcmp(last->backend, arm->backend) != 0) {
        record_clear(&last->rec);
        last->backend = NULL;
        if (measure_accuracy(b, arm, err, &last->rec) != PARE_OK)
            return err->status;
        last->backend = arm->backend;
    }
    for (size_t k = 0; k < sizeof accuracy_columns / sizeof *accuracy_columns; k++)
        record_set(rec, accuracy_columns[k], record_get(&last->rec, accuracy_columns[k]));
    return PARE_OK;
}

static pare_status begin_stage(const struct build *b, enum trial_stage stage, int32_t arm,
                               struct error *err) {
    return b->env->stage ? b->env->stage(b->env->stage_arg, stage, arm, err) : PARE_OK;
}

/* Figures that a backend had computed or printed in its own way are no figures. */
static pare_status check_surroundings(const struct build *b, const struct arm_spec *arm,
                                      struct surroundings *before, struct error *err,
                                      struct record *rec) {
    if (surroundings_restore(before, err) == PARE_OK)
        return PARE_OK;
    record_clear(rec);
    start_row(b, arm, rec);
    return error_prefix(err, "backend %s", arm->backend);
}

static pare_status run_arm(struct build *b, int32_t arm_index, pare_status built,
                           const struct error *build_err, struct evaluated *last, trial_emit emit,
                           void *context, struct error *err) {
    const struct arm_spec *arm = &b->env->exp->arms[arm_index];
    struct record rec = {0};
    struct error arm_err = *build_err;
    struct surroundings before;
    pare_status status = built;
    if (begin_stage(b, TRIAL_ACCURACY, arm_index, err) != PARE_OK)
        return err->status;
    start_row(b, arm, &rec);
    surroundings_take(&before);
    if (status == PARE_OK)
        status = fill_arm_accuracy(b, arm, last, &arm_err, &rec);
    if (begin_stage(b, TRIAL_TIMING, arm_index, err) != PARE_OK) {
        surroundings_restore(&before, &arm_err);
        record_clear(&rec);
        return err->status;
    }
    if (status == PARE_OK)
        status = measure_latency(b, arm, &arm_err, &rec);
    if (status == PARE_OK)
        status = check_surroundings(b, arm, &before, &arm_err, &rec);
    else
        surroundings_restore(&before, &(struct error){0});
    fill_outcome(&rec, status, arm_err.text);
    pare_status emitted = emit(context, &rec, err);
    record_clear(&rec);
    return emitted;
}

/* <dir>/<name>.safetensors, or <dir>/<name>-<trial id>.safetensors where there are several trials;
 * the notes in it say where it comes from, and how accurate it was when deployed. */
static pare_status save_checkpoint(const struct build *b, const char *top1, struct error *err) {
    const struct trial_env *env = b->env;
    if (!env->exp->checkpoint)
        return PARE_OK;
    char *path = env->only_trial
                     ? alloc_printf("%s/%s.safetensors", env->checkpoint_dir, env->exp->checkpoint)
                     : alloc_printf("%s/%s-%s.safetensors", env->checkpoint_dir,
                                    env->exp->checkpoint, b->trial->id);
    if (!path)
        return error_set(err, PARE_E_NOMEM, "out of memory for a checkpoint");
    char *base = NULL;
    if (base_identity(env->exp, err, &base) != PARE_OK) {
        free(path);
        return err->status;
    }
    const struct model_note notes[] = {
        {"dataset", env->exp->dataset},
        {"experiment", env->exp->name},
        {"script", env->exp->script ? env->exp->script : ""},
        {"seed", record_get(&b->rec, COL_seed)},
        {"base", base},
        {"pipeline", b->trial->label},
        {"params_json", record_get(&b->rec, COL_params_json)},
        {"pare_version", pare_version()},
        {"git_commit", record_get(env->common, COL_git_commit)},
        {"top1", top1},
    };
    pare_status status = file_make_dirs(env->checkpoint_dir, err);
    if (status == PARE_OK)
        status = model_save(b->model, path, notes, sizeof notes / sizeof *notes, err);
    free(base);
    free(path);
    return status;
}

pare_status trial_run(const struct trial_env *env, const struct trial *trial, trial_emit emit,
                      void *context, struct error *err) {
    const struct dataset_split *test = &env->ds->splits[SPLIT_TEST];
    struct build b = {.env = env, .trial = trial};
    struct error build_err = {0};
    pare_status built = PARE_OK;
    b.logits = alloc_array((size_t)test->n * (size_t)env->ds->n_classes, sizeof *b.logits);
    b.predictions = alloc_array((size_t)test->n, 1);
    if (!b.logits || !b.predictions)
        built = error_set(&build_err, PARE_E_NOMEM, "out of memory for a trial");
    fill_subject(&b);
    if (built == PARE_OK && env->base->failure.status != PARE_OK) {
        build_err = env->base->failure;
        built = build_err.status;
    }
    struct evaluated last = {0};
    pare_status status = begin_stage(&b, TRIAL_BUILD, -1, err);
    if (built == PARE_OK && status == PARE_OK)
        built = build_model(&b, &build_err);
    for (size_t k = 0; k < trial->n_arms && status == PARE_OK; k++)
        status = run_arm(&b, trial->arms[k], built, &build_err, &last, emit, context, err);
    if (status == PARE_OK && built == PARE_OK)
        status = save_checkpoint(&b, record_get(&last.rec, COL_top1), err);
    record_clear(&last.rec);
    record_clear(&b.rec);
    model_destroy(b.model);
    free(b.simulated);
    free(b.predictions);
    free(b.logits);
    return status;
}

pare_status trial_fail(const struct trial_env *env, const struct trial *trial, size_t n,
                       const struct error *why, trial_emit emit, void *context, struct error *err) {
    struct build b = {.env = env, .trial = trial};
    pare_status status = PARE_OK;
    fill_subject(&b);
    for (size_t k = 0; k < n && status == PARE_OK; k++) {
        struct record rec = {0};
        start_row(&b, &env->exp->arms[trial->arms[k]], &rec);
        fill_outcome(&rec, why->status, why->text);
        status = emit(context, &rec, err);
        record_clear(&rec);
    }
    record_clear(&b.rec);
    return status;
}
