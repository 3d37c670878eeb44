/* SPDX-License-Identifier: MIT */
#include "check/bound.h"

#include "core/alloc.h"

#include <math.h>
#include <stdlib.h>

/* A value as it is made, and by how much two backends may differ in it. */
struct value {
    int64_t n;
    double *x, *slack; /* (n) (H,W,C) */
    double *size;      /* (n) sum of the magnitudes that x is the sum of */
};

struct bound {
    const pare_graph *graph;
    const uint8_t *is_integer;
    struct value *values; /* (n_nodes) */
};

#define UNIT 0x1p-24 /* half a unit in the last place of a float, relative */

static double float_slack(int64_t n_terms, double size) {
    return 2 * ((double)n_terms + 2) * UNIT * size;
}

/* ---- layers ---- */

/* One output element of a convolution, or of a linear layer as one of 1x1. */
static void sum_products(const struct bound *b, const pare_node *node, int32_t oh, int32_t ow,
                         int32_t oc, struct value *out) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT], *bias = node->weights[PARE_ROLE_BIAS];
    const pare_node *from = b->graph->nodes[node->inputs[0]];
    const struct value *in = &b->values[node->inputs[0]];
    int is_conv = node->op == PARE_OP_CONV2D;
    int32_t kh = is_conv ? node->kernel_h : 1, kw = is_conv ? node->kernel_w : 1;
    int32_t h = is_conv ? from->dims[0] : 1, width = is_conv ? from->dims[1] : 1;
    int32_t in_c = is_conv ? from->dims[2] : (int32_t)in->n;
    int32_t per_group = in_c / node->groups;
    int32_t first = oc / (node->dims[2] / node->groups) * per_group;
    double sum = bias ? (double)bias->data[oc] : 0, size = fabs(sum), slack = 0;
    for (int32_t y = 0; y < kh; y++) {
        for (int32_t x = 0; x < kw; x++) {
            int32_t ih = oh * node->stride_h + y - node->pad_h;
            int32_t iw = ow * node->stride_w + x - node->pad_w;
            if (is_conv && (ih < 0 || ih >= h || iw < 0 || iw >= width))
                continue;
            for (int32_t c = 0; c < per_group; c++) {
                int64_t i = is_conv ? ((int64_t)ih * width + iw) * in_c + first + c : c;
                double a = (double)w->data[(((int64_t)oc * kh + y) * kw + x) * per_group + c];
                sum += a * in->x[i];
                size += fabs(a) * (fabs(in->x[i]) + in->slack[i]);
                slack += fabs(a) * in->slack[i];
            }
        }
    }
    int64_t at = ((int64_t)oh * node->dims[1] + ow) * node->dims[2] + oc;
    out->x[at] = sum;
    out->size[at] = size;
    out->slack[at] =
        slack + (b->is_integer[node->index] ? 0 : float_slack((int64_t)kh * kw * per_group, size));
}

static void follow_layer(const struct bound *b, const pare_node *node, struct value *out) {
    for (int32_t oh = 0; oh < node->dims[0]; oh++)
        for (int32_t ow = 0; ow < node->dims[1]; ow++)
            for (int32_t oc = 0; oc < node->dims[2]; oc++)
                sum_products(b, node, oh, ow, oc, out);
}

/* Alone, or multiplied into the layer before: the roundings of both ways. */
static void follow_norm(const struct bound *b, const pare_node *node, struct value *out) {
    const struct value *in = &b->values[node->inputs[0]];
    for (int64_t k = 0; k < out->n; k++) {
        int64_t c = k % node->dims[2];
        double g = (double)node->weights[PARE_ROLE_GAMMA]->data[c] /
                   sqrt((double)node->weights[PARE_ROLE_VAR]->data[c] + (double)node->eps);
        double mean = (double)node->weights[PARE_ROLE_MEAN]->data[c];
        double beta = (double)node->weights[PARE_ROLE_BETA]->data[c];
        out->x[k] = (in->x[k] - mean) * g + beta;
        out->size[k] = fabs(g) * (in->size[k] + fabs(mean)) + fabs(beta);
        out->slack[k] = fabs(g) * in->slack[k] + float_slack(2, out->size[k]);
    }
}

