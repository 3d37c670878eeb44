/* SPDX-License-Identifier: MIT */
/* The method apot: levels built from their powers, nearest ones, gradients against differences,
 * zeros, bad input. Whole trainings are in tests/unit/test_experiment_lowbit.c. */
#include "lowbit_fixtures.h"

static const double LR = 0.05;

/* The sets of equation 5, as the paper writes them; 0 is in each. */
static const double sets[6][2][3] = {
    [2] = {{1.0, 0.0, 0.0}, {0.0, 0.0, 0.0}},
    [3] = {{1.0 / 2, 1.0 / 4, 1.0 / 8}, {0.0, 0.0, 0.0}},
    [4] = {{1.0 / 2, 1.0 / 4, 1.0 / 16}, {1.0 / 8, 0.0, 0.0}},
    [5] = {{1.0 / 2, 1.0 / 8, 1.0 / 32}, {1.0 / 4, 1.0 / 16, 1.0 / 64}},
};

/* All sums, the largest one 1. */
static int make_levels(int bits, double *out) {
    int n = 0;
    double largest = 0.0;
    for (int i = -1; i < 3; i++) {
        for (int k = -1; k < 3; k++) {
            out[n] = (i < 0 ? 0.0 : sets[bits][0][i]) + (k < 0 ? 0.0 : sets[bits][1][k]);
            largest = fmax(largest, out[n++]);
        }
    }
    for (int i = 0; i < n; i++) {
        out[i] /= largest;
    }
    return n;
}

static double nearest(int bits, double x) {
    double all[16], best = 0.0;
    const int n = make_levels(bits, all);
    const double size = fmin(fabs(x), 1.0);
    for (int i = 0; i < n; i++) {
        best = fabs(size - all[i]) < fabs(size - best) ? all[i] : best;
    }
    return x < 0.0 ? -best : best;
}

static void moments(const double *w, double *mean, double *deviation) {
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < W1; i++) {
        sum += w[i];
    }
    *mean = sum / W1;
    for (int i = 0; i < W1; i++) {
        squares += (w[i] - *mean) * (w[i] - *mean);
    }
    *deviation = sqrt(squares / (W1 - 1));
}

/* Inside, x with its rounding error held; outside, the bound: times the deviation at w0. */
static double surrogate(const double *w, const double *w0, const float *g, int bits, double a) {
    double mean, deviation, mean0, deviation0, loss = 0.0;
    moments(w, &mean, &deviation);
    moments(w0, &mean0, &deviation0);
    for (int i = 0; i < W1; i++) {
        const double x0 = (w0[i] - mean0) / deviation0, x = (w[i] - mean) / deviation;
        const double error = nearest(bits, x0 / 3.0) - x0 / 3.0;
        const double y = fabs(x0) < 3.0 ? x + a * error : x0 < 0.0 ? -a : a;
        loss += (double)g[i] * deviation0 * y;
    }
    return loss;
}

static void check_weights(int bits) {
    char settings[64];
    snprintf(settings, sizeof settings, "weight_bits=%d first_last_bits=0", bits);
    struct trainer t = trainer_start("apot", settings);
    struct error err = {PARE_OK, ""};
    float w[W1], used[W1], after[W1], g[W1], gw[W1];
    double w0[W1], mean, deviation;
    const double h = 1e-5;
    fill("w1", W1, 0.5f, w);
    w[3] = 6.0f; /* beyond the bound */
    must(model_set_weight(t.model, t.weight1, w, &err), &err);
    for (int i = 0; i < W1; i++) {
        w0[i] = (double)w[i];
    }
    moments(w0, &mean, &deviation);
    trainer_begin(&t, 10);
    fill("g", W1, 1.0f, g);
    weights_of(&t, t.weight1, used);
    weights_back(&t, t.weight1, g, gw);
    for (int i = 0; i < W1; i++) {
        const double x = (w0[i] - mean) / deviation;
        assert_close((double)used[i], deviation * 3.0 * nearest(bits, x / 3.0), 1e-5);
        double up[W1], down[W1];
        memcpy(up, w0, sizeof up);
        memcpy(down, w0, sizeof down);
        up[i] += h;
        down[i] -= h;
        const double wanted =
            (surrogate(up, w0, g, bits, 3.0) - surrogate(down, w0, g, bits, 3.0)) / (2.0 * h);
        assert_close((double)gw[i], wanted, 1e-4);
    }
    take_step(&t, 0, LR);
    weights_of(&t, t.weight1, after);
    const double wanted =
        (surrogate(w0, w0, g, bits, 3.0 + h) - surrogate(w0, w0, g, bits, 3.0 - h)) / (2.0 * h);
    const double moved = 3.0 * (double)after[3] / (double)used[3]; /* the one that is clipped */
    assert_close(gradient_from(3.0, moved, LR), wanted / sqrt(W1), 1e-4);
    trainer_finish(&t);
}

static void test_weights(void **state) {
    (void)state;
    for (int bits = 2; bits <= 5; bits++) {
        check_weights(bits);
    }
}

static void test_pruned(void **state) {
    (void)state;
    struct trainer t = trainer_start("apot", "weight_bits=4 first_last_bits=0");
    struct error err = {PARE_OK, ""};
    uint8_t mask[W1];
    float w[W1], used[W1];
    for (int i = 0; i < W1; i++) {
        mask[i] = i % 2 == 0;
        w[i] = 1.0f + 0.01f * (float)i;
    }
    must(model_set_weight(t.model, t.weight1, w, &err), &err);
    must(model_set_mask(t.model, t.weight1, mask, &err), &err);
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    for (int i = 0; i < W1; i++) {
        assert_true((used[i] == 0.0f) == !mask[i]);
    }
    trainer_finish(&t);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse_settings(
        "apot", "weight_bits=6",
        "method apot: weight_bits: got 6, wanted 2..5 or 32 (float): more levels are no "
        "8-bit codes");
    refuse_settings("apot", "activation_bits=9",
                    "method apot: activation_bits: got 9, wanted 2..8 or 32 (float)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_pruned),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
