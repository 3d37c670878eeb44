/* SPDX-License-Identifier: MIT */
#include "post.h"
#include "grid.h"

#include <pare/ext/topology.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BITS 16

/* ---- parameters ---- */

static pare_status check_bits(const pare_host *host, const char *name, int64_t bits, int most) {
    if (bits == 0 || bits == POST_FLOAT || (bits >= 2 && bits <= most)) {
        return PARE_OK;
    }
    return host->fail(host, PARE_E_RANGE, "%s: got %lld, wanted 2..%d, 0 (as bits) or 32 (float)",
                      name, (long long)bits, most);
}

/* Of a text that check_layer_bits has accepted. */
static int parse_bits(const char *text) {
    return (int)strtol(text, NULL, 10);
}

static pare_status check_layer_bits(const pare_host *host, const struct pattern_map *map,
                                    int most) {
    for (int32_t k = 0; k < map->n; k++) {
        const char *text = pattern_map_value(map, k);
        const int is_number =
            text && text[0] && strlen(text) <= 2 && strspn(text, "0123456789") == strlen(text);
        if (!is_number || parse_bits(text) < 2 || parse_bits(text) > most) {
            return host->fail(host, PARE_E_ARG,
                              "layer_bits: got \"%.60s\", wanted \"pattern=bits\" with bits in "
                              "2..%d (\"conv1=8\"); exclude what is to stay float",
                              map->entries[k], most);
        }
    }
    return PARE_OK;
}

static pare_status check_widths(const pare_host *host, const pare_param_value *const *v, int most) {
    pare_status status = check_bits(host, "weight_bits", v[POST_P_WEIGHT_BITS]->i, most);
    if (status == PARE_OK) {
        status = check_bits(host, "activation_bits", v[POST_P_ACTIVATION_BITS]->i, MAX_BITS);
    }
    if (status == PARE_OK && v[POST_P_WEIGHT_BITS]->i == 0 && v[POST_P_BITS]->i > most) {
        return host->fail(host, PARE_E_RANGE, "bits: got %lld, wanted 2..%d for weights",
                          (long long)v[POST_P_BITS]->i, most);
    }
    if (status == PARE_OK && v[POST_P_RESIDUAL_BITS]->i == 1) {
        return host->fail(host, PARE_E_RANGE,
                          "residual_bits: got 1, wanted 2..16 or 0 (as activation_bits)");
    }
    return status;
}

static pare_status check_values(const pare_host *host, const pare_param_value *const *v, int most) {
    const pare_status status = check_widths(host, v, most);
    if (status < 0) {
        return status;
    }
    if (v[POST_P_PERCENTILE]->f != 0.0 && v[POST_P_PERCENTILE]->f <= 50.0) {
        return host->fail(host, PARE_E_RANGE, "percentile: got %g, wanted more than 50, or 0",
                          v[POST_P_PERCENTILE]->f);
    }
    if (v[POST_P_MOMENTUM]->f >= 1.0) {
        return host->fail(host, PARE_E_RANGE, "momentum: got %g, wanted 0 <= momentum < 1",
                          v[POST_P_MOMENTUM]->f);
    }
    return PARE_OK;
}

pare_status post_init(const pare_host *host, const pare_param_value *const *values,
                      int most_weight_bits, struct post *post) {
    const pare_param_value *const *v = values;
    const struct pattern_map map = {v[POST_P_LAYER_BITS]->n, v[POST_P_LAYER_BITS]->strings};
    pare_status status = check_values(host, v, most_weight_bits);
    if (status == PARE_OK) {
        status = check_layer_bits(host, &map, most_weight_bits);
    }
    if (status < 0) {
        return status;
    }
    const int64_t bits = v[POST_P_BITS]->i;
    *post = (struct post){.host = host, .layer_bits = map};
    post->weight_bits = (int)(v[POST_P_WEIGHT_BITS]->i ? v[POST_P_WEIGHT_BITS]->i : bits);
    post->activation_bits =
        (int)(v[POST_P_ACTIVATION_BITS]->i ? v[POST_P_ACTIVATION_BITS]->i : bits);
    post->residual_bits = (int)v[POST_P_RESIDUAL_BITS]->i;
    const int observer = range_parse_observer(v[POST_P_OBSERVER]->s);
    post->rule.observer = observer < 0 ? OBSERVER_MINMAX : (enum observer)observer; /* "auto" */
    post->rule.momentum = v[POST_P_MOMENTUM]->f;
    post->rule.percentile = v[POST_P_PERCENTILE]->f;
    post->rule.is_symmetric = strcmp(v[POST_P_SCHEME]->s, "symmetric") == 0;
    post->weight_rule.is_per_channel = strcmp(v[POST_P_GRANULARITY]->s, "tensor") != 0;
    post->weight_rule.is_mse = strcmp(v[POST_P_WEIGHT_OBSERVER]->s, "mse") == 0;
    return PARE_OK;
}

