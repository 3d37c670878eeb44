/* SPDX-License-Identifier: MIT */
/* The method filter: what each criterion keeps, against scores computed here in another way; how
 * much goes; what is refused. That a network without channels computes what the masked one does is
 * the matter of tests/kernels/test_backend_surgery.c. */
#include "fixtures.h"

#include <math.h>
#include <pare/ext/gradients.h>
#include <pare/ext/norm.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { N_1 = 8, N_2 = 6, SIDE = 4 };

static const struct instance_env env = {.seed = 1};

/* input (4,4,2) - conv1 (8) - bn1 - relu1 - conv2 (6) - bn2 - relu2 - pool - fc (3). beta of
 * channel c is 100 + c: it tells which channels are left. */
static struct model *make_plain(void) {
    struct model *m = model_start(SIDE, SIDE, 2);
    int32_t x = add_op(m, PARE_OP_BATCH_NORM, "bn1", add_conv(m, "conv1", 0, N_1));
    x = add_op(m, PARE_OP_RELU, "relu1", x);
    x = add_op(m, PARE_OP_BATCH_NORM, "bn2", add_conv(m, "conv2", x, N_2));
    x = add_op(m, PARE_OP_RELU, "relu2", x);
    add_linear(m, "fc", add_op(m, PARE_OP_GLOBAL_AVG_POOL, "pool", x), 3);
    model_end(m);
    for (int32_t k = 0; k < N_1; k++)
        model_weight_data(m, weight_named(m, "bn1.bias")->index)[k] = 100.0f + (float)k;
    for (int32_t k = 0; k < N_2; k++)
        model_weight_data(m, weight_named(m, "bn2.bias")->index)[k] = 100.0f + (float)k;
    return m;
}

/* Are exactly the n - n_gone channels of highest `worth` left in batch norm `name`? */
static void check_kept(const struct model *m, const char *name, const double *worth, int32_t n,
                       int32_t n_gone) {
    char beta[32];
    snprintf(beta, sizeof beta, "%s.bias", name);
    const pare_weight *w = weight_named(m, beta);
    assert_int_equal(w->n_elems, n - n_gone);
    for (int32_t c = 0, left = 0; c < n; c++) {
        int32_t n_lower = 0; /* ties: the first goes */
        for (int32_t k = 0; k < n; k++)
            n_lower += worth[k] < worth[c] || (worth[k] == worth[c] && k < c);
        const int is_left = left < w->n_elems && w->data[left] == 100.0f + (float)c;
        if (is_left != (n_lower >= n_gone))
            fail_msg("%s: channel %d is %s", name, c, is_left ? "kept" : "gone");
        left += is_left;
    }
}

/* ---- criteria that read weights ---- */

/* sum |w| in one loop over the whole tensor. */
static void worth_l1(const pare_weight *w, double *worth) {
    for (int64_t i = 0; i < w->n_elems; i++)
        worth[i / (w->n_elems / w->dims[0])] += fabs((double)w->data[i]);
}

/* |a - b|^2 = |a|^2 + |b|^2 - 2 ab, by the Gram matrix. */
static void worth_fpgm(const pare_weight *w, double *worth) {
    const int64_t n = w->dims[0], size = w->n_elems / n;
    double gram[N_1][N_1] = {{0}};
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < n; b++)
            for (int64_t i = 0; i < size; i++)
                gram[a][b] += (double)w->data[a * size + i] * (double)w->data[b * size + i];
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < n; b++)
            worth[a] += sqrt(fmax(gram[a][a] + gram[b][b] - 2.0 * gram[a][b], 0.0));
}

static void test_weight_criteria(void **state) {
    (void)state;
    void (*const worths[])(const pare_weight *, double *) = {worth_l1, worth_fpgm};
    const char *const settings[] = {"criterion=l1 fraction=0.5", "criterion=fpgm fraction=0.5"};
    for (int k = 0; k < 2; k++) {
        struct model *m = make_plain();
        double worth_1[N_1] = {0}, worth_2[N_2] = {0};
        worths[k](weight_named(m, "conv1.weight"), worth_1);
        worths[k](weight_named(m, "conv2.weight"), worth_2);
        do_step(m, "filter", "filter", settings[k]);
        check_kept(m, "bn1", worth_1, N_1, 4);
        check_kept(m, "bn2", worth_2, N_2, 3);
        assert_int_equal(weight_named(m, "conv2.weight")->dims[3], 4);
        assert_int_equal(weight_named(m, "fc.weight")->dims[1], 3);
        model_destroy(m);
    }
}

