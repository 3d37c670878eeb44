/* SPDX-License-Identifier: MIT */
/* deep_compression: values shared by k-means, by hand and against what k-means promises; the shared
 * values' gradient against differences of a loss; that a file of it is small and loads. */
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const only_fc1 = "fc1";
static const struct instance_env fc1_env = {.seed = 1, .include = &only_fc1, .n_include = 1};

static struct model *with_weights(const float w[24]) {
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    must(model_set_weight(m, weight_named(m, "fc1.weight")->index, w, &err), &err);
    return m;
}

static struct loaded shared(struct model *m, const char *settings) {
    struct error err = {PARE_OK, ""};
    struct loaded l = load_method("deep_compression", "deep_compression", settings, &fc1_env);
    must(apply_loaded(&l, m, &err), &err);
    must(model_verify(m, &err), &err);
    return l;
}

/* 24 values in four groups; each becomes the mean of its group. Linear initialization puts the
 * first centroids at -8, -3, 2 and 7. */
static void test_four_groups(void **state) {
    (void)state;
    float w[24];
    static const float middle[4] = {-7.0f, -3.5f, 1.5f, 6.0f};
    for (int i = 0; i < 24; i++) {
        w[i] = middle[i % 4] + (float)(i / 4 - 2) * 0.5f - 0.25f; /* -1.25 .. 1.25 off it */
    }
    w[0] = -8.0f - 0.25f;
    struct model *m = with_weights(w);
    struct loaded l = shared(m, "bits=2");
    const float *got = weight_named(m, "fc1.weight")->data;
    for (int g = 0; g < 4; g++) {
        double mean = 0.0;
        for (int i = g; i < 24; i += 4) {
            mean += (double)w[i] / 6.0;
        }
        for (int i = g; i < 24; i += 4) {
            assert_true(fabs((double)got[i] - mean) < 1e-6);
            assert_true(got[i] == got[g]);
        }
    }
    unload(&l);
    model_destroy(m);
}

/* Every kept value has the nearest of at most 2^bits, and each of these is the mean of its own. */
static void test_fixed_point(void **state) {
    (void)state;
    for (int bits = 1; bits <= 4; bits++) {
        char settings[64];
        float w[24], values[24];
        int n_values = 0;
        for (int i = 0; i < 24; i++) {
            w[i] = sinf((float)(i * i)) * (float)(1 + i % 5);
        }
        struct model *m = with_weights(w);
        snprintf(settings, sizeof settings, "bits=%d sparsity=0.25", bits);
        struct loaded l = shared(m, settings);
        const pare_weight *v = weight_named(m, "fc1.weight");
        assert_int_equal(n_pruned(v), 6);
        for (int i = 0; i < 24; i++) {
            int k = 0;
            while (k < n_values && values[k] != v->data[i]) {
                k++;
            }
            if (v->mask[i] && k == n_values) {
                values[n_values++] = v->data[i];
            }
        }
        assert_in_range(n_values, 2, 1 << bits);
        for (int k = 0; k < n_values; k++) {
            double sum = 0.0;
            int n = 0;
            for (int i = 0; i < 24; i++) {
                sum += v->mask[i] && v->data[i] == values[k] ? (double)w[i] : 0.0;
                n += v->mask[i] && v->data[i] == values[k];
                if (v->mask[i]) {
                    assert_true(fabsf(w[i] - v->data[i]) <= fabsf(w[i] - values[k]) + 1e-5f);
                }
            }
            assert_true(fabs(sum / n - (double)values[k]) < 1e-5);
        }
        unload(&l);
        model_destroy(m);
    }
}

/* L = sum a_i (w_i - t_i)^2 / 2 of the weights used. */
static double loss(const float *used, float *gradient) {
    double sum = 0.0;
    for (int i = 0; i < 24; i++) {
        const double a = 1.0 + i % 3, off = (double)used[i] - 0.1 * i;
        sum += a * off * off / 2.0;
        gradient[i] = (float)(a * off);
    }
    return sum;
}

