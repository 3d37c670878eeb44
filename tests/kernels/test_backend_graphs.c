/* SPDX-License-Identifier: MIT */
/* Whole graphs on every backend and level that this machine has, against naive.c: codes bit for
 * bit, floats within the bound of plugins/backends/README.md (ref: bit for bit). */
#include "check/graph_maker.h"
#include "host_table.h"
#include "naive.h"
#include "subjects.h"

#include <math.h>
#include <pare/ext/observe.h>
#include <pare/ext/profile.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_BATCH 5 /* one whole tile of samples and a rest */
#define MAX_CLASSES 64
#define OUTPUT_GUARD 16

struct seen {
    const struct maker *m;
    const struct naive_value
        *naive; /* (n_nodes) of one sample: what is stored, and on which grid */
    struct naive_value (*given)[256]; /* by sample: what the backend made */
    int32_t n, n_codes;
    uint64_t seed;
};

/* Notes a stored value; that it is one, and codes or not, is as the specification says. */
static pare_status note_value(void *context, int32_t node, const float *real, const int16_t *codes,
                              int64_t n_elems) {
    struct seen *seen = context;
    int64_t per_sample = n_elems / seen->n;
    const struct naive_value *v = &seen->naive[node];
    seen->n_codes += codes != NULL;
    if (!v->made || v->n != per_sample || (codes != NULL) != (v->codes != NULL)) {
        fail_msg("seed %llu: node %d is not stored as the specification says",
                 (unsigned long long)seen->seed, node);
    }
    for (int32_t i = 0; i < seen->n; i++) {
        struct naive_value *to = &seen->given[i][node];
        assert_false(to->made);
        *to = (struct naive_value){.made = 1, .n = per_sample, .quant = v->quant};
        if (codes != NULL) {
            to->codes = calloc((size_t)per_sample, sizeof *to->codes);
        } else {
            to->real = calloc((size_t)per_sample, sizeof *to->real);
        }
        for (int64_t k = 0; k < per_sample; k++) {
            if (codes != NULL) {
                to->codes[k] = codes[i * per_sample + k];
            } else {
                to->real[k] = real[i * per_sample + k];
            }
        }
    }
    return PARE_OK;
}

/* By how much an average may differ whose window is summed in another order. */
static float pool_slack(const struct maker *m, const struct naive_value *made, int32_t node) {
    const pare_node *pool = m->graph.nodes[node];
    int32_t from = pool->inputs[0];
    while (!made[from].made && m->graph.nodes[from]->op == PARE_OP_QUANTIZE) {
        from = m->graph.nodes[from]->inputs[0]; /* nothing is stored where nothing is quantized */
    }
    const struct naive_value *in = &made[from];
    const int32_t *d = m->graph.nodes[pool->inputs[0]]->dims;
    float largest = 0.0f;
    if (pool->op != PARE_OP_AVG_POOL && pool->op != PARE_OP_GLOBAL_AVG_POOL) {
        return 0.0f;
    }
    for (int64_t k = 0; k < in->n; k++) {
        const pare_quant *q = &in->quant;
        float x =
            in->real != NULL
                ? in->real[k]
                : (float)(in->codes[k] - (q->zero_point ? q->zero_point[0] : 0)) * q->scale[0];
        largest = fmaxf(largest, fabsf(x));
    }
    int32_t n = pool->op == PARE_OP_AVG_POOL ? pool->kernel_h * pool->kernel_w : d[0] * d[1];
    return 2.0f * (float)(n + 2) * 0x1p-24f * largest;
}

/* Is element k of what the backend made what the naive code makes of the same inputs? Codes and
 * what has no slack exactly; an approximate backend's codes up to one, its floats up to the
 * rounding of one more product and `pooled`. */
