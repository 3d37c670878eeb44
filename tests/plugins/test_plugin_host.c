/* SPDX-License-Identifier: MIT */
/* Instances and the host table, seen from a method that lives in this file. */
#include "fixtures.h"

#include <math.h>
#include <pare/ext/topology.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#undef fail /* pare_host has a member of that name */

enum mode { NOTHING, FAIL, LEAK, POSITIVE, SILENT };

static const pare_param_desc rows[] = {
    {"mode", PARE_PARAM_INT, "", 0, 4, NULL, "0", "what create does"},
};

struct probe {
    const pare_host *host;
};

static pare_status create(const pare_host *host, const pare_params *params, void **instance) {
    struct probe *probe = NULL;
    switch ((enum mode)params->values[0]->i) {
    case FAIL:
        return host->fail(host, PARE_E_RANGE, "level is %d\nwanted %d", 3, 4);
    case POSITIVE:
        return (pare_status)7;
    case SILENT:
        return PARE_E_NUMERIC;
    case LEAK:
    case NOTHING:
        break;
    }
    probe = host->alloc(host, sizeof *probe);
    probe->host = host;
    if (params->values[0]->i == LEAK) {
        host->alloc(host, 100);
        host->free(host, host->alloc(host, 50));
        host->alloc(host, 1000);
    }
    *instance = probe;
    return PARE_OK;
}

static void destroy(void *instance) {
    struct probe *probe = instance;
    if (probe) {
        probe->host->free(probe->host, probe);
    }
}

static pare_status apply(void *instance, const pare_graph *graph) {
    (void)instance;
    (void)graph;
    return PARE_OK;
}

static const void *get_extension(const char *id) {
    (void)id;
    return NULL;
}

static const pare_method method = {
    .struct_size = sizeof method,
    .id = "probe",
    .version = "1",
    .doc = "for the test",
    .reference = "",
    .params = rows,
    .n_params = 1,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};
static const pare_plugin plugin = {PARE_PLUGIN_HEADER, .name = "probe", .version = "1",
                                   .license = "MIT"};
static const struct plugin_entry entry = {"here", &plugin, &method, NULL, "method probe"};

static struct made make(const char *settings, const struct instance_env *env) {
    struct error err;
    struct made made = {0};
    must(make_instance(&entry, settings, env, &err, &made), &err);
    return made;
}

static void refuse(const char *settings, pare_status status, const char *text) {
    struct error err;
    struct made made = {0};
    struct instance_env env = {0};
    assert_int_equal(make_instance(&entry, settings, &env, &err, &made), status);
    assert_string_equal(err.text, text);
}

static void test_create_failures(void **state) {
    (void)state;
    refuse("mode=1", PARE_E_RANGE, "method probe: level is 3 wanted 4");
    refuse("mode=3", PARE_E_PLUGIN, "method probe: create returned 7, which is no status");
    refuse("mode=4", PARE_E_NUMERIC,
           "method probe: create failed: not a finite number (it gave no message)");
}

static void test_memory(void **state) {
    (void)state;
    struct instance_env env = {0};
    struct made made = make("mode=0", &env);
    const pare_host *host = instance_host(made.inst);
    void *blocks[20];
    for (size_t k = 0; k < 20; k++) {
        blocks[k] = host->alloc(host, k * 37);
        assert_non_null(blocks[k]);
        assert_int_equal((uintptr_t)blocks[k] % 64, 0);
        memset(blocks[k], 0xab, k * 37);
    }
    for (size_t k = 0; k < 20; k++) { /* neither first nor last in, first out */
        host->free(host, blocks[(k * 7) % 20]);
    }
    host->free(host, NULL);
    assert_null(host->alloc(host, SIZE_MAX));
    assert_null(host->alloc(host, SIZE_MAX - 100));
    host->free(host, blocks[3]); /* twice: warned of and ignored */
    assert_int_equal(unmake(&made), 0);
}

static void test_leaks_are_counted(void **state) {
    (void)state;
    struct instance_env env = {0};
    struct made made = make("mode=2", &env);
    assert_int_equal(unmake(&made), 1100);
    instance_destroy(NULL, NULL);
}

