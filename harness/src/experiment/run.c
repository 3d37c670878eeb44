/* SPDX-License-Identifier: MIT */
/* The run of an experiment: which trials, in which order, which arms are still missing. */
#include "core/alloc.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/rng.h"
#include "core/table.h"
#include "experiment/base.h"
#include "experiment/cache.h"
#include "experiment/done.h"
#include "experiment/experiment.h"
#include "experiment/fill.h"
#include "experiment/isolate.h"
#include "experiment/pipeline.h"
#include "experiment/run_progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct runner {
    struct experiment *exp;
    const struct registry *reg;
    const struct run_options *options;
    struct run_summary *summary;
    char *identity;       /* of the base model */
    char *checkpoint_dir; /* beside the CSV, as is the cache */
    struct cache *cache;
    struct record common;
    struct done *done; /* arms to leave out; NULL: none */
    struct dataset *ds;
    struct topology *topo;
    struct base **bases; /* (n_seeds), made when first needed */
    float *images;       /* (n_images,H,W,C) for timing */
    int64_t n_images;
    struct record_file *file;
    FILE *samples;
    struct table *plan; /* dry run */
    struct run_progress progress;
};

/* ---- preparing ---- */

/* run_id: when, which process. Names the rows of this start together. */
static void fill_common(struct runner *r) {
    struct machine machine;
    machine_describe(r->topo, &machine);
    fill_machine(&r->common, &machine);
    char run_id[64], stamp[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    snprintf(run_id, sizeof run_id, "%s-%ld", stamp, (long)getpid());
    record_set(&r->common, COL_run_id, run_id);
    record_set(&r->common, COL_experiment, r->exp->name);
    record_set(&r->common, COL_script, r->exp->script ? r->exp->script : "");
    record_set(&r->common, COL_model, r->exp->model.label);
    record_set(&r->common, COL_dataset, r->exp->dataset);
}

static pare_status load_images(struct runner *r, struct error *err) {
    const struct dataset *ds = r->ds;
    int64_t n = ds->splits[SPLIT_TEST].n;
    r->n_images = n < MAX_TIMED_IMAGES ? n : MAX_TIMED_IMAGES;
    size_t pixels = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    r->images = alloc_array((size_t)r->n_images * pixels, sizeof *r->images);
    if (!r->images)
        return error_set(err, PARE_E_NOMEM, "out of memory for images");
    dataset_span(ds, SPLIT_TEST, 0, r->n_images, r->images);
    return PARE_OK;
}

static pare_status open_samples(struct runner *r, struct error *err) {
    const char *path = r->options->samples_path;
    if (!path)
        return PARE_OK;
    int fresh = !file_exists(path);
    r->samples = fopen(path, "ae");
    if (!r->samples)
        return error_set(err, PARE_E_IO, "%s: cannot write raw samples", path);
    if (fresh)
        fputs("arm_id,query,ns\n", r->samples);
    return PARE_OK;
}

/* A folder beside the CSV; malloc'd. */
static char *beside(const char *out_path, const char *name) {
    const char *slash = strrchr(out_path, '/');
    return slash ? alloc_printf("%.*s/%s", (int)(slash - out_path), out_path, name)
                 : alloc_printf("%s", name);
}

static pare_status prepare(struct runner *r, struct error *err) {
    if (base_identity(r->exp, err, &r->identity) != PARE_OK)
        return err->status;
    if (r->options->resume &&
        done_read(r->options->out_path, r->options->profile, err, &r->done) != PARE_OK)
        return err->status;
    if (r->options->dry_run) {
        const char *headers[] = {">trial", "trial_id", "pipeline", ">seed",
                                 ">arms",  ">to do",   NULL};
        r->plan = table_create(headers);
        return r->plan ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    }
    r->bases = alloc_array(r->exp->n_seeds, sizeof *r->bases);
    r->checkpoint_dir = beside(r->options->out_path, "checkpoints");
    char *cache_dir = beside(r->options->out_path, "cache");
    if (!r->bases || !r->checkpoint_dir || !cache_dir) {
        free(cache_dir);
        return error_set(err, PARE_E_NOMEM, "out of memory");
    }
    pare_status status = cache_create(cache_dir, err, &r->cache);
    free(cache_dir);
    if (status != PARE_OK)
        return status;
    /* The output first: a folder that cannot be written should not be found out after an hour. */
    if (record_open(r->options->out_path, err, &r->file) != PARE_OK ||
        open_samples(r, err) != PARE_OK || topology_create(err, &r->topo) != PARE_OK ||
        dataset_open(r->exp->dataset, &r->exp->data_options, err, &r->ds) != PARE_OK ||
        load_images(r, err) != PARE_OK)
        return err->status;
    fill_common(r);
    return PARE_OK;
}

static void clean_up(struct runner *r) {
    table_destroy(r->plan);
    for (size_t i = 0; r->bases && i < r->exp->n_seeds; i++)
        base_destroy(r->bases[i]);
    free(r->bases);
    free(r->images);
    dataset_close(r->ds);
    topology_destroy(r->topo);
    record_close(r->file);
    if (r->samples)
        fclose(r->samples);
    record_clear(&r->common);
    done_destroy(r->done);
    free(r->checkpoint_dir);
    cache_destroy(r->cache);
    free(r->identity);
}

/* ---- one trial ---- */

/* With a pool that is gone afterwards: its threads would not be there in a child. */
static pare_status make_base(struct runner *r, uint64_t seed, struct error *err,
                             struct base **out) {
    struct pool *pool = NULL;
    if (pool_create(topology_n_cores(r->topo), r->topo, err, &pool) != PARE_OK)
        return err->status;
    struct base_env env = {r->exp, r->ds, pool, r->cache, r->options->quiet};
    pare_status status = base_create(&env, seed, err, out);
    pool_destroy(pool);
    return status;
}

static pare_status get_base(struct runner *r, size_t seed_index, struct error *err,
                            const struct base **out) {
    /* A checkpoint is the same for all seeds. */
    size_t slot = r->exp->model.source == MODEL_CHECKPOINT ? 0 : seed_index;
    if (!r->bases[slot] && make_base(r, r->exp->seeds[slot], err, &r->bases[slot]) != PARE_OK)
        return err->status;
    *out = r->bases[slot];
    return PARE_OK;
}

static void baseline_id(void *arg, uint64_t seed, char id[17]) {
    const struct runner *r = arg;
    trial_make_id(r->exp, r->identity, "[]", seed, id);
}

static void write_sample(void *arg, const char *arm_id, int64_t query, double ns) {
    const struct runner *r = arg;
    fprintf(r->samples, "%s,%lld,%.0f\n", arm_id, (long long)query, ns);
}

static pare_status emit(void *context, const struct record *rec, struct error *err) {
    struct runner *r = context;
    if (record_append(r->file, rec, err) != PARE_OK)
        return err->status;
    if (r->samples && (fflush(r->samples) != 0 || ferror(r->samples)))
        return error_set(err, PARE_E_IO, "%s: cannot write raw samples", r->options->samples_path);
    int ok = strcmp(record_get(rec, COL_status), "ok") == 0;
    if (ok)
        r->summary->n_done++;
    else
        r->summary->n_failed++;
    run_progress_row(&r->progress, rec);
    if (r->exp->hooks.on_record)
        return r->exp->hooks.on_record(r->exp->hooks.context, rec, err);
    return PARE_OK;
}

static pare_status show_stage(void *arg, enum trial_stage stage, int32_t arm, struct error *err) {
    const struct runner *r = arg;
    (void)err;
    run_progress_stage(&r->progress, stage, arm < 0 ? NULL : &r->exp->arms[arm]);
    return PARE_OK;
}

/* In a child: rows and samples are the parent's to write. Nothing is waiting to be written. */
static void close_outputs(void *arg) {
    struct runner *r = arg;
    record_close(r->file);
    r->file = NULL;
    if (r->samples)
        fclose(r->samples);
    r->samples = NULL;
}

static pare_status run_trial(struct runner *r, struct trial *trial, size_t seed_index,
                             struct error *err) {
    run_progress_trial(&r->progress, trial);
    trial->progress = r->progress.trial;
    const struct base *base = NULL;
    if (get_base(r, seed_index, err, &base) != PARE_OK)
        return err->status;
    struct trial_env env = {
        .exp = r->exp,
        .reg = r->reg,
        .ds = r->ds,
        .topo = r->topo,
        .options = r->options,
        .checkpoint_dir = r->checkpoint_dir,
        .cache = r->cache,
        .only_trial = r->exp->n_pipelines * r->exp->n_seeds == 1,
        .base = base,
        .common = &r->common,
        .images = r->images,
        .n_images = r->n_images,
        .baseline_id = baseline_id,
        .baseline_arg = r,
        .sample = r->samples ? write_sample : NULL,
        .sample_arg = r,
        .stage = show_stage,
        .stage_arg = r,
    };
    const struct isolation isolation = {
        .trial_s = r->options->trial_timeout_s,
        .stall_s = r->options->call_timeout_s,
        .memory_bytes = r->options->trial_memory_bytes,
        .detach = close_outputs,
        .detach_arg = r,
    };
    /* Measured once per process: here, or every child would do it again. */
    for (int integer = 0; r->options->isolate && integer < 2; integer++)
        machine_peak_macs(integer);
    return r->options->isolate ? isolate_run(&env, trial, &isolation, emit, r, err)
                               : isolate_run_here(&env, trial, emit, r, err);
}

/* ---- what becomes of a trial that was chosen ---- */

typedef pare_status (*trial_visit)(struct runner *r, struct trial *trial, size_t seed_index,
                                   struct error *err);

static pare_status count_trial(struct runner *r, struct trial *trial, size_t seed_index,
                               struct error *err) {
    (void)seed_index, (void)err;
    r->progress.n_total += trial->n_arms > 0;
    return PARE_OK;
}

static void sum_up(struct runner *r, const struct trial *trial) {
    r->summary->n_trials++;
    r->summary->n_arms += r->exp->n_arms;
    r->summary->n_skipped += r->exp->n_arms - trial->n_arms;
}

static pare_status plan_trial(struct runner *r, struct trial *trial, size_t seed_index,
                              struct error *err) {
    char number[24], seed[24], arms[24], missing[24];
    (void)seed_index;
    sum_up(r, trial);
    snprintf(number, sizeof number, "%zu", r->summary->n_trials);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)trial->seed);
    snprintf(arms, sizeof arms, "%zu", r->exp->n_arms);
    snprintf(missing, sizeof missing, "%zu", trial->n_arms);
    const char *cells[] = {number, trial->id, trial->label, seed, arms, missing};
    return table_add(r->plan, cells, err);
}

