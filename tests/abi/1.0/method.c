/* SPDX-License-Identifier: MIT */
/* A method as its author wrote it for ABI 1.0, not to be changed: it prunes every weight that is
 * small against the largest one of its layer.
 */

/* 1. Include what you implement. Nothing else of pare is needed, at build time or later. */
#include <pare/method.h>

#include <math.h>

/* 2. Declare the parameters. The host checks what users write against this table, fills in
 * defaults, and hands create() one value per row, in this order. A row is: name, type, unit, least
 * and greatest value (both 0: unbounded), choices of a string, default (NULL: must be given), one
 * sentence for users. */
enum { P_THRESHOLD, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    [P_THRESHOLD] = {"threshold", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.1",
                     "weights below this fraction of their layer's largest are pruned"},
};

/* 3. Keep all state in an instance: no globals, so that several steps of one run do not meet. */
struct threshold {
    const pare_host *host;
    double fraction;
};

/* 4. Make the instance. Memory comes from the host. A failure is one call: the message says what
 * was got and what was wanted, and its status is returned. */
static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct threshold *t = host->alloc(host, sizeof *t);
    if (!t) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    t->host = host;
    t->fraction = given->values[P_THRESHOLD]->f;
    *instance = t;
    return PARE_OK;
}

/* 5. Free what create() made. Memory you forget is reported as a leak. */
static void destroy(void *instance) {
    struct threshold *t = instance;
    if (t) {
        t->host->free(t->host, t);
    }
}

/* 6. Do the work for one weight tensor. What you read is const; changes go through the host, which
 *    checks them. */
static pare_status prune(struct threshold *t, const pare_graph *graph, const pare_weight *w) {
    const pare_host *host = t->host;
    float largest = 0.0f;
    uint8_t *mask = host->alloc(host, (size_t)w->n_elems); /* (dims) 1 keep, 0 prune */
    if (!mask) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for a mask", w->name);
    }
    for (int64_t i = 0; i < w->n_elems; i++) {
        largest = fmaxf(largest, fabsf(w->data[i]));
    }
    for (int64_t i = 0; i < w->n_elems; i++) {
        int was_kept = !w->mask || w->mask[i]; /* an earlier step may have pruned already */
        mask[i] = was_kept && (double)fabsf(w->data[i]) >= t->fraction * (double)largest;
    }
    pare_status status = host->set_mask(host, graph, w->index, mask);
    host->free(host, mask);
    return status;
}

/* 7. Treat what the user selected: `selected` knows the step's include and exclude patterns. */
static pare_status apply(void *instance, const pare_graph *graph) {
    struct threshold *t = instance;
    for (int32_t k = 0; k < graph->n_weights; k++) {
        const pare_weight *w = graph->weights[k];
        if (w->role == PARE_ROLE_WEIGHT && t->host->selected(t->host, graph, w->node)) {
            pare_status status = prune(t, graph, w);
            if (status < 0) {
                return status;
            }
        }
    }
    return PARE_OK;
}

/* 8. Offer extensions, if you have any: calibration and training live in <pare/ext/...>. A method
 * that returns an extension for PARE_METHOD_TRAIN also takes epochs, lr and the like. */
static const void *get_extension(const char *id) {
    (void)id;
    return NULL;
}

/* 9. Describe the method. `writes` and `preserves` are promises: a pipeline in which a later step
 * would undo an earlier one is refused because of them, and the host verifies the model after every
 * step. */
static const pare_method threshold = {
    .struct_size = sizeof threshold,
    .id = "abi_1_0_threshold",
    .version = "1.0.0",
    .doc = "prunes weights that are small against the largest one of their layer",
    .reference = "the template of plugins/README.md",
    .params = params,
    .n_params = N_PARAMS,
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

/* 10. Export the one symbol. PARE_PLUGIN_HEADER fills in what the loader compares. */
static const pare_method *const methods[] = {&threshold};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "abi_1_0_method", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,           .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
