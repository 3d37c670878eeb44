/* SPDX-License-Identifier: MIT */
/* Models for tests: the published networks, built node by node. */
#ifndef TESTS_MODEL_FIXTURES_H
#define TESTS_MODEL_FIXTURES_H

#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Adds a node, or ends the test program with the message. */
static inline int32_t add_node(struct model *m, struct node_spec spec) {
    struct error err;
    int32_t index = -1;
    if (model_add(m, &spec, &err, &index) != PARE_OK) {
        fprintf(stderr, "fixture: %s\n", err.text);
        exit(1);
    }
    return index;
}

static inline struct model *new_model(const char *name, int32_t h, int32_t w, int32_t c) {
    struct error err;
    struct model *m = NULL;
    if (model_create(name, (int32_t[3]){h, w, c}, &err, &m) != PARE_OK) {
        fprintf(stderr, "fixture: %s\n", err.text);
        exit(1);
    }
    return m;
}

static inline void finish_model(struct model *m) {
    struct error err;
    if (model_finish(m, &err) != PARE_OK) {
        fprintf(stderr, "fixture: %s\n", err.text);
        exit(1);
    }
}

static inline int32_t add_conv(struct model *m, const char *name, int32_t in, int32_t channels,
                               int32_t kernel, int32_t stride, int32_t pad, int32_t bias) {
    return add_node(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                          .name = name,
                                          .inputs = {in},
                                          .out_channels = channels,
                                          .kernel_h = kernel,
                                          .kernel_w = kernel,
                                          .stride_h = stride,
                                          .stride_w = stride,
                                          .pad_h = pad,
                                          .pad_w = pad,
                                          .bias = bias});
}

static inline int32_t add_simple(struct model *m, pare_op op, const char *name, int32_t in) {
    return add_node(m, (struct node_spec){.op = op, .name = name, .inputs = {in}});
}

static inline int32_t add_linear(struct model *m, const char *name, int32_t in, int32_t out) {
    return add_node(
        m, (struct node_spec){
               .op = PARE_OP_LINEAR, .name = name, .inputs = {in}, .out_channels = out, .bias = 1});
}

static inline int32_t add_pool(struct model *m, pare_op op, const char *name, int32_t in,
                               int32_t kernel, int32_t stride) {
    return add_node(m, (struct node_spec){.op = op,
                                          .name = name,
                                          .inputs = {in},
                                          .kernel_h = kernel,
                                          .kernel_w = kernel,
                                          .stride_h = stride,
                                          .stride_w = stride});
}

/* 784-300-100-10 (LeCun et al. 1998). */
static inline struct model *make_lenet300(void) {
    struct model *m = new_model("lenet300", 28, 28, 1);
    int32_t x = add_simple(m, PARE_OP_FLATTEN, "flatten", 0);
    x = add_simple(m, PARE_OP_RELU, "relu1", add_linear(m, "fc1", x, 300));
    x = add_simple(m, PARE_OP_RELU, "relu2", add_linear(m, "fc2", x, 100));
    add_linear(m, "fc3", x, 10);
    finish_model(m);
    return m;
}

/* 20-50-500-10, as in Caffe. */
static inline struct model *make_lenet5(void) {
    struct model *m = new_model("lenet5", 28, 28, 1);
    int32_t x =
        add_pool(m, PARE_OP_MAX_POOL, "pool1", add_conv(m, "conv1", 0, 20, 5, 1, 0, 1), 2, 2);
    x = add_pool(m, PARE_OP_MAX_POOL, "pool2", add_conv(m, "conv2", x, 50, 5, 1, 0, 1), 2, 2);
    x = add_simple(m, PARE_OP_FLATTEN, "flatten", x);
    x = add_simple(m, PARE_OP_RELU, "relu1", add_linear(m, "fc1", x, 500));
    add_linear(m, "fc2", x, 10);
    finish_model(m);
    return m;
}

static inline int32_t add_conv_bn(struct model *m, const char *block, const char *suffix,
                                  int32_t in, int32_t channels, int32_t kernel, int32_t stride) {
    char conv[64], bn[64];
    snprintf(conv, sizeof conv, "%s%s%s", block, strcmp(suffix, "s") == 0 ? "shortcut.0" : "conv",
             strcmp(suffix, "s") == 0 ? "" : suffix);
    snprintf(bn, sizeof bn, "%s%s%s", block, strcmp(suffix, "s") == 0 ? "shortcut.1" : "bn",
             strcmp(suffix, "s") == 0 ? "" : suffix);
    int32_t x = add_conv(m, conv, in, channels, kernel, stride, kernel / 2, 0);
    return add_simple(m, PARE_OP_BATCH_NORM, bn, x);
}

