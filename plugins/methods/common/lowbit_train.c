/* SPDX-License-Identifier: MIT */
/* What happens while training. */
#include "lowbit.h"

#include <math.h>
#include <string.h>

/* ---- widths ---- */

/* Widths of the stage that step `step` belongs to: the stages before the last share the first half
 * of the training. */
static void set_stage(struct lowbit *lb, int64_t step) {
    int stage_bits = 0;
    lb->step = step;
    if (lb->n_stages > 0 && 2 * step < lb->n_steps) {
        stage_bits = (int)lb->stages[2 * step * lb->n_stages / lb->n_steps];
    }
    for (int32_t k = 0; k < lb->n_weights; k++) {
        struct lowbit_weight *slot = &lb->weights[k];
        const int bits = stage_bits > slot->target_bits && !slot->ops->has_one_width
                             ? stage_bits
                             : slot->target_bits;
        slot->is_ready = slot->is_ready && bits == slot->bits;
        slot->bits = bits;
    }
    for (int32_t k = 0; k < lb->n_values; k++) {
        struct lowbit_value *slot = &lb->values[k];
        const int bits = stage_bits > slot->target_bits && !slot->ops->has_one_width
                             ? stage_bits
                             : slot->target_bits;
        slot->is_ready = slot->is_ready && bits == slot->bits;
        slot->bits = bits;
    }
}

/* ---- training ---- */

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct lowbit *lb = instance;
    (void)graph;
    lb->n_steps = plan->n_steps;
    set_stage(lb, 0);
    return PARE_OK;
}

static const struct lowbit_layer *layer_of(const struct lowbit *lb, int32_t node) {
    for (int32_t k = 0; k < lb->n_layers; k++) {
        if (lb->layers[k].node == node) {
            return &lb->layers[k];
        }
    }
    return NULL;
}

static struct lowbit_weight *weight_slot(struct lowbit *lb, const pare_graph *graph,
                                         int32_t weight) {
    const struct lowbit_layer *layer = layer_of(lb, graph->weights[weight]->node);
    return layer && layer->slot >= 0 ? &lb->weights[layer->slot] : NULL;
}

static struct lowbit_value *value_slot(struct lowbit *lb, int32_t node) {
    const struct lowbit_layer *layer = layer_of(lb, node);
    return layer && layer->value >= 0 ? &lb->values[layer->value] : NULL;
}

/* Do values pass as they are? So they do before there is a grid: all of them have been 0. */
static int passes(const struct lowbit *lb, const struct lowbit_value *slot) {
    return !slot || !slot->is_ready || (double)lb->step < lb->value_delay * (double)lb->n_steps;
}

pare_status lowbit_encode(struct lowbit *lb, struct lowbit_weight *slot, const pare_weight *weight,
                          const float *w) {
    const struct fake_stats stats = fake_look(lb->host, w, slot->n_elems);
    if (!isfinite(stats.abs_sum)) {
        return lb->host->fail(lb->host, PARE_E_NUMERIC,
                              "%s: the training has diverged, not all weights are finite; try a "
                              "smaller lr or clip_norm",
                              weight->name);
    }
    if (!slot->is_ready) {
        slot->ops->start(lb, slot, w);
        slot->is_ready = 1;
    }
    slot->ops->encode(lb, slot, w);
    return PARE_OK;
}

static pare_status weight_forward(void *instance, const pare_graph *graph, int32_t weight,
                                  const float *w, float *used) {
    struct lowbit *lb = instance;
    struct lowbit_weight *slot = weight_slot(lb, graph, weight);
    const pare_weight *info = graph->weights[weight];
    if (!slot) {
        memcpy(used, w, (size_t)info->n_elems * sizeof *used);
        return PARE_OK;
    }
    pare_status status = lowbit_encode(lb, slot, info, w);
    if (status < 0) {
        return status;
    }
    const int64_t n = slot->n_elems / slot->n_scales;
    for (int32_t c = 0; c < slot->n_scales; c++) {
        for (int64_t i = c * n; i < (c + 1) * n; i++) {
            used[i] = slot->scales[c] * (float)slot->codes[i];
        }
    }
    return PARE_OK;
}

static pare_status weight_backward(void *instance, const pare_graph *graph, int32_t weight,
                                   const float *w, const float *grad_used, float *grad_w) {
    struct lowbit *lb = instance;
    struct lowbit_weight *slot = weight_slot(lb, graph, weight);
    if (slot) {
        slot->ops->backward(lb, slot, w, grad_used, grad_w);
    } else if (grad_w != grad_used) {
        memcpy(grad_w, grad_used, (size_t)graph->weights[weight]->n_elems * sizeof *grad_w);
    }
    return PARE_OK;
}

