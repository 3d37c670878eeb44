/* SPDX-License-Identifier: MIT */
/* The run of an experiment: which trials, in which order, which arms are still missing. */
#include "core/alloc.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/rng.h"
#include "core/table.h"
#include "experiment/base.h"
#include "experiment/cache.h"
#include "experiment/experiment.h"
#include "experiment/fill.h"
#include "experiment/pipeline.h"
#include "experiment/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TIMED_IMAGES = 256 };

struct runner {
    struct experiment *exp;
    const struct registry *reg;
    const struct run_options *options;
    struct run_summary *summary;
    char *identity;       /* of the base model */
    char *checkpoint_dir; /* beside the CSV, as is the cache */
    struct cache *cache;
    struct record common;
    char (*done)[17]; /* (n_done) arm ids that the file has with status ok,
                          timed at least as thoroughly as now */
    size_t n_done;
    struct dataset *ds;
    struct topology *topo;
    struct pool *pool;
    struct base **bases; /* (n_seeds), made when first needed */
    float *images;       /* (n_images,H,W,C) for timing */
    int64_t n_images;
    struct record_file *file;
    FILE *samples;
    struct table *plan; /* dry run */
    int64_t start_ns;
    size_t n_trials_run; /* those resumed with nothing to do left out */
};

/* ---- checking ---- */

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
    if (strcmp(arm->scenario, "single") != 0 && strcmp(arm->scenario, "multi") != 0 &&
        strcmp(arm->scenario, "offline") != 0)
        return error_set(err, PARE_E_ARG, "scenario is \"%s\", wanted single, multi or offline",
                         arm->scenario);
    return PARE_OK;
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

/* ---- preparing ---- */

/* Of a row; -1 for a name that is none. Profiles are in the order of their thoroughness. */
static int profile_of(const struct record *rec) {
    struct error ignored;
    enum latency_profile profile;
    const char *name = record_get(rec, COL_profile);
    return latency_parse_profile(name, &ignored, &profile) == PARE_OK ? (int)profile : -1;
}

static pare_status read_done(struct runner *r, struct error *err) {
    if (!r->options->resume || !file_exists(r->options->out_path))
        return PARE_OK;
    struct record *rows;
    size_t n_rows;
    if (record_read(r->options->out_path, err, &rows, &n_rows) != PARE_OK)
        return err->status;
    r->done = alloc_array(n_rows, sizeof *r->done);
    for (size_t i = 0; r->done && i < n_rows; i++) {
        if (strcmp(record_get(&rows[i], COL_status), "ok") == 0 &&
            profile_of(&rows[i]) >= (int)r->options->profile)
            snprintf(r->done[r->n_done++], sizeof *r->done, "%s", record_get(&rows[i], COL_arm_id));
    }
    record_rows_free(rows, n_rows);
    return r->done ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory for the rows done");
}

static int is_done(const struct runner *r, const char *arm_id) {
    for (size_t i = 0; i < r->n_done; i++) {
        if (strcmp(r->done[i], arm_id) == 0)
            return 1;
    }
    return 0;
}

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
    uint32_t items[MAX_TIMED_IMAGES];
    for (int64_t i = 0; i < r->n_images; i++)
        items[i] = (uint32_t)i;
    dataset_batch(ds, SPLIT_TEST, items, r->n_images, r->images);
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
    if (base_identity(r->exp, err, &r->identity) != PARE_OK || read_done(r, err) != PARE_OK)
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
        pool_create(topology_n_cores(r->topo), r->topo, err, &r->pool) != PARE_OK ||
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
    pool_destroy(r->pool);
    topology_destroy(r->topo);
    record_close(r->file);
    if (r->samples)
        fclose(r->samples);
    record_clear(&r->common);
    free(r->done);
    free(r->checkpoint_dir);
    cache_destroy(r->cache);
    free(r->identity);
}

/* ---- one trial ---- */

static pare_status get_base(struct runner *r, size_t seed_index, struct error *err,
                            const struct base **out) {
    /* A checkpoint is the same for all seeds. */
    size_t slot = r->exp->model.source == MODEL_CHECKPOINT ? 0 : seed_index;
    if (!r->bases[slot]) {
        struct base_env env = {r->exp, r->ds, r->pool, r->cache, r->options->quiet};
        if (base_create(&env, r->exp->seeds[slot], err, &r->bases[slot]) != PARE_OK)
            return err->status;
    }
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
    if (!r->options->quiet && !ok)
        fprintf(stderr, "  failed: %s\n", record_get(rec, COL_error));
    if (r->exp->hooks.on_record)
        return r->exp->hooks.on_record(r->exp->hooks.context, rec, err);
    return PARE_OK;
}

