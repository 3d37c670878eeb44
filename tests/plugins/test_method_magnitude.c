/* SPDX-License-Identifier: MIT */
/* The method magnitude: exact counts, ties, scopes, composition, schedules. */
#include "fixtures.h"
#include "schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_near(double got, double wanted) {
    if (!(fabs(got - wanted) <= 1e-15)) {
        fail_msg("got %.17g, wanted %.17g", got, wanted);
    }
}

/* One step without training. */
static void prune(struct model *m, const char *settings) {
    do_step(m, "magnitude", "magnitude", settings);
}

static void set(struct model *m, const char *name, const float *data) {
    struct error err = {PARE_OK, ""};
    must(model_set_weight(m, weight_named(m, name)->index, data, &err), &err);
}

/* fc1 (6,4): 0.01 .. 0.24, signs alternating; fc2 (3,6): ten times that. */
static struct model *graded(void) {
    struct model *m = model_two_layers();
    float a[24], b[18];
    for (int i = 0; i < 24; i++) {
        a[i] = (i % 2 ? -0.01f : 0.01f) * (float)(i + 1);
    }
    for (int i = 0; i < 18; i++) {
        b[i] = (i % 2 ? -0.1f : 0.1f) * (float)(i + 1);
    }
    set(m, "fc1.weight", a);
    set(m, "fc2.weight", b);
    return m;
}

static void test_local(void **state) {
    (void)state;
    struct model *m = graded();
    prune(m, "sparsity=0.75");
    const pare_weight *a = weight_named(m, "fc1.weight");
    const pare_weight *b = weight_named(m, "fc2.weight");
    assert_int_equal(n_pruned(a), 18);
    assert_int_equal(n_pruned(b), 14); /* 13.5 to even */
    for (int i = 0; i < 24; i++) {     /* the smallest go, and only they */
        assert_int_equal(a->mask[i], i >= 18);
        assert_true((a->data[i] == 0.0f) == (i < 18));
    }
    assert_null(weight_named(m, "fc1.bias")->mask);
    assert_null(weight_named(m, "fc2.bias")->mask);
    model_destroy(m);
}

/* The 21 smallest of all 42: 0.01 .. 0.20 of fc1, and 0.1 of fc2; its 0.2 comes after that of fc1.
 */
static void test_global(void **state) {
    (void)state;
    struct model *m = graded();
    prune(m, "sparsity=0.5 scope=global");
    assert_int_equal(
        n_pruned(weight_named(m, "fc1.weight")) + n_pruned(weight_named(m, "fc2.weight")), 21);
    assert_int_equal(n_pruned(weight_named(m, "fc2.weight")), 1);
    assert_int_equal(weight_named(m, "fc2.weight")->mask[0], 0);
    assert_int_equal(weight_named(m, "fc2.weight")->mask[1], 1);
    model_destroy(m);
}

/* Counts for every k, against a count by hand of the threshold that results. */
static void test_counts(void **state) {
    (void)state;
    for (int k = 0; k < 24; k++) {
        char settings[64];
        struct model *m = graded();
        snprintf(settings, sizeof settings, "sparsity=%.17g", k / 24.0);
        prune(m, settings);
        assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), k);
        model_destroy(m);
    }
    const struct {
        const char *settings;
        int64_t fc1, fc2;
    } halves[] = {
        {"sparsity=0.0208333333333333332", 0, 0}, /* 0.5 of 24 to even: 0 */
        {"sparsity=0.0625", 2, 1},                /* 1.5 of 24 to even: 2; 1.125 of 18 */
        {"sparsity=0.999 allow_empty=true", 24, 18},
    };
    for (size_t k = 0; k < 3; k++) {
        struct model *m = graded();
        prune(m, halves[k].settings);
        assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), halves[k].fc1);
        assert_int_equal(n_pruned(weight_named(m, "fc2.weight")), halves[k].fc2);
        model_destroy(m);
    }
}

