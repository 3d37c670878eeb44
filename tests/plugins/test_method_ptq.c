/* SPDX-License-Identifier: MIT */
/* The method ptq: which values, which ranges, which codes, against naive computations. */
#include "core/rng.h"
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BATCH 4
#define N_BATCHES 3

/* conv1 - bn1 - relu1 - pool - conv2 - bn2 - add(with pool) - relu2 - gap - fc, on (8,8,2) */
static struct model *residual(void) {
    struct model *m = model_start(8, 8, 2);
    int32_t x = add_conv(m, "conv1", 0, 4);
    x = add_op(m, PARE_OP_BATCH_NORM, "bn1", x);
    x = add_op(m, PARE_OP_RELU, "relu1", x);
    int32_t pool = add_pool(m, PARE_OP_MAX_POOL, "pool", x);
    x = add_conv(m, "conv2", pool, 4);
    x = add_op(m, PARE_OP_BATCH_NORM, "bn2", x);
    x = add(m, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {x, pool}});
    x = add_op(m, PARE_OP_RELU, "relu2", x);
    x = add_op(m, PARE_OP_GLOBAL_AVG_POOL, "gap", x);
    add_linear(m, "fc", x, 3);
    model_end(m);
    return m;
}

static int64_t value_elems(const pare_node *node) {
    return (int64_t)BATCH * node->dims[0] * node->dims[1] * node->dims[2];
}

/* Made-up activations: reproducible, a long tail, never negative after a relu and what copies one.
 */
static float *values_of(const pare_graph *graph, int32_t node, int batch) {
    int64_t n = value_elems(graph->nodes[node]);
    float *values = malloc((size_t)n * sizeof *values);
    pare_rng rng;
    rng_init(&rng, 11, graph->nodes[node]->name, (uint64_t)batch);
    const char *name = graph->nodes[node]->name;
    int is_positive = strncmp(name, "relu", 4) == 0 || strcmp(name, "gap") == 0;
    for (int64_t i = 0; i < n; i++) {
        float u = 2.0f * rng_float(&rng) - 1.0f;
        values[i] = (float)(batch + 1) * u * u * u * 3.0f + 0.1f;
        if (is_positive && values[i] < 0.0f) {
            values[i] = 0.0f;
        }
    }
    return values;
}

/* All batches of one node in one array of *n. */
static float *all_values(const pare_graph *graph, int32_t node, int64_t *n) {
    int64_t each = value_elems(graph->nodes[node]);
    float *all = malloc((size_t)(each * N_BATCHES) * sizeof *all);
    for (int b = 0; b < N_BATCHES; b++) {
        float *one = values_of(graph, node, b);
        memcpy(all + b * each, one, (size_t)each * sizeof *all);
        free(one);
    }
    *n = each * N_BATCHES;
    return all;
}

static pare_status run_passes(struct loaded *q, struct model *m) {
    void *self = instance_self(q->made.inst);
    const pare_graph *graph = &m->graph;
    pare_status status = q->calibrate->begin(self, graph);
    for (int32_t again = 1; again && status == PARE_OK;) {
        for (int b = 0; b < N_BATCHES; b++) {
            for (int32_t v = 0; v < graph->n_nodes && status == PARE_OK; v++) {
                float *values = values_of(graph, v, b);
                status = q->calibrate->observe(self, graph, v, values, BATCH);
                free(values);
            }
        }
        if (status == PARE_OK) {
            status = q->calibrate->end(self, graph, &again);
        }
    }
    return status == PARE_OK ? q->method->apply(self, graph) : status;
}

static void quantize_where(struct model *m, const char *settings, const struct instance_env *env) {
    struct error err = {PARE_OK, ""};
    struct loaded q = load_method("ptq", "ptq", settings, env);
    must(instance_status(q.made.inst, run_passes(&q, m), "ptq", &err), &err);
    must(model_verify(m, &err), &err);
    unload(&q);
}

static void quantize(struct model *m, const char *settings) {
    struct instance_env env = {0};
    quantize_where(m, settings, &env);
}

static const pare_quant *activation(const struct model *m, const char *name) {
    return &m->graph.nodes[model_find_node(m, name)]->activation;
}

/* ---- which values ---- */

