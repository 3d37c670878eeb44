/* SPDX-License-Identifier: MIT */
/* The checked setters and folding. A failure must leave the model as it was. */
#include "core/rng.h"
#include "model_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>

static void expect(pare_status got, pare_status wanted, const struct error *err, const char *text) {
    if (got != wanted)
        fail_msg("status %d (%s), wanted %d and \"%s\"", got, err->text, wanted, text);
    if (wanted != PARE_OK && strstr(err->text, text) == NULL)
        fail_msg("message is \"%s\", wanted \"%s\" in it", err->text, text);
}

static void verify(const struct model *m) {
    struct error err = {0};
    expect(model_verify(m, &err), PARE_OK, &err, "");
}

/* ---- set_weight, set_mask ---- */

static void test_set_weight(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_lenet300();
    int32_t w = model_find_weight(m, "fc3.weight");
    const pare_weight *view = m->graph.weights[w];
    const float *place = view->data;
    float values[1000];
    uint8_t mask[1000];
    for (int i = 0; i < 1000; i++) {
        values[i] = (float)(i + 1);
        mask[i] = i % 2 == 0;
    }
    expect(model_set_weight(m, w, values, &err), PARE_OK, &err, "");
    expect(model_set_mask(m, w, mask, &err), PARE_OK, &err, "");
    assert_true(view->data[2] == 3.0f && view->data[3] == 0.0f);
    expect(model_set_weight(m, w, values, &err), PARE_OK, &err, "");
    assert_true(view->data[2] == 3.0f && view->data[3] == 0.0f);
    assert_ptr_equal(view->data, place);
    values[7] = NAN;
    values[0] = -5.0f;
    expect(model_set_weight(m, w, values, &err), PARE_E_NUMERIC, &err,
           "fc3.weight[7]: value is nan");
    assert_true(view->data[0] == 1.0f);
    expect(model_set_weight(m, 99, values, &err), PARE_E_ARG, &err, "weight is 99, wanted 0..5");
    expect(model_set_weight(m, w, NULL, &err), PARE_E_ARG, &err, "there is no data");
    mask[10] = 2;
    expect(model_set_mask(m, w, mask, &err), PARE_E_RANGE, &err, "fc3.weight[10]: mask is 2");
    assert_int_equal(view->mask[10], 1);
    expect(model_set_mask(m, w, NULL, &err), PARE_OK, &err, "");
    assert_null(view->mask);
    verify(m);
    model_destroy(m);
}

static void test_statistics(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet(1, 'A', 8, 3);
    int32_t var = model_find_weight(m, "bn1.running_var");
    float values[16] = {1, -1};
    uint8_t mask[16] = {0};
    expect(model_set_weight(m, var, values, &err), PARE_E_RANGE, &err, "variance is -1");
    expect(model_set_mask(m, var, mask, &err), PARE_E_UNSUPPORTED, &err, "running statistics");
    model_destroy(m);
}

/* ---- set_weight_quant ---- */

static struct model *small_linear(void) {
    struct model *m = new_model("small", 1, 1, 4);
    add_linear(m, "fc", add_simple(m, PARE_OP_FLATTEN, "flat", 0), 2);
    finish_model(m);
    return m;
}

static void test_quant_codes(void **state) {
    (void)state;
    struct error err;
    struct model *m = small_linear();
    const pare_weight *w = m->graph.weights[0];
    /* 0.3 is no float: data must be the float product all the same. Ties go to even: 2.5 -> 2. */
    const float values[8] = {0.9f, -0.3f, 10.0f, 0.0f, 2.5f, 3.5f, -2.5f, -100.0f};
    const float scales[2] = {0.3f, 1.0f};
    const int16_t wanted[8] = {3, -1, 7, 0, 2, 4, -2, -7};
    pare_quant q = {.bits = 4, .qmin = -7, .qmax = 7, .axis = 0, .n = 2, .scale = scales};
    expect(model_set_weight(m, 0, values, &err), PARE_OK, &err, "");
    expect(model_set_weight_quant(m, 0, &q, NULL, &err), PARE_OK, &err, "");
    for (int i = 0; i < 8; i++) {
        assert_int_equal(w->codes[i], wanted[i]);
        assert_true(w->data[i] == scales[i / 4] * (float)wanted[i]);
    }
    assert_ptr_not_equal(w->quant.scale, scales);
    verify(m);
    const int16_t codes[8] = {7, -7, 0, 1, 2, 3, 4, 5};
    expect(model_set_weight_quant(m, 0, &q, codes, &err), PARE_OK, &err, "");
    assert_memory_equal(w->codes, codes, sizeof codes);
    const int16_t bad[8] = {0, 0, 0, 0, 0, 8, 0, 0};
    expect(model_set_weight_quant(m, 0, &q, bad, &err), PARE_E_RANGE, &err,
           "fc.weight[5]: code is 8");
    assert_memory_equal(w->codes, codes, sizeof codes);
    expect(model_set_weight(m, 0, values, &err), PARE_OK, &err, "");
    assert_null(w->codes);
    assert_int_equal(w->quant.bits, 0);
    model_destroy(m);
}

