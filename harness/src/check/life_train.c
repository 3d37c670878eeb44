/* SPDX-License-Identifier: MIT */
/* The stages of a method's life that have gradients: training, and passes before apply. */
#include "check/life_stages.h"
#include "core/alloc.h"
#include "core/rng.h"
#include "train/network.h"

#include <stdlib.h>

enum { MAX_PASSES = 10000, MAX_ROUNDS = 10000 };

/* ---- training ---- */

static int wants_weight(void *context, int32_t weight) {
    const struct living *living = context;
    const pare_weight *w = life_graph(living)->weights[weight];
    return living->train->weight_forward && w->role == PARE_ROLE_WEIGHT &&
           host_selects(living->watch->inst, life_graph(living)->nodes[w->node]);
}

static int wants_activation(void *context, int32_t node) {
    const struct living *living = context;
    return living->train->activation_forward &&
           host_selects(living->watch->inst, life_graph(living)->nodes[node]);
}

/* What a hook said is kept with the instance: the network between only passes the status on. */
static pare_status keep(struct living *living, pare_status status, const struct error *err) {
    if (status != PARE_OK)
        error_set(&living->watch->inst->failure, status, "%s", err->text);
    return status;
}

static int wants_image_gradient(void *context, int32_t node) {
    const struct living *living = context;
    const pare_method_train *ext = living->train;
    return !PARE_HAS(ext, pare_method_train, wants_image_gradient) || !ext->wants_image_gradient ||
           ext->wants_image_gradient(living->self, life_graph(living), node) != 0;
}

static pare_status weight_forward(void *context, int32_t weight, const float *w, float *used) {
    struct living *living = context;
    struct error ignored, *err = &ignored;
    return keep(
        living,
        CALL(living, "weight_forward",
             living->train->weight_forward(living->self, life_graph(living), weight, w, used)),
        err);
}

static pare_status weight_backward(void *context, int32_t weight, const float *w,
                                   const float *grad_used, float *grad_w) {
    struct living *living = context;
    struct error ignored, *err = &ignored;
    return keep(living,
                CALL(living, "weight_backward",
                     living->train->weight_backward(living->self, life_graph(living), weight, w,
                                                    grad_used, grad_w)),
                err);
}

static pare_status activation_forward(void *context, int32_t node, const float *x, float *y,
                                      int64_t n) {
    struct living *living = context;
    struct error ignored, *err = &ignored;
    return keep(
        living,
        CALL(living, "activation_forward",
             living->train->activation_forward(living->self, life_graph(living), node, x, y, n)),
        err);
}

static pare_status activation_backward(void *context, int32_t node, const float *x,
                                       const float *grad_y, float *grad_x, int64_t n) {
    struct living *living = context;
    struct error ignored, *err = &ignored;
    return keep(living,
                CALL(living, "activation_backward",
                     living->train->activation_backward(living->self, life_graph(living), node, x,
                                                        grad_y, grad_x, n)),
                err);
}

/* Plain SGD on what is neither quantized nor pruned. */
static void descend(struct model *model, const struct network *net, float rate) {
    for (int32_t i = 0; i < model->graph.n_weights; i++) {
        const pare_weight *w = model->graph.weights[i];
        const float *gradient = network_gradient(net, i);
        if (!gradient || w->quant.bits)
            continue;
        float *data = model_weight_data(model, i);
        for (int64_t k = 0; k < w->n_elems; k++)
            if (!w->mask || w->mask[k])
                data[k] -= rate * gradient[k];
    }
}

/* Gradient of a loss that draws the logits to a target from the seed. */
static void loss_gradient(const float *logits, int64_t n, uint64_t seed, float *gradient) {
    pare_rng rng;
    rng_init(&rng, seed, "targets", 0);
    for (int64_t k = 0; k < n; k++)
        gradient[k] = (logits[k] - (2 * rng_float(&rng) - 1)) / LIFE_BATCH;
}

static pare_status out_of_memory(struct error *err) {
    return error_set(err, PARE_E_LIMIT, "pare check itself: out of memory");
}

static pare_status step(struct living *living, struct network *net, int64_t k, struct error *err) {
    struct model *model = living->life->model;
    const float *logits;
    int64_t n = (int64_t)LIFE_BATCH * model->graph.n_classes;
    float *gradient = alloc_array((size_t)n, sizeof *gradient);
    if (!gradient)
        return out_of_memory(err);
    pare_status status = network_forward(net, living->images, LIFE_BATCH, err, &logits);
    if (status == PARE_OK) {
        loss_gradient(logits, n, living->life->data_seed, gradient);
        status = network_backward(net, gradient, err);
    }
    free(gradient);
    if (status != PARE_OK) {
        instance_status(living->watch->inst, status, "a training hook", err);
        return status;
    }
    descend(model, net, 0.05f);
    pare_train_step info = {.struct_size = sizeof info, .step = k, .lr = 0.05};
    if (!living->train->after_step)
        return PARE_OK;
    return CALL(living, "after_step",
                living->train->after_step(living->self, life_graph(living), &info));
}

pare_status life_begin_training(struct living *living, struct error *err) {
    pare_train_plan plan = {.struct_size = sizeof plan,
                            .n_steps = LIFE_STEPS,
                            .steps_per_epoch = LIFE_STEPS / 2,
                            .batch = LIFE_BATCH,
                            .lr = 0.05};
    return CALL(living, "begin", living->train->begin(living->self, life_graph(living), &plan));
}

