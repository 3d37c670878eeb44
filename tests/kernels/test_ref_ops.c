/* SPDX-License-Identifier: MIT */
/* Operators of the ref backend one by one: floats against long double, integers against cases
 * worked out by hand and against exact sums. */
#include "check/graph_maker.h"
#include "host_table.h"
#include "naive.h"
#include "ref.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNIT 0x1p-24L /* half the distance from 1 to the next float */

/* Compiles, runs n images and returns the names of the kernels. */
static void run_graph(struct maker *m, const float *images, int32_t n, float *output,
                      char kernels[1024]) {
    struct test_host host;
    void *instance;
    void *exe;
    const pare_executable_info *info;
    test_host_init(&host);
    assert_int_equal(ref_backend.create(&host.host, NULL, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, n, NULL};
    if (ref_backend.compile(instance, &m->graph, &options, &exe) != PARE_OK) {
        fail_msg("compile: %s", host.text);
    }
    if (ref_backend.run(exe, images, n, output) != PARE_OK) {
        fail_msg("run: %s", host.text);
    }
    assert_int_equal(ref_backend.executable_info(exe, &info), PARE_OK);
    kernels[0] = '\0';
    for (int32_t k = 0; k < info->n_kernels; k++) {
        size_t used = strlen(kernels);
        snprintf(kernels + used, 1024 - used, "%s%s ", info->kernels[k]->kernel,
                 info->kernels[k]->is_fallback ? "(fallback)" : "");
    }
    ref_backend.executable_destroy(exe);
    ref_backend.destroy(instance);
    assert_int_equal(host.n_live, 0);
    assert_int_equal(host.damaged, 0);
}

/* ---- float ---- */

struct shape {
    int32_t h, in_c, out_c, kernel, stride, pad, groups, batch_norm;
};

/* One output of a convolution in long double, and the sum of magnitudes that bounds its error. */
static long double conv_exact(const struct maker *m, const struct shape *s, const float *x,
                              int32_t oy, int32_t ox, int32_t oc, long double *magnitude) {
    const pare_node *node = m->graph.nodes[1];
    const float *w = node->weights[PARE_ROLE_WEIGHT]->data;
    int32_t per_group = s->in_c / s->groups;
    int32_t first = oc / (s->out_c / s->groups) * per_group;
    long double gain = 1.0L;
    long double shift = 0.0L;
    if (s->batch_norm) {
        const pare_node *bn = m->graph.nodes[2];
        gain = (long double)bn->weights[PARE_ROLE_GAMMA]->data[oc] /
               sqrtl((long double)bn->weights[PARE_ROLE_VAR]->data[oc] + (long double)bn->eps);
        shift = (long double)bn->weights[PARE_ROLE_BETA]->data[oc] -
                (long double)bn->weights[PARE_ROLE_MEAN]->data[oc] * gain;
    }
    long double sum = (long double)node->weights[PARE_ROLE_BIAS]->data[oc] * gain + shift;
    *magnitude = fabsl(sum);
    for (int32_t i = 0; i < s->kernel; i++) {
        for (int32_t j = 0; j < s->kernel; j++) {
            int32_t y = oy * s->stride - s->pad + i;
            int32_t xx = ox * s->stride - s->pad + j;
            for (int32_t c = 0; c < per_group && y >= 0 && xx >= 0 && y < s->h && xx < s->h; c++) {
                long double term =
                    (long double)x[(y * s->h + xx) * s->in_c + first + c] * gain *
                    (long double)w[((oc * s->kernel + i) * s->kernel + j) * per_group + c];
                sum += term;
                *magnitude += fabsl(term);
            }
        }
    }
    return sum;
}

static void check_conv_shape(const struct shape *s, int relu) {
    struct maker m;
    char kernels[1024];
    maker_init(&m, (uint64_t)(s->h * 1000 + s->out_c), s->h, s->h, s->in_c);
    int32_t at = maker_conv(&m, 0, s->out_c, s->kernel, s->stride, s->pad, s->groups, 1);
    at = s->batch_norm ? maker_batch_norm(&m, at) : at;
    at = relu ? maker_simple(&m, PARE_OP_RELU, at) : at;
    int32_t out_h = m.nodes[at]->dims[0];
    maker_simple(&m, PARE_OP_FLATTEN, at);
    int32_t n_in = s->h * s->h * s->in_c;
    int32_t n_out = m.graph.n_classes;
    float *x = calloc((size_t)n_in, sizeof *x);
    float *y = calloc((size_t)n_out, sizeof *y);
    for (int32_t k = 0; k < n_in; k++) {
        x[k] = maker_normal(&m.random);
    }
    run_graph(&m, x, 1, y, kernels);
    assert_string_equal(kernels, "ref_conv2d_f32 ");
    int32_t terms = s->kernel * s->kernel * s->in_c / s->groups;
    for (int32_t k = 0; k < n_out; k++) {
        long double magnitude;
        int32_t pixel = k / s->out_c;
        long double wanted =
            conv_exact(&m, s, x, pixel / out_h, pixel % out_h, k % s->out_c, &magnitude);
        wanted = relu && wanted < 0.0L ? 0.0L : wanted;
        if (!(fabsl((long double)y[k] - wanted) <= (terms + 3) * UNIT * magnitude)) {
            fail_msg("conv %dx%d %d->%d kernel %d stride %d pad %d groups %d: output %d is %.9g, "
                     "wanted %.9Lg",
                     s->h, s->h, s->in_c, s->out_c, s->kernel, s->stride, s->pad, s->groups, k,
                     (double)y[k], wanted);
        }
    }
    free(x);
    free(y);
    maker_free(&m);
}

static void test_conv_f32(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {1, 1, 1, 1, 1, 0, 1, 0},  {1, 3, 17, 1, 1, 0, 1, 1}, {5, 1, 20, 5, 1, 0, 1, 0},
        {7, 3, 16, 3, 1, 1, 1, 1}, {8, 5, 15, 3, 2, 1, 1, 0}, {9, 4, 33, 5, 2, 2, 1, 1},
        {6, 6, 6, 3, 1, 1, 6, 0},  {6, 4, 10, 3, 2, 0, 2, 1}, {3, 2, 4, 3, 1, 2, 1, 0},
        {11, 2, 8, 2, 3, 1, 2, 0}, {4, 16, 9, 1, 2, 0, 1, 0}, {2, 3, 5, 1, 1, 2, 1, 1},
        {3, 2, 6, 2, 2, 5, 2, 0}, /* windows of padding alone */
    };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        check_conv_shape(&shapes[k], 0);
        check_conv_shape(&shapes[k], 1);
    }
}

