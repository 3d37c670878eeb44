/* SPDX-License-Identifier: MIT */
/* Accuracy of a model on a split, deployed and simulated. */
#include "core/alloc.h"
#include "core/file.h"
#include "experiment/deployment.h"
#include "experiment/experiment.h"
#include "experiment/fill.h"
#include "experiment/outputs.h"
#include "train/train.h"

#include <stdlib.h>

pare_status experiment_infer_split(struct instance *backend, void *executable, int32_t batch,
                                   const struct dataset *ds, enum split_id split, struct error *err,
                                   float *logits) {
    const pare_backend *b = instance_entry(backend)->backend;
    int64_t n = ds->splits[split].n;
    size_t pixels = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    float *images = alloc_array((size_t)batch * pixels, sizeof *images);
    pare_status status =
        images ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory for a batch");
    for (int64_t at = 0; at < n && status == PARE_OK; at += batch) {
        int32_t count = (int32_t)(n - at < batch ? n - at : batch);
        dataset_span(ds, split, at, count, images);
        instance_enter(backend, "run");
        status = instance_status(
            backend, b->run(executable, images, count, logits + at * ds->n_classes), "run", err);
    }
    free(images);
    return status;
}

struct evaluation {
    const struct eval_options *options;
    struct model *model;
    struct dataset *ds;
    enum split_id split;
    struct pool *pool;
    float *logits;                    /* (n,n_classes) */
    uint8_t *predictions, *simulated; /* (n) each */
};

static pare_status evaluate_deployed(struct evaluation *e, const struct registry *reg,
                                     struct error *err, struct record *rec) {
    const struct eval_options *o = e->options;
    const struct dataset_split *split = &e->ds->splits[e->split];
    struct deployment *dep;
    if (deployment_create(&e->model->graph, reg, o->backend, o->isa, 64, e->pool, err, &dep) !=
        PARE_OK)
        return err->status;
    struct accuracy acc;
    pare_status status = experiment_infer_split(dep->inst, dep->executable, dep->max_batch, e->ds,
                                                e->split, err, e->logits);
    if (status == PARE_OK && o->logits_path)
        status = file_write(o->logits_path, e->logits,
                            (size_t)(split->n * e->ds->n_classes) * sizeof *e->logits, err);
    if (status == PARE_OK)
        status = outputs_measure(&e->model->graph, e->ds, e->split, e->logits, err, &acc,
                                 e->predictions);
    if (status == PARE_OK && o->confusion)
        status =
            fill_confusion(rec, e->predictions, split->labels, split->n, e->ds->n_classes, err);
    if (status == PARE_OK) {
        fill_accuracy(rec, &acc);
        fill_execution(rec, dep);
    }
    deployment_destroy(dep);
    return status;
}

static pare_status evaluate_simulated(struct evaluation *e, struct error *err, struct record *rec) {
    const struct dataset_split *split = &e->ds->splits[e->split];
    struct accuracy acc;
    if (!graph_is_quantized(&e->model->graph))
        return PARE_OK;
    if (train_infer_split(e->model, e->ds, e->split, e->pool, err, e->logits) != PARE_OK ||
        outputs_measure(&e->model->graph, e->ds, e->split, e->logits, err, &acc, e->simulated) !=
            PARE_OK)
        return err->status;
    struct accuracy_paired paired;
    accuracy_compare(e->predictions, e->simulated, split->labels, split->n, &paired);
    record_set_real(rec, COL_top1_simulated, acc.top1);
    record_set_real(rec, COL_agreement_simulated, paired.agreement);
    return PARE_OK;
}

static pare_status check_fits(const struct evaluation *e, struct error *err) {
    const pare_graph *g = &e->model->graph;
    const struct dataset *ds = e->ds;
    if (g->n_classes == ds->n_classes && g->input_dims[0] == ds->dims[0] &&
        g->input_dims[1] == ds->dims[1] && g->input_dims[2] == ds->dims[2])
        return PARE_OK;
    return error_set(
        err, PARE_E_ARG,
        "the model takes %dx%dx%d and gives %d classes, dataset %s has %dx%dx%d and %d "
        "classes",
        g->input_dims[0], g->input_dims[1], g->input_dims[2], g->n_classes, ds->name, ds->dims[0],
        ds->dims[1], ds->dims[2], ds->n_classes);
}

/* The first n_samples of the split alone. */
static pare_status open_split(struct evaluation *e, struct error *err) {
    const struct eval_options *o = e->options;
    struct dataset_options limits = {0};
    switch (o->split) {
    case SPLIT_TRAIN:
        limits.max_train = o->n_samples;
        break;
    case SPLIT_VAL:
        limits.max_val = o->n_samples;
        break;
    default:
        limits.max_test = o->n_samples;
        break;
    }
    if (dataset_open(o->dataset, &limits, err, &e->ds) != PARE_OK)
        return err->status;
    if (o->split != SPLIT_TEST && dataset_need_train(e->ds, "this split", err) != PARE_OK)
        return err->status;
    return check_fits(e, err);
}

pare_status experiment_eval(struct model *model, const struct eval_options *options,
                            const struct registry *reg, struct error *err, struct record *rec) {
    static const char *const split_names[] = {"train", "val", "test"};
    struct evaluation e = {.options = options, .model = model, .split = options->split};
    int32_t threads = options->threads;
    struct topology *topo = NULL;
    pare_status status = open_split(&e, err);
    if (status == PARE_OK)
        status = topology_create(err, &topo);
    if (status == PARE_OK)
        status = pool_create(threads > 0 ? threads : topology_n_cores(topo), topo, err, &e.pool);
    if (status == PARE_OK) {
        size_t n = (size_t)e.ds->splits[e.split].n;
        e.logits = alloc_array(n * (size_t)e.ds->n_classes, sizeof *e.logits);
        e.predictions = alloc_array(n, 1);
        e.simulated = alloc_array(n, 1);
        if (!e.logits || !e.predictions || !e.simulated)
            status = error_set(err, PARE_E_NOMEM, "out of memory for the outputs");
    }
    if (status == PARE_OK)
        status = evaluate_deployed(&e, reg, err, rec);
    if (status == PARE_OK)
        status = evaluate_simulated(&e, err, rec);
    if (status == PARE_OK)
        status = fill_size(rec, model, model, err);
    record_set(rec, COL_dataset, options->dataset);
    record_set(rec, COL_split, split_names[options->split]);
    if (status == PARE_OK)
        record_set_int(rec, COL_threads, pool_n_threads(e.pool));
    free(e.simulated);
    free(e.predictions);
    free(e.logits);
    pool_destroy(e.pool);
    topology_destroy(topo);
    dataset_close(e.ds);
    return status;
}