static void test_failure_messages(void **state) {
    (void)state;
    struct error err = {PARE_OK, "untouched"};
    struct instance_env env = {0};
    struct made made = make("mode=0", &env);
    const pare_host *host = instance_host(made.inst);
    assert_int_equal(instance_status(made.inst, PARE_OK, "apply", &err), PARE_OK);
    assert_string_equal(err.text, "untouched");
    assert_int_equal(host->fail(host, PARE_E_ARG, "%s: rank is %d", "conv1", 3), PARE_E_ARG);
    assert_int_equal(instance_status(made.inst, PARE_E_ARG, "apply", &err), PARE_E_ARG);
    assert_string_equal(err.text, "method probe: conv1: rank is 3");
    /* A message is used once, and only for the status it was given with. */
    assert_int_equal(instance_status(made.inst, PARE_E_ARG, "apply", &err), PARE_E_ARG);
    assert_string_equal(err.text,
                        "method probe: apply failed: invalid argument (it gave no message)");
    host->fail(host, PARE_E_ARG, "dealt with");
    instance_status(made.inst, PARE_E_IO, "apply", &err);
    assert_string_equal(err.text,
                        "method probe: apply failed: input/output error (it gave no message)");
    assert_int_equal(instance_status(made.inst, (pare_status)-99, "apply", &err), PARE_E_PLUGIN);
    assert_string_equal(err.text, "method probe: apply returned -99, which is no status");
    host->fail(host, PARE_E_ARG, "dealt with");
    instance_status(made.inst, PARE_OK, "apply", &err);
    instance_status(made.inst, PARE_E_ARG, "end", &err);
    assert_string_equal(err.text,
                        "method probe: end failed: invalid argument (it gave no message)");
    unmake(&made);
}

struct storm {
    const pare_host *host;
    int64_t sums[64];
};

static void storm_body(void *arg, int64_t index) {
    struct storm *storm = arg;
    void *memory = storm->host->alloc(storm->host, (size_t)index + 1);
    storm->host->fail(storm->host, PARE_E_ARG, "index %lld of many", (long long)index);
    storm->host->free(storm->host, memory);
    storm->sums[index] += index;
}

static void test_threads(void **state) {
    (void)state;
    struct error err;
    struct instance_env env = {0};
    must(pool_create(4, NULL, &err, &env.pool), &err);
    struct made made = make("mode=0", &env);
    struct storm storm = {.host = instance_host(made.inst)};
    assert_int_equal(storm.host->n_threads(storm.host), 4);
    for (int round = 0; round < 50; round++) {
        storm.host->parallel_for(storm.host, 64, storm_body, &storm);
    }
    storm.host->parallel_for(storm.host, 0, storm_body, &storm);
    for (int64_t k = 0; k < 64; k++) {
        assert_int_equal(storm.sums[k], 50 * k);
    }
    instance_status(made.inst, PARE_E_ARG, "apply", &err);
    assert_memory_equal(err.text, "method probe: index ", 20);
    assert_int_equal(unmake(&made), 0);
    pool_destroy(env.pool);
}

static void test_randomness(void **state) {
    (void)state;
    struct instance_env env = {.seed = 7, .instance = 1};
    struct instance_env other = {.seed = 7, .instance = 2};
    struct made a = make("mode=0", &env);
    struct made b = make("mode=0", &env);
    struct made c = make("mode=0", &other);
    const pare_host *host = instance_host(a.inst);
    pare_rng x, y, z, w;
    host->rng_init(host, "drop", &x);
    host->rng_init(instance_host(b.inst), "drop", &y);
    host->rng_init(instance_host(c.inst), "drop", &z);
    host->rng_init(host, "other", &w);
    uint64_t first = host->rng_next(&x);
    assert_true(first == host->rng_next(&y));
    assert_true(first != host->rng_next(&z));
    assert_true(first != host->rng_next(&w));
    assert_int_equal(host->n_threads(host), 1);
    assert_null(host->get_extension(host, "pare.host.nothing/1"));
    unmake(&a);
    unmake(&b);
    unmake(&c);
}

static void test_topology(void **state) {
    (void)state;
    struct error err;
    struct instance_env env = {0};
    struct model *m = model_two_layers();
    struct made made = make("mode=0", &env);
    const pare_host *host = instance_host(made.inst);
    const pare_host_topology *topology = host->get_extension(host, PARE_HOST_TOPOLOGY);
    assert_non_null(topology);
    assert_true(PARE_HAS(topology, pare_host_topology, insert_quantize));
    assert_true(PARE_HAS(topology, pare_host_topology, remove_relu));
    int32_t relu = model_find_node(m, "relu1"), quantize = -1;
    assert_int_equal(topology->remove_relu(host, &m->graph, relu), PARE_OK);
    assert_int_equal(model_find_node(m, "relu1"), -1);
    int32_t fc2 = model_find_node(m, "fc2");
    assert_int_equal(topology->insert_quantize(host, &m->graph, fc2, 0, &quantize), PARE_OK);
    assert_string_equal(m->graph.nodes[quantize]->name, "fc2.quantize");
    assert_int_equal(m->graph.nodes[quantize + 1]->inputs[0], quantize);
    pare_status status = topology->remove_relu(host, &m->graph, quantize);
    assert_int_equal(instance_status(made.inst, status, "apply", &err), PARE_E_ARG);
    assert_string_equal(err.text, "method probe: fc2.quantize: is a quantize, wanted a relu");
    unmake(&made);
    model_destroy(m);
}

