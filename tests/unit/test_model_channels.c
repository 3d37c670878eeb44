/* SPDX-License-Identifier: MIT */
/* Classes of coupled channels, channels removed, and what is refused. That logits stay is shown by
 * tests/kernels/test_backend_surgery.c. */
#include "model_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MOST_CHANNELS = 8192 };

static int32_t node_index(const struct model *m, const char *name) {
    int32_t i = model_find_node(m, name);
    if (i < 0)
        fail_msg("no node %s", name);
    return i;
}

static const pare_weight *weight_at_name(const struct model *m, const char *name) {
    int32_t i = model_find_weight(m, name);
    if (i < 0)
        fail_msg("no weight %s", name);
    return m->graph.weights[i];
}

static int32_t classes_of(const struct model *m, int32_t class_of[MOST_CHANNELS]) {
    struct error err;
    int32_t n = 0;
    int64_t n_channels = model_n_channels(m);
    assert_in_range(n_channels, 1, MOST_CHANNELS);
    assert_int_equal(model_channel_classes(m, n_channels, &err, class_of), PARE_OK);
    for (int64_t k = 0; k < n_channels; k++) {
        assert_true(class_of[k] >= -1 && class_of[k] <= n); /* in order of appearance */
        n += class_of[k] == n;
    }
    return n;
}

static int32_t class_at(const struct model *m, const int32_t *class_of, const char *node,
                        int32_t c) {
    int32_t index = node_index(m, node);
    for (int32_t i = 0; i < index; i++)
        class_of += m->graph.nodes[i]->dims[2];
    return class_of[c];
}

/* Removes the listed channels (-1 ends the list) of one node. */
static pare_status cut(struct model *m, const char *node, const int32_t *channels,
                       struct error *err) {
    const int32_t index = node_index(m, node);
    uint8_t keep[1024];
    const uint8_t *keeps[] = {keep};
    memset(keep, 1, sizeof keep);
    for (; *channels >= 0; channels++)
        keep[*channels] = 0;
    return model_remove_channels(m, 1, &index, keeps, err);
}

static void expect_failure(pare_status got, pare_status wanted, const struct error *err,
                           const char *text) {
    if (got != wanted || strstr(err->text, text) == NULL)
        fail_msg("status %d: \"%s\", wanted %d and \"%s\"", got, err->text, wanted, text);
}

/* ---- classes ---- */

/* Inner channels of each block are classes of their own; those that additions tie are one class
 * per channel: 16 of the first stage, and, by option A, in pairs what the next stages add. */
static void test_resnet_classes(void **state) {
    static int32_t class_of[MOST_CHANNELS];
    (void)state;
    struct model *a = make_resnet(3, 'A', 8, 3);
    int32_t inner = 3 * (16 + 32 + 64);
    assert_int_equal(classes_of(a, class_of), inner + 16 + 16 / 2 + 32 / 2);
    assert_int_equal(class_at(a, class_of, "layer1.0.conv1", 3),
                     class_at(a, class_of, "layer1.0.relu1", 3));
    assert_int_not_equal(class_at(a, class_of, "layer1.0.conv1", 3),
                         class_at(a, class_of, "layer1.1.conv1", 3));
    assert_int_equal(class_at(a, class_of, "conv1", 5), class_at(a, class_of, "layer1.2.conv2", 5));
    assert_int_equal(class_at(a, class_of, "conv1", 5),
                     class_at(a, class_of, "layer2.0.conv2", 8 + 5));
    assert_int_equal(class_at(a, class_of, "conv1", 5), class_at(a, class_of, "pool", 16 + 8 + 5));
    assert_int_equal(class_at(a, class_of, "layer2.1.conv2", 2),
                     class_at(a, class_of, "layer2.2.bn2", 8 + 16 + 2));
    assert_int_equal(class_at(a, class_of, "input", 0), -1);
    assert_int_equal(class_at(a, class_of, "fc", 9), -1);
    model_destroy(a);
    struct model *b = make_resnet(3, 'B', 8, 3);
    assert_int_equal(classes_of(b, class_of), inner + 16 + 32 + 64);
    assert_int_equal(class_at(b, class_of, "layer2.0.shortcut.0", 7),
                     class_at(b, class_of, "layer2.0.conv2", 7));
    model_destroy(b);
}

