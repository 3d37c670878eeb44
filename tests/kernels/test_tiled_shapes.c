/* SPDX-License-Identifier: MIT */
/* Small networks of strange shapes, with weights of every width, on every level: the logits are
 * ref's bit for bit. Every allocation, the images and the output end at a protected page, so that
 * reading or writing past one ends the program. */
#include "check/graph_maker.h"
#include "guard_page.h"
#include "host_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ref.h"
#ifdef __x86_64__
#include "x86.h"
static const pare_backend *const backend = &x86_backend;
static const struct tiled_backend *const levels = &x86_levels;
#endif
#ifdef __aarch64__
#include "arm.h"
static const pare_backend *const backend = &arm_backend;
static const struct tiled_backend *const levels = &arm_levels;
#endif

#if defined __x86_64__ || defined __aarch64__

enum { MAX_BATCH = 3, CLASSES = 5, SIGNS = 0 };

struct shape {
    int32_t h, w, c, out_c, kernel, stride, pad, batch;
    int32_t bits; /* of weights; SIGNS: signs by signs */
};

static void describe(const struct shape *s, char text[160]) {
    snprintf(text, 160, "%dx%dx%d -> %d, kernel %d, stride %d, padding %d, batch %d, %d bits", s->h,
             s->w, s->c, s->out_c, s->kernel, s->stride, s->pad, s->batch, s->bits);
}

static void narrow(struct maker *m, int32_t node, int32_t bits) {
    if (bits == 1 || bits == SIGNS) {
        maker_binary_weight(m, node);
    } else if (bits == 2) {
        maker_ternary_weight(m, node);
    } else {
        maker_quantize_weight(m, node, bits);
    }
}

/* input - conv - linear, every value of 8 bits but what is made signs. */
static void make_graph(struct maker *m, const struct shape *s, uint64_t seed) {
    maker_init(m, seed, s->h, s->w, s->c);
    maker_quantize_somehow(m, 0, 8, 3.0f);
    int32_t x = s->bits == SIGNS ? maker_sign(m, 0, 0.7f) : 0;
    x = maker_conv(m, x, s->out_c, s->kernel, s->stride, s->pad, 1, 1);
    narrow(m, x, s->bits);
    maker_quantize_somehow(m, x, 8, 3.0f);
    x = maker_simple(m, PARE_OP_FLATTEN, x);
    x = s->bits == SIGNS ? maker_sign(m, x, 0.7f) : x;
    narrow(m, maker_linear(m, x, CLASSES, 1), s->bits);
}

/* Runs `batch` images whose memory ends at a protected page, as does the output's. */
static void run(const pare_backend *b, const struct tiled_backend *tiled, uint32_t features,
                const char *isa, const struct maker *m, const struct shape *s, const float *images,
                float *output) {
    const int32_t *d = m->graph.input_dims;
    const size_t n_in = (size_t)s->batch * (size_t)(d[0] * d[1] * d[2]) * sizeof(float);
    const size_t n_out = (size_t)(s->batch * CLASSES) * sizeof(float);
    float *guarded_in = guard_page_alloc(n_in);
    float *guarded_out = guard_page_alloc(n_out);
    struct test_host host;
    void *instance;
    void *exe = NULL;
    pare_compile_options options = {sizeof options, MAX_BATCH, isa};
    assert_true(guarded_in != NULL && guarded_out != NULL);
    memcpy(guarded_in, images, n_in);
    test_host_init(&host);
    host.guard_pages = 1;
    assert_int_equal(tiled != NULL ? tiled_create_with(&host.host, tiled, features, NULL, &instance)
                                   : b->create(&host.host, NULL, &instance),
                     PARE_OK);
    if (b->compile(instance, &m->graph, &options, &exe) != PARE_OK) {
        fail_msg("%s: %s", isa, host.text);
    }
    assert_int_equal(b->run(exe, guarded_in, s->batch, guarded_out), PARE_OK);
    memcpy(output, guarded_out, n_out);
    b->executable_destroy(exe);
    b->destroy(instance);
    assert_int_equal(host.n_live, 0);
    guard_page_free(guarded_in);
    guard_page_free(guarded_out);
}

static void check_levels(const struct shape *s, const struct maker *m, const float *images,
                         uint32_t features) {
    float wanted[MAX_BATCH * CLASSES];
    float got[MAX_BATCH * CLASSES];
    char text[160];
    run(&ref_backend, NULL, 0, "portable", m, s, images, wanted);
    for (int32_t k = 0; k < levels->n_levels; k++) {
        const struct tiled_level *level = &levels->levels[k];
        if ((features & level->needs) == level->needs) {
            run(backend, levels, features, level->isa, m, s, images, got);
            if (memcmp(got, wanted, (size_t)(s->batch * CLASSES) * sizeof *got) != 0) {
                describe(s, text);
                fail_msg("%s, %s: logits differ", level->isa, text);
            }
        }
    }
}

static void check_shape(const struct shape *s, uint64_t seed) {
    struct maker m;
    float *images;
    make_graph(&m, s, seed);
    const int32_t *d = m.graph.input_dims;
    const int32_t n = s->batch * d[0] * d[1] * d[2];
    images = malloc((size_t)n * sizeof *images);
    assert_non_null(images);
    for (int32_t k = 0; k < n; k++) {
        images[k] = maker_normal(&m.random);
    }
    const uint32_t features = levels->cpu_features();
    uint32_t fewer = features; /* without what only variants of levels need */
    for (int32_t k = 0; k < levels->n_levels; k++) {
        fewer &= ~levels->levels[k].variant_needs;
    }
    check_levels(s, &m, images, features);
    if (fewer != features) {
        check_levels(s, &m, images, fewer);
    }
    free(images);
    maker_free(&m);
}

/* Every number of channels on both sides, and each of the others' values many times over. */
static void test_strange_shapes(void **state) {
    (void)state;
    static const int32_t channels[] = {1, 3, 5, 17, 33};
    static const int32_t sides[][2] = {{1, 1}, {2, 3}, {7, 9}, {1, 20}};
    static const int32_t widths[] = {8, 4, 3, 2, 1, SIGNS};
    const char *every = getenv("KERNEL_TESTS_EVERY"); /* see test_backend_graphs.c */
    const uint64_t step = every != NULL ? strtoull(every, NULL, 10) : 1;
    assert_true(step >= 1);
    for (uint64_t k = 0; k < 600; k += step) {
        uint64_t r = k + 77;
        struct shape s = {.c = channels[(k + k / 30) % 5],
                          .out_c = channels[k / 6 % 5],
                          .bits = widths[k % 6],
                          .kernel = 2 * maker_between(&r, 0, 2) + 1,
                          .stride = maker_between(&r, 1, 3),
                          .pad = maker_between(&r, 0, 2),
                          .batch = maker_between(&r, 1, MAX_BATCH)};
        const int32_t *side = sides[maker_between(&r, 0, 3)];
        int32_t least = s.kernel - 2 * s.pad;
        s.h = side[0] > least ? side[0] : least;
        s.w = side[1] > least ? side[1] : least;
        check_shape(&s, k);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strange_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    return 0; /* there is no such backend for this processor */
}
#endif