static void test_gammas(void **state) {
    (void)state;
    const double worth_1[N_1] = {0.5, 0.1, 0.9, 0.3, 0.3, 0.8, 0.2, 0.7};
    const double worth_2[N_2] = {3.0, 1.0, 2.0, 6.0, 5.0, 4.0};
    for (int is_global = 0; is_global < 2; is_global++) {
        struct model *m = make_plain();
        for (int32_t k = 0; k < N_1; k++)
            model_weight_data(m, weight_named(m, "bn1.weight")->index)[k] =
                (float)(k % 2 ? -worth_1[k] : worth_1[k]);
        for (int32_t k = 0; k < N_2; k++)
            model_weight_data(m, weight_named(m, "bn2.weight")->index)[k] = (float)worth_2[k];
        /* All of conv1 is below all of conv2: of seven, one layer loses seven; local: four, three.
         */
        do_step(m, "filter", "filter",
                is_global ? "criterion=bn_gamma fraction=0.5 scope=global"
                          : "criterion=bn_gamma fraction=0.5");
        check_kept(m, "bn1", worth_1, N_1, is_global ? 7 : 4);
        check_kept(m, "bn2", worth_2, N_2, is_global ? 0 : 3);
        model_destroy(m);
    }
}

/* ---- taylor ---- */

static float gradient_at(int batch, int32_t weight, int64_t i) {
    return sinf((float)(batch * 101 + weight * 17) + 0.7f * (float)i);
}

/* Two batches of gradients; the gate lies behind the batch norm: (g_gamma gamma + g_beta beta)^2.
 */
static void test_taylor(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = make_plain();
    double worth_1[N_1] = {0}, worth_2[N_2] = {0};
    struct loaded l = load_method("filter", "filter", "criterion=taylor fraction=0.5", &env);
    const pare_method_gradients *ext = extension_of(l.method, PARE_METHOD_GRADIENTS);
    pare_gradient_pass pass = {.struct_size = sizeof pass};
    int32_t again = 7;
    must(ext->begin(l.self, &m->graph, 0, &pass), &err);
    assert_int_equal(pass.frozen_norm, 1);
    for (int batch = 0; batch < 2; batch++) {
        for (int32_t k = 0; k < m->graph.n_weights; k++) {
            const pare_weight *w = m->graph.weights[k];
            float *gradient = malloc((size_t)w->n_elems * sizeof *gradient);
            for (int64_t i = 0; i < w->n_elems; i++)
                gradient[i] = gradient_at(batch, k, i);
            if (w->role != PARE_ROLE_MEAN && w->role != PARE_ROLE_VAR)
                must(ext->observe(l.self, &m->graph, k, gradient, 16), &err);
            free(gradient);
        }
        const char *const names[] = {"bn1", "bn2"};
        for (int b = 0; b < 2; b++) {
            const pare_node *bn = m->graph.nodes[model_find_node(m, names[b])];
            const pare_weight *gamma = bn->weights[PARE_ROLE_GAMMA];
            const pare_weight *beta = bn->weights[PARE_ROLE_BETA];
            for (int64_t c = 0; c < gamma->n_elems; c++) {
                const double g =
                    (double)gradient_at(batch, gamma->index, c) * (double)gamma->data[c] +
                    (double)gradient_at(batch, beta->index, c) * (double)beta->data[c];
                (b ? worth_2 : worth_1)[c] += g * g;
            }
        }
    }
    must(ext->end(l.self, &m->graph, &again), &err);
    assert_int_equal(again, 0);
    must(apply_loaded(&l, m, &err), &err);
    check_kept(m, "bn1", worth_1, N_1, 4);
    check_kept(m, "bn2", worth_2, N_2, 3);
    unload(&l);
    model_destroy(m);
}

/* Without a batch norm the gate is the filter's own: sum of g w and g b. */
static void test_taylor_of_a_filter(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    struct loaded l = load_method("filter", "filter", "criterion=taylor fraction=0.5", &env);
    const pare_method_gradients *ext = extension_of(l.method, PARE_METHOD_GRADIENTS);
    pare_gradient_pass pass = {.struct_size = sizeof pass};
    const pare_weight *w = weight_named(m, "fc1.weight"), *b = weight_named(m, "fc1.bias");
    /* dL/dz of output o: 4 g w + bias part; outputs 1, 3 and 5 cancel to 0. */
    float *data = model_weight_data(m, w->index), *bias = model_weight_data(m, b->index);
    float gradient[24], bias_gradient[6];
    for (int o = 0; o < 6; o++) {
        for (int i = 0; i < 4; i++) {
            data[o * 4 + i] = 1.0f + (float)o;
            gradient[o * 4 + i] = 1.0f;
        }
        bias[o] = 4.0f * (1.0f + (float)o);
        bias_gradient[o] = o % 2 ? -1.0f : 1.0f;
    }
    int32_t again;
    must(ext->begin(l.self, &m->graph, 0, &pass), &err);
    must(ext->observe(l.self, &m->graph, w->index, gradient, 4), &err);
    must(ext->observe(l.self, &m->graph, b->index, bias_gradient, 4), &err);
    must(ext->end(l.self, &m->graph, &again), &err);
    must(apply_loaded(&l, m, &err), &err);
    w = weight_named(m, "fc1.weight");
    assert_int_equal(w->dims[0], 3);
    for (int o = 0; o < 3; o++)
        assert_true(w->data[o * 4] == 1.0f + (float)(2 * o));
    unload(&l);
    model_destroy(m);
}