static void test_linear_f32(void **state) {
    (void)state;
    static const int32_t sizes[][2] = {{1, 1}, {7, 3}, {16, 16}, {31, 17}, {800, 65}, {3, 130}};
    char kernels[1024];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int32_t in = sizes[k][0];
        int32_t out = sizes[k][1];
        struct maker m;
        maker_init(&m, k, 1, 1, in);
        int32_t fc = maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, 0), out, 1);
        float *x = calloc((size_t)(6 * in), sizeof *x);
        float *y = calloc((size_t)(6 * out), sizeof *y);
        for (int32_t i = 0; i < 6 * in; i++) {
            x[i] = maker_normal(&m.random);
        }
        run_graph(&m, x, 6, y, kernels);
        const float *w = m.nodes[fc]->weights[PARE_ROLE_WEIGHT]->data;
        const float *bias = m.nodes[fc]->weights[PARE_ROLE_BIAS]->data;
        for (int32_t i = 0; i < 6 * out; i++) {
            long double sum = (long double)bias[i % out];
            long double magnitude = fabsl(sum);
            for (int32_t c = 0; c < in; c++) {
                long double term =
                    (long double)x[i / out * in + c] * (long double)w[i % out * in + c];
                sum += term;
                magnitude += fabsl(term);
            }
            assert_true(fabsl((long double)y[i] - sum) <= (in + 2) * UNIT * magnitude);
        }
        free(x);
        free(y);
        maker_free(&m);
    }
}

static void test_softmax(void **state) {
    (void)state;
    struct maker m;
    char kernels[1024];
    maker_init(&m, 3, 1, 1, 3);
    maker_simple(&m, PARE_OP_SOFTMAX, maker_simple(&m, PARE_OP_FLATTEN, 0));
    const float x[6] = {0.0f, 1.0f, 2.0f, 3e38f, -3e38f, 3e38f};
    float y[6];
    run_graph(&m, x, 2, y, kernels);
    assert_string_equal(kernels, "ref_softmax_f32 ");
    double sum = 1.0 + exp(1.0) + exp(2.0);
    for (int k = 0; k < 3; k++) {
        assert_true(fabs((double)y[k] - exp((double)k) / sum) < 1e-7);
    }
    assert_true(y[3] == 0.5f && y[4] == 0.0f && y[5] == 0.5f);
    maker_free(&m);
}