static int agrees(const struct naive_value *made, const struct naive_value *wanted, int64_t k,
                  const struct subject *subject, float pooled) {
    float slack = wanted->slack != NULL && !subject->exact ? wanted->slack[k] : 0.0f;
    int64_t off = subject->approximate;
    if (off != 0 && made->codes == NULL) {
        slack += fabsf(wanted->real[k]) * 0x1p-22f + pooled;
    }
    if (slack == 0.0f) {
        return made->codes != NULL ? llabs(made->codes[k] - wanted->codes[k]) <= off
                                   : memcmp(&made->real[k], &wanted->real[k], sizeof(float)) == 0;
    }
    if (made->codes != NULL) {
        return made->codes[k] >= naive_quantize(wanted->before[k] - slack, &wanted->quant) - off &&
               made->codes[k] <= naive_quantize(wanted->before[k] + slack, &wanted->quant) + off;
    }
    return fabsf(made->real[k] - wanted->real[k]) <= slack;
}

static void compare_sample(const struct maker *m, const struct subject *subject,
                           const struct naive_value *made, const struct naive_value *wanted,
                           uint64_t seed) {
    for (int32_t node = 0; node < m->graph.n_nodes; node++) {
        float pooled = subject->approximate && made[node].made ? pool_slack(m, made, node) : 0.0f;
        for (int64_t k = 0; made[node].made && k < made[node].n; k++) {
            if (!agrees(&made[node], &wanted[node], k, subject, pooled)) {
                fail_msg("seed %llu, %s: node %d (%d) element %lld: got %.9g, wanted %.9g",
                         (unsigned long long)seed, subject->isa, node,
                         (int)m->graph.nodes[node]->op, (long long)k,
                         made[node].codes ? (double)made[node].codes[k]
                                          : (double)made[node].real[k],
                         made[node].codes ? (double)wanted[node].codes[k]
                                          : (double)wanted[node].real[k]);
            }
        }
    }
}

struct outcome {
    char execution[16];
    int32_t n_integer, n_fallback, n_codes_seen;
    char kernels[2048];
    int fused_adds; /* of ref's outcome: are adds done in convolutions where that can be? -1:
                       nowhere */
};

static int holds_codes(const struct maker *m) {
    int codes = 0;
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        codes |= m->nodes[i]->activation.bits != 0;
    }
    return codes;
}

/* One seed in so many is tried, by default every one; emulation is slow. */
static uint64_t seed_step(void) {
    const char *every = getenv("KERNEL_TESTS_EVERY");
    long long step = every != NULL ? strtoll(every, NULL, 10) : 1;
    assert_true(step >= 1);
    return (uint64_t)step;
}

enum { MAX_KERNELS = 1024 };

struct told {
    int32_t n_kernels, last, n_before; /* of kernel -1 */
    int32_t n_done[MAX_KERNELS];
};

static void note_done(void *context, int32_t kernel) {
    struct told *told = context;
    assert_in_range(kernel + 1, 0, told->n_kernels);
    assert_true(kernel == -1 || kernel == told->last + 1 ||
                (kernel == 0 && told->last == told->n_kernels - 1)); /* the next chunk */
    told->last = kernel;
    told->n_before += kernel == -1;
    if (kernel >= 0) {
        told->n_done[kernel]++;
    }
}

/* A run that tells of its kernels gives the bits of others, and tells of each, in order. */
static void check_profile(const struct subject *subject, void *exe, const float *images, int32_t n,
                          const float *wanted, size_t bytes) {
    static struct told told;
    float output[MAX_BATCH * MAX_CLASSES];
    const pare_executable_info *info;
    const pare_backend_profile *profile = subject->backend->get_extension(PARE_BACKEND_PROFILE);
    assert_non_null(profile);
    assert_int_equal(subject->backend->executable_info(exe, &info), PARE_OK);
    assert_in_range(info->n_kernels, 1, MAX_KERNELS);
    told = (struct told){.n_kernels = info->n_kernels, .last = -1};
    assert_int_equal(profile->run(exe, images, n, output, note_done, &told), PARE_OK);
    assert_memory_equal(output, wanted, bytes);
    assert_int_equal(told.last, info->n_kernels - 1);
    for (int32_t k = 0; k < info->n_kernels; k++) {
        assert_int_equal(told.n_done[k], told.n_done[0]); /* once for each chunk */
    }
}

