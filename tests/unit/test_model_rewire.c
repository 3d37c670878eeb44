/* SPDX-License-Identifier: MIT */
/* Quantize nodes put in, relus taken out, and values of 1 bit. */
#include "model_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void expect(pare_status got, pare_status wanted, const struct error *err, const char *text) {
    if (got != wanted)
        fail_msg("status %d (%s), wanted %d and \"%s\"", got, err->text, wanted, text);
    if (wanted != PARE_OK && strstr(err->text, text) == NULL)
        fail_msg("message is \"%s\", wanted \"%s\" in it", err->text, text);
}

static const pare_node *node_named(const struct model *m, const char *name) {
    int32_t i = model_find_node(m, name);
    assert_true(i >= 0);
    return m->graph.nodes[i];
}

static const char *input_name(const struct model *m, const char *name, int slot) {
    return m->graph.nodes[node_named(m, name)->inputs[slot]]->name;
}

static int32_t insert(struct model *m, const char *reader, int32_t slot) {
    struct error err;
    int32_t made = -1;
    expect(model_insert_quantize(m, model_find_node(m, reader), slot, &err, &made), PARE_OK, &err,
           "");
    assert_int_equal(m->graph.nodes[made]->op, PARE_OP_QUANTIZE);
    assert_int_equal(model_find_node(m, reader), made + 1);
    return made;
}

static pare_quant signs_of(const float *scale) {
    return (pare_quant){.bits = 1, .qmin = -1, .qmax = 1, .axis = -1, .n = 1, .scale = scale};
}

/* Indices, names and counts agree with each other. */
static void check_lists(const struct model *m) {
    const pare_graph *g = &m->graph;
    int32_t n_weights = 0;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const pare_node *node = g->nodes[i];
        assert_int_equal(node->index, i);
        int32_t readers = 0;
        for (int32_t k = i + 1; k < g->n_nodes; k++)
            for (int32_t s = 0; s < g->nodes[k]->n_inputs; s++)
                readers += g->nodes[k]->inputs[s] == i;
        assert_int_equal(node->n_consumers, readers);
        for (int32_t s = 0; s < node->n_inputs; s++)
            assert_in_range(node->inputs[s], 0, i - 1);
        for (int role = 0; role < PARE_N_ROLES; role++) {
            if (node->weights[role] == NULL)
                continue;
            assert_int_equal(node->weights[role]->node, i);
            assert_ptr_equal(g->weights[node->weights[role]->index], node->weights[role]);
            n_weights++;
        }
    }
    assert_int_equal(g->n_weights, n_weights);
}

/* The stem's relu is read by the first block's convolution and by its add: only the one named reads
 * the new node. */
static void test_one_reader(void **state) {
    (void)state;
    struct model *m = make_resnet(1, 'A', 12, 3);
    int32_t n = m->graph.n_nodes;
    const float *data = node_named(m, "layer1.0.conv1")->weights[PARE_ROLE_WEIGHT]->data;
    assert_int_equal(node_named(m, "relu")->n_consumers, 2);
    insert(m, "layer1.0.conv1", 0);
    assert_int_equal(m->graph.n_nodes, n + 1);
    assert_string_equal(input_name(m, "layer1.0.conv1", 0), "layer1.0.conv1.quantize");
    assert_string_equal(input_name(m, "layer1.0.conv1.quantize", 0), "relu");
    assert_string_equal(input_name(m, "layer1.0.add", 1), "relu");
    assert_int_equal(node_named(m, "relu")->n_consumers, 2);
    assert_memory_equal(node_named(m, "layer1.0.conv1.quantize")->dims, node_named(m, "relu")->dims,
                        sizeof(int32_t[3]));
    assert_ptr_equal(node_named(m, "layer1.0.conv1")->weights[PARE_ROLE_WEIGHT]->data, data);
    check_lists(m);
    insert(m, "layer2.0.add", 1);
    assert_string_equal(input_name(m, "layer2.0.add", 1), "layer2.0.add.quantize2");
    insert(m, "fc", 0);
    check_lists(m);
    model_destroy(m);
}

