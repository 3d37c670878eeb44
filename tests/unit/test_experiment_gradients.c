/* SPDX-License-Identifier: MIT */
/* Passes over gradients, against PyTorch's (train.golden), and the methods that prune by them,
 * against scores that PyTorch computed in double from the papers' equations (gradient.golden). */
#include "experiment/gradients.h"
#include "golden.h"
#include "train_fixtures.h"

static uint8_t pixels[TINY_IMAGES * TINY_ELEMS], labels[TINY_IMAGES];
static struct dataset ds;

/* ---- an instance of a shipped method ---- */

struct fixture {
    struct registry *reg;
    const pare_method *method;
    struct params *params;
    struct instance *inst;
};

static struct fixture make(const char *id, size_t n, const struct param_input *inputs) {
    struct fixture f = {NULL};
    struct error err;
    const struct plugin_entry *entry;
    char path[512];
    snprintf(path, sizeof path, "%s/plugins/%s.so", TEST_BINARY_DIR, id);
    assert_int_equal(registry_create(&err, &f.reg), PARE_OK);
    assert_int_equal(registry_load(f.reg, path, &err), PARE_OK);
    assert_int_equal(registry_find_method(f.reg, id, &err, &entry), PARE_OK);
    const struct param_table table = registry_param_table(entry);
    const struct instance_env env = {.seed = 1};
    assert_int_equal(params_resolve(&table, 1, inputs, n, &err, &f.params), PARE_OK);
    assert_int_equal(instance_create(entry, f.params, 0, &env, &err, &f.inst), PARE_OK);
    f.method = entry->method;
    return f;
}

static void unmake(struct fixture *f) {
    size_t leaked;
    instance_destroy(f->inst, &leaked);
    assert_int_equal(leaked, 0);
    params_destroy(f->params);
    registry_destroy(f->reg);
}

static const struct gradient_env whole = {
    .ds = &ds, .seed = 1, .n_samples = TINY_IMAGES, .batch = TINY_IMAGES};

/* ---- the passes, seen by a method of the test's own ---- */

static struct {
    const char *net;
    pare_gradient_pass pass;
    int n_begins, n_seen, n_images, passes_wanted;
} seen;

static pare_status own_begin(void *instance, const pare_graph *graph, int64_t number,
                             pare_gradient_pass *pass) {
    (void)instance;
    (void)graph;
    assert_int_equal(number, seen.n_begins);
    assert_true(pass->loss == PARE_LOSS_CROSS_ENTROPY && !pass->frozen_norm &&
                pass->temperature == 1.0);
    seen.n_begins++;
    if (seen.pass.struct_size) {
        *pass = seen.pass;
    }
    return PARE_OK;
}

static pare_status own_observe(void *instance, const pare_graph *graph, int32_t weight,
                               const float *gradient, int32_t n) {
    (void)instance;
    const pare_weight *w = graph->weights[weight];
    assert_true(w->role != PARE_ROLE_MEAN && w->role != PARE_ROLE_VAR);
    seen.n_seen++;
    seen.n_images += weight == 0 ? n : 0;
    if (seen.net) {
        char prefix[32];
        double largest = 0.0;
        snprintf(prefix, sizeof prefix, "%s/g", seen.net);
        const float *want = golden_tensor(prefix, w->name, w->n_elems);
        for (int64_t i = 0; i < w->n_elems; i++) {
            largest = fmax(largest, fabs((double)want[i]));
        }
        for (int64_t i = 0; i < w->n_elems; i++) {
            assert_true(fabs((double)gradient[i] - (double)want[i]) <= 2e-5 * largest);
        }
    }
    return PARE_OK;
}

static pare_status own_end(void *instance, const pare_graph *graph, int32_t *again) {
    (void)instance;
    (void)graph;
    *again = seen.n_begins < seen.passes_wanted;
    return PARE_OK;
}

static const pare_method_gradients own = {sizeof own, own_begin, own_observe, own_end};

static const struct param_input half = {.name = "sparsity", .kind = INPUT_NUMBER, .number = 0.5};

static pare_status see(struct model *m, struct gradient_env env, struct error *err) {
    struct fixture f = make("snip", 1, &half); /* lends its host */
    const pare_status status = gradients_run(&own, f.inst, &env, m, err);
    unmake(&f);
    return status;
}

