/* SPDX-License-Identifier: MIT */
/* What is refused and how it is said; memory; what an executable says of itself. */
#include "check/graph_maker.h"
#include "host_table.h"
#include "ref.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* node1 conv - node2 relu - node3 max pool - node4 flatten - node5 linear, all on integers */
static void make_small(struct maker *m) {
    maker_init(m, 1, 8, 8, 2);
    int32_t conv = maker_conv(m, 0, 6, 3, 1, 1, 1, 1);
    int32_t relu = maker_simple(m, PARE_OP_RELU, conv);
    int32_t pool = maker_pool(m, PARE_OP_MAX_POOL, relu, 2, 2, 0);
    int32_t fc = maker_linear(m, maker_simple(m, PARE_OP_FLATTEN, pool), 10, 1);
    maker_quantize_value(m, 0, 8, 0.02f, 3);
    maker_quantize_value(m, relu, 8, 0.02f, -128);
    maker_quantize_weight(m, conv, 8);
    maker_quantize_weight(m, fc, 4);
}

static pare_status compile(struct test_host *host, const struct maker *m, int32_t max_batch,
                           const char *isa, void **instance, void **exe) {
    test_host_init(host);
    assert_int_equal(ref_backend.create(&host->host, NULL, instance), PARE_OK);
    pare_compile_options options = {sizeof options, max_batch, isa};
    return ref_backend.compile(*instance, &m->graph, &options, exe);
}

/* Compiling fails with this status and these words, and leaves nothing behind. */
static void refused(const struct maker *m, int32_t max_batch, const char *isa, pare_status status,
                    const char *words) {
    struct test_host host;
    void *instance;
    void *exe = &host;
    pare_status got = compile(&host, m, max_batch, isa, &instance, &exe);
    if (got != status || strstr(host.text, words) == NULL) {
        fail_msg("got %d \"%s\", wanted %d \"%s\"", got, host.text, status, words);
    }
    assert_ptr_equal(exe, &host);
    ref_backend.destroy(instance);
    assert_int_equal(host.n_live, 0);
}

static pare_quant *weight_quant(struct maker *m, int32_t node) {
    return &maker_weight(m, node, PARE_ROLE_WEIGHT)->quant;
}

static void test_refused_quantization(void **state) {
    (void)state;
    struct maker m;
    int32_t zeros[10] = {0, 0, 0, 5};
    float scales[10];

    make_small(&m);
    weight_quant(&m, 1)->zero_point = zeros;
    refused(&m, 1, NULL, PARE_E_UNSUPPORTED, "node1: weight zero point 3 is 5");
    maker_free(&m);

    make_small(&m);
    weight_quant(&m, 5)->scale = scales;
    for (int k = 0; k < 10; k++) {
        scales[k] = k == 7 ? NAN : 1.0f;
    }
    refused(&m, 1, NULL, PARE_E_NUMERIC, "node5: weight scale 7 is nan");
    scales[7] = 0.0f;
    refused(&m, 1, NULL, PARE_E_NUMERIC, "node5: weight scale 7 is 0");
    maker_free(&m);

    make_small(&m);
    float *bias = (float *)(uintptr_t)maker_weight(&m, 5, PARE_ROLE_BIAS)->data;
    bias[7] = NAN;
    refused(&m, 1, NULL, PARE_E_NUMERIC, "node5: bias 7 is nan, wanted less than 2^64 units of 1");
    bias[7] = -0x1p64f;
    refused(&m, 1, NULL, PARE_E_NUMERIC, "node5: bias 7 is -1.84467e+19, wanted less than 2^64");
    maker_quantize_value(&m, 5, 8, 0x1p-10f, 0);
    bias[7] = 0x1p54f;
    refused(&m, 1, NULL, PARE_E_NUMERIC, "wanted less than 2^64 units of 0.000976562, the scale");
    maker_free(&m);

    make_small(&m);
    weight_quant(&m, 5)->n = 3;
    refused(&m, 1, NULL, PARE_E_UNSUPPORTED, "node5: weight has 4 bits and 3 scales");
    maker_free(&m);

    make_small(&m);
    ((int16_t *)(uintptr_t)maker_weight(&m, 5, PARE_ROLE_WEIGHT)->codes)[11] = -128;
    refused(&m, 1, NULL, PARE_E_RANGE, "node5: weight code 11 is -128, wanted -127..127");
    maker_free(&m);

    make_small(&m);
    maker_quantize_value(&m, 2, 8, 1e-30f, 0);
    ((float *)(uintptr_t)m.nodes[0]->activation.scale)[0] = 1e30f;
    refused(&m, 1, NULL, PARE_E_NUMERIC, "node1: multiplier 0 is ");
    maker_free(&m);

    make_small(&m);
    maker_quantize_value(&m, 2, 8, 1.0f, 128);
    refused(&m, 1, NULL, PARE_E_RANGE,
            "node2: its value's codes are [-128,127] with zero point 128");
    maker_quantize_value(&m, 2, 8, -1.0f, 0);
    refused(&m, 1, NULL, PARE_E_NUMERIC, "node2: its value's scale is -1");
    maker_quantize_value(&m, 2, 8, 1.0f, 0);
    maker_node(&m, 2)->activation.qmax = 128;
    refused(&m, 1, NULL, PARE_E_RANGE, "within [-128,127]");
    maker_free(&m);
}

