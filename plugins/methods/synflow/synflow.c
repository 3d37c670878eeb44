/* SPDX-License-Identifier: MIT */
/* SynFlow: prunes by |w| dR/d|w| of R, the sum of the outputs of the network with all parameters
 * positive, for an image of ones; a little at a time, with new scores each time. No data. Tanaka,
 * Kunin, Yamins & Ganguli 2020 (arXiv 2006.05467), eq. 5 and algorithm 1. */
#include "gradsum.h"
#include "instance.h"
#include "snapshot.h"

#include <math.h>
#include <pare/ext/gradients.h>
#include <string.h>

static const pare_param_desc params[] = {
#define AMOUNT_SCOPE "global"
#include "amount_rows.inc"
    {"passes", PARE_PARAM_INT, "", 1, 10000, NULL, "100",
     "prunings, each of the same part of what is left"},
};

struct synflow {
    struct pruner pruner; /* first: see pruner.h */
    int64_t n_passes, pass;
    struct snapshot weights; /* as they were */
    struct gradsum seen;
};

static void destroy(void *instance) {
    struct synflow *s = instance;
    if (s) {
        const pare_host *host = s->pruner.host;
        pruner_clear(&s->pruner);
        snapshot_clear(&s->weights);
        host->free(host, s->seen.sum);
        host->free(host, s);
    }
}

/* Nothing is negative here: neither |w| nor, with all parameters positive, the gradient. */
static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const struct synflow *s = (const struct synflow *)pruner;
    const pare_weight *w = graph->weights[layer->weight];
    for (int64_t i = 0; i < w->n_elems; i++) {
        scores[i] = (float)(gradsum_at(&s->seen, layer, i) * (double)w->data[i]);
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct synflow s = {.pruner = {.host = host, .score = score}};
    const pare_status status = pruner_options_read(host, given, &s.pruner.options);
    if (status < 0) {
        return status;
    }
    s.n_passes = param_named(given, "passes")->i;
    return instance_keep(host, &s, sizeof s, instance);
}

/* Positive factors only: |w| and |gamma|; nothing is added. Variances stay. */
static pare_status make_positive(struct synflow *s, const pare_graph *graph) {
    const pare_host *host = s->pruner.host;
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < graph->n_weights && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[k];
        const int is_factor = w->role == PARE_ROLE_WEIGHT || w->role == PARE_ROLE_GAMMA;
        if (w->role == PARE_ROLE_VAR) {
            continue;
        }
        float *data = host->alloc(host, (size_t)w->n_elems * sizeof *data);
        if (!data) {
            return host->fail(host, PARE_E_NOMEM, "no memory for %lld weights",
                              (long long)w->n_elems);
        }
        for (int64_t i = 0; i < w->n_elems; i++) {
            data[i] = is_factor ? fabsf(w->data[i]) : 0.0f;
        }
        status = host->set_weight(host, graph, k, data);
        host->free(host, data);
    }
    return status;
}

/* After pass k of n the part (1 - sparsity)^(k/n) is left: algorithm 1. */
static void start_schedule(struct synflow *s) {
    struct schedule *schedule = &s->pruner.options.schedule;
    *schedule = (struct schedule){.kind = SCHEDULE_ITERATIVE, .end = 1.0, .rounds = s->n_passes};
    schedule_start(schedule, s->n_passes);
}

static pare_status pass_begin(void *instance, const pare_graph *graph, int64_t number,
                              pare_gradient_pass *pass) {
    struct synflow *s = instance;
    pass->loss = PARE_LOSS_OUTPUT_SUM;
    s->pass = number;
    if (number > 0) {
        gradsum_clear(&s->pruner, &s->seen);
        return PARE_OK;
    }
    pare_status status = pruner_prepare(&s->pruner, graph);
    if (status == PARE_OK) {
        status = gradsum_make(&s->pruner, &s->seen);
    }
    if (status == PARE_OK) {
        status = snapshot_take(s->pruner.host, graph, &s->weights);
    }
    start_schedule(s);
    return status == PARE_OK ? make_positive(s, graph) : status;
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t weight,
                           const float *gradient, int32_t n) {
    struct synflow *s = instance;
    (void)graph;
    gradsum_add(&s->pruner, &s->seen, weight, gradient, n);
    return PARE_OK;
}

static pare_status pass_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct synflow *s = instance;
    const int is_last = s->pass + 1 >= s->n_passes;
    *again = !is_last;
    pare_status status = pruner_prune(&s->pruner, graph, s->pass, is_last);
    if (status == PARE_OK && is_last) {
        s->pruner.options.schedule.kind = SCHEDULE_ONCE; /* nothing is left for a training */
        status = snapshot_restore(&s->weights, graph);
    }
    return status;
}

static const pare_method_gradients gradients = {
    .struct_size = sizeof gradients,
    .begin = pass_begin,
    .observe = observe,
    .end = pass_end,
};

static pare_status apply(void *instance, const pare_graph *graph) {
    const struct synflow *s = instance;
    (void)graph;
    return s->pruner.is_done ? PARE_OK
                             : s->pruner.host->fail(s->pruner.host, PARE_E_STATE,
                                                    "apply before all gradients were seen");
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_GRADIENTS) == 0 ? (const void *)&gradients
           : strcmp(id, PARE_METHOD_TRAIN) == 0   ? (const void *)&pruner_train
                                                  : NULL;
}

static const pare_method synflow = {
    .struct_size = sizeof synflow,
    .id = "synflow",
    .version = "1.0.0",
    .doc = "prunes by the flow of positive weights through the network, before training, without "
           "data",
    .reference = "Tanaka et al. 2020, arXiv 2006.05467, eq. 5, algorithm 1",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&synflow};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "synflow", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,    .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