/* ---- criteria that look at values ---- */

/* Shows `values` of both relus, channel c of them made by fill. */
static struct model *after_values(const char *settings,
                                  void (*fill)(float map[SIDE * SIDE], int32_t c, int image)) {
    enum { N = 3 };
    struct error err = {PARE_OK, ""};
    struct model *m = make_plain();
    struct loaded l = load_method("filter", "filter", settings, &env);
    int32_t again;
    must(l.calibrate->begin(l.self, &m->graph), &err);
    for (int32_t node = 0; node < m->graph.n_nodes; node++) {
        const pare_node *v = m->graph.nodes[node];
        const int32_t n = v->dims[0] * v->dims[1] * v->dims[2];
        float *value = calloc((size_t)n * N, sizeof *value);
        for (int image = 0; image < N && v->op == PARE_OP_RELU; image++)
            for (int32_t c = 0; c < v->dims[2]; c++) {
                float map[SIDE * SIDE];
                fill(map, c, image);
                for (int32_t p = 0; p < SIDE * SIDE; p++)
                    value[image * n + p * v->dims[2] + c] = map[p];
            }
        must(l.calibrate->observe(l.self, &m->graph, node, value, N), &err);
        free(value);
    }
    must(l.calibrate->end(l.self, &m->graph, &again), &err);
    must(apply_loaded(&l, m, &err), &err);
    unload(&l);
    return m;
}

static const int32_t zeros_of[N_1] = {3, 11, 0, 7, 15, 1, 9, 5};

static void fill_zeros(float map[SIDE * SIDE], int32_t c, int image) {
    for (int p = 0; p < SIDE * SIDE; p++)
        map[p] = p < zeros_of[c] ? 0.0f : 0.1f * (float)(1 + image);
}

static void test_zeros(void **state) {
    (void)state;
    double worth[N_1];
    struct model *m = after_values("criterion=apoz fraction=0.5", fill_zeros);
    for (int c = 0; c < N_1; c++)
        worth[c] = -zeros_of[c];
    check_kept(m, "bn1", worth, N_1, 4);
    check_kept(m, "bn2", worth, N_2, 3);
    model_destroy(m);
}

/* Maps of known rank: sums of so many outer products of independent vectors, scaled so that a tall
 * map is not a map of high rank. On the third image every map is 0. */
static const int32_t rank_of[N_1] = {4, 1, 3, 2, 0, 4, 1, 3};

static void fill_rank(float map[SIDE * SIDE], int32_t c, int image) {
    for (int p = 0; p < SIDE * SIDE; p++) {
        double sum = 0.0;
        for (int k = 0; k < rank_of[c] && image < 2; k++)
            sum += cos(1.3 * (p / SIDE + 1) * (k + 1) + c) * sin(0.9 * (p % SIDE + 1) * (k + 2));
        map[p] = (float)(sum * (rank_of[c] == 1 ? 1000.0 : 1.0));
    }
}

static void test_ranks(void **state) {
    (void)state;
    double worth[N_1];
    struct model *m = after_values("criterion=hrank fraction=0.5", fill_rank);
    for (int c = 0; c < N_1; c++)
        worth[c] = rank_of[c];
    check_kept(m, "bn1", worth, N_1, 4);
    check_kept(m, "bn2", worth, N_2, 3);
    model_destroy(m);
}

