/* SPDX-License-Identifier: MIT */
/* After training: codes, folding, grids of values. */
#include "lowbit.h"

#include <math.h>
#include <pare/ext/topology.h>

/* What calibration has shown of one value. */
struct lowbit_seen {
    double min, max, abs_sum;
    int64_t n;
};

/* ---- weights, then folding ---- */

static pare_status set_weights(struct lowbit *lb, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < lb->n_weights && status == PARE_OK; k++) {
        struct lowbit_weight *slot = &lb->weights[k];
        const pare_weight *w = graph->weights[slot->weight];
        status = lowbit_encode(lb, slot, w, w->data);
        if (status == PARE_OK) {
            const pare_quant quant = {slot->stored_bits,
                                      -slot->qmax,
                                      slot->qmax,
                                      slot->n_scales > 1 || w->dims[0] == 1 ? 0 : -1,
                                      slot->n_scales,
                                      slot->scales,
                                      NULL};
            status = lb->host->set_weight_quant(lb->host, graph, slot->weight, &quant, slot->codes);
        }
    }
    return status;
}

/* Layers keep their order when batch norm is folded and nodes are put in. */
static void renumber(struct lowbit *lb, const pare_graph *graph) {
    int32_t k = 0;
    for (int32_t v = 0; v < graph->n_nodes && k < lb->n_layers; v++) {
        if (lb->host->selected(lb->host, graph, v)) {
            lb->layers[k++].node = v;
        }
    }
}

/* ---- which value has whose grid ---- */

static int reads(const pare_node *reader, int32_t v) {
    int found = 0;
    for (int32_t i = 0; i < reader->n_inputs; i++) {
        found |= reader->inputs[i] == v;
    }
    return found;
}

static int is_layer_of(const struct lowbit *lb, int32_t node, int32_t value) {
    int found = 0;
    for (int32_t k = 0; k < lb->n_layers; k++) {
        found |= lb->layers[k].node == node && lb->layers[k].value == value;
    }
    return found;
}

/* Does anything but the layers of this slot compute with value v or a copy of it? */
static int has_other_readers(const struct lowbit *lb, const pare_graph *graph, int32_t v,
                             int32_t value) {
    for (int32_t r = v + 1; r < graph->n_nodes; r++) {
        if (!reads(graph->nodes[r], v)) {
            continue;
        }
        const int is_copy = plan_source(graph, r) != r;
        if (is_copy ? has_other_readers(lb, graph, r, value) : !is_layer_of(lb, r, value)) {
            return 1;
        }
    }
    return 0;
}

/* Puts quantize nodes before the layers that read with fewer bits than others do. */
static pare_status part_readers(struct lowbit *lb, const pare_graph *graph) {
    const pare_host_topology *topology = lb->host->get_extension(lb->host, PARE_HOST_TOPOLOGY);
    for (int32_t k = 0; k < lb->n_layers; k++) {
        struct lowbit_layer *layer = &lb->layers[k];
        layer->has_quantize = 0;
        if (layer->value < 0 || lb->values[layer->value].bits >= lb->residual_bits) {
            continue;
        }
        const int32_t root = plan_source(graph, graph->nodes[layer->node]->inputs[0]);
        const int is_sign =
            lb->values[layer->value].bits == 1; /* only such a node can have 1 bit */
        if (!is_sign && !has_other_readers(lb, graph, root, layer->value)) {
            continue;
        }
        if (!topology) {
            lb->host->log(lb->host, PARE_LOG_WARN,
                          "%s: this host puts no nodes into a graph, so all readers share the "
                          "layer's grid",
                          graph->nodes[root]->name);
            continue;
        }
        int32_t quantize;
        pare_status status = topology->insert_quantize(lb->host, graph, layer->node, 0, &quantize);
        if (status < 0) {
            return status;
        }
        layer->has_quantize = 1;
        renumber(lb, graph);
    }
    return PARE_OK;
}

/* Fills plan, seen and wanted for the graph as it is now. */
static pare_status plan_values(struct lowbit *lb, const pare_graph *graph) {
    const pare_host *host = lb->host;
    plan_clear(&lb->plan);
    pare_status status = plan_init(host, graph, &lb->plan);
    if (status < 0) {
        return status;
    }
    const size_t n = (size_t)lb->plan.n;
    host->free(host, lb->seen);
    host->free(host, lb->wanted);
    lb->seen = host->alloc(host, n * sizeof *lb->seen);
    lb->wanted = host->alloc(host, n * sizeof *lb->wanted);
    if (!lb->seen || !lb->wanted) {
        return host->fail(host, PARE_E_NOMEM, "no memory for %d values", lb->plan.n);
    }
    for (size_t v = 0; v < n; v++) {
        lb->seen[v] = (struct lowbit_seen){.min = INFINITY, .max = -INFINITY};
        lb->wanted[v] = -1;
    }
    for (int32_t k = 0; k < lb->n_layers; k++) {
        const int32_t in = graph->nodes[lb->layers[k].node]->inputs[0];
        if (lb->layers[k].has_quantize) {
            lb->plan.root[in] = in;
        }
        if (lb->plan.root[in] != PLAN_FLOAT && lb->layers[k].value >= 0) {
            lb->wanted[lb->plan.root[in]] = lb->layers[k].value;
        }
    }
    return PARE_OK;
}

/* ---- grids ---- */