static inline int32_t add_residual(struct model *m, const char *block, int32_t in, int32_t channels,
                                   int32_t stride, char option) {
    char name[80];
    snprintf(name, sizeof name, "%srelu1", block);
    int32_t x = add_conv_bn(m, block, "1", in, channels, 3, stride);
    x = add_simple(m, PARE_OP_RELU, name, x);
    x = add_conv_bn(m, block, "2", x, channels, 3, 1);
    int32_t shortcut = in;
    if (stride != 1 && option == 'B')
        shortcut = add_conv_bn(m, block, "s", in, channels, 1, stride);
    if (stride != 1 && option == 'A') {
        snprintf(name, sizeof name, "%sshortcut", block);
        shortcut = add_node(m, (struct node_spec){.op = PARE_OP_SHORTCUT_A,
                                                  .name = name,
                                                  .inputs = {in},
                                                  .out_channels = channels,
                                                  .stride_h = stride,
                                                  .stride_w = stride});
    }
    snprintf(name, sizeof name, "%sadd", block);
    x = add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = name, .inputs = {x, shortcut}});
    snprintf(name, sizeof name, "%srelu2", block);
    return add_simple(m, PARE_OP_RELU, name, x);
}

/* 16-32-64 channels, 6n+2 layers (He et al. 2015, section 4.2). */
static inline struct model *make_resnet(int32_t n, char option, int32_t size, int32_t channels) {
    struct model *m = new_model("resnet", size, size, channels);
    int32_t x = add_simple(m, PARE_OP_RELU, "relu", add_conv_bn(m, "", "1", 0, 16, 3, 1));
    for (int32_t stage = 0; stage < 3; stage++)
        for (int32_t i = 0; i < n; i++) {
            char block[32];
            snprintf(block, sizeof block, "layer%d.%d.", stage + 1, i);
            x = add_residual(m, block, x, 16 << stage, stage > 0 && i == 0 ? 2 : 1, option);
        }
    x = add_simple(m, PARE_OP_GLOBAL_AVG_POOL, "pool", x);
    add_linear(m, "fc", x, 10);
    finish_model(m);
    return m;
}

static inline int32_t add_groups(struct model *m, const char *name, int32_t in, int32_t channels,
                                 int32_t groups) {
    return add_node(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                          .name = name,
                                          .inputs = {in},
                                          .out_channels = channels,
                                          .kernel_h = 3,
                                          .kernel_w = 3,
                                          .pad_h = 1,
                                          .pad_w = 1,
                                          .groups = groups,
                                          .bias = 1});
}

static inline int32_t add_sum(struct model *m, const char *name, int32_t a, int32_t b) {
    return add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = name, .inputs = {a, b}});
}

/* Every op: branches that meet, convolutions in groups and one per channel, a padded shortcut with
 * an odd number of zero channels, a value that is flattened. */
static inline struct model *make_branchy(void) {
    struct model *m = new_model("branchy", 12, 12, 3);
    int32_t stem = add_conv_bn(m, "stem.", "1", 0, 8, 3, 1);
    stem = add_simple(m, PARE_OP_RELU, "stem.relu", stem);
    int32_t left = add_simple(m, PARE_OP_RELU, "left.relu", add_groups(m, "left", stem, 8, 2));
    int32_t right = add_groups(m, "right", stem, 8, 8);
    right = add_simple(m, PARE_OP_BATCH_NORM, "right.bn", right);
    int32_t x = add_sum(m, "meet", left, right);
    x = add_sum(m, "around", x, stem);
    x = add_pool(m, PARE_OP_MAX_POOL, "pool", x, 2, 2);
    int32_t wide = add_groups(m, "wide", x, 16, 8); /* two outputs of each input channel */
    wide = add_simple(m, PARE_OP_QUANTIZE, "wide.q", wide);
    int32_t down = add_conv(m, "down", wide, 13, 3, 2, 1, 1);
    int32_t padded = add_node(m, (struct node_spec){.op = PARE_OP_SHORTCUT_A,
                                                    .name = "padded",
                                                    .inputs = {x},
                                                    .out_channels = 13,
                                                    .stride_h = 2,
                                                    .stride_w = 2});
    x = add_simple(m, PARE_OP_RELU, "sum.relu", add_sum(m, "sum", down, padded));
    x = add_conv(m, "last", x, 6, 1, 1, 0, 1);
    x = add_pool(m, PARE_OP_AVG_POOL, "avg", x, 2, 1);
    x = add_simple(m, PARE_OP_FLATTEN, "flatten", x);
    x = add_simple(m, PARE_OP_RELU, "fc1.relu", add_linear(m, "fc1", x, 20));
    add_simple(m, PARE_OP_SOFTMAX, "softmax", add_linear(m, "fc2", x, 5));
    finish_model(m);
    return m;
}

#endif
