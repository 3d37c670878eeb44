/* SPDX-License-Identifier: MIT */
/* Filter pruning: whole channels go, from every tensor that they are coupled with. Li et al. 2017
 * (arXiv 1608.08710) and five criteria more; coupling after Fang et al. 2023 (arXiv 2301.12900). */
#include "choose.h"
#include "instance.h"
#include "remove.h"
#include "scores.h"

#include <pare/ext/calibrate.h>
#include <pare/ext/gradients.h>
#include <pare/ext/norm.h>
#include <pare/ext/train.h>
#include <string.h>

enum {
    P_CRITERION,
    P_MACS,
    P_FRACTION,
    P_SCOPE,
    P_CHANNELS,
    P_MULTIPLE,
    P_COMPACT,
    P_NORM_BATCHES
};

static const pare_param_desc params[] = {
    [P_CRITERION] = {"criterion", PARE_PARAM_STRING, "", 0, 0, CRITERION_CHOICES, "l1",
                     "what a channel is worth; the lowest go"},
    [P_MACS] = {"macs", PARE_PARAM_FLOAT, "fraction", -1, 1, NULL, "-1",
                "share of all multiply-accumulates that goes, at least; -1: given by fraction"},
    [P_FRACTION] = {"fraction", PARE_PARAM_FLOAT, "fraction", -1, 1, NULL, "-1",
                    "instead: share of the channels that may go, of each layer or of all"},
    [P_SCOPE] = {"scope", PARE_PARAM_STRING, "", 0, 0, "local|global", "local",
                 "local: the same share of every layer; global: the lowest of all layers together"},
    [P_CHANNELS] =
        {"channels", PARE_PARAM_STRING, "", 0, 0, "inner|all", "inner",
         "inner: only those that no addition ties to other layers, so within blocks; all: "
         "coupled layers lose theirs together"},
    [P_MULTIPLE] = {"multiple", PARE_PARAM_INT, "channels", 1, 65536, NULL, "1",
                    "a layer that loses any keeps a multiple of this; fewer go where needed"},
    [P_COMPACT] = {"compact", PARE_PARAM_BOOL, "", 0, 0, NULL, "true",
                   "true: removed, shapes shrink; false: masked where they are"},
    [P_NORM_BATCHES] =
        {"norm_batches", PARE_PARAM_INT, "batches", 0, 1e6, NULL, "16",
         "training batches from which batch norms' statistics are then taken anew; 0: "
         "they stay"},
};

struct filter {
    const pare_host *host;
    enum criterion criterion;
    struct amount_wanted wanted;
    int is_inner_only, is_compact;
    int32_t norm_batches;
    struct channels channels;
    struct scores scores;
};

static void forget(struct filter *f) {
    scores_clear(&f->scores);
    channels_clear(&f->channels);
}

static void destroy(void *instance) {
    struct filter *f = instance;
    if (f) {
        forget(f);
        f->host->free(f->host, f);
    }
}

static pare_status check_amount(const pare_host *host, const struct amount_wanted *wanted) {
    if ((wanted->macs < 0.0) == (wanted->fraction < 0.0)) {
        return host->fail(host, PARE_E_ARG,
                          "wanted one of macs (0.5: half of the multiply-"
                          "accumulates) and fraction (0.5: half of the channels)");
    }
    if (wanted->macs >= 1.0 || wanted->fraction >= 1.0) {
        return host->fail(host, PARE_E_RANGE, "%s: got 1, wanted less: something has to stay",
                          wanted->macs >= 1.0 ? "macs" : "fraction");
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct filter f = {.host = host,
                       .criterion = criterion_parse(v[P_CRITERION]->s),
                       .wanted = {.macs = v[P_MACS]->f,
                                  .fraction = v[P_FRACTION]->f,
                                  .is_global = strcmp(v[P_SCOPE]->s, "global") == 0,
                                  .multiple = (int32_t)v[P_MULTIPLE]->i},
                       .is_inner_only = strcmp(v[P_CHANNELS]->s, "inner") == 0,
                       .is_compact = v[P_COMPACT]->i != 0,
                       .norm_batches = (int32_t)v[P_NORM_BATCHES]->i};
    const pare_status status = check_amount(host, &f.wanted);
    if (status < 0) {
        return status;
    }
    return instance_keep(host, &f, sizeof f, instance);
}

/* Whoever comes first: calibration, gradients, apply. */
static pare_status prepare(struct filter *f, const pare_graph *graph) {
    if (f->scores.channels) {
        return PARE_OK;
    }
    pare_status status = channels_init(f->host, graph, f->is_inner_only, &f->channels);
    if (status == PARE_OK) {
        status = scores_init(&f->channels, graph, f->criterion, &f->scores);
    }
    if (status < 0) {
        forget(f);
    }
    return status;
}

/* ---- values ---- */

static pare_status calibrate_begin(void *instance, const pare_graph *graph) {
    return prepare(instance, graph);
}

static pare_status observe_value(void *instance, const pare_graph *graph, int32_t node,
                                 const float *value, int32_t n) {
    struct filter *f = instance;
    scores_see_value(&f->scores, graph, node, value, n);
    return PARE_OK;
}

static pare_status pass_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct filter *f = instance;
    (void)graph;
    scores_end_gradients(&f->scores);
    *again = 0;
    return PARE_OK;
}