/* The gradients that PyTorch has, of every weight, whatever the order of the images; and nothing of
 * the model has changed, running statistics included. */
static void test_gradients_of_pytorch(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(golden_open("train.golden"), 0);
    for (int k = 0; k < 2; k++) {
        struct model *m = k ? make_resnet8('A') : make_small_lenet(), *before;
        assert_int_equal(model_copy(m, &err, &before), PARE_OK);
        memset(&seen, 0, sizeof seen);
        seen.net = k ? "resnet8a" : "lenet";
        seen.passes_wanted = 2;
        assert_int_equal(see(m, whole, &err), PARE_OK);
        assert_int_equal(seen.n_begins, 2);
        assert_int_equal(seen.n_images, 2 * TINY_IMAGES);
        for (int32_t i = 0; i < m->graph.n_weights; i++) {
            const pare_weight *w = m->graph.weights[i];
            assert_memory_equal(w->data, before->graph.weights[i]->data,
                                (size_t)w->n_elems * sizeof *w->data);
        }
        model_destroy(m);
        model_destroy(before);
    }
    golden_close(NULL);
}

static void test_batches_and_refusals(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_small_lenet();
    struct gradient_env env = whole;
    env.n_samples = 19;
    env.batch = 8; /* 8, 8 and 3 */
    memset(&seen, 0, sizeof seen);
    assert_int_equal(see(m, env, &err), PARE_OK);
    assert_int_equal(seen.n_images, 19);
    assert_int_equal(seen.n_seen, 3 * m->graph.n_weights);
    env.n_samples = TINY_IMAGES + 1;
    assert_int_equal(see(m, env, &err), PARE_E_RANGE);
    env.n_samples = TINY_IMAGES;
    seen.n_begins = 0;
    seen.pass = (pare_gradient_pass){sizeof seen.pass, 7, 0, 1.0};
    assert_int_equal(see(m, env, &err), PARE_E_PLUGIN);
    assert_string_equal(err.text, "asks for gradients of loss 7, which there is not");
    seen.n_begins = 0;
    seen.pass = (pare_gradient_pass){sizeof seen.pass, PARE_LOSS_CROSS_ENTROPY, 0, 0.0};
    assert_int_equal(see(m, env, &err), PARE_E_PLUGIN);
    seen.n_begins = 0;
    seen.pass = (pare_gradient_pass){sizeof seen.pass, PARE_LOSS_OUTPUT_SUM, 0, 1.0};
    seen.passes_wanted = 1 << 30;
    assert_int_equal(see(m, env, &err), PARE_E_PLUGIN);
    assert_string_equal(err.text, "asks for more than 10000 passes over gradients");
    float *fc = model_weight_data(m, model_find_weight(m, "fc1.weight"));
    fc[0] = 3e38f;
    fc[1] = 3e38f;
    seen.n_begins = 0;
    seen.passes_wanted = 1;
    seen.pass.loss = PARE_LOSS_CROSS_ENTROPY;
    assert_int_equal(see(m, env, &err), PARE_E_NUMERIC);
    assert_non_null(strstr(err.text, "its gradient is"));
    model_destroy(m);
}

/* ---- the methods ---- */

static void run_method(struct model *m, const char *id, double sparsity) {
    struct error err;
    struct param_input input = half;
    input.number = sparsity;
    struct fixture f = make(id, 1, &input);
    const pare_method_gradients *ext = f.method->get_extension(PARE_METHOD_GRADIENTS);
    if (gradients_run(ext, f.inst, &whole, m, &err) != PARE_OK) {
        fail_msg("%s: %s", id, err.text);
    }
    pare_status status = f.method->apply(instance_self(f.inst), &m->graph);
    if (instance_status(f.inst, status, "apply", &err) != PARE_OK ||
        model_verify(m, &err) != PARE_OK) {
        fail_msg("%s: %s", id, err.text);
    }
    unmake(&f);
}

/* Every pruned weight ranks below every kept one by PyTorch's scores, up to `tolerance` of the
 * spread of scores; and exactly as many are pruned as were asked for. */
