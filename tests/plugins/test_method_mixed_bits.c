/* SPDX-License-Identifier: MIT */
/* The method mixed_bits: traces of Hessians that are known, and the choice of widths against all
 * choices there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ptq_fixtures.h"

#include <pare/ext/gradients.h>

enum { N_LAYERS = 3, N_WIDTHS = 5 };
static const char *const layers[N_LAYERS] = {"conv1.weight", "conv2.weight", "fc.weight"};
static const int usual[N_WIDTHS] = {2, 3, 4, 6, 8};

/* conv1 (5) - bn - relu1 - conv2 (4) - relu2 - gap - fc (3), on (6,6,2) */
static struct model *net(void) {
    struct model *m = model_start(6, 6, 2);
    int32_t x = add_conv(m, "conv1", 0, 5);
    x = add_op(m, PARE_OP_BATCH_NORM, "bn", x);
    x = add_op(m, PARE_OP_RELU, "relu1", x);
    x = add_conv(m, "conv2", x, 4);
    x = add_op(m, PARE_OP_RELU, "relu2", x);
    x = add_op(m, PARE_OP_GLOBAL_AVG_POOL, "gap", x);
    add_linear(m, "fc", x, 3);
    model_end(m);
    return m;
}

/* A loss whose Hessian is diagonal: bend[layer] for each weight of a layer, so that its gradient is
 * bend w, and every sample of the estimate is exact; but for the coupling. */
struct bowl {
    double bend[N_LAYERS];
    double coupling; /* of every weight with every weight of other layers */
};

static double bend_of(const struct bowl *bowl, const pare_weight *w) {
    for (int k = 0; k < N_LAYERS; k++) {
        if (strcmp(w->name, layers[k]) == 0) {
            return bowl->bend[k];
        }
    }
    return 0;
}

static double sum_of_others(const struct model *m, const pare_weight *w) {
    double sum = 0;
    for (int k = 0; k < N_LAYERS; k++) {
        const pare_weight *other = weight_named(m, layers[k]);
        for (int64_t i = 0; other != w && i < other->n_elems; i++) {
            sum += (double)other->data[i];
        }
    }
    return sum;
}

static pare_status see_gradients(struct loaded *l, struct model *m, const struct bowl *bowl) {
    const pare_method_gradients *ext = extension_of(l->method, PARE_METHOD_GRADIENTS);
    pare_status status = PARE_OK;
    int32_t again = 1;
    for (int64_t pass = 0; again && status == PARE_OK; pass++) {
        pare_gradient_pass request = {.struct_size = sizeof request, .temperature = 1.0};
        status = ext->begin(l->self, &m->graph, pass, &request);
        for (int32_t k = 0; k < 2 * m->graph.n_weights && status == PARE_OK; k++) {
            const pare_weight *w = m->graph.weights[k % m->graph.n_weights]; /* two batches */
            const double shared = bowl->coupling * sum_of_others(m, w);
            float *g = malloc((size_t)w->n_elems * sizeof *g);
            for (int64_t i = 0; i < w->n_elems; i++) {
                g[i] = (float)(bend_of(bowl, w) * (double)w->data[i] + shared);
            }
            status = ext->observe(l->self, &m->graph, w->index, g, k < m->graph.n_weights ? 4 : 1);
            free(g);
        }
        if (status == PARE_OK) {
            status = ext->end(l->self, &m->graph, &again);
        }
    }
    return status;
}

static pare_status calibrate(struct loaded *l, struct model *m) {
    struct ptq_run run = {l, m};
    pare_status status = l->calibrate->begin(l->self, &m->graph);
    for (int32_t again = 1; again && status == PARE_OK;) {
        watch(m, ptq_visit, &run);
        status = l->calibrate->end(l->self, &m->graph, &again);
    }
    return status;
}

