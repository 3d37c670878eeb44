/* SPDX-License-Identifier: MIT */
/* The trainer's arithmetic against PyTorch's, from tests/golden/train.golden, on every instruction
 * set this machine has. An error is measured against the largest value of its tensor. Both sides
 * add the same products in different orders, so they differ by a few times 2^-24 per term of the
 * longest sums: operators: TOLERANCE_OP; whole networks: TOLERANCE_NET, because errors go through
 * up to 8 layers and batch norms divide by small deviations; a gradient that was wrong in one term
 * would be off by far more; ten steps of training: TOLERANCE_TRAIN, because each step starts from
 * the last one's error. */
#include "train/train.h"

#include "golden.h"
#include "train/kernel.h"
#include "train_fixtures.h"

static const double TOLERANCE_OP = 4e-6;
static const double TOLERANCE_NET = 2e-5;
static const double TOLERANCE_TRAIN = 1e-4;

static int open_train_golden(void **state) {
    (void)state;
    return golden_open("train.golden");
}

static void check(const char *prefix, const char *name, const float *got, int64_t n,
                  double tolerance) {
    const float *want = golden_tensor(prefix, name, n);
    double largest = 0.0, worst = 0.0;
    int64_t where = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - (double)want[i]);
        largest = fmax(largest, fabs((double)want[i]));
        if (!(d <= worst)) {
            worst = d;
            where = i;
        }
    }
    if (!(worst <= tolerance * largest)) {
        fail_msg(
            "%s/%s[%lld] on %s: got %.9g, wanted %.9g; off by %.3g of the largest, allowed %.3g",
            prefix, name, (long long)where, kernels_best()->name, (double)got[where],
            (double)want[where], worst / largest, tolerance);
    }
}

/* ---- operators ---- */

struct op_case {
    const char *name;
    int32_t n, h, w, c; /* the value it reads */
    struct node_spec spec;
    int eval;
};

/* The values that the operator under test reads are made trainable, so that their gradient can be
 * asked for: image i is a single pixel, one-hot in channel i of n, and the convolution "x", whose
 * kernel is as large as the value and padded to full overlap, unrolls weights (C,H,W,n) into it.
 * x[i][y][x][c] = weight[c][H-1-y][W-1-x][i]. */
static void unroll(const struct op_case *t, const float *x, float *weight, int to_weight) {
    for (int32_t i = 0; i < t->n; i++) {
        for (int32_t y = 0; y < t->h; y++) {
            for (int32_t z = 0; z < t->w; z++) {
                for (int32_t c = 0; c < t->c; c++) {
                    const int64_t a = (((int64_t)i * t->h + y) * t->w + z) * t->c + c;
                    const int64_t b =
                        (((int64_t)c * t->h + t->h - 1 - y) * t->w + t->w - 1 - z) * t->n + i;
                    weight[to_weight ? b : a] = x[to_weight ? a : b];
                }
            }
        }
    }
}

static struct model *op_model(const struct op_case *t, float *x) {
    struct model *m = new_model(t->name, 1, 1, t->n);
    int32_t in = add_node(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                                .name = "x",
                                                .out_channels = t->c,
                                                .kernel_h = t->h,
                                                .kernel_w = t->w,
                                                .pad_h = t->h - 1,
                                                .pad_w = t->w - 1});
    struct node_spec spec = t->spec;
    if (spec.op == PARE_OP_LINEAR || spec.op == PARE_OP_SOFTMAX ||
        strcmp(t->name, "norm_rank1") == 0) {
        in = add_simple(m, PARE_OP_FLATTEN, "rank1", in);
    }
    spec.name = "op";
    spec.inputs[0] = in;
    const int32_t op = add_node(m, spec);
    if (m->graph.nodes[op]->rank == 3) {
        add_simple(m, PARE_OP_FLATTEN, "flatten", op);
    }
    finish_model(m);
    fill_weights(m, t->name);
    char name[64];
    snprintf(name, sizeof name, "%s/x", t->name);
    fill_values(name, (int64_t)t->n * t->h * t->w * t->c, 1.0, 0.0, x);
    unroll(t, x, model_weight_data(m, model_find_weight(m, "x.weight")), 1);
    return m;
}

static void check_op_gradients(const struct op_case *t, const struct model *m,
                               const struct network *net, float *gx) {
    unroll(t, network_gradient(net, model_find_weight(m, "x.weight")), gx, 0);
    check(t->name, "gx", gx, (int64_t)t->n * t->h * t->w * t->c, TOLERANCE_OP);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        char name[64];
        if (strcmp(w->name, "x.weight") == 0) {
            continue;
        }
        if (w->role == PARE_ROLE_MEAN || w->role == PARE_ROLE_VAR) {
            check(t->name, w->name, w->data, w->n_elems, TOLERANCE_OP);
            continue;
        }
        snprintf(name, sizeof name, "g/%s", w->name);
        check(t->name, name, network_gradient(net, i), w->n_elems, TOLERANCE_OP);
    }
}

