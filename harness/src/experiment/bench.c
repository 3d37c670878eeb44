/* SPDX-License-Identifier: MIT */
/* `pare bench`: one model on one arm. Needs no data: weights and inputs come from a seed,
 * quantization from the method ptq calibrated on those inputs. Its rows are about time and memory,
 * never accuracy. */
#include "core/alloc.h"
#include "core/rng.h"
#include "experiment/arm.h"
#include "experiment/fill.h"
#include "experiment/precision.h"

#include <stdlib.h>
#include <string.h>

enum { N_SEEDED_IMAGES = 64 };

/* ---- a dataset made of noise ---- */

static pare_status seeded_dataset(const pare_graph *graph, uint64_t seed, struct error *err,
                                  struct dataset *ds) {
    if (graph->input_dims[2] > 3) /* struct dataset has a mean for each of three at most */
        return error_set(err, PARE_E_UNSUPPORTED,
                         "the model takes images of %d channels: bench makes 1 to 3",
                         graph->input_dims[2]);
    size_t pixels =
        (size_t)graph->input_dims[0] * (size_t)graph->input_dims[1] * (size_t)graph->input_dims[2];
    size_t n_bytes = N_SEEDED_IMAGES * (pixels + 1);
    uint8_t *bytes = alloc_array(n_bytes, 1);
    if (!bytes)
        return error_set(err, PARE_E_NOMEM, "out of memory for inputs");
    pare_rng rng;
    rng_init(&rng, seed, "bench-inputs", 0);
    for (size_t i = 0; i < N_SEEDED_IMAGES * pixels; i++)
        bytes[i] = (uint8_t)rng_below(&rng, 256);
    struct dataset_split split = {N_SEEDED_IMAGES, bytes, bytes + N_SEEDED_IMAGES * pixels};
    *ds =
        (struct dataset){.name = "seeded",
                         .dims = {graph->input_dims[0], graph->input_dims[1], graph->input_dims[2]},
                         .n_classes = graph->n_classes,
                         .mean = {0.5f, 0.5f, 0.5f},
                         .stddev = {0.25f, 0.25f, 0.25f},
                         .splits = {split, split, split},
                         .storage = bytes};
    return PARE_OK;
}

static float *seeded_images(const struct dataset *ds) {
    size_t pixels = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    float *images = alloc_array(N_SEEDED_IMAGES * pixels, sizeof *images);
    if (images)
        dataset_span(ds, SPLIT_TEST, 0, N_SEEDED_IMAGES, images);
    return images;
}

/* ---- the measurement ---- */

struct bench {
    struct model *model;
    struct dataset ds;
    float *images;
    struct topology *topo, *cores; /* all, and those that may be used */
    struct pool *pool;
    struct deployment *deps[2]; /* the subject, and the same once more: the null control */
};

static pare_status prepare(struct bench *b, const struct model *model, const struct registry *reg,
                           const struct bench_options *options, int32_t samples,
                           struct error *err) {
    const struct precision *precision = precision_find(options->precision, err);
    if (!precision)
        return err->status;
    if (seeded_dataset(&model->graph, options->seed, err, &b->ds) != PARE_OK ||
        model_copy(model, err, &b->model) != PARE_OK)
        return err->status;
    b->images = seeded_images(&b->ds);
    if (!b->images)
        return error_set(err, PARE_E_NOMEM, "out of memory for inputs");
    if (precision->bits && graph_is_quantized(&model->graph))
        return error_set(err, PARE_E_ARG,
                         "the model is quantized already: leave out --precision %s",
                         precision->name);
    if (options->sparsity > 0 &&
        precision_prune(b->model, options->sparsity, options->sparsity_pattern, &b->ds,
                        options->seed, reg, err) != PARE_OK)
        return err->status;
    if (precision->bits && precision_apply(precision, b->model, &b->ds, N_SEEDED_IMAGES,
                                           options->seed, reg, err) != PARE_OK)
        return err->status;
    if (topology_create(err, &b->topo) != PARE_OK ||
        topology_of_kind(b->topo, options->cores, err, &b->cores) != PARE_OK ||
        pool_create(options->threads, b->cores, err, &b->pool) != PARE_OK)
        return err->status;
    const pare_graph *graphs[2] = {&b->model->graph, &b->model->graph};
    for (int k = 0; k < 2; k++) {
        if (deployment_create(graphs[k], reg, options->backend, options->isa, samples, b->pool, err,
                              &b->deps[k]) != PARE_OK)
            return err->status;
    }
    if (options->cache == CACHE_HOT)
        return PARE_OK;
    return deployment_add_copies(b->deps, graphs, 2, options->isa,
                                 arm_rotation_bytes(options->cache, b->topo), err);
}

static pare_status measure(struct bench *b, const struct model *model, const struct registry *reg,
                           const struct bench_options *options, int32_t samples, struct error *err,
                           struct record *rec) {
    if (deployment_check(b->deps[0], &b->model->graph, reg, b->images, samples < 8 ? samples : 8,
                         err) != PARE_OK)
        return err->status;
    struct model_counts counts;
    model_count(model, &counts);
    struct arm_request request = {.subject = b->deps[0],
                                  .control = b->deps[1],
                                  .graph = &b->model->graph,
                                  .images = b->images,
                                  .n_images = N_SEEDED_IMAGES,
                                  .cache = options->cache,
                                  .rotation_bytes = arm_rotation_bytes(options->cache, b->topo),
                                  .samples_per_query = samples,
                                  .threads = options->threads,
                                  .profile = options->profile,
                                  .seed = options->seed,
                                  .macs_dense = counts.macs_dense,
                                  .events = options->counters,
                                  .n_events = options->n_counters};
    fill_execution(rec, b->deps[0]);
    record_set(rec, COL_binding, pool_binding(b->pool));
    if (fill_size(rec, b->model, model, err) != PARE_OK)
        return err->status;
    return arm_measure(&request, err, rec);
}

pare_status experiment_bench(const struct model *model, const struct registry *reg,
                             const struct bench_options *options, struct error *err,
                             struct record *rec) {
    struct bench b = {0};
    int32_t samples;
    if (arm_scenario(options->scenario, options->batch, err, &samples) != PARE_OK)
        return err->status;
    if (options->threads < 1 || samples < 1 || samples > N_SEEDED_IMAGES)
        return error_set(err, PARE_E_RANGE,
                         "threads is %d and batch is %d, wanted at least 1 and 1..%d",
                         options->threads, samples, N_SEEDED_IMAGES);
    pare_status status = prepare(&b, model, reg, options, samples, err);
    if (status == PARE_OK)
        status = measure(&b, model, reg, options, samples, err, rec);
    if (status == PARE_OK) {
        struct machine machine;
        machine_describe(b.topo, &machine);
        fill_machine(rec, &machine);
        fill_outcome(rec, PARE_OK, "");
        record_set(rec, COL_model, model->graph.name);
        record_set_int(rec, COL_seed, (int64_t)options->seed);
        record_set_int(rec, COL_threads, options->threads);
        if (options->sparsity > 0)
            record_set_real(rec, COL_sparsity_requested, options->sparsity);
        record_set_int(rec, COL_batch, options->batch);
        record_set(rec, COL_scenario, options->scenario);
        record_set(rec, COL_core_kind, topology_kind_name(options->cores));
        fill_profile(rec, options->profile);
    }
    deployment_destroy(b.deps[0]);
    deployment_destroy(b.deps[1]);
    pool_destroy(b.pool);
    topology_destroy(b.cores);
    topology_destroy(b.topo);
    model_destroy(b.model);
    free(b.images);
    free(b.ds.storage);
    return status;
}
