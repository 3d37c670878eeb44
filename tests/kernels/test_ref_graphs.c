/* SPDX-License-Identifier: MIT */
/* Whole graphs on the ref backend against naive.c, bit for bit, at every level this machine has. */
#include "graph_maker.h"
#include "naive.h"
#include "ref.h"

#include <math.h>
#include <pare/ext/observe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_BATCH 5 /* one whole tile of samples and a rest */
#define MAX_CLASSES 64
#define OUTPUT_GUARD 16

static const char *const levels[] = {"portable", "portable-avx2"};

static int level_usable(const char *isa) {
#ifdef __x86_64__
    return strcmp(isa, "portable") == 0 || __builtin_cpu_supports("avx2");
#else
    return strcmp(isa, "portable") == 0;
#endif
}

struct seen {
    const pare_graph *graph;
    struct naive_value (*naive)[256]; /* by sample */
    int32_t n;
    int32_t n_seen, n_codes;
    uint64_t seed;
};

/* Every stored value equals the naive one, codes exactly and floats bit for bit. */
static pare_status compare_value(void *context, int32_t node, const float *real,
                                 const int16_t *codes, int64_t n_elems) {
    struct seen *seen = context;
    int64_t per_sample = n_elems / seen->n;
    seen->n_seen++;
    seen->n_codes += codes != NULL;
    for (int64_t k = 0; k < n_elems; k++) {
        const struct naive_value *v = &seen->naive[k / per_sample][node];
        int64_t at = k % per_sample;
        if (!v->made || v->n != per_sample || (codes != NULL) != (v->codes != NULL)) {
            fail_msg("seed %llu: node %d is not stored as the specification says",
                     (unsigned long long)seen->seed, node);
        }
        if (codes != NULL ? codes[k] != v->codes[at]
                          : memcmp(&real[k], &v->real[at], sizeof(float)) != 0) {
            fail_msg("seed %llu: node %d (%d) sample %lld element %lld: got %g, wanted %g",
                     (unsigned long long)seen->seed, node, (int)seen->graph->nodes[node]->op,
                     (long long)(k / per_sample), (long long)at,
                     codes != NULL ? (double)codes[k] : (double)real[k],
                     codes != NULL ? (double)v->codes[at] : (double)v->real[at]);
        }
    }
    return PARE_OK;
}

struct outcome {
    char execution[16];
    int32_t n_integer, n_fallback, n_codes_seen;
    char kernels[2048];
};