static void run_op(const struct op_case *t) {
    static float x[1 << 14], gy[1 << 14], images[17 * 17];
    struct error err;
    struct network *net;
    const float *y;
    struct model *m = op_model(t, x);
    const int64_t n_out = (int64_t)t->n * m->graph.n_classes;
    memset(images, 0, sizeof images);
    for (int32_t i = 0; i < t->n; i++) {
        images[i * t->n + i] = 1.0f;
    }
    assert_int_equal(network_create(m, t->n, !t->eval, NULL, NULL, &err, &net), PARE_OK);
    if (t->eval) {
        assert_int_equal(network_infer(net, images, t->n, &err, &y), PARE_OK);
        check(t->name, "y", y, n_out, TOLERANCE_OP);
    } else {
        assert_int_equal(network_forward(net, images, t->n, &err, &y), PARE_OK);
        check(t->name, "y", y, n_out, TOLERANCE_OP);
        char name[64];
        snprintf(name, sizeof name, "%s/gy", t->name);
        fill_values(name, n_out, 1.0, 0.0, gy);
        assert_int_equal(network_backward(net, gy, &err), PARE_OK);
        check_op_gradients(t, m, net, x);
    }
    network_destroy(net);
    model_destroy(m);
}

#define CONV(oc, kh, kw, sh, sw, ph, pw, g, b)                                                     \
    {                                                                                              \
        .op = PARE_OP_CONV2D, .out_channels = oc, .kernel_h = kh, .kernel_w = kw, .stride_h = sh,  \
        .stride_w = sw, .pad_h = ph, .pad_w = pw, .groups = g, .bias = b                           \
    }
#define POOL(kind, kh, kw, sh, sw, p)                                                              \
    {                                                                                              \
        .op = kind, .kernel_h = kh, .kernel_w = kw, .stride_h = sh, .stride_w = sw, .pad_h = p,    \
        .pad_w = p                                                                                 \
    }

/* clang-format off */
static const struct op_case op_cases[] = {
    {"conv_odd", 3, 6, 5, 5, CONV(7, 3, 3, 1, 1, 1, 1, 1, 1), 0},
    {"conv_stride2", 3, 9, 8, 8, CONV(16, 3, 3, 2, 2, 1, 1, 1, 0), 0},
    {"conv_5x5", 2, 9, 9, 1, CONV(20, 5, 5, 1, 1, 0, 0, 1, 1), 0},
    {"conv_1x1_stride2", 3, 7, 6, 6, CONV(12, 1, 1, 2, 2, 0, 0, 1, 0), 0},
    {"conv_groups", 3, 7, 6, 6, CONV(4, 3, 3, 2, 2, 1, 1, 2, 1), 0},
    {"conv_depthwise", 2, 6, 5, 9, CONV(9, 3, 3, 1, 1, 1, 1, 9, 0), 0},
    {"conv_uneven", 2, 8, 7, 3, CONV(5, 3, 2, 2, 1, 0, 1, 1, 0), 0},
    {"conv_wide_pad", 2, 4, 5, 2, CONV(3, 2, 2, 1, 1, 3, 3, 1, 1), 0},
    {"conv_stride3", 2, 11, 10, 4, CONV(6, 2, 2, 3, 3, 0, 0, 1, 0), 0},
    {"conv_16", 2, 10, 10, 16, CONV(16, 3, 3, 1, 1, 1, 1, 1, 0), 0},
    {"conv_33_65", 1, 5, 6, 33, CONV(65, 3, 3, 1, 1, 1, 1, 1, 0), 0},
    {"conv_17_images", 17, 5, 5, 4, CONV(8, 3, 3, 1, 1, 1, 1, 1, 1), 0},
    {"conv_winograd", 2, 14, 12, 16, CONV(32, 3, 3, 1, 1, 1, 1, 1, 0), 0},
    {"conv_winograd_pads", 1, 8, 10, 32, CONV(16, 3, 3, 1, 1, 0, 2, 1, 0), 0},
    {"linear", 17, 1, 1, 37, {.op = PARE_OP_LINEAR, .out_channels = 29, .bias = 1}, 0},
    {"relu", 3, 4, 5, 7, {.op = PARE_OP_RELU}, 0},
    {"max_pool", 3, 6, 8, 5, POOL(PARE_OP_MAX_POOL, 2, 2, 2, 2, 0), 0},
    {"max_pool_pad", 3, 7, 8, 5, POOL(PARE_OP_MAX_POOL, 3, 3, 2, 2, 1), 0},
    {"avg_pool", 3, 7, 8, 5, POOL(PARE_OP_AVG_POOL, 3, 2, 2, 1, 0), 0},
    {"global_avg_pool", 3, 7, 5, 9, {.op = PARE_OP_GLOBAL_AVG_POOL}, 0},
    {"shortcut_a", 3, 7, 6, 5,
     {.op = PARE_OP_SHORTCUT_A, .out_channels = 12, .stride_h = 2, .stride_w = 2}, 0},
    {"norm", 11, 4, 5, 5, {.op = PARE_OP_BATCH_NORM}, 0},
    {"norm_rank1", 11, 1, 1, 23, {.op = PARE_OP_BATCH_NORM}, 0},
    {"norm_eval", 3, 4, 5, 5, {.op = PARE_OP_BATCH_NORM}, 1},
    {"softmax", 3, 1, 1, 7, {.op = PARE_OP_SOFTMAX}, 1},
};
/* clang-format on */

