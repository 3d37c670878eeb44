/* SPDX-License-Identifier: MIT */
/* Is a node one that the steps of lower.h can stand for? The host has checked its graphs already;
 * this protects a backend from a graph made by something else. */
#include "lower.h"

#include <math.h>

#define MAX_DIM (1 << 24) /* so that sums and products of two dims fit an int64 with room */

static int dims_are(const pare_node *node, int64_t h, int64_t w, int64_t c) {
    return node->dims[0] == h && node->dims[1] == w && node->dims[2] == c;
}

static pare_status bad_shape(const pare_host *host, const pare_node *node, int64_t h, int64_t w,
                             int64_t c) {
    return host->fail(host, PARE_E_ARG, "%s: its value is (%d,%d,%d), wanted (%lld,%lld,%lld)",
                      node->name, node->dims[0], node->dims[1], node->dims[2], (long long)h,
                      (long long)w, (long long)c);
}

static pare_status check_vector(const pare_host *host, const pare_node *node, pare_role role,
                                int64_t n, int required) {
    static const char *const names[PARE_N_ROLES] = {"weight", "bias", "gamma",
                                                    "beta",   "mean", "var"};
    const pare_weight *weight = node->weights[role];
    if (weight == NULL) {
        return required ? host->fail(host, PARE_E_ARG, "%s: has no %s", node->name, names[role])
                        : PARE_OK;
    }
    if (weight->n_elems != n || weight->data == NULL) {
        return host->fail(host, PARE_E_ARG, "%s: %s has %lld values, wanted %lld", node->name,
                          names[role], (long long)weight->n_elems, (long long)n);
    }
    return PARE_OK;
}

static pare_status check_window(const pare_host *host, const pare_node *node) {
    if (node->kernel_h < 1 || node->kernel_w < 1 || node->kernel_h > MAX_DIM ||
        node->kernel_w > MAX_DIM || node->stride_h < 1 || node->stride_w < 1 || node->pad_h < 0 ||
        node->pad_w < 0 || node->pad_h > MAX_DIM || node->pad_w > MAX_DIM) {
        return host->fail(host, PARE_E_ARG,
                          "%s: kernel %dx%d, stride %dx%d, padding %dx%d: wanted a kernel and a "
                          "stride of 1 or more, padding of 0 or more, and nothing above %d",
                          node->name, node->kernel_h, node->kernel_w, node->stride_h,
                          node->stride_w, node->pad_h, node->pad_w, MAX_DIM);
    }
    if (node->op == PARE_OP_MAX_POOL &&
        (node->pad_h >= node->kernel_h || node->pad_w >= node->kernel_w)) {
        return host->fail(host, PARE_E_ARG,
                          "%s: padding is %dx%d, wanted less than the kernel's %dx%d: a window of "
                          "padding alone has no maximum",
                          node->name, node->pad_h, node->pad_w, node->kernel_h, node->kernel_w);
    }
    return PARE_OK;
}

static pare_status check_window_shape(const pare_host *host, const pare_node *node,
                                      const pare_node *in, int64_t out_c) {
    pare_status status = check_window(host, node);
    if (status != PARE_OK) {
        return status;
    }
    int64_t room_h = (int64_t)in->dims[0] + 2 * (int64_t)node->pad_h - node->kernel_h;
    int64_t room_w = (int64_t)in->dims[1] + 2 * (int64_t)node->pad_w - node->kernel_w;
    if (in->rank != 3 || room_h < 0 || room_w < 0) {
        return host->fail(host, PARE_E_ARG, "%s: a kernel of %dx%d does not fit into (%d,%d) of %s",
                          node->name, node->kernel_h, node->kernel_w, in->dims[0], in->dims[1],
                          in->name);
    }
    int64_t out_h = room_h / node->stride_h + 1;
    int64_t out_w = room_w / node->stride_w + 1;
    if (!dims_are(node, out_h, out_w, out_c)) {
        return bad_shape(host, node, out_h, out_w, out_c);
    }
    return PARE_OK;
}