/* One step of size lr without momentum; returns the loss before it. */
static double step(struct loaded *l, struct model *m, int64_t t, double lr, float used[24]) {
    struct error err = {PARE_OK, ""};
    const pare_weight *w = weight_named(m, "fc1.weight");
    float gradient[24], back[24];
    must(l->train->weight_forward(l->self, &m->graph, w->index, w->data, used), &err);
    const double before = loss(used, gradient);
    must(l->train->weight_backward(l->self, &m->graph, w->index, w->data, gradient, back), &err);
    for (int i = 0; i < 24; i++) {
        assert_true(back[i] == 0.0f);
    }
    const pare_train_step info = {.struct_size = sizeof info, .step = t, .lr = lr};
    must(l->train->after_step(l->self, &m->graph, &info), &err);
    return before;
}

/* The shared values move by -lr dL/dC, so that L falls by lr |dL/dC|^2 to first order, for the
 * derivative that differences give; with gradient = mean, divided by the number of weights. */
static void test_gradient(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = 9, .steps_per_epoch = 9};
    for (int mean = 0; mean < 2; mean++) {
        float w[24], used[24], after[24], unused[24];
        for (int i = 0; i < 24; i++) {
            w[i] = cosf((float)i * 1.7f) * 2.0f;
        }
        struct model *m = with_weights(w);
        struct loaded l = shared(m, mean ? "bits=2 momentum_shared=0 sparsity=0.25 gradient=mean"
                                         : "bits=2 momentum_shared=0 sparsity=0.25");
        const uint8_t *mask = weight_named(m, "fc1.weight")->mask;
        must(l.train->begin(l.self, &m->graph, &plan), &err);
        const double lr = 1e-3;
        step(&l, m, 0, lr, used);
        step(&l, m, 1, 0.0, after);
        for (int i = 0; i < 24; i++) {
            if (!mask[i]) {
                assert_true(used[i] == 0.0f && after[i] == 0.0f);
                continue;
            }
            const double h = 1e-2; /* differences: all that share this value move by h */
            float up[24], down[24];
            int n = 0;
            for (int k = 0; k < 24; k++) {
                const int same = mask[k] && used[k] == used[i];
                up[k] = used[k] + (same ? (float)h : 0.0f);
                down[k] = used[k] - (same ? (float)h : 0.0f);
                n += same;
            }
            double slope = (loss(up, unused) - loss(down, unused)) / (2.0 * h);
            slope /= mean ? n : 1;
            assert_true(fabs(((double)used[i] - (double)after[i]) / lr - slope) <
                        2e-3 * (1.0 + fabs(slope)));
        }
        unload(&l);
        model_destroy(m);
    }
}

/* Steps reach the least loss there is under sharing, and the end writes it down. */
static void test_training(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const pare_train_plan plan = {.struct_size = sizeof plan, .n_steps = 400, .steps_per_epoch = 9};
    float w[24], used[24], first = 0.0f;
    for (int i = 0; i < 24; i++) {
        w[i] = (float)(i / 12);
    }
    struct model *m = with_weights(w);
    struct loaded l = shared(m, "bits=1");
    must(l.train->begin(l.self, &m->graph, &plan), &err);
    for (int64_t t = 0; t < 400; t++) {
        step(&l, m, t, 0.005, used);
    }
    must(l.train->end(l.self, &m->graph), &err);
    double sum = 0.0, n = 0.0;
    for (int i = 0; i < 12; i++) {
        sum += (1.0 + i % 3) * 0.1 * i;
        n += 1.0 + i % 3;
    }
    const float *data = weight_named(m, "fc1.weight")->data;
    first = data[0];
    assert_true(fabs((double)first - sum / n) < 1e-4);
    for (int i = 0; i < 12; i++) {
        assert_true(data[i] == first);
    }
    unload(&l);
    model_destroy(m);
}

static void test_divergence(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    float w[24], g[24], back[24];
    for (int i = 0; i < 24; i++) {
        w[i] = (float)i;
        g[i] = 1e30f;
    }
    struct model *m = with_weights(w);
    struct loaded l = shared(m, "bits=1");
    const int32_t at = weight_named(m, "fc1.weight")->index;
    must(l.train->weight_backward(l.self, &m->graph, at, w, g, back), &err);
    const pare_train_step info = {.struct_size = sizeof info, .step = 3, .lr = 1e30};
    const pare_status status = l.train->after_step(l.self, &m->graph, &info);
    assert_int_equal(instance_status(l.made.inst, status, "after_step", &err), PARE_E_NUMERIC);
    assert_non_null(strstr(err.text, "fc1.weight: a shared value is not finite after step 3"));
    unload(&l);
    model_destroy(m);
}

