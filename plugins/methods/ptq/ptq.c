/* SPDX-License-Identifier: MIT */
/* Post-training quantization to 2..16 bits: batch norm is folded, activation ranges are observed on
 * calibration data, weights are rounded. Jacob et al. 2018 (arXiv 1712.05877); Krishnamoorthi 2018
 * (arXiv 1806.08342). */
#include "correct.h"
#include "equalize.h"
#include "grid.h"
#include "pattern_map.h"
#include "plan.h"
#include "range.h"
#include "weights.h"

#include <pare/ext/calibrate.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BITS 16
#define FLOAT_BITS 32 /* leaves weights or activations as they are */

enum {
    P_BITS,
    P_WEIGHT_BITS,
    P_ACTIVATION_BITS,
    P_OBSERVER,
    P_PERCENTILE,
    P_MOMENTUM,
    P_SCHEME,
    P_GRANULARITY,
    P_WEIGHT_OBSERVER,
    P_BIAS_CORRECTION,
    P_EQUALIZE,
    P_LAYER_BITS,
    N_PARAMS
};

static const pare_param_desc params[N_PARAMS] = {
    [P_BITS] = {"bits", PARE_PARAM_INT, "bits", 2, MAX_BITS, NULL, "8",
                "width of weights and activations"},
    [P_WEIGHT_BITS] = {"weight_bits", PARE_PARAM_INT, "bits", 0, FLOAT_BITS, NULL, "0",
                       "width of weights: 2..16, 0: as bits, 32: they stay float"},
    [P_ACTIVATION_BITS] = {"activation_bits", PARE_PARAM_INT, "bits", 0, FLOAT_BITS, NULL, "0",
                           "width of activations: 2..16, 0: as bits, 32: they stay float"},
    [P_OBSERVER] = {"observer", PARE_PARAM_STRING, "", 0, 0, "minmax|moving_average|percentile|mse",
                    "minmax", "how the range of an activation follows from the values seen"},
    [P_PERCENTILE] =
        {"percentile", PARE_PARAM_FLOAT, "percent", 0, 100, NULL, "0",
         "observer percentile: part of the values inside, on either side; 0: 99.99, at "
         "4 bits and below 99.9"},
    [P_MOMENTUM] = {"momentum", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.9",
                    "observer moving_average: weight of the past against one batch; below 1"},
    [P_SCHEME] = {"activation_scheme", PARE_PARAM_STRING, "", 0, 0, "affine|symmetric", "affine",
                  "affine: all codes together cover lo..hi; symmetric: the zero point is 0"},
    [P_GRANULARITY] = {"weight_granularity", PARE_PARAM_STRING, "", 0, 0, "channel|tensor",
                       "channel", "one weight scale per output channel, or per tensor"},
    [P_WEIGHT_OBSERVER] = {"weight_observer", PARE_PARAM_STRING, "", 0, 0, "minmax|mse", "minmax",
                           "weight scale from the largest absolute value, or by least error"},
    [P_BIAS_CORRECTION] = {"bias_correction", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                           "whether biases take back the mean shift that rounding weights causes"},
    [P_EQUALIZE] = {"equalize", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                    "whether channels between two layers are scaled to the same range in both"},
    [P_LAYER_BITS] = {"layer_bits", PARE_PARAM_STRINGS, "", 0, 0, NULL, NULL,
                      "other widths by layer, for its weights and the value it reads: \"conv1=8\", "
                      "\"layer3.*=4\"; the first pattern that matches counts"},
};

struct ptq {
    const pare_host *host;
    int weight_bits, activation_bits; /* FLOAT_BITS: untouched */
    struct pattern_map layer_bits;    /* in place of the two, where those are not float */
    struct range_rule rule;           /* its bits and percentile are the value's: rule_of */
    struct weight_rule weight_rule;   /* its bits are the layer's */
    int corrects_bias, equalizes;
    int is_ready;    /* batch norm is folded, plan and ranges fit the graph */
    int64_t n_calls; /* of observe in the present pass */
    int32_t pass;
    struct plan plan;
    struct range *ranges; /* (plan.n) those of root values are used */
    struct correction correction;
};

/* ---- parameters ---- */

static pare_status check_bits(const pare_host *host, const char *name, int64_t bits) {
    if (bits == 0 || bits == FLOAT_BITS || (bits >= 2 && bits <= MAX_BITS)) {
        return PARE_OK;
    }
    return host->fail(host, PARE_E_RANGE, "%s: got %lld, wanted 2..16, 0 (as bits) or 32 (float)",
                      name, (long long)bits);
}

/* Of a text that check_layer_bits has accepted. */
static int parse_bits(const char *text) {
    return (int)strtol(text, NULL, 10);
}

