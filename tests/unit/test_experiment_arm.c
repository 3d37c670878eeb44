/* SPDX-License-Identifier: MIT */
/* One arm: which inputs and which executables its queries see, in each state of the caches, and
 * where its time goes. */
#include "experiment/arm.h"
#include "experiment/trial.h"
#include "model_fixtures.h"

#include <jansson.h>
#include <math.h>
#include <pare/ext/profile.h>
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

/* ---- times of layers ---- */

static pare_status measure(const struct fixture *f, struct deployment *dep, struct error *err,
                           struct record *rec) {
    struct arm_request request = {.subject = dep,
                                  .graph = &f->model->graph,
                                  .images = f->images,
                                  .n_images = N_IMAGES,
                                  .samples_per_query = 1,
                                  .threads = 1,
                                  .profile = PROFILE_QUICK,
                                  .macs_dense = 266200};
    return arm_measure(&request, err, rec);
}

/* The entry of a layer, or NULL. */
static json_t *layer_called(json_t *list, const char *name) {
    for (size_t k = 0; k < json_array_size(list); k++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, k), "name")), name) == 0)
            return json_array_get(list, k);
    return NULL;
}

/* The times of all layers and of what is between them are that of a query. On a busy machine the
 * two may be measured in different minutes' weather: one of three tries is enough. */
static void layers_add_up(void **state) {
    const struct fixture *f = *state;
    double share = 0;
    for (int attempt = 0; attempt < 3 && !(share > 0.8 && share < 1.3); attempt++) {
        struct deployment *dep = deploy(f);
        struct record rec = {0};
        struct error err = {0};
        if (measure(f, dep, &err, &rec) != PARE_OK)
            fail_msg("%s", err.text);
        json_t *list = json_loads(record_get(&rec, COL_layer_times_json), 0, NULL);
        assert_non_null(list);
        assert_int_equal(json_array_size(list), dep->info->n_kernels + 1);
        double sum = 0;
        for (size_t k = 0; k < json_array_size(list); k++)
            sum += json_real_value(json_object_get(json_array_get(list, k), "ns"));
        share = sum / atof(record_get(&rec, COL_median_ns));
        /* 235,200 of 266,200 multiplications are in the first layer, relu and flatten with it. */
        json_t *fc1 = layer_called(list, "fc1"), *other = layer_called(list, "(other)");
        assert_non_null(fc1);
        assert_non_null(other);
        assert_true(json_real_value(json_object_get(fc1, "ns")) > 0.5 * sum);
        assert_string_equal(json_string_value(json_object_get(fc1, "kernel")), "ref_linear_f32");
        json_t *fused = json_object_get(fc1, "fused");
        assert_string_equal(json_string_value(json_array_get(fused, 0)), "relu1");
        json_decref(list);
        record_clear(&rec);
        deployment_destroy(dep);
    }
    print_message("layers add up to %.3f of the median\n", share);
    assert_true(share > 0.8 && share < 1.3);
}

static pare_status tells_nothing(void *executable, const float *images, int32_t n, float *output,
                                 pare_kernel_done done, void *context) {
    (void)executable, (void)images, (void)n, (void)output;
    done(context, -1);
    return PARE_OK;
}

static pare_status tells_too_much(void *executable, const float *images, int32_t n, float *output,
                                  pare_kernel_done done, void *context) {
    (void)executable, (void)images, (void)n, (void)output;
    done(context, 99);
    return PARE_OK;
}

static pare_backend_profile wrong_profile;

static const void *get_wrong_profile(const char *id) {
    return strcmp(id, PARE_BACKEND_PROFILE) == 0 ? &wrong_profile : NULL;
}

static const void *get_nothing(const char *id) {
    (void)id;
    return NULL;
}

/* An extension that does not keep its word is an error; one that is missing leaves the cell empty.
 */
static void wrong_profiles_are_told(void **state) {
    const struct fixture *f = *state;
    const struct {
        pare_backend_profile profile;
        const char *message; /* NULL: none */
    } cases[] = {
        {{sizeof wrong_profile, tells_nothing},
         "backend ref: did not tell that kernel 0 (ref_linear_f32) ran"},
        {{sizeof wrong_profile, tells_too_much}, "backend ref: told of kernel 99, has 0.."},
        {{sizeof wrong_profile, NULL}, "extension pare.backend.profile/1 has no run"},
        {{sizeof(uint32_t), tells_nothing}, "extension pare.backend.profile/1 has no run"},
        {{0}, NULL},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct deployment *dep = deploy(f);
        struct record rec = {0};
        struct error err = {0};
        pare_backend backend = *dep->backend;
        backend.get_extension = cases[k].message ? get_wrong_profile : get_nothing;
        wrong_profile = cases[k].profile;
        dep->backend = &backend;
        pare_status status = measure(f, dep, &err, &rec);
        if (cases[k].message && (status == PARE_OK || !strstr(err.text, cases[k].message)))
            fail_msg("case %zu: \"%s\"", k, err.text);
        assert_int_equal(status == PARE_OK, !cases[k].message);
        assert_string_equal(record_get(&rec, COL_layer_times_json), "");
        record_clear(&rec);
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
        TEST(layers_add_up),
        TEST(wrong_profiles_are_told),
        cmocka_unit_test(names_parse),
        cmocka_unit_test(scenarios_say_how_many_samples),
        cmocka_unit_test(ids_of_default_arms_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