static pare_status try_mixed(struct model *m, const char *settings, const struct bowl *bowl,
                             struct error *err) {
    const struct instance_env env = {.seed = 1};
    struct loaded l;
    pare_status status = try_method("mixed_bits", "mixed_bits", settings, &env, err, &l);
    if (status < 0) {
        return status;
    }
    status = calibrate(&l, m);
    if (status == PARE_OK) {
        status = see_gradients(&l, m, bowl);
    }
    if (status == PARE_OK) {
        status = l.method->apply(l.self, &m->graph);
    }
    status = instance_status(l.made.inst, status, "mixed_bits", err);
    unload(&l);
    return status;
}

static struct model *mixed(const char *settings, const struct bowl *bowl) {
    struct error err = {PARE_OK, ""};
    struct model *m = net();
    must(try_mixed(m, settings, bowl, &err), &err);
    must(model_verify(m, &err), &err);
    return m;
}

/* ---- the choice ---- */

static struct model *folded(void) {
    struct error err = {PARE_OK, ""};
    struct model *m = net();
    must(model_fold_batch_norm(m, &err), &err);
    return m;
}

/* |Q(W) - W|^2 with one scale per channel from the largest value. */
static double rounding_error(const pare_weight *w, int bits) {
    const int64_t n = w->n_elems / w->dims[0];
    const int qmax = (1 << (bits - 1)) - 1;
    double sum = 0;
    for (int64_t c = 0; c < w->dims[0]; c++) {
        double most = 0;
        for (int64_t i = c * n; i < (c + 1) * n; i++) {
            most = fmax(most, fabs((double)w->data[i]));
        }
        const double scale = (double)(float)(most / qmax);
        for (int64_t i = c * n; i < (c + 1) * n; i++) {
            sum += pow((double)w->data[i] - scale * rint((double)w->data[i] / scale), 2);
        }
    }
    return sum;
}

struct chosen {
    double score, bits; /* bits: of all weights, or multiplied by their uses */
};

static struct chosen score_of(const struct model *plain, const struct bowl *bowl, const int *widths,
                              const double *uses) {
    struct chosen c = {0, 0};
    for (int k = 0; k < N_LAYERS; k++) {
        const pare_weight *w = weight_named(plain, layers[k]);
        c.score += bowl->bend[k] * rounding_error(w, widths[k]); /* Tr / n is the bend */
        c.bits += uses[k] * (double)w->n_elems * widths[k];
    }
    return c;
}

/* No choice within the budget has a lower score than the method's. */
static void check_choice(const char *settings, const struct bowl *bowl, double mean,
                         const double *uses) {
    struct model *plain = folded();
    struct model *m = mixed(settings, bowl);
    const int one[N_LAYERS] = {1, 1, 1};
    const double budget = mean * score_of(plain, bowl, one, uses).bits;
    int widths[N_LAYERS];
    double least = INFINITY;
    for (int k = 0; k < N_WIDTHS * N_WIDTHS * N_WIDTHS; k++) {
        for (int i = 0, rest = k; i < N_LAYERS; i++, rest /= N_WIDTHS) {
            widths[i] = usual[rest % N_WIDTHS];
        }
        const struct chosen c = score_of(plain, bowl, widths, uses);
        least = c.bits <= budget ? fmin(least, c.score) : least;
    }
    for (int i = 0; i < N_LAYERS; i++) {
        widths[i] = weight_named(m, layers[i])->quant.bits;
    }
    const struct chosen got = score_of(plain, bowl, widths, uses);
    if (got.bits > budget || got.score > least * (1 + 1e-3)) {
        fail_msg("%s: %d %d %d bits, score %g (best %g), cost %g (budget %g)", settings, widths[0],
                 widths[1], widths[2], got.score, least, got.bits, budget);
    }
    model_destroy(plain);
    model_destroy(m);
}

static const double per_weight[N_LAYERS] = {1, 1, 1};
static const double per_mac[N_LAYERS] = {36, 36, 1};

static void test_best_choice(void **state) {
    (void)state;
    static const struct bowl bowls[] = {
        {{1, 1, 1}, 0}, {{100, 1, 1}, 0}, {{0.01, 1, 100}, 0}, {{3, 50, 7}, 0}};
    for (size_t b = 0; b < sizeof bowls / sizeof bowls[0]; b++) {
        for (double mean = 2.5; mean < 8; mean += 0.5) {
            char settings[96];
            snprintf(settings, sizeof settings, "mean_bits=%g weight_observer=minmax", mean);
            check_choice(settings, &bowls[b], mean, per_weight);
            snprintf(settings, sizeof settings, "mean_bits=%g weight_observer=minmax cost=macs",
                     mean);
            check_choice(settings, &bowls[b], mean, per_mac);
        }
    }
}