static void test_quant_mask(void **state) {
    (void)state;
    struct error err;
    struct model *m = small_linear();
    const pare_weight *w = m->graph.weights[0];
    const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8}, scale = 1.0f;
    const uint8_t mask[8] = {1, 0, 1, 0, 1, 1, 1, 1};
    const int16_t codes[8] = {1, 1, 1, 0, 1, 1, 1, 1};
    pare_quant q = {.bits = 2, .qmin = -1, .qmax = 1, .axis = -1, .n = 1, .scale = &scale};
    model_set_weight(m, 0, values, &err);
    model_set_weight_quant(m, 0, &q, NULL, &err);
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
    assert_true(w->codes[1] == 0 && w->data[1] == 0.0f && w->codes[0] == 1);
    expect(model_set_weight_quant(m, 0, &q, codes, &err), PARE_E_ARG, &err,
           "fc.weight[1]: code is 1");
    q = (pare_quant){.bits = 1, .qmin = -1, .qmax = 1, .axis = -1, .n = 1, .scale = &scale};
    expect(model_set_weight_quant(m, 0, &q, NULL, &err), PARE_E_UNSUPPORTED, &err, "no code 0");
    assert_int_equal(w->quant.bits, 2);
    expect(model_set_mask(m, 0, NULL, &err), PARE_OK, &err, "");
    expect(model_set_weight_quant(m, 0, &q, NULL, &err), PARE_OK, &err, "");
    assert_true(w->codes[1] == 1 && w->data[1] == 1.0f); /* the sign of 0 counts as positive */
    expect(model_set_mask(m, 0, mask, &err), PARE_E_UNSUPPORTED, &err, "binary weights");
    expect(model_set_weight_quant(m, 0, &q, (int16_t[8]){1, 1, 0}, &err), PARE_E_RANGE, &err,
           "fc.weight[2]: code is 0, wanted -1 or 1");
    verify(m);
    model_destroy(m);
}