static pare_status check_conv(const pare_host *host, const pare_node *node, const pare_node *in) {
    int64_t out_c = node->dims[2];
    int64_t in_c = in->dims[2];
    if (node->groups < 1 || in_c % node->groups != 0 || out_c % node->groups != 0) {
        return host->fail(host, PARE_E_ARG,
                          "%s: %d groups do not divide %lld input and %lld output channels",
                          node->name, node->groups, (long long)in_c, (long long)out_c);
    }
    pare_status status = check_window_shape(host, node, in, out_c);
    if (status != PARE_OK) {
        return status;
    }
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    if (w == NULL || w->rank != 4 || w->dims[0] != out_c || w->dims[1] != node->kernel_h ||
        w->dims[2] != node->kernel_w || w->dims[3] != in_c / node->groups) {
        return host->fail(host, PARE_E_ARG, "%s: weight is not (%lld,%d,%d,%lld)", node->name,
                          (long long)out_c, node->kernel_h, node->kernel_w,
                          (long long)(in_c / node->groups));
    }
    int64_t n = out_c * node->kernel_h * node->kernel_w * (in_c / node->groups);
    status = check_vector(host, node, PARE_ROLE_WEIGHT, n, 1);
    return status != PARE_OK ? status : check_vector(host, node, PARE_ROLE_BIAS, out_c, 0);
}

static pare_status check_linear(const pare_host *host, const pare_node *node, const pare_node *in) {
    int64_t out_c = node->dims[2];
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    if (in->rank != 1) {
        return host->fail(host, PARE_E_ARG, "%s: input %s has rank %d, wanted 1: flatten it first",
                          node->name, in->name, in->rank);
    }
    if (w == NULL || w->rank != 2 || w->dims[0] != out_c || w->dims[1] != in->dims[2]) {
        return host->fail(host, PARE_E_ARG, "%s: weight is not (%lld,%d)", node->name,
                          (long long)out_c, in->dims[2]);
    }
    pare_status status = check_vector(host, node, PARE_ROLE_WEIGHT, out_c * in->dims[2], 1);
    return status != PARE_OK ? status : check_vector(host, node, PARE_ROLE_BIAS, out_c, 0);
}

static pare_status check_batch_norm(const pare_host *host, const pare_node *node) {
    static const pare_role roles[] = {PARE_ROLE_GAMMA, PARE_ROLE_BETA, PARE_ROLE_MEAN,
                                      PARE_ROLE_VAR};
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++) {
        pare_status status = check_vector(host, node, roles[k], node->dims[2], 1);
        if (status != PARE_OK) {
            return status;
        }
    }
    return PARE_OK;
}

static pare_status check_shortcut(const pare_host *host, const pare_node *node,
                                  const pare_node *in) {
    if (in->rank != 3 || node->stride_h < 1 || node->stride_w < 1 || node->dims[2] < in->dims[2]) {
        return host->fail(host, PARE_E_ARG,
                          "%s: wanted an image, strides of 1 or more and at least %d channels, got "
                          "rank %d, strides %dx%d and %d channels",
                          node->name, in->dims[2], in->rank, node->stride_h, node->stride_w,
                          node->dims[2]);
    }
    int64_t out_h = ((int64_t)in->dims[0] + node->stride_h - 1) / node->stride_h;
    int64_t out_w = ((int64_t)in->dims[1] + node->stride_w - 1) / node->stride_w;
    return dims_are(node, out_h, out_w, node->dims[2])
               ? PARE_OK
               : bad_shape(host, node, out_h, out_w, node->dims[2]);
}

/* The value's own quantization, whatever the node. */
static pare_status check_activation(const pare_host *host, const pare_node *node) {
    const pare_quant *q = &node->activation;
    if (q->bits == 0) {
        return PARE_OK;
    }
    int32_t limit = q->bits <= 8 ? 128 : 32768;
    if (q->bits < 0 || q->bits > 16 || q->n != 1 || q->scale == NULL) {
        return host->fail(
            host, PARE_E_UNSUPPORTED,
            "%s: its value has %d bits and %d scales, wanted 1..16 bits and one scale", node->name,
            q->bits, q->n);
    }
    if (!isfinite(q->scale[0]) || !(q->scale[0] > 0.0f)) {
        return host->fail(host, PARE_E_NUMERIC, "%s: its value's scale is %g, wanted one above 0",
                          node->name, (double)q->scale[0]);
    }
    int32_t zero = q->zero_point != NULL ? q->zero_point[0] : 0;
    if (q->qmin < -limit || q->qmax >= limit || q->qmin >= q->qmax || zero < q->qmin ||
        zero > q->qmax) {
        return host->fail(host, PARE_E_RANGE,
                          "%s: its value's codes are [%d,%d] with zero point %d, wanted a range "
                          "within [%d,%d] that holds the zero point",
                          node->name, q->qmin, q->qmax, zero, -limit, limit - 1);
    }
    if (q->bits == 1 &&
        (node->op != PARE_OP_QUANTIZE || q->qmin != -1 || q->qmax != 1 || zero != 0)) {
        return host->fail(host, PARE_E_UNSUPPORTED,
                          "%s: its value has 1 bit, codes [%d,%d] and zero point %d: wanted a "
                          "quantize node, [-1,1] and 0",
                          node->name, q->qmin, q->qmax, zero);
    }
    return PARE_OK;
}