/* The names of the quantized values, in order, parted by blanks. */
static void check_quantized(const struct model *m, const char *wanted) {
    char got[256] = "";
    for (int32_t v = 0; v < m->graph.n_nodes; v++) {
        if (m->graph.nodes[v]->activation.bits != 0) {
            strcat(strcat(got, got[0] ? " " : ""), m->graph.nodes[v]->name);
        }
    }
    assert_string_equal(got, wanted);
}

static void test_which_values(void **state) {
    (void)state;
    struct model *m = residual();
    quantize(m, "");
    assert_int_equal(model_find_node(m, "bn1"), -1); /* folded */
    check_quantized(m, "input relu1 pool conv2 relu2 gap");
    const pare_quant *relu = activation(m, "relu1");
    const pare_quant *pool = activation(m, "pool"); /* copies codes */
    assert_true(relu->scale[0] == pool->scale[0] && relu->zero_point[0] == pool->zero_point[0]);
    assert_int_equal(weight_named(m, "conv1.weight")->quant.bits, 8);
    assert_int_equal(weight_named(m, "fc.weight")->quant.bits, 8);
    assert_int_equal(weight_named(m, "fc.bias")->quant.bits, 0);
    model_destroy(m);
}

static void check_excluding(const char *pattern, const char *wanted) {
    struct model *m = residual();
    struct instance_env env = {.exclude = &pattern, .n_exclude = 1};
    quantize_where(m, "", &env);
    check_quantized(m, wanted);
    model_destroy(m);
}

static void test_excluded_layers(void **state) {
    (void)state;
    check_excluding("fc", "input relu1 pool conv2");
    check_excluding("conv1", "relu1 pool conv2 relu2 gap");
    /* The excluded conv2 gives float; the add that reads it still reads pool, and its own value is
     * wanted by fc. */
    check_excluding("conv2", "input relu1 pool relu2 gap");
    check_excluding("conv*", "relu1 pool relu2 gap");
}

static void test_only_a_late_layer(void **state) {
    (void)state;
    const char *include = "conv1";
    struct model *m = residual();
    struct instance_env env = {.include = &include, .n_include = 1};
    quantize_where(m, "", &env);
    check_quantized(m, "input relu1");
    model_destroy(m);
}

/* conv - softmax: the linear before a last softmax gives logits, too. */
static void test_logits_stay_float(void **state) {
    (void)state;
    struct model *m = model_start(1, 1, 4);
    int32_t x = add_op(m, PARE_OP_FLATTEN, "flatten", 0);
    x = add_linear(m, "fc1", x, 5);
    x = add_linear(m, "fc2", x, 3);
    add_op(m, PARE_OP_SOFTMAX, "softmax", x);
    model_end(m);
    quantize(m, "");
    check_quantized(m, "input flatten fc1");
    model_destroy(m);
}

/* ---- ranges ---- */

/* The affine grid of [lo, hi], written out once more (Jacob et al., section 3). */
static void check_affine(const pare_quant *q, double lo, double hi, int bits) {
    lo = lo > 0 ? 0 : lo;
    hi = hi < 0 ? 0 : hi;
    double levels = pow(2, bits) - 1;
    float scale = (float)((hi - lo) / levels);
    assert_int_equal(q->bits, bits);
    assert_int_equal(q->qmin, -(int)pow(2, bits - 1));
    assert_int_equal(q->qmax, (int)pow(2, bits - 1) - 1);
    assert_int_equal(q->axis, -1);
    assert_int_equal(q->n, 1);
    if (q->scale[0] != scale) {
        fail_msg("scale is %.9g, wanted %.9g", (double)q->scale[0], (double)scale);
    }
    assert_int_equal(q->zero_point[0], q->qmin + (int)nearbyint(-lo / (double)scale));
}

static void test_minmax(void **state) {
    (void)state;
    static const char *const names[] = {"input", "relu1", "conv2", "relu2", "gap"};
    for (int bits = 2; bits <= 16; bits++) {
        char settings[32];
        struct model *m = residual();
        snprintf(settings, sizeof settings, "bits=%d", bits);
        quantize(m, settings);
        for (size_t k = 0; k < 5; k++) {
            int64_t n = 0;
            float *all = all_values(&m->graph, model_find_node(m, names[k]), &n);
            double lo = 0, hi = 0;
            for (int64_t i = 0; i < n; i++) {
                lo = fmin(lo, (double)all[i]);
                hi = fmax(hi, (double)all[i]);
            }
            check_affine(activation(m, names[k]), lo, hi, bits);
            free(all);
        }
        assert_int_equal(activation(m, "relu1")->zero_point[0], -(1 << (bits - 1)));
        model_destroy(m);
    }
}