static const pare_method_calibrate calibrate = {
    .struct_size = sizeof calibrate,
    .begin = calibrate_begin,
    .observe = observe_value,
    .end = pass_end,
};

/* ---- gradients ---- */

static pare_status gradients_begin(void *instance, const pare_graph *graph, int64_t number,
                                   pare_gradient_pass *pass) {
    (void)number;
    pass->frozen_norm = 1; /* of the network as it is deployed */
    return prepare(instance, graph);
}

static pare_status observe_gradient(void *instance, const pare_graph *graph, int32_t weight,
                                    const float *gradient, int32_t n) {
    struct filter *f = instance;
    (void)n;
    scores_see_gradient(&f->scores, graph, weight, gradient);
    return PARE_OK;
}

static const pare_method_gradients gradients = {
    .struct_size = sizeof gradients,
    .begin = gradients_begin,
    .observe = observe_gradient,
    .end = pass_end,
};

/* ---- the cut ---- */

static void report(const struct filter *f, const pare_graph *graph, const struct choice *choice) {
    double before, after;
    int32_t n_going, n_candidates;
    choice_macs(choice, graph, &before, &after);
    choice_count(choice, &n_going, &n_candidates);
    f->host->log(f->host, PARE_LOG_DEBUG,
                 "%d of %d channel classes %s; multiply-accumulates %.0f, were %.0f (-%.2f %%)",
                 n_going, n_candidates, f->is_compact ? "removed" : "masked", after, before,
                 before > 0.0 ? 100.0 * (1.0 - after / before) : 0.0);
}

static pare_status apply(void *instance, const pare_graph *graph) {
    struct filter *f = instance;
    struct choice choice = {0};
    pare_status status = prepare(f, graph);
    if (status < 0) {
        return status;
    }
    double *score = f->host->alloc(f->host, (size_t)f->channels.n_classes * sizeof *score);
    status = score ? scores_finish(&f->scores, graph, f->wanted.is_global, score)
                   : f->host->fail(f->host, PARE_E_NOMEM, "no memory for %d scores",
                                   f->channels.n_classes);
    if (status == PARE_OK) {
        status = choice_make(&f->channels, graph, &f->wanted, score, &choice);
    }
    if (status == PARE_OK) {
        report(f, graph, &choice);
        status = f->is_compact ? remove_chosen(&choice, graph) : mask_chosen(&choice, graph);
    }
    choice_clear(&choice);
    f->host->free(f->host, score);
    forget(f);
    return status;
}

static int32_t norm_batches(void *instance, const pare_graph *graph) {
    const struct filter *f = instance;
    (void)graph;
    return f->norm_batches;
}

static const pare_method_norm norm = {.struct_size = sizeof norm, .n_batches = norm_batches};

/* Fine-tuning is the host's: shapes are small already, and masks hold. */
static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    (void)instance;
    (void)graph;
    (void)plan;
    return PARE_OK;
}

static const pare_method_train train = {.struct_size = sizeof train, .begin = train_begin};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_CALIBRATE) == 0   ? (const void *)&calibrate
           : strcmp(id, PARE_METHOD_GRADIENTS) == 0 ? (const void *)&gradients
           : strcmp(id, PARE_METHOD_NORM) == 0      ? (const void *)&norm
           : strcmp(id, PARE_METHOD_TRAIN) == 0     ? (const void *)&train
                                                    : NULL;
}

static const pare_method filter = {
    .struct_size = sizeof filter,
    .id = "filter",
    .version = "1.0.0",
    .doc =
        "removes the channels worth least, with all that is coupled with them, and shrinks every "
        "tensor",
    .reference =
        "Li et al. 2017, arXiv 1608.08710; Fang et al. 2023, arXiv 2301.12900; see `criterion`",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK | PARE_ACTIVATIONS,
    .writes = PARE_WEIGHTS | PARE_MASK | PARE_TOPOLOGY,
    .preserves = PARE_MASK | PARE_TOPOLOGY,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&filter};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "filter", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,   .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