static pare_status do_trial(struct runner *r, struct trial *trial, size_t seed_index,
                            struct error *err) {
    int go = 1;
    sum_up(r, trial);
    if (trial->n_arms == 0)
        return PARE_OK;
    const struct experiment_hooks *hooks = &r->exp->hooks;
    if (hooks->on_trial &&
        hooks->on_trial(hooks->context, trial->spec, trial->seed, &go, err) != PARE_OK)
        return err->status;
    if (go)
        return run_trial(r, trial, seed_index, err);
    r->summary->n_skipped += trial->n_arms;
    r->progress.n_total--;
    return PARE_OK;
}

/* ---- which trials ---- */

/* A pattern without wildcards matches anywhere in the label. */
static int passes_filter(const char *filter, const char *label, uint64_t seed) {
    if (!filter)
        return 1;
    char *text = alloc_printf("%s seed=%llu", label, (unsigned long long)seed);
    char *anywhere = alloc_printf("*%s*", filter);
    const char *pattern = strpbrk(filter, "*?[") ? filter : anywhere;
    int passes = text && pattern && pattern_match(pattern, text);
    free(text);
    free(anywhere);
    return passes;
}

/* Stable: a trial is in the same shard whatever else the experiment holds. */
static int in_shard(const struct run_options *options, const char *trial_id) {
    if (options->shard_count <= 1)
        return 1;
    uint64_t hash = hash_bytes(trial_id, strlen(trial_id), 1);
    return hash % (uint64_t)options->shard_count == (uint64_t)options->shard_index - 1;
}

