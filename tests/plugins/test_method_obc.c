/* SPDX-License-Identifier: MIT */
/* The method obc: against the plain algorithms of its papers, which invert what is left of H anew
 * in every step; groups, strides, masks, layers in turn; and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptq_fixtures.h"

#define WEIGHTS_ONLY "activation_bits=32 "
#define PRUNE_ONLY "weight_bits=32 activation_bits=32 "

enum { MOST = 12 }; /* weights of a channel in the plain algorithms */

static const struct instance_env all = {0};

/* ---- plain algorithms ---- */

/* H of n inputs x (n_rows, n), damped by 1 %. */
static void second_derivatives(const float *x, int64_t n_rows, int n, double h[MOST][MOST]) {
    double trace = 0;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            h[i][j] = 0;
            for (int64_t r = 0; r < n_rows; r++) {
                h[i][j] += 2 * (double)x[r * n + i] * (double)x[r * n + j] / (double)n_rows;
            }
        }
        trace += h[i][i];
    }
    for (int i = 0; i < n; i++) {
        h[i][i] += 0.01 * trace / n;
    }
}

/* The inverse of the rows and columns with left[i] != 0, the others 0; Gauss and Jordan. */
static void invert_left(double h[MOST][MOST], int n, const int *left, double inverse[MOST][MOST]) {
    double a[MOST][MOST];
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            a[i][j] = left[i] && left[j] ? h[i][j] : i == j;
            inverse[i][j] = i == j;
        }
    }
    for (int k = 0; k < n; k++) {
        const double pivot = a[k][k];
        for (int j = 0; j < n; j++) {
            a[k][j] /= pivot;
            inverse[k][j] /= pivot;
        }
        for (int i = 0; i < n; i++) {
            const double factor = i == k ? 0 : a[i][k];
            for (int j = 0; j < n; j++) {
                a[i][j] -= factor * a[k][j];
                inverse[i][j] -= factor * inverse[k][j];
            }
        }
    }
}

/* w_q becomes `value`; the others that are left make it good (2208.11580, eq. 3). */
static void settle(double h[MOST][MOST], int n, int *left, int q, double value, double *w) {
    double inverse[MOST][MOST];
    invert_left(h, n, left, inverse);
    const double step = (w[q] - value) / inverse[q][q];
    left[q] = 0;
    for (int i = 0; i < n; i++) {
        w[i] -= left[i] ? step * inverse[i][q] : 0;
    }
    w[q] = value;
}

static void plain_round(double h[MOST][MOST], int n, float scale, int qmax, double *w) {
    int left[MOST];
    for (int i = 0; i < n; i++) {
        left[i] = 1;
    }
    for (int q = 0; q < n; q++) {
        const double code = fmin(fmax(rint(w[q] / (double)scale), -qmax), qmax);
        settle(h, n, left, q, code * (double)scale, w);
    }
}

/* Which weight of a channel is cheapest, and what it costs. */
static int plain_cheapest(double h[MOST][MOST], int n, const int *left, const double *w,
                          double *cost) {
    double inverse[MOST][MOST];
    int best = -1;
    invert_left(h, n, left, inverse);
    for (int i = 0; i < n; i++) {
        const double score = w[i] * w[i] / inverse[i][i];
        if (left[i] && (best < 0 || score < *cost)) {
            best = i;
            *cost = score;
        }
    }
    return best;
}

/* n_pruned weights of all channels w (n_rows, MOST), the cheapest of all each time. */
static void plain_prune(double h[MOST][MOST], int n, int n_rows, int n_pruned, double w[][MOST]) {
    int left[8][MOST];
    for (int r = 0; r < n_rows; r++) {
        for (int i = 0; i < n; i++) {
            left[r][i] = 1;
        }
    }
    for (int k = 0; k < n_pruned; k++) {
        int best_row = -1, best = -1;
        double least = 0;
        for (int r = 0; r < n_rows; r++) {
            double cost = 0;
            const int at = plain_cheapest(h, n, left[r], w[r], &cost);
            if (at >= 0 && (best_row < 0 || cost < least)) {
                best_row = r;
                best = at;
                least = cost;
            }
        }
        settle(h, n, left[best_row], best, 0, w[best_row]);
    }
}