/* ---- windows ---- */

static void follow_window(const struct bound *b, const pare_node *node, int32_t oh, int32_t ow,
                          int32_t c, struct value *out) {
    const pare_node *from = b->graph->nodes[node->inputs[0]];
    const struct value *in = &b->values[node->inputs[0]];
    int is_global = node->op == PARE_OP_GLOBAL_AVG_POOL;
    int32_t kh = is_global ? from->dims[0] : node->kernel_h;
    int32_t kw = is_global ? from->dims[1] : node->kernel_w;
    double sum = 0, size = 0, slack = 0, most = -INFINITY, most_slack = 0;
    for (int32_t y = 0; y < kh; y++) {
        for (int32_t x = 0; x < kw; x++) {
            int32_t ih = oh * node->stride_h + y - node->pad_h;
            int32_t iw = ow * node->stride_w + x - node->pad_w;
            if (ih < 0 || ih >= from->dims[0] || iw < 0 || iw >= from->dims[1])
                continue;
            int64_t i = ((int64_t)ih * from->dims[1] + iw) * from->dims[2] + c;
            sum += in->x[i];
            size += fabs(in->x[i]) + in->slack[i];
            slack += in->slack[i];
            most = fmax(most, in->x[i]);
            most_slack = fmax(most_slack, in->slack[i]);
        }
    }
    int64_t at = ((int64_t)oh * node->dims[1] + ow) * node->dims[2] + c;
    double n = (double)kh * kw;
    int is_max = node->op == PARE_OP_MAX_POOL;
    out->x[at] = is_max ? most : sum / n;
    out->size[at] = is_max ? fabs(most) : size / n;
    out->slack[at] = is_max                       ? most_slack
                     : b->is_integer[node->index] ? slack / n
                                                  : slack / n + float_slack((int64_t)n, size / n);
}

static void follow_pool(const struct bound *b, const pare_node *node, struct value *out) {
    for (int32_t oh = 0; oh < node->dims[0]; oh++)
        for (int32_t ow = 0; ow < node->dims[1]; ow++)
            for (int32_t c = 0; c < node->dims[2]; c++)
                follow_window(b, node, oh, ow, c, out);
}

/* ---- the rest ---- */

static void follow_shortcut(const struct bound *b, const pare_node *node, struct value *out) {
    const pare_node *from = b->graph->nodes[node->inputs[0]];
    const struct value *in = &b->values[node->inputs[0]];
    int32_t before = (node->dims[2] - from->dims[2]) / 2;
    for (int64_t k = 0; k < out->n; k++) {
        int32_t c = (int32_t)(k % node->dims[2]) - before;
        int64_t pixel = k / node->dims[2];
        int64_t ih = pixel / node->dims[1] * node->stride_h;
        int64_t iw = pixel % node->dims[1] * node->stride_w;
        int64_t i = (ih * from->dims[1] + iw) * from->dims[2] + c;
        int is_new = c < 0 || c >= from->dims[2];
        out->x[k] = is_new ? 0 : in->x[i];
        out->size[k] = fabs(out->x[k]);
        out->slack[k] = is_new ? 0 : in->slack[i];
    }
}

static void follow_add(const struct bound *b, const pare_node *node, struct value *out) {
    const struct value *p = &b->values[node->inputs[0]], *q = &b->values[node->inputs[1]];
    for (int64_t k = 0; k < out->n; k++) {
        out->x[k] = p->x[k] + q->x[k];
        out->size[k] = fabs(p->x[k]) + fabs(q->x[k]) + p->slack[k] + q->slack[k];
        out->slack[k] = p->slack[k] + q->slack[k] +
                        (b->is_integer[node->index] ? 0 : float_slack(1, out->size[k]));
    }
}

