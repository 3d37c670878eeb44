/* SPDX-License-Identifier: MIT */
/* Parameters, and what is to be quantized. */
#include "lowbit.h"
#include "lowbit_minmax.h"

#include <math.h>
#include <pare/ext/topology.h>
#include <string.h>

/* ---- parameters ---- */

static pare_status check_width(const pare_host *host, const pare_param_value *value) {
    if (value->i == LOWBIT_FLOAT || value->i <= 8) { /* from below the table checks */
        return PARE_OK;
    }
    return host->fail(host, PARE_E_RANGE, "%s: got %lld, wanted 2..8 or 32 (float)", value->name,
                      (long long)value->i);
}

static pare_status check_stages(const pare_host *host, const pare_param_value *value) {
    for (int32_t k = 0; k < value->n; k++) {
        const double bits = value->numbers[k];
        if (bits != floor(bits) || (k > 0 && bits >= value->numbers[k - 1])) {
            return host->fail(host, PARE_E_RANGE,
                              "progressive: element %d is %g, wanted whole numbers, each less than "
                              "the one before",
                              k + 1, bits);
        }
    }
    return PARE_OK;
}

pare_status lowbit_create(struct lowbit *lb, const pare_host *host,
                          const pare_param_value *const *v) {
    pare_status status = lb->weight_bits ? PARE_OK : check_width(host, v[LOWBIT_P_WEIGHT_BITS]);
    for (int k = LOWBIT_P_ACTIVATION_BITS; k <= LOWBIT_P_FIRST_LAST_BITS && status == PARE_OK;
         k++) {
        status = check_width(host, v[k]);
    }
    if (status == PARE_OK && v[LOWBIT_P_FIRST_LAST_BITS]->i == 1) {
        status = host->fail(host, PARE_E_RANGE,
                            "first_last_bits: got 1, wanted 2..8, 0 (as the "
                            "others) or 32 (float)");
    }
    if (status == PARE_OK) {
        status = check_stages(host, v[LOWBIT_P_PROGRESSIVE]);
    }
    if (status < 0) {
        return status;
    }
    lb->host = host;
    lb->kept = 0.99;
    lb->weight_bits = lb->weight_bits ? lb->weight_bits : (int)v[LOWBIT_P_WEIGHT_BITS]->i;
    lb->activation_bits = (int)v[LOWBIT_P_ACTIVATION_BITS]->i;
    const int edge = (int)v[LOWBIT_P_FIRST_LAST_BITS]->i;
    lb->edge_weight_bits = edge == 0 || lb->weight_bits == LOWBIT_FLOAT ? lb->weight_bits : edge;
    lb->edge_value_bits =
        edge == 0 || lb->activation_bits == LOWBIT_FLOAT ? lb->activation_bits : edge;
    lb->residual_bits = (int)v[LOWBIT_P_RESIDUAL_BITS]->i;
    lb->n_stages = v[LOWBIT_P_PROGRESSIVE]->n;
    lb->stages = v[LOWBIT_P_PROGRESSIVE]->numbers;
    if (edge == 0) {
        lb->edge_weight_ops = lb->weight_ops;
        lb->edge_value_ops = lb->value_ops;
    }
    if (lb->weight_bits == LOWBIT_FLOAT && lb->activation_bits == LOWBIT_FLOAT) {
        return host->fail(
            host, PARE_E_ARG,
            "weight_bits and activation_bits are both 32: nothing would be quantized");
    }
    return PARE_OK;
}

static void clear_slots(struct lowbit *lb) {
    const pare_host *host = lb->host;
    for (int32_t k = 0; lb->weights && k < lb->n_weights; k++) {
        host->free(host, lb->weights[k].learned);
        host->free(host, lb->weights[k].scales);
        host->free(host, lb->weights[k].codes);
    }
    host->free(host, lb->layers);
    host->free(host, lb->weights);
    host->free(host, lb->values);
    lb->layers = NULL;
    lb->weights = NULL;
    lb->values = NULL;
    lb->n_layers = lb->n_weights = lb->n_values = 0;
}

