/* SPDX-License-Identifier: MIT */
/* The method ternary: thresholds, scales, gradients, zeros. Whole trainings are in
 * tests/unit/test_experiment_lowbit.c. */
#include "lowbit_fixtures.h"

/* Equations 5 and 6 over `n_channels` parts of the tensor, written out once more. */
static void check_weights(const char *settings, int n_channels, double factor) {
    struct trainer t = trainer_start("ternary", settings);
    float used[W1], g[W1], gw[W1];
    const int n = W1 / n_channels;
    trainer_begin(&t, 10);
    fill("g", W1, 1.0f, g);
    weights_of(&t, t.weight1, used);
    weights_back(&t, t.weight1, g, gw);
    assert_memory_equal(g, gw, sizeof g);
    const float *w = weight_data(&t, t.weight1);
    for (int c = 0; c < n_channels; c++) {
        double mean = 0.0, sum = 0.0;
        int n_above = 0;
        for (int i = c * n; i < (c + 1) * n; i++) {
            mean += fabs((double)w[i]) / n;
        }
        for (int i = c * n; i < (c + 1) * n; i++) {
            const int is_above = fabs((double)w[i]) > factor * mean;
            sum += is_above ? fabs((double)w[i]) : 0.0;
            n_above += is_above;
        }
        assert_in_range(n_above, 1, n - (n_channels == 1));
        for (int i = c * n; i < (c + 1) * n; i++) {
            const double size = fabs((double)w[i]) > factor * mean ? sum / n_above : 0.0;
            assert_close((double)used[i], w[i] < 0.0f ? -size : size, 1e-6);
        }
    }
    trainer_finish(&t);
}

static void test_weights(void **state) {
    (void)state;
    check_weights("first_last_bits=0", 1, 0.7);
    check_weights("first_last_bits=0 threshold=1.1", 1, 1.1);
    check_weights("first_last_bits=0 weight_granularity=channel", 6, 0.7);
}

/* Pruned weights are 0, and do not count in the mean: the threshold is that of the others alone. */
static void test_pruned(void **state) {
    (void)state;
    struct trainer t = trainer_start("ternary", "first_last_bits=0");
    struct error err = {PARE_OK, ""};
    uint8_t mask[W1];
    float w[W1], used[W1];
    for (int i = 0; i < W1; i++) {
        mask[i] = i < 4;
        w[i] = i < 4 ? 0.1f * (float)(i + 1) : 1.0f; /* mean 0.25, threshold 0.175 */
    }
    must(model_set_weight(t.model, t.weight1, w, &err), &err);
    must(model_set_mask(t.model, t.weight1, mask, &err), &err);
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    assert_true(used[0] == 0.0f);
    for (int i = 1; i < 4; i++) {
        assert_close((double)used[i], 0.3, 1e-6);
    }
    for (int i = 4; i < W1; i++) {
        assert_true(used[i] == 0.0f);
    }
    trainer_finish(&t);
}

static void test_all_zero(void **state) {
    (void)state;
    struct trainer t = trainer_start("ternary", "first_last_bits=0");
    struct error err = {PARE_OK, ""};
    const float zeros[W1] = {0.0f};
    float used[W1];
    must(model_set_weight(t.model, t.weight1, zeros, &err), &err);
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    assert_memory_equal(used, zeros, sizeof used);
    trainer_finish(&t);
}

/* ---- learned magnitudes ---- */

/* Zones, codes and gradients of TTQ's equations, and a step of each magnitude. */
static void check_learned(const char *settings, double part, int qmax) {
    struct trainer t = trainer_start("ternary", settings);
    float used[W1], after[W1], g[W1], gw[W1];
    const double lr = 0.05;
    trainer_begin(&t, 10);
    fill("g", W1, 1.0f, g);
    weights_of(&t, t.weight1, used);
    weights_back(&t, t.weight1, g, gw);
    take_step(&t, 0, lr);
    weights_of(&t, t.weight1, after);
    const float *w = weight_data(&t, t.weight1);
    double largest = 0, mean[2] = {0, 0}, gradient[2] = {0, 0};
    int count[2] = {0, 0};
    for (int i = 0; i < W1; i++) {
        largest = fmax(largest, fabs((double)w[i]));
    }
    for (int i = 0; i < W1; i++) {
        const int side = w[i] < 0;
        if (fabs((double)w[i]) > part * largest) {
            mean[side] += fabs((double)w[i]);
            count[side]++;
            gradient[side] += (side ? -1 : 1) * (double)g[i] / sqrt(W1);
        }
    }
    assert_true(count[0] > 0 && count[1] > 0 && count[0] + count[1] < W1);
    for (int side = 0; side < 2; side++) {
        mean[side] /= count[side];
    }
    const double step = fmax(mean[0], mean[1]) / qmax;
    for (int i = 0; i < W1; i++) {
        const int side = w[i] < 0;
        const int is_zero = fabs((double)w[i]) <= part * largest;
        const double sign = is_zero ? 0 : side ? -1 : 1;
        assert_close((double)used[i], sign * mean[side], 0.5001 * step);
        assert_close((double)gw[i], (is_zero ? 1 : mean[side] / largest) * (double)g[i], 1e-6);
        assert_close((double)after[i], sign * (mean[side] - 1.9 * lr * gradient[side]),
                     0.51 * step);
    }
    trainer_finish(&t);
}

static void test_learned(void **state) {
    (void)state;
    check_learned("first_last_bits=0 magnitudes=learned", 0.05, 127);
    check_learned("first_last_bits=0 magnitudes=learned learned_threshold=0.3", 0.3, 127);
    check_learned("first_last_bits=0 magnitudes=learned code_bits=4", 0.05, 7);
}

/* A side without weights, and no weights at all. */
static void test_learned_one_side(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    for (int is_zero = 0; is_zero < 2; is_zero++) {
        struct trainer t = trainer_start("ternary", "first_last_bits=0 magnitudes=learned");
        float w[W1], g[W1], gw[W1], used[W1];
        for (int i = 0; i < W1; i++) {
            w[i] = is_zero ? 0.0f : 0.5f;
            g[i] = 1.0f;
        }
        must(model_set_weight(t.model, t.weight1, w, &err), &err);
        trainer_begin(&t, 10);
        weights_of(&t, t.weight1, used);
        weights_back(&t, t.weight1, g, gw);
        for (int i = 0; i < W1; i++) {
            assert_close((double)used[i], (double)w[i], 1e-6);
            assert_true(gw[i] == 1.0f);
        }
        trainer_finish(&t);
    }
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse_settings("ternary", "threshold=5", "threshold: got 5, wanted 0..4 (method ternary)");
    refuse_settings("ternary", "learned_threshold=2",
                    "learned_threshold: got 2, wanted 0..1 (method ternary)");
    refuse_settings("ternary", "activation_bits=1",
                    "activation_bits: got 1, wanted 2..32 bits (method ternary)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),          cmocka_unit_test(test_pruned),
        cmocka_unit_test(test_all_zero),         cmocka_unit_test(test_learned),
        cmocka_unit_test(test_learned_one_side), cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