static void test_refused_graphs(void **state) {
    (void)state;
    struct maker m;
    make_small(&m);
    refused(&m, 0, NULL, PARE_E_RANGE, "a batch of 0");
    refused(&m, INT32_MAX, "sse9", PARE_E_UNSUPPORTED,
            "isa is \"sse9\", this machine has \"portable\"");

    maker_node(&m, 3)->dims[0] = 5;
    refused(&m, 1, NULL, PARE_E_ARG, "node3: its value is (5,4,6), wanted (4,4,6)");
    maker_node(&m, 3)->dims[0] = 0;
    refused(&m, 1, NULL, PARE_E_RANGE, "node3: dimension 0 is 0, wanted 1..16777216");
    maker_node(&m, 3)->dims[0] = (1 << 24) + 1;
    refused(&m, 1, NULL, PARE_E_RANGE, "node3: dimension 0 is 16777217, wanted 1..16777216");
    maker_node(&m, 3)->dims[0] = maker_node(&m, 3)->dims[1] = 1 << 16;
    refused(&m, 1, NULL, PARE_E_LIMIT, "node3: its value has more than 2^31 elements");
    maker_node(&m, 3)->dims[0] = maker_node(&m, 3)->dims[1] = 4;
    maker_node(&m, 1)->groups = 4;
    refused(&m, 1, NULL, PARE_E_ARG, "node1: 4 groups do not divide 2 input");
    maker_node(&m, 1)->groups = 1;
    maker_node(&m, 3)->pad_h = 2;
    refused(&m, 1, NULL, PARE_E_ARG, "node3: padding is 2x0, wanted less than the kernel's 2x2");
    maker_node(&m, 3)->pad_h = 0;
    maker_node(&m, 2)->op = (pare_op)77;
    refused(&m, 1, NULL, PARE_E_UNSUPPORTED, "node2: operator 77 is not known");
    maker_node(&m, 2)->op = PARE_OP_SOFTMAX;
    refused(&m, 1, NULL, PARE_E_UNSUPPORTED, "node2: softmax can only be the last node");
    maker_node(&m, 2)->op = PARE_OP_RELU;
    maker_node(&m, 2)->inputs[0] = 2;
    refused(&m, 1, NULL, PARE_E_ARG, "node2: input 0 is node 2, wanted an earlier one");
    maker_node(&m, 2)->inputs[0] = 1;
    maker_node(&m, 5)->inputs[0] = 3;
    refused(&m, 1, NULL, PARE_E_ARG, "node5: input node3 has rank 3, wanted 1");
    maker_node(&m, 5)->inputs[0] = 4;
    maker_weight(&m, 5, PARE_ROLE_WEIGHT)->dims[1]--;
    refused(&m, 1, NULL, PARE_E_ARG, "node5: weight is not (10,96)");
    maker_weight(&m, 5, PARE_ROLE_WEIGHT)->dims[1]++;
    m.graph.n_classes = 11;
    refused(&m, 1, NULL, PARE_E_ARG, "the last node makes (1,1,10), wanted 11 classes");
    m.graph.n_classes = 10;

    struct test_host host;
    void *instance;
    void *exe;
    assert_int_equal(compile(&host, &m, 1, NULL, &instance, &exe), PARE_OK); /* all is well again */
    ref_backend.executable_destroy(exe);
    assert_int_equal(ref_backend.supports(instance, &m.graph, 1), PARE_OK);
    maker_node(&m, 1)->stride_w = 0;
    assert_int_equal(ref_backend.supports(instance, &m.graph, 1), PARE_E_ARG);
    ref_backend.destroy(instance);
    maker_free(&m);
}

