/* SPDX-License-Identifier: MIT */
/* Dynamic network surgery: while training, weights are pruned and spliced back by magnitude; pruned
 * ones keep learning. Guo, Yao & Chen 2016 (arXiv 1608.04493), eq. 3 and 4. */
#include "instance.h"
#include "soft.h"

#include <math.h>
#include <string.h>

static const pare_param_desc params[] = {
#include "amount_rows.inc"
    {"band", PARE_PARAM_FLOAT, "fraction", 0, 0.99, NULL, "0.1",
     "width of the band around the threshold in which a weight stays as it is"},
#define SCHEDULE_DEFAULT "agp"
#include "schedule_rows.inc"
};

struct dns {
    struct pruner pruner; /* first: see pruner.h */
    double band;
    uint8_t *kept; /* (n_elems) T: the mask in force */
    int is_ending; /* the exact cut is being made, or has been */
};

static void destroy(void *instance) {
    struct dns *d = instance;
    if (d) {
        const pare_host *host = d->pruner.host;
        pruner_clear(&d->pruner);
        host->free(host, d->kept);
        host->free(host, d);
    }
}

/* By magnitude; at the end those in use rank above those that are not, so that the count is met
 * with as few changes as can be. */
static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const struct dns *d = (const struct dns *)pruner;
    const pare_weight *w = graph->weights[layer->weight];
    for (int64_t i = 0; i < w->n_elems; i++) {
        scores[i] = fabsf(w->data[i]);
        if (d->is_ending && !d->kept[layer->first_elem + i]) {
            scores[i] = -1.0f / scores[i]; /* still ascending, and below all others */
        }
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct dns d = {.pruner = {.host = host, .score = score}};
    const pare_status status = pruner_options_read(host, given, &d.pruner.options);
    if (status < 0) {
        return status;
    }
    if (d.pruner.options.schedule.kind == SCHEDULE_ONCE) {
        return host->fail(host, PARE_E_ARG,
                          "schedule: got \"once\", which is magnitude; wanted linear, agp, "
                          "iterative or list");
    }
    d.band = param_named(given, "band")->f;
    return instance_keep(host, &d, sizeof d, instance);
}

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct dns *d = instance;
    const pare_host *host = d->pruner.host;
    const pare_status status = soft_begin(&d->pruner, graph, plan);
    if (status < 0) {
        return status;
    }
    d->kept = host->alloc(host, (size_t)d->pruner.n_elems);
    if (!d->kept) {
        return host->fail(host, PARE_E_NOMEM, "no memory for masks of %lld weights",
                          (long long)d->pruner.n_elems);
    }
    memcpy(d->kept, d->pruner.keep, (size_t)d->pruner.n_elems);
    return PARE_OK;
}

/* Eq. 4: the gradient at W T moves all of W, pruned weights too. */
static pare_status weight_backward(void *instance, const pare_graph *graph, int32_t weight,
                                   const float *w, const float *grad_used, float *grad_w) {
    (void)instance;
    (void)w;
    memmove(grad_w, grad_used, (size_t)graph->weights[weight]->n_elems * sizeof *grad_w);
    return PARE_OK;
}

/* The largest |w| that the choice drops: what lies on the threshold. */
static double threshold_of(const struct dns *d, const pare_graph *graph, int32_t first,
                           int32_t end) {
    double most = 0.0;
    for (int32_t k = first; k < end; k++) {
        const struct pruner_layer *layer = &d->pruner.layers[k];
        const pare_weight *w = graph->weights[layer->weight];
        for (int64_t i = 0; i < w->n_elems; i++) {
            if (!d->pruner.keep[layer->first_unit + i]) {
                most = fmax(most, fabs((double)w->data[i]));
            }
        }
    }
    return most;
}

/* Eq. 3: 0 below a = t (1 - band), 1 from b = t (1 + band) on, as it was between. What earlier
 * steps of the pipeline pruned is 0 and so stays below. */
static void splice(struct dns *d, const pare_graph *graph) {
    struct pruner *p = &d->pruner;
    double t = 0.0;
    for (int32_t k = 0; k < p->n_layers; k++) {
        const struct pruner_layer *layer = &p->layers[k];
        const pare_weight *w = graph->weights[layer->weight];
        if (!p->options.is_global || k == 0) {
            t = threshold_of(d, graph, k, p->options.is_global ? p->n_layers : k + 1);
        }
        for (int64_t i = 0; i < w->n_elems; i++) {
            const double x = fabs((double)w->data[i]);
            const int64_t at = layer->first_elem + i;
            d->kept[at] = x <= t * (1.0 - d->band) && t > 0.0 ? 0
                          : x > t * (1.0 + d->band)           ? 1
                                                              : d->kept[at];
        }
    }
    memcpy(p->keep, d->kept, (size_t)p->n_elems);
}

static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct dns *d = instance;
    const struct schedule *schedule = &d->pruner.options.schedule;
    if (step->step > schedule->last || !schedule_is_due(schedule, step->step)) {
        return PARE_OK;
    }
    d->is_ending = step->step >= schedule->last; /* what is left then trains on alone */
    const pare_status status = pruner_choose(&d->pruner, graph, step->step, d->is_ending);
    if (status == PARE_OK && !d->is_ending) {
        splice(d, graph);
    }
    return status;
}

/* A training that was cut short still leaves what was asked for. */
static pare_status train_end(void *instance, const pare_graph *graph) {
    struct dns *d = instance;
    if (d->is_ending) {
        return pruner_set_masks(&d->pruner, graph);
    }
    d->is_ending = 1;
    return pruner_prune(&d->pruner, graph, 0, 1);
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

static const pare_method dns = {
    .struct_size = sizeof dns,
    .id = "dns",
    .version = "1.0.0",
    .doc = "prunes and splices by magnitude while training; pruned weights keep learning",
    .reference = "Guo et al. 2016, arXiv 1608.04493, eq. 3 and 4",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&dns};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "dns",  .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