static void test_selection(void **state) {
    (void)state;
    struct error err;
    struct model *m = model_two_layers();
    const char *include[] = {"fc?"};
    const char *exclude[] = {"*2"};
    struct instance_env env = {
        .include = include, .n_include = 1, .exclude = exclude, .n_exclude = 1};
    struct made made = make("mode=0", &env);
    const pare_host *host = instance_host(made.inst);
    assert_int_equal(host->selected(host, &m->graph, model_find_node(m, "fc1")), 1);
    assert_int_equal(host->selected(host, &m->graph, model_find_node(m, "fc2")), 0);
    assert_int_equal(host->selected(host, &m->graph, model_find_node(m, "relu1")), 0);
    assert_int_equal(host->selected(host, &m->graph, -1), 0);
    assert_int_equal(host->selected(host, &m->graph, 99), 0);
    assert_int_equal(instance_check_patterns(made.inst, &m->graph, &err), PARE_OK);
    unmake(&made);
    env = (struct instance_env){0};
    made = make("mode=0", &env);
    host = instance_host(made.inst);
    assert_int_equal(host->selected(host, &m->graph, model_find_node(m, "fc2")), 1);
    assert_int_equal(host->selected(host, &m->graph, 0), 0);
    unmake(&made);
    model_destroy(m);
}

static void refuse_patterns(const char *include, const char *exclude, const char *text) {
    struct error err;
    struct model *m = model_two_layers();
    struct instance_env env = {.include = &include,
                               .n_include = include != NULL,
                               .exclude = &exclude,
                               .n_exclude = exclude != NULL};
    struct made made = make("mode=0", &env);
    assert_int_equal(instance_check_patterns(made.inst, &m->graph, &err), PARE_E_NOT_FOUND);
    assert_string_equal(err.text, text);
    unmake(&made);
    model_destroy(m);
}

static void test_patterns_that_match_nothing(void **state) {
    (void)state;
    refuse_patterns("fc11", NULL,
                    "method probe: include \"fc11\" matches no conv2d or linear of "
                    "small; did you mean \"fc1\"?");
    refuse_patterns(NULL, "layer3.*",
                    "method probe: exclude \"layer3.*\" matches no conv2d or linear of small");
    refuse_patterns(NULL, "relu1",
                    "method probe: exclude \"relu1\" matches no conv2d or linear of small");
    refuse_patterns("fc1", "fc*",
                    "method probe: include and exclude together leave no layer of small");
}

/* The host's setters keep the model's message as the instance's. */
static void test_setters(void **state) {
    (void)state;
    struct error err;
    struct instance_env env = {0};
    struct model *m = model_two_layers();
    struct made made = make("mode=0", &env);
    const pare_host *host = instance_host(made.inst);
    const pare_weight *w = weight_named(m, "fc2.weight");
    float values[18] = {1, 2, 3};
    uint8_t mask[18] = {1, 0, 1};
    assert_int_equal(host->set_weight(host, &m->graph, w->index, values), PARE_OK);
    assert_int_equal(host->set_mask(host, &m->graph, w->index, mask), PARE_OK);
    assert_true(w->data[0] == 1.0f && w->data[1] == 0.0f && w->data[2] == 3.0f);
    values[5] = NAN;
    pare_status status = host->set_weight(host, &m->graph, w->index, values);
    assert_int_equal(instance_status(made.inst, status, "apply", &err), PARE_E_NUMERIC);
    assert_non_null(strstr(err.text, "method probe: fc2.weight[5]: "));
    float scale = 0.5f;
    pare_quant quant = {8, -127, 127, -1, 1, &scale, NULL};
    assert_int_equal(host->set_weight_quant(host, &m->graph, w->index, &quant, NULL), PARE_OK);
    assert_int_equal(w->codes[2], 6);
    int32_t relu = model_find_node(m, "relu1");
    assert_int_equal(host->set_activation_quant(host, &m->graph, relu, &quant), PARE_OK);
    assert_int_equal(m->graph.nodes[relu]->activation.bits, 8);
    assert_int_equal(host->fold_batch_norm(host, &m->graph), PARE_OK);
    must(model_verify(m, &err), &err);
    unmake(&made);
    model_destroy(m);
}

/* A table of another plugin is noticed before the plugin reads past it. */
static void test_foreign_parameters(void **state) {
    (void)state;
    struct error err;
    struct params *params = NULL;
    struct instance *inst = NULL;
    struct instance_env env = {0};
    assert_int_equal(params_resolve(NULL, 0, NULL, 0, &err, &params), PARE_OK);
    assert_int_equal(instance_create(&entry, params, 0, &env, &err, &inst), PARE_E_ARG);
    assert_string_equal(err.text, "method probe: given 0 parameters of table 0, its own has 1");
    params_destroy(params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_failures),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_leaks_are_counted),
        cmocka_unit_test(test_failure_messages),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_randomness),
        cmocka_unit_test(test_topology),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_patterns_that_match_nothing),
        cmocka_unit_test(test_setters),
        cmocka_unit_test(test_foreign_parameters),
    };
    return cmocka_run_group_tests_name("plugin host", tests, NULL, NULL);
}