static void check_level(struct maker *m, const char *isa, const float *images,
                        struct naive_value (*naive)[256], const float *wanted, uint64_t seed,
                        struct outcome *outcome) {
    struct test_host host;
    test_host_init(&host);
    void *instance;
    void *exe;
    assert_int_equal(ref_backend.create(&host.host, NULL, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, MAX_BATCH, isa};
    pare_status status = ref_backend.compile(instance, &m->graph, &options, &exe);
    if (status != PARE_OK) {
        fail_msg("seed %llu: compile: %s", (unsigned long long)seed, host.text);
    }
    const pare_backend_observe *observe = ref_backend.get_extension(PARE_BACKEND_OBSERVE);
    int32_t classes = m->graph.n_classes;
    float output[MAX_BATCH * MAX_CLASSES + OUTPUT_GUARD];
    for (int32_t n = 1; n <= MAX_BATCH; n += 2) {
        memset(output, 0x7f, sizeof output);
        host.backwards = n == 3;
        host.n_threads = n == MAX_BATCH ? 3 : 1;
        host.in_run = 1;
        assert_int_equal(ref_backend.run(exe, images, n, output), PARE_OK);
        host.in_run = 0;
        size_t bytes = (size_t)(n * classes) * sizeof(float);
        if (memcmp(output, wanted, bytes) != 0) {
            fail_msg("seed %llu, %s, batch %d: outputs differ", (unsigned long long)seed, isa, n);
        }
        const unsigned char *after = (const unsigned char *)output;
        for (size_t k = bytes; k < sizeof output; k++) {
            assert_int_equal(after[k], 0x7f);
        }
        struct seen seen = {&m->graph, naive, n, 0, 0, seed};
        assert_int_equal(observe->run(exe, images, n, output, compare_value, &seen), PARE_OK);
        assert_memory_equal(output, wanted, bytes);
        outcome->n_codes_seen = seen.n_codes;
    }
    const pare_executable_info *info;
    assert_int_equal(ref_backend.executable_info(exe, &info), PARE_OK);
    assert_string_equal(info->isa, isa);
    snprintf(outcome->execution, sizeof outcome->execution, "%s", info->execution);
    outcome->n_integer = outcome->n_fallback = 0;
    outcome->kernels[0] = '\0';
    for (int32_t k = 0; k < info->n_kernels; k++) {
        outcome->n_integer += info->kernels[k]->is_integer;
        outcome->n_fallback += info->kernels[k]->is_fallback;
        size_t used = strlen(outcome->kernels);
        snprintf(outcome->kernels + used, sizeof outcome->kernels - used, "%s ",
                 info->kernels[k]->kernel);
    }
    ref_backend.executable_destroy(exe);
    ref_backend.destroy(instance);
    assert_int_equal(host.n_live, 0);
    assert_int_equal(host.damaged, 0);
    assert_int_equal(host.wrong_allocs, 0);
}

static struct outcome check(struct maker *m, float spread) {
    static struct naive_value naive[MAX_BATCH][256];
    uint64_t seed = m->random;
    int32_t classes = m->graph.n_classes;
    const int32_t *d = m->graph.input_dims;
    int64_t per_image = (int64_t)d[0] * d[1] * d[2];
    float *images = malloc((size_t)(per_image * MAX_BATCH) * sizeof(float));
    float wanted[MAX_BATCH * MAX_CLASSES];
    struct outcome outcome;
    assert_true(classes <= MAX_CLASSES && images != NULL);
    for (int64_t k = 0; k < per_image * MAX_BATCH; k++) {
        images[k] = spread * maker_normal(&m->random);
    }
    for (int i = 0; i < MAX_BATCH; i++) {
        naive_run(&m->graph, images + i * per_image, naive[i], wanted + i * classes);
    }
    for (size_t k = 0; k < sizeof levels / sizeof *levels; k++) {
        if (level_usable(levels[k])) {
            check_level(m, levels[k], images, naive, wanted, seed, &outcome);
        }
    }
    for (int i = 0; i < MAX_BATCH; i++) {
        naive_free(&m->graph, naive[i]);
    }
    free(images);
    return outcome;
}

/* ---- graphs ---- */

/* A value's quantization with a random zero point, its ends included. */
static void quantize_somehow(struct maker *m, int32_t node, int32_t bits, float range) {
    int32_t half = 1 << (bits - 1);
    int32_t zero = maker_between(&m->random, -half, half - 1);
    switch (maker_between(&m->random, 0, 3)) {
    case 0:
        zero = -half;
        break;
    case 1:
        zero = half - 1;
        break;
    default:
        break;
    }
    float scale = range * (0.7f + 0.1f * (float)maker_between(&m->random, 0, 6)) / (float)half;
    maker_quantize_value(m, node, bits, scale, zero);
}

/* conv 5x5 - relu - max pool - conv 5x5 - relu - average pool - flatten - linear - relu - linear */
static void make_lenet(struct maker *m, uint64_t seed, int32_t bits, int first_float,
                       int last_float) {
    maker_init(m, seed, 20, 20, 1);
    int32_t conv1 = maker_conv(m, 0, 7, 5, 1, 0, 1, 1);
    int32_t relu1 = maker_simple(m, PARE_OP_RELU, conv1);
    int32_t pool1 = maker_pool(m, PARE_OP_MAX_POOL, relu1, 2, 2, 0);
    int32_t conv2 = maker_conv(m, pool1, 18, 5, 1, 0, 1, 1);
    int32_t relu2 = maker_simple(m, PARE_OP_RELU, conv2);
    int32_t pool2 = maker_pool(m, PARE_OP_AVG_POOL, relu2, 2, 2, 0);
    int32_t flat = maker_simple(m, PARE_OP_FLATTEN, pool2);
    int32_t fc1 = maker_linear(m, flat, 37, 1);
    int32_t relu3 = maker_simple(m, PARE_OP_RELU, fc1);
    int32_t fc2 = maker_linear(m, relu3, 10, 1);
    if (bits == 0) {
        return;
    }
    if (!first_float) {
        quantize_somehow(m, 0, bits, 3.0f);
        maker_quantize_weight(m, conv1, bits);
    }
    quantize_somehow(m, relu1, bits, 3.0f);
    quantize_somehow(m, relu2, bits, 3.0f);
    quantize_somehow(m, pool2, bits, 3.0f);
    quantize_somehow(m, relu3, bits, 3.0f);
    maker_quantize_weight(m, conv2, bits);
    maker_quantize_weight(m, fc1, bits);
    if (!last_float) {
        maker_quantize_weight(m, fc2, bits);
    }
}

static void test_lenet_float(void **state) {
    (void)state;
    struct maker m;
    make_lenet(&m, 1, 0, 0, 0);
    struct outcome outcome = check(&m, 1.0f);
    assert_string_equal(outcome.execution, "float");
    assert_int_equal(outcome.n_integer, 0);
    assert_string_equal(outcome.kernels, "ref_conv2d_f32 ref_max_pool_f32 ref_conv2d_f32 "
                                         "ref_avg_pool_f32 ref_linear_f32 ref_linear_f32 ");
    maker_free(&m);
}

static void test_lenet_integer(void **state) {
    (void)state;
    for (int32_t bits = 2; bits <= 8; bits++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct maker m;
            make_lenet(&m, 100 * seed + (uint64_t)bits, bits, 0, 0);
            struct outcome outcome = check(&m, 1.0f);
            assert_string_equal(outcome.execution, "integer");
            assert_int_equal(outcome.n_integer, 6);
            assert_string_equal(outcome.kernels,
                                "ref_quantize_i8 ref_conv2d_i8 ref_max_pool_i8 ref_conv2d_i8 "
                                "ref_avg_pool_i8 ref_linear_i8 ref_linear_i8 ");
            maker_free(&m);
        }
    }
}

