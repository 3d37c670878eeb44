/* SPDX-License-Identifier: MIT */
/* Which level a backend with tile kernels takes, on this processor and on ones that lack features;
 * and what it does when memory or arguments fail. */
#include "check/graph_maker.h"
#include "host_table.h"

#include <math.h>
#include <pare/ext/observe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

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

static pare_status ignore_value(void *context, int32_t node, const float *real,
                                const int16_t *codes, int64_t n_elems) {
    (void)context, (void)node, (void)real, (void)codes, (void)n_elems;
    return PARE_OK;
}

static void make_small(struct maker *m) {
    maker_init(m, 3, 4, 4, 3);
    int32_t conv = maker_conv(m, 0, 5, 3, 1, 1, 1, 1);
    maker_linear(m, maker_simple(m, PARE_OP_GLOBAL_AVG_POOL, conv), 4, 1);
}

/* Compiles on a processor with these features; the level taken, "" when it is refused. */
static const char *level_taken(uint32_t features, const char *isa, struct test_host *host) {
    static char taken[64];
    struct maker m;
    void *instance;
    void *exe = NULL;
    make_small(&m);
    test_host_init(host);
    assert_int_equal(tiled_create_with(&host->host, levels, features, NULL, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, 1, isa};
    pare_status status = backend->compile(instance, &m.graph, &options, &exe);
    taken[0] = '\0';
    if (status == PARE_OK) {
        const pare_executable_info *info;
        assert_int_equal(backend->executable_info(exe, &info), PARE_OK);
        strcpy(taken, info->isa);
    } else {
        assert_int_equal(status, PARE_E_UNSUPPORTED);
        assert_null(exe);
    }
    backend->executable_destroy(exe);
    backend->destroy(instance);
    assert_int_equal(host->n_live, 0);
    maker_free(&m);
    return taken;
}

/* A processor: its features and the level that is wanted (NULL: any); the level taken, or (level
 * NULL) the message. */
struct choice {
    uint32_t features;
    const char *isa, *level, *message;
};
#ifdef __x86_64__
#define ALL (X86_HAS_AVX2 | X86_HAS_AVX_VNNI | X86_HAS_AVX512 | X86_HAS_AVX512_VNNI)
static const struct choice choices[] = {
    {0, NULL, "sse", NULL},
    {X86_HAS_AVX2, NULL, "avx2", NULL},
    {X86_HAS_AVX2 | X86_HAS_AVX_VNNI, NULL, "avx-vnni", NULL},
    {X86_HAS_AVX2 | X86_HAS_AVX512, NULL, "avx512", NULL},
    {ALL, NULL, "avx512-vnni", NULL},
    /* A feature whose base is masked counts for nothing. */
    {X86_HAS_AVX2 | X86_HAS_AVX512_VNNI, NULL, "avx2", NULL},
    {X86_HAS_AVX_VNNI, NULL, "sse", NULL},
    {ALL, "sse", "sse", NULL},
    {ALL, "avx-vnni", "avx-vnni", NULL},
    {X86_HAS_AVX2, "avx512-vnni", NULL, "isa is \"avx512-vnni\", this machine has sse, avx2"},
    {0, "avx2", NULL, "isa is \"avx2\", this machine has sse"},
    {ALL, "neon", NULL,
     "isa is \"neon\", this machine has sse, avx2, avx512, avx-vnni, avx512-vnni"},
};
#endif
#ifdef __aarch64__
#define ALL (ARM_HAS_DOTPROD | ARM_HAS_I8MM)
static const struct choice choices[] = {
    {0, NULL, "neon", NULL},
    {ARM_HAS_DOTPROD, NULL, "neon-dotprod", NULL},
    {ALL, NULL, "neon-i8mm", NULL},
    /* Its source is compiled with dot products, too. */
    {ARM_HAS_I8MM, NULL, "neon", NULL},
    {ALL, "neon", "neon", NULL},
    {ALL, "neon-dotprod", "neon-dotprod", NULL},
    {ARM_HAS_DOTPROD, "neon-i8mm", NULL,
     "isa is \"neon-i8mm\", this machine has neon, neon-dotprod"},
    {0, "avx2", NULL, "isa is \"avx2\", this machine has neon"},
};
#endif

/* Weights of so many bits in a linear layer of in_c inputs: the end of the kernel's name, and the
 * bits that one takes in memory; at every level, or at one alone. */
struct narrow {
    int32_t bits, in_c;
    const char *name;
    int32_t packed_bits;
    const char *isa;
};
#ifdef __x86_64__
static const struct narrow narrow[] = {
    {8, 800, "", 8},
    {5, 800, "", 8},
    {4, 800, "_w4", 4},
    {3, 500, "_w4", 4},
    {2, 800, "_w2", 2},
    {2, 500, "_w2", 2},
    {1, 800, "_w1", 1},
    {1, 500, "_w1", 1},
    /* Seven of eight codes of a step would be nothing; there is no 0 for the last of 30. */
    {4, 1, "_w4_widened", 8},
    {2, 36, "_w4", 4},
    {1, 30, "_w2", 2},
};
#endif
#ifdef __aarch64__
static const struct narrow narrow[] = {
    {8, 800, "", 8},
    {5, 800, "", 8},
    {4, 800, "_w4", 4},
    {3, 500, "_w4", 4},
    {2, 800, "_w2", 2},
    {2, 500, "_w2", 2},
    {1, 800, "_w1", 1},
    /* Steps of 16 codes leave 12 of which none is 0. */
    {1, 500, "_w2", 2},
    {1, 30, "_w2", 2},
    /* Where int8 has steps of 4 codes, 8 or 16 would be too many. */
    {4, 1, "_w4_widened", 8, "neon-dotprod"},
    {2, 36, "_w4", 4, "neon-dotprod"},
    {2, 36, "_w4", 4, "neon-i8mm"},
    {2, 36, "_w2", 3, "neon"}, /* 48 */
};
#endif

static void test_level(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof choices / sizeof *choices; k++) {
        const struct choice *c = &choices[k];
        struct test_host host;
        const char *taken = level_taken(c->features, c->isa, &host);
        assert_string_equal(taken, c->level != NULL ? c->level : "");
        if (c->level == NULL) {
            assert_string_equal(host.text, c->message);
        }
    }
}