/* Every input of every node of a network. */
static void test_every_input(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet(1, 'B', 12, 3);
    int32_t n = m->graph.n_nodes;
    char names[64][64];
    assert_true(n <= 64);
    for (int32_t i = 0; i < n; i++)
        snprintf(names[i], sizeof names[i], "%s", m->graph.nodes[i]->name);
    for (int32_t i = 0; i < n; i++)
        for (int32_t slot = 0; slot < node_named(m, names[i])->n_inputs; slot++)
            insert(m, names[i], slot);
    check_lists(m);
    expect(model_verify(m, &err), PARE_OK, &err, "");
    model_destroy(m);
}

static void test_refused(void **state) {
    (void)state;
    struct error err;
    int32_t made = -7;
    struct model *m = make_lenet300();
    int32_t fc2 = model_find_node(m, "fc2");
    expect(model_insert_quantize(m, -1, 0, &err, &made), PARE_E_ARG, &err,
           "node is -1, wanted 0..");
    expect(model_insert_quantize(m, m->graph.n_nodes, 0, &err, &made), PARE_E_ARG, &err, "node is");
    expect(model_insert_quantize(m, fc2, 1, &err, &made), PARE_E_ARG, &err,
           "fc2: input is 1, the node has 1");
    expect(model_insert_quantize(m, 0, 0, &err, &made), PARE_E_ARG, &err, "input: input is 0");
    assert_int_equal(made, -7);
    insert(m, "fc2", 0);
    expect(model_insert_quantize(m, fc2 + 1, 0, &err, &made), PARE_E_STATE, &err,
           "fc2: input 0 is quantized by fc2.quantize already");
    expect(model_remove_relu(m, fc2, &err), PARE_E_ARG, &err, "is a quantize, wanted a relu");
    check_lists(m);
    model_destroy(m);
    m = new_model("open", 4, 4, 1);
    add_simple(m, PARE_OP_RELU, "relu", 0);
    expect(model_insert_quantize(m, 1, 0, &err, &made), PARE_E_STATE, &err, "not finished");
    expect(model_remove_relu(m, 1, &err), PARE_E_STATE, &err, "not finished");
    add_simple(m, PARE_OP_RELU, "last", add_simple(m, PARE_OP_FLATTEN, "flat", 1));
    finish_model(m);
    expect(model_remove_relu(m, model_find_node(m, "last"), &err), PARE_E_UNSUPPORTED, &err,
           "last: makes the output");
    model_destroy(m);
}

/* A name that would pass the limit is refused and leaves the model alone. */
static void test_long_name(void **state) {
    (void)state;
    struct error err;
    int32_t made;
    char name[128];
    memset(name, 'x', 124);
    name[124] = '\0';
    struct model *m = new_model("m", 4, 4, 1);
    add_linear(m, name, add_simple(m, PARE_OP_FLATTEN, "flat", 0), 3);
    finish_model(m);
    expect(model_insert_quantize(m, 2, 0, &err, &made), PARE_E_LIMIT, &err,
           "x.quantize: a name of 133 characters, at most 128");
    assert_int_equal(m->graph.n_nodes, 3);
    check_lists(m);
    model_destroy(m);
}

