/* SPDX-License-Identifier: MIT */
/* Pruners, then a quantizer: the order is admitted, and the zeros survive as values and codes; the
 * other order is refused before anything runs. With training: test_experiment_pruners.c. */
#include "fixtures.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* All that prune without a look at data. */
static const struct pruner_case {
    const char *plugin, *method, *settings;
    const char *first; /* magnitude settings of a step before, or NULL */
} cases[] = {
    {"magnitude", "magnitude", "sparsity=0.5", NULL},
    {"magnitude", "magnitude", "amount=0.3 structure=input", "sparsity=0.3"},
    {"random", "random", "sparsity=0.5", NULL},
    {"mask", "permanent", "", "sparsity=0.5"},
};

/* conv (4,3,3,2) - bn - relu - flatten - fc (3,64) on (4,4,2) */
static struct model *small_network(void) {
    struct model *m = model_start(4, 4, 2);
    int32_t x = add_conv(m, "conv", 0, 4);
    x = add_op(m, PARE_OP_BATCH_NORM, "bn", x);
    x = add_op(m, PARE_OP_RELU, "relu", x);
    x = add_op(m, PARE_OP_FLATTEN, "flatten", x);
    add_linear(m, "fc", x, 3);
    model_end(m);
    return m;
}

static const char *const changing[] = {"magnitude", "random",  "mask", "snip",
                                       "grasp",     "synflow", "rigl", "movement",
                                       "dns",       "lottery", "nm"};
enum { N_CHANGING = sizeof changing / sizeof changing[0] };

static const struct pruner_case quantizer = {"ptq", "ptq", "weight_bits=4 activation_bits=32",
                                             NULL};

static void admit(const struct registry *reg, struct pipeline_state *state, const char *method,
                  pare_status wanted) {
    struct error err = {PARE_OK, ""};
    const struct plugin_entry *entry;
    must(registry_find_method(reg, method, &err, &entry), &err);
    const pare_status status = pipeline_admit(state, entry->method, &err);
    if (status != wanted) {
        fail_msg("%s: got %d (%s), wanted %d", method, status, err.text, wanted);
    }
}

/* Pruners follow each other in any order, and quantizers follow them; never the other way. */
static void test_orders(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct registry *reg = NULL;
    must(registry_create(&err, &reg), &err);
    must(registry_scan(reg, TEST_BINARY_DIR "/plugins", &err), &err);
    for (int k = 0; k < N_CHANGING; k++) {
        struct pipeline_state after_pruning = {0}, after_quantizing = {0};
        admit(reg, &after_pruning, changing[k], PARE_OK);
        for (int second = 0; second < N_CHANGING; second++) {
            admit(reg, &after_pruning, changing[second], PARE_OK);
        }
        admit(reg, &after_pruning, "permanent", PARE_OK);
        admit(reg, &after_pruning, quantizer.method, PARE_OK);
        admit(reg, &after_quantizing, quantizer.method, PARE_OK);
        admit(reg, &after_quantizing, changing[k], PARE_E_STATE);
    }
    registry_destroy(reg);
}

static void check_zeros(const char *method, const pare_weight *w, const float *before) {
    int64_t n_zero = 0;
    for (int64_t i = 0; i < w->n_elems; i++) {
        if (before[i] == 0.0f) {
            n_zero++;
            if (w->data[i] != 0.0f || w->codes[i] != 0) {
                fail_msg("%s, %s[%lld]: was pruned, is %g (code %d)", method, w->name, (long long)i,
                         (double)w->data[i], w->codes[i]);
            }
        }
    }
    assert_true(n_zero >= w->n_elems / 4);
    assert_true(w->quant.bits == 4);
}

static void test_zeros_survive(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct model *m = small_network();
        float conv[72], fc[192];
        if (cases[k].first) {
            do_step(m, "magnitude", "magnitude", cases[k].first);
        }
        do_step(m, cases[k].plugin, cases[k].method, cases[k].settings);
        memcpy(conv, weight_named(m, "conv.weight")->data, sizeof conv);
        memcpy(fc, weight_named(m, "fc.weight")->data, sizeof fc);
        do_step(m, quantizer.plugin, quantizer.method, quantizer.settings);
        check_zeros(cases[k].method, weight_named(m, "conv.weight"), conv);
        check_zeros(cases[k].method, weight_named(m, "fc.weight"), fc);
        model_destroy(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_zeros_survive),
    };
    return cmocka_run_group_tests_name("pruners before a quantizer", tests, NULL, NULL);
}