/* ---- integers by hand ---- */

static void set_weight(struct maker *m, int32_t node, float scale, const int16_t *codes,
                       int64_t n) {
    maker_quantize_weight(m, node, 8);
    pare_weight *w = maker_weight(m, node, PARE_ROLE_WEIGHT);
    assert_int_equal(w->n_elems, n);
    for (int32_t c = 0; c < w->quant.n; c++) {
        ((float *)(uintptr_t)w->quant.scale)[c] = scale;
    }
    for (int64_t k = 0; k < n; k++) {
        ((int16_t *)(uintptr_t)w->codes)[k] = codes[k];
        ((float *)(uintptr_t)w->data)[k] = scale * (float)codes[k];
    }
}

/* The input's codes are seen in the output of an identity: flatten, dequantized. */
static void test_quantize_by_hand(void **state) {
    (void)state;
    struct maker m;
    char kernels[1024];
    const float x[10] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 125.5f, 126.49f, -1e30f, 3e38f};
    /* z = 2: codes in [-128,127] are reals in [-130,125]; ties go to even before z is added */
    const float wanted[10] = {0.0f,  2.0f,   2.0f,   0.0f,    -2.0f,
                              -2.0f, 125.0f, 125.0f, -130.0f, 125.0f};
    float y[10];
    maker_init(&m, 1, 1, 1, 10);
    maker_quantize_value(&m, 0, 8, 1.0f, 2);
    maker_simple(&m, PARE_OP_FLATTEN, 0);
    run_graph(&m, x, 1, y, kernels);
    assert_string_equal(kernels, "ref_quantize_i8 ref_dequantize_i8 ");
    for (int k = 0; k < 10; k++) {
        assert_true(y[k] == wanted[k]);
    }
    maker_free(&m);
}

/* Division, not multiplication with the reciprocal: on numbers where the two differ. */
static void test_quantize_divides(void **state) {
    (void)state;
    struct maker m;
    char kernels[1024];
    float x[4096];
    float y[4096];
    int32_t n_telling = 0;
    maker_init(&m, 1, 64, 64, 1);
    float scale = 0.0123f;
    for (int32_t k = 0; k < 4096; k++) {
        x[k] = ((float)(k % 64) + 0.5f) * scale * (1.0f + (float)(k / 64 - 32) * 0x1p-23f);
        n_telling += rintf(x[k] / scale) != rintf(x[k] * (1.0f / scale));
    }
    assert_true(n_telling > 10);
    maker_quantize_value(&m, 0, 8, scale, 0);
    maker_simple(&m, PARE_OP_FLATTEN, 0);
    run_graph(&m, x, 1, y, kernels);
    for (int32_t k = 0; k < 4096; k++) {
        assert_true(y[k] == rintf(x[k] / scale) * scale);
    }
    maker_free(&m);
}

/* s_a = s_w = 1, s_o = 2: out = rne(acc / 2), so every odd sum is a tie. */
static void test_linear_ties_and_saturation(void **state) {
    (void)state;
    char kernels[1024];
    for (int relu = 0; relu < 2; relu++) {
        struct maker m;
        const int16_t codes[2] = {1, 100};
        const float x[8] = {1.0f, 3.0f, 5.0f, -1.0f, -3.0f, -5.0f, 120.0f, -120.0f};
        const float half[8] = {0.0f, 2.0f, 2.0f, 0.0f, -2.0f, -2.0f, 60.0f, -60.0f};
        float y[16];
        maker_init(&m, 1, 1, 1, 1);
        maker_quantize_value(&m, 0, 8, 1.0f, 0);
        int32_t fc = maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, 0), 2, 0);
        set_weight(&m, fc, 1.0f, codes, 2);
        maker_quantize_value(&m, relu ? maker_simple(&m, PARE_OP_RELU, fc) : fc, 8, 2.0f, -3);
        run_graph(&m, x, 8, y, kernels);
        assert_string_equal(kernels, "ref_quantize_i8 ref_linear_i8 ref_dequantize_i8 ");
        for (int k = 0; k < 8; k++) {
            float rounded = relu && half[k] < 0.0f ? 0.0f : half[k];
            assert_true(y[2 * k] == 2.0f * rounded);
            float big = x[k] * 50.0f; /* exact; codes are within [-128,127] + 3 */
            big = big > 130.0f ? 130.0f : big < -125.0f ? -125.0f : big;
            big = relu && big < 0.0f ? 0.0f : big;
            assert_true(y[2 * k + 1] == 2.0f * big);
        }
        maker_free(&m);
    }
}