static void test_refused_runs(void **state) {
    (void)state;
    struct maker m;
    struct test_host host;
    void *instance;
    void *exe;
    float x[3 * 8 * 8 * 2] = {0};
    float y[30];
    make_small(&m);
    assert_int_equal(compile(&host, &m, 3, NULL, &instance, &exe), PARE_OK);
    assert_int_equal(ref_backend.run(exe, x, 0, y), PARE_E_RANGE);
    assert_int_equal(ref_backend.run(exe, x, 4, y), PARE_E_RANGE);
    assert_string_equal(host.text, "batch is 4, compiled for 1..3");
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++) {
        x[2 * 128 + 77] = bad[k];
        assert_int_equal(ref_backend.run(exe, x, 2, y), PARE_OK); /* not part of the batch */
        assert_int_equal(ref_backend.run(exe, x, 3, y), PARE_E_NUMERIC);
        assert_non_null(strstr(host.text, "image 2"));
    }
    ref_backend.executable_destroy(exe);
    ref_backend.executable_destroy(NULL);
    ref_backend.destroy(instance);
    ref_backend.destroy(NULL);
    maker_free(&m);
}

/* Each allocation fails in turn. */
static void check_out_of_memory(int wide) {
    struct maker m;
    make_small(&m);
    maker_batch_norm(&m, 5);
    if (wide) { /* the 16-bit path, which widens the input's codes */
        maker_quantize_value(&m, 2, 12, 0.001f, 0);
    }
    int64_t n_failed = 0;
    for (int64_t k = 0;; k++) {
        struct test_host host;
        void *instance;
        void *exe;
        test_host_init(&host);
        host.fail_at = k;
        pare_status status = ref_backend.create(&host.host, NULL, &instance);
        if (status == PARE_OK) {
            pare_compile_options options = {sizeof options, 2, NULL};
            status = ref_backend.compile(instance, &m.graph, &options, &exe);
            if (status == PARE_OK) {
                ref_backend.executable_destroy(exe);
            }
            ref_backend.destroy(instance);
        }
        assert_int_equal(host.n_live, 0);
        assert_int_equal(host.damaged, 0);
        if (status == PARE_OK) {
            break;
        }
        assert_int_equal(status, PARE_E_NOMEM);
        assert_non_null(strstr(host.text, "out of memory"));
        n_failed++;
    }
    assert_true(n_failed > 20);
    maker_free(&m);
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_out_of_memory(0);
    check_out_of_memory(1);
}

