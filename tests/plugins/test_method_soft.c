/* SPDX-License-Identifier: MIT */
/* movement and dns: masks that recover while training, by scores computed by hand. */
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct instance_env env = {.seed = 1};
static const char *const only_fc1 = "fc1";
static const struct instance_env fc1_env = {.seed = 1, .include = &only_fc1, .n_include = 1};

static void set(struct model *m, const float *data) {
    struct error err = {PARE_OK, ""};
    must(model_set_weight(m, weight_named(m, "fc1.weight")->index, data, &err), &err);
}

static struct loaded begin(struct model *m, const char *id, const char *settings, int64_t n_steps) {
    struct error err = {PARE_OK, ""};
    struct loaded l = load_method(id, id, settings, &fc1_env);
    const pare_train_plan plan = {
        .struct_size = sizeof plan, .n_steps = n_steps, .steps_per_epoch = n_steps};
    assert_null(l.method->apply);
    must(l.train->begin(l.self, &m->graph, &plan), &err);
    return l;
}

/* One step without the optimizer; the mask in force before it, and what becomes of gradient g. */
static void step(struct loaded *l, struct model *m, int64_t t, double lr, const float *g,
                 uint8_t mask[24], float back[24]) {
    struct error err = {PARE_OK, ""};
    float used[24];
    const pare_weight *w = weight_named(m, "fc1.weight");
    must(l->train->weight_forward(l->self, &m->graph, w->index, w->data, used), &err);
    for (int i = 0; i < 24; i++) {
        assert_true(used[i] == w->data[i] || used[i] == 0.0f);
        mask[i] = used[i] != 0.0f;
    }
    must(l->train->weight_backward(l->self, &m->graph, w->index, w->data, g, back), &err);
    const pare_train_step info = {.struct_size = sizeof info, .step = t, .lr = lr};
    must(l->train->after_step(l->self, &m->graph, &info), &err);
    assert_null(w->mask); /* until the end */
}

static int sum_of(const uint8_t mask[24]) {
    int n = 0;
    for (int i = 0; i < 24; i++) {
        n += mask[i];
    }
    return n;
}

/* S = -sum lr g w. First the small places are pushed away from zero, then, harder, the others: the
 * mask follows, though the weights do not change here. */
static void test_movement(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    float w[24], g[24], back[24];
    uint8_t mask[24];
    for (int i = 0; i < 24; i++) {
        w[i] = i % 2 ? 1.0f : -1.0f;
    }
    set(m, w);
    struct loaded l = begin(
        m, "movement", "sparsity=0.5 schedule=linear initial_sparsity=0.5 end=1 interval=1", 4);
    for (int i = 0; i < 24; i++) {
        g[i] = (i < 12 ? -1.0f : 1.0f) * w[i]; /* the first twelve grow */
    }
    step(&l, m, 0, 0.1, g, mask, back);
    assert_int_equal(sum_of(mask), 24);
    assert_memory_equal(back, g, sizeof g);
    for (int i = 0; i < 24; i++) {
        g[i] = -3.0f * g[i];
    }
    step(&l, m, 1, 0.1, g, mask, back);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(mask[i], i < 12);
        assert_true(back[i] == (i < 12 ? g[i] : 0.0f)); /* pruned weights do not learn */
    }
    step(&l, m, 2, 0.0, g, mask, back);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(mask[i], i >= 12); /* S is 0.1 - 0.3 and -0.1 + 0.3 now */
    }
    step(&l, m, 3, 0.0, g, mask, back);
    must(l.train->end(l.self, &m->graph), &err);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(weight_named(m, "fc1.weight")->mask[i], i >= 12);
    }
    unload(&l);
    model_destroy(m);
}

/* |w| = 1..24; half are to go: t = 12, and with band 0.25 a = 9, b = 15. */
static void test_surgery(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    float w[24], g[24], back[24];
    uint8_t mask[24];
    for (int i = 0; i < 24; i++) {
        w[i] = (i % 2 ? 1.0f : -1.0f) * (float)(i + 1);
        g[i] = 1.0f;
    }
    set(m, w);
    struct loaded l =
        begin(m, "dns",
              "sparsity=0.5 band=0.25 schedule=linear initial_sparsity=0.5 end=1 interval=1", 5);
    step(&l, m, 0, 0.1, g, mask, back);
    assert_int_equal(sum_of(mask), 24);
    step(&l, m, 1, 0.1, g, mask, back);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(mask[i], i >= 9); /* within the band they are as they were */
        assert_true(back[i] == 1.0f);      /* pruned weights learn */
    }
    w[0] = 30.0f;  /* comes back */
    w[2] = -14.5f; /* grows into the band, and stays away */
    w[23] = 2.0f;  /* goes */
    w[20] = 12.5f; /* shrinks into the band, and stays */
    set(m, w);
    step(&l, m, 2, 0.1, g, mask, back);
    step(&l, m, 3, 0.1, g, mask, back);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(mask[i], (i >= 9 && i != 23) || i == 0);
    }
    /* The end: 15 are in use, 12 are to be; the smallest in use go, none comes. */
    must(l.train->end(l.self, &m->graph), &err);
    const pare_weight *now = weight_named(m, "fc1.weight");
    assert_int_equal(n_pruned(now), 12);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(now->mask[i], (i >= 12 && i != 23) || i == 0);
    }
    unload(&l);
    model_destroy(m);
}

/* Masks of an earlier step stay, however large the scores. */
static void test_earlier_masks(void **state) {
    (void)state;
    static const char *const ids[] = {"movement", "dns"};
    for (int k = 0; k < 2; k++) {
        struct error err = {PARE_OK, ""};
        struct model *m = model_two_layers();
        const pare_weight *w = weight_named(m, "fc1.weight");
        uint8_t first[24];
        memset(first, 1, sizeof first);
        first[5] = 0;
        must(model_set_mask(m, w->index, first, &err), &err);
        struct loaded l = load_method(ids[k], ids[k], "sparsity=0.5", &env);
        const pare_train_plan plan = {
            .struct_size = sizeof plan, .n_steps = 4, .steps_per_epoch = 4};
        must(l.train->begin(l.self, &m->graph, &plan), &err);
        must(l.train->end(l.self, &m->graph), &err); /* cut short: as sparse as asked for */
        assert_int_equal(w->mask[5], 0);
        assert_int_equal(n_pruned(w) + n_pruned(weight_named(m, "fc2.weight")), 21);
        unload(&l);
        model_destroy(m);
    }
}

static void test_bad_parameters(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct loaded l;
    assert_int_equal(
        try_method("movement", "movement", "sparsity=0.5 schedule=once", &env, &err, &l),
        PARE_E_ARG);
    assert_string_equal(err.text,
                        "method movement: schedule: got \"once\", but before training nothing has "
                        "moved; wanted linear, agp, iterative or list");
    assert_int_equal(try_method("dns", "dns", "sparsity=0.5 schedule=once", &env, &err, &l),
                     PARE_E_ARG);
    assert_int_equal(try_method("dns", "dns", "sparsity=0.5 band=1", &env, &err, &l), PARE_E_RANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_movement),
        cmocka_unit_test(test_surgery),
        cmocka_unit_test(test_earlier_masks),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests_name("masks that recover", tests, NULL, NULL);
}