static void check_ranks(const struct model *m, const char *prefix, double sparsity,
                        double tolerance) {
    double highest_gone = -INFINITY, lowest_kept = INFINITY, sum = 0.0;
    int64_t n = 0, gone = 0;
    for (int32_t k = 0; k < m->graph.n_weights; k++) {
        const pare_weight *w = m->graph.weights[k];
        if (w->role != PARE_ROLE_WEIGHT) {
            continue;
        }
        const float *score = golden_tensor(prefix, w->name, w->n_elems);
        for (int64_t i = 0; i < w->n_elems; i++) {
            const int is_gone = w->mask && !w->mask[i];
            double *bound = is_gone ? &highest_gone : &lowest_kept;
            *bound = is_gone ? fmax(*bound, (double)score[i]) : fmin(*bound, (double)score[i]);
            sum += (double)score[i] * (double)score[i];
            gone += is_gone;
            n++;
        }
    }
    assert_int_equal(gone, (int64_t)rint(sparsity * (double)n));
    const double spread = sqrt(sum / (double)n);
    if (!(highest_gone - lowest_kept <= tolerance * spread)) {
        fail_msg("%s: a score of %.9g was pruned and one of %.9g kept; scores are about %.3g",
                 prefix, highest_gone, lowest_kept, spread);
    }
}

struct golden_case {
    const char *method, *net;
    double sparsity, tolerance;
};

static void check_method(const struct golden_case *c) {
    char prefix[64];
    struct error err;
    struct model *m = strcmp(c->net, "lenet") == 0 ? make_small_lenet() : make_resnet8('A'),
                 *before;
    snprintf(prefix, sizeof prefix, "%s/%s", c->method, c->net);
    assert_int_equal(model_copy(m, &err, &before), PARE_OK);
    run_method(m, c->method, c->sparsity);
    check_ranks(m, prefix, c->sparsity, c->tolerance);
    for (int32_t k = 0; k < m->graph.n_weights; k++) { /* what is kept is as it was */
        const pare_weight *w = m->graph.weights[k];
        for (int64_t i = 0; i < w->n_elems; i++) {
            const float was = before->graph.weights[k]->data[i];
            assert_true(w->data[i] == (w->mask && !w->mask[i] ? 0.0f : was));
        }
    }
    model_destroy(m);
    model_destroy(before);
}

/* Scores of fp32 gradients are off by a few roundings of sums; those of GraSP come from a
 * difference of two gradients, which loses more. */
static void test_scores_of_papers(void **state) {
    (void)state;
    static const struct golden_case cases[] = {
        {"snip", "lenet", 0.5, 1e-4},     {"snip", "lenet", 0.95, 1e-4},
        {"snip", "resnet8a", 0.5, 1e-4},  {"snip", "resnet8a", 0.95, 1e-4},
        {"grasp", "lenet", 0.5, 1e-2},    {"grasp", "lenet", 0.9, 1e-2},
        {"grasp", "resnet8a", 0.5, 6e-2}, {"grasp", "resnet8a", 0.9, 6e-2},
    };
    assert_int_equal(golden_open("gradient.golden"), 0);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        check_method(&cases[k]);
    }
    golden_close(NULL);
}

/* After 100 passes as many weights are left of each layer as in double. */
static void test_synflow(void **state) {
    (void)state;
    assert_int_equal(golden_open("gradient.golden"), 0);
    for (int k = 0; k < 2; k++) {
        struct model *m = k ? make_resnet8('A') : make_small_lenet();
        run_method(m, "synflow", 0.9);
        for (int32_t i = 0; i < m->graph.n_weights; i++) {
            const pare_weight *w = m->graph.weights[i];
            if (w->role != PARE_ROLE_WEIGHT) {
                continue;
            }
            int64_t left = 0;
            for (int64_t e = 0; e < w->n_elems; e++) {
                left += !w->mask || w->mask[e];
            }
            const float *want =
                golden_tensor(k ? "synflow-left/resnet8a" : "synflow-left/lenet", w->name, 1);
            assert_true(llabs(left - (int64_t)want[0]) <= 1);
            assert_true(left > 0);
        }
        model_destroy(m);
    }
    golden_close(NULL);
}

static int set_up(void **state) {
    (void)state;
    ds = tiny_dataset(pixels, labels);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_of_pytorch),
        cmocka_unit_test(test_batches_and_refusals),
        cmocka_unit_test(test_scores_of_papers),
        cmocka_unit_test(test_synflow),
    };
    return cmocka_run_group_tests_name("gradients", tests, set_up, NULL);
}
