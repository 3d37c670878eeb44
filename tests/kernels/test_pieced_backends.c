/* SPDX-License-Identifier: MIT */
/* What test_backend_graphs.c does not see of the comparators: batches of several pieces, refusals,
 * memory that runs out. Only built where there is one. */
#include "check/graph_maker.h"
#include "host_table.h"
#include "ref.h"
#ifdef PARE_HAVE_ONEDNN
#include "onednn.h"
#endif
#ifdef PARE_HAVE_XNNPACK
#include "xnnpack_backend.h"
#endif

#include <math.h>
#include <pare/ext/observe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PIECE 8
#define BATCH (2 * PIECE + 3)
#define CLASSES 5
#define IMAGE (9 * 7 * 3)

struct comparator {
    const pare_backend *backend;
    const char *(*isa)(void);
    const char *int8_execution; /* NULL: it refuses quantized values */
};

#ifdef PARE_HAVE_XNNPACK
static const char *xnnpack_isa(void) {
    return XNNPACK_ISA;
}
#endif

static const struct comparator comparators[] = {
#ifdef PARE_HAVE_ONEDNN
    {&onednn_backend, onednn_isa, NULL},
#endif
#ifdef PARE_HAVE_XNNPACK
    {&xnnpack_backend, xnnpack_isa, "approximate"},
#endif
};
#define N_COMPARATORS ((int)(sizeof comparators / sizeof comparators[0]))

/* Every operator that the comparators have. */
static void make_graph(struct maker *m) {
    maker_init(m, 21, 9, 7, 3);
    int32_t x = maker_conv(m, 0, 6, 3, 1, 1, 1, 1);
    x = maker_add(m, maker_simple(m, PARE_OP_RELU, x), x);
    x = maker_pool(m, PARE_OP_MAX_POOL, x, 2, 1, 1);
    x = maker_shortcut(m, x, 11, 2);
    x = maker_batch_norm(m, x);
    x = maker_pool(m, PARE_OP_AVG_POOL, x, 2, 1, 0);
    x = maker_simple(m, PARE_OP_FLATTEN, x);
    x = maker_linear(m, x, CLASSES, 1);
    maker_simple(m, PARE_OP_SOFTMAX, x);
}

static pare_status compile(const pare_backend *backend, struct test_host *host,
                           const struct maker *m, const char *isa, void **instance, void **exe) {
    pare_compile_options options = {sizeof options, BATCH, isa};
    pare_status status = backend->create(&host->host, NULL, instance);
    if (status != PARE_OK) {
        return status;
    }
    status = backend->compile(*instance, &m->graph, &options, exe);
    if (status != PARE_OK) {
        backend->destroy(*instance);
    }
    return status;
}

static void destroy(const pare_backend *backend, struct test_host *host, void *instance,
                    void *exe) {
    backend->executable_destroy(exe);
    backend->destroy(instance);
    assert_int_equal(host->n_live, 0);
    assert_int_equal(host->damaged, 0);
    assert_int_equal(host->wrong_allocs, 0);
}

static pare_status ignore_value(void *context, int32_t node, const float *real,
                                const int16_t *codes, int64_t n_elems) {
    (void)node;
    assert_non_null(real);
    assert_null(codes);
    *(int64_t *)context += n_elems;
    return PARE_OK;
}

/* Any number of samples, threads and order of pieces: the same bits, and what ref says. */
static void check_pieces(const struct comparator *subject) {
    const pare_backend *backend = subject->backend;
    struct maker m;
    struct test_host host, ref_host;
    void *instance, *exe, *ref_instance, *ref_exe;
    static float images[BATCH * IMAGE];
    float wanted[BATCH * CLASSES], first[BATCH * CLASSES], output[BATCH * CLASSES + 1];
    make_graph(&m);
    test_host_init(&host);
    test_host_init(&ref_host);
    for (int32_t k = 0; k < BATCH * IMAGE; k++) {
        images[k] = maker_normal(&m.random);
    }
    assert_int_equal(compile(&ref_backend, &ref_host, &m, NULL, &ref_instance, &ref_exe), PARE_OK);
    assert_int_equal(ref_backend.run(ref_exe, images, BATCH, wanted), PARE_OK);
    assert_int_equal(compile(backend, &host, &m, NULL, &instance, &exe), PARE_OK);
    for (int32_t n = BATCH; n >= 1; n--) {
        host.n_threads = 1 + n % 3;
        host.backwards = n % 2;
        host.in_run = 1;
        output[n * CLASSES] = 77.0f;
        assert_int_equal(backend->run(exe, images, n, output), PARE_OK);
        host.in_run = 0;
        assert_true(output[n * CLASSES] == 77.0f);
        if (n == BATCH) {
            memcpy(first, output, sizeof first);
        }
        assert_memory_equal(output, first, (size_t)(n * CLASSES) * sizeof(float));
    }
    for (int32_t k = 0; k < BATCH * CLASSES; k++) {
        assert_true(fabsf(first[k] - wanted[k]) <= 1e-5f);
    }
    const pare_backend_observe *observe = backend->get_extension(PARE_BACKEND_OBSERVE);
    int64_t n_seen = 0;
    assert_int_equal(observe->run(exe, images, BATCH, output, ignore_value, &n_seen), PARE_OK);
    assert_true(n_seen > BATCH * (IMAGE + CLASSES));
    assert_memory_equal(output, first, sizeof first);
    destroy(&ref_backend, &ref_host, ref_instance, ref_exe);
    destroy(backend, &host, instance, exe);
    maker_free(&m);
}