/* m_a = m_b = 0.25: sums of quarters, ties at halves. */
static void test_add_by_hand(void **state) {
    (void)state;
    struct maker m;
    char kernels[1024];
    const float x[6] = {1.0f, 3.0f, 5.0f, -1.0f, -3.0f, 127.0f};
    const float wanted[6] = {0.0f, 2.0f, 2.0f, 0.0f, -2.0f, 64.0f}; /* 2 x / 4 */
    float y[6];
    maker_init(&m, 1, 1, 1, 6);
    maker_quantize_value(&m, 0, 8, 1.0f, 0);
    int32_t sum = maker_add(&m, 0, 0);
    maker_quantize_value(&m, sum, 8, 4.0f, 5);
    maker_simple(&m, PARE_OP_FLATTEN, sum);
    run_graph(&m, x, 1, y, kernels);
    assert_string_equal(kernels, "ref_quantize_i8 ref_add_i8 ref_dequantize_i8 ");
    for (int k = 0; k < 6; k++) {
        assert_true(y[k] == 4.0f * wanted[k]);
    }
    maker_free(&m);
}

/* Mean of two: halves are ties. Max on codes with a zero point at the end of the range. */
static void test_pools_by_hand(void **state) {
    (void)state;
    static const pare_op ops[] = {PARE_OP_AVG_POOL, PARE_OP_MAX_POOL};
    const float x[8] = {0.0f, 1.0f, 1.0f, 2.0f, -1.0f, 0.0f, -3.0f, -2.0f};
    const float wanted[2][4] = {{0.0f, 2.0f, 0.0f, -2.0f}, {1.0f, 2.0f, 0.0f, -2.0f}};
    char kernels[1024];
    for (int k = 0; k < 2; k++) {
        struct maker m;
        float y[4];
        maker_init(&m, 1, 1, 8, 1);
        maker_quantize_value(&m, 0, 8, 1.0f, 127 - k * 4);
        int32_t pool = maker_pool(&m, ops[k], 0, 1, 1, 0);
        pare_node *node = maker_node(&m, pool);
        node->kernel_w = node->stride_w = 2;
        node->dims[1] = 4;
        if (k == 0) {
            maker_quantize_value(&m, pool, 8, 1.0f, 0);
        }
        maker_simple(&m, PARE_OP_FLATTEN, pool);
        float shifted[8];
        for (int i = 0; i < 8; i++) {
            shifted[i] = x[i] - 10.0f; /* below the top of the range */
        }
        run_graph(&m, k == 0 ? shifted : x, 1, y, kernels);
        for (int i = 0; i < 4; i++) {
            assert_true(y[i] == wanted[k][i] - (k == 0 ? 10.0f : 0.0f));
        }
        maker_free(&m);
    }
}

/* m = float(s_a / (n s_o)) is rounded once. Scales and a sum are looked for with which a multiplier
 * that was rounded on the way gives another code. */
static void test_avg_pool_multiplier(void **state) {
    (void)state;
    uint64_t random = 1;
    int32_t n_told = 0;
    char kernels[1024];
    for (int32_t k = 0; k < 100000 && n_told < 50; k++) {
        float s_a = 0.01f + 0.0001f * (float)maker_between(&random, 0, 1 << 20);
        int32_t sum = maker_between(&random, 10, 9 * 127);
        double tie =
            (double)maker_between(&random, 0, 126) + 0.5; /* what the product is close to */
        float s_o = (float)((double)s_a * (double)sum / (9.0 * tie));
        float once = (float)((double)s_a / (9.0 * (double)s_o));
        float twice = (float)((double)(float)((double)s_a / (double)s_o) / 9.0);
        float code = rintf((float)sum * once);
        if (code == rintf((float)sum * twice)) {
            continue;
        }
        struct maker m;
        float x[9];
        float y;
        maker_init(&m, 1, 3, 3, 1);
        maker_quantize_value(&m, 0, 8, s_a, 0);
        for (int32_t i = 0; i < 9; i++) {
            x[i] = (float)(sum / 9 + (i < sum % 9)) * s_a;
        }
        int32_t pool = maker_simple(&m, PARE_OP_GLOBAL_AVG_POOL, 0);
        maker_quantize_value(&m, pool, 8, s_o, 0);
        run_graph(&m, x, 1, &y, kernels);
        assert_string_equal(kernels, "ref_quantize_i8 ref_avg_pool_i8 ref_dequantize_i8 ");
        assert_true(y == code * s_o);
        maker_free(&m);
        n_told++;
    }
    assert_int_equal(n_told, 50);
}

