/* SPDX-License-Identifier: MIT */
/* Deep compression: weights are pruned, what is left shares 2^b values per layer, and these are
 * trained; the file stores gaps and indices in Huffman codes. Han, Mao & Dally 2015 (arXiv
 * 1510.00149), sections 2 to 4. */
#include "codebook.h"
#include "instance.h"
#include "pruner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const pare_param_desc params[] = {
    {"bits", PARE_PARAM_INT, "bits", 1, CODEBOOK_MAX_BITS, NULL, "5",
     "a layer's weights share 2^bits values"},
    {"layer_bits", PARE_PARAM_STRINGS, "", 0, 0, NULL, NULL,
     "other bits by layer: \"conv*=8\", \"fc1=4\"; the first pattern that matches counts"},
    {"bias_bits", PARE_PARAM_INT, "bits", 0, CODEBOOK_MAX_BITS, NULL, "0",
     "a layer's biases share 2^bias_bits values in the end; 0: they are left alone"},
    {"gradient", PARE_PARAM_STRING, "", 0, 0, "sum|mean", "sum",
     "what a shared value learns from: the sum over its weights, or the mean"},
    {"momentum_shared", PARE_PARAM_FLOAT, "", 0, 0.999, NULL, "0.9",
     "momentum of the shared values"},
#include "amount_rows.inc"
};

/* The shared values of one layer, and how they learn. */
struct layer {
    struct codebook book;
    int64_t counts[CODEBOOK_MAX];
    double gradients[CODEBOOK_MAX]; /* of the step under way, summed over the weights of each */
    double velocities[CODEBOOK_MAX];
};

struct deep {
    struct pruner pruner; /* first: see pruner.h */
    int prunes;
    int32_t bits, bias_bits;
    struct pattern_map layer_bits;
    int takes_mean;
    double momentum;
    struct layer *layers; /* (pruner.n_layers) */
    uint8_t *indices;     /* (pruner.n_elems) the shared value of each weight that is kept */
};

static void destroy(void *instance) {
    struct deep *d = instance;
    if (d) {
        const pare_host *host = d->pruner.host;
        pruner_clear(&d->pruner);
        host->free(host, d->layers);
        host->free(host, d->indices);
        host->free(host, d);
    }
}

/* ---- parameters ---- */

static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const pare_weight *w = graph->weights[layer->weight];
    (void)pruner;
    for (int64_t i = 0; i < w->n_elems; i++) {
        scores[i] = fabsf(w->data[i]);
    }
    return PARE_OK;
}

static int is_amount_given(const pare_params *given) {
    static const char *const names[] = {"sparsity", "amount", "count"};
    for (int k = 0; k < 3; k++) {
        if (param_named(given, names[k])->f != -1.0) {
            return 1;
        }
    }
    return param_named(given, "amounts")->n > 0;
}

static int parse_bits(const char *text, int32_t *bits) {
    char *end = NULL;
    const long value = strtol(text, &end, 10);
    *bits = (int32_t)value;
    return end != text && !*end && value >= 1 && value <= CODEBOOK_MAX_BITS;
}

