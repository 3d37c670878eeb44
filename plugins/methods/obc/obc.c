/* SPDX-License-Identifier: MIT */
/* Optimal Brain Compression: weights are rounded (GPTQ) or pruned one after the other, and those
 * that are left make good what that changes in what the layer computes, by second derivatives of
 * its squared error on calibration images. Layer after layer, each on what the layers before it
 * compute now. Frantar & Alistarh 2022 (arXiv 2208.11580); Frantar et al. 2022 (arXiv 2210.17323).
 */
#include "correct.h"
#include "factor.h"
#include "greedy.h"
#include "hessian.h"
#include "instance.h"
#include "lowest.h"
#include "post.h"
#include "round.h"
#include "target.h"

#include <pare/ext/calibrate.h>
#include <string.h>

#define MAX_WEIGHT_BITS 8

enum { P_SPARSITY = POST_N_PARAMS, P_N, P_M, P_DAMPING, P_ORDER, P_BIAS_CORRECTION, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
#define POST_WEIGHT_BITS "2..8"
#define POST_WEIGHT_OBSERVER "mse"
#define POST_OBSERVER "mse"
#include "post_rows.inc"
    [P_SPARSITY] = {"sparsity", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0",
                    "fraction of each layer that is pruned in the end, before rounding; below 1"},
    [P_N] = {"n", PARE_PARAM_INT, "", 0, 64, NULL, "0",
             "instead of sparsity: weights kept of each m along the input channels; 0: not so"},
    [P_M] = {"m", PARE_PARAM_INT, "", 2, 64, NULL, "4", "with n: weights in a group"},
    [P_DAMPING] = {"damping", PARE_PARAM_FLOAT, "fraction", 1e-6, 1, NULL, "0.01",
                   "added to the diagonal of the second derivatives: that part of its mean"},
    [P_ORDER] = {"order", PARE_PARAM_STRING, "", 0, 0, "column|activation", "column",
                 "rounding: columns as they come, or largest second derivative first"},
    [P_BIAS_CORRECTION] = {"bias_correction", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                           "whether biases take back the mean shift of what the layer computes"},
};

struct obc {
    const pare_host *host;
    struct post post;
    double sparsity, damping;
    int64_t n, m; /* n 0: sparsity counts */
    int orders_by_activation, corrects_bias;
    struct target target;
    int32_t layer; /* of target, whose input is looked at; -1: the ranges of the float network */
    int is_done;
    struct hessian hessian;
    struct correction before, now; /* what layers read: the float network, the one as it is */
};

static int quantizes(const struct obc *o) {
    return o->post.weight_bits != POST_FLOAT;
}

static int prunes(const struct obc *o) {
    return o->n > 0 || o->sparsity > 0.0;
}

/* ---- life ---- */