static void check_widths(const char *settings, const struct bowl *bowl, int a, int b, int c) {
    struct model *m = mixed(settings, bowl);
    const int wanted[N_LAYERS] = {a, b, c};
    for (int k = 0; k < N_LAYERS; k++) {
        assert_int_equal(weight_named(m, layers[k])->quant.bits, wanted[k]);
    }
    model_destroy(m);
}

/* The layer where the loss bends most gets the bits; enough for all is all at the widest. */
static void test_follows_the_bend(void **state) {
    (void)state;
    check_widths("mean_bits=4.5 widths=2,8", &(struct bowl){{1000, 1, 1}, 0}, 8, 2, 8);
    check_widths("mean_bits=6 widths=2,8", &(struct bowl){{1, 1000, 1}, 0}, 2, 8, 2);
    check_widths("mean_bits=8", &(struct bowl){{1, 1, 1}, 0}, 8, 8, 8);
    check_widths("mean_bits=2", &(struct bowl){{1, 1, 1}, 0}, 2, 2, 2);
    check_widths("mean_bits=5 widths=5", &(struct bowl){{1, 1, 1}, 0}, 5, 5, 5);
}

/* A layer's own width counts towards the budget, and holds for the value it reads, too. */
static void test_given_widths(void **state) {
    (void)state;
    struct model *m =
        mixed("mean_bits=6 layer_bits=conv2=7 bits=5", &(struct bowl){{1, 1e6, 1}, 0});
    assert_int_equal(weight_named(m, "conv2.weight")->quant.bits, 7);
    assert_int_equal(m->graph.nodes[model_find_node(m, "relu1")]->activation.bits, 7);
    assert_int_equal(m->graph.nodes[model_find_node(m, "gap")]->activation.bits, 5);
    const double n[N_LAYERS] = {90, 180, 12};
    double bits = 0;
    for (int k = 0; k < N_LAYERS; k++) {
        bits += n[k] * weight_named(m, layers[k])->quant.bits;
    }
    assert_true(bits <= 6 * 282);
    model_destroy(m);
}

/* ---- the estimate ---- */

/* What layers do to each other changes nothing: the choice is that of the diagonal. */
static void test_coupled_layers(void **state) {
    (void)state;
    check_widths("mean_bits=4.5 widths=2,8", &(struct bowl){{1000, 1, 1}, 2}, 8, 2, 8);
    check_widths("mean_bits=6 widths=2,8", &(struct bowl){{1, 1000, 1}, 2}, 2, 8, 2);
}

/* Passes leave the weights as they were; what was pruned stays 0 and counts for nothing. */
static void test_weights_return(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {.seed = 1};
    struct model *plain = folded();
    struct model *m = net();
    uint8_t mask[180];
    for (int i = 0; i < 180; i++) {
        mask[i] = i % 3 != 0;
    }
    must(model_set_mask(m, weight_named(m, "conv2.weight")->index, mask, &err), &err);
    struct loaded l = load_method("mixed_bits", "mixed_bits", "samples=3", &env);
    must(calibrate(&l, m), &err);
    must(see_gradients(&l, m, &(struct bowl){{1, 2, 3}, 0.5}), &err);
    for (int k = 0; k < N_LAYERS; k++) {
        const pare_weight *a = weight_named(plain, layers[k]), *b = weight_named(m, layers[k]);
        for (int64_t i = 0; i < a->n_elems; i++) {
            assert_true(b->data[i] == (k == 1 && !mask[i] ? 0.0f : a->data[i]));
        }
    }
    must(apply_loaded(&l, m, &err), &err);
    must(model_verify(m, &err), &err);
    assert_int_equal(n_pruned(weight_named(m, "conv2.weight")), 60);
    unload(&l);
    model_destroy(m);
    model_destroy(plain);
}

