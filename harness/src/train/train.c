/* SPDX-License-Identifier: MIT */
#include "train/train.h"

#include "core/alloc.h"
#include "core/progress.h"
#include "train/batches.h"
#include "train/kernel.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CLASSES = 256, INFER_BATCH = 128, MAX_BATCH = 65536 };

static const double PI = 3.14159265358979323846;

void train_defaults(struct train_options *options) {
    *options = (struct train_options){
        .epochs = 10.0,
        .batch = 128,
        .lr = 0.1,
        .schedule = LR_LINEAR,
        .warmup = 0.15,
        .momentum = 0.9,
        .weight_decay = 5e-4,
        .shift = -1,
        .flip = -1,
        .distill_temperature = 4.0,
    };
}

int64_t train_n_steps(const struct dataset *ds, const struct train_options *options,
                      int64_t *steps_per_epoch) {
    *steps_per_epoch = batches_per_epoch(ds->splits[SPLIT_TRAIN].n, options->batch);
    const double steps = options->epochs * (double)*steps_per_epoch;
    return steps < 1.0 ? 1 : (int64_t)llround(steps);
}

double train_learning_rate(const struct train_options *options, int64_t step, int64_t n_steps) {
    const int64_t warmup = (int64_t)llround(options->warmup * (double)n_steps);
    if (step < warmup) {
        return options->lr * (double)(step + 1) / (double)(warmup + 1);
    }
    const double done = (double)(step - warmup) / (double)(n_steps - warmup);
    switch (options->schedule) {
    case LR_LINEAR:
        return options->lr * (1.0 - done);
    case LR_COSINE:
        return options->lr * 0.5 * (1.0 + cos(PI * done));
    default:
        return options->lr;
    }
}

/* ---- checks ---- */

static pare_status check_range(const char *name, double value, double min, double max,
                               struct error *err) {
    if (!(value >= min && value <= max)) {
        return error_set(err, PARE_E_RANGE, "training: %s is %g, wanted %g..%g", name, value, min,
                         max);
    }
    return PARE_OK;
}

static pare_status check_options(const struct train_options *o, struct error *err) {
    const struct {
        const char *name;
        double value, min, max;
    } ranges[] = {
        {"epochs", o->epochs, DBL_MIN, 1e6},
        {"batch", o->batch, 1, MAX_BATCH},
        {"lr", o->lr, 0, 1e6},
        {"schedule", (double)o->schedule, LR_LINEAR, LR_CONSTANT},
        {"warmup", o->warmup, 0, 1},
        {"momentum", o->momentum, 0, 1},
        {"weight_decay", o->weight_decay, 0, 1e6},
        {"label_smoothing", o->label_smoothing, 0, 1},
        {"shift", o->shift, -1, 1024},
        {"flip", o->flip, -1, 1},
        {"clip_norm", o->clip_norm, 0, DBL_MAX},
        {"distill_weight", o->distill_weight, 0, 1},
        {"distill_temperature", o->teacher ? o->distill_temperature : 1.0, 1e-3, 1e3},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const pare_status status =
            check_range(ranges[i].name, ranges[i].value, ranges[i].min, ranges[i].max, err);
        if (status != PARE_OK) {
            return status;
        }
    }
    return PARE_OK;
}

static pare_status check_fit(const pare_graph *graph, const struct dataset *ds, struct error *err) {
    const int32_t *want = graph->input_dims;
    if (memcmp(want, ds->dims, sizeof ds->dims) != 0) {
        return error_set(err, PARE_E_ARG,
                         "%s takes images of %dx%dx%d, but those of %s are %dx%dx%d", graph->name,
                         want[0], want[1], want[2], ds->name, ds->dims[0], ds->dims[1],
                         ds->dims[2]);
    }
    if (graph->n_classes < ds->n_classes || graph->n_classes > MAX_CLASSES) {
        return error_set(err, PARE_E_ARG, "%s has %d classes, but %s has %d", graph->name,
                         graph->n_classes, ds->name, ds->n_classes);
    }
    return PARE_OK;
}

/* ---- the optimizer ---- */

struct optimizer {
    struct model *model;
    const struct kernels *k;
    float *memory;   /* momentum of all weights, one after the other */
    int64_t *offset; /* (n_weights) into memory; -1: not trained */
};

static int is_trained(const pare_weight *w) {
    return w->role != PARE_ROLE_MEAN && w->role != PARE_ROLE_VAR && w->quant.bits == 0;
}