static pare_status check(const struct obc *o) {
    const pare_host *host = o->host;
    if (!quantizes(o) && !prunes(o)) {
        return host->fail(host, PARE_E_ARG,
                          "weight_bits is 32 and nothing is pruned: wanted weight_bits in 2..8, "
                          "sparsity or n");
    }
    if (o->sparsity >= 1.0) {
        return host->fail(host, PARE_E_RANGE, "sparsity: got %g, wanted 0 <= sparsity < 1",
                          o->sparsity);
    }
    if (o->n > 0 && o->sparsity > 0.0) {
        return host->fail(host, PARE_E_ARG,
                          "sparsity and n are both given: wanted one way to say how much");
    }
    if (o->n > o->m) {
        return host->fail(host, PARE_E_RANGE, "n: got %lld, wanted at most m, which is %lld",
                          (long long)o->n, (long long)o->m);
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct obc all = {.host = host, .layer = -1};
    pare_status status = post_init(host, v, MAX_WEIGHT_BITS, &all.post);
    all.sparsity = v[P_SPARSITY]->f;
    all.damping = v[P_DAMPING]->f;
    all.n = v[P_N]->i;
    all.m = v[P_M]->i;
    all.orders_by_activation = strcmp(v[P_ORDER]->s, "activation") == 0;
    all.corrects_bias = v[P_BIAS_CORRECTION]->i != 0;
    if (status == PARE_OK) {
        status = check(&all);
    }
    return status < 0 ? status : instance_keep(host, &all, sizeof all, instance);
}

static void clear(struct obc *o) {
    hessian_clear(&o->hessian);
    correction_clear(&o->before);
    correction_clear(&o->now);
    target_clear(&o->target);
    post_clear(&o->post);
    o->layer = -1;
    o->is_done = 0;
}

static void destroy(void *instance) {
    struct obc *o = instance;
    if (o) {
        clear(o);
        o->host->free(o->host, o);
    }
}

/* ---- one layer ---- */

/* The channels of one group: their weights and masks, to be changed. */
struct layer {
    const pare_weight *weight;
    float *w;      /* (dims) */
    uint8_t *mask; /* (dims) */
    float *scale;  /* (OC) */
    int16_t *codes;
    int32_t *order; /* (n) */
    double *u;      /* (n,n) */
    double *work;   /* (n,n) */
};

static void free_layer(const struct obc *o, struct layer *layer) {
    o->host->free(o->host, layer->w);
    o->host->free(o->host, layer->mask);
    o->host->free(o->host, layer->scale);
    o->host->free(o->host, layer->codes);
    o->host->free(o->host, layer->order);
    o->host->free(o->host, layer->u);
    o->host->free(o->host, layer->work);
}

static pare_status make_layer(const struct obc *o, const pare_weight *weight, struct layer *layer) {
    const pare_host *host = o->host;
    const size_t n_elems = (size_t)weight->n_elems, n = (size_t)o->hessian.n;
    *layer = (struct layer){.weight = weight};
    layer->w = host->alloc(host, n_elems * sizeof *layer->w);
    layer->mask = host->alloc(host, n_elems);
    layer->scale = host->alloc(host, (size_t)weight->dims[0] * sizeof *layer->scale);
    layer->codes = host->alloc(host, n_elems * sizeof *layer->codes);
    layer->order = host->alloc(host, n * sizeof *layer->order);
    layer->u = host->alloc(host, n * n * sizeof *layer->u);
    layer->work = host->alloc(host, n * n * sizeof *layer->work);
    if (!layer->w || !layer->mask || !layer->scale || !layer->codes || !layer->order || !layer->u ||
        !layer->work) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for its channels", weight->name);
    }
    memcpy(layer->w, weight->data, n_elems * sizeof *layer->w);
    memset(layer->mask, 1, n_elems);
    if (weight->mask) {
        memcpy(layer->mask, weight->mask, n_elems);
    }
    return PARE_OK;
}

/* A group all of whose inputs were 0 teaches nothing. */
static int is_dead(const double *h) {
    return h[0] == 0.0; /* with damping no other diagonal holds a 0 */
}

static int64_t count_pruned(const uint8_t *mask, int64_t n) {
    int64_t n_pruned = 0;
    for (int64_t i = 0; i < n; i++) {
        n_pruned += !mask[i];
    }
    return n_pruned;
}

/* Dead groups are pruned as if every input counted the same: by magnitude. */
static void set_unit(double *h, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        h[i * n + i] = 1.0;
    }
}

static pare_status prune_group(const struct obc *o, struct layer *layer, int64_t group) {
    const struct hessian *hessian = &o->hessian;
    const int64_t n = hessian->n, n_rows = hessian->patches.n_outputs;
    const int64_t at = group * n_rows * n;
    const int64_t had = count_pruned(layer->mask + at, n_rows * n);
    const int64_t wanted = lowest_count(o->sparsity, n_rows * n);
    const char *name = layer->weight->name;
    if (o->n == 0 && wanted == n_rows * n) {
        return o->host->fail(o->host, PARE_E_RANGE,
                             "%s: sparsity %g of %lld weights leaves none, wanted less", name,
                             o->sparsity, (long long)(n_rows * n));
    }
    const struct pruning pruning = {.n = n,
                                    .n_rows = n_rows,
                                    .h = hessian->h + group * n * n,
                                    .n_pruned = wanted > had ? wanted : had,
                                    .keep = o->n,
                                    .m = o->n > 0 ? o->m : 0,
                                    .n_channels = hessian->patches.in_c / hessian->patches.n_groups,
                                    .w = layer->w + at,
                                    .mask = layer->mask + at};
    return greedy_prune(o->host, &pruning, name);
}

