/* SPDX-License-Identifier: MIT */
/* The method ptq: ranges by entropy, weights in groups, and what a target stands for, against naive
 * computations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptq_fixtures.h"

enum { N_BINS = 2048 };

/* conv1 (5) - relu1 - conv2 (4) - relu2 - gap - fc (3), on (12,12,2) */
static struct model *net(void) {
    struct model *m = model_start(12, 12, 2);
    int32_t x = add_conv(m, "conv1", 0, 5);
    x = add_op(m, PARE_OP_RELU, "relu1", x);
    x = add_conv(m, "conv2", x, 4);
    x = add_op(m, PARE_OP_RELU, "relu2", x);
    x = add_op(m, PARE_OP_GLOBAL_AVG_POOL, "gap", x);
    add_linear(m, "fc", x, 3);
    model_end(m);
    return m;
}

static struct model *quantized(const char *settings) {
    const struct instance_env env = {.seed = 1};
    struct model *m = net();
    ptq_step(m, settings, &env);
    return m;
}

static const pare_quant *activation(const struct model *m, const char *name) {
    return &m->graph.nodes[model_find_node(m, name)]->activation;
}

/* ---- entropy ---- */

/* The divergence of one clip, from the definition: P is what is kept, its last bin with all that
 * lies beyond; Q the kept bins merged to levels, each spread over its bins that are not empty. */
static double naive_divergence(const double *bins, int n_kept, int n_levels) {
    double p[N_BINS], q[N_BINS], sum_p = 0, sum_q = 0, divergence = 0;
    for (int k = 0; k < n_kept; k++) {
        p[k] = bins[k];
    }
    for (int k = n_kept; k < N_BINS; k++) {
        p[n_kept - 1] += bins[k];
    }
    for (int level = 0; level < n_levels; level++) {
        const int from = level * n_kept / n_levels, to = (level + 1) * n_kept / n_levels;
        double sum = 0, filled = 0;
        for (int k = from; k < to; k++) {
            sum += bins[k];
            filled += p[k] > 0;
        }
        for (int k = from; k < to; k++) {
            q[k] = p[k] > 0 ? sum / filled : 0;
        }
    }
    for (int k = 0; k < n_kept; k++) {
        sum_p += p[k];
        sum_q += q[k];
    }
    for (int k = 0; k < n_kept; k++) {
        divergence += p[k] > 0 ? p[k] / sum_p * log(p[k] / sum_p / (q[k] / sum_q)) : 0;
    }
    return divergence;
}

static double naive_clip(const float *values, int64_t n, int n_levels) {
    double bins[N_BINS] = {0}, most = 0, least = INFINITY, clip = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)values[i]));
    }
    for (int64_t i = 0; i < n; i++) {
        const int at = (int)(fabs((double)values[i]) * (N_BINS / most));
        bins[at < N_BINS ? at : N_BINS - 1]++;
    }
    bins[0] = bins[1];
    for (int kept = N_BINS; kept >= n_levels; kept--) {
        const double found = naive_divergence(bins, kept, n_levels);
        if (found < least - 1e-12) {
            least = found;
            clip = most * kept / N_BINS;
        }
    }
    return clip;
}

static void check_entropy(const char *settings, const char *node, int n_levels, int n_codes) {
    int64_t n = 0;
    struct model *plain = net();
    float *values = values_at(plain, node, &n);
    struct model *m = quantized(settings);
    const double clip = naive_clip(values, n * N_IMAGES, n_levels);
    const pare_quant *q = activation(m, node);
    double lo = 0, hi = 0;
    for (int64_t i = 0; i < n * N_IMAGES; i++) {
        lo = fmin(lo, (double)values[i]);
        hi = fmax(hi, (double)values[i]);
    }
    lo = fmax(lo, -clip);
    hi = fmin(hi, clip);
    const double span = n_codes < 0 ? fmax(-lo, hi) : hi - lo;
    const double wanted = span / abs(n_codes);
    if (fabs((double)q->scale[0] - wanted) > 1e-6 * wanted) {
        fail_msg("%s: scale of %s is %g, wanted %g", settings, node, (double)q->scale[0], wanted);
    }
    free(values);
    model_destroy(plain);
    model_destroy(m);
}

static void test_entropy(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        char settings[64];
        snprintf(settings, sizeof settings, "observer=entropy bits=%d", bits);
        check_entropy(settings, "relu1", 1 << bits, (1 << bits) - 1); /* one side: all codes */
        check_entropy(settings, "relu2", 1 << bits, (1 << bits) - 1);
    }
    check_entropy("observer=entropy bits=5 activation_scheme=symmetric", "relu1", 16, -15);
    check_entropy("observer=entropy bits=12", "relu1", N_BINS, 4095); /* as many levels as bins */
}

/* Images keep their range: a background of one colour is no reason to clip them. */
static void test_entropy_of_images(void **state) {
    (void)state;
    struct model *a = quantized("observer=entropy bits=4");
    struct model *b = quantized("observer=minmax bits=4");
    assert_true(activation(a, "input")->scale[0] == activation(b, "input")->scale[0]);
    model_destroy(a);
    model_destroy(b);
}

/* ---- groups ---- */