/* The largest sums that int32 holds, and one more term: exact on both paths, with the zero point at
 * either end. */
static void check_accumulator_limit(int32_t n, int at_top, const char *wanted_kernels) {
    char kernels[1024];
    struct maker m;
    int16_t *codes = calloc((size_t)(2 * n), sizeof *codes);
    float *x = calloc((size_t)n, sizeof *x);
    float y[2];
    maker_init(&m, 1, 1, 1, n);
    maker_quantize_value(&m, 0, 8, 1.0f, at_top ? 127 : -128);
    int32_t fc = maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, 0), 2, 0);
    for (int32_t i = 0; i < n; i++) {
        codes[i] = 127;
        codes[n + i] = -127;
        x[i] = at_top ? -1e9f : 1e9f; /* |a - z| = 255 */
    }
    set_weight(&m, fc, 1.0f, codes, 2 * (int64_t)n);
    run_graph(&m, x, 1, y, kernels);
    assert_string_equal(kernels, wanted_kernels);
    float sum = (float)((int64_t)n * 255 * 127);
    assert_true(y[0] == (at_top ? -sum : sum));
    assert_true(y[1] == (at_top ? sum : -sum));
    free(codes);
    free(x);
    maker_free(&m);
}

static void test_accumulator_limit(void **state) {
    (void)state;
    for (int at_top = 0; at_top < 2; at_top++) {
        /* 66311 * 255 * 127 = 2147481735 <= 2^31 - 1 < 66312 * 255 * 127 */
        check_accumulator_limit(66311, at_top, "ref_quantize_i8 ref_linear_i8 ");
        check_accumulator_limit(66312, at_top,
                                "ref_quantize_i8 ref_requantize_i16 ref_linear_i16(fallback) ");
    }
}

/* rne(float(acc) * m + b): the bias is not rounded before the sum, whose ties go to even. */
static void test_bias_of_codes(void **state) {
    (void)state;
    struct maker m;
    char kernels[1024];
    const int16_t codes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const float x[2] = {1.0f, -1.0f};
    float y[16];
    maker_init(&m, 1, 1, 1, 1);
    maker_quantize_value(&m, 0, 8, 1.0f, 0);
    int32_t fc = maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, 0), 8, 1);
    set_weight(&m, fc, 1.0f, codes, 8); /* s_a s_w = 1 */
    maker_quantize_value(&m, fc, 8, 2.0f, 7);
    float *bias = (float *)(uintptr_t)maker_weight(&m, fc, PARE_ROLE_BIAS)->data;
    /* the sums are b + 0.5 and b - 0.5; 0.25 was no whole number of s_a s_w / s_o */
    const float b[8] = {0.0f, 1.0f, 2.0f, -1.0f, 0.25f, -0.25f, 0x1p-20f, 1e9f};
    const float wanted[16] = {0.0f,  2.0f, 2.0f, 0.0f,  1.0f, 0.0f,  1.0f, 120.0f,
                              -0.0f, 0.0f, 2.0f, -2.0f, 0.0f, -1.0f, 0.0f, 120.0f};
    for (int c = 0; c < 8; c++) {
        bias[c] = b[c] * 2.0f;
    }
    run_graph(&m, x, 2, y, kernels);
    assert_string_equal(kernels, "ref_quantize_i8 ref_linear_i8 ref_dequantize_i8 ");
    for (int k = 0; k < 16; k++) {
        if (y[k] != 2.0f * wanted[k]) {
            fail_msg("output %d is %g, wanted %g", k, (double)y[k], 2.0 * (double)wanted[k]);
        }
    }
    maker_free(&m);
}

/* s_o = 3, acc = 93 * 11 = 1023: acc * float(1/3) is 341.00001, which rounds to 341. With b =
 * -340.5 the sum is a tie and gives 0; were the product not rounded (a fused multiply-add), 1. */
