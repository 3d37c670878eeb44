/* SPDX-License-Identifier: MIT */
/* One arm: which inputs and which executables its queries see, in each state of the caches. */
#include "experiment/arm.h"
#include "experiment/trial.h"
#include "model_fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_IMAGES = 12, PIXELS = 28 * 28 };

struct fixture {
    struct registry *reg;
    struct model *model;
    float *images; /* (N_IMAGES,28,28,1) */
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    if (!f || registry_create(&err, &f->reg) != PARE_OK ||
        registry_scan(f->reg, TEST_BINARY_DIR "/plugins", &err) != PARE_OK)
        return -1;
    f->model = make_lenet300();
    model_init_weights(f->model, 7);
    f->images = malloc(sizeof *f->images * N_IMAGES * PIXELS);
    for (int i = 0; i < N_IMAGES * PIXELS; i++)
        f->images[i] = (float)((i * 37 + i / PIXELS * 11) % 101) / 101.0f - 0.5f;
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    model_destroy(f->model);
    registry_destroy(f->reg);
    free(f->images);
    free(f);
    return 0;
}

static struct deployment *deploy(const struct fixture *f) {
    struct error err = {0};
    struct deployment *dep = NULL;
    if (deployment_create(&f->model->graph, f->reg, "ref", NULL, 1, NULL, &err, &dep) != PARE_OK)
        fail_msg("%s", err.text);
    return dep;
}

/* Enough executables, each different memory, each giving the same. */
static void copies_fill_what_they_must(void **state) {
    const struct fixture *f = *state;
    struct deployment *deps[2] = {deploy(f), deploy(f)}, *dep = deps[0];
    const pare_graph *graphs[2] = {&f->model->graph, &f->model->graph};
    struct error err = {0};
    float first[10], again[10];
    const void *begin = dep->executable;
    int64_t each = dep->info->bytes_resident + dep->info->bytes_activations;
    deployment_rotate(dep); /* nothing to rotate yet */
    assert_ptr_equal(dep->executable, begin);
    assert_int_equal(deployment_add_copies(deps, graphs, 2, NULL, 5 * each - 1, &err), PARE_OK);
    assert_int_equal(dep->n_executables, 6); /* one more: the oldest is past what fills */
    assert_int_equal(deps[1]->n_executables, 6);
    assert_int_equal(deployment_run(dep, f->images, 1, &err, first), PARE_OK);
    for (int k = 1; k < 6; k++) {
        deployment_rotate(dep);
        assert_ptr_not_equal(dep->executable, begin);
        assert_int_equal(deployment_run(dep, f->images, 1, &err, again), PARE_OK);
        assert_memory_equal(first, again, sizeof first);
    }
    deployment_rotate(dep);
    assert_ptr_equal(dep->executable, begin);
    deployment_destroy(deps[0]);
    deployment_destroy(deps[1]);
}

static void too_many_copies_are_refused(void **state) {
    const struct fixture *f = *state;
    struct deployment *dep = deploy(f);
    const pare_graph *graph = &f->model->graph;
    struct error err = {0};
    assert_int_equal(deployment_add_copies(&dep, &graph, 1, NULL, INT64_C(1) << 50, &err),
                     PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "cold caches: it takes"));
    deployment_destroy(dep);
}

static void rotation_is_past_the_caches(void **state) {
    struct topology *topo;
    struct error err = {0};
    int64_t largest = 0;
    (void)state;
    assert_int_equal(topology_create(&err, &topo), PARE_OK);
    for (int level = 1; level <= 3; level++)
        if (topology_cache_bytes(topo, level) > largest)
            largest = topology_cache_bytes(topo, level);
    assert_int_equal(arm_rotation_bytes(CACHE_HOT, topo), 0);
    assert_true(arm_rotation_bytes(CACHE_COLD_ALL, topo) >= 2 * largest);
    assert_true(arm_rotation_bytes(CACHE_COLD_WEIGHTS, topo) >= 1 << 20);
    topology_destroy(topo);
}

