/* SPDX-License-Identifier: MIT */
/* Building graphs: shapes, limits, counts, initial weights. */
#include "model_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

/* ---- counts, against the published figures ---- */

static void check_counts(struct model *m, int64_t params, int64_t macs) {
    struct model_counts c;
    model_count(m, &c);
    assert_int_equal(c.params_total, params);
    assert_int_equal(c.params_nonzero, params);
    assert_int_equal(c.macs_dense, macs);
    assert_int_equal(c.macs_effective, macs);
    int64_t sum = 0;
    for (int32_t i = 0; i < m->graph.n_nodes; i++)
        sum += model_node_macs(&m->graph, i);
    assert_int_equal(sum, macs);
    model_destroy(m);
}

/* LeNet-300-100: 266,610 parameters (Han et al. 2015). MACs: 784*300 + 300*100 + 100*10. */
static void test_counts_lenet300(void **state) {
    (void)state;
    check_counts(make_lenet300(), 266610, 235200 + 30000 + 1000);
}

/* LeNet-5 of Caffe: 431,080 parameters, 2.29 M MACs (Han et al. 2015). */
static void test_counts_lenet5(void **state) {
    (void)state;
    check_counts(make_lenet5(), 431080,
                 24 * 24 * 20 * 25 + 8 * 8 * 50 * 500 + 800 * 500 + 500 * 10);
}

/* ResNet20 option A: 269,722 parameters. MACs by hand: the first layer 27*16*32*32 = 442,368; stage
 * 1 6 layers of 9*16*16*32*32 = 2,359,296; stages 2 and 3 each one layer of 1,179,648 and 5 of
 * 2,359,296; the linear 640. In all 40.55 M. */
static void test_counts_resnet20_a(void **state) {
    (void)state;
    int64_t macs = 442368 + 6 * 2359296 + 2 * (1179648 + 5 * 2359296) + 640;
    assert_int_equal(macs, 40551040);
    check_counts(make_resnet(3, 'A', 32, 3), 269722, macs);
}

/* Option B adds 1x1 convolutions 16*32*16*16 and 32*64*8*8 with their batch norms. */
static void test_counts_resnet20_b(void **state) {
    (void)state;
    check_counts(make_resnet(3, 'B', 32, 3), 272474, 40551040 + 2 * 131072);
}

static void test_counts_with_mask(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_lenet5();
    int32_t w = model_find_weight(m, "conv1.weight");
    uint8_t mask[500];
    for (int i = 0; i < 500; i++)
        mask[i] = i % 5 == 0;
    assert_int_equal(model_set_mask(m, w, mask, &err), PARE_OK);
    struct model_counts c;
    model_count(m, &c);
    assert_int_equal(c.params_nonzero, 431080 - 400);
    assert_int_equal(c.prunable_total, 430500);
    assert_int_equal(c.prunable_nonzero, 430100);
    assert_int_equal(c.macs_dense - c.macs_effective, 400 * 24 * 24);
    model_destroy(m);
}

/* ---- shapes ---- */

static void check_dims(const struct model *m, int32_t node, int32_t rank, int32_t h, int32_t w,
                       int32_t c) {
    const pare_node *n = m->graph.nodes[node];
    assert_int_equal(n->rank, rank);
    assert_int_equal(n->dims[0], h);
    assert_int_equal(n->dims[1], w);
    assert_int_equal(n->dims[2], c);
}

