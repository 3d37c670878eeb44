/* SPDX-License-Identifier: MIT */
#include "plan.h"

int32_t plan_sole_reader(const pare_graph *graph, int32_t v) {
    if (graph->nodes[v]->n_consumers != 1) {
        return -1;
    }
    for (int32_t k = v + 1; k < graph->n_nodes; k++) {
        const pare_node *node = graph->nodes[k];
        for (int32_t i = 0; i < node->n_inputs; i++) {
            if (node->inputs[i] == v) {
                return k;
            }
        }
    }
    return -1;
}

/* Rule 2. */
static int32_t stored_value(const pare_graph *graph, int32_t v) {
    pare_op op = graph->nodes[v]->op;
    if (op != PARE_OP_CONV2D && op != PARE_OP_LINEAR && op != PARE_OP_ADD) {
        return v;
    }
    int32_t reader = plan_sole_reader(graph, v);
    return reader >= 0 && graph->nodes[reader]->op == PARE_OP_RELU ? reader : v;
}

int plan_copies_codes(pare_op op) {
    return op == PARE_OP_MAX_POOL || op == PARE_OP_FLATTEN || op == PARE_OP_SHORTCUT_A ||
           op == PARE_OP_QUANTIZE;
}

int32_t plan_source(const pare_graph *graph, int32_t v) {
    while (plan_copies_codes(graph->nodes[v]->op) &&
           !(graph->nodes[v]->op == PARE_OP_QUANTIZE && graph->nodes[v]->activation.bits != 0)) {
        v = graph->nodes[v]->inputs[0];
    }
    return v;
}

int plan_is_shared(const pare_host *host, const pare_graph *graph, int32_t v) {
    int is_shared = 0;
    for (int32_t r = v + 1; r < graph->n_nodes && !is_shared; r++) {
        const pare_node *reader = graph->nodes[r];
        for (int32_t i = 0; i < reader->n_inputs && !is_shared; i++) {
            if (reader->inputs[i] == v) {
                is_shared = plan_copies_codes(reader->op) ? plan_is_shared(host, graph, r)
                                                          : !host->selected(host, graph, r);
            }
        }
    }
    return is_shared;
}

/* Is v the graph's output, or only on its way there through nodes that leave values as they are? */
static int is_output(const pare_graph *graph, int32_t v) {
    while (v >= 0 && v != graph->n_nodes - 1) {
        int32_t reader = plan_sole_reader(graph, v);
        pare_op op = reader >= 0 ? graph->nodes[reader]->op : PARE_OP_INPUT;
        if (op != PARE_OP_SOFTMAX && op != PARE_OP_FLATTEN) {
            return 0;
        }
        v = reader;
    }
    return v >= 0;
}

int plan_is_output(const pare_graph *graph, int32_t node) {
    return is_output(graph, stored_value(graph, node));
}

pare_status plan_check_fresh(const pare_host *host, const pare_graph *graph) {
    for (int32_t k = 0; k < graph->n_weights; k++) {
        const pare_weight *w = graph->weights[k];
        if (w->role == PARE_ROLE_WEIGHT && w->quant.bits != 0 &&
            host->selected(host, graph, w->node)) {
            return host->fail(host, PARE_E_STATE,
                              "%s is quantized to %d bits already by an earlier step: exclude its "
                              "layer here, or leave out one of the steps",
                              w->name, w->quant.bits);
        }
    }
    return PARE_OK;
}

static int is_layer(pare_op op) {
    return op == PARE_OP_CONV2D || op == PARE_OP_LINEAR;
}

/* Rule 1. wanted[v] of 1 is kept in root[v] == v until the roots are known. */
static void want_layer(struct plan *plan, const pare_graph *graph, int32_t layer) {
    int32_t in = graph->nodes[layer]->inputs[0];
    int32_t out = stored_value(graph, layer);
    plan->root[in] = in;
    if (!is_output(graph, out)) {
        plan->root[out] = out;
    }
}

/* Who computes the value, a relu's producer being looked through. */
static const pare_node *producer(const pare_graph *graph, int32_t v) {
    const pare_node *node = graph->nodes[v];
    if (node->op == PARE_OP_RELU && stored_value(graph, node->inputs[0]) == v) {
        return graph->nodes[node->inputs[0]];
    }
    return node;
}

/* Rules 3 and 4: what a quantized value asks of the values it is made from. */
static void want_inputs(struct plan *plan, const pare_graph *graph, int32_t v) {
    const pare_node *maker = producer(graph, v);
    int copies = plan_copies_codes(maker->op);
    int requantizes = maker->op == PARE_OP_ADD || maker->op == PARE_OP_AVG_POOL ||
                      maker->op == PARE_OP_GLOBAL_AVG_POOL || maker->op == PARE_OP_RELU;
    for (int32_t i = 0; (copies || requantizes) && i < maker->n_inputs; i++) {
        int32_t in = maker->inputs[i];
        pare_op op = producer(graph, in)->op;
        if (copies || !(is_layer(op) || op == PARE_OP_BATCH_NORM)) {
            plan->root[in] = in;
        }
    }
}

pare_status plan_init(const pare_host *host, const pare_graph *graph, struct plan *plan) {
    int32_t n = graph->n_nodes;
    int32_t *root = host->alloc(host, (size_t)n * sizeof *root);
    if (!root) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a plan of %d nodes", n);
    }
    *plan = (struct plan){host, n, root};
    for (int32_t v = 0; v < n; v++) {
        root[v] = PLAN_FLOAT;
    }
    for (int32_t v = 0; v < n; v++) {
        if (host->selected(host, graph, v)) {
            want_layer(plan, graph, v);
        }
    }
    for (int32_t v = n - 1; v >= 0; v--) { /* readers come after what they read */
        if (root[v] != PLAN_FLOAT) {
            want_inputs(plan, graph, v);
        }
    }
    for (int32_t v = 0; v < n; v++) {
        const pare_node *node = graph->nodes[v];
        int has_grid = node->op == PARE_OP_QUANTIZE && node->activation.bits != 0;
        if (root[v] != PLAN_FLOAT && plan_copies_codes(node->op) && !has_grid) {
            root[v] = root[node->inputs[0]];
        }
    }
    return PARE_OK;
}

void plan_clear(struct plan *plan) {
    if (plan->host) {
        plan->host->free(plan->host, plan->root);
    }
    *plan = (struct plan){0};
}