static void check_refusals(const struct comparator *subject) {
    const pare_backend *backend = subject->backend;
    struct maker m;
    struct test_host host;
    void *instance, *exe;
    static float images[(BATCH + 1) * IMAGE];
    float output[(BATCH + 1) * CLASSES];
    make_graph(&m);
    test_host_init(&host);
    assert_int_equal(compile(backend, &host, &m, "avx9", &instance, &exe), PARE_E_UNSUPPORTED);
    assert_non_null(strstr(host.text, "isa is \"avx9\""));
    assert_int_equal(compile(backend, &host, &m, subject->isa(), &instance, &exe), PARE_OK);
    assert_int_equal(backend->run(exe, images, 0, output), PARE_E_RANGE);
    assert_int_equal(backend->run(exe, images, BATCH + 1, output), PARE_E_RANGE);
    images[3 * IMAGE + 1] = NAN;
    assert_int_equal(backend->run(exe, images, 4, output), PARE_E_NUMERIC);
    assert_string_equal(host.text, "image 3 of the batch holds a value that is not finite");
    assert_int_equal(backend->supports(instance, &m.graph, 2), PARE_OK);
    backend->executable_destroy(exe);
    backend->destroy(instance);
    assert_int_equal(host.n_live, 0);
    maker_free(&m);
}

/* Each allocation in turn fails. */
static void check_no_memory(const struct comparator *subject) {
    const pare_backend *backend = subject->backend;
    struct maker m;
    make_graph(&m);
    int64_t k = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; k++) {
        struct test_host host;
        void *instance, *exe;
        test_host_init(&host);
        host.fail_at = k;
        status = compile(backend, &host, &m, NULL, &instance, &exe);
        if (status == PARE_OK) {
            destroy(backend, &host, instance, exe);
        }
        assert_true(status == PARE_OK || status == PARE_E_NOMEM);
        assert_int_equal(host.n_live, 0);
        assert_true(k < 1000);
    }
    assert_true(k > 30);
    maker_free(&m);
}

/* A quantized graph is taken and says that its integers are not the prescribed ones, or refused. */
static void check_codes(const struct comparator *subject) {
    const pare_backend *backend = subject->backend;
    struct maker m;
    struct test_host host;
    void *instance, *exe;
    const pare_executable_info *info;
    maker_init(&m, 22, 9, 7, 3);
    int32_t x = maker_conv(&m, 0, 6, 3, 1, 1, 1, 1);
    maker_linear(&m, maker_simple(&m, PARE_OP_FLATTEN, x), CLASSES, 1);
    for (int32_t node = 0; node <= x; node++) {
        maker_quantize_value(&m, node, 8, 0.05f, 0);
    }
    maker_quantize_weight(&m, 1, 8);
    maker_quantize_weight(&m, m.graph.n_nodes - 1, 8);
    test_host_init(&host);
    assert_int_equal(backend->create(&host.host, NULL, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, BATCH, NULL};
    pare_status status = backend->compile(instance, &m.graph, &options, &exe);
    if (subject->int8_execution == NULL) {
        assert_int_equal(status, PARE_E_UNSUPPORTED);
        assert_non_null(strstr(host.text, "float only"));
        assert_int_equal(backend->supports(instance, &m.graph, x), PARE_E_UNSUPPORTED);
        assert_non_null(strstr(host.text, m.nodes[x]->name));
    } else {
        assert_int_equal(status, PARE_OK);
        assert_int_equal(backend->executable_info(exe, &info), PARE_OK);
        assert_string_equal(info->execution, subject->int8_execution);
        for (int32_t k = 0; k < info->n_kernels; k++) {
            assert_non_null(strstr(info->kernels[k]->kernel, "_i8"));
        }
        assert_int_equal(backend->supports(instance, &m.graph, x), PARE_OK);
        backend->executable_destroy(exe);
        maker_quantize_value(&m, x, 16, 0.001f, 0);
        assert_int_equal(backend->supports(instance, &m.graph, x), PARE_E_UNSUPPORTED);
        assert_non_null(strstr(host.text, m.nodes[x]->name));
        assert_int_equal(backend->compile(instance, &m.graph, &options, &exe), PARE_E_UNSUPPORTED);
    }
    backend->destroy(instance);
    assert_int_equal(host.n_live, 0);
    maker_free(&m);
}

static void for_each(void (*check)(const struct comparator *subject)) {
    for (int k = 0; k < N_COMPARATORS; k++) {
        check(&comparators[k]);
    }
}

static void test_pieces(void **state) {
    (void)state;
    for_each(check_pieces);
}

static void test_refusals(void **state) {
    (void)state;
    for_each(check_refusals);
}

static void test_codes(void **state) {
    (void)state;
    for_each(check_codes);
}

static void test_no_memory(void **state) {
    (void)state;
    for_each(check_no_memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