/* ---- against them ---- */

/* input (1,1,8) - flatten - fc (outputs), inputs of different scale and correlated by nothing. */
static struct model *one_layer(int32_t outputs) {
    struct model *m = model_start(1, 1, 8);
    add_linear(m, "fc", add_op(m, PARE_OP_FLATTEN, "flatten", 0), outputs);
    model_end(m);
    return m;
}

/* H of layer `fc` from what the model computes now. */
static void layer_derivatives(struct model *m, const char *input, int n, double h[MOST][MOST]) {
    int64_t n_elems = 0;
    float *x = values_at(m, input, &n_elems);
    assert_int_equal(n_elems, n);
    second_derivatives(x, N_IMAGES, n, h);
    free(x);
}

/* The codes of weight `name` of m against the plain algorithm on `original`. */
static void check_rounded(struct model *m, const char *name, const float *original,
                          double h[MOST][MOST]) {
    const pare_weight *w = weight_named(m, name);
    const int n = (int)(w->n_elems / w->dims[0]);
    int n_not_nearest = 0;
    for (int r = 0; r < (int)w->dims[0]; r++) {
        const float scale = w->quant.scale[r];
        double wanted[MOST];
        for (int i = 0; i < n; i++) {
            wanted[i] = (double)original[r * n + i];
        }
        plain_round(h, n, scale, w->quant.qmax, wanted);
        for (int i = 0; i < n; i++) {
            const double nearest = rint((double)original[r * n + i] / (double)scale);
            assert_true(fabs((double)w->data[r * n + i] - wanted[i]) < 1e-6);
            n_not_nearest += fabs(nearest - w->codes[r * n + i]) > 0.5;
        }
    }
    assert_true(n_not_nearest > 0); /* or there was nothing to see */
}

static void test_round_one_channel(void **state) {
    (void)state;
    double h[MOST][MOST];
    struct model *exact = one_layer(1), *m = one_layer(1);
    layer_derivatives(exact, "flatten", 8, h);
    calibrated_step(m, "obc", WEIGHTS_ONLY "weight_bits=3", &all);
    check_rounded(m, "fc.weight", weight_named(exact, "fc.weight")->data, h);
    model_destroy(exact);
    model_destroy(m);
}

/* The second layer sees what the first one computes once it is rounded. */
static void test_layers_in_turn(void **state) {
    (void)state;
    for (int with_values = 0; with_values < 2; with_values++) {
        double h[MOST][MOST];
        struct model *exact = model_two_layers(), *m = model_two_layers();
        calibrated_step(
            m, "obc",
            with_values ? "weight_bits=5 activation_bits=4" : WEIGHTS_ONLY "weight_bits=5", &all);
        layer_derivatives(m, "relu1", 6, h);
        check_rounded(m, "fc2.weight", weight_named(exact, "fc2.weight")->data, h);
        assert_int_equal(m->graph.nodes[0]->activation.bits, with_values ? 4 : 0);
        model_destroy(exact);
        model_destroy(m);
    }
}

static void check_pruned(int n_rows, const char *settings, int n_wanted) {
    double h[MOST][MOST], wanted[8][MOST];
    struct model *exact = one_layer(n_rows), *m = one_layer(n_rows);
    const float *original = weight_named(exact, "fc.weight")->data;
    layer_derivatives(exact, "flatten", 8, h);
    for (int i = 0; i < 8 * n_rows; i++) {
        wanted[i / 8][i % 8] = (double)original[i];
    }
    plain_prune(h, 8, n_rows, n_wanted, wanted);
    calibrated_step(m, "obc", settings, &all);
    const pare_weight *w = weight_named(m, "fc.weight");
    assert_int_equal(w->quant.bits, 0);
    int n_zero = 0;
    for (int i = 0; i < 8 * n_rows; i++) {
        assert_true(fabs((double)w->data[i] - wanted[i / 8][i % 8]) < 1e-5);
        assert_int_equal(w->mask[i] == 0, wanted[i / 8][i % 8] == 0);
        n_zero += w->mask[i] == 0;
    }
    assert_int_equal(n_zero, n_wanted);
    model_destroy(exact);
    model_destroy(m);
}

