/* SPDX-License-Identifier: MIT */
/* Products of signs by shape, on every level and on processors that lack features: the
 * convolution's own codes and the logits behind it are the reference's, bit for bit. Whole networks
 * of signs are in test_backend_graphs.c. */
#include "check/graph_maker.h"
#include "host_table.h"

#include <pare/ext/observe.h>
#include <setjmp.h>
#include <stdarg.h>
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

enum { BATCH = 2 };

/* A layer of signs by signs; h 0: linear. bits: is it computed on bits? */
struct shape {
    int32_t h, w, c, out_c, kernel, stride, pad, groups, bits;
};

static const struct shape shapes[] = {
    /* The layers of ResNet20, and wider ones: several tiles to a row. */
    {32, 32, 16, 16, 3, 1, 1, 1, 1},
    {16, 16, 32, 32, 3, 1, 1, 1, 1},
    {16, 16, 32, 64, 3, 2, 1, 1, 1},
    {8, 8, 64, 64, 3, 1, 1, 1, 1},
    {3, 50, 16, 17, 3, 1, 1, 1, 1},
    {5, 41, 24, 33, 3, 2, 1, 1, 1},
    /* Channels that fill neither bytes nor words; fewer or more outputs than a vector's. */
    {6, 7, 2, 1, 3, 1, 1, 1, 1},
    {6, 7, 6, 5, 3, 1, 1, 1, 1},
    {6, 7, 10, 16, 3, 1, 1, 1, 1},
    {5, 6, 20, 50, 5, 1, 0, 1, 1},
    {4, 5, 36, 48, 3, 1, 1, 1, 1},
    {4, 5, 66, 70, 3, 1, 1, 1, 1},
    {4, 5, 130, 13, 3, 1, 1, 1, 1},
    /* An odd number of pairs, and groups, are not for bits. */
    {6, 7, 3, 5, 3, 1, 1, 1, 0},
    {6, 7, 32, 32, 3, 1, 1, 2, 0},
    /* Padding: none, more than half a kernel, more than a kernel, more than the image. */
    {7, 19, 8, 9, 3, 1, 0, 1, 1},
    {7, 19, 8, 9, 3, 1, 2, 1, 1},
    {4, 21, 8, 9, 3, 1, 5, 1, 1},
    {2, 2, 8, 9, 3, 1, 6, 1, 1},
    {2, 3, 16, 9, 5, 1, 2, 1, 1},
    /* Strides, with and without a last window that ends in the padding. */
    {9, 23, 16, 8, 3, 3, 1, 1, 1},
    {10, 24, 16, 8, 5, 2, 2, 1, 1},
    {9, 9, 16, 8, 1, 2, 0, 1, 1},
    {5, 40, 16, 8, 1, 1, 1, 1, 1},
    /* 1x1 images and kernels. */
    {1, 1, 64, 40, 1, 1, 0, 1, 1},
    {1, 1, 2, 3, 3, 1, 1, 1, 1},
    {7, 7, 32, 130, 1, 1, 0, 1, 1},
    {8, 33, 8, 8, 7, 1, 3, 1, 1},
    /* Linear layers: h is 0, w * c inputs. */
    {0, 1, 2, 3, 0, 0, 0, 1, 1},
    {0, 1, 64, 64, 0, 0, 0, 1, 1},
    {0, 1, 100, 129, 0, 0, 0, 1, 1},
    {0, 1, 514, 260, 0, 0, 0, 1, 1},
    {0, 1, 33, 20, 0, 0, 0, 1, 0},
    {0, 1, 32770, 4, 0, 0, 0, 1, 0},
};

/* input - sign - the layer - linear; returns the layer's node. `added`: its value and a shortcut's
 * are added. */
static int32_t make_graph(struct maker *m, const struct shape *s, uint64_t seed, int added) {
    int linear = s->h == 0;
    maker_init(m, seed, linear ? 1 : s->h, s->w, s->c);
    maker_quantize_value(m, 0, 8, 0.02f, maker_between(&m->random, -128, 127));
    int32_t x = linear ? maker_simple(m, PARE_OP_FLATTEN, 0) : 0;
    x = maker_sign(m, x, 0.7f);
    int32_t layer = linear ? maker_linear(m, x, s->out_c, 1)
                           : maker_conv(m, x, s->out_c, s->kernel, s->stride, s->pad, s->groups, 1);
    maker_binary_weight(m, layer);
    maker_quantize_value(m, layer, 8, 1.0f, maker_between(&m->random, -100, 100));
    x = layer;
    if (added && s->out_c >= s->c) {
        x = maker_add(m, maker_shortcut(m, 0, s->out_c, s->stride), x);
        maker_quantize_value(m, x, 8, 1.1f, 3);
    }
    x = linear ? x : maker_simple(m, PARE_OP_FLATTEN, x);
    maker_quantize_weight(m, maker_linear(m, x, 10, 1), 8);
    return layer;
}

