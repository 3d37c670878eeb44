/* SPDX-License-Identifier: MIT */
/* Lottery tickets by iterative magnitude pruning: train, prune the smallest weights, put the others
 * back to what they were early in the first training, and train again. Frankle & Carbin 2018 (arXiv
 * 1803.03635), Frankle et al. 2019 (arXiv 1912.05671), Renda et al. 2020 (arXiv 2003.02389). */
#include "instance.h"
#include "pruner.h"
#include "snapshot.h"

#include <math.h>
#include <string.h>

static const pare_param_desc params[] = {
#define AMOUNT_SCOPE "global"
#include "amount_rows.inc"
    {"rounds", PARE_PARAM_INT, "", 1, 1000, NULL, "5",
     "prunings, each of the same part of what is left and followed by a training of its own"},
    {"rewind", PARE_PARAM_FLOAT, "fraction", 0, 0.9999, NULL, "0.05",
     "how far into the training each round goes back; 0: to the very beginning"},
    {"rewind_what", PARE_PARAM_STRING, "", 0, 0, "weights|rate", "weights",
     "weights: their values and the learning rate; rate: only the learning rate"},
};

struct lottery {
    struct pruner pruner; /* first: see pruner.h */
    int64_t rounds, round;
    double rewind;
    int is_by_weights;
    int64_t rewind_step; /* the first step of all trainings but the first */
    struct snapshot early;
};

static void destroy(void *instance) {
    struct lottery *l = instance;
    if (l) {
        const pare_host *host = l->pruner.host;
        pruner_clear(&l->pruner);
        snapshot_clear(&l->early);
        host->free(host, l);
    }
}

static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const pare_weight *w = graph->weights[layer->weight];
    (void)pruner;
    for (int64_t i = 0; i < w->n_elems; i++) {
        scores[i] = fabsf(w->data[i]);
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct lottery l = {.pruner = {.host = host, .score = score}};
    const pare_status status = pruner_options_read(host, given, &l.pruner.options);
    if (status < 0) {
        return status;
    }
    l.rounds = param_named(given, "rounds")->i;
    l.rewind = param_named(given, "rewind")->f;
    l.is_by_weights = strcmp(param_named(given, "rewind_what")->s, "weights") == 0;
    return instance_keep(host, &l, sizeof l, instance);
}

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct lottery *l = instance;
    const pare_status status = pruner_prepare(&l->pruner, graph);
    if (status < 0) {
        return status;
    }
    struct schedule *schedule = &l->pruner.options.schedule;
    *schedule = (struct schedule){.kind = SCHEDULE_ITERATIVE, .end = 1.0, .rounds = l->rounds};
    schedule_start(schedule, l->rounds); /* its steps are our rounds */
    l->rewind_step = (int64_t)(l->rewind * (double)plan->n_steps);
    return l->is_by_weights && l->rewind_step == 0 ? snapshot_take(l->pruner.host, graph, &l->early)
                                                   : PARE_OK;
}

static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct lottery *l = instance;
    if (l->is_by_weights && l->round == 0 && step->step + 1 == l->rewind_step) {
        return snapshot_take(l->pruner.host, graph, &l->early);
    }
    return PARE_OK;
}

/* A round: prune what has been trained, and go back. */
static pare_status again(void *instance, const pare_graph *graph, int64_t *from) {
    struct lottery *l = instance;
    if (l->round == l->rounds) {
        return PARE_OK; /* the last training is over */
    }
    pare_status status = pruner_prune(&l->pruner, graph, l->round, l->round + 1 == l->rounds);
    if (status == PARE_OK && l->is_by_weights) {
        status = snapshot_restore(&l->early, graph); /* pruned ones stay 0 */
    }
    l->round++;
    *from = l->rewind_step;
    return status;
}

static const pare_method_train train = {
    .struct_size = sizeof train,
    .begin = train_begin,
    .after_step = after_step,
    .again = again,
};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method lottery = {
    .struct_size = sizeof lottery,
    .id = "lottery",
    .version = "1.0.0",
    .doc = "trains, prunes by magnitude, rewinds and trains again, several times",
    .reference = "Frankle et al. 2019, arXiv 1912.05671; Renda et al. 2020, arXiv 2003.02389",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&lottery};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "lottery", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,    .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