static void test_lenet_wide(void **state) {
    (void)state;
    for (int32_t bits = 9; bits <= 16; bits += 1) {
        struct maker m;
        make_lenet(&m, 7 + (uint64_t)bits, bits, 0, 0);
        struct outcome outcome = check(&m, 1.0f);
        assert_string_equal(outcome.kernels,
                            "ref_quantize_i16 ref_conv2d_i16 ref_max_pool_i16 ref_conv2d_i16 "
                            "ref_avg_pool_i16 ref_linear_i16 ref_linear_i16 ");
        assert_int_equal(outcome.n_fallback, 0);
        maker_free(&m);
    }
}

static void test_lenet_mixed(void **state) {
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct maker m;
        make_lenet(&m, 31 + (uint64_t)first, 8, first, 1);
        struct outcome outcome = check(&m, 1.0f);
        assert_string_equal(outcome.execution, "mixed");
        assert_non_null(strstr(outcome.kernels, "ref_dequantize_i8 ref_linear_f32"));
        assert_true(first == (strstr(outcome.kernels, "ref_conv2d_f32 ref_quantize_i8") != NULL));
        maker_free(&m);
    }
}

/* Two residual blocks, the second with option A's shortcut: batch norm folded by the backend when
 * the graph is in float, absent when it is quantized (as after fold_batch_norm). */
static void make_resnet(struct maker *m, uint64_t seed, int32_t bits, int batch_norm) {
    maker_init(m, seed, 9, 9, 3);
    if (bits) {
        quantize_somehow(m, 0, bits, 3.0f);
    }
    int32_t x = maker_conv(m, 0, 6, 3, 1, 1, 1, !batch_norm);
    int32_t first = x;
    x = batch_norm ? maker_batch_norm(m, x) : x;
    x = maker_simple(m, PARE_OP_RELU, x);
    if (bits) {
        maker_quantize_weight(m, first, bits);
        quantize_somehow(m, x, bits, 3.0f);
    }
    for (int block = 0; block < 2; block++) {
        int32_t stride = block + 1;
        int32_t channels = block == 0 ? 6 : 13;
        int32_t skip = block == 0 ? x : maker_shortcut(m, x, channels, stride);
        int32_t a = maker_conv(m, x, channels, 3, stride, 1, 1, !batch_norm);
        int32_t a_end = batch_norm ? maker_batch_norm(m, a) : a;
        int32_t a_relu = maker_simple(m, PARE_OP_RELU, a_end);
        int32_t b = maker_conv(m, a_relu, channels, 3, 1, 1, 1, !batch_norm);
        int32_t b_end = batch_norm ? maker_batch_norm(m, b) : b;
        int32_t sum = maker_add(m, b_end, skip);
        x = maker_simple(m, PARE_OP_RELU, sum);
        if (bits) {
            maker_quantize_weight(m, a, bits);
            maker_quantize_weight(m, b, bits);
            quantize_somehow(m, a_relu, bits, 3.0f);
            quantize_somehow(m, b_end, bits, 3.0f);
            quantize_somehow(m, x, bits, 4.0f);
        }
    }
    x = maker_simple(m, PARE_OP_GLOBAL_AVG_POOL, x);
    int32_t fc = maker_linear(m, x, 10, 1);
    if (bits) {
        quantize_somehow(m, x, bits, 2.0f);
        maker_quantize_weight(m, fc, bits);
    }
}

