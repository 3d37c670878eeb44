/* SPDX-License-Identifier: MIT */
/* The method dorefa: weights by tanh, values clipped at a fixed bound, bad input. Whole trainings
 * are in tests/unit/test_experiment_lowbit.c. */
#include "tanh_weights.h"

enum { N = 60 };

static void test_weights(void **state) {
    (void)state;
    check_tanh_weights("dorefa", 2);
    check_tanh_weights("dorefa", 4);
    check_tanh_weights("dorefa", 7);
    check_tanh_zeros("dorefa");
}

/* clip(x, lo, hi) in steps of s, straight through inside. */
static void check_values(const char *settings, int first_layer, double bound, int n_steps) {
    struct trainer t = trainer_start("dorefa", settings);
    const int32_t node = first_layer ? t.fc1 : t.fc2;
    float x[N], y[N], g[N], gx[N];
    trainer_begin(&t, 10);
    fill("x", N, 2.0f, x);
    fill("g", N, 1.0f, g);
    double largest = 0.0;
    for (int i = 0; i < N; i++) {
        x[i] = first_layer ? x[i] : fabsf(x[i]);
        largest = fmax(largest, fabs((double)x[i]));
    }
    const double clip = bound > 0.0 ? bound : largest;
    const double s = (double)(float)(clip / n_steps);
    values_of_node(&t, node, x, N, y);
    values_back(&t, node, x, g, N, gx);
    for (int i = 0; i < N; i++) {
        const double lo = first_layer ? -(double)n_steps : 0.0;
        const double code = (double)x[i] / s;
        assert_close((double)y[i], s * rint(fmin(fmax(code, lo), n_steps)), 1e-5);
        assert_true(gx[i] == (code > lo && code < n_steps ? g[i] : 0.0f));
    }
    trainer_finish(&t);
}

static void test_values(void **state) {
    (void)state;
    check_values("activation_bits=2 first_last_bits=0 clip=1", 0, 1.0, 3);
    check_values("activation_bits=4 first_last_bits=0", 0, 0.0, 15);
    check_values("activation_bits=3 first_last_bits=0 clip=1.5", 1, 1.5, 3);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse_settings(
        "dorefa", "weight_bits=8",
        "method dorefa: weight_bits: got 8, wanted 2..7 or 32 (float): these 2^b levels "
        "need b + 1 bits as codes");
    refuse_settings("dorefa", "clip=-1", "clip: got -1, wanted 0..1000000 (method dorefa)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
