/* SPDX-License-Identifier: MIT */
/* The method adaround: gradients against differences, results against all ways to round a small
 * layer and against rounding to the nearest; and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptq_fixtures.h"
#include "soft_round.h"

#define WEIGHTS_ONLY "activation_bits=32 "
#define QUICK "iterations=800 lr=0.01 "

static const struct instance_env all = {.seed = 1};

/* ---- the rounding itself ---- */

static double penalized(const struct soft_weight *w, double v, double g, double strength,
                        double beta) {
    const double h = fmin(fmax(1.2 / (1.0 + exp(-v)) - 0.1, 0.0), 1.0);
    const double code = fmin(fmax((double)w->floor + h, -(double)w->qmax), (double)w->qmax);
    return g * (double)w->scale * code + strength * (1.0 - pow(fabs(2.0 * h - 1.0), beta));
}

static void test_gradient(void **state) {
    (void)state;
    static const float floors[] = {-3.0f, -4.0f, 0.0f, 2.0f, 3.0f}; /* qmax 3: two are clipped */
    for (size_t k = 0; k < sizeof floors / sizeof floors[0]; k++) {
        const struct soft_weight w = {floors[k], 0.25f, 3.0f};
        for (float v = -4.0f; v <= 4.0f; v += 0.31f) {
            for (float beta = 2.0f; beta <= 20.0f; beta += 6.0f) {
                const double e = 1e-6;
                const double difference = (penalized(&w, (double)v + e, 1.5, 0.1, (double)beta) -
                                           penalized(&w, (double)v - e, 1.5, 0.1, (double)beta)) /
                                          (2 * e);
                const float got = soft_gradient(&w, soft_sigmoid(v), 1.5f, 0.1f, beta);
                if (fabs((double)got - difference) > 2e-5 + 1e-4 * fabs(difference)) {
                    fail_msg("floor %g, v %g, beta %g: gradient %g, differences give %g",
                             (double)w.floor, (double)v, (double)beta, (double)got, difference);
                }
            }
        }
    }
}

static void test_start_and_end(void **state) {
    (void)state;
    for (float w0 = -0.9f; w0 < 0.9f; w0 += 0.013f) {
        struct soft_weight w;
        const float v = soft_start(w0, 0.25f, &w, 7.0f);
        assert_true(fabsf(soft_value(&w, soft_sigmoid(v)) - w0) < 1e-6f);
        assert_int_equal(soft_code(&w, 10.0f), (int)floorf(w0 / 0.25f) + 1);
        assert_int_equal(soft_code(&w, -10.0f), (int)floorf(w0 / 0.25f));
    }
}

/* ---- layers ---- */

/* input (1,1,8) - flatten - fc (outputs) */
static struct model *one_layer(int32_t outputs) {
    struct model *m = model_start(1, 1, 8);
    add_linear(m, "fc", add_op(m, PARE_OP_FLATTEN, "flatten", 0), outputs);
    model_end(m);
    return m;
}

/* Of one channel: sum over the images of (w x - w' x)^2. */
static double channel_error(const float *x, const float *w, const double *rounded) {
    double sum = 0;
    for (int64_t r = 0; r < N_IMAGES; r++) {
        double e = 0;
        for (int i = 0; i < 8; i++) {
            e += (rounded[i] - (double)w[i]) * (double)x[r * 8 + i];
        }
        sum += e * e;
    }
    return sum;
}

/* The least error of all 256 ways to round the channel. */
static double least_error(const float *x, const float *w, float scale, int qmax) {
    double least = INFINITY;
    for (int way = 0; way < 256; way++) {
        double rounded[8];
        for (int i = 0; i < 8; i++) {
            const double code = floor((double)(w[i] / scale)) + (way >> i & 1);
            rounded[i] = (double)scale * fmin(fmax(code, -qmax), qmax);
        }
        least = fmin(least, channel_error(x, w, rounded));
    }
    return least;
}

static double error_of_weight(const struct model *m, const float *x, const float *w, int row) {
    double rounded[8];
    for (int i = 0; i < 8; i++) {
        rounded[i] = (double)weight_named(m, "fc.weight")->data[row * 8 + i];
    }
    return channel_error(x, w + row * 8, rounded);
}

