/* SPDX-License-Identifier: MIT */
#include "experiment/gradients.h"

#include "core/alloc.h"
#include "experiment/samples.h"
#include "train/network.h"
#include "train/train.h"

#include <math.h>
#include <stdlib.h>

/* A call of the plugin, noted while it lasts. */
#define CALL(p, name, expression, err)                                                             \
    (instance_enter((p)->inst, name), instance_status((p)->inst, expression, name, err))

enum { MAX_PASSES = 10000 };

struct passes {
    const pare_method_gradients *ext;
    struct instance *inst;
    const struct gradient_env *env;
    struct model *model;
    struct network *net;
    uint32_t *items; /* (n_samples) */
    float *images;   /* (batch, H, W, C) */
    uint8_t *labels; /* (batch) */
    float *scaled;   /* (batch, n_classes) logits / temperature */
    float *grad;     /* (batch, n_classes) */
};

static size_t image_elems(const struct model *model) {
    const int32_t *dims = model->graph.input_dims;
    return (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2];
}

static pare_status show_weight(struct passes *p, const pare_weight *w, int32_t n,
                               struct error *err) {
    const float *gradient = network_gradient(p->net, w->index);
    if (!gradient)
        return PARE_OK;
    for (int64_t i = 0; i < w->n_elems; i++) {
        if (!isfinite(gradient[i]))
            return error_set(err, PARE_E_NUMERIC,
                             "%s[%lld]: its gradient is %g; the values of this network are too "
                             "large for fp32",
                             w->name, (long long)i, (double)gradient[i]);
    }
    return CALL(p, "observe",
                p->ext->observe(instance_self(p->inst), &p->model->graph, w->index, gradient, n),
                err);
}

/* The images and labels are set. */
static pare_status one_batch(struct passes *p, const pare_gradient_pass *pass, int32_t n,
                             struct error *err) {
    const pare_graph *graph = &p->model->graph;
    const int64_t n_logits = (int64_t)n * graph->n_classes;
    const float *logits;
    struct train_options plain;
    train_defaults(&plain);
    pare_status status = network_forward(p->net, p->images, n, err, &logits);
    if (status != PARE_OK)
        return status;
    if (pass->loss == PARE_LOSS_OUTPUT_SUM) {
        for (int64_t i = 0; i < n_logits; i++)
            p->grad[i] = 1.0f;
    } else {
        for (int64_t i = 0; i < n_logits; i++)
            p->scaled[i] = (float)((double)logits[i] / pass->temperature);
        train_loss(p->scaled, NULL, p->labels, n, graph->n_classes, &plain, p->grad);
        for (int64_t i = 0; i < n_logits; i++)
            p->grad[i] = (float)((double)p->grad[i] / pass->temperature);
    }
    status = network_backward(p->net, p->grad, err);
    for (int32_t k = 0; k < graph->n_weights && status == PARE_OK; k++)
        status = show_weight(p, graph->weights[k], n, err);
    return status;
}

static pare_status all_batches(struct passes *p, const pare_gradient_pass *pass,
                               struct error *err) {
    const struct dataset *ds = p->env->ds;
    pare_status status = PARE_OK;
    for (int64_t at = 0; at < p->env->n_samples && status == PARE_OK; at += p->env->batch) {
        const int64_t left = p->env->n_samples - at;
        const int32_t n = left < p->env->batch ? (int32_t)left : p->env->batch;
        dataset_batch(ds, SPLIT_TRAIN, p->items + at, n, p->images);
        for (int32_t i = 0; i < n; i++)
            p->labels[i] = ds->splits[SPLIT_TRAIN].labels[p->items[at + i]];
        status = one_batch(p, pass, n, err);
    }
    return status;
}

static pare_status ones(struct passes *p, const pare_gradient_pass *pass, struct error *err) {
    for (size_t i = 0; i < image_elems(p->model); i++)
        p->images[i] = 1.0f;
    return one_batch(p, pass, 1, err);
}

static pare_status check_pass(const pare_gradient_pass *pass, struct error *err) {
    if (pass->loss != PARE_LOSS_CROSS_ENTROPY && pass->loss != PARE_LOSS_OUTPUT_SUM)
        return error_set(err, PARE_E_PLUGIN, "asks for gradients of loss %d, which there is not",
                         pass->loss);
    if (!(pass->temperature > 0 && isfinite(pass->temperature)))
        return error_set(err, PARE_E_PLUGIN, "asks for temperature %g, wanted more than 0",
                         pass->temperature);
    return PARE_OK;
}

static pare_status one_pass(struct passes *p, int64_t number, struct error *err, int32_t *again) {
    pare_gradient_pass pass = {
        .struct_size = sizeof pass, .loss = PARE_LOSS_CROSS_ENTROPY, .temperature = 1.0};
    void *self = instance_self(p->inst);
    pare_status status =
        CALL(p, "begin", p->ext->begin(self, &p->model->graph, number, &pass), err);
    if (status == PARE_OK)
        status = check_pass(&pass, err);
    if (status != PARE_OK)
        return status;
    const int is_sum = pass.loss == PARE_LOSS_OUTPUT_SUM;
    network_set_norm_momentum(p->net, 0.0f);
    network_freeze_norm(p->net, is_sum || pass.frozen_norm);
    status = is_sum ? ones(p, &pass, err) : all_batches(p, &pass, err);
    if (status == PARE_OK)
        status = CALL(p, "end", p->ext->end(self, &p->model->graph, again), err);
    return status;
}

static pare_status make_room(struct passes *p, struct error *err) {
    const size_t batch = (size_t)p->env->batch;
    const size_t classes = (size_t)p->model->graph.n_classes;
    p->images = alloc_array(batch, image_elems(p->model) * sizeof *p->images);
    p->labels = alloc_array(batch, sizeof *p->labels);
    p->scaled = alloc_array(batch, classes * sizeof *p->scaled);
    p->grad = alloc_array(batch, classes * sizeof *p->grad);
    return p->images && p->labels && p->scaled && p->grad
               ? PARE_OK
               : error_set(err, PARE_E_NOMEM, "out of memory");
}

pare_status gradients_run(const pare_method_gradients *ext, struct instance *inst,
                          const struct gradient_env *env, struct model *model, struct error *err) {
    struct passes p = {.ext = ext, .inst = inst, .env = env, .model = model};
    pare_status status = samples_choose(env->ds, env->n_samples, env->seed, err, &p.items);
    if (status == PARE_OK)
        status = make_room(&p, err);
    if (status == PARE_OK)
        status = network_create(model, env->batch, 1, NULL, env->pool, err, &p.net);
    int32_t again = 1;
    for (int64_t number = 0; status == PARE_OK && again; number++) {
        again = 0;
        status = number < MAX_PASSES
                     ? one_pass(&p, number, err, &again)
                     : error_set(err, PARE_E_PLUGIN, "asks for more than %d passes over gradients",
                                 MAX_PASSES);
    }
    network_destroy(p.net);
    free(p.items);
    free(p.images);
    free(p.labels);
    free(p.scaled);
    free(p.grad);
    return status;
}