static void test_moving_average(void **state) {
    (void)state;
    struct model *m = residual();
    quantize(m, "observer=moving_average momentum=0.75");
    double lo = 0, hi = 0;
    int32_t node = model_find_node(m, "conv2");
    for (int b = 0; b < N_BATCHES; b++) {
        float *values = values_of(&m->graph, node, b);
        double min = INFINITY, max = -INFINITY;
        for (int64_t i = 0; i < value_elems(m->graph.nodes[node]); i++) {
            min = fmin(min, (double)values[i]);
            max = fmax(max, (double)values[i]);
        }
        lo = b == 0 ? min : 0.75 * lo + 0.25 * min;
        hi = b == 0 ? max : 0.75 * hi + 0.25 * max;
        free(values);
    }
    check_affine(activation(m, "conv2"), lo, hi, 8);
    model_destroy(m);
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Against the sorted values: the clip lies within a bin of the order statistic. */
static void check_percentile(const char *settings, double percent, int bits) {
    struct model *m = residual();
    quantize(m, settings);
    int64_t n = 0;
    float *all = all_values(&m->graph, model_find_node(m, "conv2"), &n);
    qsort(all, (size_t)n, sizeof *all, by_value);
    int64_t lost = (int64_t)floor((100 - percent) / 100 * (double)n + 1e-9);
    double lo = (double)all[lost], hi = (double)all[n - 1 - lost];
    double bin = ((double)all[n - 1] - (double)all[0]) / 4096;
    const pare_quant *q = activation(m, "conv2");
    double got_lo = (double)q->scale[0] * (q->qmin - q->zero_point[0]);
    double got_hi = (double)q->scale[0] * (q->qmax - q->zero_point[0]);
    double slack = 1.01 * bin + 0.5 * (double)q->scale[0]; /* the zero point is rounded */
    if (fabs(got_lo - lo) > slack || fabs(got_hi - hi) > slack) {
        fail_msg("%s: got [%g, %g], wanted [%g, %g] +- %g", settings, got_lo, got_hi, lo, hi,
                 slack);
    }
    double span = (double)q->scale[0] * (q->qmax - q->qmin);
    assert_true(fabs(span - (hi - lo)) <= 2.02 * bin);
    assert_int_equal(q->bits, bits);
    free(all);
    model_destroy(m);
}

static void test_percentile(void **state) {
    (void)state;
    check_percentile("observer=percentile percentile=99", 99, 8);
    check_percentile("observer=percentile percentile=90", 90, 8);
    check_percentile("observer=percentile percentile=100", 100, 8);
    check_percentile("observer=percentile", 99.99, 8);
    check_percentile("observer=percentile bits=4", 99.9, 4);
}

static double naive_error(const float *all, int64_t n, double scale, int zero, int qmin, int qmax) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double code = fmin(fmax(nearbyint((double)all[i] / scale) + zero, qmin), qmax);
        sum += pow((double)all[i] - scale * (code - zero), 2);
    }
    return sum;
}

/* The clip chosen on the histogram is as good on the values themselves as the best of a search over
 * all clips, to 2 %, and better than min-max. */
static void test_mse(void **state) {
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        char settings[64];
        struct model *m = residual();
        snprintf(settings, sizeof settings, "observer=mse bits=%d", bits);
        quantize(m, settings);
        int64_t n = 0;
        float *all = all_values(&m->graph, model_find_node(m, "conv2"), &n);
        qsort(all, (size_t)n, sizeof *all, by_value);
        const pare_quant *q = activation(m, "conv2");
        double levels = pow(2, bits) - 1;
        double best = INFINITY, minmax = 0;
        for (int k = 80; k >= 1; k--) {
            double lo = (double)all[0] * k / 80, hi = (double)all[n - 1] * k / 80;
            double scale = (double)(float)((hi - lo) / levels);
            double error =
                naive_error(all, n, scale, q->qmin + (int)nearbyint(-lo / scale), q->qmin, q->qmax);
            minmax = k == 80 ? error : minmax;
            best = fmin(best, error);
        }
        double got = naive_error(all, n, (double)q->scale[0], q->zero_point[0], q->qmin, q->qmax);
        if (!(got <= 1.02 * best) || !(got < minmax)) {
            fail_msg("%d bits: error %g, best %g, min-max %g", bits, got, best, minmax);
        }
        free(all);
        model_destroy(m);
    }
}

