/* SPDX-License-Identifier: MIT */
/* Random pruning: every choice of so many weights, or slices, is equally likely. The baseline that
 * a criterion has to beat. */
#include "instance.h"
#include "pruner.h"

#include <string.h>

static const pare_param_desc params[] = {
#include "amount_rows.inc"
    {"structure", PARE_PARAM_STRING, "", 0, 0, STRUCTURE_CHOICES, "weight",
     "what is pruned as a whole: single weights, or slices of the tensor along an axis"},
#include "schedule_rows.inc"
};

struct random {
    struct pruner pruner; /* first: see pruner.h */
    pare_rng rng;
};

static void destroy(void *instance) {
    struct random *r = instance;
    if (r) {
        pruner_clear(&r->pruner);
        r->pruner.host->free(r->pruner.host, r);
    }
}

/* The k lowest of independent uniform numbers are a uniform choice of k. */
static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    struct random *r = (struct random *)pruner;
    (void)graph;
    for (int64_t u = 0; u < layer->units.n; u++) {
        scores[u] = (float)(pruner->host->rng_next(&r->rng) >> 40); /* 24 bits: exact */
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct random r = {.pruner = {.host = host, .score = score}};
    const pare_status status = pruner_options_read(host, given, &r.pruner.options);
    if (status < 0) {
        return status;
    }
    host->rng_init(host, "scores", &r.rng);
    return instance_keep(host, &r, sizeof r, instance);
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &pruner_train : NULL;
}

static const pare_method random_method = {
    .struct_size = sizeof random_method,
    .id = "random",
    .version = "1.0.0",
    .doc = "prunes weights or slices chosen at random by the seed",
    .reference = "",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .apply = pruner_apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&random_method};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "random", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,   .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
