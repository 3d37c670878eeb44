/* SPDX-License-Identifier: MIT */
/* The executor and the training loop: what must hold whatever the numbers are. */
#include "train/train.h"

#include "train/kernel.h"
#include "train_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint8_t pixels[TINY_IMAGES * TINY_ELEMS], labels[TINY_IMAGES];
static float images[TINY_IMAGES * TINY_ELEMS];
static struct dataset ds;

static int make_data(void **state) {
    (void)state;
    uint32_t items[TINY_IMAGES];
    for (uint32_t i = 0; i < TINY_IMAGES; i++) {
        items[i] = i;
    }
    ds = tiny_dataset(pixels, labels);
    dataset_batch(&ds, SPLIT_TRAIN, items, TINY_IMAGES, images);
    return 0;
}

static struct train_options options_for(double epochs, double lr) {
    struct train_options o;
    train_defaults(&o);
    o.epochs = epochs;
    o.lr = lr;
    o.batch = TINY_IMAGES;
    o.shift = 0;
    o.flip = 0;
    o.seed = 7;
    return o;
}

static struct network *make_network(struct model *m, int train, const struct network_hooks *hooks) {
    struct error err;
    struct network *net;
    assert_int_equal(network_create(m, TINY_IMAGES, train, hooks, NULL, &err, &net), PARE_OK);
    return net;
}

/* ---- gradients ---- */

static double loss_of(struct network *net, float *grad) {
    const struct train_options o = options_for(1, 0.1);
    struct error err;
    const float *logits;
    assert_int_equal(network_forward(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
    return train_loss(logits, NULL, labels, TINY_IMAGES, 10, &o, grad);
}

/* The loss along each tensor's gradient, by a central difference: both must give |g|. The step is
 * large enough for float losses and small enough that few ReLUs and maxima change sides: hence 2 %.
 */
static void check_numeric_gradients(struct model *m, int frozen) {
    float grad[TINY_IMAGES * 10];
    struct error err;
    struct network *net = make_network(m, 1, NULL);
    network_freeze_norm(net, frozen);
    loss_of(net, grad);
    assert_int_equal(network_backward(net, grad, &err), PARE_OK);
    float *g = malloc(sizeof(float) << 16);
    float *kept = malloc(sizeof(float) << 16);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const int64_t n = m->graph.weights[i]->n_elems;
        float *w = model_weight_data(m, i);
        double norm = 0.0;
        if (!network_gradient(net, i)) {
            continue;
        }
        memcpy(g, network_gradient(net, i), (size_t)n * sizeof *g);
        memcpy(kept, w, (size_t)n * sizeof *w);
        for (int64_t e = 0; e < n; e++) {
            norm += (double)g[e] * (double)g[e];
        }
        norm = sqrt(norm);
        double loss[2];
        const double step = 2e-3;
        for (int side = 0; side < 2; side++) {
            for (int64_t e = 0; e < n; e++) {
                w[e] = kept[e] + (float)((side ? step : -step) * (double)g[e] / norm);
            }
            loss[side] = loss_of(net, grad);
        }
        memcpy(w, kept, (size_t)n * sizeof *w);
        const double numeric = (loss[1] - loss[0]) / (2 * step);
        if (!(fabs(numeric - norm) <= 0.02 * norm + 2e-4)) {
            fail_msg("%s: the loss rises by %g along the gradient, whose length is %g",
                     m->graph.weights[i]->name, numeric, norm);
        }
    }
    free(g);
    free(kept);
    network_destroy(net);
    model_destroy(m);
}

static void test_numeric_gradients(void **state) {
    (void)state;
    check_numeric_gradients(make_resnet8('A'), 0);
    check_numeric_gradients(make_resnet8('B'), 0);
    check_numeric_gradients(make_small_lenet(), 0);
}

/* Frozen batch norms: the values of evaluation, gradients that fit them, statistics untouched. */
static void test_frozen_norm(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet8('A');
    struct model *before;
    assert_int_equal(model_copy(m, &err, &before), PARE_OK);
    struct network *net = make_network(m, 1, NULL);
    struct network *plain = make_network(m, 0, NULL);
    const float *trained_logits, *logits;
    network_freeze_norm(net, 1);
    assert_int_equal(network_forward(net, images, TINY_IMAGES, &err, &trained_logits), PARE_OK);
    assert_int_equal(network_infer(plain, images, TINY_IMAGES, &err, &logits), PARE_OK);
    for (int i = 0; i < TINY_IMAGES * 10; i++) {
        assert_true(fabs((double)trained_logits[i] - (double)logits[i]) < 1e-4);
    }
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        assert_memory_equal(w->data, before->graph.weights[i]->data,
                            (size_t)w->n_elems * sizeof *w->data);
    }
    network_destroy(net);
    network_destroy(plain);
    model_destroy(before);
    check_numeric_gradients(m, 1);
    check_numeric_gradients(make_resnet8('B'), 1);
}