static void test_all_ways(void **state) {
    (void)state;
    int64_t n = 0;
    double learned = 0, nearest = 0, best = 0;
    struct model *exact = one_layer(6), *m = one_layer(6), *near = one_layer(6);
    float *x = values_at(exact, "flatten", &n);
    const float *w = weight_named(exact, "fc.weight")->data;
    calibrated_step(m, "adaround", WEIGHTS_ONLY QUICK "weight_bits=3", &all);
    ptq_step(near, WEIGHTS_ONLY "weight_bits=3 weight_observer=mse", &all);
    const pare_weight *q = weight_named(m, "fc.weight");
    for (int row = 0; row < 6; row++) {
        const double least = least_error(x, w + row * 8, q->quant.scale[row], 3);
        const double got = error_of_weight(m, x, w, row);
        assert_true(got >= least * (1 - 1e-6));
        best += least;
        learned += got;
        nearest += error_of_weight(near, x, w, row);
    }
    if (learned > 1.1 * best || learned > 0.7 * nearest) {
        fail_msg("error %g; of all ways the best has %g, the nearest %g", learned, best, nearest);
    }
    free(x);
    model_destroy(exact);
    model_destroy(m);
    model_destroy(near);
}

/* A strided, padded convolution in groups, its relu, and a layer behind it. */
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
    x = add_op(m, PARE_OP_RELU, "relu", x);
    x = add_op(m, PARE_OP_FLATTEN, "flatten", x);
    add_linear(m, "fc", x, 5);
    model_end(m);
    return m;
}