static pare_status optimizer_create(struct model *model, struct error *err, struct optimizer *out) {
    const pare_graph *graph = &model->graph;
    struct optimizer o = {.model = model, .k = kernels_best()};
    int64_t n = 0;
    o.offset = alloc_array((size_t)graph->n_weights, sizeof *o.offset);
    for (int32_t i = 0; o.offset && i < graph->n_weights; i++) {
        o.offset[i] = n;
        n += graph->weights[i]->n_elems;
    }
    o.memory = alloc_array((size_t)n, sizeof *o.memory);
    if (!o.offset || !o.memory) {
        free(o.offset);
        free(o.memory);
        return error_set(err, PARE_E_NOMEM, "training %s: out of memory", graph->name);
    }
    *out = o;
    return PARE_OK;
}

static void optimizer_destroy(struct optimizer *o) {
    free(o->offset);
    free(o->memory);
}

/* What the gradients are to be multiplied by so that their common norm is at most clip_norm. */
static double clip_factor(const struct network *net, const pare_graph *graph, double clip_norm) {
    double sum = 0.0;
    for (int32_t i = 0; i < graph->n_weights; i++) {
        const float *g = network_gradient(net, i);
        for (int64_t e = 0; is_trained(graph->weights[i]) && e < graph->weights[i]->n_elems; e++) {
            sum += (double)g[e] * (double)g[e];
        }
    }
    const double factor = clip_norm / (sqrt(sum) + 1e-6);
    return factor < 1.0 ? factor : 1.0;
}

static void optimizer_step(struct optimizer *o, const struct network *net,
                           const struct train_options *options, double lr) {
    const pare_graph *graph = &o->model->graph;
    const double clip =
        options->clip_norm > 0.0 ? clip_factor(net, graph, options->clip_norm) : 1.0;
    for (int32_t i = 0; i < graph->n_weights; i++) {
        const pare_weight *w = graph->weights[i];
        if (!is_trained(w)) {
            continue;
        }
        float *data = model_weight_data(o->model, i);
        float *memory = o->memory + o->offset[i];
        const double decay = w->role == PARE_ROLE_WEIGHT ? options->weight_decay : 0.0;
        o->k->sgd(data, memory, network_gradient(net, i), w->n_elems, (float)lr,
                  (float)options->momentum, (float)decay, (float)clip);
        for (int64_t e = 0; w->mask && e < w->n_elems; e++) {
            if (!w->mask[e]) {
                data[e] = 0.0f;
                memory[e] = 0.0f; /* a weight that comes back starts afresh */
            }
        }
    }
}

/* ---- the loop ---- */

struct run {
    struct model *model;
    const struct train_options *options;
    const struct train_hooks *hooks;
    struct network *net, *teacher;
    struct optimizer optimizer;
    struct batches batches;
    struct pool *pool;
    float *grad;           /* (batch, n_classes) */
    float *teacher_logits; /* (batch, n_classes) or NULL */
    int64_t n_steps, steps_per_epoch;

    /* of the current epoch */
    double loss_sum;
    int64_t n_correct, n_seen, n_batches;
};

/* A network that ends in a softmax gives probabilities; their logarithms are logits. */
static void to_logits(const pare_graph *graph, const float *values, int64_t n, float *logits) {
    const int softmax = graph->nodes[graph->n_nodes - 1]->op == PARE_OP_SOFTMAX;
    for (int64_t i = 0; i < n; i++) {
        logits[i] = softmax ? logf(fmaxf(values[i], FLT_MIN)) : values[i];
    }
}

static void count_correct(struct run *r, const float *logits) {
    const int32_t c = r->model->graph.n_classes;
    for (int32_t i = 0; i < r->batches.n; i++) {
        const float *z = logits + (int64_t)i * c;
        int32_t best = 0;
        for (int32_t j = 1; j < c; j++) {
            best = z[j] > z[best] ? j : best;
        }
        r->n_correct += best == r->batches.labels[i];
    }
    r->n_seen += r->batches.n;
}

static pare_status teacher_pass(struct run *r, struct error *err) {
    if (!r->teacher) {
        return PARE_OK;
    }
    const pare_graph *graph = &r->options->teacher->graph;
    const float *values;
    const pare_status status =
        network_infer(r->teacher, r->batches.images, r->batches.n, err, &values);
    if (status != PARE_OK) {
        return error_prefix(err, "teacher");
    }
    to_logits(graph, values, (int64_t)r->batches.n * graph->n_classes, r->teacher_logits);
    return PARE_OK;
}