static void test_symmetric(void **state) {
    (void)state;
    struct model *m = residual();
    quantize(m, "activation_scheme=symmetric bits=6");
    int64_t n = 0;
    float *all = all_values(&m->graph, model_find_node(m, "conv2"), &n);
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)all[i]));
    }
    const pare_quant *q = activation(m, "conv2");
    assert_int_equal(q->zero_point[0], 0);
    assert_int_equal(q->qmin, -31);
    assert_int_equal(q->qmax, 31);
    assert_true(q->scale[0] == (float)(most / 31));
    free(all);
    model_destroy(m);
}

/* ---- weights ---- */

/* Folded fp32 weights of conv1, (4,3,3,2), before rounding. */
static float *folded_weights(const char *name, int64_t *n) {
    struct error err = {PARE_OK, ""};
    struct model *m = residual();
    must(model_fold_batch_norm(m, &err), &err);
    const pare_weight *w = weight_named(m, name);
    float *copy = malloc((size_t)w->n_elems * sizeof *copy);
    memcpy(copy, w->data, (size_t)w->n_elems * sizeof *copy);
    *n = w->n_elems;
    model_destroy(m);
    return copy;
}

static void check_weights(const char *settings, int bits, int per_channel) {
    int64_t n = 0;
    float *data = folded_weights("conv1.weight", &n);
    struct model *m = residual();
    quantize(m, settings);
    const pare_weight *w = weight_named(m, "conv1.weight");
    int qmax = (1 << (bits - 1)) - 1;
    assert_int_equal(w->quant.bits, bits);
    assert_int_equal(w->quant.qmax, qmax);
    assert_int_equal(w->quant.qmin, -qmax);
    assert_int_equal(w->quant.axis, per_channel ? 0 : -1);
    assert_int_equal(w->quant.n, per_channel ? 4 : 1);
    int64_t each = per_channel ? n / 4 : n;
    for (int64_t c = 0; c < n / each; c++) {
        double most = 0;
        for (int64_t i = 0; i < each; i++) {
            most = fmax(most, fabs((double)data[c * each + i]));
        }
        assert_true(w->quant.scale[c] == (float)(most / qmax));
        for (int64_t i = c * each; i < (c + 1) * each; i++) {
            float code = nearbyintf(data[i] / w->quant.scale[c]);
            assert_true((float)w->codes[i] == fminf(fmaxf(code, (float)-qmax), (float)qmax));
            assert_true(w->data[i] == w->quant.scale[c] * (float)w->codes[i]);
        }
    }
    free(data);
    model_destroy(m);
}

static void test_weights(void **state) {
    (void)state;
    check_weights("", 8, 1);
    check_weights("weight_bits=2", 2, 1);
    check_weights("bits=3", 3, 1);
    check_weights("bits=16", 16, 1);
    check_weights("weight_bits=9", 9, 1);
    check_weights("bits=8 weight_bits=5 weight_granularity=tensor", 5, 0);
}

/* No clip of the 80 is better than the one that mse took, and at 3 bits it beats the largest value.
 */
static void test_weights_by_mse(void **state) {
    (void)state;
    int64_t n = 0;
    float *data = folded_weights("conv1.weight", &n);
    struct model *m = residual();
    quantize(m, "weight_observer=mse bits=3");
    const pare_weight *w = weight_named(m, "conv1.weight");
    for (int64_t c = 0; c < 4; c++) {
        const float *channel = data + c * n / 4;
        double most = 0, best = INFINITY;
        for (int64_t i = 0; i < n / 4; i++) {
            most = fmax(most, fabs((double)channel[i]));
        }
        for (int k = 1; k <= 80; k++) {
            double scale = (double)(float)(most * k / 80 / 3);
            best = fmin(best, naive_error(channel, n / 4, scale, 0, -3, 3));
        }
        double got = naive_error(channel, n / 4, (double)w->quant.scale[c], 0, -3, 3);
        assert_true(got <= best * (1 + 1e-9));
        assert_true(got < naive_error(channel, n / 4, (double)(float)(most / 3), 0, -3, 3));
    }
    free(data);
    model_destroy(m);
}