static void test_quant_refused(void **state) {
    (void)state;
    struct error err;
    struct model *m = small_linear();
    const float good[2] = {1, 1}, zero[2] = {1, 0}, nan[2] = {NAN, 1}, huge[2] = {FLT_MAX, 1};
    const int32_t point[2] = {0, 1};
    const struct {
        pare_quant q;
        pare_status status;
        const char *text;
    } cases[] = {
        {{17, -1, 1, -1, 1, good, NULL}, PARE_E_RANGE, "fc.weight: bits is 17"},
        {{8, -128, 127, -1, 1, good, NULL}, PARE_E_RANGE, "in [-128,127], wanted [-m,m]"},
        {{4, -8, 8, -1, 1, good, NULL}, PARE_E_RANGE, "m in 1..7"},
        {{1, 0, 1, -1, 1, good, NULL}, PARE_E_RANGE, "wanted [-1,1]"},
        {{4, -7, 7, 1, 2, good, NULL}, PARE_E_RANGE, "axis is 1"},
        {{4, -7, 7, 0, 1, good, NULL}, PARE_E_ARG, "1 scales with axis 0, wanted 2"},
        {{4, -7, 7, -1, 2, good, NULL}, PARE_E_ARG, "wanted 1"},
        {{4, -7, 7, 0, 2, NULL, NULL}, PARE_E_ARG, "no scales"},
        {{4, -7, 7, 0, 2, zero, NULL}, PARE_E_NUMERIC, "scale 1 is 0"},
        {{4, -7, 7, 0, 2, nan, NULL}, PARE_E_NUMERIC, "scale 0 is nan"},
        {{4, -7, 7, 0, 2, huge, NULL}, PARE_E_NUMERIC, "too large for codes up to 7"},
        {{4, -7, 7, 0, 2, good, point}, PARE_E_UNSUPPORTED, "zero point 1 is 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_status got = model_set_weight_quant(m, 0, &cases[i].q, NULL, &err);
        expect(got, cases[i].status, &err, cases[i].text);
        assert_int_equal(m->graph.weights[0]->quant.bits, 0);
    }
    expect(model_set_weight_quant(m, 0, NULL, NULL, &err), PARE_E_ARG, &err, "no quantization");
    pare_quant q = {8, -127, 127, -1, 1, good, NULL};
    expect(model_set_weight_quant(m, 1, &q, NULL, &err), PARE_E_UNSUPPORTED, &err,
           "fc.bias: only weights");
    model_destroy(m);
}

/* ---- set_activation_quant ---- */

static void test_activation_quant(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_lenet300();
    const float scale = 0.1f;
    const int32_t zero = -3;
    pare_quant q = {8, -128, 127, -1, 1, &scale, &zero};
    int32_t relu = model_find_node(m, "relu1");
    const pare_node *node = m->graph.nodes[relu];
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_OK, &err, "");
    expect(model_set_activation_quant(m, 0, &q, &err), PARE_OK, &err, "");
    assert_true(node->activation.scale[0] == 0.1f && node->activation.zero_point[0] == -3);
    verify(m);
    expect(model_set_activation_quant(m, model_find_node(m, "fc1"), &q, &err), PARE_E_UNSUPPORTED,
           &err, "fc1: feeds only the relu relu1 and is never stored; quantize relu1");
    expect(model_set_activation_quant(m, model_find_node(m, "fc3"), &q, &err), PARE_E_UNSUPPORTED,
           &err, "fc3: the last node");
    expect(model_set_activation_quant(m, 77, &q, &err), PARE_E_ARG, &err, "node is 77");
    q.qmax = 128;
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_E_RANGE, &err,
           "relu1: codes of 8 bits");
    q = (pare_quant){4, -8, 8, -1, 1, &scale, &zero};
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_E_RANGE, &err, "at most 16 values");
    q = (pare_quant){4, 0, 15, -1, 1, &scale, &zero};
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_E_RANGE, &err, "zero point is -3");
    q = (pare_quant){8, -128, 127, 0, 1, &scale, &zero};
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_E_UNSUPPORTED, &err, "axis is 0");
    q = (pare_quant){12, -2048, 2047, -1, 1, &scale, NULL};
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_OK, &err, "");
    assert_int_equal(node->activation.zero_point[0], 0);
    q.bits = 0;
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_OK, &err, "");
    assert_int_equal(node->activation.bits, 0);
    model_destroy(m);
}

/* ---- folding ---- */

/* A naive forward in double for the ops of the network below, image (8,8,2) -> value of the last
 * node, (n_classes). Values are kept in a row per node. */
enum { MAX_VALUE = 8 * 8 * 8 };

static double conv_at(const pare_node *n, const double *in, const int32_t d[3], int32_t y,
                      int32_t x, int32_t oc) {
    const pare_weight *w = n->weights[PARE_ROLE_WEIGHT], *b = n->weights[PARE_ROLE_BIAS];
    double sum = b != NULL ? (double)b->data[oc] : 0.0;
    const float *k = w->data + oc * (w->n_elems / w->dims[0]);
    for (int32_t i = 0; i < n->kernel_h; i++)
        for (int32_t j = 0; j < n->kernel_w; j++)
            for (int32_t c = 0; c < d[2]; c++, k++) {
                int32_t yy = y * n->stride_h + i - n->pad_h, xx = x * n->stride_w + j - n->pad_w;
                if (yy >= 0 && yy < d[0] && xx >= 0 && xx < d[1])
                    sum += (double)*k * in[(yy * d[1] + xx) * d[2] + c];
            }
    return sum;
}

static double linear_at(const pare_node *n, const double *in, int32_t o) {
    const pare_weight *w = n->weights[PARE_ROLE_WEIGHT];
    double sum = n->weights[PARE_ROLE_BIAS] ? (double)n->weights[PARE_ROLE_BIAS]->data[o] : 0.0;
    for (int64_t i = 0; i < w->dims[1]; i++)
        sum += (double)w->data[o * w->dims[1] + i] * in[i];
    return sum;
}