static void test_shapes(void **state) {
    (void)state;
    struct model *m = new_model("shapes", 11, 9, 4);
    int32_t conv = add_node(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                                  .name = "conv",
                                                  .inputs = {0},
                                                  .out_channels = 6,
                                                  .kernel_h = 3,
                                                  .kernel_w = 5,
                                                  .stride_h = 2,
                                                  .pad_h = 1,
                                                  .groups = 2,
                                                  .bias = 1});
    check_dims(m, conv, 3, 6, 5, 6);
    const pare_weight *w = m->graph.nodes[conv]->weights[PARE_ROLE_WEIGHT];
    assert_string_equal(w->name, "conv.weight");
    assert_int_equal(w->rank, 4);
    assert_int_equal(w->dims[0], 6);
    assert_int_equal(w->dims[1], 3);
    assert_int_equal(w->dims[2], 5);
    assert_int_equal(w->dims[3], 2);
    assert_int_equal(w->n_elems, 180);
    assert_string_equal(m->graph.nodes[conv]->weights[PARE_ROLE_BIAS]->name, "conv.bias");
    int32_t pool = add_pool(m, PARE_OP_AVG_POOL, "pool", conv, 2, 2);
    check_dims(m, pool, 3, 3, 2, 6);
    int32_t shortcut = add_node(m, (struct node_spec){.op = PARE_OP_SHORTCUT_A,
                                                      .name = "shortcut",
                                                      .inputs = {pool},
                                                      .out_channels = 9,
                                                      .stride_h = 2,
                                                      .stride_w = 2});
    check_dims(m, shortcut, 3, 2, 1, 9);
    int32_t flat = add_simple(m, PARE_OP_FLATTEN, "flat", shortcut);
    check_dims(m, flat, 1, 1, 1, 18);
    int32_t bn = add_simple(m, PARE_OP_BATCH_NORM, "bn", flat);
    assert_string_equal(m->graph.nodes[bn]->weights[PARE_ROLE_VAR]->name, "bn.running_var");
    assert_true(m->graph.nodes[bn]->weights[PARE_ROLE_VAR]->data[17] == 1.0f);
    assert_true(m->graph.nodes[bn]->eps == 1e-5f);
    int32_t sum =
        add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = "sum", .inputs = {bn, bn}});
    assert_int_equal(m->graph.nodes[bn]->n_consumers, 2);
    add_simple(m, PARE_OP_SOFTMAX, "softmax", add_linear(m, "fc", sum, 7));
    assert_int_equal(m->graph.n_classes, 0);
    finish_model(m);
    assert_int_equal(m->graph.n_classes, 7);
    model_destroy(m);
}

/* ---- what is refused: the message names the node and what is wrong, and nothing changes ---- */

static void refuse(struct model *m, struct node_spec spec, const char *wanted_text) {
    struct error err = {0};
    int32_t index = -77;
    int32_t n_nodes = m->graph.n_nodes, n_weights = m->graph.n_weights;
    if (model_add(m, &spec, &err, &index) == PARE_OK)
        fail_msg("accepted, wanted: %s", wanted_text);
    if (strstr(err.text, wanted_text) == NULL)
        fail_msg("message is \"%s\", wanted \"%s\" in it", err.text, wanted_text);
    assert_int_equal(index, -77);
    assert_int_equal(m->graph.n_nodes, n_nodes);
    assert_int_equal(m->graph.n_weights, n_weights);
}

static void test_refused_fields(void **state) {
    (void)state;
    struct model *m = new_model("m", 8, 8, 3);
    refuse(m, (struct node_spec){.op = PARE_OP_RELU}, "it has no name");
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "a b"}, "\"a b\"");
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "input"}, "input: there is a node");
    refuse(m, (struct node_spec){.op = PARE_OP_INPUT, .name = "x"}, "x: op is 0");
    refuse(m, (struct node_spec){.op = (pare_op)13, .name = "x"}, "x: op is 13");
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "x", .inputs = {1}},
           "x: input 0 is node 1, wanted an earlier node, 0..0");
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "x", .inputs = {-1}}, "node -1");
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "x", .stride_h = 2},
           "x: stride_h is 2, but relu takes none");
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "x", .bias = 1}, "x: bias is 1");
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "x", .eps = 1e-3f}, "x: eps is");
    refuse(m, (struct node_spec){.op = PARE_OP_BATCH_NORM, .name = "x", .eps = NAN},
           "x: eps is nan");
    struct node_spec conv = {
        .op = PARE_OP_CONV2D, .name = "x", .out_channels = 4, .kernel_h = 3, .kernel_w = 3};
    struct node_spec bad = conv;
    bad.out_channels = 0;
    refuse(m, bad, "x: out_channels is 0, wanted 1..65536");
    bad.out_channels = 65537;
    refuse(m, bad, "x: out_channels is 65537");
    bad = conv;
    bad.kernel_w = 9;
    refuse(m, bad, "x: kernel_w is 9, but its padded input is only 8 long");
    bad.pad_w = INT32_MAX;
    refuse(m, bad, "x: pad_w is 2147483647");
    bad = conv;
    bad.groups = 2;
    refuse(m, bad, "x: groups is 2, which does not divide 3 input and 4 output channels");
    bad.groups = -1;
    refuse(m, bad, "x: groups is -1");
    bad = conv;
    bad.stride_h = -2;
    refuse(m, bad, "x: stride_h is -2");
    struct node_spec pool = {
        .op = PARE_OP_AVG_POOL, .name = "x", .kernel_h = 2, .kernel_w = 2, .pad_h = 1};
    refuse(m, pool, "x: pad_h is 1, but avg_pool takes none");
    pool.op = PARE_OP_MAX_POOL;
    pool.pad_h = 2;
    refuse(m, pool, "x: pad_h is 2, wanted less than the kernel's 2");
    model_destroy(m);
}