/* A channel of zeros, a masked weight, and a dead value. */
static void test_zeros(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    const pare_weight *w = weight_named(m, "fc1.weight");
    uint8_t mask[24];
    for (int i = 0; i < 24; i++) {
        mask[i] = i >= 4 && i != 9; /* the whole first channel, and one more */
    }
    must(model_set_mask(m, w->index, mask, &err), &err);
    struct instance_env env = {0};
    struct loaded q = load_method("ptq", "ptq", "bits=4", &env);
    void *self = instance_self(q.made.inst);
    const float zeros[24] = {0};
    int32_t again = 0;
    must(q.calibrate->begin(self, &m->graph), &err);
    for (int32_t v = 0; v < m->graph.n_nodes; v++) {
        must(q.calibrate->observe(self, &m->graph, v, zeros, 4), &err);
    }
    must(q.calibrate->end(self, &m->graph, &again), &err);
    must(q.method->apply(self, &m->graph), &err);
    must(model_verify(m, &err), &err);
    unload(&q);
    w = weight_named(m, "fc1.weight"); /* folding has moved it */
    assert_true(w->quant.scale[0] == 1.0f);
    assert_true(w->codes[0] == 0 && w->codes[9] == 0 && w->mask[9] == 0);
    const pare_quant *relu = activation(m, "relu1");
    assert_true(relu->scale[0] == 1.0f);
    assert_int_equal(relu->zero_point[0], -8); /* 0 is a code */
    model_destroy(m);
}

static void test_one_side_only(void **state) {
    (void)state;
    struct model *m = residual();
    quantize(m, "activation_bits=32");
    check_quantized(m, "");
    assert_int_equal(weight_named(m, "conv1.weight")->quant.bits, 8);
    model_destroy(m);
    m = residual();
    quantize(m, "weight_bits=32");
    check_quantized(m, "input relu1 pool conv2 relu2 gap");
    assert_int_equal(weight_named(m, "conv1.weight")->quant.bits, 0);
    model_destroy(m);
    /* Weights alone need no calibration. */
    struct error err = {PARE_OK, ""};
    struct instance_env env = {0};
    m = residual();
    struct loaded q = load_method("ptq", "ptq", "activation_bits=32", &env);
    must(q.method->apply(instance_self(q.made.inst), &m->graph), &err);
    assert_int_equal(model_find_node(m, "bn1"), -1);
    assert_int_equal(weight_named(m, "conv1.weight")->quant.bits, 8);
    unload(&q);
    model_destroy(m);
}

/* Two steps with different widths share a model; the first keeps what it set. */
static void test_two_steps(void **state) {
    (void)state;
    const char *pattern = "conv1";
    struct model *m = residual();
    struct instance_env first = {.include = &pattern, .n_include = 1};
    struct instance_env second = {.exclude = &pattern, .n_exclude = 1};
    quantize_where(m, "bits=8", &first);
    float scale = activation(m, "relu1")->scale[0];
    quantize_where(m, "bits=4 observer=mse", &second);
    check_quantized(m, "input relu1 pool conv2 relu2 gap");
    assert_int_equal(weight_named(m, "conv1.weight")->quant.bits, 8);
    assert_int_equal(weight_named(m, "conv2.weight")->quant.bits, 4);
    assert_int_equal(activation(m, "relu1")->bits, 8);
    assert_true(activation(m, "relu1")->scale[0] == scale);
    assert_int_equal(activation(m, "pool")->bits, 8); /* copies relu1's codes */
    assert_true(activation(m, "pool")->scale[0] == scale);
    assert_int_equal(activation(m, "conv2")->bits, 4);
    model_destroy(m);
}

/* Weights and the value read take a layer's own width; of two readers of one value, and of what
 * copies its codes, the wider counts. The percentile that goes with a width is the value's. */