static double bn_at(const pare_node *n, double x, int32_t c) {
    const float *p[6];
    for (int i = 2; i < 6; i++)
        p[i] = n->weights[i]->data;
    return (double)p[PARE_ROLE_GAMMA][c] * (x - (double)p[PARE_ROLE_MEAN][c]) /
               sqrt((double)p[PARE_ROLE_VAR][c] + (double)n->eps) +
           (double)p[PARE_ROLE_BETA][c];
}

static void forward(const struct model *m, const double *image, double *logits) {
    static double value[16][MAX_VALUE];
    const pare_graph *g = &m->graph;
    memcpy(value[0], image, sizeof(double) * 8 * 8 * 2);
    for (int32_t i = 1; i < g->n_nodes; i++) {
        const pare_node *n = g->nodes[i];
        const double *in = value[n->inputs[0]];
        const int32_t *d = g->nodes[n->inputs[0]]->dims;
        int32_t count = n->dims[0] * n->dims[1] * n->dims[2];
        for (int32_t k = 0; k < count; k++) {
            int32_t c = k % n->dims[2], x = k / n->dims[2] % n->dims[1],
                    y = k / n->dims[2] / n->dims[1];
            switch (n->op) {
            case PARE_OP_CONV2D:
                value[i][k] = conv_at(n, in, d, y, x, c);
                break;
            case PARE_OP_LINEAR:
                value[i][k] = linear_at(n, in, c);
                break;
            case PARE_OP_BATCH_NORM:
                value[i][k] = bn_at(n, in[k], c);
                break;
            case PARE_OP_RELU:
                value[i][k] = in[k] > 0.0 ? in[k] : 0.0;
                break;
            case PARE_OP_ADD:
                value[i][k] = in[k] + value[n->inputs[1]][k];
                break;
            case PARE_OP_FLATTEN:
                value[i][k] = in[k];
                break;
            default:
                fail_msg("forward: no %s here", op_name(n->op));
            }
        }
    }
    memcpy(logits, value[g->n_nodes - 1], sizeof(double) * (size_t)g->n_classes);
}

/* conv -> bn -> relu -> conv(bias) -> bn, + the first relu, a bn that cannot be folded, flatten,
 * linear -> bn at the end. */
static struct model *foldable(uint64_t seed) {
    struct model *m = new_model("foldable", 8, 8, 2);
    int32_t a = add_simple(m, PARE_OP_BATCH_NORM, "bn1", add_conv(m, "conv1", 0, 4, 3, 2, 1, 0));
    a = add_simple(m, PARE_OP_RELU, "relu1", a);
    int32_t b = add_simple(m, PARE_OP_BATCH_NORM, "bn2", add_conv(m, "conv2", a, 4, 3, 1, 1, 1));
    b = add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {b, a}});
    b = add_simple(m, PARE_OP_BATCH_NORM, "bn3", b);
    b = add_simple(m, PARE_OP_FLATTEN, "flat", b);
    add_simple(m, PARE_OP_BATCH_NORM, "bn4", add_linear(m, "fc", b, 3));
    finish_model(m);
    model_init_weights(m, seed);
    pare_rng rng;
    rng_init(&rng, seed, "fold", 0);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        for (int64_t k = 0; w->role != PARE_ROLE_WEIGHT && k < w->n_elems; k++)
            model_weight_data(m, i)[k] =
                w->role == PARE_ROLE_VAR ? 0.1f + rng_float(&rng) : 2.0f * rng_float(&rng) - 1.0f;
    }
    return m;
}

static void check_fold(struct model *m) {
    struct error err = {0};
    double image[8 * 8 * 2], before[3], after[3];
    pare_rng rng;
    rng_init(&rng, 5, "image", 0);
    for (int i = 0; i < 8 * 8 * 2; i++)
        image[i] = rng_double(&rng);
    forward(m, image, before);
    expect(model_fold_batch_norm(m, &err), PARE_OK, &err, "");
    verify(m);
    assert_int_equal(model_find_node(m, "bn1"), -1);
    assert_int_equal(model_find_node(m, "bn4"), -1);
    assert_true(model_find_node(m, "bn3") >= 0);
    assert_int_equal(m->graph.n_nodes, 8);
    for (int32_t i = 0; i < m->graph.n_nodes; i++)
        assert_int_equal(m->graph.nodes[i]->index, i);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        assert_int_equal(w->index, i);
        assert_ptr_equal(m->graph.nodes[w->node]->weights[w->role], w);
    }
    forward(m, image, after);
    for (int i = 0; i < 3; i++) /* only the rounding of folded values to float differs */
        assert_true(fabs(after[i] - before[i]) <= 2e-6 * (1.0 + fabs(before[i])));
}