static void test_resnet_float(void **state) {
    (void)state;
    struct maker m;
    make_resnet(&m, 5, 0, 1);
    struct outcome outcome = check(&m, 1.0f);
    assert_string_equal(outcome.execution, "float");
    assert_null(strstr(outcome.kernels, "batch_norm"));
    assert_null(strstr(outcome.kernels, "relu"));
    maker_free(&m);
}

static void test_resnet_integer(void **state) {
    (void)state;
    for (int32_t bits = 2; bits <= 12; bits++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            struct maker m;
            make_resnet(&m, 1000 * seed + (uint64_t)bits, bits, 0);
            struct outcome outcome = check(&m, 1.0f);
            assert_string_equal(outcome.execution, "integer");
            assert_non_null(strstr(outcome.kernels, bits <= 8 ? "ref_add_i8" : "ref_add_i16"));
            maker_free(&m);
        }
    }
}

/* Batch norm not folded: the convolutions run in float, on the quantized weights' values. */
static void test_resnet_unfolded(void **state) {
    (void)state;
    struct maker m;
    make_resnet(&m, 6, 8, 1);
    struct outcome outcome = check(&m, 1.0f);
    assert_string_equal(outcome.execution, "mixed");
    assert_null(strstr(outcome.kernels, "ref_conv2d_i8"));
    assert_non_null(strstr(outcome.kernels, "ref_linear_i8"));
    maker_free(&m);
}

/* A convolution that is read twice, the second time by a relu: its own value is stored too. */
static void test_two_readers(void **state) {
    (void)state;
    for (int quantized = 0; quantized < 2; quantized++) {
        struct maker m;
        maker_init(&m, 11, 6, 6, 2);
        int32_t conv = maker_conv(&m, 0, 5, 3, 1, 1, 1, 1);
        int32_t moved = maker_pool(&m, PARE_OP_MAX_POOL, conv, 1, 1, 0);
        int32_t relu = maker_simple(&m, PARE_OP_RELU, conv);
        int32_t sum = maker_add(&m, moved, relu);
        int32_t flat = maker_simple(&m, PARE_OP_FLATTEN, sum);
        int32_t fc = maker_linear(&m, flat, 4, 1);
        if (quantized) {
            maker_quantize_value(&m, 0, 8, 0.03f, 1);
            maker_quantize_value(&m, conv, 8, 0.02f, -7);
            maker_quantize_value(&m, sum, 8, 0.04f, -9);
            maker_quantize_weight(&m, conv, 8);
            maker_quantize_weight(&m, fc, 8);
        }
        struct outcome outcome = check(&m, 1.0f);
        assert_string_equal(outcome.kernels,
                            quantized ? "ref_quantize_i8 ref_conv2d_i8 ref_max_pool_i8 "
                                        "ref_requantize_i8 ref_add_i8 ref_linear_i8 "
                                      : "ref_conv2d_f32 ref_max_pool_f32 ref_relu_f32 ref_add_f32 "
                                        "ref_linear_f32 ");
        maker_free(&m);
    }
}

/* Everything at random: operators, shapes, groups, which values and weights are quantized and to
 * how many bits. */
