/* SPDX-License-Identifier: MIT */
/* Model files: whatever is loaded is a valid model, and storing and loading it again works. */
#include "fuzz.h"

#include "../unit/model_fixtures.h"

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

/* 0: float; 1: masked; 2..: quantized and masked, with quantized values. */
uint8_t *fuzz_seed(int index, size_t *n_bytes) {
    static const int32_t bits[] = {0, 0, 1, 2, 4, 7, 12};
    struct error err;
    uint8_t *data = NULL;
    if (index >= (int)(sizeof bits / sizeof *bits))
        return NULL;
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
