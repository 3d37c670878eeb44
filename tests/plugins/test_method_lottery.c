/* SPDX-License-Identifier: MIT */
/* The method lottery: when it takes the weights, what it prunes, what it goes back to. That the
 * host trains again from the step asked for stands in test_train_network.c and
 * test_experiment_pruners.c. */
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct instance_env env = {.seed = 1};

static void set_all(struct model *m, float value) {
    struct error err = {PARE_OK, ""};
    for (int32_t k = 0; k < m->graph.n_weights; k++) {
        float data[64];
        for (int64_t i = 0; i < m->graph.weights[k]->n_elems; i++) {
            data[i] = value + 0.001f * (float)i;
        }
        must(model_set_weight(m, k, data, &err), &err);
    }
}

/* A training of 10 steps from step `from` in which the weights become 1 + t at step t. */
static void train(struct loaded *l, struct model *m, int64_t from) {
    struct error err = {PARE_OK, ""};
    for (int64_t t = from; t < 10; t++) {
        set_all(m, 1.0f + (float)t);
        const pare_train_step step = {.struct_size = sizeof step, .step = t};
        must(l->train->after_step(l->self, &m->graph, &step), &err);
    }
}

static int64_t all_pruned(const struct model *m) {
    return n_pruned(weight_named(m, "fc1.weight")) + n_pruned(weight_named(m, "fc2.weight"));
}

/* `early` is the value that biases and kept weights have after a round. */
static void check_rounds(const char *settings, float early, int64_t first) {
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    set_all(m, 0.5f);
    struct loaded l = load_method("lottery", "lottery", settings, &env);
    const pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = 10, .steps_per_epoch = 5};
    assert_null(l.method->apply);
    must(l.train->begin(l.self, &m->graph, &plan), &err);
    train(&l, m, 0);
    for (int round = 1; round <= 3; round++) {
        int64_t from = -1;
        must(l.train->again(l.self, &m->graph, &from), &err);
        assert_int_equal(from, first);
        /* of 42, after round r of 3: 1 - 0.5^(r/3) */
        assert_int_equal(all_pruned(m), (int64_t)rint(42 * (1 - pow(0.5, round / 3.0))));
        const pare_weight *w = weight_named(m, "fc1.weight");
        for (int64_t i = 0; i < w->n_elems; i++) {
            const int kept = !w->mask || w->mask[i];
            assert_true(w->data[i] == (kept ? early + 0.001f * (float)i : 0.0f));
        }
        assert_true(weight_named(m, "fc2.bias")->data[0] == early);
        train(&l, m, from);
    }
    int64_t from = -1;
    must(l.train->again(l.self, &m->graph, &from), &err);
    assert_int_equal(from, -1);
    assert_int_equal(all_pruned(m), 21);
    assert_true(weight_named(m, "fc2.bias")->data[0] == 10.0f);
    unload(&l);
    model_destroy(m);
}

static void test_rounds(void **state) {
    (void)state;
    check_rounds("sparsity=0.5 rounds=3 rewind=0", 0.5f, 0);
    check_rounds("sparsity=0.5 rounds=3 rewind=0.3", 3.0f, 3); /* after steps 0, 1, 2 */
    check_rounds("sparsity=0.5 rounds=3 rewind=0.3 rewind_what=rate", 10.0f, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounds)};
    return cmocka_run_group_tests_name("method lottery", tests, NULL, NULL);
}