static pare_status train_step(struct run *r, int64_t step, struct error *err) {
    const struct train_options *o = r->options;
    const float *logits;
    batches_load(&r->batches, step, r->pool);
    pare_status status = teacher_pass(r, err);
    if (status == PARE_OK) {
        status = network_forward(r->net, r->batches.images, r->batches.n, err, &logits);
    }
    if (status != PARE_OK) {
        return status;
    }
    const double loss = train_loss(logits, r->teacher_logits, r->batches.labels, r->batches.n,
                                   r->model->graph.n_classes, o, r->grad);
    const double lr = train_learning_rate(o, step, r->n_steps);
    if (!isfinite(loss)) {
        return error_set(
            err, PARE_E_NUMERIC,
            "training %s: the loss is %g at step %lld of %lld (learning rate %g); try a "
            "smaller lr (it is %g), a longer warmup (%g) or clip_norm (%g)",
            r->model->graph.name, loss, (long long)step + 1, (long long)r->n_steps, lr, o->lr,
            o->warmup, o->clip_norm);
    }
    r->loss_sum += loss;
    r->n_batches++;
    count_correct(r, logits);
    status = network_backward(r->net, r->grad, err);
    if (status != PARE_OK) {
        return status;
    }
    optimizer_step(&r->optimizer, r->net, o, lr);
    if (r->hooks && r->hooks->after_step) {
        status = r->hooks->after_step(r->hooks->context, step, lr);
        if (status != PARE_OK) {
            return error_set(err, status, "training %s: after_step failed at step %lld",
                             r->model->graph.name, (long long)step + 1);
        }
    }
    return PARE_OK;
}

static pare_status end_epoch(struct run *r, int64_t step, struct error *err) {
    const int64_t epoch = step / r->steps_per_epoch;
    if (r->hooks && r->hooks->after_epoch) {
        const pare_status status = r->hooks->after_epoch(r->hooks->context, (int32_t)epoch,
                                                         r->loss_sum / (double)r->n_batches,
                                                         (double)r->n_correct / (double)r->n_seen);
        if (status != PARE_OK) {
            return error_set(err, status, "training %s: after_epoch failed after epoch %lld",
                             r->model->graph.name, (long long)epoch + 1);
        }
    }
    return PARE_OK;
}

static pare_status train_steps(struct run *r, struct progress *progress, struct error *err,
                               double *final_loss) {
    char note[64] = "";
    for (int64_t step = r->options->first_step; step < r->n_steps; step++) {
        if (step % r->steps_per_epoch == 0) {
            r->loss_sum = 0.0;
            r->n_correct = r->n_seen = r->n_batches = 0;
        }
        pare_status status = train_step(r, step, err);
        if (status != PARE_OK) {
            return status;
        }
        *final_loss = r->loss_sum / (double)r->n_batches;
        if (progress) {
            snprintf(note, sizeof note, "loss %.4f  accuracy %.2f %%", *final_loss,
                     100.0 * (double)r->n_correct / (double)r->n_seen);
            progress_update(progress, step + 1, note);
        }
        if ((step + 1) % r->steps_per_epoch == 0 || step + 1 == r->n_steps) {
            status = end_epoch(r, step, err);
            if (status != PARE_OK) {
                return status;
            }
        }
    }
    return PARE_OK;
}

static pare_status create_teacher(struct run *r, const struct dataset *ds, struct error *err) {
    const struct train_options *o = r->options;
    if (!o->teacher || o->distill_weight <= 0.0) {
        return PARE_OK;
    }
    pare_status status = check_fit(&o->teacher->graph, ds, err);
    if (status == PARE_OK && o->teacher->graph.n_classes != r->model->graph.n_classes) {
        status =
            error_set(err, PARE_E_ARG, "%s has %d classes, %s has %d", o->teacher->graph.name,
                      o->teacher->graph.n_classes, r->model->graph.name, r->model->graph.n_classes);
    }
    if (status == PARE_OK) {
        status = network_create(o->teacher, o->batch, 0, NULL, r->pool, err, &r->teacher);
    }
    if (status != PARE_OK) {
        return error_prefix(err, "teacher");
    }
    r->teacher_logits =
        alloc_array((size_t)o->batch, (size_t)r->model->graph.n_classes * sizeof(float));
    return r->teacher_logits
               ? PARE_OK
               : error_set(err, PARE_E_NOMEM, "training %s: out of memory", r->model->graph.name);
}

