/* SPDX-License-Identifier: MIT */
/* The method lsq: first step sizes, gradients against differences, offsets, progressive widths, bad
 * input. Whole trainings are in tests/unit/test_experiment_lowbit.c. */
#include "lowbit_fixtures.h"

enum { N = 60 };

static const double LR = 0.05;

static double mean_abs(const float *x, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs((double)x[i]);
    }
    return sum / (double)n;
}

/* y = s rne(clamp(x / s)), in double. */
static double quantized(double x, double s, double lo, double hi) {
    return s * rint(fmin(fmax(x / s, lo), hi));
}

/* ---- first step sizes ---- */

static void check_first_weights(const char *settings, double hi) {
    struct trainer t = trainer_start("lsq", settings);
    float used[W1];
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    const float *w = weight_data(&t, t.weight1);
    const double s = 2.0 * mean_abs(w, W1) / sqrt(hi);
    for (int i = 0; i < W1; i++) {
        assert_close((double)used[i], quantized((double)w[i], (double)(float)s, -hi, hi), 1e-7);
    }
    trainer_finish(&t);
}

static void test_first_step_sizes(void **state) {
    (void)state;
    check_first_weights("weight_bits=2 first_last_bits=0", 1.0);
    check_first_weights("weight_bits=4 first_last_bits=0", 7.0);
    check_first_weights("weight_bits=2", 127.0); /* first layer */
}

static void check_first_values(const char *settings, int first_layer, double lo, double hi) {
    struct trainer t = trainer_start("lsq", settings);
    float x[N], y[N];
    trainer_begin(&t, 10);
    fill("x", N, 2.0f, x);
    for (int i = 0; i < N && !first_layer; i++) {
        x[i] = fmaxf(x[i], 0.0f);
    }
    values_of_node(&t, first_layer ? t.fc1 : t.fc2, x, N, y);
    const double s = 2.0 * mean_abs(x, N) / sqrt(hi);
    for (int i = 0; i < N; i++) {
        assert_close((double)y[i], quantized((double)x[i], (double)(float)s, lo, hi), 1e-6);
    }
    trainer_finish(&t);
}

static void test_first_grids(void **state) {
    (void)state;
    check_first_values("activation_bits=2 first_last_bits=0", 0, 0.0, 3.0);
    check_first_values("activation_bits=2 first_last_bits=0", 1, -2.0, 1.0);
    check_first_values("activation_bits=4 first_last_bits=0", 0, 0.0, 15.0);
    check_first_values("activation_bits=2", 0, 0.0, 255.0); /* last layer */
}

/* Of the weights that are left, so that pruning does not shrink the step. */
static void test_pruned_weights_do_not_count(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "weight_bits=3 first_last_bits=0");
    struct error err = {PARE_OK, ""};
    uint8_t mask[W1];
    float used[W1];
    for (int i = 0; i < W1; i++) {
        mask[i] = i % 4 == 0;
    }
    must(model_set_mask(t.model, t.weight1, mask, &err), &err);
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    const double s = 2.0 * 4.0 * mean_abs(weight_data(&t, t.weight1), W1) / sqrt(3.0);
    assert_close(level_distance(used, W1), s, 1e-6);
    for (int i = 0; i < W1; i++) {
        assert_true(mask[i] || used[i] == 0.0f);
    }
    trainer_finish(&t);
}

/* ---- gradients ---- */

/* What straight-through gradients are the true gradients of: y with the rounding error of each
 * element held as it is at s0 and, for elements that are clipped, s times the bound. */
static double surrogate(const float *x, const float *g, int n, double s0, double lo, double hi,
                        double s, int moved, double by) {
    double loss = 0.0;
    for (int i = 0; i < n; i++) {
        const double t0 = (double)x[i] / s0;
        const double now = (double)x[i] + (i == moved ? by : 0.0);
        const double y = t0 <= lo ? s * lo : t0 >= hi ? s * hi : s * (now / s + (rint(t0) - t0));
        loss += (double)g[i] * y;
    }
    return loss;
}