void lowbit_destroy(void *instance) {
    struct lowbit *lb = instance;
    if (lb) {
        const pare_host *host = lb->host;
        clear_slots(lb);
        plan_clear(&lb->plan);
        host->free(host, lb->seen);
        host->free(host, lb->wanted);
        host->free(host, lb);
    }
}

/* ---- what is to be quantized ---- */

static int is_never_negative(const pare_graph *graph, int32_t v) {
    const pare_node *node = graph->nodes[v];
    switch (node->op) {
    case PARE_OP_RELU:
    case PARE_OP_SOFTMAX:
        return 1;
    case PARE_OP_MAX_POOL:
    case PARE_OP_AVG_POOL:
    case PARE_OP_GLOBAL_AVG_POOL:
    case PARE_OP_FLATTEN:
    case PARE_OP_SHORTCUT_A:
    case PARE_OP_QUANTIZE:
        return is_never_negative(graph, node->inputs[0]);
    case PARE_OP_ADD:
        return is_never_negative(graph, node->inputs[0]) &&
               is_never_negative(graph, node->inputs[1]);
    default:
        return 0;
    }
}

static int is_edge(const pare_graph *graph, int32_t node) {
    return plan_source(graph, graph->nodes[node]->inputs[0]) == 0 || plan_is_output(graph, node);
}

static pare_status check_zeros(struct lowbit *lb, const struct lowbit_weight *slot,
                               const pare_weight *w) {
    for (int64_t i = 0; w->mask && slot->ops->has_no_zero && i < w->n_elems; i++) {
        if (!w->mask[i]) {
            return lb->host->fail(
                lb->host, PARE_E_UNSUPPORTED,
                "%s[%lld] is pruned, and weights of two values have no code for 0: "
                "exclude its layer, or use ternary",
                w->name, (long long)i);
        }
    }
    return PARE_OK;
}

static pare_status add_weight(struct lowbit *lb, const pare_graph *graph,
                              struct lowbit_layer *layer) {
    const int edge = is_edge(graph, layer->node);
    const int bits = edge ? lb->edge_weight_bits : lb->weight_bits;
    layer->slot = -1;
    if (bits == LOWBIT_FLOAT) {
        return PARE_OK;
    }
    const pare_weight *w = graph->nodes[layer->node]->weights[PARE_ROLE_WEIGHT];
    const pare_host *host = lb->host;
    const int64_t n_scales = lb->is_per_channel ? w->dims[0] : 1;
    struct lowbit_weight slot = {
        .ops = edge ? lb->edge_weight_ops : lb->weight_ops,
        .weight = w->index,
        .target_bits = bits,
        .bits = bits,
        .n_scales = (int32_t)n_scales,
        .n_elems = w->n_elems,
        .learned = host->alloc(host, 2 * (size_t)n_scales * sizeof *slot.learned),
        .scales = host->alloc(host, (size_t)n_scales * sizeof *slot.scales),
        .codes = host->alloc(host, (size_t)w->n_elems * sizeof *slot.codes),
    };
    layer->slot = lb->n_weights;
    lb->weights[lb->n_weights++] = slot; /* before the check, so that it is freed */
    if (!slot.learned || !slot.scales || !slot.codes) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for codes", w->name);
    }
    return check_zeros(lb, &slot, w);
}

