/* SPDX-License-Identifier: MIT */
/* The executor's kernels against plain loops, on every instruction set this machine has. */
#include "train/kernel.h"

#include "train_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MAX_ELEMS = 1 << 15, GUARD = 64 };

static float a[MAX_ELEMS], b[MAX_ELEMS], c[MAX_ELEMS + 2 * GUARD], want[MAX_ELEMS + 2 * GUARD];

static void naive_gemm(const struct gemm *g, float *out) {
    for (int32_t r = 0; r < g->n_r; r++) {
        for (int32_t m = 0; m < g->n_m; m++) {
            for (int32_t n = 0; n < g->n_n; n++) {
                double sum = g->bias ? (double)g->bias[n] : 0.0;
                for (int32_t j = 0; j < g->n_j; j++) {
                    for (int32_t k = 0; k < g->n_k; k++) {
                        sum += (double)g->a[r * g->a_r + m * g->a_m + j * g->a_j + k * g->a_k] *
                               (double)g->b[r * g->b_r + j * g->b_j + k * g->b_k + n];
                    }
                }
                float *to = out + r * g->c_r + m * g->c_m + n;
                *to = g->accumulate ? *to + (float)sum : (float)sum;
            }
        }
    }
}

/* Every element of c, and the guards around it: what the product does not cover must not change. */
static void check_gemm(const struct kernels *k, struct gemm g) {
    fill_values("c", MAX_ELEMS + 2 * GUARD, 1.0, 0.0, c);
    memcpy(want, c, sizeof c);
    g.c = want + GUARD;
    naive_gemm(&g, want + GUARD);
    g.c = c + GUARD;
    k->gemm(&g);
    for (int32_t i = 0; i < MAX_ELEMS + 2 * GUARD; i++) {
        if (!(fabs((double)c[i] - (double)want[i]) <= 1e-4)) {
            fail_msg("%s: gemm r %d m %d n %d j %d k %d accumulate %d bias %d: element %d is %g, "
                     "wanted %g",
                     k->name, g.n_r, g.n_m, g.n_n, g.n_j, g.n_k, g.accumulate, g.bias != NULL,
                     i - GUARD, (double)c[i], (double)want[i]);
        }
    }
}

static void gemm_shapes(const struct kernels *k, int32_t n_m, int32_t n_n, int32_t accumulate) {
    const int32_t n_k = 7, n_j = 3, n_r = 2;
    struct gemm g = {.a = a, .b = b, .n_r = n_r, .n_m = n_m, .n_n = n_n, .n_j = n_j, .n_k = n_k};
    g.accumulate = accumulate;
    g.bias = accumulate ? NULL : b + 5;
    g.c_m = n_n + 3;
    g.c_r = n_m * g.c_m;
    g.b_k = n_n + 2;
    g.b_j = n_k * g.b_k;
    g.a_k = 1; /* as forward: a is (r, m, j, k) with gaps */
    g.a_j = n_k + 1;
    g.a_m = n_j * g.a_j;
    g.a_r = n_m * g.a_m;
    check_gemm(k, g);
    g.a_m = 1; /* as a weight gradient: b differs by r */
    g.a_k = n_m + 1;
    g.a_j = n_k * g.a_k;
    g.a_r = 0;
    g.b_r = 11;
    check_gemm(k, g);
    g.n_j = 0; /* an empty sum */
    check_gemm(k, g);
}

static void test_gemm(void **state) {
    (void)state;
    static const int32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 31};
    static const int32_t columns[] = {1,  3,  4,  5,  8,  15, 16, 17, 20,
                                      31, 32, 33, 47, 48, 49, 64, 65};
    fill_values("a", MAX_ELEMS, 1.0, 0.0, a);
    fill_values("b", MAX_ELEMS, 1.0, 0.0, b);
    for (int32_t i = 0; kernels_at(i); i++) {
        for (size_t m = 0; m < sizeof rows / sizeof *rows; m++) {
            for (size_t n = 0; n < sizeof columns / sizeof *columns; n++) {
                gemm_shapes(kernels_at(i), rows[m], columns[n], 0);
                gemm_shapes(kernels_at(i), rows[m], columns[n], 1);
            }
        }
    }
}

/* Short plain sums, which take a path of their own, and a product without rows. */
static void test_gemm_strips(void **state) {
    (void)state;
    static const int32_t rows[] = {0, 4, 8, 16, 32, 33};
    static const int32_t columns[] = {4, 8, 16, 32, 48, 64};
    fill_values("a", MAX_ELEMS, 1.0, 0.0, a);
    fill_values("b", MAX_ELEMS, 1.0, 0.0, b);
    for (int32_t i = 0; kernels_at(i); i++) {
        for (int32_t n_k = 1; n_k <= 65; n_k += 16) {
            for (size_t m = 0; m < sizeof rows / sizeof *rows; m++) {
                for (size_t n = 0; n < sizeof columns / sizeof *columns; n++) {
                    const int32_t n_m = rows[m], n_n = columns[n];
                    const struct gemm g = {.a = a,
                                           .b = b,
                                           .n_r = 3,
                                           .n_m = n_m,
                                           .n_n = n_n,
                                           .n_j = 1,
                                           .n_k = n_k,
                                           .a_r = n_m * n_k + 1,
                                           .a_m = n_k,
                                           .a_k = 1,
                                           .b_r = n_n * n_k + 2,
                                           .b_k = n_n,
                                           .c_r = n_m * n_n + 3,
                                           .c_m = n_n};
                    check_gemm(kernels_at(i), g);
                }
            }
        }
    }
}

