/* SPDX-License-Identifier: MIT */
/* Magnitude pruning: the weights, or slices, of least norm become 0, at once or while training.
 * Han et al. 2015 (arXiv 1506.02626); the gradual schedule: Zhu & Gupta 2017 (arXiv 1710.01878). */
#include "instance.h"
#include "pruner.h"
#include "scores_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pare_param_desc params[] = {
#include "amount_rows.inc"
    {"structure", PARE_PARAM_STRING, "", 0, 0, STRUCTURE_CHOICES, "weight",
     "what is pruned as a whole: single weights, or slices of the tensor along an axis"},
    {"norm", PARE_PARAM_STRING, "", 0, 0, NULL, "l1",
     "of a slice: l0, l1, l2, l<p>, linf or l-inf; of a single weight l0 tells only 0 from others"},
    {"ties", PARE_PARAM_STRING, "", 0, 0, "first|pytorch", "first",
     "of equal norms: the first ones in the tensor go; or those that torch.topk takes"},
    {"importance", PARE_PARAM_STRING, "", 0, 0, NULL, "",
     "safetensors file with scores to be used for the weights of the same names; empty: none"},
#include "schedule_rows.inc"
};

struct magnitude {
    struct pruner pruner; /* first: see pruner.h */
    double p;             /* of the norm */
    const char *importance;
};

static void destroy(void *instance) {
    struct magnitude *m = instance;
    if (m) {
        pruner_clear(&m->pruner);
        m->pruner.host->free(m->pruner.host, m);
    }
}

/* "l2" to 2. */
static pare_status parse_norm(const pare_host *host, const char *text, double *p) {
    char *end = NULL;
    const double value = text[0] == 'l' && text[1] != ' ' ? strtod(text + 1, &end) : NAN;
    if (isnan(value) || end == text + 1 || *end) {
        return host->fail(host, PARE_E_ARG,
                          "norm: got \"%.40s\", wanted l0, l1, l2, linf, l-inf, or l and a number",
                          text);
    }
    *p = value;
    return PARE_OK;
}

static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const struct magnitude *m = (const struct magnitude *)pruner;
    const pare_host *host = pruner->host;
    const pare_weight *w = graph->weights[layer->weight];
    const int as_mean = pruner->options.is_global;
    if (!m->importance[0]) {
        units_norm(&layer->units, w->data, m->p, as_mean, scores);
        return PARE_OK;
    }
    float *data = host->alloc(host, (size_t)w->n_elems * sizeof *data);
    if (!data) {
        return host->fail(host, PARE_E_NOMEM, "no memory for scores of %lld weights",
                          (long long)w->n_elems);
    }
    const pare_status status = scores_file_read(host, "importance", m->importance, w, data);
    if (status == PARE_OK) {
        units_norm(&layer->units, data, m->p, as_mean, scores);
    }
    host->free(host, data);
    return status;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct magnitude m = {.pruner = {.host = host, .score = score}};
    pare_status status = pruner_options_read(host, given, &m.pruner.options);
    if (status == PARE_OK) {
        status = parse_norm(host, param_named(given, "norm")->s, &m.p);
    }
    if (status < 0) {
        return status;
    }
    m.importance = param_named(given, "importance")->s;
    return instance_keep(host, &m, sizeof m, instance);
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &pruner_train : NULL;
}

static const pare_method magnitude = {
    .struct_size = sizeof magnitude,
    .id = "magnitude",
    .version = "1.1.0",
    .doc = "prunes the weights or slices of least norm, per layer or over all layers, at once or "
           "while training",
    .reference = "Han et al. 2015, arXiv 1506.02626; Zhu & Gupta 2017, arXiv 1710.01878, eq. 1",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK, /* what is pruned stays pruned */
    .create = create,
    .destroy = destroy,
    .apply = pruner_apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&magnitude};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "magnitude", .version = "1.1.0",
    .license = "MIT",   .n_methods = 1,      .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
