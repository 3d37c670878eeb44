/* SPDX-License-Identifier: MIT */
/* Movement pruning: weights that training moves away from zero stay. Sanh, Wolf & Rush 2020
 * (arXiv 2005.07683), section 4, "hard" movement: the scores are trained through the mask as if it
 * were not there. */
#include "instance.h"
#include "soft.h"

#include <string.h>

static const pare_param_desc params[] = {
#define AMOUNT_SCOPE "global"
#include "amount_rows.inc"
#define SCHEDULE_DEFAULT "agp"
#include "schedule_rows.inc"
};

struct movement {
    struct pruner pruner; /* first: see pruner.h */
    double *moved;        /* (n_elems) S */
    double *slope;        /* (n_elems) dL/dS of the step under way */
    int is_chosen;        /* the last choice has been made */
};

static void destroy(void *instance) {
    struct movement *m = instance;
    if (m) {
        const pare_host *host = m->pruner.host;
        pruner_clear(&m->pruner);
        host->free(host, m->moved);
        host->free(host, m->slope);
        host->free(host, m);
    }
}

static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const struct movement *m = (const struct movement *)pruner;
    (void)graph;
    for (int64_t i = 0; i < layer->units.n; i++) {
        scores[i] = (float)m->moved[layer->first_elem + i];
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct movement m = {.pruner = {.host = host, .score = score}};
    const pare_status status = pruner_options_read(host, given, &m.pruner.options);
    if (status < 0) {
        return status;
    }
    if (m.pruner.options.schedule.kind == SCHEDULE_ONCE) {
        return host->fail(host, PARE_E_ARG,
                          "schedule: got \"once\", but before training nothing has moved; wanted "
                          "linear, agp, iterative or list");
    }
    return instance_keep(host, &m, sizeof m, instance);
}

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct movement *m = instance;
    const pare_host *host = m->pruner.host;
    const pare_status status = soft_begin(&m->pruner, graph, plan);
    if (status < 0) {
        return status;
    }
    const size_t n = (size_t)m->pruner.n_elems;
    m->moved = host->alloc(host, n * sizeof *m->moved);
    m->slope = host->alloc(host, n * sizeof *m->slope);
    if (!m->moved || !m->slope) {
        return host->fail(host, PARE_E_NOMEM, "no memory for scores of %zu weights", n);
    }
    memset(m->moved, 0, n * sizeof *m->moved);
    memset(m->slope, 0, n * sizeof *m->slope);
    return PARE_OK;
}

/* With W' = W m: dL/dW = dL/dW' m, and, the mask taken for the identity, dL/dS = dL/dW' W (eq. 2
 * and 4). */
static pare_status weight_backward(void *instance, const pare_graph *graph, int32_t weight,
                                   const float *w, const float *grad_used, float *grad_w) {
    struct movement *m = instance;
    const struct pruner_layer *layer = pruner_layer_of(&m->pruner, weight);
    for (int64_t i = 0; i < graph->weights[weight]->n_elems; i++) {
        const float g = grad_used[i];
        if (layer) {
            m->slope[layer->first_elem + i] = (double)g * (double)w[i];
            grad_w[i] = m->pruner.keep[layer->first_unit + i] ? g : 0.0f;
        } else {
            grad_w[i] = g;
        }
    }
    return PARE_OK;
}

static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct movement *m = instance;
    struct pruner *p = &m->pruner;
    for (int64_t i = 0; i < p->n_elems; i++) {
        m->moved[i] -= step->lr * m->slope[i];
    }
    const struct schedule *schedule = &p->options.schedule;
    if (step->step > schedule->last || !schedule_is_due(schedule, step->step)) {
        return PARE_OK;
    }
    m->is_chosen = step->step >= schedule->last;
    return pruner_choose(p, graph, step->step, m->is_chosen);
}

/* What has trained without the other weights stays so. A training that was cut short still leaves
 * what was asked for. */
static pare_status train_end(void *instance, const pare_graph *graph) {
    struct movement *m = instance;
    const pare_status status = m->is_chosen ? PARE_OK : pruner_choose(&m->pruner, graph, 0, 1);
    return status == PARE_OK ? pruner_set_masks(&m->pruner, graph) : status;
}

static const pare_method_train train = {
    .struct_size = sizeof train,
    .begin = train_begin,
    .weight_forward = soft_forward,
    .weight_backward = weight_backward,
    .after_step = after_step,
    .end = train_end,
};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method movement = {
    .struct_size = sizeof movement,
    .id = "movement",
    .version = "1.0.0",
    .doc = "prunes, while training, the weights that training moves towards zero",
    .reference = "Sanh et al. 2020, arXiv 2005.07683, section 4",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&movement};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "movement", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,     .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