static pare_status check_layer_bits(const pare_host *host, const struct pattern_map *map) {
    for (int32_t k = 0; k < map->n; k++) {
        const char *text = pattern_map_value(map, k);
        const int is_number =
            text && text[0] && strlen(text) <= 2 && strspn(text, "0123456789") == strlen(text);
        if (!is_number || parse_bits(text) < 2 || parse_bits(text) > MAX_BITS) {
            return host->fail(host, PARE_E_ARG,
                              "layer_bits: got \"%.60s\", wanted \"pattern=bits\" with bits in "
                              "2..16 (\"conv1=8\"); exclude what is to stay float",
                              map->entries[k]);
        }
    }
    return PARE_OK;
}

static pare_status check_values(const pare_host *host, const pare_param_value *const *v) {
    pare_status status = check_bits(host, "weight_bits", v[P_WEIGHT_BITS]->i);
    if (status == PARE_OK) {
        status = check_bits(host, "activation_bits", v[P_ACTIVATION_BITS]->i);
    }
    if (status < 0) {
        return status;
    }
    if (v[P_WEIGHT_BITS]->i == FLOAT_BITS && v[P_ACTIVATION_BITS]->i == FLOAT_BITS) {
        return host->fail(
            host, PARE_E_ARG,
            "weight_bits and activation_bits are both 32: nothing would be quantized");
    }
    if (v[P_BIAS_CORRECTION]->i && v[P_WEIGHT_BITS]->i == FLOAT_BITS) {
        return host->fail(host, PARE_E_ARG,
                          "bias_correction is true and weight_bits is 32: float weights shift "
                          "nothing, leave one of them out");
    }
    if (v[P_PERCENTILE]->f != 0.0 && v[P_PERCENTILE]->f <= 50.0) {
        return host->fail(host, PARE_E_RANGE, "percentile: got %g, wanted more than 50, or 0",
                          v[P_PERCENTILE]->f);
    }
    if (v[P_MOMENTUM]->f >= 1.0) {
        return host->fail(host, PARE_E_RANGE, "momentum: got %g, wanted 0 <= momentum < 1",
                          v[P_MOMENTUM]->f);
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    const struct pattern_map map = {v[P_LAYER_BITS]->n, v[P_LAYER_BITS]->strings};
    pare_status status = check_values(host, v);
    if (status == PARE_OK) {
        status = check_layer_bits(host, &map);
    }
    if (status < 0) {
        return status;
    }
    struct ptq *q = host->alloc(host, sizeof *q);
    if (!q) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    int64_t bits = v[P_BITS]->i;
    *q = (struct ptq){.host = host};
    q->weight_bits = (int)(v[P_WEIGHT_BITS]->i ? v[P_WEIGHT_BITS]->i : bits);
    q->activation_bits = (int)(v[P_ACTIVATION_BITS]->i ? v[P_ACTIVATION_BITS]->i : bits);
    q->rule.observer = (enum observer)range_parse_observer(v[P_OBSERVER]->s);
    q->rule.momentum = v[P_MOMENTUM]->f;
    q->rule.percentile = v[P_PERCENTILE]->f;
    q->layer_bits = map;
    q->rule.is_symmetric = strcmp(v[P_SCHEME]->s, "symmetric") == 0;
    q->weight_rule.is_per_channel = strcmp(v[P_GRANULARITY]->s, "channel") == 0;
    q->weight_rule.is_mse = strcmp(v[P_WEIGHT_OBSERVER]->s, "mse") == 0;
    q->corrects_bias = v[P_BIAS_CORRECTION]->i != 0;
    q->equalizes = v[P_EQUALIZE]->i != 0;
    *instance = q;
    return PARE_OK;
}

static void clear_ranges(struct ptq *q) {
    for (int32_t v = 0; q->ranges && v < q->plan.n; v++) {
        q->host->free(q->host, q->ranges[v].bins);
    }
    q->host->free(q->host, q->ranges);
    q->ranges = NULL;
    correction_clear(&q->correction);
    plan_clear(&q->plan);
}

static void destroy(void *instance) {
    struct ptq *q = instance;
    if (q) {
        clear_ranges(q);
        q->host->free(q->host, q);
    }
}

/* ---- calibration ---- */

static pare_status equalize_pairs(const struct ptq *q, const pare_graph *graph) {
    int32_t n_pairs = 0;
    const pare_status status = equalize(q->host, graph, &n_pairs);
    if (status == PARE_OK && n_pairs == 0) {
        q->host->log(q->host, PARE_LOG_WARN,
                     "equalize: %s has no two selected layers with only relu, pools and flatten "
                     "between them: nothing is changed",
                     graph->name);
    }
    return status;
}

/* Folds batch norm, then plans on the graph as it is after that. */
static pare_status prepare(struct ptq *q, const pare_graph *graph) {
    const pare_host *host = q->host;
    pare_status status = plan_check_fresh(host, graph);
    if (status == PARE_OK) {
        status = pattern_map_check_graph(host, "layer_bits", &q->layer_bits, graph);
    }
    if (status == PARE_OK) {
        status = host->fold_batch_norm(host, graph);
    }
    if (status == PARE_OK && q->equalizes) {
        status = equalize_pairs(q, graph);
    }
    if (status == PARE_OK) {
        status = plan_init(host, graph, &q->plan);
    }
    if (status < 0) {
        return status;
    }
    q->ranges = host->alloc(host, (size_t)q->plan.n * sizeof *q->ranges);
    if (!q->ranges) {
        return host->fail(host, PARE_E_NOMEM, "no memory for ranges of %d values", q->plan.n);
    }
    memset(q->ranges, 0, (size_t)q->plan.n * sizeof *q->ranges);
    status = q->corrects_bias ? correction_init(host, graph, &q->correction) : PARE_OK;
    q->is_ready = status == PARE_OK;
    return status;
}

static pare_status calibrate_begin(void *instance, const pare_graph *graph) {
    struct ptq *q = instance;
    clear_ranges(q);
    q->n_calls = 0;
    q->pass = 0;
    return prepare(q, graph);
}

/* Values that an earlier step has quantized keep their grid. */
static int is_observed(const struct ptq *q, const pare_graph *graph, int32_t v) {
    return q->activation_bits != FLOAT_BITS && q->plan.root[v] == v &&
           graph->nodes[v]->activation.bits == 0;
}

static pare_status count_values(struct ptq *q, struct range *range, const float *value, int64_t n) {
    if (!range->bins) {
        range->bins = q->host->alloc(q->host, RANGE_N_BINS * sizeof *range->bins);
        if (!range->bins) {
            return q->host->fail(q->host, PARE_E_NOMEM, "no memory for a histogram");
        }
        memset(range->bins, 0, RANGE_N_BINS * sizeof *range->bins);
    }
    range_count(range, value, n);
    return PARE_OK;
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t node,
                           const float *value, int32_t n) {
    struct ptq *q = instance;
    if (!q->is_ready || node < 0 || node >= q->plan.n) {
        return q->host->fail(q->host, PARE_E_STATE, "observe of node %d, calibration began with %d",
                             node, q->plan.n);
    }
    q->n_calls += n > 0;
    if (q->corrects_bias && q->pass == 0 && n > 0) {
        correction_see(&q->correction, graph, node, value, n);
    }
    if (!is_observed(q, graph, node) || n <= 0) {
        return PARE_OK;
    }
    const pare_node *made = graph->nodes[node];
    int64_t n_elems = (int64_t)n * made->dims[0] * made->dims[1] * made->dims[2];
    int64_t where = 0;
    if (q->pass > 0) {
        return count_values(q, &q->ranges[node], value, n_elems);
    }
    if (range_see(&q->ranges[node], &q->rule, value, n_elems, &where) < 0) {
        return q->host->fail(q->host, PARE_E_NUMERIC,
                             "%s: calibration value %lld is %g, wanted a finite number", made->name,
                             (long long)where, (double)value[where]);
    }
    return PARE_OK;
}

static pare_status calibrate_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct ptq *q = instance;
    (void)graph;
    int wants_activations = q->activation_bits != FLOAT_BITS;
    if ((wants_activations || q->corrects_bias) && q->n_calls == 0) {
        return q->host->fail(q->host, PARE_E_STATE,
                             "calibration saw no values: it needs at least one image");
    }
    int needs_histogram =
        q->rule.observer == OBSERVER_PERCENTILE || q->rule.observer == OBSERVER_MSE;
    *again = wants_activations && needs_histogram && q->pass == 0;
    q->pass++;
    q->n_calls = 0;
    return PARE_OK;
}

