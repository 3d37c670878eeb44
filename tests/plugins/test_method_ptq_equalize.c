/* SPDX-License-Identifier: MIT */
/* The method ptq: cross-layer equalization changes weights, and not what the network computes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptq_fixtures.h"

#define SETTINGS "bits=8 equalize=true"

/* What it must find its way through: pools, a grouped convolution, flatten, and in the middle a
 * residual block, whose shortcut makes pairs of conv2 and conv3 only. */
static struct model *network(void) {
    struct model *m = model_start(8, 8, 2);
    int32_t x = add_conv(m, "conv1", 0, 4);
    x = add_op(m, PARE_OP_BATCH_NORM, "bn1", x);
    const int32_t before = add_op(m, PARE_OP_RELU, "relu1", x);
    x = add_conv(m, "conv2", before, 6);
    x = add_op(m, PARE_OP_RELU, "relu2", x);
    x = add_conv(m, "conv3", x, 4);
    x = add(m, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {x, before}});
    x = add_op(m, PARE_OP_RELU, "relu3", x);
    x = add_conv(m, "conv4", x, 4);
    x = add_op(m, PARE_OP_RELU, "relu4", x);
    x = add_pool(m, PARE_OP_MAX_POOL, "pool4", x);
    x = add(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                  .name = "conv5",
                                  .inputs = {x},
                                  .out_channels = 6,
                                  .kernel_h = 3,
                                  .kernel_w = 3,
                                  .groups = 2,
                                  .bias = 1});
    x = add_pool(m, PARE_OP_AVG_POOL, "pool5", x);
    x = add_op(m, PARE_OP_FLATTEN, "flatten", x);
    x = add_linear(m, "fc1", x, 5);
    x = add_op(m, PARE_OP_RELU, "relu5", x);
    add_linear(m, "fc2", x, 3);
    model_end(m);
    return m;
}

/* As fresh weights have nearly equal ranges, every output channel gets its own factor, 1/8 .. 8. */
static void spread_channels(struct model *m) {
    struct error err = {PARE_OK, ""};
    pare_rng rng;
    rng_init(&rng, 3, "spread", 0);
    for (int32_t k = 0; k < m->graph.n_weights; k++) {
        const pare_weight *w = m->graph.weights[k];
        float *data = malloc((size_t)w->n_elems * sizeof *data);
        float factor = 1.0f;
        for (int64_t i = 0; i < w->n_elems; i++) {
            if (i % (w->n_elems / w->dims[0]) == 0) {
                factor = exp2f(6.0f * rng_float(&rng) - 3.0f);
            }
            data[i] = w->data[i] * factor;
        }
        if (w->role == PARE_ROLE_WEIGHT || w->role == PARE_ROLE_BIAS) {
            must(model_set_weight(m, k, data, &err), &err);
        }
        free(data);
    }
}

/* As far as folding and equalizing: no weight is rounded yet. */
static void begin_step(struct model *m, const char *settings, const struct instance_env *env) {
    struct error err = {PARE_OK, ""};
    struct loaded q = load_method("ptq", "ptq", settings, env);
    must(instance_status(q.made.inst, q.calibrate->begin(q.self, &m->graph), "begin", &err), &err);
    must(model_verify(m, &err), &err);
    unload(&q);
}

static double range_of(const float *data, int64_t first, int64_t n, int64_t step) {
    double most = 0;
    for (int64_t i = first; i < n; i += step) {
        most = fmax(most, fabs((double)data[i]));
    }
    return most;
}

/* ---- what the network computes ---- */

static void test_logits_stay(void **state) {
    (void)state;
    const struct instance_env env = {0};
    struct model *plain = network();
    struct model *m = network();
    int64_t n = 0;
    spread_channels(plain);
    spread_channels(m);
    begin_step(m, SETTINGS, &env);
    float *wanted = values_at(plain, "fc2", &n);
    float *got = values_at(m, "fc2", &n);
    const double largest = range_of(wanted, 0, N_IMAGES * n, 1);
    assert_true(largest > 0.01);
    for (int64_t i = 0; i < N_IMAGES * n; i++) {
        if (!(fabs((double)wanted[i] - (double)got[i]) <= 1e-5 * largest)) {
            fail_msg("logit %lld is %g, was %g", (long long)i, (double)got[i], (double)wanted[i]);
        }
    }
    free(wanted);
    free(got);
    model_destroy(plain);
    model_destroy(m);
}

/* ---- the factors ---- */

/* One pair, by the equation. */
static void test_equation(void **state) {
    (void)state;
    const struct instance_env env = {0};
    struct model *plain = model_two_layers();
    struct model *m = model_two_layers();
    spread_channels(plain);
    spread_channels(m);
    begin_step(m, SETTINGS, &env);
    const float *w1 = weight_named(plain, "fc1.weight")->data; /* (6,4) */
    const float *w2 = weight_named(plain, "fc2.weight")->data; /* (3,6) */
    for (int64_t c = 0; c < 6; c++) {
        const double r1 = range_of(w1, 4 * c, 4 * c + 4, 1);
        const double r2 = range_of(w2, c, 18, 6);
        const double s = sqrt(r1 * r2) / r2;
        assert_true(fabs(s - 1) > 0.02);
        for (int64_t i = 0; i < 4; i++) {
            const double got = (double)weight_named(m, "fc1.weight")->data[4 * c + i];
            assert_true(fabs(got - (double)w1[4 * c + i] / s) <= 1e-6 * r1 / s);
        }
        for (int64_t i = 0; i < 3; i++) {
            const double got = (double)weight_named(m, "fc2.weight")->data[c + 6 * i];
            assert_true(fabs(got - (double)w2[c + 6 * i] * s) <= 1e-6 * r2 * s);
        }
        const double bias = (double)weight_named(plain, "fc1.bias")->data[c] / s;
        assert_true(fabs((double)weight_named(m, "fc1.bias")->data[c] - bias) <= 1e-6 * fabs(bias));
    }
    model_destroy(plain);
    model_destroy(m);
}

