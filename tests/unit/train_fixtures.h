/* SPDX-License-Identifier: MIT */
/* Small models with reproducible values, for the tests of the trainer. */
#ifndef TESTS_TRAIN_FIXTURES_H
#define TESTS_TRAIN_FIXTURES_H

#include "dataset/dataset.h"
#include "model_fixtures.h"

#include <math.h>

/* crc32 as zlib's, which the golden script uses for names. */
static inline uint32_t name_hash(const char *name) {
    uint32_t crc = 0xffffffffu;
    for (; *name; name++) {
        crc ^= (uint8_t)*name;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

/* The same numbers as function `values` of tests/golden/make_train_golden.py. */
static inline void fill_values(const char *name, int64_t n, double scale, double offset,
                               float *out) {
    const uint32_t stream = name_hash(name);
    for (int64_t i = 0; i < n; i++) {
        uint32_t x = (uint32_t)i * 2654435761u + stream;
        x = (x ^ x >> 16) * 0x7feb352du;
        x = (x ^ x >> 16) * 0x846ca68bu;
        x ^= x >> 15;
        out[i] = (float)(offset + scale * ((double)(x >> 8) / 8388608.0 - 1.0));
    }
}

/* Every weight of the model by its name, as the script makes them. */
static inline void fill_weights(struct model *m, const char *prefix) {
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        char name[256];
        snprintf(name, sizeof name, "%s/%s", prefix, w->name);
        double scale = sqrt(2.0 / (double)(w->n_elems / w->dims[0]));
        double offset = 0.0;
        if (w->role == PARE_ROLE_GAMMA || w->role == PARE_ROLE_VAR) {
            scale = w->role == PARE_ROLE_GAMMA ? 0.3 : 0.5;
            offset = 1.0;
        } else if (w->role == PARE_ROLE_BETA || w->role == PARE_ROLE_BIAS) {
            scale = 0.2;
        } else if (w->role == PARE_ROLE_MEAN) {
            scale = 0.1;
        }
        fill_values(name, w->n_elems, scale, offset, model_weight_data(m, i));
    }
}

static inline int32_t add_two(struct model *m, const char *name, int32_t a, int32_t b) {
    return add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = name, .inputs = {a, b}});
}

static inline int32_t add_shortcut(struct model *m, const char *name, int32_t in,
                                   int32_t channels) {
    return add_node(m, (struct node_spec){.op = PARE_OP_SHORTCUT_A,
                                          .name = name,
                                          .inputs = {in},
                                          .out_channels = channels,
                                          .stride_h = 2,
                                          .stride_w = 2});
}

/* One residual block of the script's resnet8. */
static inline int32_t add_resnet8_block(struct model *m, int stage, char option, int32_t in) {
    const int32_t channels = 6 << stage;
    const int32_t stride = stage == 0 ? 1 : 2;
    char name[64];
#define BLOCK_NAME(part) (snprintf(name, sizeof name, "layer%d." part, stage + 1), name)
    int32_t x = add_conv(m, BLOCK_NAME("conv1"), in, channels, 3, stride, 1, 0);
    x = add_simple(m, PARE_OP_BATCH_NORM, BLOCK_NAME("bn1"), x);
    x = add_simple(m, PARE_OP_RELU, BLOCK_NAME("relu1"), x);
    x = add_conv(m, BLOCK_NAME("conv2"), x, channels, 3, 1, 1, 0);
    x = add_simple(m, PARE_OP_BATCH_NORM, BLOCK_NAME("bn2"), x);
    int32_t side = in;
    if (stage > 0 && option == 'A') {
        side = add_shortcut(m, BLOCK_NAME("shortcut"), in, channels);
    } else if (stage > 0) {
        side = add_conv(m, BLOCK_NAME("down"), in, channels, 1, 2, 0, 0);
        side = add_simple(m, PARE_OP_BATCH_NORM, BLOCK_NAME("downbn"), side);
    }
    x = add_two(m, BLOCK_NAME("add"), side, x);
    return add_simple(m, PARE_OP_RELU, BLOCK_NAME("relu2"), x);
#undef BLOCK_NAME
}

static inline struct model *make_resnet8(char option) {
    struct model *m = new_model("resnet8", 12, 12, 3);
    int32_t x = add_conv(m, "conv1", 0, 6, 3, 1, 1, 0);
    x = add_simple(m, PARE_OP_BATCH_NORM, "bn1", x);
    x = add_simple(m, PARE_OP_RELU, "relu1", x);
    for (int stage = 0; stage < 3; stage++) {
        x = add_resnet8_block(m, stage, option, x);
    }
    x = add_simple(m, PARE_OP_GLOBAL_AVG_POOL, "pool", x);
    add_linear(m, "fc", x, 10);
    finish_model(m);
    fill_weights(m, option == 'A' ? "resnet8a" : "resnet8b");
    return m;
}

static inline struct model *make_resnet8_a(void) {
    return make_resnet8('A');
}

/* The script's lenet: 6-10-30-10 on 12x12x3. */
static inline struct model *make_small_lenet(void) {
    struct model *m = new_model("lenet", 12, 12, 3);
    int32_t x = add_conv(m, "conv1", 0, 6, 3, 1, 0, 1);
    x = add_simple(m, PARE_OP_RELU, "relu1", x);
    x = add_pool(m, PARE_OP_MAX_POOL, "pool1", x, 2, 2);
    x = add_conv(m, "conv2", x, 10, 2, 1, 0, 1);
    x = add_simple(m, PARE_OP_RELU, "relu2", x);
    x = add_pool(m, PARE_OP_MAX_POOL, "pool2", x, 2, 2);
    x = add_simple(m, PARE_OP_FLATTEN, "flatten", x);
    x = add_linear(m, "fc1", x, 30);
    x = add_simple(m, PARE_OP_RELU, "relu3", x);
    add_linear(m, "fc2", x, 10);
    finish_model(m);
    fill_weights(m, "lenet");
    return m;
}

/* A data set of 20 images that all tests of training share; `pixels` and `labels` hold it. */
enum { TINY_IMAGES = 20, TINY_ELEMS = 12 * 12 * 3 };

static inline struct dataset tiny_dataset(uint8_t *pixels, uint8_t *labels) {
    static float raw[TINY_IMAGES * TINY_ELEMS];
    fill_values("images", TINY_IMAGES * TINY_ELEMS, 127.5, 127.5, raw);
    for (int i = 0; i < TINY_IMAGES * TINY_ELEMS; i++) {
        pixels[i] = (uint8_t)raw[i];
    }
    fill_values("labels", TINY_IMAGES, 5.0, 5.0, raw);
    for (int i = 0; i < TINY_IMAGES; i++) {
        labels[i] = (uint8_t)raw[i] > 9 ? 9 : (uint8_t)raw[i];
    }
    struct dataset ds = {
        .name = "tiny",
        .dims = {12, 12, 3},
        .n_classes = 10,
        .mean = {0.5f, 0.5f, 0.5f},
        .stddev = {0.25f, 0.25f, 0.25f},
    };
    ds.splits[SPLIT_TRAIN] = (struct dataset_split){TINY_IMAGES, pixels, labels};
    ds.splits[SPLIT_TEST] = ds.splits[SPLIT_TRAIN];
    return ds;
}

#endif