static const pare_method_calibrate calibrate = {
    .struct_size = sizeof calibrate,
    .begin = calibrate_begin,
    .observe = observe,
    .end = calibrate_end,
};

/* ---- activations ---- */

static int layer_bits(const struct ptq *q, const pare_node *layer, int otherwise) {
    const char *text = pattern_map_find(&q->layer_bits, layer->name);
    return text ? parse_bits(text) : otherwise;
}

/* The widest that a layer asks for which reads the value or a copy of its codes. */
static int value_bits(const struct ptq *q, const pare_graph *graph, int32_t v) {
    int widest = 0;
    for (int32_t k = v + 1; k < graph->n_nodes && q->layer_bits.n > 0; k++) {
        const pare_node *layer = graph->nodes[k];
        if (q->host->selected(q->host, graph, k) && q->plan.root[layer->inputs[0]] == v) {
            const int bits = layer_bits(q, layer, q->activation_bits);
            widest = bits > widest ? bits : widest;
        }
    }
    return widest > 0 ? widest : q->activation_bits;
}

static struct range_rule rule_of(const struct ptq *q, const pare_graph *graph, int32_t v) {
    struct range_rule rule = q->rule;
    rule.bits = value_bits(q, graph, v);
    if (rule.percentile == 0.0) {
        rule.percentile = rule.bits <= 4 ? 99.9 : 99.99;
    }
    return rule;
}