/* Of what the node computes, against the untouched model. */
static double error_at(struct model *m, const char *node) {
    int64_t n = 0;
    struct model *exact = grouped();
    float *wanted = values_at(exact, node, &n), *got = values_at(m, node, &n);
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

static double error_after(const char *method, const char *settings, const char *node) {
    struct model *m = grouped();
    calibrated_step(m, method, settings, &all);
    const double error = error_at(m, node);
    model_destroy(m);
    return error;
}

static void test_less_error(void **state) {
    (void)state;
    static const char *const nodes[] = {"relu", "fc"};
    for (int k = 0; k < 2; k++) {
        const double nearest =
            error_after("ptq", "weight_bits=3 observer=mse weight_observer=mse", nodes[k]);
        const double learned = error_after("adaround", QUICK "weight_bits=3 places=100", nodes[k]);
        const double sampled = error_after("adaround", QUICK "weight_bits=3", nodes[k]);
        const double dropped = error_after("adaround", QUICK "weight_bits=3 drop=0.5", nodes[k]);
        if (!(learned < 0.7 * nearest && sampled < 0.85 * nearest && dropped < 0.85 * nearest)) {
            fail_msg("%s: error %g, %g from samples, %g with drop, %g of the nearest", nodes[k],
                     learned, sampled, dropped, nearest);
        }
    }
}

/* Each code is one of the two next to the weight; what is pruned stays 0. */
static void test_zeros_survive(void **state) {
    (void)state;
    struct model *exact = grouped(), *m = grouped();
    do_step(m, "magnitude", "magnitude", "sparsity=0.5");
    calibrated_step(m, "adaround", QUICK "bits=4 layer_bits=fc=6 bias_correction=true", &all);
    const pare_weight *w = weight_named(m, "conv.weight"),
                      *was = weight_named(exact, "conv.weight");
    assert_int_equal(n_pruned(w), w->n_elems / 2);
    assert_int_equal(weight_named(m, "fc.weight")->quant.bits, 6);
    for (int64_t i = 0; i < w->n_elems; i++) {
        const float code = was->data[i] / w->quant.scale[i * w->dims[0] / w->n_elems];
        if (!w->mask[i]) {
            assert_int_equal(w->codes[i], 0);
        } else if (fabsf(code) < 7.0f) {
            assert_true(fabsf((float)w->codes[i] - code) <= 1.0f + 1e-5f);
        }
    }
    model_destroy(exact);
    model_destroy(m);
}

static void codes_of(const char *settings, uint64_t seed, int16_t codes[72]) {
    const struct instance_env env = {.seed = seed};
    struct model *m = grouped();
    calibrated_step(m, "adaround", settings, &env);
    memcpy(codes, weight_named(m, "conv.weight")->codes, 72 * sizeof *codes);
    model_destroy(m);
}

/* The seed decides, and so does drop. */
static void test_seed(void **state) {
    (void)state;
    int16_t one[72], again[72], other[72], dropped[72];
    codes_of(QUICK "bits=3", 1, one);
    codes_of(QUICK "bits=3", 1, again);
    codes_of(QUICK "bits=3 places=1", 2, other);
    codes_of(QUICK "bits=3 drop=1", 1, dropped);
    assert_memory_equal(one, again, sizeof one);
    assert_memory_not_equal(one, other, sizeof one);
    assert_memory_not_equal(one, dropped, sizeof one);
}

/* ---- odd inputs ---- */

static pare_status feed(struct loaded *q, struct model *m, const float *values, int32_t n,
                        struct error *err) {
    pare_status status = q->calibrate->begin(q->self, &m->graph);
    for (int32_t again = 1; again && status == PARE_OK;) {
        for (int32_t v = 0; v < m->graph.n_nodes && status == PARE_OK; v++) {
            status = q->calibrate->observe(q->self, &m->graph, v, values, n);
        }
        again = 0;
        status = status == PARE_OK ? q->calibrate->end(q->self, &m->graph, &again) : status;
    }
    status = status == PARE_OK ? q->method->apply(q->self, &m->graph) : status;
    return instance_status(q->made.inst, status, "adaround", err);
}

static void check_feed(const char *settings, const float *values, int32_t n, const char *wanted) {
    struct error err = {PARE_OK, ""};
    struct model *m = one_layer(3);
    struct loaded q = load_method("adaround", "adaround", settings, &all);
    const pare_status status = feed(&q, m, values, n, &err);
    unload(&q);
    if (wanted) {
        assert_int_not_equal(status, PARE_OK);
        assert_string_equal(err.text, wanted);
    } else {
        must(status, &err);
        must(model_verify(m, &err), &err);
    }
    model_destroy(m);
}

static void test_odd_values(void **state) {
    (void)state;
    const float zeros[16] = {0};
    const float constant[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const float nan_value[8] = {1, NAN, 1, 1, 1, 1, 1, 1}, huge[8] = {3e38f, 3e38f, 3e38f, 3e38f};
    check_feed("iterations=50 bits=4", zeros, 2, NULL);
    check_feed("iterations=50 bits=4 drop=0.5", constant, 2, NULL);
    check_feed("bits=4", nan_value, 1,
               "method adaround: input: calibration value 1 is nan, wanted a finite number");
    check_feed(WEIGHTS_ONLY "bits=4", nan_value, 1,
               "method adaround: fc: while calibrating it reads or computes nan, wanted a finite "
               "number");
    check_feed("bits=4", huge, 0,
               "method adaround: calibration saw no values: it needs at least one image");
}

/* Nothing is known of weights whose inputs are all 0: they are rounded to the nearest. */
static void test_dead_inputs(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const float zeros[16] = {0};
    struct model *m = one_layer(3), *nearest = one_layer(3);
    struct loaded q = load_method("adaround", "adaround", WEIGHTS_ONLY QUICK "bits=4", &all);
    must(feed(&q, m, zeros, 2, &err), &err);
    unload(&q);
    ptq_step(nearest, WEIGHTS_ONLY "bits=4 weight_observer=mse", &all);
    assert_memory_equal(weight_named(m, "fc.weight")->codes,
                        weight_named(nearest, "fc.weight")->codes, 24 * sizeof(int16_t));
    model_destroy(m);
    model_destroy(nearest);
}

/* ---- what is refused ---- */

static void refuse(const char *settings, const char *wanted) {
    struct error err = {PARE_OK, ""};
    struct loaded q;
    assert_int_not_equal(try_method("adaround", "adaround", settings, &all, &err, &q), PARE_OK);
    assert_string_equal(err.text, wanted);
}

static void test_refused(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    refuse("bits=9", "method adaround: bits: got 9, wanted 2..8 for weights");
    refuse("weight_bits=32",
           "method adaround: weight_bits is 32: there is nothing to round, wanted 2..8");
    refuse("drop=1.5", "drop: got 1.5, wanted 0..1 fraction (method adaround)");
    refuse("iterations=0", "iterations: got 0, wanted 1..10000000 steps (method adaround)");
    struct model *m = one_layer(1);
    struct loaded q = load_method("adaround", "adaround", "", &all);
    assert_int_not_equal(apply_loaded(&q, m, &err), PARE_OK);
    assert_string_equal(err.text,
                        "method adaround: calibration has not come to its end: adaround does all "
                        "its work there, from at least one image");
    unload(&q);
    ptq_step(m, "bits=8", &all);
    assert_int_not_equal(try_calibrated(m, "adaround", "bits=4", &all, &err), PARE_OK);
    assert_string_equal(err.text, "method adaround: fc.weight is quantized to 8 bits already by an "
                                  "earlier step: exclude its layer here, or leave out one of the "
                                  "steps");
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
        struct loaded q = load_method("adaround", "adaround",
                                      "bits=4 iterations=2 drop=0.5 bias_correction=true", &all);
        make_scarce(&q.made, n);
        status = feed(&q, m, values, 2, &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory"));
        }
        must(model_verify(m, &err), &err);
        unload(&q);
        model_destroy(m);
    }
    assert_in_range(n, 20, 35);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient),      cmocka_unit_test(test_start_and_end),
        cmocka_unit_test(test_all_ways),      cmocka_unit_test(test_less_error),
        cmocka_unit_test(test_zeros_survive), cmocka_unit_test(test_seed),
        cmocka_unit_test(test_odd_values),    cmocka_unit_test(test_dead_inputs),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("method adaround", tests, NULL, NULL);
}