/* Runs on any batch, threads and order of tasks give the bits that observed values have. */
static void check_runs(const struct maker *m, const struct subject *subject, struct test_host *host,
                       void *exe, const float *images, struct naive_value (*naive)[256],
                       uint64_t seed, struct outcome *outcome) {
    static struct naive_value given[MAX_BATCH][256];
    static struct naive_value wanted[256];
    const pare_backend_observe *observe = subject->backend->get_extension(PARE_BACKEND_OBSERVE);
    const int32_t *d = m->graph.input_dims;
    int64_t per_image = (int64_t)d[0] * d[1] * d[2];
    int32_t classes = m->graph.n_classes;
    float first[MAX_BATCH * MAX_CLASSES];
    float output[MAX_BATCH * MAX_CLASSES + OUTPUT_GUARD];
    for (int32_t n = MAX_BATCH; n >= 1; n -= 2) {
        memset(output, 0x7f, sizeof output);
        host->backwards = n == 3;
        host->n_threads = n == 3 ? 1 : 3; /* one image: its rows are shared */
        host->in_run = 1;
        assert_int_equal(subject->backend->run(exe, images, n, output), PARE_OK);
        host->in_run = 0;
        size_t bytes = (size_t)(n * classes) * sizeof(float);
        if (n == MAX_BATCH) {
            memcpy(first, output, bytes);
        } else if (memcmp(output, first, bytes) != 0) {
            fail_msg("seed %llu, %s, batch %d: outputs differ", (unsigned long long)seed,
                     subject->isa, n);
        }
        const unsigned char *after = (const unsigned char *)output;
        for (size_t k = bytes; k < sizeof output; k++) {
            assert_int_equal(after[k], 0x7f);
        }
        memset(given, 0, sizeof given);
        struct seen seen = {m, naive[0], given, n, 0, seed};
        assert_int_equal(observe->run(exe, images, n, output, note_value, &seen), PARE_OK);
        assert_memory_equal(output, first, bytes);
        host->in_run = 1;
        check_profile(subject, exe, images, n, first, bytes);
        host->in_run = 0;
        outcome->n_codes_seen = seen.n_codes;
        for (int32_t i = 0; i < n; i++) {
            naive_run_on(&m->graph, images + i * per_image, given[i], wanted);
            compare_sample(m, subject, given[i], wanted, seed);
            naive_free(&m->graph, given[i]);
            naive_free(&m->graph, wanted);
        }
    }
}