static void test_refused_shapes(void **state) {
    (void)state;
    struct model *m = new_model("m", 8, 8, 3);
    int32_t flat = add_simple(m, PARE_OP_FLATTEN, "flat", 0);
    int32_t relu = add_simple(m, PARE_OP_RELU, "relu", 0);
    int32_t pool = add_pool(m, PARE_OP_MAX_POOL, "pool", 0, 2, 2);
    refuse(m, (struct node_spec){.op = PARE_OP_LINEAR, .name = "x", .out_channels = 5},
           "x: linear needs an input of rank 1 (N,C), but input has rank 3; put a flatten");
    refuse(m, (struct node_spec){.op = PARE_OP_FLATTEN, .name = "x", .inputs = {flat}},
           "x: flatten needs an input of rank 3");
    refuse(m, (struct node_spec){.op = PARE_OP_GLOBAL_AVG_POOL, .name = "x", .inputs = {flat}},
           "rank 3");
    refuse(m, (struct node_spec){.op = PARE_OP_SOFTMAX, .name = "x"},
           "x: softmax needs an input of rank 1");
    refuse(m, (struct node_spec){.op = PARE_OP_ADD, .name = "x", .inputs = {relu, pool}},
           "x: adds relu of (8,8,3) and pool of (4,4,3)");
    refuse(m, (struct node_spec){.op = PARE_OP_ADD, .name = "x", .inputs = {relu, 99}},
           "input 1 is node 99");
    refuse(m, (struct node_spec){.op = PARE_OP_SHORTCUT_A, .name = "x", .out_channels = 2},
           "x: out_channels is 2, wanted at least the input's 3");
    int32_t fc = add_linear(m, "fc", flat, 4);
    int32_t softmax = add_simple(m, PARE_OP_SOFTMAX, "softmax", fc);
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "x", .inputs = {softmax}},
           "must be the last");
    model_destroy(m);
}

static void test_refused_sizes(void **state) {
    (void)state;
    struct error err;
    struct model *out = NULL;
    assert_int_equal(model_create("m", (int32_t[3]){0, 1, 1}, &err, &out), PARE_E_RANGE);
    assert_int_equal(model_create("m", (int32_t[3]){1, 65537, 1}, &err, &out), PARE_E_RANGE);
    assert_int_equal(model_create("m", (int32_t[3]){65536, 65536, 65536}, &err, &out),
                     PARE_E_LIMIT);
    assert_int_equal(model_create("", (int32_t[3]){1, 1, 1}, &err, &out), PARE_E_ARG);
    assert_null(out);
    struct model *m = new_model("m", 4096, 4096, 1);
    refuse(
        m,
        (struct node_spec){
            .op = PARE_OP_CONV2D, .name = "x", .out_channels = 65536, .kernel_h = 1, .kernel_w = 1},
        "x: its value has 4096x4096x65536 elements");
    int32_t flat = add_simple(m, PARE_OP_FLATTEN, "flat", 0);
    refuse(m,
           (struct node_spec){
               .op = PARE_OP_LINEAR, .name = "x", .inputs = {flat}, .out_channels = 65536},
           "x.weight: (65536,16777216,1,1) is over");
    model_destroy(m);
}

