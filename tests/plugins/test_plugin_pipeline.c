/* SPDX-License-Identifier: MIT */
/* Which orders of methods are admitted. */
#include "fixtures.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const pare_method magnitude = {
    .id = "magnitude", .writes = PARE_WEIGHTS | PARE_MASK, .preserves = PARE_MASK};
static const pare_method quantize = {.id = "quantize",
                                     .writes = PARE_WEIGHTS | PARE_WEIGHT_QUANT |
                                               PARE_ACTIVATION_QUANT | PARE_TOPOLOGY,
                                     .preserves = PARE_MASK | PARE_TOPOLOGY};
static const pare_method layered = {.id = "layered",
                                    .writes = PARE_WEIGHTS | PARE_WEIGHT_QUANT | PARE_TOPOLOGY,
                                    .preserves = PARE_MASK | PARE_TOPOLOGY | PARE_WEIGHT_QUANT |
                                                 PARE_ACTIVATION_QUANT};
static const pare_method filter = {.id = "filter", .writes = PARE_WEIGHTS | PARE_TOPOLOGY};
static const pare_method surgery = {
    .id = "surgery", .writes = PARE_TOPOLOGY, .preserves = PARE_WEIGHT_QUANT | PARE_MASK};
static const pare_method tune = {.id = "tune", .writes = PARE_WEIGHTS};
static const pare_method look = {.id = "look", .reads = PARE_WEIGHTS | PARE_TOPOLOGY};
static const pare_method activations = {.id = "activations", .writes = PARE_ACTIVATION_QUANT};

/* All but the last of n methods are admitted, and the last one is too if text is NULL. */
static void check(const pare_method *const *methods, size_t n, const char *text) {
    struct pipeline_state state = {0};
    struct error err = {PARE_OK, ""};
    for (size_t k = 0; k < n; k++) {
        pare_status status = pipeline_admit(&state, methods[k], &err);
        if (k < n - 1 || !text) {
            if (status != PARE_OK) {
                fail_msg("%s", err.text);
            }
        } else {
            assert_int_equal(status, PARE_E_STATE);
            assert_string_equal(err.text, text);
        }
    }
}

#define ORDER(text, ...)                                                                           \
    do {                                                                                           \
        const pare_method *const order[] = {__VA_ARGS__};                                          \
        check(order, sizeof order / sizeof order[0], text);                                        \
    } while (0)

static void test_orders_that_work(void **state) {
    (void)state;
    ORDER(NULL, &magnitude, &quantize);
    ORDER(NULL, &magnitude, &magnitude, &quantize);
    ORDER(NULL, &filter, &magnitude, &quantize);
    ORDER(NULL, &quantize, &look);
    ORDER(NULL, &tune, &quantize);
    ORDER(NULL, &quantize, &layered);
    ORDER(NULL, &layered, &layered);
    /* What quantize did to the topology (it folded batch norm) stands in nobody's way by itself. */
    ORDER(NULL, &quantize, &look, &layered);
}

static void test_orders_that_undo(void **state) {
    (void)state;
    ORDER(
        "magnitude writes weights, which would undo the weight quantization of step \"quantize\": "
        "put \"magnitude\" before \"quantize\"",
        &quantize, &magnitude);
    ORDER(
        "tune writes weights, which would undo the mask of step \"magnitude\": put \"tune\" before "
        "\"magnitude\"",
        &magnitude, &tune);
    ORDER("filter writes weights, which would undo the mask of step \"magnitude\": put \"filter\" "
          "before \"magnitude\"",
          &magnitude, &filter);
    ORDER("surgery writes topology, which would undo the activation quantization of step "
          "\"activations\": put \"surgery\" before \"activations\"",
          &activations, &surgery);
    ORDER("filter writes topology, which would undo the changed topology of step \"surgery\", and "
          "neither order works: use only one of them",
          &surgery, &filter);
    ORDER("quantize writes weight quantization, which would undo the weight quantization of step "
          "\"quantize\", and neither order works: use only one of them",
          &quantize, &quantize);
    /* The step in between neither hides nor takes over what the first established. */
    ORDER(
        "magnitude writes weights, which would undo the weight quantization of step \"quantize\": "
        "put \"magnitude\" before \"quantize\"",
        &quantize, &look, &magnitude);
    ORDER(
        "activations writes activation quantization, which would undo the activation quantization "
        "of step \"quantize\", and neither order works: use only one of them",
        &magnitude, &quantize, &activations);
}

/* The shipped methods' own declarations. */
static void test_shipped(void **state) {
    (void)state;
    struct registry *prune = load_shipped("magnitude");
    struct registry *quant = load_shipped("ptq");
    const pare_method *m = registry_entry(prune, 0)->method;
    const pare_method *q = registry_entry(quant, 0)->method;
    ORDER(NULL, m, q);
    ORDER(NULL, m, m, q, q); /* two ptq steps share a model by include and exclude */
    ORDER("magnitude writes weights, which would undo the weight quantization of step \"ptq\": put "
          "\"magnitude\" before \"ptq\"",
          q, m);
    ORDER(NULL, &filter, q);
    registry_destroy(prune);
    registry_destroy(quant);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders_that_work),
        cmocka_unit_test(test_orders_that_undo),
        cmocka_unit_test(test_shipped),
    };
    return cmocka_run_group_tests_name("plugin pipeline", tests, NULL, NULL);
}