static void check_subject(struct maker *m, const struct subject *subject, const float *images,
                          struct naive_value (*naive)[256], const float *wanted, uint64_t seed,
                          struct outcome *outcome) {
    const pare_backend *backend = subject->backend;
    struct test_host host;
    test_host_init(&host);
    host.n_threads = 3;
    void *instance;
    void *exe;
    assert_int_equal(subject_create(subject, &host.host, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, MAX_BATCH, subject->isa};
    pare_status status = backend->compile(instance, &m->graph, &options, &exe);
    if (subject->float_only && holds_codes(m)) {
        assert_int_equal(status, PARE_E_UNSUPPORTED);
        assert_non_null(strstr(host.text, "float only"));
        backend->destroy(instance);
        assert_int_equal(host.n_live, 0);
        return;
    }
    if (subject->approximate && status == PARE_E_UNSUPPORTED) {
        backend->destroy(instance);
        assert_int_equal(host.n_live, 0);
        return;
    }
    if (status != PARE_OK) {
        fail_msg("seed %llu: compile: %s", (unsigned long long)seed, host.text);
    }
    check_runs(m, subject, &host, exe, images, naive, seed, outcome);
    const pare_executable_info *info;
    assert_int_equal(backend->executable_info(exe, &info), PARE_OK);
    assert_string_equal(info->isa, subject->isa);
    /* Without float layers, or with sums in the reference's order, the logits are the same bits. */
    if (subject->exact || strcmp(info->execution, "integer") == 0) {
        float output[MAX_BATCH * MAX_CLASSES];
        size_t bytes = (size_t)(MAX_BATCH * m->graph.n_classes) * sizeof(float);
        assert_int_equal(backend->run(exe, images, MAX_BATCH, output), PARE_OK);
        assert_memory_equal(output, wanted, bytes);
    }
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
    backend->executable_destroy(exe);
    backend->destroy(instance);
    assert_int_equal(host.n_live, 0);
    assert_int_equal(host.damaged, 0);
    assert_int_equal(host.wrong_allocs, 0);
}

/* On every backend and level this machine has; the outcome is ref's. */
static struct outcome check(struct maker *m, float spread) {
    static struct naive_value naive[MAX_BATCH][256];
    uint64_t seed = m->random;
    int32_t classes = m->graph.n_classes;
    const int32_t *d = m->graph.input_dims;
    int64_t per_image = (int64_t)d[0] * d[1] * d[2];
    /* Exactly as large as the images are, so that a sanitizer sees a read past them. */
    float *images = malloc((size_t)(per_image * MAX_BATCH) * sizeof(float));
    float wanted[MAX_BATCH * MAX_CLASSES];
    struct subject subjects[MAX_SUBJECTS];
    int32_t n_subjects = subjects_usable(subjects);
    struct outcome outcomes[MAX_SUBJECTS];
    assert_true(classes <= MAX_CLASSES && images != NULL);
    for (int64_t k = 0; k < per_image * MAX_BATCH; k++) {
        images[k] = spread * maker_normal(&m->random);
    }
    for (int i = 0; i < MAX_BATCH; i++) {
        naive_run(&m->graph, images + i * per_image, naive[i], wanted + i * classes);
    }
    for (int32_t k = n_subjects; k-- > 0;) {
        check_subject(m, &subjects[k], images, naive, wanted, seed, &outcomes[k]);
    }
    outcomes[0].fused_adds = -1;
    for (int32_t k = 0; k < n_subjects; k++) {
        if (subjects[k].fuses_adds) {
            int fused = strstr(outcomes[k].kernels, "_add ") != NULL;
            assert_true(outcomes[0].fused_adds == -1 || outcomes[0].fused_adds == fused);
            outcomes[0].fused_adds = fused;
        }
    }
    for (int i = 0; i < MAX_BATCH; i++) {
        naive_free(&m->graph, naive[i]);
    }
    free(images);
    return outcomes[0];
}

/* ---- graphs ---- */

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
        maker_quantize_somehow(m, 0, bits, 3.0f);
        maker_quantize_weight(m, conv1, bits);
    }
    maker_quantize_somehow(m, relu1, bits, 3.0f);
    maker_quantize_somehow(m, relu2, bits, 3.0f);
    maker_quantize_somehow(m, pool2, bits, 3.0f);
    maker_quantize_somehow(m, relu3, bits, 3.0f);
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
        maker_quantize_somehow(m, 0, bits, 3.0f);
    }
    int32_t x = maker_conv(m, 0, 6, 3, 1, 1, 1, !batch_norm);
    int32_t first = x;
    x = batch_norm ? maker_batch_norm(m, x) : x;
    x = maker_simple(m, PARE_OP_RELU, x);
    if (bits) {
        maker_quantize_weight(m, first, bits);
        maker_quantize_somehow(m, x, bits, 3.0f);
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
            maker_quantize_somehow(m, a_relu, bits, 3.0f);
            maker_quantize_somehow(m, b_end, bits, 3.0f);
            maker_quantize_somehow(m, x, bits, 4.0f);
        }
    }
    x = maker_simple(m, PARE_OP_GLOBAL_AVG_POOL, x);
    int32_t fc = maker_linear(m, x, 10, 1);
    if (bits) {
        maker_quantize_somehow(m, x, bits, 2.0f);
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
            assert_true(outcome.fused_adds == -1 || outcome.fused_adds == (bits <= 8));
            maker_free(&m);
        }
    }
}