static void test_product_is_rounded_before_the_bias(void **state) {
    (void)state;
    char kernels[1024];
    for (int bits = 8; bits <= 16; bits += 8) {
        struct maker m;
        const int16_t codes[1] = {11};
        const float x = 93.0f;
        float y;
        maker_init(&m, 1, 1, 1, 1);
        maker_quantize_value(&m, 0, bits, 1.0f, 0);
        int32_t fc = maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, 0), 1, 1);
        set_weight(&m, fc, 1.0f, codes, 1);
        *(float *)(uintptr_t)maker_weight(&m, fc, PARE_ROLE_BIAS)->data = -1021.5f;
        assert_true(fmaf(1023.0f, 1.0f / 3.0f, -340.5f) > 0.5f);
        maker_quantize_value(&m, fc, 8, 3.0f, 0);
        run_graph(&m, &x, 1, &y, kernels);
        assert_non_null(strstr(kernels, bits == 8 ? "ref_linear_i8" : "ref_linear_i16"));
        assert_true(y == 0.0f);
        maker_free(&m);
    }
}

/* 3 * float(1/3) rounds to 1; a bias takes no layer to int64, however large. */
static void test_bias_of_logits(void **state) {
    (void)state;
    struct maker m;
    char kernels[1024];
    const int16_t codes[4] = {1, 1, 2, 1};
    const float x = 3.0f;
    const float bias[4] = {-1.0f, 0x1p-20f, -0.5f, 0x1p40f};
    const float wanted[4] = {0.0f, 1.0f + 0x1p-20f, 1.5f, 0x1p40f};
    float y[4];
    maker_init(&m, 1, 1, 1, 1);
    maker_quantize_value(&m, 0, 8, 1.0f, 0);
    int32_t fc = maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, 0), 4, 1);
    set_weight(&m, fc, 1.0f / 3.0f, codes, 4);
    memcpy((float *)(uintptr_t)maker_weight(&m, fc, PARE_ROLE_BIAS)->data, bias, sizeof bias);
    run_graph(&m, &x, 1, y, kernels);
    assert_string_equal(kernels, "ref_quantize_i8 ref_linear_i8 ");
    for (int c = 0; c < 4; c++) {
        assert_true(y[c] == wanted[c]);
    }
    maker_free(&m);
}

/* ---- simulated against deployed ---- */

/* On one layer the integers and the rounded reals differ by the rounding of multiplier, product and
 * bias to float: only a sum that is almost a tie can give another code, and then it is the next. */
static void test_deployed_is_as_simulated(void **state) {
    (void)state;
    char kernels[1024];
    int64_t n_equal = 0;
    int64_t n_all = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        int32_t bits = 2 + (int32_t)(seed % 7);
        struct maker m;
        struct naive_value values[8];
        maker_init(&m, seed, 8, 8, 3);
        maker_quantize_value(&m, 0, bits, 3.0f / (float)(1 << (bits - 1)), seed % 2 == 0 ? 0 : -1);
        int32_t conv = maker_conv(&m, 0, 16, 3, 1, 1, 1, 1);
        int32_t end = seed % 3 == 0 ? conv : maker_simple(&m, PARE_OP_RELU, conv);
        maker_quantize_weight(&m, conv, bits);
        maker_quantize_value(&m, end, bits, 4.0f / (float)(1 << (bits - 1)), 0);
        maker_simple(&m, PARE_OP_FLATTEN, end);
        float x[8 * 8 * 3];
        float deployed[8 * 8 * 16];
        float simulated[8 * 8 * 16];
        for (int k = 0; k < 8 * 8 * 3; k++) {
            x[k] = maker_normal(&m.random);
        }
        run_graph(&m, x, 1, deployed, kernels);
        assert_non_null(strstr(kernels, "ref_conv2d_i8"));
        naive_simulate(&m.graph, x, values, simulated);
        naive_free(&m.graph, values);
        float code = m.nodes[end]->activation.scale[0];
        for (int k = 0; k < 8 * 8 * 16; k++) {
            assert_true(fabsf(deployed[k] - simulated[k]) <= code * 1.001f);
            n_equal += deployed[k] == simulated[k];
            n_all++;
        }
        maker_free(&m);
    }
    assert_true(n_equal * 1000 >= n_all * 999);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_f32),
        cmocka_unit_test(test_linear_f32),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_quantize_by_hand),
        cmocka_unit_test(test_quantize_divides),
        cmocka_unit_test(test_linear_ties_and_saturation),
        cmocka_unit_test(test_add_by_hand),
        cmocka_unit_test(test_pools_by_hand),
        cmocka_unit_test(test_avg_pool_multiplier),
        cmocka_unit_test(test_accumulator_limit),
        cmocka_unit_test(test_bias_of_codes),
        cmocka_unit_test(test_product_is_rounded_before_the_bias),
        cmocka_unit_test(test_bias_of_logits),
        cmocka_unit_test(test_deployed_is_as_simulated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