/* ---- beginning in the middle ---- */

struct seen_steps {
    int64_t steps[16];
    double rates[16];
    int n;
};

static pare_status note_step(void *context, int64_t step, double lr) {
    struct seen_steps *seen = context;
    seen->steps[seen->n] = step;
    seen->rates[seen->n++] = lr;
    return PARE_OK;
}

static void test_first_step(void **state) {
    (void)state;
    struct error err;
    struct train_result result;
    struct model *m = make_small_lenet();
    struct train_options o = options_for(2, 0.1);
    o.batch = 5; /* 4 steps in an epoch */
    o.first_step = 6;
    struct seen_steps seen = {.n = 0};
    const struct train_hooks hooks = {.context = &seen, .after_step = note_step};
    assert_int_equal(train_run(m, &ds, &o, &hooks, NULL, NULL, &err, &result), PARE_OK);
    assert_int_equal(result.steps, 2);
    assert_int_equal(seen.n, 2);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(seen.steps[k], 6 + k);
        assert_true(seen.rates[k] == train_learning_rate(&o, 6 + k, 8));
    }
    o.first_step = 8;
    assert_int_equal(train_run(m, &ds, &o, &hooks, NULL, NULL, &err, &result), PARE_E_RANGE);
    assert_string_equal(err.text, "training lenet: the first step is 8, wanted 0..7");
    model_destroy(m);
}

/* ---- the same bits ---- */

static struct model *trained(struct model *m, int32_t n_threads, int hold_mask) {
    struct train_options o = options_for(3.5, 0.05);
    struct train_result result;
    struct error err;
    struct pool *pool = NULL;
    o.shift = 2;
    o.flip = 1;
    o.batch = 11; /* batches of 10: two chunks, one of them short */
    if (hold_mask) {
        uint8_t mask[6 * 3 * 3 * 3];
        for (size_t i = 0; i < sizeof mask; i++) {
            mask[i] = i % 3 != 0;
        }
        assert_int_equal(model_set_mask(m, model_find_weight(m, "conv1.weight"), mask, &err),
                         PARE_OK);
    }
    if (n_threads > 0) {
        assert_int_equal(pool_create(n_threads, NULL, &err, &pool), PARE_OK);
    }
    assert_int_equal(train_run(m, &ds, &o, NULL, pool, NULL, &err, &result), PARE_OK);
    assert_int_equal(result.steps, 7);
    pool_destroy(pool);
    return m;
}

static void check_same_weights(const struct model *a, const struct model *b) {
    for (int32_t i = 0; i < a->graph.n_weights; i++) {
        const pare_weight *w = a->graph.weights[i];
        assert_memory_equal(w->data, b->graph.weights[i]->data, (size_t)w->n_elems * sizeof(float));
    }
}