static void check_gradients(const float *x, const float *g, const float *gx, int n, double s0,
                            double step_gradient, double n_features, double lo, double hi) {
    const double h = 1e-4;
    int n_clipped = 0;
    for (int i = 0; i < n; i++) {
        const double wanted =
            (surrogate(x, g, n, s0, lo, hi, s0, i, h) - surrogate(x, g, n, s0, lo, hi, s0, i, -h)) /
            (2.0 * h);
        assert_close((double)gx[i], wanted, 1e-5);
        n_clipped += gx[i] == 0.0f;
    }
    assert_in_range(n_clipped, 1, n - 1); /* both cases occur */
    const double wanted = (surrogate(x, g, n, s0, lo, hi, s0 + h, -1, 0.0) -
                           surrogate(x, g, n, s0, lo, hi, s0 - h, -1, 0.0)) /
                          (2.0 * h);
    assert_close(step_gradient, wanted / sqrt(n_features * hi), 1e-4 * fabs(wanted) + 1e-5);
}

static void check_weight_gradients(const char *settings, double hi) {
    struct trainer t = trainer_start("lsq", settings);
    float used[W1], g[W1], gw[W1];
    trainer_begin(&t, 10);
    fill("g", W1, 1.0f, g);
    weights_of(&t, t.weight1, used);
    const double before = level_distance(used, W1);
    weights_back(&t, t.weight1, g, gw);
    take_step(&t, 0, LR);
    weights_of(&t, t.weight1, used);
    const double after = level_distance(used, W1);
    check_gradients(weight_data(&t, t.weight1), g, gw, W1, before, gradient_from(before, after, LR),
                    W1, -hi, hi);
    trainer_finish(&t);
}

static void test_weight_gradients(void **state) {
    (void)state;
    check_weight_gradients("weight_bits=2 first_last_bits=0", 1.0);
    check_weight_gradients("weight_bits=3 first_last_bits=0", 3.0);
}

static void check_value_gradients(const char *settings, int first_layer, double lo, double hi) {
    struct trainer t = trainer_start("lsq", settings);
    float x[N], y[N], g[N], gx[N];
    const int32_t node = first_layer ? t.fc1 : t.fc2;
    trainer_begin(&t, 10);
    fill("x", N, 2.0f, x);
    fill("g", N, 1.0f, g);
    for (int i = 0; i < N && !first_layer; i++) {
        x[i] = fabsf(x[i]);
    }
    values_of_node(&t, node, x, N, y);
    const double before = level_distance(y, N);
    values_back(&t, node, x, g, N, gx);
    take_step(&t, 0, LR);
    values_of_node(&t, node, x, N, y);
    const double after = level_distance(y, N);
    check_gradients(x, g, gx, N, before, gradient_from(before, after, LR), first_layer ? 4 : 6, lo,
                    hi);
    trainer_finish(&t);
}

static void test_value_gradients(void **state) {
    (void)state;
    check_value_gradients("activation_bits=2 first_last_bits=0", 0, 0.0, 3.0);
    check_value_gradients("activation_bits=3 first_last_bits=0", 1, -4.0, 3.0);
}

/* In place, as the trainer calls it. */
static void test_gradients_in_place(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "weight_bits=2 first_last_bits=0");
    float used[W1], g[W1], gw[W1];
    trainer_begin(&t, 10);
    fill("g", W1, 1.0f, g);
    weights_of(&t, t.weight1, used);
    weights_back(&t, t.weight1, g, gw);
    weights_back(&t, t.weight1, g, g);
    assert_memory_equal(g, gw, sizeof g);
    trainer_finish(&t);
}

/* However large the gradient, the step size stays positive. */
static void test_step_size_stays_positive(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "weight_bits=2 first_last_bits=0");
    float used[W1], g[W1], gw[W1];
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    const double before = level_distance(used, W1);
    for (int i = 0; i < W1; i++) {
        g[i] = weight_data(&t, t.weight1)[i] > 0.0f ? 1e6f : -1e6f;
    }
    weights_back(&t, t.weight1, g, gw);
    take_step(&t, 0, LR);
    weights_of(&t, t.weight1, used);
    assert_close(level_distance(used, W1), 0.5 * before, 1e-6);
    trainer_finish(&t);
}