static pare_status prune_layer(struct obc *o, const pare_graph *graph, struct layer *layer) {
    const pare_host *host = o->host;
    const int64_t n = o->hessian.n;
    pare_status status = PARE_OK;
    for (int64_t group = 0; group < o->hessian.patches.n_groups && status == PARE_OK; group++) {
        double *h = o->hessian.h + group * n * n;
        const int dead = is_dead(h);
        if (dead) {
            set_unit(h, n);
        }
        status = prune_group(o, layer, group);
        if (dead) {
            memset(h, 0, (size_t)(n * n) * sizeof *h);
        }
    }
    if (status == PARE_OK && memchr(layer->mask, 0, (size_t)layer->weight->n_elems)) {
        status = host->set_mask(host, graph, layer->weight->index, layer->mask);
    }
    return status == PARE_OK ? host->set_weight(host, graph, layer->weight->index, layer->w)
                             : status;
}

/* As they come, or by falling second derivative; of equals the first. */
static void sort_columns(const struct obc *o, const double *h, int32_t *order) {
    const int64_t n = o->hessian.n;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i;
        while (o->orders_by_activation && at > 0 &&
               h[order[at - 1] * n + order[at - 1]] < h[i * n + i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = (int32_t)i;
    }
}

static pare_status round_group(const struct obc *o, struct layer *layer,
                               const struct weight_rule *rule, int64_t group) {
    const int64_t n = o->hessian.n, n_rows = o->hessian.patches.n_outputs;
    const double *h = o->hessian.h + group * n * n;
    const int64_t at = group * n_rows;
    const int dead = is_dead(h);
    sort_columns(o, h, layer->order);
    if (!dead && factor_inverse(h, layer->order, n, layer->work, layer->u) != 0) {
        return o->host->fail(o->host, PARE_E_NUMERIC,
                             "%s: its second derivatives are not positive definite in fp64; try a "
                             "larger damping",
                             layer->weight->name);
    }
    const struct rounding rounding = {.n = n,
                                      .n_rows = n_rows,
                                      .u = dead ? NULL : layer->u,
                                      .order = layer->order,
                                      .w = layer->w + at * n,
                                      .mask = layer->mask + at * n,
                                      .scale = layer->scale + at,
                                      .qmax = (1 << (rule->bits - 1)) - 1,
                                      .codes = layer->codes + at * n};
    return round_channels(o->host, &rounding);
}

static pare_status round_layer(struct obc *o, const pare_graph *graph, struct layer *layer) {
    const pare_weight *w = layer->weight;
    const struct weight_rule rule = post_weight_rule(&o->post, graph->nodes[w->node]);
    pare_status status = PARE_OK;
    weight_scales(o->host, w, &rule, layer->scale);
    for (int64_t k = 1; !rule.is_per_channel && k < w->dims[0]; k++) {
        layer->scale[k] = layer->scale[0];
    }
    for (int64_t group = 0; group < o->hessian.patches.n_groups && status == PARE_OK; group++) {
        status = round_group(o, layer, &rule, group);
    }
    const pare_quant quant = weight_quant(&rule, w, layer->scale);
    return status == PARE_OK
               ? o->host->set_weight_quant(o->host, graph, w->index, &quant, layer->codes)
               : status;
}

static void warn_if_dead(const struct obc *o, const pare_node *node) {
    const int64_t n = o->hessian.n;
    int64_t n_dead = 0;
    for (int64_t group = 0; group < o->hessian.patches.n_groups; group++) {
        n_dead += is_dead(o->hessian.h + group * n * n);
    }
    if (n_dead > 0) {
        o->host->log(
            o->host, PARE_LOG_WARN,
            "%s reads nothing but 0 while calibrating (%lld of %d groups): its weights are "
            "treated as if all inputs counted the same",
            node->name, (long long)n_dead, o->hessian.patches.n_groups);
    }
}

static pare_status treat_layer(struct obc *o, const pare_graph *graph) {
    const pare_weight *w = graph->weights[o->target.weights[o->layer]];
    const pare_node *node = graph->nodes[w->node];
    struct layer layer = {NULL};
    float *before = NULL;
    pare_status status = hessian_finish(&o->hessian, node->name, o->damping);
    if (status == PARE_OK) {
        warn_if_dead(o, node);
        status = make_layer(o, w, &layer);
    }
    if (status == PARE_OK && o->corrects_bias) {
        before = o->host->alloc(o->host, (size_t)w->n_elems * sizeof *before);
        status = before ? PARE_OK
                        : o->host->fail(o->host, PARE_E_NOMEM, "%s: no memory for a copy", w->name);
    }
    if (before) {
        memcpy(before, w->data, (size_t)w->n_elems * sizeof *before);
    }
    if (status == PARE_OK && prunes(o)) {
        status = prune_layer(o, graph, &layer);
    }
    if (status == PARE_OK && quantizes(o)) {
        status = round_layer(o, graph, &layer);
    }
    if (status == PARE_OK && o->corrects_bias) {
        status = correction_apply(&o->before, &o->now, graph, w, before);
    }
    o->host->free(o->host, before);
    free_layer(o, &layer);
    hessian_clear(&o->hessian);
    return status;
}

/* ---- calibration ---- */

static const pare_node *present_layer(const struct obc *o, const pare_graph *graph) {
    return graph->nodes[graph->weights[o->target.weights[o->layer]]->node];
}

/* Ranges are those of the float network, and so is what biases are corrected to. */
static int needs_float_pass(const struct obc *o) {
    return post_wants_values(&o->post) || o->corrects_bias;
}

static pare_status next_layer(struct obc *o, const pare_graph *graph) {
    o->layer++;
    return hessian_init(o->host, graph, present_layer(o, graph), &o->hessian);
}

/* Where nothing is quantized, batch norm stays: training may follow. */
static pare_status begin(void *instance, const pare_graph *graph) {
    struct obc *o = instance;
    clear(o);
    const int folds = quantizes(o) || post_wants_values(&o->post);
    pare_status status = folds ? post_fold(&o->post, graph) : plan_check_fresh(o->host, graph);
    if (status == PARE_OK) {
        status = target_init(o->host, graph, &o->target);
    }
    if (status == PARE_OK && needs_float_pass(o)) {
        status = post_plan(&o->post, graph);
    }
    if (status == PARE_OK && o->corrects_bias) {
        status = correction_init(o->host, graph, &o->before);
    }
    if (status == PARE_OK && o->corrects_bias) {
        status = correction_init(o->host, graph, &o->now);
    }
    return status == PARE_OK && !needs_float_pass(o) ? next_layer(o, graph) : status;
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t node,
                           const float *value, int32_t n) {
    struct obc *o = instance;
    if (o->target.n == 0 || o->is_done) {
        return o->host->fail(o->host, PARE_E_STATE, "observe of node %d, but nothing is wanted",
                             node);
    }
    if (n <= 0) {
        return PARE_OK;
    }
    if (o->layer >= 0) {
        if (node == present_layer(o, graph)->inputs[0]) {
            hessian_see(&o->hessian, value, n);
            if (o->corrects_bias) {
                correction_see(&o->now, graph, node, value, n);
            }
        }
        return PARE_OK;
    }
    const int is_first = o->post.pass == 0;
    const pare_status status = post_observe(&o->post, graph, node, value, n);
    if (status == PARE_OK && o->corrects_bias && is_first) {
        correction_see(&o->before, graph, node, value, n);
    }
    return status;
}

static pare_status end(void *instance, const pare_graph *graph, int32_t *again) {
    struct obc *o = instance;
    pare_status status;
    if (o->layer < 0) {
        status = post_end(&o->post, o->corrects_bias, again);
        if (status < 0 || *again) {
            return status;
        }
        status = post_set_values(&o->post, graph);
    } else {
        status = treat_layer(o, graph);
    }
    if (status < 0) {
        return status;
    }
    o->is_done = o->layer + 1 == o->target.n;
    *again = !o->is_done;
    return o->is_done ? PARE_OK : next_layer(o, graph);
}

static const pare_method_calibrate calibrate = {
    .struct_size = sizeof calibrate,
    .begin = begin,
    .observe = observe,
    .end = end,
};

static pare_status apply(void *instance, const pare_graph *graph) {
    const struct obc *o = instance;
    (void)graph;
    return o->is_done ? PARE_OK
                      : o->host->fail(o->host, PARE_E_STATE,
                                      "calibration has not come to its end: obc does all its work "
                                      "there, from at least one image");
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_CALIBRATE) == 0 ? &calibrate : NULL;
}

static const pare_method obc = {
    .struct_size = sizeof obc,
    .id = "obc",
    .version = "1.0.0",
    .doc = "rounds or prunes weights after training; the others make good each error",
    .reference = "Frantar & Alistarh 2022, arXiv 2208.11580; Frantar et al. 2022, arXiv 2210.17323",
    .params = params,
    .n_params = N_PARAMS,
    .reads = PARE_WEIGHTS | PARE_MASK | PARE_ACTIVATIONS,
    .writes = PARE_WEIGHTS | PARE_MASK | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY,
    .preserves = PARE_MASK | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&obc};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "obc",  .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