static pare_status set_grid(struct lowbit *lb, const pare_graph *graph, int32_t v, int bits,
                            const struct grid *grid) {
    const pare_quant quant = {bits, grid->qmin, grid->qmax, -1, 1, &grid->scale, &grid->zero_point};
    return lb->host->set_activation_quant(lb->host, graph, v, &quant);
}

/* Grids that training has settled; *left counts those that it has not. */
static pare_status set_learned(struct lowbit *lb, const pare_graph *graph, int32_t *left) {
    pare_status status = PARE_OK;
    *left = 0;
    for (int32_t v = 0; v < lb->plan.n && status == PARE_OK; v++) {
        if (lb->wanted[v] < 0 || graph->nodes[v]->activation.bits != 0) {
            continue;
        }
        const struct lowbit_value *slot = &lb->values[lb->wanted[v]];
        if (slot->is_ready) {
            const struct grid grid = slot->ops->grid(lb, slot);
            status = set_grid(lb, graph, v, slot->bits, &grid);
        } else {
            ++*left;
        }
    }
    return status;
}

/* The rest: from the range that was seen, and for copies the grid of what they copy. */
static pare_status set_rest(struct lowbit *lb, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t v = 0; v < lb->plan.n && status == PARE_OK; v++) {
        const int32_t root = lb->plan.root[v];
        if (root == PLAN_FLOAT || graph->nodes[v]->activation.bits != 0) {
            continue;
        }
        if (root != v) {
            status =
                lb->host->set_activation_quant(lb->host, graph, v, &graph->nodes[root]->activation);
            continue;
        }
        const int bits = lb->wanted[v] >= 0 ? lb->values[lb->wanted[v]].bits : lb->residual_bits;
        if (lb->seen[v].n == 0) {
            return lb->host->fail(lb->host, PARE_E_STATE,
                                  "%s: calibration saw no values: it needs at least one image",
                                  graph->nodes[v]->name);
        }
        const struct grid sign = {1.0f, 0, -1, 1}; /* of a value that was 0 throughout */
        const struct grid grid =
            bits == 1 ? sign : grid_affine(lb->seen[v].min, lb->seen[v].max, bits);
        status = set_grid(lb, graph, v, bits, &grid);
    }
    return status;
}

/* ---- the extension ---- */

static pare_status deploy_begin(void *instance, const pare_graph *graph) {
    struct lowbit *lb = instance;
    int32_t left;
    pare_status status = set_weights(lb, graph);
    if (status == PARE_OK) {
        status = lb->host->fold_batch_norm(lb->host, graph);
    }
    if (status < 0 || lb->activation_bits == LOWBIT_FLOAT) {
        return status;
    }
    renumber(lb, graph);
    status = part_readers(lb, graph);
    if (status == PARE_OK) {
        status = plan_values(lb, graph);
    }
    return status == PARE_OK ? set_learned(lb, graph, &left) : status;
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t node,
                           const float *value, int32_t n) {
    struct lowbit *lb = instance;
    const pare_node *made = graph->nodes[node];
    if (node >= lb->plan.n || lb->plan.root[node] != node || made->activation.bits != 0 || n <= 0) {
        return PARE_OK;
    }
    const int64_t n_elems = (int64_t)n * made->dims[0] * made->dims[1] * made->dims[2];
    const struct fake_stats stats = fake_look(lb->host, value, n_elems);
    if (!isfinite(stats.abs_sum)) {
        return lb->host->fail(lb->host, PARE_E_NUMERIC,
                              "%s: a value is not finite while calibrating", made->name);
    }
    struct lowbit_seen *seen = &lb->seen[node];
    seen->min = fmin(seen->min, (double)stats.min);
    seen->max = fmax(seen->max, (double)stats.max);
    seen->abs_sum += stats.abs_sum;
    seen->n += n_elems;
    return PARE_OK;
}

/* Values without a grid although layers read them: no training has shown them. */
static pare_status start_from_seen(struct lowbit *lb, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t v = 0; v < lb->plan.n && status == PARE_OK; v++) {
        struct lowbit_value *slot = lb->wanted[v] >= 0 ? &lb->values[lb->wanted[v]] : NULL;
        const struct lowbit_seen *seen = &lb->seen[v];
        if (slot && !slot->is_ready && seen->n > 0) {
            const struct fake_stats stats = {(float)seen->min, (float)seen->max, seen->abs_sum};
            status = lowbit_start_value(lb, slot, &stats, seen->n, graph->nodes[v]->name);
        }
    }
    return status;
}

/* A second pass shows the other values as they are with those grids. */
static pare_status deploy_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct lowbit *lb = instance;
    int32_t before = 0, after = 0;
    *again = 0;
    if (lb->activation_bits == LOWBIT_FLOAT) {
        return PARE_OK;
    }
    pare_status status = set_learned(lb, graph, &before);
    if (status == PARE_OK && before > 0) {
        status = start_from_seen(lb, graph);
    }
    if (status == PARE_OK && before > 0) {
        status = set_learned(lb, graph, &after);
    }
    if (status < 0) {
        return status;
    }
    if (after < before) {
        for (int32_t v = 0; v < lb->plan.n; v++) {
            lb->seen[v] = (struct lowbit_seen){.min = INFINITY, .max = -INFINITY};
        }
        *again = 1;
        return PARE_OK;
    }
    return set_rest(lb, graph);
}

const pare_method_calibrate lowbit_deploy = {
    .struct_size = sizeof lowbit_deploy,
    .begin = deploy_begin,
    .observe = observe,
    .end = deploy_end,
};