/* Chains of pairs settle: all of them are equal to 2 % in the end. */
static void test_ranges_meet(void **state) {
    (void)state;
    const struct instance_env env = {0};
    struct model *m = network();
    spread_channels(m);
    begin_step(m, SETTINGS, &env);
    const pare_weight *conv4 = weight_named(m, "conv4.weight"); /* (4,3,3,4) */
    const pare_weight *conv5 = weight_named(m, "conv5.weight"); /* (6,3,3,2), two groups */
    const pare_weight *fc1 = weight_named(m, "fc1.weight");     /* (5,6) */
    for (int64_t c = 0; c < 4; c++) {
        const double r1 = range_of(conv4->data, 36 * c, 36 * (c + 1), 1);
        const int64_t group = c / 2 * 54;
        const double r2 = range_of(conv5->data, group + c % 2, group + 54, 2);
        assert_true(fabs(r1 / r2 - 1) < 0.02);
    }
    for (int64_t c = 0; c < 6; c++) {
        const double r1 = range_of(conv5->data, 18 * c, 18 * (c + 1), 1);
        assert_true(fabs(r1 / range_of(fc1->data, c, 30, 6) - 1) < 0.02);
    }
    model_destroy(m);
}

static int is_same(const struct model *a, const struct model *b, const char *name) {
    const pare_weight *w = weight_named(a, name);
    return memcmp(w->data, weight_named(b, name)->data, (size_t)w->n_elems * sizeof(float)) == 0;
}

/* ---- what is left alone ---- */

/* conv1 and conv3 have readers besides a layer; an excluded layer takes no part in a pair. */
static void test_no_pair(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env all = {0};
    const char *pattern = "conv3";
    const struct instance_env without = {.exclude = &pattern, .n_exclude = 1};
    struct model *plain = network();
    must(model_fold_batch_norm(plain, &err), &err);
    struct model *m = network();
    begin_step(m, SETTINGS, &all);
    assert_true(is_same(m, plain, "conv1.weight"));
    assert_true(is_same(m, plain, "conv3.bias"));
    assert_true(is_same(m, plain, "fc2.bias"));
    assert_false(is_same(m, plain, "conv2.weight"));
    assert_false(is_same(m, plain, "conv3.weight"));
    assert_false(is_same(m, plain, "conv4.weight"));
    model_destroy(m);
    m = network();
    begin_step(m, SETTINGS, &without);
    assert_true(is_same(m, plain, "conv2.weight"));
    assert_true(is_same(m, plain, "conv3.weight"));
    assert_false(is_same(m, plain, "conv4.weight"));
    model_destroy(m);
    m = network();
    begin_step(m, "bits=8", &all);
    assert_true(is_same(m, plain, "conv4.weight"));
    model_destroy(m);
    model_destroy(plain);
}

/* A channel that is 0 in one of the two keeps its weights, and what is pruned stays pruned. */
static void test_zeros(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {0};
    struct model *plain = model_two_layers();
    struct model *m = model_two_layers();
    uint8_t mask[24];
    for (int i = 0; i < 24; i++) {
        mask[i] = i >= 4 && i != 9; /* the whole first channel, and one more */
    }
    must(model_set_mask(m, weight_named(m, "fc1.weight")->index, mask, &err), &err);
    begin_step(m, SETTINGS, &env);
    const pare_weight *w1 = weight_named(m, "fc1.weight");
    const float *w2 = weight_named(m, "fc2.weight")->data;
    assert_true(w1->mask[0] == 0 && w1->data[0] == 0.0f && w1->mask[9] == 0 && w1->data[9] == 0.0f);
    assert_true(w1->mask[10] == 1 && w1->data[10] != 0.0f);
    const float *before = weight_named(plain, "fc2.weight")->data;
    assert_true(w2[0] == before[0] && w2[6] == before[6] && w2[1] != before[1]);
    model_destroy(plain);
    model_destroy(m);
}

/* Each allocation fails once: that status, no leak, and a model that is still sound. */
static void test_out_of_memory(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {0};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct model *m = model_two_layers();
        struct loaded q = load_method("ptq", "ptq", SETTINGS, &env);
        make_scarce(&q.made, n);
        status = instance_status(q.made.inst, q.calibrate->begin(q.self, &m->graph), "begin", &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory for"));
        }
        must(model_verify(m, &err), &err);
        unload(&q);
        model_destroy(m);
    }
    assert_in_range(n, 5, 10); /* two rounds of two, plan, ranges */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_stay), cmocka_unit_test(test_equation),
        cmocka_unit_test(test_ranges_meet), cmocka_unit_test(test_no_pair),
        cmocka_unit_test(test_zeros),       cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("method ptq, equalization", tests, NULL, NULL);
}