static void test_other_classes(void **state) {
    static int32_t class_of[MOST_CHANNELS];
    (void)state;
    struct model *m = make_lenet5();
    assert_int_equal(classes_of(m, class_of), 20 + 50 + 500);
    for (int32_t pixel = 0; pixel < 16; pixel++) /* NHWC: the channel is the fastest index */
        assert_int_equal(class_at(m, class_of, "conv2", 11),
                         class_at(m, class_of, "flatten", pixel * 50 + 11));
    model_destroy(m);
    m = make_lenet300();
    assert_int_equal(classes_of(m, class_of), 300 + 100); /* pixels stay */
    model_destroy(m);
    m = make_branchy();
    classes_of(m, class_of);
    /* groups of 4: their channels at the same place; one input each: both outputs of it */
    assert_int_equal(class_at(m, class_of, "stem.conv1", 1),
                     class_at(m, class_of, "stem.conv1", 5));
    assert_int_equal(class_at(m, class_of, "stem.conv1", 1), class_at(m, class_of, "left", 5));
    assert_int_equal(class_at(m, class_of, "right", 1), class_at(m, class_of, "left", 1));
    assert_int_equal(class_at(m, class_of, "wide.q", 2 * 1), class_at(m, class_of, "pool", 1));
    assert_int_equal(class_at(m, class_of, "wide.q", 2 * 1 + 1), class_at(m, class_of, "pool", 1));
    /* 13 - 8 = 5 zero channels: 2 before, 3 after */
    assert_int_equal(class_at(m, class_of, "down", 0), class_at(m, class_of, "down", 10));
    assert_int_not_equal(class_at(m, class_of, "down", 12), class_at(m, class_of, "down", 1));
    model_destroy(m);
}

/* ---- removing ---- */

/* Every tensor is the old one with rows or columns left out. */
static void test_shapes_and_values(void **state) {
    (void)state;
    struct error err;
    struct model *old = make_resnet(1, 'A', 8, 3), *m = NULL;
    model_init_weights(old, 3);
    assert_int_equal(model_copy(old, &err, &m), PARE_OK);
    const int32_t gone[] = {0, 7, 15, -1};
    assert_int_equal(cut(m, "layer1.0.bn1", gone, &err), PARE_OK);
    assert_int_equal(m->graph.n_nodes, old->graph.n_nodes);
    assert_int_equal(m->graph.nodes[node_index(m, "layer1.0.relu1")]->dims[2], 13);
    assert_int_equal(m->graph.nodes[node_index(m, "layer1.0.conv2")]->dims[2], 16);
    assert_int_equal(weight_at_name(m, "layer1.0.bn1.running_var")->n_elems, 13);
    const pare_weight *was = weight_at_name(old, "layer1.0.conv2.weight");
    const pare_weight *is = weight_at_name(m, "layer1.0.conv2.weight");
    assert_int_equal(is->dims[0], 16);
    assert_int_equal(is->dims[3], 13);
    int64_t n = 0;
    for (int64_t k = 0; k < was->n_elems; k++)
        if (k % 16 != 0 && k % 16 != 7 && k % 16 != 15)
            assert_true(is->data[n++] == was->data[k]);
    assert_int_equal(n, is->n_elems);
    was = weight_at_name(old, "layer1.0.conv1.weight");
    is = weight_at_name(m, "layer1.0.conv1.weight");
    assert_memory_equal(is->data, was->data + 144, 6 * 144 * sizeof(float));
    assert_memory_equal(is->data + 6 * 144, was->data + 8 * 144, 7 * 144 * sizeof(float));
    model_destroy(m);
    model_destroy(old);
}

/* A channel of the first stage goes from all three, with the shortcuts' as well. */
static void test_coupled_stages(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet(1, 'A', 8, 3);
    const int32_t first[] = {4, -1}, padding[] = {1, 24, -1};
    assert_int_equal(cut(m, "conv1", first, &err), PARE_OK);
    assert_int_equal(m->graph.nodes[node_index(m, "layer1.0.add")]->dims[2], 15);
    assert_int_equal(m->graph.nodes[node_index(m, "layer2.0.shortcut")]->dims[2], 31);
    assert_int_equal(weight_at_name(m, "fc.weight")->dims[1], 63);
    assert_int_equal(cut(m, "layer2.0.conv2", padding, &err), PARE_OK);
    assert_int_equal(m->graph.nodes[node_index(m, "layer1.0.add")]->dims[2], 15);
    assert_int_equal(m->graph.nodes[node_index(m, "layer2.0.shortcut")]->dims[2], 29);
    assert_int_equal(weight_at_name(m, "fc.weight")->dims[1], 61);
    model_destroy(m);
}