static void test_prune(void **state) {
    (void)state;
    check_pruned(1, PRUNE_ONLY "sparsity=0.5", 4);
    check_pruned(1, PRUNE_ONLY "sparsity=0.875", 7);
    check_pruned(5, PRUNE_ONLY "sparsity=0.4", 16);
    check_pruned(5, PRUNE_ONLY "sparsity=0.9", 36);
}

/* ---- convolutions ---- */

/* Stride, padding and groups; 6 input channels in groups of 3. */
static struct model *grouped(void) {
    struct model *m = model_start(7, 6, 6);
    int32_t x = add(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                          .name = "conv",
                                          .out_channels = 4,
                                          .kernel_h = 3,
                                          .kernel_w = 2,
                                          .stride_h = 2,
                                          .stride_w = 1,
                                          .pad_h = 1,
                                          .pad_w = 1,
                                          .groups = 2,
                                          .bias = 1});
    x = add_op(m, PARE_OP_FLATTEN, "flatten", x);
    add_linear(m, "fc", x, 5);
    model_end(m);
    return m;
}

/* Of what the convolution computes, against the untouched model. */
static double output_error(struct model *m) {
    int64_t n = 0;
    struct model *exact = grouped();
    float *wanted = values_at(exact, "conv", &n), *got = values_at(m, "conv", &n);
    double sum = 0;
    for (int64_t i = 0; i < N_IMAGES * n; i++) {
        const double e = (double)got[i] - (double)wanted[i];
        sum += e * e;
    }
    free(wanted);
    free(got);
    model_destroy(exact);
    return sum;
}

static double error_after(const char *method, const char *settings) {
    struct model *m = grouped();
    calibrated_step(m, method, settings, &all);
    const double error = output_error(m);
    model_destroy(m);
    return error;
}

static void test_less_error(void **state) {
    (void)state;
    const double nearest = error_after("ptq", WEIGHTS_ONLY "weight_bits=3 weight_observer=mse");
    const double by_column = error_after("obc", WEIGHTS_ONLY "weight_bits=3");
    const double by_activation = error_after("obc", WEIGHTS_ONLY "weight_bits=3 order=activation");
    const double corrected = error_after("obc", WEIGHTS_ONLY "weight_bits=3 bias_correction=true");
    assert_true(by_column < 0.8 * nearest);
    assert_true(by_activation < 0.8 * nearest);
    assert_true(corrected < by_column);
}

static void test_two_of_four(void **state) {
    (void)state;
    struct model *m = grouped();
    calibrated_step(m, "obc", PRUNE_ONLY "n=1 m=2", &all);
    const pare_weight *w = weight_named(m, "conv.weight"); /* 3 channels: a pair, and one alone */
    for (int64_t tap = 0; tap < w->n_elems; tap += 3) {
        assert_int_equal(w->mask[tap] + w->mask[tap + 1], 1);
        assert_int_equal(w->mask[tap + 2], 1);
    }
    const pare_weight *fc = weight_named(m, "fc.weight");
    assert_int_equal(n_pruned(fc), fc->n_elems / 2);
    model_destroy(m);
    m = one_layer(3);
    calibrated_step(m, "obc", WEIGHTS_ONLY "weight_bits=4 n=2", &all);
    w = weight_named(m, "fc.weight");
    assert_int_equal(w->quant.bits, 4);
    for (int64_t at = 0; at < w->n_elems; at += 4) {
        assert_int_equal(w->mask[at] + w->mask[at + 1] + w->mask[at + 2] + w->mask[at + 3], 2);
    }
    model_destroy(m);
}