/* Of equal absolute values the first ones go; -0 and 0 are equal. */
static void test_ties(void **state) {
    (void)state;
    struct model *m = model_two_layers();
    float a[24];
    for (int i = 0; i < 24; i++) {
        a[i] = i % 3 == 0 ? 1.0f : i % 3 == 1 ? -0.5f : 0.5f;
    }
    set(m, "fc1.weight", a);
    prune(m, "sparsity=0.25");
    const pare_weight *w = weight_named(m, "fc1.weight");
    const int gone[] = {1, 2, 4, 5, 7, 8};
    for (int i = 0, k = 0; i < 24; i++) {
        int goes = k < 6 && gone[k] == i;
        assert_int_equal(w->mask[i], !goes);
        k += goes;
    }
    memset(a, 0, sizeof a);
    a[1] = -0.0f;
    a[5] = 1e-45f; /* denormal: the smallest that is not 0 */
    model_destroy(m);
    m = model_two_layers();
    set(m, "fc1.weight", a);
    prune(m, "sparsity=0.125");
    w = weight_named(m, "fc1.weight");
    assert_true(!w->mask[0] && !w->mask[1] && !w->mask[2] && w->mask[3] && w->mask[5]);
    model_destroy(m);
}

/* A sparsity counts from the dense model; what is pruned stays pruned, even if it is more. */
static void test_composition(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = graded();
    const pare_weight *w = weight_named(m, "fc1.weight");
    uint8_t mask[24];
    memset(mask, 1, sizeof mask);
    mask[22] = 0;
    mask[23] = 0; /* the largest two */
    must(model_set_mask(m, w->index, mask, &err), &err);
    prune(m, "sparsity=0.25");
    assert_int_equal(n_pruned(w), 6);
    assert_true(!w->mask[22] && !w->mask[23] && !w->mask[3] && w->mask[4]);
    prune(m, "sparsity=0.125");
    assert_int_equal(n_pruned(w), 6);
    prune(m, "sparsity=0.5");
    assert_int_equal(n_pruned(w), 12);
    assert_true(!w->mask[22] && !w->mask[9] && w->mask[10]);
    model_destroy(m);
}

/* Layers that are not selected keep their weights. */
static void test_where(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = graded();
    const char *exclude = "fc2";
    struct instance_env env = {.exclude = &exclude, .n_exclude = 1};
    struct loaded p = load_method("magnitude", "magnitude", "sparsity=0.5 scope=global", &env);
    must(p.method->apply(instance_self(p.made.inst), &m->graph), &err);
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 12);
    assert_null(weight_named(m, "fc2.weight")->mask);
    unload(&p);
    model_destroy(m);
}