/* ---- LSQ+ ---- */

/* The input's range is covered by unsigned codes with an offset; 0 stays on the grid. Every value
 * above the range pulls the offset by 1 / sqrt(N Q_p) (Bhalgat et al., equation 6). */
static void test_offset(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "activation_bits=3 first_last_bits=0 offset=true");
    const float x[4] = {-0.5f, 0.0f, 1.0f, 3.0f};
    const float far[4] = {-1e6f, 1e6f, 1e6f, 1e6f};
    const float g[4] = {0.0f, 1.0f, 1.0f, 1.0f};
    float y[4], gx[4];
    trainer_begin(&t, 10);
    values_of_node(&t, t.fc1, x, 4, y);
    assert_close((double)y[0], -0.5, 1e-6); /* s = 0.5, offset -0.5 */
    assert_true(y[1] == 0.0f && y[2] == 1.0f && y[3] == 3.0f);
    values_back(&t, t.fc1, far, g, 4, gx);
    assert_true(gx[0] == 0.0f && gx[1] == 0.0f && gx[3] == 0.0f);
    /* The step's gradient is 3 * 7 / sqrt(4 * 7), the offset's 3 / sqrt(4 * 7). */
    const double lr = 0.05;
    const double s = 0.5 - 1.9 * lr * 21.0 / sqrt(28.0);
    const double offset = -0.5 - 1.9 * lr * 3.0 / sqrt(28.0);
    take_step(&t, 0, lr);
    values_of_node(&t, t.fc1, far, 4, y);
    const double wanted_s = fmax(s, 0.25);
    const double shift = rint(offset / wanted_s);
    assert_close((double)y[0], wanted_s * shift, 1e-5);
    assert_close((double)y[1], wanted_s * (shift + 7.0), 1e-5);
    trainer_finish(&t);
}

/* ---- widths ---- */

static int count_levels(const float *y, int64_t n) {
    int count = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = 0;
        while (k < i && y[k] != y[i]) {
            k++;
        }
        count += k == i;
    }
    return count;
}

static void test_progressive(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "weight_bits=2 first_last_bits=0 progressive=8,4,3");
    float used[W1];
    trainer_begin(&t, 12);
    static const int most[12] = {24, 24, 15, 15, 7, 7, 3, 3, 3, 3, 3, 3};
    for (int64_t step = 0; step < 12; step++) {
        weights_of(&t, t.weight1, used);
        const int got = count_levels(used, W1);
        const int fewest = step < 2 ? 16 : step < 4 ? 8 : step < 6 ? 5 : 3;
        assert_in_range(got, fewest, most[step]);
        take_step(&t, step, LR);
    }
    trainer_finish(&t);
}

/* ---- bad input ---- */

static void test_not_finite(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "");
    struct error err = {PARE_OK, ""};
    float w[W1], x[4] = {0.0f, NAN, 1.0f, 2.0f}, y[4];
    trainer_begin(&t, 10);
    fill("w1", W1, 0.5f, w);
    w[5] = INFINITY;
    pare_status status = t.train->weight_forward(t.self, &t.model->graph, t.weight1, w, w);
    assert_int_equal(instance_status(t.made.inst, status, "", &err), PARE_E_NUMERIC);
    assert_string_equal(err.text, "method lsq: fc1.weight: the training has diverged, not all "
                                  "weights are finite; try a smaller lr or clip_norm");
    status = t.train->activation_forward(t.self, &t.model->graph, t.fc1, x, y, 4);
    assert_int_equal(instance_status(t.made.inst, status, "", &err), PARE_E_NUMERIC);
    assert_string_equal(
        err.text, "method lsq: flatten: a value is not finite; try a smaller lr or clip_norm");
    trainer_finish(&t);
}

