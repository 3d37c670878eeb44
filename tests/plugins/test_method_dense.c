/* SPDX-License-Identifier: MIT */
/* Products of methods/common/dense: to the bit what plain loops give, for all sizes, strides and
 * instruction sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rng.h"
#include "dense.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 40 };

static float random_of(pare_rng *rng) {
    return (float)(rng_next(rng) >> 40) / 8388608.0f - 1.0f;
}

/* One sum in order, as dense.h says. */
static void plain(const struct dense *d, float *c) {
    for (int64_t i = 0; i < d->n_i; i++) {
        for (int64_t j = 0; j < d->n_j; j++) {
            float sum = 0.0f;
            for (int64_t t = 0; t < d->n_t; t++) {
                sum += d->a[i * d->a_i + t * d->a_t] * d->b[t * d->b_t + j];
            }
            float *to = c + i * d->c_i + j;
            *to = d->accumulate ? *to + sum : sum;
        }
    }
}

static void check(void (*multiply)(const struct dense *), struct dense d) {
    static float a[MOST * MOST], b[MOST * MOST + DENSE_SLACK], got[MOST * MOST], want[MOST * MOST];
    pare_rng rng;
    rng_init(&rng, 3, "dense", (uint64_t)(d.n_i * 1000 + d.n_j));
    for (int k = 0; k < MOST * MOST; k++) {
        a[k] = random_of(&rng);
        b[k] = random_of(&rng);
        got[k] = want[k] = random_of(&rng);
    }
    d.a = a;
    d.b = b;
    d.c = got;
    multiply(&d);
    plain(&d, want);
    assert_memory_equal(got, want, sizeof got); /* nothing beside it is written either */
}

static void check_sizes(void (*multiply)(const struct dense *)) {
    static const int64_t sizes[] = {1, 3, 4, 5, 8, 15, 16, 17, 37};
    enum { N = sizeof sizes / sizeof sizes[0] };
    for (int k = 0; k < N * N * N; k++) {
        const int64_t n_i = sizes[k % N], n_j = sizes[k / N % N], n_t = sizes[k / N / N];
        struct dense d = {.n_i = n_i, .n_j = n_j, .n_t = n_t, .a_i = MOST, .a_t = 1};
        d.b_t = MOST;
        d.c_i = MOST;
        check(multiply, d);
        d.accumulate = 1;
        d.a_i = 1;
        d.a_t = MOST;
        check(multiply, d);
    }
}

static void test_base(void **state) {
    (void)state;
    check_sizes(dense_multiply_base);
}

static void test_best(void **state) {
    (void)state;
    check_sizes(dense_multiply);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_base), cmocka_unit_test(test_best)};
    return cmocka_run_group_tests_name("methods, dense", tests, NULL, NULL);
}
