/* SPDX-License-Identifier: MIT */
/* What test_backend_graphs.c does not see of the comparator onednn: batches of several pieces,
 * refusals, memory that runs out. Only built where the backend is. */
#include "check/graph_maker.h"
#include "host_table.h"
#include "onednn.h"
#include "ref.h"

#include <math.h>
#include <pare/ext/observe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH (2 * ONEDNN_PIECE + 3)
#define CLASSES 5
#define IMAGE (9 * 7 * 3)

/* Every operator that the backend has. */
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
static void test_pieces(void **state) {
    (void)state;
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
    assert_int_equal(compile(&onednn_backend, &host, &m, NULL, &instance, &exe), PARE_OK);
    for (int32_t n = BATCH; n >= 1; n--) {
        host.n_threads = 1 + n % 3;
        host.backwards = n % 2;
        host.in_run = 1;
        output[n * CLASSES] = 77.0f;
        assert_int_equal(onednn_backend.run(exe, images, n, output), PARE_OK);
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
    const pare_backend_observe *observe = onednn_backend.get_extension(PARE_BACKEND_OBSERVE);
    int64_t n_seen = 0;
    assert_int_equal(observe->run(exe, images, BATCH, output, ignore_value, &n_seen), PARE_OK);
    assert_true(n_seen > BATCH * (IMAGE + CLASSES));
    assert_memory_equal(output, first, sizeof first);
    destroy(&ref_backend, &ref_host, ref_instance, ref_exe);
    destroy(&onednn_backend, &host, instance, exe);
    maker_free(&m);
}

static void test_refusals(void **state) {
    (void)state;
    struct maker m;
    struct test_host host;
    void *instance, *exe;
    static float images[(BATCH + 1) * IMAGE];
    float output[(BATCH + 1) * CLASSES];
    make_graph(&m);
    test_host_init(&host);
    assert_int_equal(compile(&onednn_backend, &host, &m, "avx9", &instance, &exe),
                     PARE_E_UNSUPPORTED);
    assert_non_null(strstr(host.text, "isa is \"avx9\""));
    assert_int_equal(compile(&onednn_backend, &host, &m, onednn_isa(), &instance, &exe), PARE_OK);
    assert_int_equal(onednn_backend.run(exe, images, 0, output), PARE_E_RANGE);
    assert_int_equal(onednn_backend.run(exe, images, BATCH + 1, output), PARE_E_RANGE);
    images[3 * IMAGE + 1] = NAN;
    assert_int_equal(onednn_backend.run(exe, images, 4, output), PARE_E_NUMERIC);
    assert_string_equal(host.text, "image 3 of the batch holds a value that is not finite");
    assert_int_equal(onednn_backend.supports(instance, &m.graph, 2), PARE_OK);
    onednn_backend.executable_destroy(exe);
    maker_quantize_value(&m, 2, 8, 0.05f, 0);
    assert_int_equal(onednn_backend.supports(instance, &m.graph, 2), PARE_E_UNSUPPORTED);
    assert_non_null(strstr(host.text, m.nodes[2]->name));
    onednn_backend.destroy(instance);
    assert_int_equal(compile(&onednn_backend, &host, &m, NULL, &instance, &exe),
                     PARE_E_UNSUPPORTED);
    assert_int_equal(host.n_live, 0);
    maker_free(&m);
}

/* Each allocation in turn fails. */
static void test_no_memory(void **state) {
    (void)state;
    struct maker m;
    make_graph(&m);
    int64_t k = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; k++) {
        struct test_host host;
        void *instance, *exe;
        test_host_init(&host);
        host.fail_at = k;
        status = compile(&onednn_backend, &host, &m, NULL, &instance, &exe);
        if (status == PARE_OK) {
            destroy(&onednn_backend, &host, instance, exe);
        }
        assert_true(status == PARE_OK || status == PARE_E_NOMEM);
        assert_int_equal(host.n_live, 0);
        assert_true(k < 1000);
    }
    assert_true(k > 30);
    maker_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