/* The same model in all three states: rows say which, and all have a median and a null control. */
static void states_of_the_caches_are_measured(void **state) {
    const struct fixture *f = *state;
    const enum cache_state states[] = {CACHE_HOT, CACHE_COLD_WEIGHTS, CACHE_COLD_ALL};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct deployment *dep = deploy(f), *control = deploy(f);
        struct record rec = {0};
        struct error err = {0};
        struct arm_request request = {.subject = dep,
                                      .control = control,
                                      .images = f->images,
                                      .n_images = N_IMAGES,
                                      .cache = states[k],
                                      .rotation_bytes = 8 << 20,
                                      .samples_per_query = 1,
                                      .threads = 1,
                                      .profile = PROFILE_QUICK,
                                      .macs_dense = 266200};
        struct deployment *deps[2] = {dep, control};
        const pare_graph *graphs[2] = {&f->model->graph, &f->model->graph};
        if (states[k] != CACHE_HOT)
            assert_int_equal(deployment_add_copies(deps, graphs, 2, NULL, 8 << 20, &err), PARE_OK);
        if (arm_measure(&request, &err, &rec) != PARE_OK)
            fail_msg("%s", err.text);
        assert_string_equal(record_get(&rec, COL_cache_state), experiment_cache_name(states[k]));
        assert_true(atof(record_get(&rec, COL_median_ns)) > 0);
        assert_true(atof(record_get(&rec, COL_aa_ratio)) > 0.2);
        assert_string_equal(record_get(&rec, COL_ratio), ""); /* nothing to compare with */
        assert_int_equal(dep->turn != 0 || dep->n_executables > 0, states[k] != CACHE_HOT);
        record_clear(&rec);
        deployment_destroy(control);
        deployment_destroy(dep);
    }
}

static void names_parse(void **state) {
    static const char *const names[] = {"hot", "cold-weights", "cold-all"};
    enum cache_state cache = CACHE_COLD_ALL;
    struct error err = {0};
    (void)state;
    for (int k = 0; k < 3; k++) {
        assert_int_equal(experiment_parse_cache(names[k], &err, &cache), PARE_OK);
        assert_int_equal(cache, k);
        assert_string_equal(experiment_cache_name(cache), names[k]);
    }
    assert_int_equal(experiment_parse_cache("cold", &err, &cache), PARE_E_ARG);
    assert_non_null(strstr(err.text, "\"cold\", wanted hot, cold-weights or cold-all"));
    assert_int_equal(cache, CACHE_COLD_ALL);
}

static void scenarios_say_how_many_samples(void **state) {
    static const struct {
        const char *scenario;
        int32_t batch, samples; /* 0: refused */
        const char *message;
    } cases[] = {
        {"single", 1, 1, ""},
        {"single", 4, 0, "scenario single is one sample per query, and batch is 4"},
        {"multi", 1, 8, ""},
        {"multi", 8, 8, ""},
        {"multi", 4, 0, "scenario multi is 8 samples per query, and batch is 4"},
        {"offline", 1, 1, ""},
        {"offline", 32, 32, ""},
        {"server", 1, 0, "scenario is \"server\", wanted single, multi or offline"},
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct error err = {0};
        int32_t samples = 0;
        pare_status status = arm_scenario(cases[k].scenario, cases[k].batch, &err, &samples);
        assert_int_equal(status, cases[k].samples ? PARE_OK : PARE_E_ARG);
        assert_int_equal(samples, cases[k].samples);
        assert_non_null(strstr(err.text, cases[k].message));
    }
}

/* Files from before there were caches and kinds of cores must resume: ids of default arms stay. */
static void ids_of_default_arms_stay(void **state) {
    char ref[] = "ref", single[] = "single";
    struct arm_spec arm = {.backend = ref, .threads = 1, .batch = 1, .scenario = single};
    char plain[17], id[17];
    (void)state;
    trial_make_arm_id("0123456789abcdef", &arm, plain);
    assert_string_equal(plain, "71b18faa77ede7ee");
    arm.cache = CACHE_COLD_ALL;
    trial_make_arm_id("0123456789abcdef", &arm, id);
    assert_string_not_equal(id, plain);
    arm.cache = CACHE_HOT;
    arm.cores = CORES_BIG;
    trial_make_arm_id("0123456789abcdef", &arm, id);
    assert_string_not_equal(id, plain);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(copies_fill_what_they_must),
        TEST(too_many_copies_are_refused),
        cmocka_unit_test(rotation_is_past_the_caches),
        TEST(states_of_the_caches_are_measured),
        cmocka_unit_test(names_parse),
        cmocka_unit_test(scenarios_say_how_many_samples),
        cmocka_unit_test(ids_of_default_arms_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
