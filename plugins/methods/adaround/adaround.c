/* SPDX-License-Identifier: MIT */
/* AdaRound: which way each weight is rounded is learned, layer after layer, from what the layer is
 * to compute on calibration images. Nagel et al. 2020 (arXiv 2004.10568). With `drop`, values that
 * the layer reads are quantized or not at random while learning, as in QDrop: Wei et al. 2022
 * (arXiv 2203.05740). */
#include "correct.h"
#include "instance.h"
#include "optimize.h"
#include "post.h"
#include "samples.h"
#include "target.h"

#include <pare/ext/calibrate.h>
#include <string.h>

#define MAX_WEIGHT_BITS 8

enum {
    P_ITERATIONS = POST_N_PARAMS,
    P_BATCH,
    P_PLACES,
    P_LR,
    P_STRENGTH,
    P_WARMUP,
    P_DROP,
    P_BIAS_CORRECTION,
    N_PARAMS
};

static const pare_param_desc params[N_PARAMS] = {
#define POST_WEIGHT_BITS "2..8"
#define POST_WEIGHT_OBSERVER "mse"
#define POST_OBSERVER "mse"
#include "post_rows.inc"
    [P_ITERATIONS] = {"iterations", PARE_PARAM_INT, "steps", 1, 1e7, NULL, "2000",
                      "steps of learning for each layer"},
    [P_BATCH] = {"batch", PARE_PARAM_INT, "images", 1, 4096, NULL, "32", "images of a step"},
    [P_PLACES] = {"places", PARE_PARAM_INT, "", 1, 1e6, NULL, "8",
                  "places of a convolution's output that are learned from, per image, by the seed"},
    [P_LR] = {"lr", PARE_PARAM_FLOAT, "", 1e-6, 1, NULL, "0.01", "Adam's learning rate"},
    [P_STRENGTH] = {"regularization", PARE_PARAM_FLOAT, "", 1e-6, 1000, NULL, "0.01",
                    "strength of the penalty that drives roundings up or down"},
    [P_WARMUP] = {"warmup", PARE_PARAM_FLOAT, "fraction", 0, 0.9, NULL, "0.2",
                  "part of the steps that does without the penalty"},
    [P_DROP] = {"drop", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0",
                "part of the values read that are, at random, those of the float network (QDrop: "
                "0.5)"},
    [P_BIAS_CORRECTION] = {"bias_correction", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                           "whether biases take back the mean shift of what the layer computes"},
};

struct adaround {
    const pare_host *host;
    struct post post;
    struct optimize_rule rule;
    int64_t n_places;
    int corrects_bias;
    struct target target;
    struct samples *samples; /* (target.n) */
    int32_t layer;           /* of target, whose input is looked at; -1: the float network's */
    int is_done;
    struct correction before, now; /* what layers read: the float network, the one as it is */
};

/* ---- life ---- */

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct adaround all = {.host = host, .layer = -1};
    const pare_status status = post_init(host, v, MAX_WEIGHT_BITS, &all.post);
    if (status < 0) {
        return status;
    }
    if (all.post.weight_bits == POST_FLOAT) {
        return host->fail(host, PARE_E_ARG,
                          "weight_bits is 32: there is nothing to round, wanted 2..8");
    }
    all.rule = (struct optimize_rule){.iterations = v[P_ITERATIONS]->i,
                                      .batch = v[P_BATCH]->i,
                                      .lr = v[P_LR]->f,
                                      .strength = v[P_STRENGTH]->f,
                                      .warmup = v[P_WARMUP]->f,
                                      .drop = v[P_DROP]->f};
    all.n_places = v[P_PLACES]->i;
    all.corrects_bias = v[P_BIAS_CORRECTION]->i != 0;
    return instance_keep(host, &all, sizeof all, instance);
}

static void clear(struct adaround *a) {
    for (int32_t k = 0; a->samples && k < a->target.n; k++) {
        samples_clear(&a->samples[k]);
    }
    a->host->free(a->host, a->samples);
    a->samples = NULL;
    correction_clear(&a->before);
    correction_clear(&a->now);
    target_clear(&a->target);
    post_clear(&a->post);
    a->layer = -1;
    a->is_done = 0;
}

static void destroy(void *instance) {
    struct adaround *a = instance;
    if (a) {
        clear(a);
        a->host->free(a->host, a);
    }
}

/* ---- one layer ---- */

struct layer {
    const pare_weight *weight;
    float *before;  /* (dims) */
    float *scale;   /* (OC) */
    int16_t *codes; /* (dims) */
};