static void test_threads_change_nothing(void **state) {
    (void)state;
    struct model *(*const make[])(void) = {make_small_lenet, make_resnet8_a};
    for (size_t i = 0; i < sizeof make / sizeof *make; i++) {
        struct model *inline_run = trained(make[i](), 0, 0);
        for (int32_t n_threads = 1; n_threads <= 3; n_threads++) {
            struct model *m = trained(make[i](), n_threads, 0);
            check_same_weights(inline_run, m);
            model_destroy(m);
        }
        model_destroy(inline_run);
    }
}

static void test_seed_changes_weights(void **state) {
    (void)state;
    struct train_options o = options_for(2, 0.05);
    struct train_result result;
    struct error err;
    struct model *a = make_small_lenet();
    struct model *b = make_small_lenet();
    o.batch = 5;
    assert_int_equal(train_run(a, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_OK);
    o.seed++;
    assert_int_equal(train_run(b, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_OK);
    assert_memory_not_equal(a->graph.weights[0]->data, b->graph.weights[0]->data, 64);
    model_destroy(a);
    model_destroy(b);
}

/* ---- masks and quantized weights ---- */

static void test_mask_holds(void **state) {
    (void)state;
    struct model *m = trained(make_resnet8('A'), 0, 1);
    struct model *start = make_resnet8('A');
    const pare_weight *w = m->graph.weights[model_find_weight(m, "conv1.weight")];
    const float *before = start->graph.weights[w->index]->data;
    for (int64_t i = 0; i < w->n_elems; i++) {
        assert_true(i % 3 == 0 ? w->data[i] == 0.0f : w->data[i] != before[i]);
    }
    model_destroy(m);
    model_destroy(start);
}

static void test_quantized_weights_are_frozen(void **state) {
    (void)state;
    struct error err;
    struct train_result result;
    struct model *m = make_small_lenet();
    const int32_t index = model_find_weight(m, "conv2.weight");
    const float scale = 0.01f;
    const pare_quant q = {
        .bits = 8, .qmin = -127, .qmax = 127, .axis = -1, .n = 1, .scale = &scale};
    assert_int_equal(model_set_weight_quant(m, index, &q, NULL, &err), PARE_OK);
    const struct train_options o = options_for(2, 0.05);
    assert_int_equal(train_run(m, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_OK);
    assert_int_equal(model_verify(m, &err), PARE_OK);
    model_destroy(m);
}

/* ---- learning ---- */

struct epochs {
    int32_t n;
    double loss, accuracy;
};

static pare_status note_epoch(void *context, int32_t epoch, double loss, double accuracy) {
    *(struct epochs *)context = (struct epochs){epoch + 1, loss, accuracy};
    return PARE_OK;
}

static void test_overfits(void **state) {
    (void)state;
    struct model *(*const make[])(void) = {make_small_lenet, make_resnet8_a};
    for (size_t i = 0; i < sizeof make / sizeof *make; i++) {
        struct epochs last = {0};
        const struct train_hooks hooks = {.context = &last, .after_epoch = note_epoch};
        const struct train_options o = options_for(150, 0.05);
        struct train_result result;
        struct error err;
        struct model *m = make[i]();
        assert_int_equal(train_run(m, &ds, &o, &hooks, NULL, NULL, &err, &result), PARE_OK);
        assert_int_equal(last.n, 150);
        assert_true(last.accuracy == 1.0);
        assert_true(last.loss < 0.05);
        assert_true(result.final_loss == last.loss);
        model_destroy(m);
    }
}

static void test_not_finite(void **state) {
    (void)state;
    const struct train_options o = options_for(20, 1e5);
    struct train_result result = {.steps = -5};
    struct error err;
    struct model *m = make_small_lenet();
    assert_int_equal(train_run(m, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_E_NUMERIC);
    assert_non_null(strstr(err.text, "step"));
    assert_non_null(strstr(err.text, "smaller lr"));
    assert_int_equal(result.steps, -5);
    model_destroy(m);
}

static void test_schedules(void **state) {
    (void)state;
    struct train_options o = options_for(10, 0.4);
    int64_t per_epoch;
    o.warmup = 0.25;
    o.batch = 6;
    assert_int_equal(train_n_steps(&ds, &o, &per_epoch), 40);
    assert_int_equal(per_epoch, 4);
    o.epochs = 0.5;
    assert_int_equal(train_n_steps(&ds, &o, &per_epoch), 2);
    o.epochs = 1e-9;
    assert_int_equal(train_n_steps(&ds, &o, &per_epoch), 1);
    assert_true(fabs(train_learning_rate(&o, 0, 40) - 0.4 / 11) < 1e-12);
    assert_true(train_learning_rate(&o, 10, 40) == 0.4);
    assert_true(fabs(train_learning_rate(&o, 25, 40) - 0.2) < 1e-12);
    assert_true(fabs(train_learning_rate(&o, 39, 40) - 0.4 / 30) < 1e-12);
    o.schedule = LR_COSINE;
    assert_true(fabs(train_learning_rate(&o, 25, 40) - 0.2) < 1e-12);
    assert_true(train_learning_rate(&o, 39, 40) < 0.4 * 0.01);
    o.schedule = LR_CONSTANT;
    assert_true(train_learning_rate(&o, 39, 40) == 0.4);
}

static void test_bad_options(void **state) {
    (void)state;
    struct model *m = make_small_lenet();
    struct train_result result;
    struct error err;
    struct train_options o = options_for(1, -0.1);
    assert_int_equal(train_run(m, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_E_RANGE);
    assert_non_null(strstr(err.text, "lr is -0.1"));
    o = options_for(0, 0.1);
    assert_int_equal(train_run(m, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_E_RANGE);
    o = options_for(1, 0.1);
    o.momentum = (double)NAN;
    assert_int_equal(train_run(m, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_E_RANGE);
    model_destroy(m);
    m = make_lenet5();
    o = options_for(1, 0.1);
    assert_int_equal(train_run(m, &ds, &o, NULL, NULL, NULL, &err, &result), PARE_E_ARG);
    assert_non_null(strstr(err.text, "28x28x1"));
    model_destroy(m);
}

/* ---- hooks ---- */

struct doubler {
    int32_t weight, node;
    int forwards, backwards;
};

static int wants_weight(void *context, int32_t weight) {
    return weight == ((struct doubler *)context)->weight;
}

static int wants_node(void *context, int32_t node) {
    return node == ((struct doubler *)context)->node;
}

/* Twice the value and, on the way back, three times the gradient: a factor that is not the true one
 * shows that the hook's gradient is what counts. */
static pare_status double_weight(void *context, int32_t weight, const float *w, float *used) {
    struct doubler *d = context;
    d->forwards += weight == d->weight;
    for (int32_t i = 0; i < 10 * 2 * 2 * 6; i++) {
        used[i] = 2.0f * w[i];
    }
    return PARE_OK;
}

static pare_status triple_weight(void *context, int32_t weight, const float *w,
                                 const float *grad_used, float *grad_w) {
    (void)w;
    struct doubler *d = context;
    d->backwards += weight == d->weight;
    for (int32_t i = 0; i < 10 * 2 * 2 * 6; i++) {
        grad_w[i] = 3.0f * grad_used[i];
    }
    return PARE_OK;
}

static pare_status double_value(void *context, int32_t node, const float *x, float *y, int64_t n) {
    struct doubler *d = context;
    d->forwards += node == d->node;
    for (int64_t i = 0; i < n; i++) {
        y[i] = 2.0f * x[i];
    }
    return PARE_OK;
}

static pare_status triple_value(void *context, int32_t node, const float *x, const float *grad_y,
                                float *grad_x, int64_t n) {
    (void)x;
    struct doubler *d = context;
    d->backwards += node == d->node;
    for (int64_t i = 0; i < n; i++) {
        grad_x[i] = 3.0f * grad_y[i];
    }
    return PARE_OK;
}

static void scale_weight(struct model *m, const char *name, float factor) {
    const int32_t i = model_find_weight(m, name);
    for (int64_t e = 0; e < m->graph.weights[i]->n_elems; e++) {
        model_weight_data(m, i)[e] *= factor;
    }
}

static void run_both(struct network *net, float *logits_out) {
    struct error err;
    float grad[TINY_IMAGES * 10];
    const float *logits;
    loss_of(net, grad);
    assert_int_equal(network_backward(net, grad, &err), PARE_OK);
    assert_int_equal(network_infer(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
    memcpy(logits_out, logits, sizeof grad);
}

static void check_gradient(const struct model *m, const struct network *plain,
                           const struct network *hooked, const char *name, double factor) {
    const int32_t i = model_find_weight(m, name);
    double largest = 0.0;
    const int64_t n = m->graph.weights[i]->n_elems;
    for (int64_t e = 0; e < n; e++) {
        largest = fmax(largest, fabs((double)network_gradient(plain, i)[e]));
    }
    assert_true(largest > 0.0);
    for (int64_t e = 0; e < n; e++) {
        const double want = factor * (double)network_gradient(plain, i)[e];
        assert_true(fabs((double)network_gradient(hooked, i)[e] - want) <= 1e-6 * factor * largest);
    }
}

/* A hook that doubles conv2's weight, against a model that has them doubled. Powers of two: exact.
 */
static void test_weight_hook(void **state) {
    (void)state;
    float plain_logits[TINY_IMAGES * 10], logits[TINY_IMAGES * 10];
    struct model *hooked = make_small_lenet();
    struct model *plain = make_small_lenet();
    struct doubler d = {.weight = model_find_weight(hooked, "conv2.weight"), .node = -1};
    const struct network_hooks hooks = {.context = &d,
                                        .wants_weight = wants_weight,
                                        .wants_activation = wants_node,
                                        .weight_forward = double_weight,
                                        .weight_backward = triple_weight};
    scale_weight(plain, "conv2.weight", 2.0f);
    struct network *a = make_network(plain, 1, NULL);
    struct network *b = make_network(hooked, 1, &hooks);
    run_both(a, plain_logits);
    run_both(b, logits);
    assert_memory_equal(plain_logits, logits, sizeof logits);
    assert_int_equal(d.forwards, 2);
    assert_int_equal(d.backwards, 1);
    check_gradient(plain, a, b, "conv2.weight", 3.0);
    check_gradient(plain, a, b, "conv1.weight", 1.0);
    network_destroy(a);
    network_destroy(b);
    model_destroy(plain);
    model_destroy(hooked);
}

/* Doubling what `node` reads is doubling its weight; tripling the gradient where the true factor is
 * 2 makes one and a half times every gradient before it. `alone` is 0 where the value has other
 * readers: then only forward is compared. */
static void check_activation_hook(struct model *plain, struct model *hooked, const char *node,
                                  const char *before, int alone) {
    float plain_logits[TINY_IMAGES * 10], logits[TINY_IMAGES * 10];
    char weight[64];
    snprintf(weight, sizeof weight, "%s.weight", node);
    struct doubler d = {.weight = -1, .node = model_find_node(hooked, node)};
    const struct network_hooks hooks = {.context = &d,
                                        .wants_weight = wants_weight,
                                        .wants_activation = wants_node,
                                        .activation_forward = double_value,
                                        .activation_backward = triple_value};
    scale_weight(plain, weight, 2.0f);
    struct network *a = make_network(plain, 1, NULL);
    struct network *b = make_network(hooked, 1, &hooks);
    run_both(a, plain_logits);
    run_both(b, logits);
    for (int32_t i = 0; i < TINY_IMAGES * 10; i++) {
        assert_true(fabs((double)logits[i] - (double)plain_logits[i]) < 1e-4);
    }
    assert_int_equal(d.forwards, 2);
    assert_int_equal(d.backwards, 1);
    check_gradient(plain, a, b, weight, 2.0);
    if (alone) {
        check_gradient(plain, a, b, before, 1.5);
    }
    network_destroy(a);
    network_destroy(b);
    model_destroy(plain);
    model_destroy(hooked);
}

static int wants_none(void *context, int32_t node) {
    (void)context, (void)node;
    return 0;
}

/* A method that learns nothing from the images' gradient does not get it, and all else is as it
 * was. */
static void test_image_gradient_unwanted(void **state) {
    (void)state;
    float logits[TINY_IMAGES * 10];
    struct model *m = make_small_lenet();
    struct doubler d = {.weight = -1, .node = model_find_node(m, "conv1")};
    struct network_hooks hooks = {.context = &d,
                                  .wants_weight = wants_weight,
                                  .wants_activation = wants_node,
                                  .activation_forward = double_value,
                                  .activation_backward = triple_value};
    struct network *a = make_network(m, 1, &hooks);
    hooks.wants_image_gradient = wants_none;
    struct network *b = make_network(m, 1, &hooks);
    run_both(a, logits);
    assert_int_equal(d.backwards, 1);
    run_both(b, logits);
    assert_int_equal(d.backwards, 1);
    check_gradient(m, a, b, "conv1.weight", 1.0);
    network_destroy(a);
    network_destroy(b);
    model_destroy(m);
}

static void test_activation_hook(void **state) {
    (void)state;
    check_activation_hook(make_small_lenet(), make_small_lenet(), "conv2", "conv1.weight", 1);
    check_activation_hook(make_small_lenet(), make_small_lenet(), "fc2", "fc1.weight", 1);
    check_activation_hook(make_small_lenet(), make_small_lenet(), "conv1", "", 0);
    check_activation_hook(make_resnet8('B'), make_resnet8('B'), "layer2.conv2",
                          "layer2.conv1.weight", 1);
    check_activation_hook(make_resnet8('B'), make_resnet8('B'), "layer2.down", "", 0);
}

static pare_status fail_forward(void *context, int32_t weight, const float *w, float *used) {
    (void)context, (void)weight, (void)w, (void)used;
    return PARE_E_PLUGIN;
}

static void test_hook_failure(void **state) {
    (void)state;
    struct error err;
    const float *logits;
    struct model *m = make_small_lenet();
    struct doubler d = {.weight = model_find_weight(m, "fc1.weight"), .node = -1};
    const struct network_hooks hooks = {
        .context = &d, .wants_weight = wants_weight, .weight_forward = fail_forward};
    struct network *net = make_network(m, 1, &hooks);
    assert_int_equal(network_forward(net, images, 3, &err, &logits), PARE_E_PLUGIN);
    assert_non_null(strstr(err.text, "fc1"));
    network_destroy(net);
    model_destroy(m);
}

/* ---- evaluation ---- */

struct visits {
    const pare_graph *graph;
    int32_t n;
};

static pare_status check_value(void *context, int32_t node, const float *value, int32_t n) {
    struct visits *v = context;
    const pare_node *info = v->graph->nodes[node];
    assert_int_equal(node, v->n++);
    const int64_t n_elems = (int64_t)n * info->dims[0] * info->dims[1] * info->dims[2];
    int positive = 0;
    for (int64_t i = 0; i < n_elems; i++) {
        positive += value[i] > 0.0f;
        assert_true(info->op != PARE_OP_RELU || value[i] >= 0.0f);
        if (info->activation.bits != 0) {
            const float code = value[i] / info->activation.scale[0];
            assert_true(code == nearbyintf(code) && code >= -5.0f && code <= 10.0f);
        }
    }
    assert_true(positive > 0);
    return PARE_OK;
}

/* Every value is shown once, in order, and looking changes nothing. Values with quantization lie on
 * their grid, the image's too. */
static void test_observed(void **state) {
    (void)state;
    struct error err;
    float plain[TINY_IMAGES * 10];
    const float *logits;
    struct model *m = make_resnet8('B');
    const float scale = 0.21f;
    const int32_t zero = -3;
    const pare_quant q = {
        .bits = 4, .qmin = -8, .qmax = 7, .axis = -1, .n = 1, .scale = &scale, .zero_point = &zero};
    struct network *net = make_network(m, 0, NULL);
    for (int pass = 0; pass < 2; pass++) {
        struct visits v = {&m->graph, 0};
        assert_int_equal(network_infer(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
        memcpy(plain, logits, sizeof plain);
        assert_int_equal(
            network_infer_observed(net, images, TINY_IMAGES, check_value, &v, &err, &logits),
            PARE_OK);
        assert_int_equal(v.n, m->graph.n_nodes);
        for (int32_t i = 0; i < TINY_IMAGES * 10; i++) {
            assert_true(fabs((double)plain[i] - (double)logits[i]) < 1e-5);
        }
        /* Second time with quantization, in the network that is already there. */
        static const char *const names[] = {"input", "relu1", "layer1.relu2", "layer2.relu1"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            assert_int_equal(model_set_activation_quant(m, model_find_node(m, names[i]), &q, &err),
                             PARE_OK);
        }
    }
    network_destroy(net);
    model_destroy(m);
}

static void test_infer_split(void **state) {
    (void)state;
    struct error err;
    float split[TINY_IMAGES * 10];
    const float *logits;
    struct model *m = make_resnet8('A');
    struct network *net = make_network(m, 0, NULL);
    assert_int_equal(train_infer_split(m, &ds, SPLIT_TEST, NULL, &err, split), PARE_OK);
    assert_int_equal(network_infer(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
    assert_memory_equal(split, logits, sizeof split);
    network_destroy(net);
    model_destroy(m);
}

/* The data set is one batch, so any number of batches gives that batch's statistics: the same as
 * one training pass with momentum 1, and evaluation then gives the training pass's logits, up to
 * the unbiased variance. */
static void test_reestimate(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet8('A');
    struct model *one = make_resnet8('A');
    assert_int_equal(train_reestimate_batch_norm(m, &ds, 3, 5, NULL, &err), PARE_OK);
    struct network *net = make_network(one, 1, NULL);
    const float *logits;
    network_set_norm_momentum(net, 1.0f);
    assert_int_equal(network_forward(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        for (int64_t e = 0; e < w->n_elems; e++) {
            assert_true(fabs((double)w->data[e] - (double)one->graph.weights[i]->data[e]) < 1e-5);
        }
    }
    network_destroy(net);
    model_destroy(m);
    model_destroy(one);
}

static void test_states(void **state) {
    (void)state;
    struct error err;
    const float *logits;
    float grad[TINY_IMAGES * 10] = {0};
    struct model *m = make_small_lenet();
    struct network *net = make_network(m, 0, NULL);
    assert_int_equal(network_forward(net, images, 1, &err, &logits), PARE_E_STATE);
    assert_int_equal(network_infer(net, images, TINY_IMAGES + 1, &err, &logits), PARE_E_RANGE);
    network_destroy(net);
    net = make_network(m, 1, NULL);
    assert_int_equal(network_backward(net, grad, &err), PARE_E_STATE);
    assert_int_equal(network_forward(net, images, 4, &err, &logits), PARE_OK);
    assert_int_equal(network_backward(net, grad, &err), PARE_OK);
    assert_int_equal(network_backward(net, grad, &err), PARE_E_STATE);
    network_destroy(net);
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numeric_gradients),
        cmocka_unit_test(test_frozen_norm),
        cmocka_unit_test(test_first_step),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_seed_changes_weights),
        cmocka_unit_test(test_mask_holds),
        cmocka_unit_test(test_quantized_weights_are_frozen),
        cmocka_unit_test(test_overfits),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_weight_hook),
        cmocka_unit_test(test_activation_hook),
        cmocka_unit_test(test_image_gradient_unwanted),
        cmocka_unit_test(test_hook_failure),
        cmocka_unit_test(test_observed),
        cmocka_unit_test(test_infer_split),
        cmocka_unit_test(test_reestimate),
        cmocka_unit_test(test_states),
    };
    return cmocka_run_group_tests(tests, make_data, NULL);
}