static void test_fold_float(void **state) {
    (void)state;
    struct model *m = foldable(1);
    check_fold(m);
    assert_true(model_find_weight(m, "conv1.bias") == 1);
    assert_int_equal(m->graph.nodes[model_find_node(m, "relu1")]->n_consumers, 2);
    model_destroy(m);
}

static void test_fold_masked(void **state) {
    (void)state;
    struct error err;
    struct model *m = foldable(2);
    uint8_t mask[4 * 3 * 3 * 2];
    for (size_t i = 0; i < sizeof mask; i++)
        mask[i] = i % 3 == 0;
    int32_t w = model_find_weight(m, "conv1.weight");
    expect(model_set_mask(m, w, mask, &err), PARE_OK, &err, "");
    check_fold(m);
    w = model_find_weight(m, "conv1.weight");
    assert_memory_equal(m->graph.weights[w]->mask, mask, sizeof mask);
    assert_false(signbit(m->graph.weights[w]->data[1]));
    model_destroy(m);
}

/* Negative factors flip codes, a factor of 0 makes them 0, one scale becomes one per channel. */
static void test_fold_quantized(void **state) {
    (void)state;
    struct error err;
    struct model *m = foldable(3);
    float *gamma = model_weight_data(m, model_find_weight(m, "bn1.weight"));
    const float gammas[4] = {0.5f, -0.25f, 0.0f, 1e-45f};
    memcpy(gamma, gammas, sizeof gammas);
    model_weight_data(m, model_find_weight(m, "bn1.running_var"))[3] = 4.0f;
    int32_t w = model_find_weight(m, "conv1.weight");
    const float scale = 0.01f;
    pare_quant q = {4, -7, 7, -1, 1, &scale, NULL};
    expect(model_set_weight_quant(m, w, &q, NULL, &err), PARE_OK, &err, "");
    int16_t codes[4 * 18];
    memcpy(codes, m->graph.weights[w]->codes, sizeof codes);
    check_fold(m);
    const pare_weight *view = m->graph.weights[model_find_weight(m, "conv1.weight")];
    assert_int_equal(view->quant.n, 4);
    assert_int_equal(view->quant.axis, 0);
    const int sign[4] = {1, -1, 0, 0};
    for (int i = 0; i < 4 * 18; i++)
        assert_int_equal(view->codes[i], sign[i / 18] * codes[i]);
    assert_true(view->quant.scale[2] == scale && view->quant.scale[3] == scale);
    model_destroy(m);
}

static void test_fold_binary(void **state) {
    (void)state;
    struct error err;
    struct model *m = foldable(4);
    model_weight_data(m, model_find_weight(m, "bn2.weight"))[1] = 0.0f;
    const float scale = 0.1f;
    pare_quant q = {1, -1, 1, -1, 1, &scale, NULL};
    expect(model_set_weight_quant(m, model_find_weight(m, "conv2.weight"), &q, NULL, &err), PARE_OK,
           &err, "");
    check_fold(m);
    const pare_weight *view = m->graph.weights[model_find_weight(m, "conv2.weight")];
    assert_int_equal(view->quant.bits, 1);
    assert_true(view->quant.scale[1] == FLT_MIN);
    model_destroy(m);
}

static void test_fold_activations(void **state) {
    (void)state;
    struct error err;
    struct model *m = foldable(5);
    const float scale = 0.5f;
    const int32_t zero = 3;
    pare_quant q = {8, -128, 127, -1, 1, &scale, &zero};
    expect(model_set_activation_quant(m, model_find_node(m, "bn1"), &q, &err), PARE_E_UNSUPPORTED,
           &err, "bn1: feeds only the relu relu1");
    expect(model_set_activation_quant(m, model_find_node(m, "bn2"), &q, &err), PARE_OK, &err, "");
    expect(model_set_activation_quant(m, model_find_node(m, "conv2"), &q, &err), PARE_OK, &err, "");
    expect(model_fold_batch_norm(m, &err), PARE_E_STATE, &err, "conv2: its value is quantized");
    assert_true(model_find_node(m, "bn1") >= 0);
    expect(model_set_activation_quant(m, model_find_node(m, "conv2"), NULL, &err), PARE_OK, &err,
           "");
    check_fold(m);
    const pare_node *conv2 = m->graph.nodes[model_find_node(m, "conv2")];
    assert_true(conv2->activation.bits == 8 && conv2->activation.scale[0] == 0.5f &&
                conv2->activation.zero_point[0] == 3);
    model_destroy(m);
}