void post_clear(struct post *post) {
    for (int32_t v = 0; post->ranges && v < post->plan.n; v++) {
        post->host->free(post->host, post->ranges[v].bins);
    }
    post->host->free(post->host, post->ranges);
    post->ranges = NULL;
    plan_clear(&post->plan);
    post->is_ready = 0;
    post->n_calls = 0;
    post->pass = 0;
}

/* ---- widths ---- */

static int layer_bits(const struct post *post, const pare_node *layer, int otherwise) {
    const char *text = pattern_map_find(&post->layer_bits, layer->name);
    return text ? parse_bits(text) : otherwise;
}

struct weight_rule post_weight_rule(const struct post *post, const pare_node *layer) {
    struct weight_rule rule = post->weight_rule;
    rule.bits = layer_bits(post, layer, post->weight_bits);
    return rule;
}

/* The widest that a layer asks for which reads the value or a copy of its codes. */
static int value_bits(const struct post *post, const pare_graph *graph, int32_t v) {
    int widest = 0;
    for (int32_t k = v + 1; k < graph->n_nodes; k++) {
        const pare_node *layer = graph->nodes[k];
        if (post->host->selected(post->host, graph, k) && post->plan.root[layer->inputs[0]] == v) {
            const int bits = layer_bits(post, layer, post->activation_bits);
            widest = bits > widest ? bits : widest;
        }
    }
    const int otherwise = post->residual_bits ? post->residual_bits : post->activation_bits;
    return widest > 0 ? widest : otherwise;
}

static struct range_rule rule_of(const struct post *post, const pare_graph *graph, int32_t v) {
    struct range_rule rule = post->rule;
    rule.bits = value_bits(post, graph, v);
    if (v == 0 && rule.observer == OBSERVER_ENTROPY) {
        rule.observer =
            OBSERVER_MINMAX; /* a background of one colour is a spike in the histogram */
    }
    if (rule.percentile == 0.0) {
        rule.percentile = rule.bits <= 4 ? 99.9 : 99.99;
    }
    return rule;
}

/* ---- the graph to be observed ---- */

pare_status post_fold(const struct post *post, const pare_graph *graph) {
    pare_status status = plan_check_fresh(post->host, graph);
    if (status == PARE_OK) {
        status = pattern_map_check_graph(post->host, "layer_bits", &post->layer_bits, graph);
    }
    return status == PARE_OK ? post->host->fold_batch_norm(post->host, graph) : status;
}

/* Does the layer read a value that is to have more bits for its other readers? */
static int is_narrower(const struct post *post, const pare_graph *graph, int32_t layer) {
    const pare_node *node = graph->nodes[layer];
    if (!post->host->selected(post->host, graph, layer) ||
        layer_bits(post, node, post->activation_bits) >= post->residual_bits) {
        return 0;
    }
    const int32_t root = plan_source(graph, node->inputs[0]);
    return graph->nodes[root]->op != PARE_OP_QUANTIZE && graph->nodes[root]->activation.bits == 0 &&
           plan_is_shared(post->host, graph, root);
}

static pare_status part_readers(const struct post *post, const pare_graph *graph) {
    const pare_host_topology *topology = post->host->get_extension(post->host, PARE_HOST_TOPOLOGY);
    if (!topology) {
        return post->host->fail(
            post->host, PARE_E_UNSUPPORTED,
            "residual_bits: this host puts no nodes into a graph, leave it out");
    }
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < graph->n_nodes && status == PARE_OK; k++) {
        if (is_narrower(post, graph, k)) {
            int32_t quantize;
            status = topology->insert_quantize(post->host, graph, k, 0, &quantize);
            k++; /* the layer has moved */
        }
    }
    return status;
}

/* Quantize nodes without a grid get one of their own: they are there for it. */
static void own_grids(struct plan *plan, const pare_graph *graph) {
    for (int32_t v = 0; v < plan->n; v++) {
        const pare_node *node = graph->nodes[v];
        if (plan->root[v] != PLAN_FLOAT && plan_copies_codes(node->op)) {
            const int is_own = node->op == PARE_OP_QUANTIZE;
            plan->root[v] = is_own ? v : plan->root[node->inputs[0]];
        }
    }
}