static void test_executable_info(void **state) {
    (void)state;
    struct maker m;
    struct test_host host;
    void *instance;
    void *exe;
    const pare_executable_info *info;
    pare_probe probe = {.struct_size = sizeof probe};
    make_small(&m);
    assert_int_equal(compile(&host, &m, 4, "portable", &instance, &exe), PARE_OK);
    assert_int_equal(ref_backend.probe(&host.host, &probe), PARE_OK);
    assert_int_equal(probe.score, 1);
    assert_int_equal(strncmp(probe.isa, "portable", 8), 0);
    assert_int_equal(ref_backend.executable_info(exe, &info), PARE_OK);
    assert_string_equal(info->isa, "portable");
    assert_string_equal(info->execution, "integer");
    assert_int_equal(info->n_kernels, 4);
    const pare_kernel_info *conv = info->kernels[1];
    assert_string_equal(conv->kernel, "ref_conv2d_i8");
    assert_int_equal(conv->node, 1);
    assert_int_equal(conv->macs, 8 * 8 * 6 * 3 * 3 * 2);
    assert_int_equal(conv->weight_bytes, 8 * 3 * 3 * 2); /* 6 channels in a block of 8 */
    const pare_kernel_info *fc = info->kernels[3];
    assert_int_equal(fc->node, 5);
    assert_int_equal(fc->macs, 960);
    assert_int_equal(fc->weight_bytes, 16 * 96);
    /* codes (8,8,2) and (8,8,6), then (4,4,6): the third fits into the place of the first */
    assert_int_equal(info->bytes_activations, 4 * (128 + 384));
    assert_true(info->bytes_resident >= conv->weight_bytes + fc->weight_bytes);
    assert_null(ref_backend.get_extension("pare.backend.nonsense/1"));
    ref_backend.executable_destroy(exe);
    ref_backend.destroy(instance);
    maker_free(&m);
}

static void test_avx2_is_the_default(void **state) {
    (void)state;
#ifdef __x86_64__
    struct maker m;
    struct test_host host;
    void *instance;
    void *exe;
    const pare_executable_info *info;
    const char *best = __builtin_cpu_supports("avx2") ? "portable-avx2" : "portable";
    make_small(&m);
    assert_int_equal(compile(&host, &m, 1, NULL, &instance, &exe), PARE_OK);
    assert_int_equal(ref_backend.executable_info(exe, &info), PARE_OK);
    assert_string_equal(info->isa, best);
    ref_backend.executable_destroy(exe);
    ref_backend.destroy(instance);
    maker_free(&m);
#else
    skip();
#endif
}

/* Random lives and sizes: values alive together never share a byte, and the arena is no smaller
 * than the fullest moment and no larger than all values together. */
static void test_arena(void **state) {
    (void)state;
    uint64_t random = 9;
    for (int round = 0; round < 200; round++) {
        struct lower_value values[24] = {0};
        int32_t order[24];
        int32_t n = maker_between(&random, 1, 24);
        int64_t total = 0;
        struct lower_plan plan = {.n_values = n, .values = values};
        for (int32_t v = 0; v < n; v++) {
            values[v].size_bytes = 64 * maker_between(&random, 1, 50);
            values[v].first_step = maker_between(&random, 0, 20);
            values[v].last_step = values[v].first_step + maker_between(&random, 0, 6);
            values[v].place = maker_between(&random, 0, 9) == 0 ? LOWER_OUTPUT : LOWER_ARENA;
            total += values[v].place == LOWER_ARENA ? values[v].size_bytes : 0;
        }
        lower_plan_arena(&plan, order);
        int64_t fullest = 0;
        for (int32_t step = 0; step < 30; step++) {
            int64_t now = 0;
            for (int32_t v = 0; v < n; v++) {
                int alive = values[v].place == LOWER_ARENA && values[v].first_step <= step &&
                            step <= values[v].last_step;
                now += alive ? values[v].size_bytes : 0;
                for (int32_t u = 0; u < v && alive; u++) {
                    int both = values[u].place == LOWER_ARENA && values[u].first_step <= step &&
                               step <= values[u].last_step;
                    int apart =
                        values[u].offset_bytes + values[u].size_bytes <= values[v].offset_bytes ||
                        values[v].offset_bytes + values[v].size_bytes <= values[u].offset_bytes;
                    assert_true(!both || apart);
                }
                assert_true(!alive ||
                            (values[v].offset_bytes % 64 == 0 &&
                             values[v].offset_bytes + values[v].size_bytes <= plan.arena_bytes));
            }
            fullest = now > fullest ? now : fullest;
        }
        assert_true(fullest <= plan.arena_bytes && plan.arena_bytes <= total);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_quantization),
        cmocka_unit_test(test_refused_graphs),
        cmocka_unit_test(test_refused_runs),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_executable_info),
        cmocka_unit_test(test_avx2_is_the_default),
        cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