/* A residual network of signs (Bi-Real Net, arXiv 1808.00278): what the adds read keeps its bits,
 * and the convolutions of 1-bit weights read its signs. The last convolution's signs go through max
 * pooling and flatten to a linear layer. */
static void make_signs(struct maker *m, uint64_t seed, int32_t bits, int32_t channels) {
    maker_init(m, seed, 7, 5, 3);
    maker_quantize_somehow(m, 0, bits, 3.0f);
    int32_t x = maker_conv(m, 0, channels, 3, 1, 1, 1, 1);
    maker_quantize_weight(m, x, bits);
    maker_quantize_somehow(m, x, bits, 3.0f);
    for (int32_t block = 0; block < 3; block++) {
        int32_t stride = block == 1 ? 2 : 1;
        int32_t kernel = block == 2 ? 1 : maker_between(&m->random, 1, 2) * 2 + 1;
        int32_t skip = block == 1 ? maker_shortcut(m, x, channels + 5, stride) : x;
        int32_t groups = block == 2 && m->nodes[x]->dims[2] % 2 == 0 ? 2 : 1;
        int32_t signs = maker_sign(m, x, 0.5f + 0.1f * (float)block);
        int32_t conv = maker_conv(m, signs, m->nodes[skip]->dims[2], kernel, stride, kernel / 2,
                                  groups, block != 1);
        maker_binary_weight(m, conv);
        maker_quantize_somehow(m, conv, bits, 20.0f);
        x = maker_add(m, conv, skip);
        maker_quantize_somehow(m, x, bits, 20.0f);
    }
    x = maker_pool(m, PARE_OP_MAX_POOL, maker_sign(m, x, 1.0f), 2, 2, 0);
    x = maker_linear(m, maker_simple(m, PARE_OP_FLATTEN, x), 21, 1);
    maker_binary_weight(m, x);
    maker_quantize_somehow(m, x, bits, 20.0f);
    x = maker_linear(m, maker_simple(m, PARE_OP_RELU, maker_sign(m, x, 0.3f)), 10, 1);
    maker_quantize_weight(m, x, bits);
}

