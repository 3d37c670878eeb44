/* SPDX-License-Identifier: MIT */
/* The method nm: groups, what is left over, ties, and SR-STE by hand. */
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct instance_env env = {.seed = 1};

/* conv (3,3,3,10) on (3,3,10) - flatten - fc (2,3) */
static struct model *wide(void) {
    struct model *m = model_start(3, 3, 10);
    int32_t x = add(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                          .name = "conv",
                                          .inputs = {0},
                                          .out_channels = 3,
                                          .kernel_h = 3,
                                          .kernel_w = 3});
    x = add_op(m, PARE_OP_FLATTEN, "flatten", x);
    add_linear(m, "fc", x, 2);
    model_end(m);
    return m;
}

/* Among the m weights from `at` on, `kept` are kept, and none of the others is larger. */
static void check_group(const pare_weight *w, int64_t at, int64_t size, int64_t kept) {
    int64_t n = 0;
    double least = INFINITY;
    for (int64_t i = at; i < at + size; i++) {
        n += w->mask[i];
        least = w->mask[i] ? fmin(least, fabs((double)w->data[i])) : least;
    }
    assert_int_equal(n, kept);
    assert_true(least > 0.0);
}

static void test_groups(void **state) {
    (void)state;
    struct model *m = wide();
    const pare_weight *w = weight_named(m, "conv.weight");
    float before[270];
    memcpy(before, w->data, sizeof before);
    do_step(m, "nm", "nm", "");
    for (int64_t row = 0; row < 270; row += 10) { /* ten input channels: 4, 4 and 2 */
        check_group(w, row, 4, 2);
        check_group(w, row + 4, 4, 2);
        check_group(w, row + 8, 2, 2);
        for (int64_t i = row; i < row + 8; i++) { /* nothing larger went */
            for (int64_t k = row + (i - row) / 4 * 4;
                 !w->mask[i] && k < row + (i - row) / 4 * 4 + 4; k++) {
                assert_true(!w->mask[k] || fabsf(before[k]) >= fabsf(before[i]));
            }
        }
    }
    assert_int_equal(n_pruned(weight_named(m, "fc.weight")), 2); /* rows of 3: one of each */
    model_destroy(m);
    m = wide();
    do_step(m, "nm", "nm", "n=4 m=8");
    for (int64_t row = 0; row < 270; row += 10) {
        check_group(weight_named(m, "conv.weight"), row, 8, 4);
    }
    assert_null(weight_named(m, "fc.weight")->mask); /* three are fewer than four */
    model_destroy(m);
}

/* Of equal ones the first go. */
static void test_ties(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    const pare_weight *w = weight_named(m, "fc1.weight");
    float data[24];
    for (int i = 0; i < 24; i++) {
        data[i] = i % 4 == 1 ? 2.0f : i % 2 ? 1.0f : -1.0f;
    }
    must(model_set_weight(m, w->index, data, &err), &err);
    do_step(m, "nm", "nm", "");
    for (int i = 0; i < 24; i++) {
        assert_int_equal(w->mask[i], i % 4 == 1 || i % 4 == 3);
    }
    model_destroy(m);
}

/* The mask follows the weights while training, the rest is pulled to 0, and the end decides. */
static void test_srste(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    const pare_weight *w = weight_named(m, "fc1.weight");
    float dense[24], data[24], used[24], g[24], back[24];
    for (int i = 0; i < 24; i++) {
        data[i] = (float)(i % 4 + 1);
        g[i] = 0.5f;
    }
    must(model_set_weight(m, w->index, data, &err), &err);
    memcpy(dense, data, sizeof dense);
    struct loaded nm = load_method("nm", "nm", "decay=0.25", &env);
    must(apply_loaded(&nm, m, &err), &err);
    assert_int_equal(n_pruned(w), 12);
    const pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = 1, .steps_per_epoch = 1};
    must(nm.train->begin(nm.self, &m->graph, &plan), &err);
    assert_null(w->mask); /* dense again */
    assert_memory_equal(w->data, dense, sizeof dense);
    must(nm.train->weight_forward(nm.self, &m->graph, w->index, w->data, used), &err);
    must(nm.train->weight_backward(nm.self, &m->graph, w->index, w->data, g, back), &err);
    for (int i = 0; i < 24; i++) {
        assert_true(used[i] == (i % 4 >= 2 ? dense[i] : 0.0f));
        assert_true(back[i] == 0.5f);
    }
    const pare_train_step step = {.struct_size = sizeof step, .lr = 0.5};
    must(nm.train->after_step(nm.self, &m->graph, &step), &err);
    for (int i = 0; i < 24; i++) { /* 1 - lr decay */
        assert_true(w->data[i] == (i % 4 >= 2 ? dense[i] : 0.875f * dense[i]));
    }
    for (int i = 0; i < 24; i++) {
        data[i] = (float)(4 - i % 4);
    }
    must(model_set_weight(m, w->index, data, &err), &err);
    must(nm.train->weight_forward(nm.self, &m->graph, w->index, w->data, used), &err);
    must(nm.train->end(nm.self, &m->graph), &err);
    for (int i = 0; i < 24; i++) {
        assert_true(used[i] == (i % 4 < 2 ? data[i] : 0.0f));
        assert_int_equal(w->mask[i], i % 4 < 2);
    }
    unload(&nm);
    model_destroy(m);
}

/* Over earlier masks the choice is made once, and they stay. */
static void test_earlier_masks(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    const pare_weight *w = weight_named(m, "fc1.weight");
    uint8_t first[24];
    for (int i = 0; i < 24; i++) {
        first[i] = i % 4 != 3;
    }
    must(model_set_mask(m, w->index, first, &err), &err);
    struct loaded nm = load_method("nm", "nm", "", &env);
    must(apply_loaded(&nm, m, &err), &err);
    const pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = 1, .steps_per_epoch = 1};
    must(nm.train->begin(nm.self, &m->graph, &plan), &err);
    must(nm.train->end(nm.self, &m->graph), &err);
    assert_int_equal(n_pruned(w), 12);
    for (int i = 3; i < 24; i += 4) {
        assert_int_equal(w->mask[i], 0);
    }
    unload(&nm);
    model_destroy(m);
}

static void test_bad_parameters(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct loaded nm;
    assert_int_equal(try_method("nm", "nm", "n=5", &env, &err, &nm), PARE_E_RANGE);
    assert_string_equal(err.text, "method nm: n: got 5, wanted at most m, which is 4");
    assert_int_equal(try_method("nm", "nm", "n=0", &env, &err, &nm), PARE_E_RANGE);
    assert_int_equal(try_method("nm", "nm", "m=65", &env, &err, &nm), PARE_E_RANGE);
}

/* Each allocation of apply fails once. */
static void test_out_of_memory(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct model *m = model_two_layers();
        struct loaded nm = load_method("nm", "nm", "", &env);
        make_scarce(&nm.made, n);
        status = apply_loaded(&nm, m, &err);
        assert_true(status == PARE_OK || status == PARE_E_NOMEM);
        unload(&nm);
        model_destroy(m);
    }
    assert_int_equal(n,
                     7); /* targets, mask, scratch, list, two copies, and the run that went well */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),         cmocka_unit_test(test_ties),
        cmocka_unit_test(test_srste),          cmocka_unit_test(test_earlier_masks),
        cmocka_unit_test(test_bad_parameters), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("method nm", tests, NULL, NULL);
}