pare_status lowbit_start_value(struct lowbit *lb, struct lowbit_value *slot,
                               const struct fake_stats *stats, int64_t n, const char *name) {
    if (!isfinite(stats->abs_sum)) {
        return lb->host->fail(lb->host, PARE_E_NUMERIC,
                              "%s: a value is not finite; try a smaller lr or clip_norm", name);
    }
    if (!slot->is_ready && stats->abs_sum > 0.0) {
        slot->ops->start(lb, slot, stats, n);
        slot->is_ready = 1;
    }
    return PARE_OK;
}

/* The grid of this pass is settled by the first layer that reads the value. */
static pare_status look_at_value(struct lowbit *lb, struct lowbit_value *slot, const float *x,
                                 int64_t n, const char *name) {
    const int sees = slot->ops->see != NULL && slot->is_ready;
    if (slot->is_ready && !sees) {
        return PARE_OK;
    }
    const struct fake_stats stats = fake_look(lb->host, x, n);
    pare_status status = lowbit_start_value(lb, slot, &stats, n, name);
    if (status == PARE_OK && sees) {
        slot->ops->see(lb, slot, &stats, n);
    }
    return status;
}

static pare_status activation_forward(void *instance, const pare_graph *graph, int32_t node,
                                      const float *x, float *y, int64_t n) {
    struct lowbit *lb = instance;
    struct lowbit_value *slot = value_slot(lb, node);
    if (slot && node == slot->owner) {
        pare_status status =
            look_at_value(lb, slot, x, n, graph->nodes[graph->nodes[node]->inputs[0]]->name);
        if (status < 0) {
            return status;
        }
    }
    if (passes(lb, slot)) {
        memcpy(y, x, (size_t)n * sizeof *y);
        return PARE_OK;
    }
    if (slot->ops->forward) {
        slot->ops->forward(lb, slot, x, y, n);
        return PARE_OK;
    }
    const struct grid grid = slot->ops->grid(lb, slot);
    const struct fake_grid fake = fake_grid_of(&grid);
    fake_forward(lb->host, &fake, x, y, n);
    return PARE_OK;
}

static pare_status activation_backward(void *instance, const pare_graph *graph, int32_t node,
                                       const float *x, const float *grad_y, float *grad_x,
                                       int64_t n) {
    struct lowbit *lb = instance;
    struct lowbit_value *slot = value_slot(lb, node);
    (void)graph;
    if (passes(lb, slot)) {
        memcpy(grad_x, grad_y, (size_t)n * sizeof *grad_x);
        return PARE_OK;
    }
    if (slot->ops->backward) {
        slot->ops->backward(lb, slot, x, grad_y, grad_x, n);
        return PARE_OK;
    }
    const struct grid grid = slot->ops->grid(lb, slot);
    const struct fake_grid fake = fake_grid_of(&grid);
    const struct fake_sums sums = fake_backward(lb->host, &fake, x, grad_y, grad_x, n);
    if (slot->ops->learn) {
        slot->ops->learn(lb, slot, &sums);
    }
    return PARE_OK;
}

static int32_t wants_image_gradient(void *instance, const pare_graph *graph, int32_t node) {
    const struct lowbit_value *slot = value_slot(instance, node);
    (void)graph;
    return slot && slot->ops->learn != NULL;
}

static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct lowbit *lb = instance;
    (void)graph;
    for (int32_t k = 0; k < lb->n_weights; k++) {
        struct lowbit_weight *slot = &lb->weights[k];
        if (slot->ops->step && slot->is_ready) {
            slot->ops->step(lb, slot, step->lr);
        }
    }
    for (int32_t k = 0; k < lb->n_values; k++) {
        struct lowbit_value *slot = &lb->values[k];
        if (slot->ops->step && slot->is_ready) {
            slot->ops->step(lb, slot, step->lr);
        }
    }
    set_stage(lb, step->step + 1);
    return PARE_OK;
}

/* A training cut short, or a schedule: what is deployed has the widths asked for. */
static pare_status train_end(void *instance, const pare_graph *graph) {
    struct lowbit *lb = instance;
    (void)graph;
    set_stage(lb, lb->n_steps);
    return PARE_OK;
}

const pare_method_train lowbit_train = {
    .struct_size = sizeof lowbit_train,
    .begin = train_begin,
    .weight_forward = weight_forward,
    .weight_backward = weight_backward,
    .activation_forward = activation_forward,
    .activation_backward = activation_backward,
    .after_step = after_step,
    .end = train_end,
    .wants_image_gradient = wants_image_gradient,
};

const void *lowbit_get_extension(const char *id) {
    if (strcmp(id, PARE_METHOD_TRAIN) == 0) {
        return &lowbit_train;
    }
    return strcmp(id, PARE_METHOD_CALIBRATE_AFTER) == 0 ? &lowbit_deploy : NULL;
}