static pare_status run_create(struct run *r, const struct dataset *ds, struct error *err) {
    const struct train_options *o = r->options;
    pare_status status = check_options(o, err);
    if (status == PARE_OK) {
        status = check_fit(&r->model->graph, ds, err);
    }
    if (status == PARE_OK) {
        status = batches_create(ds, o->batch, o->shift, o->flip, o->seed, err, &r->batches);
    }
    if (status == PARE_OK) {
        status = network_create(r->model, o->batch, 1, r->hooks ? &r->hooks->network : NULL,
                                r->pool, err, &r->net);
    }
    if (status == PARE_OK) {
        status = optimizer_create(r->model, err, &r->optimizer);
    }
    if (status == PARE_OK) {
        status = create_teacher(r, ds, err);
    }
    if (status != PARE_OK) {
        return status;
    }
    r->n_steps = train_n_steps(ds, o, &r->steps_per_epoch);
    if (o->first_step < 0 || o->first_step >= r->n_steps) {
        return error_set(err, PARE_E_RANGE, "training %s: the first step is %lld, wanted 0..%lld",
                         r->model->graph.name, (long long)o->first_step, (long long)r->n_steps - 1);
    }
    r->grad = alloc_array((size_t)o->batch, (size_t)r->model->graph.n_classes * sizeof(float));
    return r->grad
               ? PARE_OK
               : error_set(err, PARE_E_NOMEM, "training %s: out of memory", r->model->graph.name);
}

static void run_destroy(struct run *r) {
    batches_destroy(&r->batches);
    network_destroy(r->net);
    network_destroy(r->teacher);
    optimizer_destroy(&r->optimizer);
    free(r->grad);
    free(r->teacher_logits);
}

pare_status train_run(struct model *model, const struct dataset *ds,
                      const struct train_options *options, const struct train_hooks *hooks,
                      struct pool *pool, const char *label, struct error *err,
                      struct train_result *result) {
    struct run r = {.model = model, .options = options, .hooks = hooks, .pool = pool};
    struct progress progress;
    double final_loss = 0.0;
    const int64_t start_ns = clock_ns();
    pare_status status = run_create(&r, ds, err);
    if (status == PARE_OK) {
        if (label) {
            progress_begin(&progress, label, r.n_steps);
        }
        status = train_steps(&r, label ? &progress : NULL, err, &final_loss);
        if (label) {
            char note[64];
            snprintf(note, sizeof note, "loss %.4f", final_loss);
            progress_end(&progress, status == PARE_OK ? note : "stopped");
        }
    }
    if (status == PARE_OK) {
        *result = (struct train_result){
            .steps = r.n_steps - options->first_step,
            .seconds = (double)(clock_ns() - start_ns) * 1e-9,
            .final_loss = final_loss,
        };
    }
    run_destroy(&r);
    return status;
}

/* ---- running data through a model ---- */

pare_status train_infer_split(struct model *model, const struct dataset *ds, enum split_id split,
                              struct pool *pool, struct error *err, float *logits) {
    const pare_graph *graph = &model->graph;
    const int64_t n = ds->splits[split].n;
    const size_t image_elems = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    struct network *net = NULL;
    float *images = NULL;
    pare_status status = check_fit(graph, ds, err);
    if (status == PARE_OK) {
        status = network_create(model, INFER_BATCH, 0, NULL, pool, err, &net);
    }
    if (status != PARE_OK) {
        goto cleanup;
    }
    images = alloc_array(INFER_BATCH, image_elems * sizeof *images);
    if (!images) {
        status = error_set(err, PARE_E_NOMEM, "%s: out of memory", graph->name);
        goto cleanup;
    }
    for (int64_t at = 0; at < n; at += INFER_BATCH) {
        const int32_t count = (int32_t)(n - at < INFER_BATCH ? n - at : INFER_BATCH);
        const float *out;
        dataset_span(ds, split, at, count, images);
        status = network_infer(net, images, count, err, &out);
        if (status != PARE_OK) {
            goto cleanup;
        }
        memcpy(logits + at * graph->n_classes, out,
               (size_t)count * (size_t)graph->n_classes * sizeof *logits);
    }
cleanup:
    free(images);
    network_destroy(net);
    return status;
}

pare_status train_reestimate_batch_norm(struct model *model, const struct dataset *ds,
                                        int32_t n_batches, uint64_t seed, struct pool *pool,
                                        struct error *err) {
    struct network *net = NULL;
    struct batches batches = {NULL};
    pare_status status = check_fit(&model->graph, ds, err);
    if (status == PARE_OK) {
        status = check_range("n_batches", n_batches, 1, 1e6, err);
    }
    if (status == PARE_OK) {
        status = batches_create(ds, INFER_BATCH, 0, 0, seed, err, &batches);
    }
    if (status == PARE_OK) {
        status = network_create(model, INFER_BATCH, 1, NULL, pool, err, &net);
    }
    for (int32_t i = 0; i < n_batches && status == PARE_OK; i++) {
        const float *logits;
        batches_load(&batches, i, pool);
        /* The mean over all batches: the first replaces what was there. */
        network_set_norm_momentum(net, 1.0f / (float)(i + 1));
        status = network_forward(net, batches.images, batches.n, err, &logits);
    }
    batches_destroy(&batches);
    network_destroy(net);
    return status;
}