/* Biases too, and layers with bits of their own. */
static void test_bits_by_layer(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    float w[24], b[6];
    for (int i = 0; i < 24; i++) {
        w[i] = sinf((float)i);
    }
    for (int i = 0; i < 6; i++) {
        b[i] = (float)(i / 3) + 0.01f * (float)i;
    }
    must(model_set_weight(m, weight_named(m, "fc1.weight")->index, w, &err), &err);
    must(model_set_weight(m, weight_named(m, "fc1.bias")->index, b, &err), &err);
    do_step(m, "deep_compression", "deep_compression", "bits=1 bias_bits=1 layer_bits=fc1=8");
    const pare_weight *fc1 = weight_named(m, "fc1.weight"), *bias = weight_named(m, "fc1.bias");
    for (int i = 0; i < 24; i++) {
        assert_true(fabsf(fc1->data[i] - w[i]) < 0.02f); /* 256 places for 24 values */
    }
    for (int i = 0; i < 6; i++) {
        assert_true(fabsf(bias->data[i] - (i < 3 ? 0.01f : 1.04f)) < 1e-6f);
    }
    model_destroy(m);
}

/* One value for every weight of a masked layer is stored as one, and all comes back. */
static void test_file(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_start(1, 1, 64), *loaded = NULL;
    add_linear(m, "fc1", add_op(m, PARE_OP_FLATTEN, "flatten", 0), 64);
    model_end(m);
    model_init_weights(m, 1);
    do_step(m, "deep_compression", "deep_compression", "bits=3 sparsity=0.9");
    uint8_t *data = NULL;
    size_t n = 0;
    struct model_storage storage;
    const pare_weight *a = m->graph.weights[0];
    must(model_weight_storage(a, &err, &storage), &err);
    assert_memory_equal(storage.name, "codebook-relative", 17);
    assert_true(storage.n_bytes < 410 * 8 / 8 + 8 * 4); /* 410 kept: 3 bits, and 5 for the gap */
    must(model_serialize(m, NULL, 0, &err, &data, &n), &err);
    must(model_parse(data, n, "file", &err, &loaded), &err);
    assert_memory_equal(loaded->graph.weights[0]->data, a->data, 64 * 64 * sizeof(float));
    assert_memory_equal(loaded->graph.weights[0]->mask, a->mask, 64 * 64);
    free(data);
    model_destroy(loaded);
    model_destroy(m);
}

static void refused(const char *settings, const char *text) {
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    assert_true(try_step(m, "deep_compression", "deep_compression", settings, &err) != PARE_OK);
    if (!strstr(err.text, text)) {
        fail_msg("message is \"%s\", wanted \"%s\" in it", err.text, text);
    }
    model_destroy(m);
}

static void test_parameters(void **state) {
    (void)state;
    refused("bits=0", "bits");
    refused("bits=9", "bits");
    refused("bias_bits=-1", "bias_bits");
    refused("gradient=max", "gradient");
    refused("layer_bits=fc1", "layer_bits: got \"fc1\", wanted \"pattern=bits\", 1..8 bits");
    refused("layer_bits=fc1=9", "layer_bits: got \"fc1=9\"");
    refused("layer_bits=fc1=2.5", "layer_bits: got \"fc1=2.5\"");
    refused("layer_bits=fc7=2", "layer_bits: \"fc7=2\" decides for no selected layer");
    refused("sparsity=1", "sparsity: got 1, wanted 0 <= sparsity < 1");
    refused("sparsity=0.5 count=3", "both are given");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_four_groups), cmocka_unit_test(test_fixed_point),
        cmocka_unit_test(test_gradient),    cmocka_unit_test(test_training),
        cmocka_unit_test(test_divergence),  cmocka_unit_test(test_bits_by_layer),
        cmocka_unit_test(test_file),        cmocka_unit_test(test_parameters),
    };
    return cmocka_run_group_tests_name("method_deep_compression", tests, NULL, NULL);
}