struct seen {
    int32_t node;
    int16_t *codes;
    int64_t n;
};

static pare_status keep(void *context, int32_t node, const float *real, const int16_t *codes,
                        int64_t n) {
    struct seen *seen = context;
    (void)real;
    if (node == seen->node) {
        seen->codes = malloc((size_t)n * sizeof *codes);
        assert_non_null(seen->codes);
        memcpy(seen->codes, codes, (size_t)n * sizeof *codes);
        seen->n = n;
    }
    return PARE_OK;
}

/* The signs' and the layer's codes and the logits; which kernels ran. */
struct result {
    struct seen signs, layer;
    float logits[BATCH * 10];
    char kernels[512];
};

static pare_status keep_both(void *context, int32_t node, const float *real, const int16_t *codes,
                             int64_t n) {
    struct result *r = context;
    keep(&r->signs, node, real, codes, n);
    return keep(&r->layer, node, real, codes, n);
}

static void run(const pare_backend *b, void *instance, struct test_host *host,
                const struct maker *m, const char *isa, const float *images, int32_t layer,
                struct result *r) {
    const pare_backend_observe *observe = b->get_extension(PARE_BACKEND_OBSERVE);
    const pare_executable_info *info;
    void *exe = NULL;
    float seen[BATCH * 10];
    pare_compile_options options = {sizeof options, BATCH, isa};
    *r = (struct result){.signs = {layer - 1, NULL, 0}, .layer = {layer, NULL, 0}};
    if (b->compile(instance, &m->graph, &options, &exe) != PARE_OK) {
        fail_msg("%s: %s", isa, host->text);
    }
    assert_int_equal(b->executable_info(exe, &info), PARE_OK);
    for (int32_t k = 0; k < info->n_kernels; k++) {
        size_t used = strlen(r->kernels);
        snprintf(r->kernels + used, sizeof r->kernels - used, "%s ", info->kernels[k]->kernel);
    }
    assert_int_equal(b->run(exe, images, BATCH, r->logits), PARE_OK);
    assert_int_equal(observe->run(exe, images, BATCH, seen, keep_both, r), PARE_OK);
    assert_memory_equal(seen, r->logits, sizeof seen);
    b->executable_destroy(exe);
}

static void check_same(const struct seen *got, const struct seen *wanted, const struct shape *s,
                       const char *isa, uint32_t features, const char *what) {
    if (wanted->codes == NULL || got->codes == NULL) { /* done by another step */
        return;
    }
    assert_int_equal(got->n, wanted->n);
    for (int64_t k = 0; k < got->n; k++) {
        if (got->codes[k] != wanted->codes[k]) {
            fail_msg("%s, features %#x, %dx%dx%d -> %d, kernel %d/%d, padding %d: %s %lld is %d, "
                     "wanted %d",
                     isa, features, s->h, s->w, s->c, s->out_c, s->kernel, s->stride, s->pad, what,
                     (long long)k, got->codes[k], wanted->codes[k]);
        }
    }
}

static void free_result(struct result *r) {
    free(r->signs.codes);
    free(r->layer.codes);
}

