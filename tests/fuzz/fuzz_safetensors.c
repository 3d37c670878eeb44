/* SPDX-License-Identifier: MIT */
/* Model files: whatever is loaded is a valid model, and storing and loading it again works. */
#include "fuzz.h"

#include "../unit/model_fixtures.h"
#include "model/compact.h"

const char *const fuzz_words[] = {"\"dtype\":\"F32\"",
                                  "\"shape\":[",
                                  "\"data_offsets\":[",
                                  "\\\"bits\\\":",
                                  "\\\"axis\\\":-1",
                                  "\\\"encoding\\\":\\\"zeros\\\"",
                                  "\\\"op\\\":\\\"add\\\"",
                                  "\\\"groups\\\":2",
                                  "\\\"pad\\\":[1,1]",
                                  "__metadata__",
                                  "\\\"inputs\\\":[0]",
                                  "\\\"bias\\\":false",
                                  "\"U8\"",
                                  "\\\"encoding\\\":\\\"relative\\\"",
                                  "\\\"encoding\\\":\\\"2:4\\\"",
                                  "\\\"values\\\":\\\"huffman\\\"",
                                  "\\\"gaps\\\":\\\"huffman\\\"",
                                  "\\\"codebook\\\":4",
                                  "\\\"gap_bits\\\":3",
                                  "{",
                                  "]",
                                  NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    struct error err;
    struct model *model = NULL, *again = NULL;
    uint8_t *stored = NULL;
    size_t n_stored = 0;
    if (model_parse(data, n_bytes, "fuzz", &err, &model) != PARE_OK)
        return 0;
    if (model_verify(model, &err) != PARE_OK ||
        model_serialize(model, NULL, 0, &err, &stored, &n_stored) != PARE_OK ||
        model_parse(stored, n_stored, "again", &err, &again) != PARE_OK) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    model_destroy(model);
    model_destroy(again);
    free(stored);
    return 0;
}

/* A bit of everything in some 400 weights, so that most bytes of the file are header. */
static struct model *make_small(void) {
    struct model *m = new_model("small", 4, 4, 1);
    int32_t a = add_simple(m, PARE_OP_RELU, "relu", add_conv_bn(m, "", "1", 0, 2, 3, 1));
    int32_t b = add_residual(m, "a.", a, 4, 2, 'A');
    b = add_residual(m, "b.", b, 4, 1, 'B');
    b = add_pool(m, PARE_OP_MAX_POOL, "pool", b, 2, 1);
    add_linear(m, "fc", add_simple(m, PARE_OP_FLATTEN, "flatten", b), 3);
    finish_model(m);
    return m;
}

/* The inner file of a compact one, so that what is changed is not only deflated bytes. */
static uint8_t *open_form(uint8_t *data, size_t *n_bytes) {
    struct error err;
    struct st_file file;
    uint8_t *inner = NULL;
    if (st_read(data, *n_bytes, &err, &file) != PARE_OK)
        return data;
    if (compact_is(&file) && compact_open(&file, &err, &inner, n_bytes) == PARE_OK) {
        free(data);
        data = inner;
    }
    st_file_clear(&file);
    return data;
}

/* A layer large enough for every way to store weights that leaves some out: gaps, pairs, codebook,
 * codes; every second as the open form. */
static uint8_t *sparse_seed(int index, size_t *n_bytes) {
    struct error err;
    uint8_t *data = NULL;
    uint8_t mask[64 * 32];
    const float scale = 0.02f;
    const pare_quant q = {4, -7, 7, -1, 1, &scale, NULL};
    struct model *m = new_model("sparse", 1, 1, 64);
    add_linear(m, "fc", add_simple(m, PARE_OP_FLATTEN, "flatten", 0), 32);
    finish_model(m);
    model_init_weights(m, (uint64_t)index);
    float *w = model_weight_data(m, 0);
    for (size_t k = 0; k < sizeof mask; k++) {
        mask[k] = index / 2 == 0 ? (k * 7 + k / 64) % 4 < 2 : (k * k + k / 5) % 23 == 0;
        if (index / 2 == 2)
            w[k] = (float)(k % 5) * 0.25f;
    }
    model_set_mask(m, 0, mask, &err);
    if (index / 2 == 3)
        model_set_weight_quant(m, 0, &q, NULL, &err);
    pare_status status = model_serialize(m, NULL, 0, &err, &data, n_bytes);
    model_destroy(m);
    if (status != PARE_OK)
        return NULL;
    return index % 2 == 0 ? open_form(data, n_bytes) : data;
}

/* 0: float; 1: masked; 2..6: quantized and masked, with quantized values; then those above. */
uint8_t *fuzz_seed(int index, size_t *n_bytes) {
    static const int32_t bits[] = {0, 0, 1, 2, 4, 7, 12};
    struct error err;
    uint8_t *data = NULL;
    const int n_small = (int)(sizeof bits / sizeof *bits);
    if (index >= n_small)
        return index < n_small + 8 ? sparse_seed(index - n_small, n_bytes) : NULL;
    struct model *m = make_small();
    model_init_weights(m, (uint64_t)index);
    if (index % 3 == 0)
        model_fold_batch_norm(m, &err);
    const float scale = 0.125f;
    int32_t b = bits[index], qmax = b < 2 ? 1 : (1 << (b - 1)) - 1;
    for (int32_t i = 0; i < m->graph.n_weights; i += 1 + index % 2) {
        uint8_t mask[4 * 4 * 9];
        for (size_t k = 0; k < sizeof mask; k++)
            mask[k] = k % (size_t)(i + 2) == 0;
        if (b != 1 && index > 0) /* refused for statistics: fine here */
            model_set_mask(m, i, mask, &err);
        pare_quant q = {b, -qmax, qmax, -1, 1, &scale, NULL};
        if (b > 0)
            model_set_weight_quant(m, i, &q, NULL, &err);
        pare_quant a = {8, -128, 127, -1, 1, &scale, NULL};
        model_set_activation_quant(m, i % m->graph.n_nodes, &a, &err);
    }
    pare_status status = model_serialize(m, NULL, 0, &err, &data, n_bytes);
    model_destroy(m);
    return status == PARE_OK ? data : NULL;
}

/* The header ends with the last "]}}"; put its length right. */
void fuzz_repair(uint8_t *data, size_t n_bytes) {
    for (size_t end = n_bytes; end > 11; end--)
        if (memcmp(data + end - 3, "]}}", 3) == 0) {
            for (int i = 0; i < 8; i++)
                data[i] = (uint8_t)((uint64_t)(end - 8) >> (8 * i));
            return;
        }
}