static pare_status make_layer(const struct adaround *a, const pare_weight *w, struct layer *layer) {
    const size_t n_elems = (size_t)w->n_elems;
    layer->weight = w;
    layer->before = a->host->alloc(a->host, n_elems * sizeof *layer->before);
    layer->scale = a->host->alloc(a->host, (size_t)w->dims[0] * sizeof *layer->scale);
    layer->codes = a->host->alloc(a->host, n_elems * sizeof *layer->codes);
    if (!layer->before || !layer->scale || !layer->codes) {
        return a->host->fail(a->host, PARE_E_NOMEM, "%s: no memory for its channels", w->name);
    }
    memcpy(layer->before, w->data, n_elems * sizeof *layer->before);
    return PARE_OK;
}

static int feeds_relu(const pare_graph *graph, int32_t node) {
    const int32_t reader = plan_sole_reader(graph, node);
    return reader >= 0 && graph->nodes[reader]->op == PARE_OP_RELU;
}

static pare_status learn_group(const struct adaround *a, const pare_graph *graph,
                               const struct layer *layer, int bits, int64_t group, pare_rng *rng,
                               struct optimize_result *sum) {
    const struct samples *samples = &a->samples[a->layer];
    const pare_weight *w = layer->weight;
    const pare_weight *bias = graph->nodes[w->node]->weights[PARE_ROLE_BIAS];
    const struct patches *p = &samples->patches;
    const int64_t first = group * p->n_outputs;
    const int64_t at = first * p->row_elems;
    const struct optimize_task task = {.n = p->row_elems,
                                       .n_channels = p->n_outputs,
                                       .n_rows = samples->now[group].n,
                                       .n_taken = samples->n_taken,
                                       .x = samples->now[group].data,
                                       .float_x =
                                           samples->has_inputs ? samples->inputs[group].data : NULL,
                                       .wanted = samples->outputs[group].data,
                                       .bias = bias ? bias->data + first : NULL,
                                       .has_relu = feeds_relu(graph, w->node),
                                       .w = layer->before + at,
                                       .mask = w->mask ? w->mask + at : NULL,
                                       .scale = layer->scale + first,
                                       .qmax = (1 << (bits - 1)) - 1,
                                       .codes = layer->codes + at};
    struct optimize_result result = {0};
    const pare_status status = optimize_codes(a->host, &task, &a->rule, rng, &result);
    sum->nearest += result.nearest;
    sum->learned += result.learned;
    return status;
}

static pare_status learn_layer(const struct adaround *a, const pare_graph *graph,
                               struct layer *layer) {
    const pare_weight *w = layer->weight;
    const pare_node *node = graph->nodes[w->node];
    const struct weight_rule rule = post_weight_rule(&a->post, node);
    struct optimize_result sum = {0};
    pare_status status = PARE_OK;
    pare_rng rng;
    a->host->rng_init(a->host, w->name, &rng);
    weight_scales(a->host, w, &rule, layer->scale);
    for (int64_t k = 1; !rule.is_per_channel && k < w->dims[0]; k++) {
        layer->scale[k] = layer->scale[0];
    }
    for (int64_t g = 0; g < a->samples[a->layer].patches.n_groups && status == PARE_OK; g++) {
        status = learn_group(a, graph, layer, rule.bits, g, &rng, &sum);
    }
    a->host->log(a->host, PARE_LOG_DEBUG, "%s: error %g rounded to nearest, %g as learned",
                 node->name, sum.nearest, sum.learned);
    const pare_quant quant = weight_quant(&rule, w, layer->scale);
    return status == PARE_OK
               ? a->host->set_weight_quant(a->host, graph, w->index, &quant, layer->codes)
               : status;
}

static pare_status treat_layer(struct adaround *a, const pare_graph *graph) {
    const pare_weight *w = graph->weights[a->target.weights[a->layer]];
    struct samples *samples = &a->samples[a->layer];
    struct layer layer = {NULL};
    if (samples->now[0].n == 0) {
        return a->host->fail(a->host, PARE_E_STATE,
                             "%s: calibration saw no values: it needs at least one image",
                             graph->nodes[w->node]->name);
    }
    if (samples->now[0].n != samples->outputs[0].n) {
        return a->host->fail(a->host, PARE_E_STATE,
                             "%s: calibration showed %lld samples, and %lld in its first pass",
                             graph->nodes[w->node]->name, (long long)samples->now[0].n,
                             (long long)samples->outputs[0].n);
    }
    pare_status status = make_layer(a, w, &layer);
    if (status == PARE_OK) {
        status = learn_layer(a, graph, &layer);
    }
    if (status == PARE_OK && a->corrects_bias) {
        status = correction_apply(&a->before, &a->now, graph, w, layer.before);
    }
    a->host->free(a->host, layer.codes);
    a->host->free(a->host, layer.scale);
    a->host->free(a->host, layer.before);
    samples_clear(samples);
    return status;
}