/* Every level of a processor with these features against what ref gave. */
static void check_levels(const struct shape *s, const struct maker *m, const float *images,
                         int32_t layer, const struct result *wanted, uint32_t features) {
    for (int32_t k = 0; k < levels->n_levels; k++) {
        const struct tiled_level *level = &levels->levels[k];
        struct test_host host;
        struct result got;
        void *instance;
        if ((features & level->needs) != level->needs) {
            continue;
        }
        test_host_init(&host);
        host.n_threads = s->w % 3 + 1;
        assert_int_equal(tiled_create_with(&host.host, levels, features, NULL, &instance), PARE_OK);
        run(backend, instance, &host, m, level->isa, images, layer, &got);
        check_same(&got.signs, &wanted->signs, s, level->isa, features, "sign");
        check_same(&got.layer, &wanted->layer, s, level->isa, features, "code");
        if (memcmp(got.logits, wanted->logits, sizeof got.logits) != 0) {
            fail_msg("%s, features %#x, %dx%dx%d: logits differ", level->isa, features, s->h, s->w,
                     s->c);
        }
        int has_bits = level->kernels->kinds[TILED_B1] != NULL && s->bits;
        assert_true(has_bits == (strstr(got.kernels, "_sign_b1 ") != NULL));
        assert_true(has_bits ==
                    (strstr(got.kernels, s->h == 0 ? "_linear_b1 " : "_conv2d_b1") != NULL));
        free_result(&got);
        backend->destroy(instance);
        assert_int_equal(host.n_live, 0);
        assert_int_equal(host.damaged, 0);
    }
}

static void check_shape(const struct shape *s, uint64_t seed, int added) {
    struct maker m;
    struct test_host host;
    struct result wanted;
    void *instance;
    int32_t layer = make_graph(&m, s, seed, added);
    const int32_t *d = m.graph.input_dims;
    int32_t n = BATCH * d[0] * d[1] * d[2];
    float *images = malloc((size_t)n * sizeof *images);
    assert_non_null(images);
    for (int32_t k = 0; k < n; k++) {
        images[k] = maker_normal(&m.random);
    }
    test_host_init(&host);
    host.n_threads = 1;
    assert_int_equal(ref_backend.create(&host.host, NULL, &instance), PARE_OK);
    run(&ref_backend, instance, &host, &m, "portable", images, layer, &wanted);
    ref_backend.destroy(instance);
    /* As this processor is, and without what only variants of levels need. */
    uint32_t features = levels->cpu_features();
    uint32_t fewer = features;
    for (int32_t k = 0; k < levels->n_levels; k++) {
        fewer &= ~levels->levels[k].variant_needs;
    }
    check_levels(s, &m, images, layer, &wanted, features);
    if (fewer != features) {
        check_levels(s, &m, images, layer, &wanted, fewer);
    }
    free_result(&wanted);
    free(images);
    maker_free(&m);
}

static void test_all_shapes(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        check_shape(&shapes[k], 100 + k, 0);
    }
}

/* The convolution does the add itself, where the level can. */
static void test_added(void **state) {
    (void)state;
    static const struct shape added[] = {
        {32, 32, 16, 16, 3, 1, 1, 1, 1},
        {9, 17, 20, 34, 3, 2, 1, 1, 1},
        {8, 8, 64, 64, 3, 1, 1, 1, 1},
        {1, 1, 8, 8, 3, 1, 1, 1, 1},
    };
    for (size_t k = 0; k < sizeof added / sizeof *added; k++) {
        check_shape(&added[k], 200 + k, 1);
    }
}

/* Signs that something else reads, too, are stored as codes; a value that is read as bits and as
 * codes has a quantize node for each. */
static void test_other_readers(void **state) {
    (void)state;
    struct maker m;
    struct test_host host;
    struct result r;
    void *instance;
    float images[BATCH * 5 * 5 * 8];
    maker_init(&m, 7, 5, 5, 8);
    maker_quantize_value(&m, 0, 8, 0.02f, 3);
    int32_t signs = maker_sign(&m, 0, 0.7f);
    int32_t conv = maker_conv(&m, signs, 8, 3, 1, 1, 1, 1);
    maker_binary_weight(&m, conv);
    maker_quantize_value(&m, conv, 8, 1.0f, 0);
    int32_t sum = maker_add(&m, conv, signs);
    maker_quantize_value(&m, sum, 8, 1.0f, 0);
    maker_quantize_weight(&m, maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, sum), 10, 1), 8);
    for (size_t k = 0; k < sizeof images / sizeof *images; k++) {
        images[k] = maker_normal(&m.random);
    }
    test_host_init(&host);
    host.n_threads = 1;
    assert_int_equal(backend->create(&host.host, NULL, &instance), PARE_OK);
    run(backend, instance, &host, &m, NULL, images, conv, &r);
    assert_non_null(strstr(r.kernels, "_sign_i8 "));
    assert_null(strstr(r.kernels, "b1"));
    free_result(&r);
    backend->destroy(instance);
    maker_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_shapes),
                                       cmocka_unit_test(test_added),
                                       cmocka_unit_test(test_other_readers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    return 0;
}
#endif