/* The probe names the level that compiling takes, and scores above ref. */
static void test_probe(void **state) {
    (void)state;
    struct test_host host;
    test_host_init(&host);
    pare_probe probe = {.struct_size = sizeof probe};
    assert_int_equal(backend->probe(&host.host, &probe), PARE_OK);
    assert_true(probe.score > 1);
    assert_string_equal(probe.isa, level_taken(levels->cpu_features(), NULL, &host));
}

static void test_split(void **state) {
    (void)state;
    for (int32_t most = 1; most <= TILED_MAX_POSITIONS; most++) {
        for (int32_t n = 1; n < 100; n++) {
            struct tiled_split s = tiled_split_positions(n, most);
            int64_t sum = 0;
            for (int k = 0; k < 2; k++) {
                assert_in_range(s.positions[k], s.n_tiles[k] > 0 ? 1 : 0, most);
                sum += (int64_t)s.positions[k] * s.n_tiles[k];
            }
            assert_int_equal(sum, n);
        }
    }
}

/* Every allocation of compiling and of showing values fails once: a status, and nothing is left. */
static pare_status compile_and_observe(struct test_host *host, const pare_graph *graph) {
    float images[2 * 4 * 4 * 3] = {0};
    float output[2 * 4];
    void *instance = NULL;
    void *exe = NULL;
    pare_compile_options options = {sizeof options, 2, NULL};
    const pare_backend_observe *observe = backend->get_extension(PARE_BACKEND_OBSERVE);
    pare_status status = backend->create(&host->host, NULL, &instance);
    if (status == PARE_OK) {
        status = backend->compile(instance, graph, &options, &exe);
    }
    if (status == PARE_OK) {
        status = observe->run(exe, images, 2, output, ignore_value, NULL);
    }
    backend->executable_destroy(exe);
    backend->destroy(instance);
    return status;
}

static void test_no_memory(void **state) {
    (void)state;
    struct maker m;
    make_small(&m);
    maker_quantize_value(&m, 0, 8, 0.05f, 1);
    maker_quantize_value(&m, 1, 8, 0.05f, 1);
    maker_quantize_weight(&m, 1, 8);
    int64_t k = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; k++) {
        struct test_host host;
        test_host_init(&host);
        host.fail_at = k;
        status = compile_and_observe(&host, &m.graph);
        assert_true(status == PARE_OK || status == PARE_E_NOMEM);
        assert_int_equal(host.n_live, 0);
        assert_int_equal(host.damaged, 0);
        assert_true(k < 1000);
    }
    assert_true(k > 30);
    maker_free(&m);
}

