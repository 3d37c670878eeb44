/* SPDX-License-Identifier: MIT */
/* The method ptq: bias correction gives every channel the mean that it had in float. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptq_fixtures.h"

#define WEIGHTS_ONLY "weight_bits=3 activation_bits=32 "

/* A strided, padded convolution in two groups, batch norm behind it, and a linear layer that reads
 * a flattened image. */
static struct model *network(void) {
    struct model *m = model_start(7, 6, 4);
    int32_t x = add(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                          .name = "conv",
                                          .out_channels = 6,
                                          .kernel_h = 3,
                                          .kernel_w = 2,
                                          .stride_h = 2,
                                          .stride_w = 1,
                                          .pad_h = 1,
                                          .pad_w = 1,
                                          .groups = 2});
    x = add_op(m, PARE_OP_BATCH_NORM, "bn", x);
    x = add_op(m, PARE_OP_RELU, "relu", x);
    x = add_op(m, PARE_OP_FLATTEN, "flatten", x);
    add_linear(m, "fc", x, 5);
    model_end(m);
    return m;
}

/* Means over images and places, a channel each. */
static void channel_means(struct model *m, const char *node, int64_t n_channels, double *means) {
    int64_t n_elems = 0;
    float *values = values_at(m, node, &n_elems);
    for (int64_t c = 0; c < n_channels; c++) {
        means[c] = 0;
        for (int64_t i = c; i < N_IMAGES * n_elems; i += n_channels) {
            means[c] += (double)values[i];
        }
        means[c] /= (double)(N_IMAGES * n_elems / n_channels);
    }
    free(values);
}

static double largest_difference(const double *a, const double *b, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) {
        most = fmax(most, fabs(a[i] - b[i]));
    }
    return most;
}

static void test_means_return(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {0};
    double exact[6], rounded[6], corrected[6];
    struct model *m = network();
    must(model_fold_batch_norm(m, &err), &err);
    channel_means(m, "conv", 6, exact);
    model_destroy(m);
    m = network();
    ptq_step(m, WEIGHTS_ONLY, &env);
    channel_means(m, "conv", 6, rounded);
    model_destroy(m);
    m = network();
    ptq_step(m, WEIGHTS_ONLY "bias_correction=true", &env);
    channel_means(m, "conv", 6, corrected);
    model_destroy(m);
    assert_true(largest_difference(exact, rounded, 6) > 0.01);
    const double left = largest_difference(exact, corrected, 6);
    if (left > 1e-6) {
        fail_msg("the means differ by %g", left);
    }
}

/* The linear layer's bias, from the float network's values: the layers before it are rounded, but
 * that is not in the equation. */
static void test_linear_by_equation(void **state) {
    (void)state;
    const struct instance_env env = {0};
    int64_t n = 0;
    struct model *exact = network();
    struct model *m = network();
    float *x = values_at(exact, "flatten", &n);
    ptq_step(m, "bits=3 bias_correction=true", &env);
    const pare_weight *w = weight_named(exact, "fc.weight");
    const pare_weight *wq = weight_named(m, "fc.weight");
    for (int64_t k = 0; k < 5; k++) {
        double shift = 0;
        for (int64_t i = 0; i < N_IMAGES * n; i++) {
            const int64_t at = k * n + i % n;
            shift += ((double)wq->data[at] - (double)w->data[at]) * (double)x[i] / N_IMAGES;
        }
        const double wanted = (double)weight_named(exact, "fc.bias")->data[k] - shift;
        assert_true(fabs(shift) > 1e-4);
        assert_true(fabs((double)weight_named(m, "fc.bias")->data[k] - wanted) < 1e-5);
    }
    free(x);
    model_destroy(exact);
    model_destroy(m);
}