static pare_status check_shape(const pare_host *host, const pare_graph *graph,
                               const pare_node *node) {
    const pare_node *in = graph->nodes[node->inputs[0]];
    const int32_t *d = in->dims;
    switch (node->op) {
    case PARE_OP_CONV2D:
        return check_conv(host, node, in);
    case PARE_OP_LINEAR:
        return check_linear(host, node, in);
    case PARE_OP_MAX_POOL:
        return check_window_shape(host, node, in, d[2]);
    case PARE_OP_AVG_POOL:
        if (node->pad_h != 0 || node->pad_w != 0) {
            return host->fail(host, PARE_E_UNSUPPORTED, "%s: average pooling takes no padding",
                              node->name);
        }
        return check_window_shape(host, node, in, d[2]);
    case PARE_OP_GLOBAL_AVG_POOL:
        return dims_are(node, 1, 1, d[2]) ? PARE_OK : bad_shape(host, node, 1, 1, d[2]);
    case PARE_OP_FLATTEN:
        return dims_are(node, 1, 1, (int64_t)d[0] * d[1] * d[2])
                   ? PARE_OK
                   : bad_shape(host, node, 1, 1, (int64_t)d[0] * d[1] * d[2]);
    case PARE_OP_SHORTCUT_A:
        return check_shortcut(host, node, in);
    case PARE_OP_ADD:
        if (!dims_are(graph->nodes[node->inputs[1]], d[0], d[1], d[2])) {
            return host->fail(host, PARE_E_ARG, "%s: its two inputs differ in shape", node->name);
        }
        break;
    case PARE_OP_SOFTMAX:
        if (node->index != graph->n_nodes - 1 || node->rank != 1) {
            return host->fail(host, PARE_E_UNSUPPORTED, "%s: softmax can only be the last node",
                              node->name);
        }
        break;
    case PARE_OP_INPUT:
    case PARE_OP_BATCH_NORM:
    case PARE_OP_RELU:
    case PARE_OP_QUANTIZE:
        break;
    }
    if (!dims_are(node, d[0], d[1], d[2])) {
        return bad_shape(host, node, d[0], d[1], d[2]);
    }
    return node->op == PARE_OP_BATCH_NORM ? check_batch_norm(host, node) : PARE_OK;
}

pare_status lower_check_node(const pare_host *host, const pare_graph *graph, int32_t index) {
    if (index < 0 || index >= graph->n_nodes) {
        return host->fail(host, PARE_E_ARG, "node %d: the graph has %d", index, graph->n_nodes);
    }
    const pare_node *node = graph->nodes[index];
    if ((int)node->op < PARE_OP_INPUT || (int)node->op > PARE_OP_QUANTIZE) {
        return host->fail(host, PARE_E_UNSUPPORTED, "%s: operator %d is not known", node->name,
                          (int)node->op);
    }
    if ((node->op == PARE_OP_INPUT) != (index == 0) || node->index != index) {
        return host->fail(host, PARE_E_ARG, "%s: node 0, and no other, must be the input",
                          node->name);
    }
    int64_t n_elems = 1;
    for (int k = 0; k < 3; k++) {
        if (node->dims[k] < 1 || node->dims[k] > MAX_DIM) {
            return host->fail(host, PARE_E_RANGE, "%s: dimension %d is %d, wanted 1..%d",
                              node->name, k, node->dims[k], MAX_DIM);
        }
        n_elems *= node->dims[k];
        if (n_elems > INT32_MAX) {
            return host->fail(host, PARE_E_LIMIT, "%s: its value has more than 2^31 elements",
                              node->name);
        }
    }
    pare_status status = check_activation(host, node);
    if (status != PARE_OK || index == 0) {
        return status;
    }
    int32_t wanted = node->op == PARE_OP_ADD ? 2 : 1;
    if (node->n_inputs != wanted) {
        return host->fail(host, PARE_E_ARG, "%s: has %d inputs, wanted %d", node->name,
                          node->n_inputs, wanted);
    }
    for (int32_t k = 0; k < wanted; k++) {
        if (node->inputs[k] < 0 || node->inputs[k] >= index) {
            return host->fail(host, PARE_E_ARG, "%s: input %d is node %d, wanted an earlier one",
                              node->name, k, node->inputs[k]);
        }
    }
    return check_shape(host, graph, node);
}