static void test_bad_run(void **state) {
    (void)state;
    struct test_host host;
    struct maker m;
    void *instance;
    void *exe;
    float images[3 * 4 * 4 * 3] = {0};
    float output[3 * 4];
    make_small(&m);
    test_host_init(&host);
    assert_int_equal(backend->create(&host.host, NULL, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, 2, NULL};
    assert_int_equal(backend->compile(instance, &m.graph, &options, &exe), PARE_OK);
    assert_int_equal(backend->run(exe, images, 0, output), PARE_E_RANGE);
    assert_int_equal(backend->run(exe, images, 3, output), PARE_E_RANGE);
    assert_int_equal(backend->run(exe, images, 2, output), PARE_OK);
    images[4 * 4 * 3 + 5] = HUGE_VALF;
    assert_int_equal(backend->run(exe, images, 2, output), PARE_E_NUMERIC);
    assert_string_equal(host.text, "image 1 of the batch holds a value that is not finite");
    backend->executable_destroy(exe);
    options.max_batch = 0;
    assert_int_equal(backend->compile(instance, &m.graph, &options, &exe), PARE_E_RANGE);
    backend->destroy(instance);
    assert_int_equal(host.n_live, 0);
    maker_free(&m);
}

/* Compiling on every level fails with this status and these words, and leaves nothing behind. */
static void refused(const struct maker *m, int32_t max_batch, pare_status status,
                    const char *words) {
    for (int32_t k = 0; k < levels->n_levels; k++) {
        const struct tiled_level *level = &levels->levels[k];
        struct test_host host;
        void *instance;
        void *exe = NULL;
        pare_compile_options options = {sizeof options, max_batch, level->isa};
        test_host_init(&host);
        assert_int_equal(tiled_create_with(&host.host, levels, UINT32_MAX, NULL, &instance),
                         PARE_OK);
        pare_status got = backend->compile(instance, &m->graph, &options, &exe);
        if (got != status || strstr(host.text, words) == NULL) {
            fail_msg("%s: got %d \"%s\", wanted %d \"%s\"", level->isa, got, host.text, status,
                     words);
        }
        assert_null(exe);
        backend->destroy(instance);
        assert_int_equal(host.n_live, 0);
    }
}

static void test_refused(void **state) {
    (void)state;
    struct maker m;
    maker_init(&m, 5, 6, 6, 2);
    int32_t pool = maker_pool(&m, PARE_OP_MAX_POOL, 0, 2, 2, 0);
    maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, pool), 4, 1);
    maker_node(&m, pool)->pad_w = 2;
    refused(&m, 1, PARE_E_ARG,
            "node1: padding is 0x2, wanted less than the kernel's 2x2: a window");
    maker_node(&m, pool)->pad_w = 0;
    maker_node(&m, pool)->op = (pare_op)77;
    refused(&m, 1, PARE_E_UNSUPPORTED, "node1: operator 77 is not known");
    maker_node(&m, pool)->op = PARE_OP_MAX_POOL;
    maker_node(&m, 0)->dims[1] = 0;
    refused(&m, 1, PARE_E_RANGE, "dimension 1 is 0, wanted 1..");
    maker_node(&m, 0)->dims[1] = INT32_MAX;
    refused(&m, 1, PARE_E_RANGE, "dimension 1 is 2147483647, wanted 1..");
    maker_free(&m);

    /* Larger than any machine's memory: four values of 2^30 floats for each of eight images. */
    maker_init(&m, 6, 1 << 15, 1 << 15, 1);
    int32_t x = 0;
    for (int k = 0; k < 4; k++) {
        x = maker_simple(&m, PARE_OP_RELU, maker_pool(&m, PARE_OP_MAX_POOL, x, 1, 1, 0));
    }
    maker_linear(&m, maker_simple(&m, PARE_OP_GLOBAL_AVG_POOL, x), 4, 1);
    for (int32_t k = 0; k < levels->n_levels; k++) {
        struct test_host host;
        void *instance;
        void *exe = NULL;
        pare_compile_options options = {sizeof options, 8, levels->levels[k].isa};
        test_host_init(&host);
        host.most_bytes = (size_t)1 << 30;
        assert_int_equal(tiled_create_with(&host.host, levels, UINT32_MAX, NULL, &instance),
                         PARE_OK);
        assert_int_equal(backend->compile(instance, &m.graph, &options, &exe), PARE_E_NOMEM);
        assert_non_null(strstr(host.text, "bytes of activations"));
        backend->destroy(instance);
        assert_int_equal(host.n_live, 0);
    }
    maker_free(&m);
}