/* Layers that are not selected keep their bias; one without a bias stays without. */
static void test_left_alone(void **state) {
    (void)state;
    const char *pattern = "fc";
    const struct instance_env env = {.exclude = &pattern, .n_exclude = 1};
    struct model *plain = network();
    struct model *m = network();
    ptq_step(m, WEIGHTS_ONLY "bias_correction=true", &env);
    assert_memory_equal(weight_named(m, "fc.bias")->data, weight_named(plain, "fc.bias")->data,
                        5 * sizeof(float));
    model_destroy(plain);
    model_destroy(m);
    m = model_start(1, 1, 4);
    int32_t x = add_op(m, PARE_OP_FLATTEN, "flatten", 0);
    add(m,
        (struct node_spec){.op = PARE_OP_LINEAR, .name = "fc", .inputs = {x}, .out_channels = 3});
    model_end(m);
    const struct instance_env all = {0};
    ptq_step(m, "bits=4 bias_correction=true", &all);
    assert_int_equal(model_find_weight(m, "fc.bias"), -1);
    assert_int_equal(weight_named(m, "fc.weight")->quant.bits, 4);
    model_destroy(m);
}

static void refuse_run(struct loaded *q, pare_status status, const char *text) {
    struct error err = {PARE_OK, ""};
    assert_int_not_equal(instance_status(q->made.inst, status, "ptq", &err), PARE_OK);
    assert_string_equal(err.text, text);
}

static void test_refused(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {0};
    struct loaded q;
    assert_int_not_equal(
        try_method("ptq", "ptq", "weight_bits=32 bias_correction=true", &env, &err, &q), PARE_OK);
    assert_string_equal(err.text,
                        "method ptq: bias_correction is true and weight_bits is 32: float "
                        "weights shift nothing, leave one of them out");
    struct model *m = model_two_layers();
    q = load_method("ptq", "ptq", WEIGHTS_ONLY "bias_correction=true", &env);
    refuse_run(&q, q.method->apply(q.self, &m->graph),
               "method ptq: flatten: no calibration values: set calibration_samples above 0, or "
               "bias_correction = false");
    unload(&q);
    model_destroy(m);
    m = model_two_layers();
    q = load_method("ptq", "ptq", WEIGHTS_ONLY "bias_correction=true", &env);
    const float values[6] = {1, NAN, 1, 1, 1, 1};
    int32_t again = 0;
    must(q.calibrate->begin(q.self, &m->graph), &err);
    for (int32_t v = 0; v < m->graph.n_nodes; v++) {
        must(q.calibrate->observe(q.self, &m->graph, v, values, 1), &err);
    }
    must(q.calibrate->end(q.self, &m->graph, &again), &err);
    refuse_run(&q, q.method->apply(q.self, &m->graph),
               "method ptq: flatten: the calibration values' mean is nan, wanted a finite number");
    unload(&q);
    model_destroy(m);
}

/* Each allocation fails once: that status, no leak, and a model that is still sound. */
static void test_out_of_memory(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {0};
    const float values[6] = {1, 2, 1, 1, 1, 1};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct model *m = model_two_layers();
        struct loaded q = load_method("ptq", "ptq", "bias_correction=true", &env);
        int32_t again = 0;
        make_scarce(&q.made, n);
        status = q.calibrate->begin(q.self, &m->graph);
        for (int32_t v = 0; v < m->graph.n_nodes && status == PARE_OK; v++) {
            status = q.calibrate->observe(q.self, &m->graph, v, values, 1);
        }
        status = status == PARE_OK ? q.calibrate->end(q.self, &m->graph, &again) : status;
        status = status == PARE_OK ? q.method->apply(q.self, &m->graph) : status;
        status = instance_status(q.made.inst, status, "ptq", &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory for"));
        }
        must(model_verify(m, &err), &err);
        unload(&q);
        model_destroy(m);
    }
    assert_in_range(n, 12, 16); /* plan, ranges, means of 2, and 4 for either layer */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_means_return),  cmocka_unit_test(test_linear_by_equation),
        cmocka_unit_test(test_left_alone),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("method ptq, bias correction", tests, NULL, NULL);
}