/* ---- what is refused ---- */

static void refuse(const char *settings, const char *text) {
    struct error err = {PARE_OK, ""};
    struct model *m = net();
    assert_int_not_equal(try_mixed(m, settings, &(struct bowl){{1, 1, 1}, 0}, &err), PARE_OK);
    assert_string_equal(err.text, text);
    model_destroy(m);
}

static void test_refused(void **state) {
    (void)state;
    refuse("weight_bits=4",
           "method mixed_bits: weight_bits: got 4, but widths are chosen here: give mean_bits and "
           "widths, or layer_bits for layers that are to have a certain one");
    refuse("widths=4,2,4", "method mixed_bits: widths: 4 stands there twice");
    refuse("widths=4,2.5", "method mixed_bits: widths: got 2.5, wanted whole numbers");
    refuse("widths=1", "widths: got 1, wanted 2..16 bits (method mixed_bits)");
    refuse("mean_bits=3 widths=4,8",
           "method mixed_bits: the budget is 846 bits, the narrowest widths take 1128: raise it or "
           "give narrower widths");
}

static void test_wrong_states(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = net();
    assert_int_equal(try_step(m, "mixed_bits", "mixed_bits", "", &err), PARE_E_STATE);
    assert_string_equal(err.text,
                        "method mixed_bits: apply before all values and gradients were seen");
    for (int k = 0; k < N_LAYERS; k++) {
        const pare_weight *w = weight_named(m, layers[k]);
        float *zeros = calloc((size_t)w->n_elems, sizeof *zeros);
        must(model_set_weight(m, w->index, zeros, &err), &err);
        free(zeros);
    }
    assert_int_equal(try_mixed(m, "", &(struct bowl){{1, 1, 1}, 0}, &err), PARE_E_NUMERIC);
    assert_string_equal(err.text, "method mixed_bits: the weights of all selected layers are 0: "
                                  "there is nothing to choose by");
    model_destroy(m);
}

/* Calibration that may fail. */
static pare_status calibrate_made_up(struct loaded *l, struct model *m) {
    float values[6 * 6 * 5];
    pare_status status = l->calibrate->begin(l->self, &m->graph);
    for (int k = 0; k < 6 * 6 * 5; k++) {
        values[k] = 0.1f * (float)(k % 7);
    }
    for (int32_t again = 1; again && status == PARE_OK;) {
        for (int32_t v = 0; v < m->graph.n_nodes && status == PARE_OK; v++) {
            status = l->calibrate->observe(l->self, &m->graph, v, values, 1);
        }
        if (status == PARE_OK) {
            status = l->calibrate->end(l->self, &m->graph, &again);
        }
    }
    return status;
}

/* Each allocation fails once: that status, a message, no leak, and a model that is still sound. */
static void test_out_of_memory(void **state) {
    (void)state;
    const struct instance_env env = {.seed = 1};
    int n = 0;
    for (pare_status status = PARE_E_NOMEM; status != PARE_OK; n++) {
        struct error err = {PARE_OK, ""};
        struct model *m = net();
        struct loaded l = load_method("mixed_bits", "mixed_bits", "samples=1", &env);
        make_scarce(&l.made, n);
        status = calibrate_made_up(&l, m);
        if (status == PARE_OK) {
            status = see_gradients(&l, m, &(struct bowl){{1, 1, 1}, 0});
        }
        if (status == PARE_OK) {
            status = l.method->apply(l.self, &m->graph);
        }
        status = instance_status(l.made.inst, status, "mixed_bits", &err);
        if (status != PARE_OK) {
            assert_int_equal(status, PARE_E_NOMEM);
            assert_non_null(strstr(err.text, "no memory for"));
        }
        must(model_verify(m, &err), &err);
        unload(&l);
        model_destroy(m);
    }
    assert_in_range(n, 12, 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_choice),    cmocka_unit_test(test_follows_the_bend),
        cmocka_unit_test(test_given_widths),   cmocka_unit_test(test_coupled_layers),
        cmocka_unit_test(test_weights_return), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_wrong_states),   cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
