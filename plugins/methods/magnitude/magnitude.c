/* SPDX-License-Identifier: MIT */
/* Magnitude pruning: the weights of least absolute value become 0, at once or while training.
 * Han et al. 2015 (arXiv 1506.02626); the gradual schedule: Zhu & Gupta 2017 (arXiv 1710.01878). */
#include "schedule.h"
#include "smallest.h"
#include "target.h"

#include <pare/ext/train.h>
#include <string.h>

enum { P_SPARSITY, P_SCOPE, P_SCHEDULE, P_INITIAL, P_BEGIN, P_END, P_INTERVAL, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    [P_SPARSITY] = {"sparsity", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, NULL,
                    "fraction of the selected weights that becomes 0; below 1"},
    [P_SCOPE] = {"scope", PARE_PARAM_STRING, "", 0, 0, "local|global", "local",
                 "local: that fraction of every layer; global: of all layers together"},
    [P_SCHEDULE] = {"schedule", PARE_PARAM_STRING, "", 0, 0, "once|linear|agp", "once",
                    "once: before any training; linear, agp: step by step while training"},
    [P_INITIAL] = {"initial_sparsity", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0",
                   "where linear and agp start; at most the sparsity"},
    [P_BEGIN] = {"begin", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0",
                 "when in the training linear and agp start"},
    [P_END] = {"end", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.65",
               "when in the training linear and agp reach the sparsity"},
    [P_INTERVAL] = {"interval", PARE_PARAM_INT, "steps", 0, 1e6, NULL, "0",
                    "steps between two prunings; 0: 100, or fewer in a short training"},
};

struct magnitude {
    const pare_host *host;
    int is_global;
    struct schedule schedule;
    struct target target;
    struct run *runs; /* (target.n), with masks in `masks` */
    uint8_t *masks;
    int64_t n_elems;   /* of all selected weights */
    int64_t *counts;   /* scratch of smallest_cut */
    float *saved_data; /* (n_elems) weights before apply, if the schedule starts over; else NULL */
    uint8_t *saved_masks; /* (n_elems) */
    int is_done;          /* the final sparsity has been set */
};

static void destroy(void *instance) {
    struct magnitude *m = instance;
    if (m) {
        const pare_host *host = m->host;
        target_clear(&m->target);
        host->free(host, m->runs);
        host->free(host, m->masks);
        host->free(host, m->counts);
        host->free(host, m->saved_data);
        host->free(host, m->saved_masks);
        host->free(host, m);
    }
}

static pare_status check_values(const pare_host *host, const struct schedule *s) {
    if (!(s->final < 1.0)) {
        return host->fail(host, PARE_E_RANGE, "sparsity: got %g, wanted 0 <= sparsity < 1",
                          s->final);
    }
    if (s->initial > s->final) {
        return host->fail(host, PARE_E_RANGE,
                          "initial_sparsity: got %g, wanted at most sparsity, which is %g",
                          s->initial, s->final);
    }
    if (s->begin > s->end) {
        return host->fail(host, PARE_E_RANGE, "begin: got %g, wanted at most end, which is %g",
                          s->begin, s->end);
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct schedule schedule = {
        .kind = (enum schedule_kind)schedule_parse(v[P_SCHEDULE]->s),
        .initial = v[P_INITIAL]->f,
        .final = v[P_SPARSITY]->f,
        .begin = v[P_BEGIN]->f,
        .end = v[P_END]->f,
        .interval = v[P_INTERVAL]->i,
    };
    pare_status status = check_values(host, &schedule);
    if (status < 0) {
        return status;
    }
    struct magnitude *m = host->alloc(host, sizeof *m);
    if (!m) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *m = (struct magnitude){.host = host, .schedule = schedule};
    m->is_global = strcmp(v[P_SCOPE]->s, "global") == 0;
    *instance = m;
    return PARE_OK;
}

/* Finds the selected weights and makes room for their masks. */
static pare_status prepare(struct magnitude *m, const pare_graph *graph) {
    const pare_host *host = m->host;
    pare_status status = target_init(host, graph, &m->target);
    if (status < 0) {
        return status;
    }
    for (int32_t k = 0; k < m->target.n; k++) {
        m->n_elems += graph->weights[m->target.weights[k]]->n_elems;
    }
    m->runs = host->alloc(host, (size_t)m->target.n * sizeof *m->runs);
    m->masks = host->alloc(host, (size_t)m->n_elems);
    m->counts = host->alloc(host, SMALLEST_N_COUNTS * sizeof *m->counts);
    if (!m->runs || !m->masks || !m->counts) {
        return host->fail(host, PARE_E_NOMEM, "no memory for masks of %lld weights",
                          (long long)m->n_elems);
    }
    return PARE_OK;
}

/* Points the runs at the weights as they are now. */
static void look(struct magnitude *m, const pare_graph *graph) {
    uint8_t *mask = m->masks;
    for (int32_t k = 0; k < m->target.n; k++) {
        const pare_weight *w = graph->weights[m->target.weights[k]];
        m->runs[k] = (struct run){w->data, w->mask, w->n_elems, mask};
        mask += w->n_elems;
    }
}

static pare_status set_masks(struct magnitude *m, const pare_graph *graph) {
    for (int32_t k = 0; k < m->target.n; k++) {
        const pare_weight *w = graph->weights[m->target.weights[k]];
        if (!w->mask && !memchr(m->runs[k].mask, 0, (size_t)w->n_elems)) {
            continue; /* dense, and stays so */
        }
        if (!memchr(m->runs[k].mask, 1, (size_t)w->n_elems)) {
            m->host->log(m->host, PARE_LOG_WARN, "all %lld elements of %s are pruned",
                         (long long)w->n_elems, w->name);
        }
        pare_status status = m->host->set_mask(m->host, graph, w->index, m->runs[k].mask);
        if (status < 0) {
            return status;
        }
    }
    return PARE_OK;
}

static pare_status prune(struct magnitude *m, const pare_graph *graph, double sparsity) {
    look(m, graph);
    if (m->is_global) {
        int64_t k = smallest_count(sparsity, m->n_elems);
        smallest_mask(m->runs, m->target.n, smallest_cut(m->runs, m->target.n, k, m->counts));
    } else {
        for (int32_t r = 0; r < m->target.n; r++) {
            int64_t k = smallest_count(sparsity, m->runs[r].n);
            smallest_mask(&m->runs[r], 1, smallest_cut(&m->runs[r], 1, k, m->counts));
        }
    }
    return set_masks(m, graph);
}

/* Keeps the weights as they were before apply: a schedule starts from them. */
static pare_status save(struct magnitude *m, const pare_graph *graph) {
    const pare_host *host = m->host;
    m->saved_data = host->alloc(host, (size_t)m->n_elems * sizeof *m->saved_data);
    m->saved_masks = host->alloc(host, (size_t)m->n_elems);
    if (!m->saved_data || !m->saved_masks) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a copy of %lld weights",
                          (long long)m->n_elems);
    }
    for (int64_t at = 0, k = 0; k < m->target.n; k++) {
        const pare_weight *w = graph->weights[m->target.weights[k]];
        memcpy(m->saved_data + at, w->data, (size_t)w->n_elems * sizeof *w->data);
        if (w->mask) {
            memcpy(m->saved_masks + at, w->mask, (size_t)w->n_elems);
        } else {
            memset(m->saved_masks + at, 1, (size_t)w->n_elems);
        }
        at += w->n_elems;
    }
    return PARE_OK;
}