/* One pipeline with all its seeds. */
struct candidate {
    const struct pipeline_spec *spec;
    const struct pipeline *pipeline;
    const char *json, *label;
    int32_t *arms; /* (n_arms) room */
};

static pare_status consider(struct runner *r, const struct candidate *c, size_t seed_index,
                            trial_visit visit, struct error *err) {
    struct trial trial = {.spec = c->spec,
                          .pipeline = c->pipeline,
                          .label = c->label,
                          .seed = r->exp->seeds[seed_index],
                          .arms = c->arms};
    trial_make_id(r->exp, r->identity, c->json, trial.seed, trial.id);
    if (!passes_filter(r->options->filter, c->label, trial.seed) || !in_shard(r->options, trial.id))
        return PARE_OK;
    for (size_t k = 0; k < r->exp->n_arms; k++) {
        char arm_id[17];
        trial_make_arm_id(trial.id, &r->exp->arms[k], arm_id);
        if (!done_has(r->done, arm_id))
            c->arms[trial.n_arms++] = (int32_t)k;
    }
    return visit(r, &trial, seed_index, err);
}

static pare_status visit_pipeline(struct runner *r, size_t index, trial_visit visit,
                                  struct error *err) {
    /* A copy: hooks may move the array by proposing pipelines. What it points to stays. */
    struct pipeline_spec spec = r->exp->pipelines[index];
    struct pipeline *pipeline = NULL;
    if (pipeline_resolve(&spec, r->reg, err, &pipeline) != PARE_OK)
        return error_prefix(err, "pipeline %zu", index + 1);
    char *json = pipeline_json(pipeline), *label = pipeline_label(&spec);
    int32_t *arms = alloc_array(r->exp->n_arms, sizeof *arms);
    const struct candidate c = {&spec, pipeline, json, label, arms};
    pare_status status =
        json && label && arms ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    for (size_t s = 0; s < r->exp->n_seeds && status == PARE_OK; s++)
        status = consider(r, &c, s, visit, err);
    free(arms);
    free(label);
    free(json);
    pipeline_destroy(pipeline);
    return status;
}