static void test_signs(void **state) {
    (void)state;
    static const int32_t channels[] = {1, 2, 7, 8, 16, 20, 32, 40, 59, 64, 66};
    for (size_t k = 0; k < sizeof channels / sizeof *channels; k += (size_t)seed_step()) {
        int32_t bits = 4 + 4 * (int32_t)(k % 3);
        struct maker m;
        make_signs(&m, 10 * k, bits, channels[k]);
        struct outcome outcome = check(&m, 1.0f);
        assert_non_null(strstr(outcome.kernels, bits <= 8 ? "ref_sign_i8" : "ref_sign_i16"));
        /* Relu has no sign to keep, so it and the layer behind it run in float. */
        assert_string_equal(outcome.execution, "mixed");
        maker_free(&m);
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

/* All float weights, and some output channels as a whole. */
static void prune_all(struct maker *m, int32_t percent) {
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        const pare_weight *w = m->nodes[i]->weights[PARE_ROLE_WEIGHT];
        if (w != NULL && w->codes == NULL) {
            maker_prune(m, i, percent, percent / 40);
        }
    }
}

/* Weights that are 0, from none to all of them. */
static void test_pruned(void **state) {
    (void)state;
    static const int32_t percents[] = {0, 50, 90, 99, 100};
    for (size_t k = 0; k < sizeof percents / sizeof *percents; k++) {
        struct maker m;
        make_resnet(&m, 60 + k, 0, (int)k % 2);
        prune_all(&m, percents[k]);
        check(&m, 1.0f);
        maker_free(&m);
        make_lenet(&m, 70 + k, 0, 0, 0);
        prune_all(&m, percents[k]);
        check(&m, 1.0f);
        maker_free(&m);
    }
}

static void test_random_graphs(void **state) {
    (void)state;
    const uint64_t step = seed_step();
    uint64_t n_mixed = 0;
    uint64_t n_integer = 0;
    for (uint64_t seed = 0; seed < 150; seed += step) {
        struct maker m;
        maker_random_graph(&m, seed);
        if (seed % 2 == 1) {
            prune_all(&m, (int32_t)(seed % 101));
        }
        struct outcome outcome = check(&m, 1.0f);
        n_mixed += strcmp(outcome.execution, "mixed") == 0;
        n_integer += strcmp(outcome.execution, "integer") == 0;
        maker_free(&m);
    }
    /* The sample is one that means something. */
    assert_true(n_mixed >= 30 / step);
    assert_true(n_integer >= 5 / step);
}

static void quantize_weight(struct maker *m, int32_t node, int32_t bits) {
    if (bits == 1) {
        maker_binary_weight(m, node);
    } else {
        maker_quantize_weight(m, node, bits);
    }
}

/* One convolution and one linear layer around every size of a tile: one element, a tile and its
 * neighbours, primes; with weights of `bits` bits (0: floats). With `extreme`, the largest codes
 * there are on both sides of each product, which is where sums that saturate or start wrongly show.
 */
static void check_shape(uint64_t seed, int32_t bits, int extreme) {
    static const int32_t channels[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 61, 64};
    const int32_t n_channels = (int32_t)(sizeof channels / sizeof *channels);
    struct maker m;
    uint64_t r = seed * 1009 + 17;
    int32_t kernel = maker_between(&r, 0, 3);
    kernel = kernel == 0 ? 1 : kernel == 3 ? 5 : 3;
    int32_t pad = maker_between(&r, 0, kernel);
    int32_t least = kernel > 2 * pad ? kernel - 2 * pad : 1;
    maker_init(&m, seed, maker_between(&r, least, least + 5), maker_between(&r, least, least + 32),
               channels[maker_between(&r, 0, n_channels - 1)]);
    int32_t in_c = m.graph.input_dims[2];
    int32_t out_c = channels[maker_between(&r, 0, n_channels - 1)];
    int32_t groups = in_c == out_c && maker_between(&r, 0, 3) == 0                     ? in_c
                     : in_c % 4 == 0 && out_c % 4 == 0 && maker_between(&r, 0, 3) == 0 ? 4
                                                                                       : 1;
    int32_t conv =
        maker_conv(&m, 0, out_c, kernel, maker_between(&r, 1, 3), pad, groups, extreme ? 0 : 1);
    int32_t relu = maker_between(&r, 0, 1) ? maker_simple(&m, PARE_OP_RELU, conv) : conv;
    int32_t pool =
        maker_simple(&m, maker_between(&r, 0, 1) ? PARE_OP_FLATTEN : PARE_OP_GLOBAL_AVG_POOL, relu);
    int32_t fc = maker_linear(&m, pool, channels[maker_between(&r, 0, n_channels - 1)], 1);
    if (bits > 0) {
        float range = extreme ? 0.01f : 3.0f;
        maker_quantize_somehow(&m, 0, 8, range);
        maker_quantize_somehow(&m, relu, 8, extreme ? 0.01f * (float)(in_c * kernel) : 3.0f);
        if (pool != relu && m.nodes[pool]->op != PARE_OP_FLATTEN) {
            maker_quantize_somehow(&m, pool, 8, 2.0f);
        }
        quantize_weight(&m, conv, bits);
        quantize_weight(&m, fc, bits);
    }
    for (int64_t k = 0; extreme && k < maker_weight(&m, conv, PARE_ROLE_WEIGHT)->n_elems; k++) {
        pare_weight *w = maker_weight(&m, conv, PARE_ROLE_WEIGHT);
        int16_t most = (int16_t)(bits > 1 ? (1 << (bits - 1)) - 1 : 1);
        int negative = seed % 3 == 1 || (seed % 3 == 2 && k % 2 == 0);
        int16_t code = negative ? (int16_t)-most : most;
        ((int16_t *)(uintptr_t)w->codes)[k] = code;
        ((float *)(uintptr_t)w->data)[k] =
            w->quant.scale[k / (w->n_elems / w->dims[0])] * (float)code;
    }
    struct outcome outcome = check(&m, 1.0f);
    assert_string_equal(outcome.execution, bits > 0 ? "integer" : "float");
    maker_free(&m);
}

static void test_shapes(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed += seed_step()) {
        check_shape(seed, 8, 0);
        check_shape(seed + 1000, 8, 1);
        check_shape(seed + 2000, 0, 0);
    }
}