/* Layers of more than 8 bits have no fast kernels, and are counted. */
static void test_fallback(void **state) {
    (void)state;
    for (int32_t bits = 8; bits <= 9; bits++) {
        struct test_host host;
        struct maker m;
        void *instance;
        void *exe;
        const pare_executable_info *info;
        make_small(&m);
        maker_quantize_value(&m, 0, bits, 0.05f, 1);
        maker_quantize_value(&m, 1, bits, 0.05f, 1);
        maker_quantize_value(&m, 2, bits, 0.05f, 1);
        maker_quantize_weight(&m, 1, bits);
        maker_quantize_weight(&m, 3, bits);
        test_host_init(&host);
        assert_int_equal(backend->create(&host.host, NULL, &instance), PARE_OK);
        pare_compile_options options = {sizeof options, 1, NULL};
        assert_int_equal(backend->compile(instance, &m.graph, &options, &exe), PARE_OK);
        assert_int_equal(backend->executable_info(exe, &info), PARE_OK);
        int32_t n_fallback = 0;
        for (int32_t k = 0; k < info->n_kernels; k++) {
            n_fallback += info->kernels[k]->is_fallback;
        }
        assert_int_equal(n_fallback, bits > 8 ? 2 : 0);
        backend->executable_destroy(exe);
        backend->destroy(instance);
        maker_free(&m);
    }
}

/* What weights of few bits become at each level that this machine has: the kernel's name says it,
 * and their bytes. Steps may add an eighth to a layer; int8 takes a byte for each, or two. */
static void check_narrow(const char *isa, int32_t bits, int32_t in_c, const char *name,
                         int64_t most) {
    struct test_host host;
    struct maker m;
    void *instance;
    void *exe;
    const pare_executable_info *info;
    maker_init(&m, 9, 1, 1, in_c);
    int32_t fc = maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, 0), 64, 1);
    maker_quantize_value(&m, 0, 8, 0.05f, 3);
    if (bits == 1) {
        maker_binary_weight(&m, fc);
    } else {
        maker_quantize_weight(&m, fc, bits);
    }
    test_host_init(&host);
    assert_int_equal(backend->create(&host.host, NULL, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, 1, isa};
    assert_int_equal(backend->compile(instance, &m.graph, &options, &exe), PARE_OK);
    assert_int_equal(backend->executable_info(exe, &info), PARE_OK);
    const pare_kernel_info *kernel = info->kernels[info->n_kernels - 1];
    assert_non_null(strstr(kernel->kernel, "_linear_i8"));
    assert_string_equal(strstr(kernel->kernel, "_linear_i8") + strlen("_linear_i8"), name);
    assert_in_range(kernel->weight_bytes, 64 * in_c * bits / 8, most);
    backend->executable_destroy(exe);
    backend->destroy(instance);
    assert_int_equal(host.n_live, 0);
    maker_free(&m);
}

static void test_narrow_weights(void **state) {
    (void)state;
    for (int32_t k = 0; k < levels->n_levels; k++) {
        const struct tiled_level *level = &levels->levels[k];
        if ((levels->cpu_features() & level->needs) != level->needs) {
            continue;
        }
        for (size_t n = 0; n < sizeof narrow / sizeof *narrow; n++) {
            struct narrow narrowed = narrow[n];
            const struct narrow *c = &narrowed;
            if (c->isa != NULL && strcmp(c->isa, level->isa) != 0) {
                continue;
            }
            if (strcmp(c->name, "_w1") == 0 &&
                (strcmp(level->isa, "sse") == 0 || strcmp(level->isa, "avx2") == 0 ||
                 strcmp(level->isa, "neon") == 0)) {
                narrowed.name = "_w2"; /* these have no kernels for 1 bit */
                narrowed.packed_bits = 2;
            }
            int64_t bytes = c->packed_bits == 8 ? 2 * 64 * c->in_c + 4096
                                                : 64 * c->in_c * c->packed_bits * 9 / 64;
            check_narrow(level->isa, c->bits, c->in_c, c->name, bytes);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_level),   cmocka_unit_test(test_probe),
        cmocka_unit_test(test_split),   cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_bad_run), cmocka_unit_test(test_narrow_weights),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_fallback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    return 0; /* there is no such backend for this processor */
}
#endif