static void test_random(void **state) {
    (void)state;
    struct model *first = make_plain(), *second = make_plain();
    int n_different = 0;
    do_step(first, "filter", "filter", "criterion=random fraction=0.5");
    do_step(second, "filter", "filter", "criterion=random fraction=0.5");
    const pare_weight *a = weight_named(first, "bn1.bias"), *b = weight_named(second, "bn1.bias");
    assert_memory_equal(a->data, b->data, 4 * sizeof(float));
    for (uint64_t seed = 2; seed < 8; seed++) { /* other seeds, other channels */
        struct error err = {PARE_OK, ""};
        struct model *m = make_plain();
        const struct instance_env other = {.seed = seed};
        struct loaded l = load_method("filter", "filter", "criterion=random fraction=0.5", &other);
        must(apply_loaded(&l, m, &err), &err);
        n_different += memcmp(weight_named(m, "bn1.bias")->data, a->data, 4 * sizeof(float)) != 0;
        unload(&l);
        model_destroy(m);
    }
    assert_true(n_different > 0);
    model_destroy(first);
    model_destroy(second);
}

/* ---- how much ---- */

static double share_gone(const struct model *m, double before) {
    struct model_counts counts;
    model_count(m, &counts);
    return 1.0 - (double)counts.macs_effective / before;
}

static void test_macs(void **state) {
    (void)state;
    const double wanted[] = {0.0, 0.1, 0.3, 0.5, 0.7, 0.9};
    for (int is_masked = 0; is_masked < 2; is_masked++) {
        for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
            struct model *m = make_plain();
            struct model_counts counts;
            char settings[96];
            model_count(m, &counts);
            snprintf(settings, sizeof settings, "macs=%g scope=global compact=%s", wanted[k],
                     is_masked ? "false" : "true");
            do_step(m, "filter", "filter", settings);
            const double gone = share_gone(m, (double)counts.macs_dense);
            /* One channel more is at most 1/8 of conv1 and of what conv2 reads, or 1/6 of conv2. */
            if (!(gone >= wanted[k] && gone < wanted[k] + 0.2))
                fail_msg("macs = %g: %.4f of them are gone", wanted[k], gone);
            model_destroy(m);
        }
    }
}

/* Masked or removed: the same channels, and the same are pruned of what is left. */
static void test_masked(void **state) {
    (void)state;
    struct model *masked = make_plain(), *compact = make_plain();
    struct model_counts a, b;
    do_step(masked, "filter", "filter", "fraction=0.5 compact=false");
    do_step(compact, "filter", "filter", "fraction=0.5");
    model_count(masked, &a);
    model_count(compact, &b);
    assert_int_equal(a.params_nonzero, b.params_total);
    assert_int_equal(a.macs_effective, b.macs_dense);
    assert_int_equal(weight_named(masked, "conv1.weight")->dims[0], N_1);
    const pare_weight *beta = weight_named(masked, "bn1.bias");
    const pare_weight *left = weight_named(compact, "bn1.bias");
    for (int32_t c = 0, k = 0; c < N_1; c++)
        if (beta->mask[c])
            assert_true(left->data[k++] == beta->data[c]);
    model_destroy(masked);
    model_destroy(compact);
}

static void test_multiple(void **state) {
    (void)state;
    struct model *m = make_plain();
    do_step(m, "filter", "filter", "fraction=0.6 multiple=4"); /* 3 of 8 and 2 of 6 would stay */
    assert_int_equal(weight_named(m, "conv1.weight")->dims[0], 4);
    assert_int_equal(weight_named(m, "conv2.weight")->dims[0], 4);
    model_destroy(m);
    m = make_plain();
    do_step(m, "filter", "filter", "fraction=0.99"); /* one is always left */
    assert_int_equal(weight_named(m, "conv1.weight")->dims[0], 1);
    assert_int_equal(weight_named(m, "conv2.weight")->dims[0], 1);
    model_destroy(m);
}

/* input - conv0 (4) - block: conv1 (4) - relu - conv2 (4), added to conv0 - fc */
static struct model *make_block(void) {
    struct model *m = model_start(SIDE, SIDE, 2);
    const int32_t stem = add_conv(m, "conv0", 0, 4);
    int32_t x = add_op(m, PARE_OP_RELU, "relu1", add_conv(m, "conv1", stem, 4));
    x = add_conv(m, "conv2", x, 4);
    x = add(m, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {x, stem}});
    add_linear(m, "fc", add_op(m, PARE_OP_GLOBAL_AVG_POOL, "pool", x), 3);
    model_end(m);
    return m;
}