/* Zeros of an earlier step stay, in rounding and in pruning, and count. */
static void test_zeros_survive(void **state) {
    (void)state;
    struct model *m = grouped();
    do_step(m, "magnitude", "magnitude", "sparsity=0.5");
    uint8_t mask[72];
    const pare_weight *w = weight_named(m, "conv.weight");
    assert_int_equal(w->n_elems, 72);
    memcpy(mask, w->mask, sizeof mask);
    calibrated_step(m, "obc", "bits=4 sparsity=0.75", &all);
    w = weight_named(m, "conv.weight");
    assert_int_equal(n_pruned(w), 54);
    for (int i = 0; i < 72; i++) {
        assert_true(w->mask[i] <= mask[i]);
        assert_true(w->mask[i] || w->codes[i] == 0);
    }
    model_destroy(m);
}

/* ---- odd inputs ---- */

static pare_status feed(struct model *m, const char *settings, const float *values, int32_t n,
                        struct error *err) {
    struct loaded q = load_method("obc", "obc", settings, &all);
    pare_status status = q.calibrate->begin(q.self, &m->graph);
    for (int32_t again = 1; again && status == PARE_OK;) {
        for (int32_t v = 0; v < m->graph.n_nodes && status == PARE_OK; v++) {
            status = q.calibrate->observe(q.self, &m->graph, v, values, n);
        }
        again = 0;
        status = status == PARE_OK ? q.calibrate->end(q.self, &m->graph, &again) : status;
    }
    status = status == PARE_OK ? q.method->apply(q.self, &m->graph) : status;
    status = instance_status(q.made.inst, status, "obc", err);
    unload(&q);
    return status;
}

static void check_feed(const char *settings, const float *values, int32_t n, const char *wanted) {
    struct error err = {PARE_OK, ""};
    struct model *m = one_layer(3);
    const pare_status status = feed(m, settings, values, n, &err);
    if (wanted) {
        assert_int_not_equal(status, PARE_OK);
        assert_string_equal(err.text, wanted);
    } else {
        must(status, &err);
        must(model_verify(m, &err), &err);
    }
    model_destroy(m);
}

/* Inputs that are always 0, all of them or some; constant ones. */
static void test_dead_inputs(void **state) {
    (void)state;
    const float zeros[16] = {0}, some[16] = {0, 1, 2, 0, 1, 0, 3, 1, 0, 2, 1, 0, 2, 0, 1, 1};
    const float constant[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const char *const ways[] = {"bits=4", "bits=3 bias_correction=true",
                                       PRUNE_ONLY "sparsity=0.5", "bits=2 n=2"};
    for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++) {
        check_feed(ways[k], zeros, 2, NULL);
        check_feed(ways[k], some, 2, NULL);
        check_feed(ways[k], constant, 2, NULL);
    }
    struct error err = {PARE_OK, ""};
    struct model *m = one_layer(3), *nearest = one_layer(3);
    must(feed(m, WEIGHTS_ONLY "bits=4", zeros, 2, &err), &err);
    ptq_step(nearest, WEIGHTS_ONLY "bits=4 weight_observer=mse", &all);
    assert_memory_equal(weight_named(m, "fc.weight")->codes,
                        weight_named(nearest, "fc.weight")->codes, 24 * sizeof(int16_t));
    model_destroy(m);
    model_destroy(nearest);
}

static void test_bad_values(void **state) {
    (void)state;
    const float nan_value[8] = {1, NAN, 1, 1, 1, 1, 1, 1}, huge[8] = {1, 3e30f, 1, 1, 1, 1, 1, 1};
    check_feed("bits=4", nan_value, 1,
               "method obc: input: calibration value 1 is nan, wanted a finite number");
    check_feed(WEIGHTS_ONLY "bits=4", nan_value, 1,
               "method obc: fc: products of the values it reads while calibrating sum up to nan, "
               "wanted a finite number");
    check_feed(WEIGHTS_ONLY "bits=4", huge, 1,
               "method obc: fc: products of the values it reads while calibrating sum up to inf, "
               "wanted a finite number");
    check_feed("bits=4", huge, 0,
               "method obc: calibration saw no values: it needs at least one image");
    check_feed(WEIGHTS_ONLY "bits=4", huge, 0,
               "method obc: fc: calibration saw no values: it needs at least one image");
}

