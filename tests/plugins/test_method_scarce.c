/* SPDX-License-Identifier: MIT */
/* Every pruner with memory that ends: each allocation fails once, always with that status and a
 * message that says what for, and nothing is leaked. */
#include "fixtures.h"

#include <pare/ext/gradients.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct pruner_case {
    const char *method, *settings;
} cases[] = {
    {"random", "sparsity=0.5 schedule=agp"},
    {"magnitude", "sparsity=0.5 ties=pytorch schedule=linear"},
    {"snip", "sparsity=0.5"},
    {"grasp", "sparsity=0.5"},
    {"synflow", "sparsity=0.5 passes=1"},
    {"rigl", "sparsity=0.5"},
    {"movement", "sparsity=0.5"},
    {"dns", "sparsity=0.5"},
    {"lottery", "sparsity=0.5 rewind=0"},
    {"nm", ""},
    {"deep_compression", "sparsity=0.5 bits=2 bias_bits=2"},
    {"filter", "fraction=0.5 criterion=taylor"},
    {"filter", "fraction=0.5 compact=false"},
};

static pare_status see_gradients(const struct loaded *l, struct model *m) {
    const pare_method_gradients *ext = extension_of(l->method, PARE_METHOD_GRADIENTS);
    pare_status status = PARE_OK;
    int32_t again = ext != NULL;
    for (int64_t pass = 0; again && status == PARE_OK; pass++) {
        pare_gradient_pass request = {.struct_size = sizeof request, .temperature = 1.0};
        status = ext->begin(l->self, &m->graph, pass, &request);
        for (int32_t k = 0; k < m->graph.n_weights && status == PARE_OK; k++) {
            status = ext->observe(l->self, &m->graph, k, m->graph.weights[k]->data, 1);
        }
        if (status == PARE_OK) {
            status = ext->end(l->self, &m->graph, &again);
        }
    }
    return status;
}

/* A step of a pipeline with a training of one step. */
static pare_status whole_step(const struct loaded *l, struct model *m) {
    const pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = 1, .steps_per_epoch = 1};
    const pare_train_step step = {.struct_size = sizeof step};
    pare_status status = see_gradients(l, m);
    if (status == PARE_OK && l->method->apply) {
        status = l->method->apply(l->self, &m->graph);
    }
    if (status == PARE_OK) {
        status = l->train->begin(l->self, &m->graph, &plan);
    }
    if (status == PARE_OK && l->train->after_step) {
        status = l->train->after_step(l->self, &m->graph, &step);
    }
    return status == PARE_OK && l->train->end ? l->train->end(l->self, &m->graph) : status;
}

static void test_scarce(void **state) {
    (void)state;
    const struct instance_env env = {.seed = 1};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const char *id = cases[k].method;
        pare_status status = PARE_E_NOMEM;
        int n = 0;
        for (; status != PARE_OK; n++) {
            struct error err = {PARE_OK, ""};
            struct model *m = model_two_layers();
            struct loaded l = load_method(id, id, cases[k].settings, &env);
            make_scarce(&l.made, n);
            status = instance_status(l.made.inst, whole_step(&l, m), "step", &err);
            if (status != PARE_OK &&
                (status != PARE_E_NOMEM || !strstr(err.text, "no memory for"))) {
                fail_msg("%s, allocation %d: %s", id, n, err.text);
            }
            unload(&l);
            model_destroy(m);
        }
        assert_true(n > 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scarce)};
    return cmocka_run_group_tests_name("pruners short of memory", tests, NULL, NULL);
}
