/* SPDX-License-Identifier: MIT */
/* A method outside the project, in C: weights far from 0 are brought nearer. */
#include <pare/method.h>

#include <math.h>

struct clip {
    const pare_host *host;
    double sigmas;
};

static const pare_param_desc params[] = {
    {"sigmas", PARE_PARAM_FLOAT, "standard deviations", 0.1, 100, NULL, "3",
     "weights farther from 0 than this are brought to it"},
};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct clip *c = host->alloc(host, sizeof *c);
    if (!c) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    c->host = host;
    c->sigmas = given->values[0]->f;
    *instance = c;
    return PARE_OK;
}

static void destroy(void *instance) {
    struct clip *c = instance;
    if (c) {
        c->host->free(c->host, c);
    }
}

static pare_status clip_one(const struct clip *c, const pare_graph *graph, const pare_weight *w) {
    double squares = 0;
    for (int64_t k = 0; k < w->n_elems; k++) {
        squares += (double)w->data[k] * (double)w->data[k];
    }
    float limit = (float)(c->sigmas * sqrt(squares / (double)w->n_elems));
    float *data = c->host->alloc(c->host, (size_t)w->n_elems * sizeof *data); /* (dims) */
    if (!data) {
        return c->host->fail(c->host, PARE_E_NOMEM, "%s: no memory", w->name);
    }
    for (int64_t k = 0; k < w->n_elems; k++) {
        data[k] = fminf(fmaxf(w->data[k], -limit), limit);
    }
    pare_status status = c->host->set_weight(c->host, graph, w->index, data);
    c->host->free(c->host, data);
    return status;
}

static pare_status apply(void *instance, const pare_graph *graph) {
    const struct clip *c = instance;
    for (int32_t k = 0; k < graph->n_weights; k++) {
        const pare_weight *w = graph->weights[k];
        if (w->role == PARE_ROLE_WEIGHT && c->host->selected(c->host, graph, w->node)) {
            pare_status status = clip_one(c, graph, w);
            if (status < 0) {
                return status;
            }
        }
    }
    return PARE_OK;
}

static const pare_method method = {
    .struct_size = sizeof method,
    .id = "oot_clip",
    .version = "1.0.0",
    .doc = "brings weights far from 0 nearer to it",
    .reference = "",
    .params = params,
    .n_params = 1,
    .reads = PARE_WEIGHTS,
    .writes = PARE_WEIGHTS,
    .preserves = PARE_MASK, /* a pruned weight is 0, and 0 is not far */
    .create = create,
    .destroy = destroy,
    .apply = apply,
};
static const pare_method *const methods[] = {&method};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "clip", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