static void test_remove_relu(void **state) {
    (void)state;
    struct error err;
    const float scale = 0.1f;
    pare_quant q = {8, -128, 127, -1, 1, &scale, NULL};
    struct model *m = make_resnet(1, 'A', 12, 3);
    int32_t relu = model_find_node(m, "relu");
    expect(model_set_activation_quant(m, relu, &q, &err), PARE_OK, &err, "");
    expect(model_remove_relu(m, relu, &err), PARE_E_STATE, &err, "relu: its value is quantized");
    expect(model_set_activation_quant(m, relu, NULL, &err), PARE_OK, &err, "");
    expect(model_remove_relu(m, relu, &err), PARE_OK, &err, "");
    assert_int_equal(model_find_node(m, "relu"), -1);
    assert_string_equal(input_name(m, "layer1.0.conv1", 0), "bn1");
    assert_string_equal(input_name(m, "layer1.0.add", 1), "bn1");
    check_lists(m);
    expect(model_fold_batch_norm(m, &err), PARE_OK, &err, "");
    assert_string_equal(input_name(m, "layer1.0.conv1", 0), "conv1");
    check_lists(m);
    model_destroy(m);
}

/* ---- values of 1 bit ---- */

static void test_signs(void **state) {
    (void)state;
    struct error err;
    const float scale = 0.7f;
    const int32_t one = 1;
    struct model *m = make_lenet300();
    int32_t node = insert(m, "fc2", 0);
    pare_quant q = signs_of(&scale);
    expect(model_set_activation_quant(m, node, &q, &err), PARE_OK, &err, "");
    expect(model_verify(m, &err), PARE_OK, &err, "");
    assert_int_equal(m->graph.nodes[node]->activation.bits, 1);
    expect(model_set_activation_quant(m, model_find_node(m, "relu2"), &q, &err), PARE_E_UNSUPPORTED,
           &err, "relu2: only the value of a quantize node can have 1 bit");
    q.qmin = 0;
    expect(model_set_activation_quant(m, node, &q, &err), PARE_E_RANGE, &err, "wanted [-1,1]");
    q = signs_of(&scale);
    q.zero_point = &one;
    expect(model_set_activation_quant(m, node, &q, &err), PARE_E_RANGE, &err,
           "zero point is 1 with 1 bit");
    assert_int_equal(m->graph.nodes[node]->activation.zero_point[0], 0);
    model_destroy(m);
}

/* Saved, loaded and copied, a quantize node and its 1 bit are as they were; a file that puts 1 bit
 * elsewhere is refused. */
static void test_file(void **state) {
    (void)state;
    struct error err;
    const float scale = 0.7f;
    pare_quant q = signs_of(&scale);
    struct model *m = make_lenet300(), *copy = NULL, *loaded = NULL;
    expect(model_set_activation_quant(m, insert(m, "fc2", 0), &q, &err), PARE_OK, &err, "");
    uint8_t *data = NULL;
    size_t n = 0;
    expect(model_copy(m, &err, &copy), PARE_OK, &err, "");
    expect(model_serialize(copy, NULL, 0, &err, &data, &n), PARE_OK, &err, "");
    expect(model_parse(data, n, "here", &err, &loaded), PARE_OK, &err, "");
    const pare_node *node = node_named(loaded, "fc2.quantize");
    assert_int_equal(node->op, PARE_OP_QUANTIZE);
    assert_int_equal(node->activation.bits, 1);
    assert_true(node->activation.scale[0] == 0.7f && node->activation.qmin == -1);
    check_lists(loaded);
    static const char quantize[] = "\\\"quantize\\\"", relu[] = "\\\"relu\\\"    ";
    size_t at = 0; /* of the operator in the header, which is JSON within JSON */
    while (at + sizeof quantize < n && memcmp(data + at, quantize, sizeof quantize - 1) != 0)
        at++;
    assert_memory_equal(data + at, quantize, sizeof quantize - 1);
    memcpy(data + at, relu, sizeof relu - 1);
    struct model *wrong = NULL;
    expect(model_parse(data, n, "here", &err, &wrong), PARE_E_UNSUPPORTED, &err,
           "only the value of a quantize node");
    free(data);
    model_destroy(m);
    model_destroy(copy);
    model_destroy(loaded);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_reader),  cmocka_unit_test(test_every_input),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_remove_relu), cmocka_unit_test(test_signs),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