static void announce(const struct runner *r, const struct trial *trial) {
    if (r->options->quiet)
        return;
    /* With a filter or a shard, trials that will be left out count here too: no promises then. */
    int is_part = r->options->filter || r->options->shard_count > 1;
    size_t n_total = r->exp->n_pipelines * r->exp->n_seeds;
    char left[32] = "";
    if (r->n_trials_run > 0 && !is_part) {
        double seconds = (double)(clock_ns() - r->start_ns) * 1e-9;
        size_t n_left = n_total - (r->summary->n_trials - 1);
        format_duration(seconds / (double)r->n_trials_run * (double)n_left, left);
    }
    fprintf(stderr, "[%zu/%zu] %s, seed %llu%s%s%s\n", r->summary->n_trials, n_total, trial->label,
            (unsigned long long)trial->seed, left[0] ? " (about " : "", left,
            left[0] ? " left)" : "");
}

static pare_status do_trial(struct runner *r, struct trial *trial, size_t seed_index,
                            struct error *err) {
    int go = 1;
    if (r->exp->hooks.on_trial && r->exp->hooks.on_trial(r->exp->hooks.context, trial->spec,
                                                         trial->seed, &go, err) != PARE_OK)
        return err->status;
    if (!go) {
        r->summary->n_skipped += trial->n_arms;
        return PARE_OK;
    }
    announce(r, trial);
    r->n_trials_run++;
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
        .pool = r->pool,
        .base = base,
        .common = &r->common,
        .images = r->images,
        .n_images = r->n_images,
        .baseline_id = baseline_id,
        .baseline_arg = r,
        .sample = r->samples ? write_sample : NULL,
        .sample_arg = r,
    };
    return trial_run(&env, trial, emit, r, err);
}

static pare_status plan_trial(struct runner *r, const struct trial *trial, struct error *err) {
    char number[24], seed[24], arms[24], missing[24];
    snprintf(number, sizeof number, "%zu", r->summary->n_trials);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)trial->seed);
    snprintf(arms, sizeof arms, "%zu", r->exp->n_arms);
    snprintf(missing, sizeof missing, "%zu", trial->n_arms);
    const char *cells[] = {number, trial->id, trial->label, seed, arms, missing};
    return table_add(r->plan, cells, err);
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

static pare_status consider(struct runner *r, const struct pipeline_spec *spec,
                            const struct pipeline *pipeline, const char *json, const char *label,
                            size_t seed_index, int32_t *arms, struct error *err) {
    struct trial trial = {.spec = spec,
                          .pipeline = pipeline,
                          .label = label,
                          .seed = r->exp->seeds[seed_index],
                          .arms = arms};
    trial_make_id(r->exp, r->identity, json, trial.seed, trial.id);
    if (!passes_filter(r->options->filter, label, trial.seed) || !in_shard(r->options, trial.id))
        return PARE_OK;
    for (size_t k = 0; k < r->exp->n_arms; k++) {
        char arm_id[17];
        trial_make_arm_id(trial.id, &r->exp->arms[k], arm_id);
        if (is_done(r, arm_id))
            r->summary->n_skipped++;
        else
            arms[trial.n_arms++] = (int32_t)k;
    }
    r->summary->n_trials++;
    r->summary->n_arms += r->exp->n_arms;
    if (r->plan)
        return plan_trial(r, &trial, err);
    return trial.n_arms > 0 ? do_trial(r, &trial, seed_index, err) : PARE_OK;
}

static pare_status run_pipeline(struct runner *r, size_t index, struct error *err) {
    /* A copy: hooks may move the array by proposing pipelines. What it points to stays. */
    struct pipeline_spec spec = r->exp->pipelines[index];
    struct pipeline *pipeline = NULL;
    if (pipeline_resolve(&spec, r->reg, err, &pipeline) != PARE_OK)
        return error_prefix(err, "pipeline %zu", index + 1);
    char *json = pipeline_json(pipeline), *label = pipeline_label(&spec);
    int32_t *arms = alloc_array(r->exp->n_arms, sizeof *arms);
    pare_status status =
        json && label && arms ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    for (size_t s = 0; s < r->exp->n_seeds && status == PARE_OK; s++)
        status = consider(r, &spec, pipeline, json, label, s, arms, err);
    free(arms);
    free(label);
    free(json);
    pipeline_destroy(pipeline);
    return status;
}

pare_status experiment_run(struct experiment *exp, const struct registry *reg,
                           const struct run_options *options, struct error *err,
                           struct run_summary *summary) {
    *summary = (struct run_summary){0};
    struct runner r = {
        .exp = exp, .reg = reg, .options = options, .summary = summary, .start_ns = clock_ns()};
    if (experiment_check(exp, reg, err) != PARE_OK)
        return err->status;
    pare_status status = prepare(&r, err);
    /* Hooks may add pipelines while this runs. */
    for (size_t i = 0; status == PARE_OK && i < exp->n_pipelines; i++)
        status = run_pipeline(&r, i, err);
    if (status == PARE_OK) {
        summary->plan = r.plan;
        r.plan = NULL;
    }
    clean_up(&r);
    return status;
}