static int32_t random_layer(struct maker *m, int32_t x, int32_t k) {
    const int32_t *d = m->nodes[x]->dims;
    int32_t kernel = maker_between(&m->random, 1, d[0] < 5 ? d[0] : 5);
    int32_t stride = maker_between(&m->random, 1, 2);
    int32_t pad = maker_between(&m->random, 0, kernel / 2);
    int32_t groups = d[2] % 2 == 0 && maker_between(&m->random, 0, 2) == 0 ? 2 : 1;
    int32_t out;
    switch (maker_between(&m->random, 0, 8)) {
    case 0:
    case 1:
    case 2:
        pad += maker_between(&m->random, 0, 7) == 0 ? kernel : 0;
        out = maker_conv(m, x, groups * maker_between(&m->random, 1, 20), kernel, stride, pad,
                         groups, maker_between(&m->random, 0, 1));
        break;
    case 3:
        out = maker_pool(m, PARE_OP_MAX_POOL, x, kernel, stride, pad);
        break;
    case 4:
        out = maker_pool(m, PARE_OP_AVG_POOL, x, kernel, stride, 0);
        break;
    case 5:
        out = maker_simple(m, PARE_OP_RELU, x);
        break;
    case 6:
        out = maker_shortcut(m, x, d[2] + maker_between(&m->random, 0, 5), stride);
        break;
    case 7:
        out = maker_batch_norm(m, x);
        break;
    default:
        out = maker_add(m, x, k > 0 ? maker_simple(m, PARE_OP_RELU, x) : x);
        break;
    }
    return out;
}

/* Not on a relu and what it reads at once: naive.c has no rule for equal grids there. */
static int may_quantize(const struct maker *m, int32_t i) {
    const pare_node *node = m->nodes[i];
    return node->op != PARE_OP_SOFTMAX &&
           !(node->op == PARE_OP_RELU && m->nodes[node->inputs[0]]->activation.bits != 0 &&
             m->nodes[node->inputs[0]]->op == PARE_OP_BATCH_NORM);
}

static void test_random_graphs(void **state) {
    (void)state;
    int32_t n_mixed = 0;
    int32_t n_integer = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct maker m;
        uint64_t r = seed * 77 + 5;
        maker_init(&m, seed, maker_between(&r, 1, 11), maker_between(&r, 5, 11),
                   maker_between(&r, 1, 4));
        int32_t x = 0;
        int32_t n_layers = maker_between(&m.random, 1, 6);
        for (int32_t k = 0; k < n_layers && m.nodes[x]->dims[1] >= 5; k++) {
            x = random_layer(&m, x, k);
        }
        x = maker_simple(
            &m, maker_between(&m.random, 0, 1) ? PARE_OP_FLATTEN : PARE_OP_GLOBAL_AVG_POOL, x);
        x = maker_linear(&m, x, maker_between(&m.random, 2, 40), 1);
        if (maker_between(&m.random, 0, 3) == 0) {
            maker_simple(&m, PARE_OP_SOFTMAX, x);
        }
        int32_t share = maker_between(&m.random, 3, 9); /* tenths quantized */
        int32_t most = maker_between(&m.random, 0, 3) == 0 ? 16 : 8;
        for (int32_t i = 0; i < m.graph.n_nodes; i++) {
            int yes = maker_between(&m.random, 0, 9) <= share;
            if (yes && may_quantize(&m, i)) {
                quantize_somehow(&m, i, maker_between(&m.random, 2, most), 4.0f);
            }
            if (m.nodes[i]->weights[PARE_ROLE_WEIGHT] && maker_between(&m.random, 0, 9) <= share) {
                switch (maker_between(&m.random, 0, 4)) {
                case 0:
                    maker_ternary_weight(&m, i);
                    break;
                case 1:
                    maker_binary_weight(&m, i);
                    break;
                default:
                    maker_quantize_weight(&m, i, maker_between(&m.random, 2, most));
                    break;
                }
            }
        }
        struct outcome outcome = check(&m, 1.0f);
        n_mixed += strcmp(outcome.execution, "mixed") == 0;
        n_integer += strcmp(outcome.execution, "integer") == 0;
        maker_free(&m);
    }
    /* The sample is one that means something. */
    assert_true(n_mixed >= 30);
    assert_true(n_integer >= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lenet_float),     cmocka_unit_test(test_lenet_integer),
        cmocka_unit_test(test_lenet_wide),      cmocka_unit_test(test_lenet_mixed),
        cmocka_unit_test(test_resnet_float),    cmocka_unit_test(test_resnet_integer),
        cmocka_unit_test(test_resnet_unfolded), cmocka_unit_test(test_two_readers),
        cmocka_unit_test(test_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
