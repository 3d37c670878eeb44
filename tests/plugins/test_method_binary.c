/* SPDX-License-Identifier: MIT */
/* The method binary: codes and scales of the three estimators, and their gradients against
 * differences. Whole trainings are in tests/unit/test_experiment_lowbit.c. */
#include "lowbit_fixtures.h"

enum { CHANNELS = 6, PER = W1 / CHANNELS };

#define SETTINGS "first_last_bits=0 estimator="

static double mean_of(const double *x, int n, int absolute) {
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum += absolute ? fabs(x[i]) : x[i];
    }
    return sum / n;
}

static double deviation_of(const double *x, int n) {
    const double mean = mean_of(x, n, 0);
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum += (x[i] - mean) * (x[i] - mean);
    }
    return sqrt(sum / (n - 1));
}

static void channel_of(const float *w, int channel, double *out) {
    for (int i = 0; i < PER; i++) {
        out[i] = (double)w[channel * PER + i];
    }
}

static void standard(const double *w, double *x) {
    const double mean = mean_of(w, PER, 0), deviation = deviation_of(w, PER);
    for (int i = 0; i < PER; i++) {
        x[i] = (w[i] - mean) / deviation;
    }
}

static double sign(double x) {
    return x < 0.0 ? -1.0 : 1.0;
}

/* ---- codes and scales ---- */

static void check_forward(const char *settings, int is_standard, double (*scale)(const double *)) {
    struct trainer t = trainer_start("binary", settings);
    float used[W1];
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    for (int c = 0; c < CHANNELS; c++) {
        double w[PER], x[PER];
        channel_of(weight_data(&t, t.weight1), c, w);
        standard(w, x);
        for (int i = 0; i < PER; i++) {
            const double code = sign(is_standard ? x[i] : w[i]);
            assert_close((double)used[c * PER + i], scale(w) * code, 1e-6);
        }
    }
    trainer_finish(&t);
}

static double mean_abs(const double *w) {
    return mean_of(w, PER, 1);
}

static double power_of_two(const double *w) {
    const double mean = mean_of(w, PER, 0);
    double off[PER];
    for (int i = 0; i < PER; i++) {
        off[i] = w[i] - mean;
    }
    return exp2(rint(log2(mean_of(off, PER, 1))));
}

static void test_forward(void **state) {
    (void)state;
    check_forward(SETTINGS "xnor", 0, mean_abs);
    check_forward(SETTINGS "irnet", 1, power_of_two);
    check_forward(SETTINGS "recu", 1, mean_abs);
}

/* ---- gradients ---- */

/* What each estimator's gradient is the true gradient of, at w0: the sign in it becomes the sign at
 * w0 plus a function of the distance to w0 that has the slope of the paper. */
typedef double (*surrogate)(const double *w, const double *w0, const double *g, double scale,
                            double progress);

static double xnor_loss(const double *w, const double *w0, const double *g, double scale,
                        double progress) {
    const double alpha0 = mean_of(w0, PER, 1), alpha = mean_of(w, PER, 1);
    double loss = 0.0;
    (void)scale, (void)progress;
    for (int i = 0; i < PER; i++) {
        const double through = fabs(w0[i]) <= 1.0 ? alpha0 * (w[i] - w0[i]) : 0.0;
        loss += g[i] * (alpha * sign(w0[i]) + through);
    }
    return loss;
}

static double irnet_loss(const double *w, const double *w0, const double *g, double scale,
                         double progress) {
    const double t = 0.1 * pow(10.0, 2.0 * progress), k = t < 1.0 ? 1.0 / t : 1.0;
    double x[PER], loss = 0.0;
    (void)w0;
    standard(w, x);
    for (int i = 0; i < PER; i++) {
        loss += g[i] * scale * k * tanh(t * x[i]);
    }
    return loss;
}