static pare_status set_grid(struct ptq *q, const pare_graph *graph, int32_t v) {
    double lo = 0.0;
    double hi = 0.0;
    if (q->ranges[v].n_batches == 0) {
        return q->host->fail(q->host, PARE_E_STATE,
                             "%s: no calibration values: set calibration_samples above 0, or "
                             "activation_bits = 32 for weights only",
                             graph->nodes[v]->name);
    }
    const struct range_rule rule = rule_of(q, graph, v);
    range_final(&q->ranges[v], &rule, &lo, &hi);
    struct grid grid =
        rule.is_symmetric ? grid_symmetric(lo, hi, rule.bits) : grid_affine(lo, hi, rule.bits);
    pare_quant quant = {rule.bits, grid.qmin, grid.qmax, -1, 1, &grid.scale, &grid.zero_point};
    return q->host->set_activation_quant(q->host, graph, v, &quant);
}

/* In node order, so that a root has its grid before those that share it. */
static pare_status quantize_activations(struct ptq *q, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t v = 0; v < q->plan.n && status == PARE_OK; v++) {
        int32_t root = q->plan.root[v];
        if (root == PLAN_FLOAT || graph->nodes[v]->activation.bits != 0) {
            continue;
        }
        if (graph->nodes[root]->activation.bits == 1) {
            continue; /* signs: what copies them inherits them */
        }
        if (root == v) {
            status = set_grid(q, graph, v);
        } else {
            status =
                q->host->set_activation_quant(q->host, graph, v, &graph->nodes[root]->activation);
        }
    }
    return status;
}

/* ---- weights ---- */

static pare_status quantize_weight(const struct ptq *q, const pare_graph *graph,
                                   const pare_weight *w) {
    struct weight_rule rule = q->weight_rule;
    rule.bits = layer_bits(q, graph->nodes[w->node], q->weight_bits);
    return weight_quantize(q->host, graph, w, &rule);
}

/* The weight as it was is needed once more after it has been rounded. */
static pare_status quantize_corrected(struct ptq *q, const pare_graph *graph,
                                      const pare_weight *w) {
    const pare_host *host = q->host;
    const size_t bytes = (size_t)w->n_elems * sizeof(float);
    float *before = host->alloc(host, bytes);
    if (!before) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for a copy", w->name);
    }
    memcpy(before, w->data, bytes);
    pare_status status = quantize_weight(q, graph, w);
    if (status == PARE_OK) {
        status = correction_apply(&q->correction, graph, w, before);
    }
    host->free(host, before);
    return status;
}

static pare_status quantize_weights(struct ptq *q, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < graph->n_weights && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[k];
        if (w->role == PARE_ROLE_WEIGHT && q->host->selected(q->host, graph, w->node)) {
            status =
                q->corrects_bias ? quantize_corrected(q, graph, w) : quantize_weight(q, graph, w);
        }
    }
    return status;
}

/* Without calibration (weights only) batch norm is folded here. */
static pare_status apply(void *instance, const pare_graph *graph) {
    struct ptq *q = instance;
    pare_status status = q->is_ready ? PARE_OK : prepare(q, graph);
    if (status == PARE_OK && q->activation_bits != FLOAT_BITS) {
        status = quantize_activations(q, graph);
    }
    if (status == PARE_OK && q->weight_bits != FLOAT_BITS) {
        status = quantize_weights(q, graph);
    }
    return status;
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_CALIBRATE) == 0 ? &calibrate : NULL;
}

/* What earlier steps did to other layers and values stays: see plan_check_fresh. Folding
 * preserves whatever else was done to the topology. */
static const pare_method ptq = {
    .struct_size = sizeof ptq,
    .id = "ptq",
    .version = "1.0.0",
    .doc = "post-training quantization of weights and activations to 2..16 bits",
    .reference = "Jacob et al. 2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv 1806.08342",
    .params = params,
    .n_params = N_PARAMS,
    .reads = PARE_WEIGHTS | PARE_MASK | PARE_ACTIVATIONS,
    .writes = PARE_WEIGHTS | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY,
    .preserves = PARE_MASK | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&ptq};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "ptq",  .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
