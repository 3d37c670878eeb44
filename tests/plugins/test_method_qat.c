/* SPDX-License-Identifier: MIT */
/* The method qat: ranges of weights and values, straight-through gradients, the delay, bad input.
 * Whole trainings are in tests/unit/test_experiment_lowbit.c. */
#include "lowbit_fixtures.h"

enum { N = 60 };

static double extreme(const float *x, int64_t n, int sign) {
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, sign * (double)x[i]);
    }
    return sign * most;
}

/* fc1 has 6 channels of 4 weights. */
static void check_weights(const char *settings, int n_channels, double qmax) {
    struct trainer t = trainer_start("qat", settings);
    float used[W1], g[W1], gw[W1];
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    const float *w = weight_data(&t, t.weight1);
    const int n = W1 / n_channels;
    for (int c = 0; c < n_channels; c++) {
        const double most = fmax(extreme(w + c * n, n, 1), -extreme(w + c * n, n, -1));
        const double s = (double)(float)(most / qmax);
        for (int i = c * n; i < (c + 1) * n; i++) {
            assert_close((double)used[i], s * rint((double)w[i] / s), 1e-6);
        }
    }
    fill("g", W1, 1.0f, g);
    weights_back(&t, t.weight1, g, gw);
    assert_memory_equal(g, gw, sizeof g);
    trainer_finish(&t);
}

static void test_weights(void **state) {
    (void)state;
    check_weights("weight_bits=3 first_last_bits=0", 6, 3.0);
    check_weights("weight_bits=3 first_last_bits=0 weight_granularity=tensor", 1, 3.0);
    check_weights("weight_bits=3", 6, 127.0); /* first layer */
}

/* The affine grid of [lo, hi], and its gradient. */
static void check_grid(struct trainer *t, const float *x, const float *y, double lo, double hi,
                       int bits) {
    const double levels = (double)((1 << bits) - 1);
    const double s = (double)(float)((hi - lo) / levels);
    const double zero = rint(-lo / s);
    float g[N], gx[N];
    fill("g", N, 1.0f, g);
    values_back(t, t->fc1, x, g, N, gx);
    int n_clipped = 0;
    for (int i = 0; i < N; i++) {
        const double code = rint(fmin(fmax((double)x[i] / s + zero, 0.0), levels));
        assert_close((double)y[i], s * (code - zero), 1e-5);
        const int is_inside = (double)x[i] / s > -zero && (double)x[i] / s < levels - zero;
        assert_true(gx[i] == (is_inside ? g[i] : 0.0f));
        n_clipped += !is_inside;
    }
    assert_true(n_clipped >= 1);
}

static void check_observer(const char *settings, double kept) {
    struct trainer t = trainer_start("qat", settings);
    float x[3][N], y[N];
    double lo = 0.0, hi = 0.0;
    trainer_begin(&t, 10);
    for (int batch = 0; batch < 3; batch++) {
        char name[8];
        snprintf(name, sizeof name, "x%d", batch);
        fill(name, N, batch == 1 ? 4.0f : 2.0f, x[batch]);
        const double low = extreme(x[batch], N, -1), high = extreme(x[batch], N, 1);
        lo = batch == 0 ? low : kept == 1.0 ? fmin(lo, low) : kept * lo + (1.0 - kept) * low;
        hi = batch == 0 ? high : kept == 1.0 ? fmax(hi, high) : kept * hi + (1.0 - kept) * high;
        values_of_node(&t, t.fc1, x[batch], N, y);
        if (batch == 1) {
            check_grid(&t, x[batch], y, lo, hi, 4);
        }
        take_step(&t, batch, 0.1);
    }
    check_grid(&t, x[1], (values_of_node(&t, t.fc1, x[1], N, y), y),
               kept == 1.0 ? lo : kept * lo + (1.0 - kept) * extreme(x[1], N, -1),
               kept == 1.0 ? hi : kept * hi + (1.0 - kept) * extreme(x[1], N, 1), 4);
    trainer_finish(&t);
}

static void test_observers(void **state) {
    (void)state;
    check_observer("activation_bits=4 first_last_bits=0 momentum_observer=0.75", 0.75);
    check_observer("activation_bits=4 first_last_bits=0 observer=minmax", 1.0);
}

/* Values pass for a part of the training, and are observed meanwhile. */
static void test_delay(void **state) {
    (void)state;
    struct trainer t =
        trainer_start("qat", "activation_bits=2 first_last_bits=0 observer=minmax delay=0.5");
    float x[N], wide[N], y[N], g[N], gx[N];
    fill("x", N, 1.0f, x);
    fill("wide", N, 3.0f, wide);
    fill("g", N, 1.0f, g);
    trainer_begin(&t, 4);
    for (int step = 0; step < 2; step++) {
        values_of_node(&t, t.fc1, step ? wide : x, N, y);
        assert_memory_equal(y, step ? wide : x, sizeof y);
        values_back(&t, t.fc1, x, g, N, gx);
        assert_memory_equal(g, gx, sizeof g);
        take_step(&t, step, 0.1);
    }
    values_of_node(&t, t.fc1, x, N, y);
    const double s = (extreme(wide, N, 1) - extreme(wide, N, -1)) / 3.0;
    assert_close(level_distance(y, N), s, 1e-5);
    trainer_finish(&t);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse_settings("qat", "momentum_observer=1",
                    "method qat: momentum_observer: got 1, wanted less than 1");
    refuse_settings("qat", "delay=2", "delay: got 2, wanted 0..1 fraction (method qat)");
    refuse_settings("qat", "observer=mse",
                    "observer: got \"mse\", wanted one of moving_average|minmax (method qat)");
    refuse_settings("qat", "weight_bits=12",
                    "method qat: weight_bits: got 12, wanted 2..8 or 32 (float)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_observers),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