static void follow_softmax(const struct bound *b, const pare_node *node, struct value *out) {
    const struct value *in = &b->values[node->inputs[0]];
    double most = -INFINITY, sum = 0, slack = 0;
    for (int64_t k = 0; k < out->n; k++) {
        most = fmax(most, in->x[k]);
        slack = fmax(slack, in->slack[k]);
    }
    for (int64_t k = 0; k < out->n; k++)
        sum += exp(in->x[k] - most);
    for (int64_t k = 0; k < out->n; k++) {
        out->x[k] = exp(in->x[k] - most) / sum;
        out->size[k] = out->x[k];
        /* Each exponential and their sum by a factor of exp(slack); and the roundings of exp. */
        out->slack[k] = out->x[k] * expm1(fmin(2 * slack, 50)) + out->x[k] * 1e-5 + 1e-7;
    }
}

static void follow_one(const struct bound *b, const pare_node *node, struct value *out) {
    const struct value *in = &b->values[node->inputs[0]];
    for (int64_t k = 0; k < out->n; k++) { /* relu, flatten */
        int is_cut = node->op == PARE_OP_RELU && in->x[k] < 0;
        out->x[k] = is_cut ? 0 : in->x[k];
        out->size[k] = in->size[k];
        out->slack[k] = in->slack[k];
    }
}

/* Rounds to the node's codes. */
static void snap(const pare_quant *q, struct value *v) {
    double scale = (double)q->scale[0];
    double zero = q->zero_point ? (double)q->zero_point[0] : 0;
    for (int64_t k = 0; k < v->n; k++) {
        double code = fmin(fmax(rint(v->x[k] / scale) + zero, q->qmin), q->qmax);
        v->x[k] = scale * (code - zero);
        v->size[k] = fabs(v->x[k]);
        v->slack[k] = v->slack[k] > 0 ? v->slack[k] + scale : 0;
    }
}

static pare_status follow(struct bound *b, int32_t k, const float *image, struct error *err) {
    const pare_node *node = b->graph->nodes[k];
    struct value *out = &b->values[k];
    out->n = (int64_t)node->dims[0] * node->dims[1] * node->dims[2];
    out->x = alloc_array((size_t)out->n, sizeof *out->x);
    out->size = alloc_array((size_t)out->n, sizeof *out->size);
    out->slack = alloc_array((size_t)out->n, sizeof *out->slack);
    if (!out->x || !out->size || !out->slack)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    for (int64_t i = 0; node->op == PARE_OP_INPUT && i < out->n; i++) {
        out->x[i] = (double)image[i];
        out->size[i] = fabs(out->x[i]);
    }
    if (node->op == PARE_OP_CONV2D || node->op == PARE_OP_LINEAR)
        follow_layer(b, node, out);
    else if (node->op == PARE_OP_BATCH_NORM)
        follow_norm(b, node, out);
    else if (node->op == PARE_OP_MAX_POOL || node->op == PARE_OP_AVG_POOL ||
             node->op == PARE_OP_GLOBAL_AVG_POOL)
        follow_pool(b, node, out);
    else if (node->op == PARE_OP_SHORTCUT_A)
        follow_shortcut(b, node, out);
    else if (node->op == PARE_OP_ADD)
        follow_add(b, node, out);
    else if (node->op == PARE_OP_SOFTMAX)
        follow_softmax(b, node, out);
    else if (node->op != PARE_OP_INPUT)
        follow_one(b, node, out);
    if (node->activation.bits)
        snap(&node->activation, out);
    return PARE_OK;
}

pare_status bound_outputs(const pare_graph *graph, const uint8_t *is_integer, const float *image,
                          struct error *err, double *slack) {
    struct bound b = {graph, is_integer, alloc_array((size_t)graph->n_nodes, sizeof *b.values)};
    pare_status status = b.values ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    for (int32_t k = 0; k < graph->n_nodes && status == PARE_OK; k++)
        status = follow(&b, k, image, err);
    for (int32_t k = 0; k < graph->n_classes && status == PARE_OK; k++)
        slack[k] = 1.01 * b.values[graph->n_nodes - 1].slack[k];
    for (int32_t k = 0; b.values && k < graph->n_nodes; k++) {
        free(b.values[k].x);
        free(b.values[k].size);
        free(b.values[k].slack);
    }
    free(b.values);
    return status;
}