/* A channel's codes are a small code times its group's factor; the naive grid of each group. */
static void check_groups(const char *settings, const char *name, int bits, int size, int most) {
    struct model *plain = net();
    struct model *m = quantized(settings);
    const pare_weight *before = weight_named(plain, name), *w = weight_named(m, name);
    const int64_t each = w->n_elems / w->dims[0];
    const int qmax = (1 << (bits - 1)) - 1;
    assert_int_equal(w->quant.qmax, qmax * most);
    assert_true((1 << (w->quant.bits - 1)) - 1 >= qmax * most);
    assert_true((1 << (w->quant.bits - 2)) - 1 < qmax * most);
    assert_int_equal(w->quant.n, w->dims[0]);
    for (int64_t c = 0; c < w->dims[0]; c++) {
        float largest = 0;
        for (int64_t i = 0; i < each; i++) {
            largest = fmaxf(largest, fabsf(before->data[c * each + i]));
        }
        const float scale = (float)((double)largest / qmax) / (float)most;
        assert_true(w->quant.scale[c] == scale);
        for (int64_t from = 0; from < each; from += size) {
            const int64_t to = from + size < each ? from + size : each;
            float own = 0;
            for (int64_t i = from; i < to; i++) {
                own = fmaxf(own, fabsf(before->data[c * each + i]));
            }
            own = (float)((double)own / qmax);
            const float factor = fminf(fmaxf(rintf(own / scale), 1), (float)most);
            for (int64_t i = c * each + from; i < c * each + to; i++) {
                const float code = rintf(before->data[i] / (scale * factor));
                const float clamped = fminf(fmaxf(code, (float)-qmax), (float)qmax);
                assert_true((float)w->codes[i] == clamped * factor);
            }
        }
    }
    model_destroy(plain);
    model_destroy(m);
}

static void test_groups(void **state) {
    (void)state;
    check_groups("weight_granularity=group bits=4", "conv2.weight", 4, 16, 15);
    check_groups("weight_granularity=group bits=4 group_size=7 group_bits=3", "conv1.weight", 4, 7,
                 7);
    check_groups("weight_granularity=group bits=2 group_size=4", "conv2.weight", 2, 4, 15);
    check_groups("weight_granularity=group weight_bits=8 group_bits=8", "fc.weight", 8, 16, 255);
    check_groups("weight_granularity=group bits=3 group_size=65536", "conv2.weight", 3, 65536, 15);
}

static double squared_error(const char *settings) {
    struct model *plain = net();
    struct model *m = quantized(settings);
    const pare_weight *before = weight_named(plain, "conv2.weight");
    const pare_weight *w = weight_named(m, "conv2.weight");
    double sum = 0;
    for (int64_t i = 0; i < w->n_elems; i++) {
        sum += pow((double)w->data[i] - (double)before->data[i], 2);
    }
    model_destroy(plain);
    model_destroy(m);
    return sum;
}

static void test_groups_round_better(void **state) {
    (void)state;
    assert_true(squared_error("weight_granularity=group bits=3 group_size=4") <
                squared_error("weight_granularity=channel bits=3"));
    assert_true(squared_error("weight_granularity=channel bits=3") <
                squared_error("weight_granularity=tensor bits=3"));
}

/* Masked weights and whole groups and channels of zeros have code 0. */
static void test_groups_of_zeros(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {.seed = 1};
    struct model *m = net();
    const pare_weight *w = weight_named(m, "conv2.weight"); /* (4,3,3,5): 45 per channel */
    uint8_t mask[180];
    for (int i = 0; i < 180; i++) {
        mask[i] = i >= 45 + 8 && i != 100; /* the first channel, a group of the second, one more */
    }
    must(model_set_mask(m, w->index, mask, &err), &err);
    ptq_step(m, "weight_granularity=group bits=4 group_size=8", &env);
    w = weight_named(m, "conv2.weight");
    for (int i = 0; i < 180; i++) {
        assert_true(mask[i] || w->codes[i] == 0);
    }
    assert_true(w->quant.scale[0] == 1.0f);
    assert_true(isfinite(w->quant.scale[1]) && w->quant.scale[1] < 1.0f);
    model_destroy(m);
}

static void test_too_wide_groups(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = net();
    assert_int_equal(try_step(m, "ptq", "ptq",
                              "weight_granularity=group weight_bits=14 activation_bits=32", &err),
                     PARE_E_RANGE);
    assert_string_equal(
        err.text, "method ptq: conv1.weight: weights of 14 bits times factors of 4 make codes "
                  "of 18 bits, wanted at most 16: lower weight_bits or group_bits");
    model_destroy(m);
}

/* ---- targets ---- */

static void check_same(const char *settings, const char *wanted) {
    struct model *a = quantized(settings), *b = quantized(wanted);
    static const char *const values[] = {"input", "relu1", "relu2", "gap"};
    for (size_t k = 0; k < 4; k++) {
        assert_true(activation(a, values[k])->scale[0] == activation(b, values[k])->scale[0]);
    }
    for (int32_t k = 0; k < a->graph.n_weights; k++) {
        const pare_weight *x = a->graph.weights[k], *y = b->graph.weights[k];
        assert_int_equal(x->quant.n, y->quant.n);
        assert_memory_equal(x->data, y->data, (size_t)x->n_elems * sizeof *x->data);
    }
    model_destroy(a);
    model_destroy(b);
}

static void test_targets(void **state) {
    (void)state;
    check_same("bits=4", "bits=4 observer=minmax weight_granularity=channel");
    check_same("bits=4 target=x86", "bits=4 observer=mse weight_granularity=channel");
    check_same("bits=4 target=arm", "bits=4 observer=mse weight_granularity=tensor");
    /* What is said wins over the target. */
    check_same("bits=4 target=arm weight_granularity=channel observer=percentile",
               "bits=4 weight_granularity=channel observer=percentile");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entropy),         cmocka_unit_test(test_entropy_of_images),
        cmocka_unit_test(test_groups),          cmocka_unit_test(test_groups_round_better),
        cmocka_unit_test(test_groups_of_zeros), cmocka_unit_test(test_too_wide_groups),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