/* Layers that read the same value share its grid; the widest of them decides. */
static void add_value(struct lowbit *lb, const pare_graph *graph, struct lowbit_layer *layer) {
    const int edge = is_edge(graph, layer->node);
    const int bits = edge ? lb->edge_value_bits : lb->activation_bits;
    const int32_t root = plan_source(graph, graph->nodes[layer->node]->inputs[0]);
    layer->value = -1;
    if (bits == LOWBIT_FLOAT) {
        return;
    }
    int32_t k = 0;
    while (k < lb->n_values && lb->values[k].root != root) {
        k++;
    }
    layer->value = k;
    const struct lowbit_value_ops *ops = edge ? lb->edge_value_ops : lb->value_ops;
    if (root == 0 && bits >= 8) {
        ops = &lowbit_value_average; /* the images' range is known: nothing to learn */
    }
    struct lowbit_value *slot = &lb->values[k];
    if (k == lb->n_values) {
        const int32_t *dims = graph->nodes[graph->nodes[layer->node]->inputs[0]]->dims;
        lb->n_values++;
        *slot = (struct lowbit_value){
            .ops = ops,
            .root = root,
            .owner = layer->node,
            .target_bits = bits,
            .bits = bits,
            .is_signed = !is_never_negative(graph, root),
            .n_features = (int64_t)dims[0] * dims[1] * dims[2],
        };
    } else if (bits > slot->bits) {
        slot->target_bits = slot->bits = bits;
        slot->ops = ops;
    }
}

static pare_status alloc_slots(struct lowbit *lb, const pare_graph *graph) {
    const pare_host *host = lb->host;
    int32_t n = 0;
    for (int32_t v = 0; v < graph->n_nodes; v++) {
        n += host->selected(host, graph, v) == 1;
    }
    if (n == 0) {
        return host->fail(host, PARE_E_NOT_FOUND, "%s has no conv2d or linear that is selected",
                          graph->name);
    }
    lb->layers = host->alloc(host, (size_t)n * sizeof *lb->layers);
    lb->weights = host->alloc(host, (size_t)n * sizeof *lb->weights);
    lb->values = host->alloc(host, (size_t)n * sizeof *lb->values);
    return lb->layers && lb->weights && lb->values
               ? PARE_OK
               : host->fail(host, PARE_E_NOMEM, "no memory for %d layers", n);
}

/* Of signs, the relu before them would leave only 1: it is taken out, for all that read it. A value
 * that is never negative otherwise has no signs to read. */
static pare_status remove_relus(struct lowbit *lb, const pare_graph *graph) {
    const pare_host *host = lb->host;
    const pare_host_topology *topology = host->get_extension(host, PARE_HOST_TOPOLOGY);
    if (lb->activation_bits == 1 && !topology) {
        return host->fail(host, PARE_E_UNSUPPORTED,
                          "activation_bits is 1, but this host does not let methods change nodes: "
                          "wanted 2..8 or 32 (float)");
    }
    for (int32_t v = 0; v < graph->n_nodes && lb->activation_bits == 1; v++) {
        if (!host->selected(host, graph, v) || (is_edge(graph, v) && lb->edge_value_bits != 1)) {
            continue;
        }
        const int32_t root = plan_source(graph, graph->nodes[v]->inputs[0]);
        pare_status status = PARE_OK;
        if (graph->nodes[root]->op == PARE_OP_RELU) {
            status = topology->remove_relu(host, graph, root);
            v--; /* one node less before the layer */
        } else if (is_never_negative(graph, root)) {
            status = host->fail(host, PARE_E_UNSUPPORTED,
                                "%s reads %s, which is never negative: its signs are all 1; keep "
                                "more bits there (first_last_bits, exclude)",
                                graph->nodes[v]->name, graph->nodes[root]->name);
        }
        if (status < 0) {
            return status;
        }
    }
    return PARE_OK;
}

pare_status lowbit_apply(void *instance, const pare_graph *graph) {
    struct lowbit *lb = instance;
    clear_slots(lb);
    pare_status status = plan_check_fresh(lb->host, graph);
    if (status == PARE_OK) {
        status = remove_relus(lb, graph);
    }
    if (status == PARE_OK) {
        status = alloc_slots(lb, graph);
    }
    for (int32_t v = 0; v < graph->n_nodes && status == PARE_OK; v++) {
        if (lb->host->selected(lb->host, graph, v)) {
            struct lowbit_layer *layer = &lb->layers[lb->n_layers++];
            layer->node = v;
            status = add_weight(lb, graph, layer);
            add_value(lb, graph, layer);
        }
    }
    return status;
}