/* Hooks may add pipelines while this runs: they are counted when they are first seen. */
static pare_status visit_all(struct runner *r, struct error *err) {
    size_t n_counted = 0;
    pare_status status = PARE_OK;
    for (size_t i = 0; status == PARE_OK && i < r->exp->n_pipelines; i++) {
        for (; !r->plan && status == PARE_OK && n_counted < r->exp->n_pipelines; n_counted++)
            status = visit_pipeline(r, n_counted, count_trial, err);
        if (status == PARE_OK)
            status = visit_pipeline(r, i, r->plan ? plan_trial : do_trial, err);
    }
    return status;
}

pare_status experiment_run(struct experiment *exp, const struct registry *reg,
                           const struct run_options *options, struct error *err,
                           struct run_summary *summary) {
    *summary = (struct run_summary){0};
    struct runner r = {.exp = exp, .reg = reg, .options = options, .summary = summary};
    if (experiment_check(exp, reg, err) != PARE_OK)
        return err->status;
    pare_status status = prepare(&r, err);
    if (status == PARE_OK) {
        run_progress_begin(&r.progress, options->quiet || options->dry_run);
        status = visit_all(&r, err);
        run_progress_end(&r.progress);
    }
    if (status == PARE_OK) {
        summary->plan = r.plan;
        r.plan = NULL;
    }
    clean_up(&r);
    return status;
}