/* Masks, codes and scales are cut alike, and the file has the new shapes. */
static void test_quantized_and_saved(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_lenet5(), *loaded = NULL;
    model_init_weights(m, 3);
    const pare_weight *w = weight_at_name(m, "conv2.weight");
    float scale[50];
    uint8_t mask[50 * 25 * 20];
    for (int32_t k = 0; k < 50; k++)
        scale[k] = 0.001f * (float)(k + 1);
    for (int32_t k = 0; k < 50 * 25 * 20; k++)
        mask[k] = k % 3 != 0;
    pare_quant q = {.bits = 8, .qmin = -127, .qmax = 127, .axis = 0, .n = 50, .scale = scale};
    assert_int_equal(model_set_mask(m, w->index, mask, &err), PARE_OK);
    assert_int_equal(model_set_weight_quant(m, w->index, &q, NULL, &err), PARE_OK);
    q.axis = -1;
    q.n = 1;
    assert_int_equal(
        model_set_weight_quant(m, weight_at_name(m, "fc1.weight")->index, &q, NULL, &err), PARE_OK);
    q.qmin = -128;
    assert_int_equal(model_set_activation_quant(m, node_index(m, "pool2"), &q, &err), PARE_OK);
    int16_t code = w->codes[49 * 500 + 24 * 20 + 19];
    const int32_t outputs[] = {0, 48, -1}, inputs[] = {3, -1};
    assert_int_equal(cut(m, "conv2", outputs, &err), PARE_OK);
    assert_int_equal(cut(m, "pool1", inputs, &err), PARE_OK);
    assert_int_equal(model_verify(m, &err), PARE_OK);
    w = weight_at_name(m, "conv2.weight");
    assert_int_equal(w->dims[0], 48);
    assert_int_equal(w->dims[3], 19);
    assert_int_equal(w->quant.n, 48);
    assert_true(w->quant.scale[0] == scale[1] && w->quant.scale[47] == scale[49]);
    assert_int_equal(w->codes[w->n_elems - 1], code);
    assert_int_equal(w->mask[w->n_elems - 1], mask[50 * 25 * 20 - 1]);
    assert_int_equal(weight_at_name(m, "fc1.weight")->quant.n, 1);
    assert_int_equal(weight_at_name(m, "fc1.weight")->dims[1], 16 * 48);
    assert_int_equal(m->graph.nodes[node_index(m, "pool2")]->activation.bits, 8);
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    assert_int_equal(model_serialize(m, NULL, 0, &err, &bytes, &n_bytes), PARE_OK);
    assert_int_equal(model_parse(bytes, n_bytes, "memory", &err, &loaded), PARE_OK);
    const pare_weight *again = weight_at_name(loaded, "conv2.weight");
    assert_int_equal(again->n_elems, w->n_elems);
    assert_memory_equal(again->data, w->data, (size_t)w->n_elems * sizeof(float));
    free(bytes);
    model_destroy(loaded);
    model_destroy(m);
}

/* ---- what is refused; the model stays as it was ---- */

static void test_refusals(void **state) {
    static int32_t class_of[MOST_CHANNELS];
    (void)state;
    struct error err;
    struct model *m = make_resnet(1, 'A', 8, 3);
    const int32_t some[] = {1, -1};
    int32_t all[17];
    for (int32_t k = 0; k < 16; k++)
        all[k] = k;
    all[16] = -1;
    expect_failure(cut(m, "layer1.0.conv1", all, &err), PARE_E_RANGE, &err,
                   "layer1.0.conv1: all its 16 channels would be removed");
    expect_failure(cut(m, "input", some, &err), PARE_E_ARG, &err, "input: channel 1 is coupled");
    expect_failure(cut(m, "fc", some, &err), PARE_E_ARG, &err, "fc: channel 1 is coupled");

    uint8_t keep_a[16], keep_b[16];
    const uint8_t *keeps[] = {keep_a, keep_b};
    memset(keep_a, 1, sizeof keep_a);
    memset(keep_b, 1, sizeof keep_b);
    keep_b[2] = 0;
    const int32_t nodes[] = {node_index(m, "conv1"), node_index(m, "layer1.0.conv2")};
    expect_failure(model_remove_channels(m, 2, nodes, keeps, &err), PARE_E_ARG, &err,
                   "layer1.0.conv2: channel 2 is to be removed, but conv1: channel 2, which is "
                   "coupled with it, is to be kept");
    keep_b[2] = 2;
    expect_failure(model_remove_channels(m, 2, nodes, keeps, &err), PARE_E_RANGE, &err,
                   "layer1.0.conv2: keep[2] is 2");
    const int32_t none[] = {999};
    expect_failure(model_remove_channels(m, 1, none, keeps, &err), PARE_E_ARG, &err,
                   "node is 999, wanted 0..");
    keeps[0] = NULL;
    expect_failure(model_remove_channels(m, 1, nodes, keeps, &err), PARE_E_ARG, &err,
                   "conv1: does not say which");
    expect_failure(model_channel_classes(m, 3, &err, class_of), PARE_E_ARG, &err, "room for 3");
    assert_int_equal(m->graph.nodes[node_index(m, "layer1.0.conv2")]->dims[2], 16);
    model_destroy(m);

    /* the two partners of a pair of zero channels, named in one node */
    m = make_resnet(1, 'A', 8, 3);
    const int32_t half[] = {0, -1};
    expect_failure(cut(m, "layer2.0.shortcut", half, &err), PARE_E_ARG, &err,
                   "layer2.0.shortcut: channel 24 is to be kept, but layer2.0.shortcut: channel 0");
    model_destroy(m);

    m = new_model("open", 4, 4, 1);
    assert_int_equal(model_n_channels(m), 1);
    expect_failure(model_channel_classes(m, 1, &err, class_of), PARE_E_STATE, &err, "not finished");
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resnet_classes),      cmocka_unit_test(test_other_classes),
        cmocka_unit_test(test_shapes_and_values),   cmocka_unit_test(test_coupled_stages),
        cmocka_unit_test(test_quantized_and_saved), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("model channels", tests, NULL, NULL);
}