/* A dead value keeps waiting for one that is not 0; a dead weight has any scale. */
static void test_zeros(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "");
    struct error err = {PARE_OK, ""};
    const float zeros[W1] = {0.0f};
    const float x[4] = {0.0f, 1.0f, 2.0f, 3.0f};
    float y[4], used[W1];
    must(model_set_weight(t.model, t.weight1, zeros, &err), &err);
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    assert_memory_equal(used, zeros, sizeof used);
    values_of_node(&t, t.fc2, zeros, 4, y);
    values_back(&t, t.fc2, zeros, x, 4, y);
    assert_memory_equal(y, x, sizeof x);
    values_of_node(&t, t.fc2, x, 4, y);
    assert_true(y[0] == 0.0f && y[3] > 2.0f);
    trainer_finish(&t);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse_settings("lsq", "weight_bits=1", "weight_bits: got 1, wanted 2..32 bits (method lsq)");
    refuse_settings("lsq", "weight_bits=9",
                    "method lsq: weight_bits: got 9, wanted 2..8 or 32 (float)");
    refuse_settings("lsq", "activation_bits=16",
                    "method lsq: activation_bits: got 16, wanted 2..8 or 32 (float)");
    refuse_settings("lsq", "first_last_bits=1",
                    "method lsq: first_last_bits: got 1, wanted 2..8, 0 (as the others) or 32 "
                    "(float)");
    refuse_settings("lsq", "residual_bits=9",
                    "residual_bits: got 9, wanted 2..8 bits (method lsq)");
    refuse_settings("lsq", "progressive=4,8",
                    "method lsq: progressive: element 2 is 8, wanted whole numbers, each less than "
                    "the one before");
    refuse_settings("lsq", "progressive=4.5",
                    "method lsq: progressive: element 1 is 4.5, wanted whole numbers, each less "
                    "than the one before");
    refuse_settings("lsq", "weight_bits=32 activation_bits=32",
                    "method lsq: weight_bits and activation_bits are both 32: nothing would be "
                    "quantized");
}

static pare_status deploy_once(struct trainer *t) {
    const pare_graph *graph = &t->model->graph;
    pare_status status = t->method->apply(t->self, graph);
    int32_t again = 1;
    if (status == PARE_OK) {
        status = t->deploy->begin(t->self, graph);
    }
    while (status == PARE_OK && again) {
        for (int32_t v = 0; v < graph->n_nodes && status == PARE_OK; v++) {
            const float value[6] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 2.5f};
            status = t->deploy->observe(t->self, graph, v, value, 1);
        }
        if (status == PARE_OK) {
            status = t->deploy->end(t->self, graph, &again);
        }
    }
    return status;
}

static void test_empty_calibration(void **state) {
    (void)state;
    struct trainer t = trainer_start("lsq", "");
    struct error err = {PARE_OK, ""};
    const pare_graph *graph = &t.model->graph;
    int32_t again = 0;
    trainer_must(&t, t.method->apply(t.self, graph), "apply");
    trainer_must(&t, t.deploy->begin(t.self, graph), "begin");
    const pare_status status = t.deploy->end(t.self, graph, &again);
    assert_int_equal(instance_status(t.made.inst, status, "", &err), PARE_E_STATE);
    assert_string_equal(
        err.text, "method lsq: input: calibration saw no values: it needs at least one image");
    trainer_finish(&t);
}

/* Each allocation fails once: always that status, no leak, and a model that is still sound. */
static void test_out_of_memory(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct trainer t = trainer_start("lsq", "");
        make_scarce(&t.made, n);
        status = instance_status(t.made.inst, deploy_once(&t), "lsq", &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory for"));
        }
        must(model_verify(t.model, &err), &err);
        trainer_finish(&t);
    }
    assert_in_range(n, 10, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_step_sizes),
        cmocka_unit_test(test_first_grids),
        cmocka_unit_test(test_pruned_weights_do_not_count),
        cmocka_unit_test(test_weight_gradients),
        cmocka_unit_test(test_value_gradients),
        cmocka_unit_test(test_gradients_in_place),
        cmocka_unit_test(test_step_size_stays_positive),
        cmocka_unit_test(test_offset),
        cmocka_unit_test(test_progressive),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_bad_parameters),
        cmocka_unit_test(test_empty_calibration),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