/* ---- what is refused ---- */

static void refuse(const char *settings, const char *wanted) {
    struct error err = {PARE_OK, ""};
    struct loaded q;
    assert_int_not_equal(try_method("obc", "obc", settings, &all, &err, &q), PARE_OK);
    assert_string_equal(err.text, wanted);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse("bits=9", "method obc: bits: got 9, wanted 2..8 for weights");
    refuse("weight_bits=16",
           "method obc: weight_bits: got 16, wanted 2..8, 0 (as bits) or 32 (float)");
    refuse(PRUNE_ONLY, "method obc: weight_bits is 32 and nothing is pruned: wanted weight_bits in "
                       "2..8, sparsity or n");
    refuse("sparsity=1", "method obc: sparsity: got 1, wanted 0 <= sparsity < 1");
    refuse("sparsity=0.5 n=2",
           "method obc: sparsity and n are both given: wanted one way to say how much");
    refuse("n=5 m=4", "method obc: n: got 5, wanted at most m, which is 4");
    refuse("damping=0", "damping: got 0, wanted 1e-06..1 fraction (method obc)");
}

static void refuse_step(struct model *m, const char *settings, const char *wanted) {
    struct error err = {PARE_OK, ""};
    assert_int_not_equal(try_calibrated(m, "obc", settings, &all, &err), PARE_OK);
    assert_string_equal(err.text, wanted);
}

static void test_refused(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = one_layer(1);
    refuse_step(m, PRUNE_ONLY "sparsity=0.97",
                "method obc: fc.weight: sparsity 0.97 of 8 weights leaves none, wanted less");
    refuse_step(m, "layer_bits=gone=4",
                "method obc: layer_bits: \"gone=4\" decides for no selected layer of small: its "
                "pattern matches none, or an earlier one takes them all");
    struct loaded q = load_method("obc", "obc", "", &all);
    assert_int_not_equal(apply_loaded(&q, m, &err), PARE_OK);
    assert_string_equal(err.text,
                        "method obc: calibration has not come to its end: obc does all its work "
                        "there, from at least one image");
    unload(&q);
    ptq_step(m, "bits=8", &all);
    const char *twice = "method obc: fc.weight is quantized to 8 bits already by an earlier step: "
                        "exclude its layer here, or leave out one of the steps";
    refuse_step(m, "bits=4", twice);
    refuse_step(m, PRUNE_ONLY "sparsity=0.5", twice);
    model_destroy(m);
}

/* Each allocation fails once: that status, no leak, and a model that is still sound. */
static void test_out_of_memory(void **state) {
    (void)state;
    const float values[16] = {0, 1, 2, 0, 1, 0, 3, 1, 0, 2, 1, 0, 2, 0, 1, 1};
    struct error err = {PARE_OK, ""};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct model *m = one_layer(3);
        struct loaded q = load_method("obc", "obc", "bits=4 n=2 bias_correction=true", &all);
        make_scarce(&q.made, n);
        status = q.calibrate->begin(q.self, &m->graph);
        for (int32_t again = 1; again && status == PARE_OK;) {
            for (int32_t v = 0; v < m->graph.n_nodes && status == PARE_OK; v++) {
                status = q.calibrate->observe(q.self, &m->graph, v, values, 2);
            }
            again = 0;
            status = status == PARE_OK ? q.calibrate->end(q.self, &m->graph, &again) : status;
        }
        status = instance_status(q.made.inst, status, "obc", &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory"));
        }
        must(model_verify(m, &err), &err);
        unload(&q);
        model_destroy(m);
    }
    assert_in_range(n, 30, 45);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_one_channel),
        cmocka_unit_test(test_layers_in_turn),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_less_error),
        cmocka_unit_test(test_two_of_four),
        cmocka_unit_test(test_zeros_survive),
        cmocka_unit_test(test_dead_inputs),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_bad_parameters),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("method obc", tests, NULL, NULL);
}