/* Long sums with b shared by the rows are cut at some j and continued: the same numbers. */
static void test_gemm_blocks(void **state) {
    (void)state;
    struct gemm g = {.a = a, .b = b, .n_r = 4, .n_m = 5, .n_n = 33, .n_j = 5, .n_k = 150};
    g.bias = b + 3;
    g.a_k = 1;
    g.a_m = 20;
    g.a_j = 160;
    g.a_r = 100;
    g.b_k = 35;
    g.b_j = 150 * 35;
    g.c_m = 33;
    g.c_r = 5 * 33;
    fill_values("a", MAX_ELEMS, 1.0, 0.0, a);
    fill_values("b", MAX_ELEMS, 1.0, 0.0, b);
    for (int32_t i = 0; kernels_at(i); i++) {
        check_gemm(kernels_at(i), g);
    }
}

/* Ties go to even, values outside are clamped, and results lie on the grid exactly. */
static void test_quantize(void **state) {
    (void)state;
    static const float inputs[] = {0.25f,  0.75f, 1.25f, -0.25f, -0.75f,  1e9f, -1e9f, 0.0f,
                                   -0.0f,  63.4f, 63.6f, 64.1f,  -64.1f,  0.1f, 31.9f, 3.7f,
                                   1e-30f, 7.25f, 7.75f, 8.25f,  -63.75f, 1.0f, 2.5f};
    enum { N = sizeof inputs / sizeof *inputs };
    const struct quant_params q = {.scale = 0.5f, .zero_point = -3.0f, .qmin = -128, .qmax = 127};
    for (int32_t i = 0; kernels_at(i); i++) {
        float x[N];
        memcpy(x, inputs, sizeof x);
        kernels_at(i)->quantize(x, N, &q);
        for (int32_t e = 0; e < N; e++) {
            const float code = nearbyintf(inputs[e] / q.scale) + q.zero_point;
            const float clamped = fminf(fmaxf(code, q.qmin), q.qmax);
            assert_true(x[e] == q.scale * (clamped - q.zero_point));
        }
    }
}

/* Nesterov by PyTorch's formula, in double; the second step uses the first one's momentum. */
static void test_sgd(void **state) {
    (void)state;
    for (int32_t i = 0; kernels_at(i); i++) {
        float w[33], m[33] = {0}, g[33];
        double w_ref[33], m_ref[33] = {0};
        fill_values("w", 33, 1.0, 0.0, w);
        fill_values("g", 33, 1.0, 0.0, g);
        for (int32_t e = 0; e < 33; e++) {
            w_ref[e] = (double)w[e];
        }
        for (int32_t step = 0; step < 3; step++) {
            kernels_at(i)->sgd(w, m, g, 33, 0.1f, 0.9f, 0.01f, 0.5f);
            for (int32_t e = 0; e < 33; e++) {
                const double d = 0.5 * (double)g[e] + 0.01 * w_ref[e];
                m_ref[e] = 0.9 * m_ref[e] + d;
                w_ref[e] -= 0.1 * (d + 0.9 * m_ref[e]);
                assert_true(fabs((double)w[e] - w_ref[e]) < 1e-6);
            }
        }
    }
}

/* A mean a thousand times the deviation does not spoil the variance. */
static void test_moments_far_from_zero(void **state) {
    (void)state;
    for (int32_t i = 0; kernels_at(i); i++) {
        float x[3 * 200], work[2 * 64 + 64];
        double mean[3], m2[3];
        fill_values("x", 600, 1.0, 1000.0, x);
        kernels_at(i)->moments(x, 600, 3, kernel_period(3), work, mean, m2);
        for (int32_t ch = 0; ch < 3; ch++) {
            double sum = 0.0, squares = 0.0;
            for (int32_t p = 0; p < 200; p++) {
                sum += (double)x[p * 3 + ch] / 200.0;
            }
            for (int32_t p = 0; p < 200; p++) {
                squares += ((double)x[p * 3 + ch] - sum) * ((double)x[p * 3 + ch] - sum);
            }
            assert_true(fabs(mean[ch] - sum) < 1e-3);
            assert_true(fabs(m2[ch] - squares) < 1e-4 * squares);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),        cmocka_unit_test(test_gemm_blocks),
        cmocka_unit_test(test_gemm_strips), cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_sgd),         cmocka_unit_test(test_moments_far_from_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
