/* SPDX-License-Identifier: MIT */
/* The method pact: values clipped at a learned bound, its gradient against differences, weights by
 * tanh, bad input. Whole trainings are in tests/unit/test_experiment_lowbit.c. */
#include "tanh_weights.h"

enum { N = 60 };

static const double LR = 0.01;

static void test_weights(void **state) {
    (void)state;
    check_tanh_weights("pact", 3);
    check_tanh_zeros("pact");
}

/* The value with each element's rounding error held as it is at a0: what its gradients are the true
 * gradients of. */
static double surrogate(const float *x, const float *g, double a0, double lo, double a, int moved,
                        double by) {
    double loss = 0.0;
    for (int i = 0; i < N; i++) {
        const double now = (double)x[i] + (i == moved ? by : 0.0);
        const double y = (double)x[i] >= a0 ? a : (double)x[i] <= lo * a0 ? lo * a : now;
        loss += (double)g[i] * y;
    }
    return loss;
}

static void check_gradients(const char *settings, int first_layer, double alpha, double decay,
                            int n_steps) {
    struct trainer t = trainer_start("pact", settings);
    const int32_t node = first_layer ? t.fc1 : t.fc2;
    const double lo = first_layer ? -1.0 : 0.0, h = 1e-3;
    float x[N], y[N], g[N], gx[N];
    trainer_begin(&t, 10);
    fill("x", N, 2.0f, x);
    fill("g", N, 1.0f, g);
    for (int i = 0; i < N && !first_layer; i++) {
        x[i] = fabsf(x[i]);
    }
    values_of_node(&t, node, x, N, y);
    const double s = level_distance(y, N);
    assert_close(s, alpha / n_steps, 1e-6);
    values_back(&t, node, x, g, N, gx);
    for (int i = 0; i < N; i++) {
        const double wanted =
            (surrogate(x, g, alpha, lo, alpha, i, h) - surrogate(x, g, alpha, lo, alpha, i, -h)) /
            (2.0 * h);
        assert_close((double)gx[i], wanted, 1e-4);
    }
    take_step(&t, 0, LR);
    values_of_node(&t, node, x, N, y);
    const double wanted = (surrogate(x, g, alpha, lo, alpha + h, -1, 0.0) -
                           surrogate(x, g, alpha, lo, alpha - h, -1, 0.0)) /
                          (2.0 * h);
    const double after = level_distance(y, N) * n_steps;
    assert_true(fabs(wanted) > 0.1);
    assert_close(gradient_from(alpha, after, LR), wanted + decay * alpha, 1e-3);
    trainer_finish(&t);
}

static void test_gradients(void **state) {
    (void)state;
    check_gradients("activation_bits=2 first_last_bits=0 alpha=1.5 alpha_decay=0", 0, 1.5, 0.0, 3);
    check_gradients("activation_bits=4 first_last_bits=0 alpha=2 alpha_decay=0.1", 0, 2.0, 0.1, 15);
    check_gradients("activation_bits=3 first_last_bits=0 alpha=1 alpha_decay=0", 1, 1.0, 0.0, 3);
}

/* Without a bound of its own, a value begins with the largest magnitude of the first batch. */
static void test_first_bound(void **state) {
    (void)state;
    struct trainer t = trainer_start("pact", "activation_bits=2 first_last_bits=0");
    const float x[4] = {0.0f, 1.0f, 2.0f, 6.0f};
    float y[4];
    trainer_begin(&t, 10);
    values_of_node(&t, t.fc2, x, 4, y);
    assert_true(y[0] == 0.0f && y[1] == 0.0f && y[2] == 2.0f && y[3] == 6.0f);
    trainer_finish(&t);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse_settings("pact", "weight_bits=8",
                    "method pact: weight_bits: got 8, wanted 2..7 or 32 (float): these 2^b levels "
                    "need b + 1 bits as codes");
    refuse_settings("pact", "alpha=-1", "alpha: got -1, wanted 0..1000000 (method pact)");
    refuse_settings("pact", "alpha_decay=2", "alpha_decay: got 2, wanted 0..1 (method pact)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_first_bound),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