static pare_status check_layer_bits(const struct deep *d) {
    const pare_host *host = d->pruner.host;
    for (int32_t k = 0; k < d->layer_bits.n; k++) {
        const char *text = pattern_map_value(&d->layer_bits, k);
        int32_t bits;
        if (!text || !parse_bits(text, &bits)) {
            return host->fail(host, PARE_E_ARG,
                              "layer_bits: got \"%.60s\", wanted \"pattern=bits\", 1..%d bits",
                              d->layer_bits.entries[k], CODEBOOK_MAX_BITS);
        }
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *layer_bits = param_named(given, "layer_bits");
    struct deep d = {.pruner = {.host = host, .score = score}};
    d.prunes = is_amount_given(given);
    d.bits = (int32_t)param_named(given, "bits")->i;
    d.bias_bits = (int32_t)param_named(given, "bias_bits")->i;
    d.layer_bits = (struct pattern_map){layer_bits->n, layer_bits->strings};
    d.takes_mean = strcmp(param_named(given, "gradient")->s, "mean") == 0;
    d.momentum = param_named(given, "momentum_shared")->f;
    pare_status status = check_layer_bits(&d);
    if (status == PARE_OK && d.prunes) {
        status = pruner_options_read(host, given, &d.pruner.options);
    }
    return status < 0 ? status : instance_keep(host, &d, sizeof d, instance);
}

/* ---- sharing ---- */

/* Puts the shared values into layer k. */
static pare_status write_layer(const struct deep *d, const pare_graph *graph, int32_t k) {
    const pare_host *host = d->pruner.host;
    const struct pruner_layer *at = &d->pruner.layers[k];
    const pare_weight *w = graph->weights[at->weight];
    const uint8_t *indices = d->indices + at->first_elem;
    float *shared = host->alloc(host, (size_t)w->n_elems * sizeof *shared);
    if (!shared) {
        return host->fail(host, PARE_E_NOMEM, "no memory for %lld weights", (long long)w->n_elems);
    }
    for (int64_t i = 0; i < w->n_elems; i++) {
        shared[i] = w->mask && !w->mask[i] ? 0.0f : d->layers[k].book.centroids[indices[i]];
    }
    const pare_status status = host->set_weight(host, graph, at->weight, shared);
    host->free(host, shared);
    return status;
}

/* The bias of layer k, as it is now, gets 2^bias_bits values. */
static pare_status share_bias(const struct deep *d, const pare_graph *graph, int32_t k) {
    const pare_host *host = d->pruner.host;
    const pare_node *node = graph->nodes[graph->weights[d->pruner.layers[k].weight]->node];
    const pare_weight *w = node->weights[PARE_ROLE_BIAS];
    struct codebook book;
    if (!w || d->bias_bits == 0) {
        return PARE_OK;
    }
    uint8_t *indices = host->alloc(host, (size_t)w->n_elems);
    float *shared = host->alloc(host, (size_t)w->n_elems * sizeof *shared);
    pare_status status =
        indices && shared
            ? codebook_make(host, w->data, w->mask, w->n_elems, d->bias_bits, &book, indices)
            : host->fail(host, PARE_E_NOMEM, "no memory for %lld biases", (long long)w->n_elems);
    for (int64_t i = 0; i < w->n_elems && status == PARE_OK; i++) {
        shared[i] = w->mask && !w->mask[i] ? 0.0f : book.centroids[indices[i]];
    }
    if (status == PARE_OK) {
        status = host->set_weight(host, graph, w->index, shared);
    }
    host->free(host, indices);
    host->free(host, shared);
    return status;
}

static pare_status share_layer(struct deep *d, const pare_graph *graph, int32_t k) {
    const struct pruner_layer *at = &d->pruner.layers[k];
    const pare_weight *w = graph->weights[at->weight];
    const char *text = pattern_map_find(&d->layer_bits, graph->nodes[w->node]->name);
    struct layer *layer = &d->layers[k];
    uint8_t *indices = d->indices + at->first_elem;
    int32_t bits = d->bits;
    if (text) {
        parse_bits(text, &bits);
    }
    memset(layer, 0, sizeof *layer);
    const pare_status status =
        codebook_make(d->pruner.host, w->data, w->mask, w->n_elems, bits, &layer->book, indices);
    for (int64_t i = 0; i < w->n_elems && status == PARE_OK; i++) {
        layer->counts[indices[i]] += !w->mask || w->mask[i];
    }
    return status;
}

static pare_status write_all(const struct deep *d, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < d->pruner.n_layers && status == PARE_OK; k++) {
        status = write_layer(d, graph, k);
        if (status == PARE_OK) {
            status = share_bias(d, graph, k);
        }
    }
    return status;
}

static pare_status apply(void *instance, const pare_graph *graph) {
    struct deep *d = instance;
    const pare_host *host = d->pruner.host;
    pare_status status = pattern_map_check_graph(host, "layer_bits", &d->layer_bits, graph);
    if (status == PARE_OK) {
        status = pruner_prepare(&d->pruner, graph);
    }
    if (status == PARE_OK && d->prunes) {
        status = pruner_prune(&d->pruner, graph, 0, 1);
    }
    if (status < 0) {
        return status;
    }
    d->layers = host->alloc(host, (size_t)d->pruner.n_layers * sizeof *d->layers);
    d->indices = host->alloc(host, (size_t)d->pruner.n_elems);
    if (!d->layers || !d->indices) {
        return host->fail(host, PARE_E_NOMEM, "no memory for indices of %lld weights",
                          (long long)d->pruner.n_elems);
    }
    for (int32_t k = 0; k < d->pruner.n_layers && status == PARE_OK; k++) {
        status = share_layer(d, graph, k);
    }
    return status == PARE_OK ? write_all(d, graph) : status;
}