static pare_status restore(struct magnitude *m, const pare_graph *graph) {
    const pare_host *host = m->host;
    int64_t at = 0;
    for (int32_t k = 0; k < m->target.n; k++) {
        const pare_weight *w = graph->weights[m->target.weights[k]];
        const uint8_t *mask = m->saved_masks + at;
        int was_dense = !memchr(mask, 0, (size_t)w->n_elems);
        int64_t n = w->n_elems;
        pare_status status = host->set_mask(host, graph, w->index, was_dense ? NULL : mask);
        if (status == PARE_OK) {
            status = host->set_weight(host, graph, m->target.weights[k], m->saved_data + at);
        }
        if (status < 0) {
            return status;
        }
        at += n;
    }
    return PARE_OK;
}

/* Prunes to the final sparsity under every schedule, because no training may follow. If one does,
 * train_begin takes it back and starts the schedule. */
static pare_status apply(void *instance, const pare_graph *graph) {
    struct magnitude *m = instance;
    pare_status status = prepare(m, graph);
    if (status == PARE_OK && m->schedule.kind != SCHEDULE_ONCE) {
        status = save(m, graph);
    }
    if (status == PARE_OK) {
        status = prune(m, graph, m->schedule.final);
    }
    m->is_done = status == PARE_OK;
    return status;
}

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct magnitude *m = instance;
    if (m->schedule.kind == SCHEDULE_ONCE) {
        return PARE_OK; /* the host keeps the masks while it trains */
    }
    if (!m->saved_data) {
        return m->host->fail(m->host, PARE_E_STATE, "training begins before apply");
    }
    pare_status status = restore(m, graph);
    m->host->free(m->host, m->saved_data);
    m->host->free(m->host, m->saved_masks);
    m->saved_data = NULL;
    m->saved_masks = NULL;
    m->is_done = 0;
    schedule_start(&m->schedule, plan->n_steps);
    return status;
}

static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct magnitude *m = instance;
    if (m->is_done || !schedule_is_due(&m->schedule, step->step)) {
        return PARE_OK;
    }
    m->is_done = step->step >= m->schedule.last;
    return prune(m, graph, schedule_at(&m->schedule, step->step));
}

/* A training that was cut short still leaves what was asked for. */
static pare_status train_end(void *instance, const pare_graph *graph) {
    struct magnitude *m = instance;
    return m->is_done ? PARE_OK : prune(m, graph, m->schedule.final);
}

static const pare_method_train train = {
    .struct_size = sizeof train,
    .begin = train_begin,
    .after_step = after_step,
    .end = train_end,
};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method magnitude = {
    .struct_size = sizeof magnitude,
    .id = "magnitude",
    .version = "1.0.0",
    .doc = "prunes the weights of least absolute value, per layer or over all layers, at once or "
           "while "
           "training",
    .reference = "Han et al. 2015, arXiv 1506.02626; Zhu & Gupta 2017, arXiv 1710.01878, eq. 1",
    .params = params,
    .n_params = N_PARAMS,
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK, /* what is pruned stays pruned */
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&magnitude};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "magnitude", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,      .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