static void test_schedule_values(void **state) {
    (void)state;
    struct schedule s = {SCHEDULE_AGP, 0.1, 0.9, 0.2, 0.7, 100, 0, 0};
    schedule_start(&s, 2000);
    assert_int_equal(s.first, 400);
    assert_int_equal(s.last, 1400);
    assert_false(schedule_is_due(&s, 399));
    assert_true(schedule_is_due(&s, 400));
    assert_false(schedule_is_due(&s, 450));
    assert_true(schedule_is_due(&s, 1400));
    assert_false(schedule_is_due(&s, 1500));
    assert_near(schedule_at(&s, 400), 0.1);
    assert_near(schedule_at(&s, 900), 0.9 - 0.8 * 0.125);
    assert_near(schedule_at(&s, 1150), 0.9 - 0.8 * 0.015625);
    assert_near(schedule_at(&s, 1400), 0.9);
    s.kind = SCHEDULE_LINEAR;
    assert_near(schedule_at(&s, 900), 0.5);
    s.kind = SCHEDULE_ONCE;
    assert_near(schedule_at(&s, 0), 0.9);
    /* An interval that does not divide the span ends early rather than late. */
    s = (struct schedule){SCHEDULE_AGP, 0, 0.9, 0, 1, 300, 0, 0};
    schedule_start(&s, 1000);
    assert_int_equal(s.last, 900);
    /* Short trainings: at least 20 updates as long as there are 20 steps; one step is enough. */
    s = (struct schedule){SCHEDULE_AGP, 0, 0.9, 0, 0.65, 0, 0, 0};
    schedule_start(&s, 100);
    assert_int_equal(s.interval, 3);
    assert_int_equal(s.last, 63);
    s.interval = 0;
    schedule_start(&s, 1000000);
    assert_int_equal(s.interval, 100);
    s.interval = 0;
    schedule_start(&s, 1);
    assert_true(s.first == 0 && s.last == 0 && schedule_is_due(&s, 0));
    assert_near(schedule_at(&s, 0), 0.9);
    /* Each round takes the same part of what is left: 1 - 0.1^(r/4). */
    s = (struct schedule){.kind = SCHEDULE_ITERATIVE, .final = 0.9, .end = 0.9, .rounds = 4};
    schedule_start(&s, 1000);
    assert_int_equal(s.interval, 300);
    assert_int_equal(s.last, 900);
    assert_near(schedule_at(&s, 0), 1 - pow(0.1, 0.25));
    assert_near(schedule_at(&s, 299), 1 - pow(0.1, 0.25));
    assert_near(schedule_at(&s, 600), 1 - pow(0.1, 0.75));
    assert_true(schedule_is_due(&s, 900) && !schedule_is_due(&s, 901));
    assert_near(schedule_at(&s, 900), 0.9);
    s.rounds = 1;
    schedule_start(&s, 1000);
    assert_true(s.first == s.last && s.first == 0);
    s.rounds = 100; /* more than steps */
    schedule_start(&s, 10);
    assert_true(s.interval == 1 && s.last == 9);
    const double at[] = {0, 0.5, 0.5, 0.8}, to[] = {0.2, 0.3, 0.6, 0.9};
    s = (struct schedule){
        .kind = SCHEDULE_LIST, .final = 0.9, .n_list = 4, .list_at = at, .list_to = to};
    schedule_start(&s, 10);
    const double wanted[] = {0.2, 0.2, 0.2, 0.2, 0.2, 0.6, 0.6, 0.6, 0.9, 0.9};
    for (int t = 0; t < 10; t++) {
        assert_near(schedule_at(&s, t), wanted[t]);
        assert_int_equal(schedule_is_due(&s, t), t == 0 || t == 5 || t == 8);
    }
    assert_int_equal(schedule_parse("agp"), SCHEDULE_AGP);
    assert_int_equal(schedule_parse("cubic"), -1);
}

/* Plays a training of n steps in which the weights drift; returns the sparsity after each in
 * `seen`. */
static void play(struct loaded *p, struct model *m, int64_t n, double *seen) {
    struct error err = {PARE_OK, ""};
    void *self = instance_self(p->made.inst);
    const pare_weight *w = weight_named(m, "fc1.weight");
    pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = n, .steps_per_epoch = n};
    must(p->method->apply(self, &m->graph), &err);
    assert_int_equal(n_pruned(w), 12);
    must(p->train->begin(self, &m->graph, &plan), &err);
    for (int64_t t = 0; t < n; t++) {
        float *data = model_weight_data(m, w->index);
        for (int64_t i = 0; i < w->n_elems; i++) {
            data[i] = w->mask && !w->mask[i] ? 0.0f : data[i] * 1.01f;
        }
        pare_train_step step = {.struct_size = sizeof step, .step = t};
        must(p->train->after_step(self, &m->graph, &step), &err);
        must(model_verify(m, &err), &err);
        seen[t] = (double)n_pruned(w) / 24.0;
    }
    must(p->train->end(self, &m->graph), &err);
}

static void test_training_with_a_schedule(void **state) {
    (void)state;
    double seen[40];
    struct instance_env env = {0};
    struct model *m = graded();
    struct loaded p =
        load_method("magnitude", "magnitude", "sparsity=0.5 schedule=agp end=0.5 interval=5", &env);
    play(&p, m, 40, seen);
    /* after apply pruned to the end, training starts dense again: updates at 0, 5, .., 20 */
    assert_near(seen[0], 0.0);
    assert_near(seen[4], 0.0);
    assert_near(seen[5], rint(24 * 0.5 * (1 - 0.421875)) / 24);
    assert_near(seen[10], rint(24 * 0.5 * (1 - 0.125)) / 24);
    assert_near(seen[19], rint(24 * 0.5 * (1 - 0.015625)) / 24);
    assert_near(seen[20], 0.5);
    assert_near(seen[39], 0.5);
    unload(&p);
    model_destroy(m);
}

