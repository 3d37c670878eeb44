/* SPDX-License-Identifier: MIT */
/* The method random: exact counts, every unit equally likely, the seed alone decides. */
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The mask of fc1 (6,4) after one step with a seed. */
static void draw(const char *settings, uint64_t seed, uint8_t mask[24]) {
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {.seed = seed};
    struct model *m = model_two_layers();
    struct loaded random = load_method("random", "random", settings, &env);
    must(apply_loaded(&random, m, &err), &err);
    must(model_verify(m, &err), &err);
    memcpy(mask, weight_named(m, "fc1.weight")->mask, 24);
    unload(&random);
    model_destroy(m);
}

static int n_zeros(const uint8_t mask[24]) {
    int n = 0;
    for (int i = 0; i < 24; i++) {
        n += !mask[i];
    }
    return n;
}

static void test_seed_decides(void **state) {
    (void)state;
    uint8_t one[24], again[24], other[24];
    draw("sparsity=0.5", 1, one);
    draw("sparsity=0.5", 1, again);
    draw("sparsity=0.5", 2, other);
    assert_memory_equal(one, again, 24);
    assert_memory_not_equal(one, other, 24);
    assert_int_equal(n_zeros(one), 12);
    assert_int_equal(n_zeros(other), 12);
}

/* Over 2000 seeds each of 24 weights is pruned 2000/4 times, give or take. With k of n drawn
 * without replacement, sum (O - E)^2 / (E (1 - k/n)) (n - 1) / n is chi-square with n - 1 degrees
 * of freedom: above 49.7 once in a thousand sets of seeds, below 5 as seldom. The set is fixed. */
static void test_uniform(void **state) {
    (void)state;
    enum { SEEDS = 2000 };
    int times[24] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint8_t mask[24];
        draw("count=6", seed, mask);
        assert_int_equal(n_zeros(mask), 6);
        for (int i = 0; i < 24; i++) {
            times[i] += !mask[i];
        }
    }
    double statistic = 0;
    for (int i = 0; i < 24; i++) {
        const double expected = SEEDS / 4.0;
        statistic += (times[i] - expected) * (times[i] - expected) / (expected * 0.75);
    }
    statistic *= 23.0 / 24.0;
    if (!(statistic < 49.7 && statistic > 5.0)) {
        fail_msg("chi-square is %g", statistic);
    }
}

/* Whole inputs or outputs, and a later step takes others. */
static void test_slices(void **state) {
    (void)state;
    uint8_t mask[24];
    draw("count=2 structure=output", 3, mask);
    int n = 0;
    for (int o = 0; o < 6; o++) {
        for (int i = 1; i < 4; i++) {
            assert_int_equal(mask[4 * o + i], mask[4 * o]);
        }
        n += !mask[4 * o];
    }
    assert_int_equal(n, 2);
    draw("count=1 structure=input", 3, mask);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(mask[i], mask[i % 4]);
    }
    assert_int_equal(n_zeros(mask), 6);
    struct model *m = model_two_layers();
    do_step(m, "random", "random", "count=1 structure=output");
    do_step(m, "random", "random", "count=1 structure=output");
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 8);
    assert_int_equal(n_pruned(weight_named(m, "fc2.weight")), 12); /* two of its three outputs */
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed_decides),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_slices),
    };
    return cmocka_run_group_tests_name("method random", tests, NULL, NULL);
}