static void test_layer_bits(void **state) {
    (void)state;
    struct model *m = residual();
    quantize(m, "bits=4 layer_bits=conv1=12,c*=6 observer=percentile");
    assert_int_equal(weight_named(m, "conv1.weight")->quant.bits, 12);
    assert_int_equal(weight_named(m, "conv2.weight")->quant.bits, 6);
    assert_int_equal(weight_named(m, "fc.weight")->quant.bits, 4);
    assert_int_equal(activation(m, "input")->bits, 12);
    assert_int_equal(activation(m, "relu1")->bits, 6); /* conv2 reads it by way of the pool */
    assert_int_equal(activation(m, "pool")->bits, 6);
    assert_int_equal(activation(m, "conv2")->bits, 4);
    assert_int_equal(activation(m, "gap")->bits, 4);
    model_destroy(m);
    m = residual();
    quantize(m, "activation_bits=32 layer_bits=fc=3");
    check_quantized(m, "");
    assert_int_equal(weight_named(m, "conv2.weight")->quant.bits, 8);
    assert_int_equal(weight_named(m, "fc.weight")->quant.bits, 3);
    model_destroy(m);
    m = model_start(1, 1, 4);
    int32_t x = add_op(m, PARE_OP_FLATTEN, "flatten", 0);
    int32_t left = add_linear(m, "left", x, 3);
    int32_t right = add_linear(m, "right", x, 3);
    add(m, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {left, right}});
    model_end(m);
    quantize(m, "bits=4 layer_bits=left=3,right=7");
    assert_int_equal(activation(m, "input")->bits, 7);
    assert_int_equal(weight_named(m, "left.weight")->quant.bits, 3);
    model_destroy(m);
}

/* What additions and poolings read has a width of its own; a layer that reads the same value with
 * fewer bits gets a quantize node, whose grid is its own. */
static void test_residual_bits(void **state) {
    (void)state;
    struct model *m = residual();
    quantize(m, "bits=4 residual_bits=8");
    check_quantized(m, "input relu1 pool conv2.quantize conv2 relu2 gap");
    assert_int_equal(activation(m, "input")->bits, 4);
    assert_int_equal(activation(m, "relu1")->bits, 8); /* the add reads a copy of it */
    assert_int_equal(activation(m, "pool")->bits, 8);
    assert_int_equal(activation(m, "conv2.quantize")->bits, 4);
    assert_int_equal(activation(m, "conv2")->bits, 8);
    assert_int_equal(activation(m, "relu2")->bits, 8);
    assert_int_equal(activation(m, "gap")->bits, 4);
    model_destroy(m);
    m = residual();
    quantize(m, "bits=8 residual_bits=4"); /* never narrower than what a layer reads */
    check_quantized(m, "input relu1 pool conv2 relu2 gap");
    assert_int_equal(activation(m, "relu1")->bits, 8);
    assert_int_equal(activation(m, "conv2")->bits, 4);
    model_destroy(m);
}

/* ---- what is refused ---- */

static void refuse_run(struct loaded *q, pare_status status, const char *text) {
    struct error err = {PARE_OK, ""};
    assert_int_not_equal(instance_status(q->made.inst, status, "ptq", &err), PARE_OK);
    assert_string_equal(err.text, text);
}

static void test_quantized_twice(void **state) {
    (void)state;
    struct instance_env env = {0};
    struct model *m = residual();
    quantize(m, "");
    struct loaded q = load_method("ptq", "ptq", "bits=4", &env);
    refuse_run(
        &q, run_passes(&q, m),
        "method ptq: conv1.weight is quantized to 8 bits already by an earlier step: exclude its "
        "layer here, or leave out one of the steps");
    unload(&q);
    model_destroy(m);
}

static void test_bad_calibration(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct instance_env env = {0};
    struct model *m = model_two_layers();
    struct loaded q = load_method("ptq", "ptq", "", &env);
    void *self = instance_self(q.made.inst);
    float values[4] = {1, 2, NAN, 4};
    int32_t again = 0;
    refuse_run(&q, q.calibrate->observe(self, &m->graph, 0, values, 1),
               "method ptq: observe of node 0, calibration began with 0");
    must(q.calibrate->begin(self, &m->graph), &err);
    refuse_run(&q, q.calibrate->end(self, &m->graph, &again),
               "method ptq: calibration saw no values: it needs at least one image");
    refuse_run(&q, q.calibrate->observe(self, &m->graph, 0, values, 1),
               "method ptq: input: calibration value 2 is nan, wanted a finite number");
    values[2] = -INFINITY;
    refuse_run(&q, q.calibrate->observe(self, &m->graph, 0, values, 1),
               "method ptq: input: calibration value 2 is -inf, wanted a finite number");
    unload(&q);
    q = load_method("ptq", "ptq", "", &env);
    refuse_run(&q, q.method->apply(instance_self(q.made.inst), &m->graph),
               "method ptq: input: no calibration values: set calibration_samples above 0, or "
               "activation_bits = 32 for weights only");
    unload(&q);
    model_destroy(m);
}