/* With the schedule "once" the mask of apply stands while the weights train. */
static void test_training_after_pruning_once(void **state) {
    (void)state;
    double seen[8];
    struct instance_env env = {0};
    struct model *m = graded();
    struct loaded p = load_method("magnitude", "magnitude", "sparsity=0.5", &env);
    play(&p, m, 8, seen);
    assert_near(seen[0], 0.5);
    assert_near(seen[7], 0.5);
    unload(&p);
    model_destroy(m);
}

/* A schedule over an existing mask starts from that mask, not from the dense model. */
static void test_schedule_keeps_earlier_masks(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    double seen[8];
    struct instance_env env = {0};
    struct model *m = graded();
    uint8_t mask[24];
    memset(mask, 1, sizeof mask);
    mask[23] = 0;
    must(model_set_mask(m, weight_named(m, "fc1.weight")->index, mask, &err), &err);
    struct loaded p =
        load_method("magnitude", "magnitude", "sparsity=0.5 schedule=linear end=1", &env);
    play(&p, m, 8, seen);
    assert_near(seen[0], 1 / 24.0);
    assert_near(seen[7], 0.5);
    assert_int_equal(weight_named(m, "fc1.weight")->mask[23], 0);
    unload(&p);
    model_destroy(m);
}

/* A training that stops early still ends at the sparsity asked for. */
static void test_training_cut_short(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct instance_env env = {0};
    struct model *m = graded();
    struct loaded p = load_method("magnitude", "magnitude", "sparsity=0.5 schedule=linear", &env);
    void *self = instance_self(p.made.inst);
    pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = 1000, .steps_per_epoch = 10};
    must(p.method->apply(self, &m->graph), &err);
    must(p.train->begin(self, &m->graph, &plan), &err);
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 0);
    must(p.train->end(self, &m->graph), &err);
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 12);
    unload(&p);
    model_destroy(m);
}

/* Each allocation of apply fails once: always that status, a message, no leak. */
static void test_out_of_memory(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct instance_env env = {0};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct model *m = graded();
        struct loaded p = load_method("magnitude", "magnitude", "sparsity=0.5 schedule=agp", &env);
        make_scarce(&p.made, n);
        status = p.method->apply(instance_self(p.made.inst), &m->graph);
        status = instance_status(p.made.inst, status, "apply", &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory for"));
            assert_null(weight_named(m, "fc1.weight")->mask);
        }
        unload(&p);
        model_destroy(m);
    }
    /* targets, layers, goals, masks, units, scores, counts, two copies, and the run that went
     * well */
    assert_int_equal(n, 10);
}

static void refuse(const char *settings, const char *text) {
    struct error err = {PARE_OK, ""};
    struct model *m = graded();
    assert_int_not_equal(try_step(m, "magnitude", "magnitude", settings, &err), PARE_OK);
    assert_string_equal(err.text, text);
    model_destroy(m);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse("", "method magnitude: sparsity: not given, and neither are amount, count or amounts; "
               "give one of them");
    refuse("sparsity=1", "method magnitude: sparsity: got 1, wanted 0 <= sparsity < 1");
    refuse("sparsity=1.5", "sparsity: got 1.5, wanted -1..1 fraction (method magnitude)");
    refuse("sparsity=-0.5", "method magnitude: sparsity: got -0.5, wanted 0 or more");
    refuse("sparsity=0.5 amount=0.5",
           "method magnitude: sparsity and amount: both are given, wanted one of them");
    refuse("count=25", "method magnitude: fc1: got a count of 25 to prune, 24 are left");
    refuse("count=18 scope=global structure=output",
           "method magnitude: all layers: got a count of 18 to prune, 9 are left");
    refuse("sparsity=0.5 initial_sparsity=0.6",
           "method magnitude: initial_sparsity: got 0.6, wanted at most sparsity, which is 0.5");
    refuse("sparsity=0.5 begin=0.9",
           "method magnitude: begin: got 0.9, wanted at most end, which is 0.65");
    refuse("sparsity=0.5 schedule=cubic",
           "schedule: got \"cubic\", wanted one of once|linear|agp|iterative|list (method "
           "magnitude)");
    refuse("sparsity=0.5 norm=2", "method magnitude: norm: got \"2\", wanted l0, l1, l2, linf, "
                                  "l-inf, or l and a number");
    refuse("sparsity=0.5 structure=row",
           "method magnitude: fc1.weight: has no kernel, so no rows or columns to prune; exclude "
           "its layer, or use structure = \"output\" or \"input\"");
    refuse("sparsity=0.999",
           "method magnitude: fc1.weight: all its 24 elements would be pruned, which cuts the "
           "network; prune less, exclude the layer, or set allow_empty = true");
}