/* A pruned channel: its gamma and beta are masked, and so is the folded bias, there only. */
static void test_fold_pruned_channel(void **state) {
    (void)state;
    struct error err;
    struct model *m = foldable(7);
    const uint8_t mask[4] = {1, 1, 0, 1};
    expect(model_set_mask(m, model_find_weight(m, "bn2.weight"), mask, &err), PARE_OK, &err, "");
    expect(model_set_mask(m, model_find_weight(m, "bn2.bias"), mask, &err), PARE_OK, &err, "");
    expect(model_set_mask(m, model_find_weight(m, "conv1.bias"), mask, &err), PARE_E_ARG, &err,
           "-1");
    check_fold(m);
    const pare_weight *bias = m->graph.weights[model_find_weight(m, "conv2.bias")];
    assert_memory_equal(bias->mask, mask, sizeof mask);
    assert_true(bias->data[2] == 0.0f && bias->data[1] != 0.0f);
    assert_null(m->graph.weights[model_find_weight(m, "conv1.bias")]->mask);
    model_destroy(m);
}

/* Before model_finish nobody knows who reads a value. */
static void test_unfinished(void **state) {
    (void)state;
    struct error err;
    struct model *m = new_model("m", 1, 1, 4);
    const float scale = 1.0f;
    pare_quant q = {8, -128, 127, -1, 1, &scale, NULL};
    expect(model_set_activation_quant(m, 0, &q, &err), PARE_E_STATE, &err, "not finished");
    expect(model_fold_batch_norm(m, &err), PARE_E_STATE, &err, "not finished");
    model_destroy(m);
}

static void test_fold_overflow(void **state) {
    (void)state;
    struct error err;
    struct model *m = foldable(6);
    model_weight_data(m, model_find_weight(m, "bn2.weight"))[0] = FLT_MAX;
    model_weight_data(m, model_find_weight(m, "bn2.running_var"))[0] = 0.0f;
    float first = model_weight_data(m, model_find_weight(m, "conv1.weight"))[0];
    expect(model_fold_batch_norm(m, &err), PARE_E_NUMERIC, &err, "conv2.weight[");
    assert_int_equal(m->graph.n_nodes, 11);
    assert_true(m->graph.weights[model_find_weight(m, "conv1.weight")]->data[0] == first);
    verify(m);
    model_destroy(m);
}

static void test_verify(void **state) {
    (void)state;
    struct error err;
    struct model *m = small_linear();
    const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8}, scale = 1.0f;
    pare_quant q = {8, -127, 127, -1, 1, &scale, NULL};
    const uint8_t mask[8] = {1, 0, 1, 1, 1, 1, 1, 1};
    model_set_weight(m, 0, values, &err);
    model_set_mask(m, 0, mask, &err);
    verify(m);
    model_weight_data(m, 0)[1] = 0.5f;
    expect(model_verify(m, &err), PARE_E_STATE, &err, "fc.weight[1]: pruned, but its value is 0.5");
    model_weight_data(m, 0)[1] = 0.0f;
    model_set_weight_quant(m, 0, &q, NULL, &err);
    model_weight_data(m, 0)[3] = 4.5f;
    expect(model_verify(m, &err), PARE_E_STATE, &err,
           "fc.weight[3]: value is 4.5, wanted scale * code");
    model_weight_data(m, 0)[3] = INFINITY;
    expect(model_verify(m, &err), PARE_E_NUMERIC, &err, "fc.weight[3]: value is inf");
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_weight),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_quant_codes),
        cmocka_unit_test(test_quant_mask),
        cmocka_unit_test(test_quant_refused),
        cmocka_unit_test(test_activation_quant),
        cmocka_unit_test(test_fold_float),
        cmocka_unit_test(test_fold_masked),
        cmocka_unit_test(test_fold_quantized),
        cmocka_unit_test(test_fold_binary),
        cmocka_unit_test(test_fold_activations),
        cmocka_unit_test(test_fold_overflow),
        cmocka_unit_test(test_fold_pruned_channel),
        cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_verify),
    };
    return cmocka_run_group_tests_name("model_change", tests, NULL, NULL);
}
