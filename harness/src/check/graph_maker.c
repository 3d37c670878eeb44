/* SPDX-License-Identifier: MIT */
#include "check/graph_maker.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers ---- */

uint32_t maker_random(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

int32_t maker_between(uint64_t *state, int32_t lo, int32_t hi) {
    return lo + (int32_t)(maker_random(state) % ((uint32_t)(hi - lo) + 1u));
}

float maker_normal(uint64_t *state) {
    float sum = 0.0f;
    for (int k = 0; k < 12; k++) {
        sum += (float)maker_random(state) / 4294967296.0f;
    }
    return sum - 6.0f;
}

/* ---- graphs ---- */

static void *take(struct maker *m, size_t n, size_t size) {
    void *ptr = calloc(n > 0 ? n : 1, size);
    if (ptr == NULL || m->n_memory == (int32_t)(sizeof m->memory / sizeof *m->memory)) {
        abort();
    }
    m->memory[m->n_memory++] = ptr;
    return ptr;
}

void maker_free(struct maker *m) {
    for (int32_t k = 0; k < m->n_memory; k++) {
        free(m->memory[k]);
    }
    m->n_memory = 0;
}

pare_node *maker_node(struct maker *m, int32_t index) {
    return (pare_node *)(uintptr_t)m->nodes[index];
}

pare_weight *maker_weight(struct maker *m, int32_t node, pare_role role) {
    return (pare_weight *)(uintptr_t)m->nodes[node]->weights[role];
}

static pare_node *add_node(struct maker *m, pare_op op, int32_t rank, int32_t h, int32_t w,
                           int32_t c) {
    pare_node *node = take(m, 1, sizeof *node);
    char *name = take(m, 32, 1);
    snprintf(name, 32, "node%d", m->graph.n_nodes);
    *node = (pare_node){.struct_size = sizeof *node,
                        .index = m->graph.n_nodes,
                        .op = op,
                        .name = name,
                        .rank = rank,
                        .dims = {h, w, c},
                        .groups = 1,
                        .stride_h = 1,
                        .stride_w = 1};
    m->nodes[m->graph.n_nodes++] = node;
    m->graph.n_classes = c;
    return node;
}

static void connect(struct maker *m, pare_node *node, int32_t in) {
    node->inputs[node->n_inputs++] = in;
    maker_node(m, in)->n_consumers++;
}

static pare_weight *add_weight(struct maker *m, pare_node *node, pare_role role, int32_t rank,
                               const int64_t *dims, float spread, float middle) {
    pare_weight *w = take(m, 1, sizeof *w);
    *w = (pare_weight){.struct_size = sizeof *w,
                       .index = m->graph.n_weights,
                       .node = node->index,
                       .role = role,
                       .name = node->name,
                       .rank = rank,
                       .dims = {1, 1, 1, 1},
                       .n_elems = 1};
    for (int32_t k = 0; k < rank; k++) {
        w->dims[k] = dims[k];
        w->n_elems *= dims[k];
    }
    float *data = take(m, (size_t)w->n_elems, sizeof(float));
    for (int64_t k = 0; k < w->n_elems; k++) {
        data[k] = middle + spread * maker_normal(&m->random);
    }
    w->data = data;
    node->weights[role] = w;
    m->weights[m->graph.n_weights++] = w;
    return w;
}

void maker_init(struct maker *m, uint64_t seed, int32_t h, int32_t w, int32_t c) {
    memset(m, 0, sizeof *m);
    m->random = seed;
    m->graph = (pare_graph){.struct_size = sizeof m->graph,
                            .name = "handmade",
                            .input_dims = {h, w, c},
                            .nodes = m->nodes,
                            .weights = m->weights};
    add_node(m, PARE_OP_INPUT, 3, h, w, c);
}

int32_t maker_conv(struct maker *m, int32_t in, int32_t out_c, int32_t kernel, int32_t stride,
                   int32_t pad, int32_t groups, int bias) {
    const int32_t *d = m->nodes[in]->dims;
    pare_node *node = add_node(m, PARE_OP_CONV2D, 3, (d[0] + 2 * pad - kernel) / stride + 1,
                               (d[1] + 2 * pad - kernel) / stride + 1, out_c);
    connect(m, node, in);
    node->kernel_h = node->kernel_w = kernel;
    node->stride_h = node->stride_w = stride;
    node->pad_h = node->pad_w = pad;
    node->groups = groups;
    int64_t dims[4] = {out_c, kernel, kernel, d[2] / groups};
    float spread = 1.0f / sqrtf((float)(kernel * kernel * (d[2] / groups)));
    add_weight(m, node, PARE_ROLE_WEIGHT, 4, dims, spread, 0.0f);
    if (bias) {
        add_weight(m, node, PARE_ROLE_BIAS, 1, dims, 0.3f, 0.0f);
    }
    return node->index;
}

int32_t maker_linear(struct maker *m, int32_t in, int32_t out_c, int bias) {
    int32_t in_c = m->nodes[in]->dims[2];
    pare_node *node = add_node(m, PARE_OP_LINEAR, 1, 1, 1, out_c);
    connect(m, node, in);
    int64_t dims[2] = {out_c, in_c};
    add_weight(m, node, PARE_ROLE_WEIGHT, 2, dims, 1.0f / sqrtf((float)in_c), 0.0f);
    if (bias) {
        add_weight(m, node, PARE_ROLE_BIAS, 1, dims, 0.3f, 0.0f);
    }
    return node->index;
}

int32_t maker_batch_norm(struct maker *m, int32_t in) {
    const pare_node *from = m->nodes[in];
    pare_node *node =
        add_node(m, PARE_OP_BATCH_NORM, from->rank, from->dims[0], from->dims[1], from->dims[2]);
    connect(m, node, in);
    int64_t n = from->dims[2];
    node->eps = 1e-5f;
    add_weight(m, node, PARE_ROLE_GAMMA, 1, &n, 0.3f, 1.0f);
    add_weight(m, node, PARE_ROLE_BETA, 1, &n, 0.3f, 0.0f);
    add_weight(m, node, PARE_ROLE_MEAN, 1, &n, 0.3f, 0.0f);
    pare_weight *var = add_weight(m, node, PARE_ROLE_VAR, 1, &n, 0.2f, 1.0f);
    float *data = (float *)(uintptr_t)var->data;
    for (int64_t k = 0; k < n; k++) {
        data[k] = fabsf(data[k]) + 0.1f;
    }
    return node->index;
}

int32_t maker_simple(struct maker *m, pare_op op, int32_t in) {
    const pare_node *from = m->nodes[in];
    const int32_t *d = from->dims;
    pare_node *node;
    if (op == PARE_OP_FLATTEN) {
        node = add_node(m, op, 1, 1, 1, d[0] * d[1] * d[2]);
    } else if (op == PARE_OP_GLOBAL_AVG_POOL) {
        node = add_node(m, op, 1, 1, 1, d[2]);
    } else {
        node = add_node(m, op, from->rank, d[0], d[1], d[2]);
    }
    connect(m, node, in);
    return node->index;
}

int32_t maker_pool(struct maker *m, pare_op op, int32_t in, int32_t kernel, int32_t stride,
                   int32_t pad) {
    const int32_t *d = m->nodes[in]->dims;
    pare_node *node = add_node(m, op, 3, (d[0] + 2 * pad - kernel) / stride + 1,
                               (d[1] + 2 * pad - kernel) / stride + 1, d[2]);
    connect(m, node, in);
    node->kernel_h = node->kernel_w = kernel;
    node->stride_h = node->stride_w = stride;
    node->pad_h = node->pad_w = pad;
    return node->index;
}

int32_t maker_add(struct maker *m, int32_t a, int32_t b) {
    const pare_node *from = m->nodes[a];
    pare_node *node =
        add_node(m, PARE_OP_ADD, from->rank, from->dims[0], from->dims[1], from->dims[2]);
    connect(m, node, a);
    connect(m, node, b);
    return node->index;
}

int32_t maker_shortcut(struct maker *m, int32_t in, int32_t out_c, int32_t stride) {
    const int32_t *d = m->nodes[in]->dims;
    pare_node *node = add_node(m, PARE_OP_SHORTCUT_A, 3, (d[0] + stride - 1) / stride,
                               (d[1] + stride - 1) / stride, out_c);
    connect(m, node, in);
    node->stride_h = node->stride_w = stride;
    return node->index;
}

static void set_codes(struct maker *m, pare_weight *w, int32_t bits, int32_t limit,
                      const float *scale, const int16_t *codes) {
    int64_t per_channel = w->n_elems / w->dims[0];
    float *data = (float *)(uintptr_t)w->data;
    for (int64_t k = 0; k < w->n_elems; k++) {
        data[k] = scale[k / per_channel] * (float)codes[k];
    }
    w->codes = codes;
    w->quant = (pare_quant){.bits = bits,
                            .qmin = -limit,
                            .qmax = limit,
                            .axis = 0,
                            .n = (int32_t)w->dims[0],
                            .scale = scale};
    (void)m;
}

void maker_quantize_weight(struct maker *m, int32_t node, int32_t bits) {
    pare_weight *w = maker_weight(m, node, PARE_ROLE_WEIGHT);
    int32_t limit = (1 << (bits - 1)) - 1;
    int64_t per_channel = w->n_elems / w->dims[0];
    float *scale = take(m, (size_t)w->dims[0], sizeof *scale);
    int16_t *codes = take(m, (size_t)w->n_elems, sizeof *codes);
    for (int64_t c = 0; c < w->dims[0]; c++) {
        const float *row = w->data + c * per_channel;
        float largest = 0.0f;
        for (int64_t k = 0; k < per_channel; k++) {
            largest = fmaxf(largest, fabsf(row[k]));
        }
        scale[c] = largest > 0.0f ? largest / (float)limit : 1.0f;
        for (int64_t k = 0; k < per_channel; k++) {
            float code = rintf(row[k] / scale[c]);
            code = fminf(fmaxf(code, (float)-limit), (float)limit);
            codes[c * per_channel + k] = (int16_t)code;
        }
    }
    set_codes(m, w, bits, limit, scale, codes);
}

static void few_levels(struct maker *m, int32_t node, int32_t bits) {
    pare_weight *w = maker_weight(m, node, PARE_ROLE_WEIGHT);
    float *scale = take(m, (size_t)w->dims[0], sizeof *scale);
    int16_t *codes = take(m, (size_t)w->n_elems, sizeof *codes);
    for (int64_t c = 0; c < w->dims[0]; c++) {
        scale[c] = 0.05f + 0.1f * fabsf(maker_normal(&m->random));
    }
    for (int64_t k = 0; k < w->n_elems; k++) {
        int32_t code =
            bits == 1 ? 2 * maker_between(&m->random, 0, 1) - 1 : maker_between(&m->random, -1, 1);
        codes[k] = (int16_t)code;
    }
    set_codes(m, w, bits, 1, scale, codes);
}

void maker_ternary_weight(struct maker *m, int32_t node) {
    few_levels(m, node, 2);
}

void maker_binary_weight(struct maker *m, int32_t node) {
    few_levels(m, node, 1);
}

void maker_prune(struct maker *m, int32_t node, int32_t percent, int32_t rows) {
    pare_weight *w = maker_weight(m, node, PARE_ROLE_WEIGHT);
    const int64_t per_row = w->n_elems / w->dims[0];
    float *data = (float *)(uintptr_t)w->data;
    for (int64_t k = 0; k < w->n_elems; k++) {
        data[k] = maker_between(&m->random, 1, 100) <= percent ? 0.0f : data[k];
    }
    for (int32_t r = 0; r < rows; r++) {
        float *row = data + maker_between(&m->random, 0, (int32_t)w->dims[0] - 1) * per_row;
        for (int64_t k = 0; k < per_row; k++) {
            row[k] = 0.0f;
        }
    }
}

void maker_quantize_value(struct maker *m, int32_t node, int32_t bits, float scale, int32_t zero) {
    float *scales = take(m, 1, sizeof *scales);
    int32_t *zeros = take(m, 1, sizeof *zeros);
    scales[0] = scale;
    zeros[0] = zero;
    int32_t half = 1 << (bits - 1);
    maker_node(m, node)->activation = (pare_quant){.bits = bits,
                                                   .qmin = -half,
                                                   .qmax = bits == 1 ? 1 : half - 1,
                                                   .axis = -1,
                                                   .n = 1,
                                                   .scale = scales,
                                                   .zero_point = zeros};
}

int32_t maker_sign(struct maker *m, int32_t in, float scale) {
    int32_t node = maker_simple(m, PARE_OP_QUANTIZE, in);
    maker_quantize_value(m, node, 1, scale, 0);
    return node;
}

void maker_quantize_somehow(struct maker *m, int32_t node, int32_t bits, float range) {
    int32_t half = 1 << (bits - 1);
    int32_t zero = maker_between(&m->random, -half, half - 1);
    switch (maker_between(&m->random, 0, 3)) {
    case 0:
        zero = -half;
        break;
    case 1:
        zero = half - 1;
        break;
    default:
        break;
    }
    float scale = range * (0.7f + 0.1f * (float)maker_between(&m->random, 0, 6)) / (float)half;
    maker_quantize_value(m, node, bits, scale, zero);
}

/* ---- everything at random ---- */

static int32_t random_layer(struct maker *m, int32_t x, int32_t k) {
    const int32_t *d = m->nodes[x]->dims;
    int32_t kernel = maker_between(&m->random, 1, d[0] < 5 ? d[0] : 5);
    int32_t stride = maker_between(&m->random, 1, 2);
    int32_t pad = maker_between(&m->random, 0, kernel / 2);
    int32_t groups = d[2] % 2 == 0 && maker_between(&m->random, 0, 2) == 0 ? 2 : 1;
    int32_t out;
    switch (maker_between(&m->random, 0, 9)) {
    case 0:
    case 1:
    case 2:
        pad += maker_between(&m->random, 0, 7) == 0 ? kernel : 0;
        out = maker_conv(m, x, groups * maker_between(&m->random, 1, 20), kernel, stride, pad,
                         groups, maker_between(&m->random, 0, 1));
        break;
    case 3:
        out = maker_pool(m, PARE_OP_MAX_POOL, x, kernel, stride, pad);
        break;
    case 4:
        out = maker_pool(m, PARE_OP_AVG_POOL, x, kernel, stride, 0);
        break;
    case 5:
        out = maker_simple(m, PARE_OP_RELU, x);
        break;
    case 6:
        out = maker_shortcut(m, x, d[2] + maker_between(&m->random, 0, 5), stride);
        break;
    case 7:
        out = maker_batch_norm(m, x);
        break;
    case 8:
        out = maker_simple(m, PARE_OP_QUANTIZE, x);
        break;
    default:
        out = maker_add(m, x, k > 0 ? maker_simple(m, PARE_OP_RELU, x) : x);
        break;
    }
    return out;
}

/* Not on a relu and what it reads at once: naive.c has no rule for equal grids there. */
static int may_quantize(const struct maker *m, int32_t i) {
    const pare_node *node = m->nodes[i];
    return node->op != PARE_OP_SOFTMAX &&
           !(node->op == PARE_OP_RELU && m->nodes[node->inputs[0]]->activation.bits != 0 &&
             m->nodes[node->inputs[0]]->op == PARE_OP_BATCH_NORM);
}

/* A layer's weights to 1..most bits, in one of the ways there are. */
static void quantize_layer(struct maker *m, int32_t node, int32_t most) {
    switch (maker_between(&m->random, 0, 4)) {
    case 0:
        maker_ternary_weight(m, node);
        break;
    case 1:
        maker_binary_weight(m, node);
        break;
    default:
        maker_quantize_weight(m, node, maker_between(&m->random, 2, most));
        break;
    }
}

void maker_random_graph(struct maker *m, uint64_t seed) {
    uint64_t r = seed * 77 + 5;
    maker_init(m, seed, maker_between(&r, 1, 11), maker_between(&r, 5, 11),
               maker_between(&r, 1, 4));
    int32_t x = 0;
    int32_t n_layers = maker_between(&m->random, 1, 6);
    for (int32_t k = 0; k < n_layers && m->nodes[x]->dims[1] >= 5; k++) {
        x = random_layer(m, x, k);
    }
    x = maker_simple(m, maker_between(&m->random, 0, 1) ? PARE_OP_FLATTEN : PARE_OP_GLOBAL_AVG_POOL,
                     x);
    x = maker_linear(m, x, maker_between(&m->random, 2, 40), 1);
    if (maker_between(&m->random, 0, 3) == 0) {
        maker_simple(m, PARE_OP_SOFTMAX, x);
    }
    int32_t share = maker_between(&m->random, 3, 9); /* tenths quantized */
    int32_t most = maker_between(&m->random, 0, 3) == 0 ? 16 : 8;
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        int yes = maker_between(&m->random, 0, 9) <= share;
        if (yes && m->nodes[i]->op == PARE_OP_QUANTIZE && maker_between(&m->random, 0, 2) > 0) {
            maker_quantize_value(m, i, 1, 0.7f, 0);
        } else if (yes && may_quantize(m, i)) {
            maker_quantize_somehow(m, i, maker_between(&m->random, 2, most), 4.0f);
        }
        if (m->nodes[i]->weights[PARE_ROLE_WEIGHT] && maker_between(&m->random, 0, 9) <= share) {
            quantize_layer(m, i, most);
        }
    }
}