static void test_operators(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof op_cases / sizeof *op_cases; i++) {
        run_op(&op_cases[i]);
    }
}

/* ---- networks ---- */

static void run_net(const char *name, struct model *m) {
    static uint8_t pixels[TINY_IMAGES * TINY_ELEMS], labels[TINY_IMAGES];
    static float images[TINY_IMAGES * TINY_ELEMS], grad[TINY_IMAGES * 10];
    const struct dataset ds = tiny_dataset(pixels, labels);
    struct train_options options;
    struct error err;
    struct network *net;
    const float *logits;
    uint32_t items[TINY_IMAGES];
    for (uint32_t i = 0; i < TINY_IMAGES; i++) {
        items[i] = i;
    }
    dataset_batch(&ds, SPLIT_TRAIN, items, TINY_IMAGES, images);
    train_defaults(&options);
    assert_int_equal(network_create(m, TINY_IMAGES, 1, NULL, NULL, &err, &net), PARE_OK);
    assert_int_equal(network_infer(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
    check(name, "eval", logits, TINY_IMAGES * 10, TOLERANCE_NET);
    assert_int_equal(network_forward(net, images, TINY_IMAGES, &err, &logits), PARE_OK);
    check(name, "logits", logits, TINY_IMAGES * 10, TOLERANCE_NET);
    const float loss = (float)train_loss(logits, NULL, labels, TINY_IMAGES, 10, &options, grad);
    check(name, "loss", &loss, 1, TOLERANCE_NET);
    assert_int_equal(network_backward(net, grad, &err), PARE_OK);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        const float *g = network_gradient(net, i);
        char key[128];
        snprintf(key, sizeof key, "%s%s", g ? "g/" : "", w->name);
        check(name, key, g ? g : w->data, w->n_elems, TOLERANCE_NET);
    }
    network_destroy(net);
    model_destroy(m);
}

static void test_networks(void **state) {
    (void)state;
    run_net("resnet8a", make_resnet8('A'));
    run_net("resnet8b", make_resnet8('B'));
    run_net("lenet", make_small_lenet());
}

/* ---- training ---- */

struct losses {
    float values[10];
};

static pare_status note_loss(void *context, int32_t epoch, double train_loss, double accuracy) {
    (void)accuracy;
    ((struct losses *)context)->values[epoch] = (float)train_loss;
    return PARE_OK;
}

/* Ten epochs of one step each: a batch holds the whole data set, in an order that does not matter.
 */
static void run_training(const char *name, struct model *m, struct train_options options) {
    static uint8_t pixels[TINY_IMAGES * TINY_ELEMS], labels[TINY_IMAGES];
    const struct dataset ds = tiny_dataset(pixels, labels);
    struct losses losses;
    struct train_hooks hooks = {.context = &losses, .after_epoch = note_loss};
    struct train_result result;
    struct error err;
    options.epochs = 10.0;
    options.batch = TINY_IMAGES;
    options.warmup = 0.2;
    options.shift = 0;
    options.flip = 0;
    assert_int_equal(train_run(m, &ds, &options, &hooks, NULL, NULL, &err, &result), PARE_OK);
    assert_int_equal(result.steps, 10);
    check(name, "losses", losses.values, 10, TOLERANCE_TRAIN);
    const int32_t first = model_find_weight(m, "conv1.weight");
    int32_t last = model_find_weight(m, "fc.bias");
    last = last < 0 ? model_find_weight(m, "fc2.bias") : last;
    check(name, "conv1.weight", m->graph.weights[first]->data, m->graph.weights[first]->n_elems,
          TOLERANCE_TRAIN);
    check(name, m->graph.weights[last]->name, m->graph.weights[last]->data, 10, TOLERANCE_TRAIN);
    model_destroy(m);
}

static void test_training(void **state) {
    (void)state;
    struct train_options options;
    train_defaults(&options);
    options.lr = 0.05;
    run_training("sgd", make_resnet8('A'), options);
    run_training("sgd_b", make_resnet8('B'), options);
    options.lr = 0.02;
    struct train_options distill = options;
    distill.teacher = make_resnet8('A');
    distill.distill_weight = 0.6;
    distill.distill_temperature = 4.0;
    run_training("distill", make_small_lenet(), distill);
    model_destroy(distill.teacher);
    options.label_smoothing = 0.1;
    options.schedule = LR_COSINE;
    options.clip_norm = 1.5;
    run_training("smooth", make_small_lenet(), options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_training),
    };
    int failed = 0;
    for (int32_t i = 0; kernels_at(i); i++) {
        setenv("PARE_TRAIN_ISA", kernels_at(i)->name, 1);
        print_message("instruction set %s\n", kernels_at(i)->name);
        failed += cmocka_run_group_tests(tests, open_train_golden, golden_close);
    }
    return failed;
}
