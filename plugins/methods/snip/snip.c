/* SPDX-License-Identifier: MIT */
/* SNIP: weights whose removal would change the loss least, by its first-order term |g w|. Lee,
 * Ajanthan & Torr 2018 (arXiv 1810.02340), eq. 6. */
#include "gradsum.h"
#include "instance.h"

#include <math.h>
#include <pare/ext/gradients.h>
#include <string.h>

static const pare_param_desc params[] = {
#define AMOUNT_SCOPE "global"
#include "amount_rows.inc"
};

struct snip {
    struct pruner pruner; /* first: see pruner.h */
    struct gradsum mean;
};

static void destroy(void *instance) {
    struct snip *s = instance;
    if (s) {
        const pare_host *host = s->pruner.host;
        pruner_clear(&s->pruner);
        host->free(host, s->mean.sum);
        host->free(host, s);
    }
}

static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const struct snip *s = (const struct snip *)pruner;
    const pare_weight *w = graph->weights[layer->weight];
    for (int64_t i = 0; i < w->n_elems; i++) {
        scores[i] = (float)fabs(gradsum_at(&s->mean, layer, i) * (double)w->data[i]);
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct snip s = {.pruner = {.host = host, .score = score}};
    const pare_status status = pruner_options_read(host, given, &s.pruner.options);
    if (status < 0) {
        return status;
    }
    return instance_keep(host, &s, sizeof s, instance);
}

static pare_status pass_begin(void *instance, const pare_graph *graph, int64_t number,
                              pare_gradient_pass *pass) {
    struct snip *s = instance;
    (void)number;
    (void)pass; /* the loss of training, with the batch's statistics */
    const pare_status status = pruner_prepare(&s->pruner, graph);
    return status == PARE_OK ? gradsum_make(&s->pruner, &s->mean) : status;
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t weight,
                           const float *gradient, int32_t n) {
    struct snip *s = instance;
    (void)graph;
    gradsum_add(&s->pruner, &s->mean, weight, gradient, n);
    return PARE_OK;
}

static pare_status pass_end(void *instance, const pare_graph *graph, int32_t *again) {
    (void)instance;
    (void)graph;
    *again = 0;
    return PARE_OK;
}

static const pare_method_gradients gradients = {
    .struct_size = sizeof gradients,
    .begin = pass_begin,
    .observe = observe,
    .end = pass_end,
};

static pare_status apply(void *instance, const pare_graph *graph) {
    struct snip *s = instance;
    if (s->mean.n_images == 0) {
        return s->pruner.host->fail(s->pruner.host, PARE_E_STATE,
                                    "apply before any gradients were seen");
    }
    return pruner_prune(&s->pruner, graph, 0, 1);
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_GRADIENTS) == 0 ? (const void *)&gradients
           : strcmp(id, PARE_METHOD_TRAIN) == 0   ? (const void *)&pruner_train
                                                  : NULL;
}

static const pare_method snip = {
    .struct_size = sizeof snip,
    .id = "snip",
    .version = "1.0.0",
    .doc = "prunes the weights with the least |gradient times weight|, before training",
    .reference = "Lee et al. 2018, arXiv 1810.02340, eq. 6",
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

static const pare_method *const methods[] = {&snip};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "snip", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