static void test_bad_maps(void **state) {
    (void)state;
    refuse("amounts=fc1", "method magnitude: amounts: got \"fc1\", wanted \"pattern=amount\" "
                          "(\"conv*=0.5\")");
    refuse("amounts=fc1=1.5", "method magnitude: amounts: got 1.5, wanted a fraction in 0.0..1.0 "
                              "or a whole number");
    refuse("amounts=fc1=-1",
           "method magnitude: amounts: got \"-1\", wanted a fraction (0.5) or a count (12)");
    refuse("amounts=fc1=nan",
           "method magnitude: amounts: got \"nan\", wanted a fraction (0.5) or a count (12)");
    refuse("amounts=fc3=0.5",
           "method magnitude: amounts: \"fc3=0.5\" decides for no selected layer of small: its "
           "pattern matches none, or an earlier one takes them all");
    refuse("amounts=fc*=0.5,fc1=0.3",
           "method magnitude: amounts: \"fc1=0.3\" decides for no selected layer of small: its "
           "pattern matches none, or an earlier one takes them all");
    refuse("amounts=fc1=0.5 scope=global",
           "method magnitude: amounts: they are per layer, and scope is \"global\"; wanted scope = "
           "\"local\"");
    refuse("sparsity=0.5 list_at=0.5",
           "method magnitude: list_at, list_sparsity: only with schedule = \"list\"");
    refuse("sparsity=0.5 schedule=list list_at=0.5,0.4 list_sparsity=0.2,0.5",
           "method magnitude: list_at, list_sparsity: entry 2 is less than the one before it");
    refuse("sparsity=0.5 schedule=list list_at=0.5 list_sparsity=0.4",
           "method magnitude: list_sparsity: ends with 0.4, wanted sparsity to be given and equal "
           "to that, and no amounts");
    refuse("sparsity=0.5 importance=/nowhere",
           "method magnitude: /nowhere: No such file or directory");
}

/* Layers take what the first matching pattern says, the rest what is given for all. */
static void test_map(void **state) {
    (void)state;
    struct model *m = graded();
    prune(m, "amounts=fc1=7");
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 7);
    assert_null(weight_named(m, "fc2.weight")->mask);
    prune(m, "sparsity=0.5 amounts=f?1=0.5"); /* of the 17 left: 8.5 to even */
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 7 + 8);
    assert_int_equal(n_pruned(weight_named(m, "fc2.weight")), 9);
    model_destroy(m);
}

/* Slices of different size compare by their mean: rows of fc2 (6 weights, 0.1 and up) are larger
 * than those of fc1 (4 weights, 0.01 and up), columns of fc1 are the smallest of all. */
static void test_global_slices(void **state) {
    (void)state;
    struct model *m = graded();
    prune(m, "count=5 structure=output scope=global");
    const pare_weight *a = weight_named(m, "fc1.weight");
    assert_int_equal(n_pruned(a), 20); /* five of its six outputs, the last stays */
    assert_true(a->mask[20] && !a->mask[19]);
    assert_null(weight_named(m, "fc2.weight")->mask);
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_global),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_composition),
        cmocka_unit_test(test_where),
        cmocka_unit_test(test_schedule_values),
        cmocka_unit_test(test_training_with_a_schedule),
        cmocka_unit_test(test_training_after_pruning_once),
        cmocka_unit_test(test_schedule_keeps_earlier_masks),
        cmocka_unit_test(test_training_cut_short),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_bad_parameters),
        cmocka_unit_test(test_bad_maps),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_global_slices),
    };
    return cmocka_run_group_tests_name("method magnitude", tests, NULL, NULL);
}