/* ---- calibration ---- */

static pare_status make_samples(struct adaround *a, const pare_graph *graph) {
    const size_t bytes = (size_t)a->target.n * sizeof *a->samples;
    a->samples = a->host->alloc(a->host, bytes);
    if (!a->samples) {
        return a->host->fail(a->host, PARE_E_NOMEM, "no memory for samples of %d layers",
                             a->target.n);
    }
    memset(a->samples, 0, bytes);
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < a->target.n && status == PARE_OK; k++) {
        status = samples_init(a->host, graph, graph->weights[a->target.weights[k]]->node,
                              a->n_places, a->rule.drop > 0.0, &a->samples[k]);
    }
    return status;
}

static pare_status begin(void *instance, const pare_graph *graph) {
    struct adaround *a = instance;
    clear(a);
    pare_status status = post_fold(&a->post, graph);
    if (status == PARE_OK) {
        status = post_plan(&a->post, graph);
    }
    if (status == PARE_OK) {
        status = target_init(a->host, graph, &a->target);
    }
    if (status == PARE_OK) {
        status = make_samples(a, graph);
    }
    if (status == PARE_OK && a->corrects_bias) {
        status = correction_init(a->host, graph, &a->before);
    }
    if (status == PARE_OK && a->corrects_bias) {
        status = correction_init(a->host, graph, &a->now);
    }
    return status;
}

static int is_input(const pare_graph *graph, const struct samples *samples, int32_t node) {
    return graph->nodes[samples->node]->inputs[0] == node;
}

static pare_status observe_float(struct adaround *a, const pare_graph *graph, int32_t node,
                                 const float *value, int32_t n) {
    const int is_first = a->post.pass == 0;
    pare_status status = post_observe(&a->post, graph, node, value, n);
    for (int32_t k = 0; is_first && k < a->target.n && status == PARE_OK; k++) {
        if (is_input(graph, &a->samples[k], node)) {
            status = samples_see_float(&a->samples[k], graph, value, n);
        }
    }
    if (status == PARE_OK && is_first && a->corrects_bias) {
        correction_see(&a->before, graph, node, value, n);
    }
    return status;
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t node,
                           const float *value, int32_t n) {
    struct adaround *a = instance;
    if (!a->samples || a->is_done) {
        return a->host->fail(a->host, PARE_E_STATE, "observe of node %d, but nothing is wanted",
                             node);
    }
    if (n <= 0) {
        return PARE_OK;
    }
    if (a->layer < 0) {
        return observe_float(a, graph, node, value, n);
    }
    if (!is_input(graph, &a->samples[a->layer], node)) {
        return PARE_OK;
    }
    if (a->corrects_bias) {
        correction_see(&a->now, graph, node, value, n);
    }
    return samples_see_now(&a->samples[a->layer], graph, value, n);
}

static pare_status end(void *instance, const pare_graph *graph, int32_t *again) {
    struct adaround *a = instance;
    pare_status status;
    if (a->layer < 0) {
        status = post_end(&a->post, 1, again);
        if (status < 0 || *again) {
            return status;
        }
        status = post_set_values(&a->post, graph);
    } else {
        status = treat_layer(a, graph);
    }
    if (status < 0) {
        return status;
    }
    a->layer++;
    a->is_done = a->layer == a->target.n;
    *again = !a->is_done;
    if (!a->is_done) {
        samples_restart(&a->samples[a->layer], graph);
    }
    return PARE_OK;
}

static const pare_method_calibrate calibrate = {
    .struct_size = sizeof calibrate,
    .begin = begin,
    .observe = observe,
    .end = end,
};

static pare_status apply(void *instance, const pare_graph *graph) {
    const struct adaround *a = instance;
    (void)graph;
    return a->is_done ? PARE_OK
                      : a->host->fail(a->host, PARE_E_STATE,
                                      "calibration has not come to its end: adaround does all its "
                                      "work there, from at least one image");
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_CALIBRATE) == 0 ? &calibrate : NULL;
}

static const pare_method adaround = {
    .struct_size = sizeof adaround,
    .id = "adaround",
    .version = "1.0.0",
    .doc = "learns after training which way each weight is rounded (AdaRound, QDrop)",
    .reference = "Nagel et al. 2020, arXiv 2004.10568; Wei et al. 2022, arXiv 2203.05740",
    .params = params,
    .n_params = N_PARAMS,
    POST_ASPECTS,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&adaround};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "adaround", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,     .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