static void test_inner_and_all(void **state) {
    (void)state;
    struct model *m = make_block();
    do_step(m, "filter", "filter", "fraction=0.5");
    assert_int_equal(weight_named(m, "conv1.weight")->dims[0], 2);
    assert_int_equal(weight_named(m, "conv0.weight")->dims[0], 4);
    assert_int_equal(weight_named(m, "conv2.weight")->dims[0], 4);
    model_destroy(m);
    m = make_block();
    /* coupled: the mean of both layers' sums of |w| decides */
    double worth[4] = {0};
    worth_l1(weight_named(m, "conv0.weight"), worth);
    worth_l1(weight_named(m, "conv2.weight"), worth);
    int32_t best = 0;
    for (int32_t c = 1; c < 4; c++)
        best = worth[c] > worth[best] ? c : best;
    float *bias = model_weight_data(m, weight_named(m, "conv0.bias")->index);
    for (int32_t c = 0; c < 4; c++)
        bias[c] = (float)c;
    do_step(m, "filter", "filter", "fraction=0.75 channels=all");
    assert_int_equal(weight_named(m, "conv0.weight")->dims[0], 1);
    assert_int_equal(weight_named(m, "conv2.weight")->dims[0], 1);
    assert_true(weight_named(m, "conv0.bias")->data[0] == (float)best);
    model_destroy(m);
}

/* What an earlier step has pruned stays pruned, in its new place. */
static void test_masks_stay(void **state) {
    (void)state;
    struct model *m = make_plain();
    do_step(m, "magnitude", "magnitude", "sparsity=0.5");
    do_step(m, "filter", "filter", "fraction=0.5");
    const pare_weight *w = weight_named(m, "conv2.weight");
    assert_non_null(w->mask);
    const int64_t n = n_pruned(w);
    assert_true(n > 0 && n < w->n_elems);
    for (int64_t i = 0; i < w->n_elems; i++)
        assert_int_equal(w->mask[i], w->data[i] != 0.0f);
    model_destroy(m);
}

/* ---- the host's part ---- */

static void test_norm_batches(void **state) {
    (void)state;
    struct loaded l = load_method("filter", "filter", "fraction=0.5 norm_batches=3", &env);
    const pare_method_norm *ext = extension_of(l.method, PARE_METHOD_NORM);
    struct model *m = make_plain();
    assert_int_equal(ext->n_batches(l.self, &m->graph), 3);
    unload(&l);
    model_destroy(m);
}

/* ---- what is refused ---- */

static void check_refused(struct model *m, const char *settings, pare_status status,
                          const char *text) {
    struct error err = {PARE_OK, ""};
    const pare_status got = try_step(m, "filter", "filter", settings, &err);
    if (got != status || !strstr(err.text, text))
        fail_msg("%s: status %d, \"%s\"", settings, got, err.text);
    model_destroy(m);
}

static void test_refusals(void **state) {
    (void)state;
    check_refused(make_plain(), "criterion=l1", PARE_E_ARG, "wanted one of macs");
    check_refused(make_plain(), "macs=0.5 fraction=0.5", PARE_E_ARG, "wanted one of macs");
    check_refused(make_plain(), "macs=1", PARE_E_RANGE, "macs: got 1");
    check_refused(make_plain(), "macs=0.999", PARE_E_RANGE, "at most 0.9");
    check_refused(make_plain(), "macs=0.9 multiple=4", PARE_E_RANGE, "at most 0.");
    check_refused(make_plain(), "fraction=1.5", PARE_E_RANGE, "fraction");
    check_refused(model_two_layers(), "criterion=bn_gamma fraction=0.5", PARE_E_UNSUPPORTED,
                  "fc1: bn_gamma reads a batch norm, and here is none");
    check_refused(model_two_layers(), "criterion=hrank fraction=0.5", PARE_E_UNSUPPORTED,
                  "fc1: hrank takes the rank of feature maps");
    check_refused(make_block(), "criterion=apoz fraction=0.5 channels=all", PARE_E_UNSUPPORTED,
                  "conv0: apoz counts the zeros behind a relu, and here is none");
    char pattern[] = "*";
    char *exclude[] = {pattern};
    const struct instance_env none = {
        .seed = 1, .exclude = (const char *const *)exclude, .n_exclude = 1};
    struct error err = {PARE_OK, ""};
    struct model *m = make_plain();
    struct loaded l = load_method("filter", "filter", "fraction=0.5", &none);
    assert_int_equal(apply_loaded(&l, m, &err), PARE_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "no channels may be removed"));
    unload(&l);
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weight_criteria), cmocka_unit_test(test_gammas),
        cmocka_unit_test(test_taylor),          cmocka_unit_test(test_taylor_of_a_filter),
        cmocka_unit_test(test_zeros),           cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_random),          cmocka_unit_test(test_macs),
        cmocka_unit_test(test_masked),          cmocka_unit_test(test_multiple),
        cmocka_unit_test(test_inner_and_all),   cmocka_unit_test(test_masks_stay),
        cmocka_unit_test(test_norm_batches),    cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("method filter", tests, NULL, NULL);
}