pare_status post_plan(struct post *post, const pare_graph *graph) {
    const pare_host *host = post->host;
    const int parts = post->residual_bits > 0 && post_wants_values(post);
    pare_status status = parts ? part_readers(post, graph) : PARE_OK;
    if (status == PARE_OK) {
        status = plan_init(host, graph, &post->plan);
    }
    if (status < 0) {
        return status;
    }
    if (parts) {
        own_grids(&post->plan, graph);
    }
    const size_t bytes = (size_t)post->plan.n * sizeof *post->ranges;
    post->ranges = host->alloc(host, bytes);
    if (!post->ranges) {
        return host->fail(host, PARE_E_NOMEM, "no memory for ranges of %d values", post->plan.n);
    }
    memset(post->ranges, 0, bytes);
    post->is_ready = 1;
    return PARE_OK;
}

/* ---- what calibration shows ---- */

/* Values that an earlier step has quantized keep their grid. */
static int is_observed(const struct post *post, const pare_graph *graph, int32_t v) {
    return post_wants_values(post) && post->plan.root[v] == v &&
           graph->nodes[v]->activation.bits == 0;
}

static pare_status count_values(const struct post *post, struct range *range, const float *value,
                                int64_t n) {
    if (!range->bins) {
        const size_t bytes = RANGE_N_BINS * sizeof *range->bins;
        range->bins = post->host->alloc(post->host, bytes);
        if (!range->bins) {
            return post->host->fail(post->host, PARE_E_NOMEM, "no memory for a histogram");
        }
        memset(range->bins, 0, bytes);
    }
    range_count(range, &post->rule, value, n);
    return PARE_OK;
}

pare_status post_observe(struct post *post, const pare_graph *graph, int32_t node,
                         const float *value, int32_t n) {
    if (!post->is_ready || node < 0 || node >= post->plan.n) {
        return post->host->fail(post->host, PARE_E_STATE,
                                "observe of node %d, calibration began with %d", node,
                                post->plan.n);
    }
    post->n_calls += n > 0;
    if (!is_observed(post, graph, node) || n <= 0) {
        return PARE_OK;
    }
    const pare_node *made = graph->nodes[node];
    const int64_t n_elems = (int64_t)n * made->dims[0] * made->dims[1] * made->dims[2];
    int64_t where = 0;
    if (post->pass > 0) {
        return count_values(post, &post->ranges[node], value, n_elems);
    }
    if (range_see(&post->ranges[node], &post->rule, value, n_elems, &where) < 0) {
        return post->host->fail(post->host, PARE_E_NUMERIC,
                                "%s: calibration value %lld is %g, wanted a finite number",
                                made->name, (long long)where, (double)value[where]);
    }
    return PARE_OK;
}

pare_status post_end(struct post *post, int is_needed, int32_t *again) {
    if ((post_wants_values(post) || is_needed) && post->n_calls == 0) {
        return post->host->fail(post->host, PARE_E_STATE,
                                "calibration saw no values: it needs at least one image");
    }
    *again = post_wants_values(post) && range_needs_bins(&post->rule) && post->pass == 0;
    post->pass++;
    post->n_calls = 0;
    return PARE_OK;
}

/* ---- grids ---- */

static pare_status set_grid(struct post *post, const pare_graph *graph, int32_t v) {
    double lo = 0.0;
    double hi = 0.0;
    if (post->ranges[v].n_batches == 0) {
        return post->host->fail(post->host, PARE_E_STATE,
                                "%s: no calibration values: set calibration_samples above 0, or "
                                "activation_bits = 32 for weights only",
                                graph->nodes[v]->name);
    }
    const struct range_rule rule = rule_of(post, graph, v);
    range_final(&post->ranges[v], &rule, &lo, &hi);
    const struct grid grid =
        rule.is_symmetric ? grid_symmetric(lo, hi, rule.bits) : grid_affine(lo, hi, rule.bits);
    const pare_quant quant = {rule.bits, grid.qmin,   grid.qmax,       -1,
                              1,         &grid.scale, &grid.zero_point};
    return post->host->set_activation_quant(post->host, graph, v, &quant);
}

/* In node order, so that a root has its grid before those that share it. */
pare_status post_set_values(struct post *post, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t v = 0; post_wants_values(post) && v < post->plan.n && status == PARE_OK; v++) {
        const int32_t root = post->plan.root[v];
        if (root == PLAN_FLOAT || graph->nodes[v]->activation.bits != 0) {
            continue;
        }
        if (graph->nodes[root]->activation.bits == 1) {
            continue; /* signs: what copies them inherits them */
        }
        if (root == v) {
            status = set_grid(post, graph, v);
        } else {
            status = post->host->set_activation_quant(post->host, graph, v,
                                                      &graph->nodes[root]->activation);
        }
    }
    return status;
}