/* ---- training ---- */

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    const struct deep *d = instance;
    (void)graph;
    (void)plan;
    return d->layers
               ? PARE_OK
               : d->pruner.host->fail(d->pruner.host, PARE_E_STATE, "training begins before apply");
}

static struct layer *layer_of(struct deep *d, int32_t weight, const uint8_t **indices) {
    const struct pruner_layer *at = pruner_layer_of(&d->pruner, weight);
    if (!at) {
        return NULL;
    }
    *indices = d->indices + at->first_elem;
    return &d->layers[at - d->pruner.layers];
}

static pare_status weight_forward(void *instance, const pare_graph *graph, int32_t weight,
                                  const float *w, float *used) {
    const pare_weight *view = graph->weights[weight];
    const uint8_t *indices = NULL;
    const struct layer *layer = layer_of(instance, weight, &indices);
    for (int64_t i = 0; i < view->n_elems; i++) {
        used[i] = view->mask && !view->mask[i] ? 0.0f
                  : layer                      ? layer->book.centroids[indices[i]]
                                               : w[i];
    }
    return PARE_OK;
}

/* Eq. 3: dL/dC_k is the sum of dL/dW over the weights that share C_k. The weights themselves learn
 * nothing: what they are does not depend on w any more. */
static pare_status weight_backward(void *instance, const pare_graph *graph, int32_t weight,
                                   const float *w, const float *grad_used, float *grad_w) {
    const pare_weight *view = graph->weights[weight];
    const uint8_t *indices = NULL;
    struct layer *layer = layer_of(instance, weight, &indices);
    (void)w;
    if (!layer) {
        memmove(grad_w, grad_used, (size_t)view->n_elems * sizeof *grad_w);
        return PARE_OK;
    }
    memset(layer->gradients, 0, sizeof layer->gradients);
    for (int64_t i = 0; i < view->n_elems; i++) {
        if (!view->mask || view->mask[i]) {
            layer->gradients[indices[i]] += (double)grad_used[i];
        }
    }
    memset(grad_w, 0, (size_t)view->n_elems * sizeof *grad_w);
    return PARE_OK;
}

/* Momentum as the host's: v = m v + g, C -= lr (g + m v). */
static void learn(const struct deep *d, struct layer *layer, double lr) {
    for (int32_t c = 0; c < layer->book.n; c++) {
        double g = layer->gradients[c];
        if (d->takes_mean && layer->counts[c] > 0) {
            g /= (double)layer->counts[c];
        }
        layer->velocities[c] = d->momentum * layer->velocities[c] + g;
        const double step = lr * (g + d->momentum * layer->velocities[c]);
        layer->book.centroids[c] = (float)((double)layer->book.centroids[c] - step);
    }
    memset(layer->gradients, 0, sizeof layer->gradients);
}

static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct deep *d = instance;
    const pare_host *host = d->pruner.host;
    for (int32_t k = 0; k < d->pruner.n_layers; k++) {
        struct layer *layer = &d->layers[k];
        learn(d, layer, step->lr);
        for (int32_t c = 0; c < layer->book.n; c++) {
            if (!isfinite(layer->book.centroids[c])) {
                return host->fail(host, PARE_E_NUMERIC,
                                  "%s: a shared value is not finite after step %lld; try a smaller "
                                  "lr, or gradient = \"mean\"",
                                  graph->weights[d->pruner.layers[k].weight]->name,
                                  (long long)step->step);
            }
        }
    }
    return PARE_OK;
}

static pare_status train_end(void *instance, const pare_graph *graph) {
    return write_all(instance, graph);
}

static const pare_method_train train = {
    .struct_size = sizeof train,
    .begin = train_begin,
    .weight_forward = weight_forward,
    .weight_backward = weight_backward,
    .after_step = after_step,
    .end = train_end,
};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method deep_compression = {
    .struct_size = sizeof deep_compression,
    .id = "deep_compression",
    .version = "1.0.0",
    .doc = "prunes, lets the weights of a layer share 2^b values, and trains these",
    .reference = "Han et al. 2015, arXiv 1510.00149, sections 2 to 4",
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

static const pare_method *const methods[] = {&deep_compression};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "deep_compression", .version = "1.0.0", .license = "MIT",
    .n_methods = 1,     .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