/* May set *from to the step that a further round begins with. */
static pare_status ask_again(struct living *living, struct error *err, int64_t *from) {
    const pare_method_train *ext = living->train;
    if (!PARE_HAS(ext, pare_method_train, again) || !ext->again)
        return PARE_OK;
    pare_status status = CALL(living, "again", ext->again(living->self, life_graph(living), from));
    if (status == PARE_OK && (*from < -1 || *from >= LIFE_STEPS))
        return error_set(err, PARE_E_PLUGIN, "asks for training from step %lld of %d",
                         (long long)*from, LIFE_STEPS);
    return status;
}

pare_status life_train(struct living *living, struct error *err) {
    struct network_hooks hooks = {.context = living,
                                  .wants_weight = wants_weight,
                                  .wants_activation = wants_activation,
                                  .wants_image_gradient = wants_image_gradient,
                                  .weight_forward = weight_forward,
                                  .weight_backward = weight_backward,
                                  .activation_forward = activation_forward,
                                  .activation_backward = activation_backward};
    struct network *net = NULL;
    if (network_create(living->life->model, LIFE_BATCH, 1, &hooks, living->watch->options.pool, err,
                       &net))
        return life_own_failure(err);
    pare_status status = PARE_OK;
    int64_t from = 0;
    for (int round = 0; from >= 0 && status == PARE_OK; round++) {
        if (round == MAX_ROUNDS)
            status = error_set(err, PARE_E_PLUGIN, "asks for more than %d rounds of training",
                               MAX_ROUNDS);
        for (int64_t k = from; k < LIFE_STEPS && status == PARE_OK; k++)
            status = step(living, net, k, err);
        from = -1;
        if (status == PARE_OK)
            status = ask_again(living, err, &from);
    }
    network_destroy(net);
    if (status == PARE_OK && living->train->end)
        status = CALL(living, "end", living->train->end(living->self, life_graph(living)));
    return status;
}

/* ---- gradients before apply ---- */

static pare_status show(struct living *living, struct network *net, int32_t n, struct error *err) {
    const pare_graph *graph = life_graph(living);
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < graph->n_weights && status == PARE_OK; k++) {
        const float *gradient = network_gradient(net, k);
        if (gradient)
            status = CALL(living, "observe",
                          living->gradients->observe(living->self, graph, k, gradient, n));
    }
    return status;
}

/* One batch: all images, or one of ones. */
static pare_status one_batch(struct living *living, struct network *net,
                             const pare_gradient_pass *pass, struct error *err) {
    const pare_graph *graph = life_graph(living);
    const int32_t *d = graph->input_dims;
    int is_sum = pass->loss == PARE_LOSS_OUTPUT_SUM;
    int32_t n = is_sum ? 1 : LIFE_BATCH;
    size_t n_pixels = (size_t)d[0] * (size_t)d[1] * (size_t)d[2];
    int64_t n_logits = (int64_t)n * graph->n_classes;
    float *ones = alloc_array(n_pixels, sizeof *ones);
    float *gradient = alloc_array((size_t)n_logits, sizeof *gradient);
    const float *logits;
    pare_status status = ones && gradient ? PARE_OK : out_of_memory(err);
    for (size_t k = 0; ones && k < n_pixels; k++)
        ones[k] = 1;
    if (status == PARE_OK)
        status = network_forward(net, is_sum ? ones : living->images, n, err, &logits);
    if (status == PARE_OK) {
        loss_gradient(logits, n_logits, living->life->data_seed, gradient);
        for (int64_t k = 0; is_sum && k < n_logits; k++)
            gradient[k] = 1;
        status = network_backward(net, gradient, err);
    }
    free(ones);
    free(gradient);
    return status == PARE_OK ? show(living, net, n, err) : status;
}

static pare_status one_pass(struct living *living, struct network *net, int64_t number,
                            struct error *err, int32_t *again) {
    const pare_method_gradients *ext = living->gradients;
    pare_gradient_pass pass = {
        .struct_size = sizeof pass, .loss = PARE_LOSS_CROSS_ENTROPY, .temperature = 1};
    pare_status status =
        CALL(living, "begin", ext->begin(living->self, life_graph(living), number, &pass));
    if (status != PARE_OK)
        return status;
    network_set_norm_momentum(net, 0);
    network_freeze_norm(net, pass.loss == PARE_LOSS_OUTPUT_SUM || pass.frozen_norm);
    status = one_batch(living, net, &pass, err);
    return status == PARE_OK
               ? CALL(living, "end", ext->end(living->self, life_graph(living), again))
               : status;
}

pare_status life_gradients(struct living *living, struct error *err) {
    struct network *net = NULL;
    int32_t again = 1;
    pare_status status = PARE_OK;
    if (network_create(living->life->model, LIFE_BATCH, 1, NULL, living->watch->options.pool, err,
                       &net))
        return life_own_failure(err);
    for (int64_t number = 0; again && status == PARE_OK; number++) {
        again = 0;
        status = number < MAX_PASSES
                     ? one_pass(living, net, number, err, &again)
                     : error_set(err, PARE_E_PLUGIN, "asks for more than %d passes over gradients",
                                 MAX_PASSES);
    }
    network_destroy(net);
    return status;
}
