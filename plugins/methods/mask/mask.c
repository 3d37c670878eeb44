/* SPDX-License-Identifier: MIT */
/* Masks by hand: `mask` sets those of a file, `permanent` removes masks and leaves the zeros. */
#include "instance.h"
#include "scores_file.h"
#include "target.h"

#include <pare/ext/train.h>
#include <string.h>

enum { P_FILE, P_ALLOW_EMPTY, N_MASK_PARAMS };

static const pare_param_desc mask_params[N_MASK_PARAMS] = {
    [P_FILE] = {"file", PARE_PARAM_STRING, "", 0, 0, NULL, NULL,
                "safetensors file with a mask of 0 and 1 for each selected weight, of its name and "
                "shape"},
    [P_ALLOW_EMPTY] = {"allow_empty", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                       "whether a layer may be pruned to nothing; it is an error otherwise"},
};

struct masking {
    const pare_host *host;
    const char *file; /* NULL: of the method permanent */
    int allow_empty;
};

static pare_status make(const pare_host *host, struct masking masking, void **instance) {
    return instance_keep(host, &masking, sizeof masking, instance);
}

static pare_status create_mask(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    return make(host, (struct masking){host, v[P_FILE]->s, v[P_ALLOW_EMPTY]->i != 0}, instance);
}

static pare_status create_permanent(const pare_host *host, const pare_params *given,
                                    void **instance) {
    (void)given;
    return make(host, (struct masking){host, NULL, 0}, instance);
}

static void destroy(void *instance) {
    struct masking *m = instance;
    if (m) {
        m->host->free(m->host, m);
    }
}

/* ---- mask ---- */

/* values (n_elems) from the file -> mask (n_elems), on top of what is pruned already. */
static pare_status combine(const struct masking *m, const pare_weight *w, const float *values,
                           uint8_t *mask) {
    int64_t n_kept = 0;
    for (int64_t i = 0; i < w->n_elems; i++) {
        if (values[i] != 0.0f && values[i] != 1.0f) {
            return m->host->fail(m->host, PARE_E_RANGE,
                                 "%s: %s[%lld] is %g, wanted 0 (pruned) or 1 (kept)", m->file,
                                 w->name, (long long)i, (double)values[i]);
        }
        mask[i] = values[i] != 0.0f && (!w->mask || w->mask[i]);
        n_kept += mask[i];
    }
    if (n_kept == 0 && !m->allow_empty) {
        return m->host->fail(m->host, PARE_E_RANGE,
                             "%s: all its %lld elements would be pruned, which cuts the network; "
                             "exclude the layer, or set allow_empty = true",
                             w->name, (long long)w->n_elems);
    }
    return PARE_OK;
}

static pare_status set_one(const struct masking *m, const pare_graph *graph, const pare_weight *w) {
    const pare_host *host = m->host;
    float *values = host->alloc(host, (size_t)w->n_elems * sizeof *values);
    uint8_t *mask = host->alloc(host, (size_t)w->n_elems);
    pare_status status =
        values && mask ? PARE_OK
                       : host->fail(host, PARE_E_NOMEM, "no memory for a mask of %lld weights",
                                    (long long)w->n_elems);
    if (status == PARE_OK) {
        status = scores_file_read(host, "file", m->file, w, values);
    }
    if (status == PARE_OK) {
        status = combine(m, w, values, mask);
    }
    if (status == PARE_OK) {
        status = host->set_mask(host, graph, w->index, mask);
    }
    host->free(host, values);
    host->free(host, mask);
    return status;
}

/* ---- permanent ---- */

static pare_status remove_one(const struct masking *m, const pare_graph *graph,
                              const pare_weight *w) {
    if (!w->mask) {
        return m->host->fail(m->host, PARE_E_STATE,
                             "%s: has no mask to remove; put a step that prunes it before this "
                             "one, or exclude the layer",
                             w->name);
    }
    return m->host->set_mask(m->host, graph, w->index, NULL); /* masked values are 0 already */
}

static pare_status apply(void *instance, const pare_graph *graph) {
    const struct masking *m = instance;
    struct target target;
    pare_status status = target_init(m->host, graph, &target);
    if (status < 0) {
        return status;
    }
    for (int32_t k = 0; k < target.n && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[target.weights[k]];
        status = m->file ? set_one(m, graph, w) : remove_one(m, graph, w);
    }
    target_clear(&target);
    return status;
}

/* ---- training under the masks ---- */

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    (void)instance;
    (void)graph;
    (void)plan;
    return PARE_OK; /* the host keeps the masks while it trains */
}

static const pare_method_train train = {.struct_size = sizeof train, .begin = train_begin};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method mask = {
    .struct_size = sizeof mask,
    .id = "mask",
    .version = "1.0.0",
    .doc = "prunes by masks from a file",
    .reference = "",
    .params = mask_params,
    .n_params = N_MASK_PARAMS,
    .reads = PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create_mask,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

/* What is pruned keeps the value 0, which is all that PARE_MASK promises to later steps. */
static const pare_method permanent = {
    .struct_size = sizeof permanent,
    .id = "permanent",
    .version = "1.0.0",
    .doc = "removes masks and leaves the zeros as weights like any other",
    .reference = "",
    .params = NULL,
    .n_params = 0,
    .reads = PARE_MASK,
    .writes = PARE_MASK,
    .preserves = PARE_MASK,
    .create = create_permanent,
    .destroy = destroy,
    .apply = apply,
};

static const pare_method *const methods[] = {&mask, &permanent};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "mask", .version = "1.0.0",
    .license = "MIT",   .n_methods = 2, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