static double recu_loss(const double *w, const double *w0, const double *g, double scale,
                        double progress) {
    const double e = exp(1.0);
    const double tau = 0.85 + 0.14 * (exp(progress) - 1.0) / (e - 1.0);
    double x[PER], x0[PER], loss = 0.0;
    standard(w, x);
    standard(w0, x0);
    const double bound = -mean_of(x0, PER, 1) * log(2.0 - 2.0 * tau);
    for (int i = 0; i < PER; i++) {
        loss += fabs(x0[i]) <= bound ? g[i] * scale * x[i] : 0.0;
    }
    return loss;
}

static void check_channel(const double *w, const double *g, const float *gw, double scale,
                          double progress, surrogate loss) {
    const double h = 1e-5;
    for (int i = 0; i < PER; i++) {
        double up[PER], down[PER];
        memcpy(up, w, sizeof up);
        memcpy(down, w, sizeof down);
        up[i] += h;
        down[i] -= h;
        const double wanted =
            (loss(up, w, g, scale, progress) - loss(down, w, g, scale, progress)) / (2.0 * h);
        assert_close((double)gw[i], wanted, 1e-5 * (1.0 + fabs(wanted)));
    }
}

static void check_gradients(const char *settings, surrogate loss) {
    struct trainer t = trainer_start("binary", settings);
    float used[W1], g[W1], gw[W1];
    trainer_begin(&t, 4);
    fill("g", W1, 1.0f, g);
    for (int step = 0; step < 4; step++) {
        weights_of(&t, t.weight1, used);
        weights_back(&t, t.weight1, g, gw);
        for (int c = 0; c < CHANNELS; c++) {
            double w[PER], gd[PER];
            channel_of(weight_data(&t, t.weight1), c, w);
            channel_of(g, c, gd);
            check_channel(w, gd, gw + c * PER, fabs((double)used[c * PER]), step / 4.0, loss);
        }
        take_step(&t, step, 0.0);
    }
    trainer_finish(&t);
}

static void test_gradients(void **state) {
    (void)state;
    check_gradients(SETTINGS "xnor", xnor_loss);
    check_gradients(SETTINGS "irnet", irnet_loss);
    check_gradients(SETTINGS "recu", recu_loss);
}

/* ---- values of 1 bit ---- */

/* Bi-Real Net's polynomial in place of the sign: 2u - u|u| inside, the sign outside. */
static double soft_sign(double x, double bound) {
    const double u = x / bound;
    return fabs(u) < 1.0 ? 2.0 * u - u * fabs(u) : sign(u);
}

static void test_signs(void **state) {
    (void)state;
    enum { N = 50 };
    const double h = 1e-4;
    struct trainer t = trainer_start("binary", "activation_bits=1 first_last_bits=0");
    float x[N], y[N], g[N], gx[N];
    double size = 0.0;
    int n_clipped = 0;
    fill("x", N, 2.0f, x);
    fill("g", N, 1.0f, g);
    x[7] = 0.0f;
    for (int i = 0; i < N; i++) {
        size += fabs((double)x[i]) / N;
    }
    trainer_begin(&t, 10);
    values_of_node(&t, t.fc1, x, N, y);
    values_back(&t, t.fc1, x, g, N, gx);
    for (int i = 0; i < N; i++) {
        const double up = size * soft_sign((double)x[i] + h, 1.25 * size);
        const double down = size * soft_sign((double)x[i] - h, 1.25 * size);
        assert_close((double)y[i], x[i] < 0.0f ? -size : size, 1e-6);
        assert_close((double)gx[i], (double)g[i] * (up - down) / (2.0 * h), 1e-3);
        n_clipped += gx[i] == 0.0f;
    }
    assert_in_range(n_clipped, 1, N - 1);
    trainer_finish(&t);
}

/* Its size follows the values: 0.99 of the past, 0.01 of the batch. */
static void test_sign_size(void **state) {
    (void)state;
    struct trainer t = trainer_start("binary", "activation_bits=1 first_last_bits=0");
    const float x[4] = {1.0f, -1.0f, 1.0f, -1.0f}, wide[4] = {3.0f, -3.0f, 3.0f, -3.0f};
    float y[4];
    trainer_begin(&t, 10);
    values_of_node(&t, t.fc1, x, 4, y);
    assert_close((double)y[0], 1.0, 1e-6);
    values_of_node(&t, t.fc1, wide, 4, y);
    assert_close((double)y[0], 0.99 + 0.03, 1e-6);
    trainer_finish(&t);
}