static void test_narrow_weights(void **state) {
    (void)state;
    for (int32_t bits = 1; bits <= 4; bits++) {
        for (uint64_t seed = 0; seed < 20; seed += seed_step()) {
            check_shape(seed + 3000 + 100 * (uint64_t)bits, bits, 0);
            check_shape(seed + 4000 + 100 * (uint64_t)bits, bits, 1);
        }
    }
}

/* 3x3 convolutions of 16, 32 and 64 channels with stride 1, for which backends have kernels of
 * their own, over widths that are whole tiles, whole tiles of another size, and neither. */
static void test_wide_3x3(void **state) {
    (void)state;
    static const int32_t widths[] = {8, 7, 13};
    for (int quantized = 0; quantized < 2; quantized++) {
        for (int k = 0; k < 3; k++) {
            struct maker m;
            maker_init(&m, 40 + (uint64_t)k, 2, widths[k], 16);
            int32_t x = 0;
            for (int32_t channels = 16; channels <= 64; channels *= 2) {
                if (quantized) {
                    maker_quantize_somehow(&m, x, 8, 3.0f);
                }
                int32_t same = maker_conv(&m, x, channels, 3, 1, 1, 1, 1);
                int32_t wider = maker_conv(&m, same, 2 * channels, 1, 1, 0, 1, 1);
                if (quantized) {
                    maker_quantize_somehow(&m, same, 8, 3.0f);
                    maker_quantize_weight(&m, same, 8);
                    maker_quantize_weight(&m, wider, 8);
                }
                x = maker_simple(&m, PARE_OP_RELU, wider);
            }
            int32_t pool = maker_simple(&m, PARE_OP_GLOBAL_AVG_POOL, x);
            int32_t fc = maker_linear(&m, pool, 64, 1);
            if (quantized) {
                maker_quantize_somehow(&m, x, 8, 3.0f);
                maker_quantize_somehow(&m, pool, 8, 3.0f);
                maker_quantize_weight(&m, fc, 8);
            }
            struct outcome outcome = check(&m, 1.0f);
            assert_string_equal(outcome.execution, quantized ? "integer" : "float");
            maker_free(&m);
        }
    }
}

/* test_backend_graphs [PATTERN]: the tests whose names match, * and ? as in file names. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lenet_float),    cmocka_unit_test(test_lenet_integer),
        cmocka_unit_test(test_lenet_wide),     cmocka_unit_test(test_lenet_mixed),
        cmocka_unit_test(test_resnet_float),   cmocka_unit_test(test_resnet_integer),
        cmocka_unit_test(test_signs),          cmocka_unit_test(test_resnet_unfolded),
        cmocka_unit_test(test_two_readers),    cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_shapes),         cmocka_unit_test(test_wide_3x3),
        cmocka_unit_test(test_narrow_weights), cmocka_unit_test(test_pruned),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
