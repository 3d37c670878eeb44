/* SPDX-License-Identifier: MIT */
/* The method rigl: how dense each layer is, and exchanges against a plain computation. */
#include "core/rng.h"
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct instance_env env = {.seed = 5};

static struct loaded begin(struct model *m, const char *settings, int64_t n_steps) {
    struct error err = {PARE_OK, ""};
    struct loaded rigl = load_method("rigl", "rigl", settings, &env);
    must(apply_loaded(&rigl, m, &err), &err);
    const pare_train_plan plan = {
        .struct_size = sizeof plan, .n_steps = n_steps, .steps_per_epoch = n_steps};
    must(rigl.train->begin(rigl.self, &m->graph, &plan), &err);
    return rigl;
}

/* Erdos-Renyi: densities in the ratio (6 + 4)/24 to (3 + 6)/18; more than dense is dense, and the
 * other layer takes what is left. */
static void test_density(void **state) {
    (void)state;
    const struct {
        const char *settings;
        int64_t fc1, fc2;
    } cases[] = {
        {"sparsity=0.5", 24 - 11, 18 - 10}, /* e = 21/19 */
        {"sparsity=0.05", 24 - 22, 0},      /* e = (39.9 - 18)/10 */
        {"sparsity=0.5 distribution=uniform", 12, 9},
        {"sparsity=0", 0, 0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct model *m = model_two_layers();
        struct loaded rigl = begin(m, cases[k].settings, 10);
        assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), cases[k].fc1);
        assert_int_equal(n_pruned(weight_named(m, "fc2.weight")), cases[k].fc2);
        unload(&rigl);
        model_destroy(m);
    }
}

/* The n of those with from[i] that have the lowest rank, by looking again and again. */
static void take_lowest(const float *rank, const uint8_t *from, int64_t n, uint8_t taken[24]) {
    memset(taken, 0, 24);
    for (int64_t k = 0; k < n; k++) {
        int best = -1;
        for (int i = 0; i < 24; i++) {
            if (from[i] && !taken[i] && (best < 0 || rank[i] < rank[best])) {
                best = i;
            }
        }
        taken[best] = 1;
    }
}

/* What the mask of fc1 must be after an exchange of n. */
static void exchange(const float *w, const float *g, const uint8_t *allowed, int64_t n,
                     uint8_t mask[24]) {
    float rank[24];
    uint8_t goes[24], comes[24], may_come[24];
    for (int i = 0; i < 24; i++) {
        rank[i] = fabsf(w[i]);
    }
    take_lowest(rank, mask, n, goes);
    for (int i = 0; i < 24; i++) {
        mask[i] = mask[i] && !goes[i];
        may_come[i] = !mask[i] && allowed[i];
        rank[i] = -fabsf(g[i]);
    }
    take_lowest(rank, may_come, n, comes);
    for (int i = 0; i < 24; i++) {
        mask[i] |= comes[i];
    }
}

static void fill(pare_rng *rng, float *values, const uint8_t *mask) {
    for (int i = 0; i < 24; i++) {
        values[i] = rng_float(rng) - 0.5f;
        values[i] = mask && !mask[i] ? 0.0f : values[i];
    }
}

/* Weights and gradients are new in every step. The gradients of steps without an exchange must not
 * matter; weights that come are 0; those pruned by an earlier step never come. */
static void test_exchanges(void **state) {
    (void)state;
    enum { STEPS = 40, INTERVAL = 3 };
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    const pare_weight *w = weight_named(m, "fc1.weight");
    uint8_t allowed[24], wanted[24];
    memset(allowed, 1, sizeof allowed);
    allowed[3] = allowed[20] = 0;
    must(model_set_mask(m, w->index, allowed, &err), &err);
    struct loaded rigl = begin(m, "sparsity=0.5 distribution=uniform interval=3 until=0.8", STEPS);
    pare_rng rng;
    rng_init(&rng, 9, "test", 0);
    int64_t n_exchanges = 0;
    memcpy(wanted, w->mask, sizeof wanted);
    for (int64_t t = 0; t < STEPS; t++) {
        float values[24], g[24], back[24], used[24];
        fill(&rng, values, w->mask);
        fill(&rng, g, NULL);
        must(model_set_weight(m, w->index, values, &err), &err);
        must(rigl.train->weight_forward(rigl.self, &m->graph, w->index, w->data, used), &err);
        assert_memory_equal(used, values, sizeof used);
        must(rigl.train->weight_backward(rigl.self, &m->graph, w->index, w->data, g, back), &err);
        assert_memory_equal(back, g, sizeof back);
        const pare_train_step step = {.struct_size = sizeof step, .step = t};
        must(rigl.train->after_step(rigl.self, &m->graph, &step), &err);
        if (t > 0 && t % INTERVAL == 0 && t <= 30) { /* 0.8 of 40, whole intervals */
            const double fraction = 0.5 * 0.3 * (1.0 + cos(acos(-1.0) * (double)t / 30.0));
            const int64_t n = (int64_t)rint(fraction * 12.0);
            n_exchanges += n;
            exchange(values, g, allowed, n, wanted);
        }
        assert_memory_equal(w->mask, wanted, sizeof wanted);
        for (int i = 0; i < 24; i++) {
            assert_true(w->data[i] == (wanted[i] ? values[i] : 0.0f));
        }
        assert_int_equal(n_pruned(w), 12);
    }
    assert_true(n_exchanges > 10);
    assert_true(!w->mask[3] && !w->mask[20]);
    unload(&rigl);
    model_destroy(m);
}

static void test_bad_parameters(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    assert_int_equal(try_step(m, "rigl", "rigl", "sparsity=1", &err), PARE_E_RANGE);
    assert_string_equal(err.text, "method rigl: sparsity: got 1, wanted 0 <= sparsity < 1");
    assert_int_equal(try_step(m, "rigl", "rigl", "sparsity=0.98 distribution=uniform", &err),
                     PARE_E_RANGE);
    assert_non_null(strstr(err.text, "fc1.weight: all its 24 elements would be pruned"));
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_density),
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests_name("method rigl", tests, NULL, NULL);
}