/* Each allocation fails once: always that status, a message, no leak and a model that is still
 * sound. */
static void test_out_of_memory(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct instance_env env = {0};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct model *m = residual();
        struct loaded q = load_method("ptq", "ptq", "observer=percentile", &env);
        make_scarce(&q.made, n);
        status = instance_status(q.made.inst, run_passes(&q, m), "ptq", &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory for"));
        }
        must(model_verify(m, &err), &err);
        unload(&q);
        model_destroy(m);
    }
    assert_in_range(n, 10,
                    30); /* plan, ranges, 5 histograms, 3 weights, and the run that went well */
}

static void refuse(const char *settings, const char *text) {
    struct error err = {PARE_OK, ""};
    struct made made = {0};
    struct instance_env env = {0};
    struct registry *reg = load_shipped("ptq");
    assert_int_not_equal(make_instance(registry_entry(reg, 0), settings, &env, &err, &made),
                         PARE_OK);
    assert_string_equal(err.text, text);
    registry_destroy(reg);
}

static void test_bad_layer_bits(void **state) {
    (void)state;
    static const char *const wrong[] = {"conv1",    "=8",       "conv1=",   "conv1=1",
                                        "conv1=17", "conv1=8x", "conv1=-4", "conv1=0000000008"};
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        char settings[64], text[256];
        snprintf(settings, sizeof settings, "layer_bits=%s", wrong[k]);
        snprintf(text, sizeof text,
                 "method ptq: layer_bits: got \"%s\", wanted \"pattern=bits\" with bits in 2..16 "
                 "(\"conv1=8\"); exclude what is to stay float",
                 wrong[k]);
        refuse(settings, text);
    }
    struct instance_env env = {0};
    struct model *m = residual();
    struct loaded q = load_method("ptq", "ptq", "layer_bits=c*=8,conv1=4", &env);
    refuse_run(&q, run_passes(&q, m),
               "method ptq: layer_bits: \"conv1=4\" decides for no selected layer of small: its "
               "pattern matches none, or an earlier one takes them all");
    assert_int_not_equal(model_find_node(m, "bn1"), -1); /* nothing is changed yet */
    unload(&q);
    model_destroy(m);
}

static void test_bad_parameters(void **state) {
    (void)state;
    refuse("bits=17", "bits: got 17, wanted 2..16 bits (method ptq)");
    refuse("weight_bits=1",
           "method ptq: weight_bits: got 1, wanted 2..16, 0 (as bits) or 32 (float)");
    refuse("activation_bits=17",
           "method ptq: activation_bits: got 17, wanted 2..16, 0 (as bits) or 32 (float)");
    refuse("weight_bits=32 activation_bits=32",
           "method ptq: weight_bits and activation_bits are both 32: nothing would be quantized");
    refuse("residual_bits=1",
           "method ptq: residual_bits: got 1, wanted 2..16 or 0 (as activation_bits)");
    refuse("percentile=40", "method ptq: percentile: got 40, wanted more than 50, or 0");
    refuse("momentum=1", "method ptq: momentum: got 1, wanted 0 <= momentum < 1");
    refuse("observer=range", "observer: got \"range\", wanted one of "
                             "auto|minmax|moving_average|percentile|mse|entropy (method ptq)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_values),
        cmocka_unit_test(test_excluded_layers),
        cmocka_unit_test(test_only_a_late_layer),
        cmocka_unit_test(test_logits_stay_float),
        cmocka_unit_test(test_minmax),
        cmocka_unit_test(test_moving_average),
        cmocka_unit_test(test_percentile),
        cmocka_unit_test(test_mse),
        cmocka_unit_test(test_symmetric),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_weights_by_mse),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_one_side_only),
        cmocka_unit_test(test_two_steps),
        cmocka_unit_test(test_layer_bits),
        cmocka_unit_test(test_residual_bits),
        cmocka_unit_test(test_bad_layer_bits),
        cmocka_unit_test(test_quantized_twice),
        cmocka_unit_test(test_bad_calibration),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests_name("method ptq", tests, NULL, NULL);
}