static void test_finish(void **state) {
    (void)state;
    struct error err;
    struct model *m = new_model("m", 8, 8, 3);
    assert_int_equal(model_finish(m, &err), PARE_E_ARG);
    int32_t relu = add_simple(m, PARE_OP_RELU, "relu", 0);
    assert_int_equal(model_finish(m, &err), PARE_E_ARG);
    assert_non_null(strstr(err.text, "relu: the last node makes (8,8,3)"));
    int32_t pool = add_simple(m, PARE_OP_GLOBAL_AVG_POOL, "pool", 0);
    assert_int_equal(model_finish(m, &err), PARE_E_ARG);
    assert_non_null(strstr(err.text, "relu: nothing reads this node"));
    int32_t pool2 = add_simple(m, PARE_OP_GLOBAL_AVG_POOL, "pool2", relu);
    add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {pool, pool2}});
    finish_model(m);
    assert_int_equal(model_finish(m, &err), PARE_E_STATE);
    refuse(m, (struct node_spec){.op = PARE_OP_RELU, .name = "x"}, "is finished");
    model_destroy(m);
}

/* ---- initial weights ---- */

static void test_init(void **state) {
    (void)state;
    struct model *m = make_lenet5(), *again = make_lenet5();
    model_init_weights(m, 7);
    model_init_weights(again, 7);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *a = m->graph.weights[i], *b = again->graph.weights[i];
        assert_memory_equal(a->data, b->data, (size_t)a->n_elems * sizeof(float));
        int is_last = strcmp(a->name, "fc2.weight") == 0;
        double fan_in = (double)(a->n_elems / a->dims[0]);
        double bound = a->role == PARE_ROLE_BIAS ? 0.0 : sqrt((is_last ? 1.0 : 6.0) / fan_in);
        double largest = 0.0, sum = 0.0;
        for (int64_t k = 0; k < a->n_elems; k++) {
            largest = fmax(largest, fabs((double)a->data[k]));
            sum += (double)a->data[k];
        }
        assert_true(largest <= bound && largest >= 0.97 * bound);
        assert_true(fabs(sum) <= 4.0 * bound * sqrt((double)a->n_elems / 3.0));
    }
    model_init_weights(again, 8);
    assert_memory_not_equal(m->graph.weights[0]->data, again->graph.weights[0]->data, 2000);
    model_destroy(m);
    model_destroy(again);
}

/* The bits themselves: another machine or compiler must give the same. */
static void test_init_bits(void **state) {
    (void)state;
    struct model *m = make_lenet300();
    model_init_weights(m, 1);
    const float *w = m->graph.weights[model_find_weight(m, "fc1.weight")]->data;
    uint32_t bits[4];
    memcpy(bits, w, sizeof bits);
    /* Computed by an independent implementation of the streams, in Python. */
    const uint32_t wanted[4] = {0xbc7859c6u, 0xbcee8c9au, 0xbd02d268u, 0xbd5e8224u};
    assert_memory_equal(bits, wanted, sizeof bits);
    model_destroy(m);
}

static void test_copy(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet(1, 'A', 8, 3), *copy = NULL;
    model_init_weights(m, 3);
    assert_int_equal(model_copy(m, &err, &copy), PARE_OK);
    assert_int_equal(copy->graph.n_weights, m->graph.n_weights);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *a = m->graph.weights[i], *b = copy->graph.weights[i];
        assert_ptr_not_equal(a->data, b->data);
        assert_string_equal(a->name, b->name);
        assert_memory_equal(a->data, b->data, (size_t)a->n_elems * sizeof(float));
    }
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        assert_int_equal(m->graph.nodes[i]->n_consumers, copy->graph.nodes[i]->n_consumers);
        assert_ptr_not_equal(m->graph.nodes[i]->name, copy->graph.nodes[i]->name);
    }
    assert_int_equal(copy->graph.n_classes, 10);
    model_destroy(m);
    assert_int_equal(model_verify(copy, &err), PARE_OK);
    model_destroy(copy);
    model_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_lenet300),
        cmocka_unit_test(test_counts_lenet5),
        cmocka_unit_test(test_counts_resnet20_a),
        cmocka_unit_test(test_counts_resnet20_b),
        cmocka_unit_test(test_counts_with_mask),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_refused_fields),
        cmocka_unit_test(test_refused_shapes),
        cmocka_unit_test(test_refused_sizes),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_init_bits),
        cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests_name("model_graph", tests, NULL, NULL);
}