/* A relu would leave only ones. Where the last layer keeps 8 bits, its relu stays. */
static void test_relus(void **state) {
    (void)state;
    struct trainer t = trainer_start("binary", "activation_bits=1 first_last_bits=0");
    trainer_begin(&t, 10);
    assert_int_equal(model_find_node(t.model, "relu1"), -1);
    trainer_finish(&t);
    t = trainer_start("binary", "activation_bits=1");
    trainer_begin(&t, 10);
    assert_true(model_find_node(t.model, "relu1") > 0);
    trainer_finish(&t);
}

/* ---- other layers, bad input ---- */

static int n_levels(const float *y, int n) {
    int count = 0;
    for (int i = 0; i < n; i++) {
        int k = 0;
        while (k < i && fabsf(y[k]) != fabsf(y[i])) {
            k++;
        }
        count += k == i;
    }
    return count;
}

static void test_first_and_last_keep_eight_bits(void **state) {
    (void)state;
    struct trainer t = trainer_start("binary", "");
    float used[W1];
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    assert_true(n_levels(used, W1) > CHANNELS);
    trainer_finish(&t);
    t = trainer_start("binary", "first_last_bits=0");
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    assert_int_equal(n_levels(used, W1), CHANNELS);
    trainer_finish(&t);
}

static void check_equal_weights(const char *settings) {
    struct trainer t = trainer_start("binary", settings);
    struct error err = {PARE_OK, ""};
    float w[W1] = {0.0f}, used[W1], g[W1], gw[W1];
    for (int i = 12; i < W1; i++) {
        w[i] = 0.25f;
    }
    must(model_set_weight(t.model, t.weight1, w, &err), &err);
    trainer_begin(&t, 10);
    fill("g", W1, 1.0f, g);
    weights_of(&t, t.weight1, used);
    weights_back(&t, t.weight1, g, gw);
    for (int i = 0; i < W1; i++) {
        assert_true(isfinite(used[i]) && used[i] != 0.0f && isfinite(gw[i]));
    }
    trainer_finish(&t);
}

/* Channels of zeros, and of equal values, have a sign and a scale all the same. */
static void test_dead_channels(void **state) {
    (void)state;
    check_equal_weights(SETTINGS "xnor");
    check_equal_weights(SETTINGS "irnet");
    check_equal_weights(SETTINGS "recu");
}

static void test_pruned_is_refused(void **state) {
    (void)state;
    struct trainer t = trainer_start("binary", "first_last_bits=0");
    struct error err = {PARE_OK, ""};
    uint8_t mask[W1];
    memset(mask, 1, sizeof mask);
    mask[7] = 0;
    must(model_set_mask(t.model, t.weight1, mask, &err), &err);
    const pare_status status = t.method->apply(t.self, &t.model->graph);
    assert_int_equal(instance_status(t.made.inst, status, "", &err), PARE_E_UNSUPPORTED);
    assert_string_equal(err.text,
                        "method binary: fc1.weight[7] is pruned, and weights of two values have no "
                        "code for 0: exclude its layer, or use ternary");
    trainer_finish(&t);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse_settings("binary", "estimator=adabin",
                    "estimator: got \"adabin\", wanted one of xnor|irnet|recu (method binary)");
    refuse_settings("binary", "activation_bits=9",
                    "method binary: activation_bits: got 9, wanted 2..8 or 32 (float)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_signs),
        cmocka_unit_test(test_sign_size),
        cmocka_unit_test(test_relus),
        cmocka_unit_test(test_first_and_last_keep_eight_bits),
        cmocka_unit_test(test_dead_channels),
        cmocka_unit_test(test_pruned_is_refused),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
