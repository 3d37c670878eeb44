/* SPDX-License-Identifier: MIT */
/* Quantize nodes in the float executor: nothing while training, signs where a value has 1 bit. */
#include "train/network.h"
#include "train_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static float images[TINY_IMAGES * TINY_ELEMS];

static struct network *make_network(struct model *m, int train) {
    struct error err;
    struct network *net;
    assert_int_equal(network_create(m, TINY_IMAGES, train, NULL, NULL, &err, &net), PARE_OK);
    return net;
}

static int32_t insert(struct model *m, const char *reader) {
    struct error err;
    int32_t made = -1;
    assert_int_equal(model_insert_quantize(m, model_find_node(m, reader), 0, &err, &made), PARE_OK);
    return made;
}

static struct model *make_rewired(void) {
    struct model *m = make_resnet8('A');
    insert(m, "layer1.conv1");
    insert(m, "layer2.conv1");
    insert(m, "layer2.conv2");
    insert(m, "fc");
    return m;
}

/* Without quantization the node changes nothing, forward or backward. */
static void test_identity(void **state) {
    (void)state;
    struct error err;
    struct model *models[2] = {make_resnet8('A'), make_rewired()};
    struct network *nets[2];
    float logits[2][TINY_IMAGES * 10], grad[TINY_IMAGES * 10];
    fill_values("gradient", TINY_IMAGES * 10, 1.0, 0.0, grad);
    for (int k = 0; k < 2; k++) {
        const float *out;
        nets[k] = make_network(models[k], 1);
        assert_int_equal(network_forward(nets[k], images, TINY_IMAGES, &err, &out), PARE_OK);
        memcpy(logits[k], out, sizeof logits[k]);
        assert_int_equal(network_backward(nets[k], grad, &err), PARE_OK);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    for (int32_t i = 0; i < models[0]->graph.n_weights; i++) {
        const pare_weight *w = models[0]->graph.weights[i];
        const float *a = network_gradient(nets[0], i);
        const float *b = network_gradient(nets[1], model_find_weight(models[1], w->name));
        double largest = 0.0, off = 0.0;
        for (int64_t e = 0; a && e < w->n_elems; e++) {
            largest = fmax(largest, fabs((double)a[e]));
            off = fmax(off, fabs((double)a[e] - (double)b[e]));
        }
        assert_true((a == NULL) == (b == NULL) && off <= 1e-5 * largest);
    }
    for (int k = 0; k < 2; k++) {
        network_destroy(nets[k]);
        model_destroy(models[k]);
    }
}

struct kept {
    int32_t from, to; /* nodes */
    float before[TINY_IMAGES * TINY_ELEMS * 2], after[TINY_IMAGES * TINY_ELEMS * 2];
};

static pare_status keep(void *context, int32_t node, const float *value, int32_t n) {
    struct kept *k = context;
    (void)n;
    size_t bytes = (size_t)TINY_IMAGES * 12 * 12 * 6 * sizeof *value;
    if (node == k->from)
        memcpy(k->before, value, bytes);
    if (node == k->to)
        memcpy(k->after, value, bytes);
    return PARE_OK;
}

/* 0 and -0 are positive; the value before the node stays as it is. */
static void test_signs(void **state) {
    (void)state;
    static struct kept kept;
    struct error err;
    const float *logits;
    const float scale = 0.3f;
    const pare_quant q = {1, -1, 1, -1, 1, &scale, NULL};
    struct model *m = make_resnet8('A');
    assert_int_equal(model_remove_relu(m, model_find_node(m, "relu1"), &err), PARE_OK);
    kept.to = insert(m, "layer1.conv1");
    kept.from = m->graph.nodes[kept.to]->inputs[0];
    assert_int_equal(model_set_activation_quant(m, kept.to, &q, &err), PARE_OK);
    /* A channel that is 0 everywhere, and one that is -0. */
    float *gamma = model_weight_data(m, model_find_weight(m, "bn1.weight"));
    float *beta = model_weight_data(m, model_find_weight(m, "bn1.bias"));
    gamma[0] = beta[0] = 0.0f;
    gamma[1] = 0.0f;
    beta[1] = -0.0f;
    struct network *net = make_network(m, 0);
    assert_int_equal(network_infer_observed(net, images, TINY_IMAGES, keep, &kept, &err, &logits),
                     PARE_OK);
    int n_minus = 0;
    for (int32_t i = 0; i < TINY_IMAGES * 12 * 12 * 6; i++) {
        n_minus += kept.before[i] < 0.0f;
        assert_true(kept.after[i] == (kept.before[i] >= 0.0f ? 0.3f : -0.3f));
        assert_true(i % 6 > 1 || kept.after[i] == 0.3f);
    }
    assert_true(n_minus > 1000);
    /* Seen or not, the same logits. */
    float seen[TINY_IMAGES * 10];
    memcpy(seen, logits, sizeof seen);
    assert_int_equal(network_infer(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
    for (int32_t i = 0; i < TINY_IMAGES * 10; i++)
        assert_true(fabs((double)seen[i] - (double)logits[i]) < 1e-4);
    network_destroy(net);
    model_destroy(m);
}

static int make_images(void **state) {
    (void)state;
    fill_values("images", TINY_IMAGES * TINY_ELEMS, 1.0, 0.0, images);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_identity),
                                       cmocka_unit_test(test_signs)};
    return cmocka_run_group_tests(tests, make_images, NULL);
}
