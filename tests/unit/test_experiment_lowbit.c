/* SPDX-License-Identifier: MIT */
/* Every method that trains low-bit networks, whole: trained in a pipeline on small networks,
 * deployed on `ref`, saved and loaded. What one method does by itself is in
 * tests/plugins/test_method_*.c. */
#include "core/file.h"
#include "experiment/deployment.h"
#include "experiment/pipeline.h"
#include "train/train.h"
#include "train_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_LOGITS = TINY_IMAGES * 10, MAX_INPUTS = 12 };

static const struct subject {
    const char *method, *settings;
} subjects[] = {
    {"lsq", "weight_bits=8 activation_bits=8"},
    {"lsq", "weight_bits=2 activation_bits=2"},
    {"lsq", "weight_bits=3 activation_bits=3 offset=true weight_granularity=channel"},
    {"lsq", "weight_bits=2 activation_bits=4 first_last_bits=0 residual_bits=4 "
            "progressive=8,4,3"},
    {"qat", "weight_bits=8 activation_bits=8"},
    {"qat", "weight_bits=3 activation_bits=2 delay=0.4"},
    {"qat", "weight_bits=4 activation_bits=4 observer=minmax weight_granularity=tensor"},
    {"dorefa", "weight_bits=2 activation_bits=2"},
    {"dorefa", "weight_bits=7 activation_bits=4 clip=2.5 first_last_bits=0"},
    {"pact", "weight_bits=4 activation_bits=4"},
    {"pact", "weight_bits=2 activation_bits=3 alpha=3 first_last_bits=0"},
    {"apot", "weight_bits=4 activation_bits=4"},
    {"apot", "weight_bits=5 activation_bits=3 first_last_bits=0 progressive=8,4"},
    {"ternary", ""},
    {"ternary", "weight_granularity=channel first_last_bits=0 activation_bits=3"},
    {"binary", "estimator=xnor"},
    {"binary", "estimator=irnet activation_bits=4"},
    {"binary", "estimator=recu activation_bits=1"},
    {"binary", "estimator=recu first_last_bits=0 progressive=8,4 activation_bits=3"},
};
enum { N_SUBJECTS = sizeof subjects / sizeof *subjects };

static struct model *make_resnet8_b(void) {
    return make_resnet8('B');
}
static struct model *(*const networks[])(void) = {make_small_lenet, make_resnet8_a, make_resnet8_b};

struct fixture {
    struct registry *reg;
    struct dataset ds;
    uint8_t pixels[TINY_IMAGES * TINY_ELEMS], labels[TINY_IMAGES];
    float images[TINY_IMAGES * TINY_ELEMS];
};

static void must(pare_status status, const struct error *err) {
    if (status != PARE_OK) {
        fail_msg("%s", err->text);
    }
}

static int set_up(void **state) {
    static const char *const plugins[] = {"lsq",     "apot",   "qat",       "dorefa", "pact",
                                          "ternary", "binary", "magnitude", "ref"};
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = {PARE_OK, ""};
    f->ds = tiny_dataset(f->pixels, f->labels);
    dataset_span(&f->ds, SPLIT_TEST, 0, TINY_IMAGES, f->images);
    must(registry_create(&err, &f->reg), &err);
    for (size_t k = 0; k < sizeof plugins / sizeof *plugins; k++) {
        char path[512];
        snprintf(path, sizeof path, "%s/plugins/%s.so", TEST_BINARY_DIR, plugins[k]);
        must(registry_load(f->reg, path, &err), &err);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    registry_destroy(f->reg);
    free(f);
    return 0;
}

/* ---- pipelines from text ---- */

struct text_step {
    char text[512];
    struct param_input inputs[MAX_INPUTS];
    struct step_spec spec;
};

static void parse(struct text_step *step, const char *method, const char *settings,
                  const char *more) {
    memset(step, 0, sizeof *step);
    snprintf(step->text, sizeof step->text, "%s %s", settings, more);
    size_t n = 0;
    for (char *item = strtok(step->text, " "); item; item = strtok(NULL, " ")) {
        char *equals = strchr(item, '=');
        assert_true(equals && n < MAX_INPUTS);
        *equals = '\0';
        step->inputs[n++] = (struct param_input){
            .name = item, .kind = INPUT_STRING, .from_text = 1, .string = equals + 1};
    }
    step->spec = (struct step_spec){(char *)(uintptr_t)method, n, step->inputs};
}

static pare_status apply(struct fixture *f, const struct step_spec *steps, size_t n_steps,
                         struct pool *pool, struct model *model, struct error *err) {
    struct pipeline_spec spec = {n_steps, (struct step_spec *)(uintptr_t)steps, 0};
    struct pipeline *pipeline = NULL;
    const struct pipeline_env env = {.ds = &f->ds, .seed = 3, .pool = pool, .base_sha256 = ""};
    pare_status status = pipeline_resolve(&spec, f->reg, err, &pipeline);
    if (status == PARE_OK) {
        status = pipeline_apply(pipeline, &env, model, err, NULL);
    }
    pipeline_destroy(pipeline);
    return status;
}

#define TRAINING "epochs=5 batch=10 lr=0.01 calibration_samples=20 shift=0"

static struct model *trained(struct fixture *f, const struct subject *subject,
                             struct model *(*make)(void), const char *training, struct pool *pool) {
    struct error err = {PARE_OK, ""};
    struct model *model = make();
    struct text_step step;
    parse(&step, subject->method, subject->settings, training);
    must(apply(f, &step.spec, 1, pool, model, &err), &err);
    return model;
}

/* ---- outputs ---- */

static void deploy(struct fixture *f, struct model *model, const char *execution, float *logits) {
    struct error err = {PARE_OK, ""};
    struct deployment *dep = NULL;
    must(deployment_create(&model->graph, f->reg, "ref", NULL, TINY_IMAGES, NULL, &err, &dep),
         &err);
    assert_string_equal(dep->info->execution, execution);
    must(deployment_run(dep, f->images, TINY_IMAGES, &err, logits), &err);
    deployment_destroy(dep);
}

static void simulate(struct fixture *f, struct model *model, float *logits) {
    struct error err = {PARE_OK, ""};
    must(train_infer_split(model, &f->ds, SPLIT_TEST, NULL, &err, logits), &err);
}

/* Float sums of the simulation are rounded, the integers' are exact: a value half way between two
 * codes, one in many thousands, may go either way. So two images may differ, and by little. */
static void assert_near(const float *got, const float *wanted, const char *what) {
    double largest = 0.0;
    int n_off = 0;
    for (int i = 0; i < N_LOGITS; i++) {
        largest = fmax(largest, fabs((double)wanted[i]));
    }
    for (int image = 0; image < TINY_IMAGES; image++) {
        double off = 0.0;
        for (int i = image * 10; i < (image + 1) * 10; i++) {
            off = fmax(off, fabs((double)got[i] - (double)wanted[i]));
        }
        n_off += off > 1e-5 * largest;
        if (!(off <= 0.03 * largest) || n_off > 2) {
            fail_msg("%s: logits of image %d differ by %g of %g, and %d images differ", what, image,
                     off, largest, n_off);
        }
    }
}

/* What was trained runs on integers alone, and gives what its simulation in float gives. */
static void check_deployed(struct fixture *f, const struct subject *subject,
                           struct model *(*make)(void), const char *training) {
    float deployed[N_LOGITS], simulated[N_LOGITS];
    struct model *model = trained(f, subject, make, training, NULL);
    deploy(f, model, "integer", deployed);
    simulate(f, model, simulated);
    assert_near(deployed, simulated, subject->settings);
    model_destroy(model);
}

static void test_deployed_is_simulated(void **state) {
    for (int s = 0; s < N_SUBJECTS; s++) {
        check_deployed(*state, &subjects[s], networks[0], TRAINING);
        check_deployed(*state, &subjects[s], networks[1], TRAINING);
        check_deployed(*state, &subjects[s], networks[2], TRAINING);
    }
}

/* The way around a block keeps 8 bits where its convolutions read 2. */
static void test_residual_values(void **state) {
    struct model *model = trained(*state, &subjects[1], make_resnet8_a, TRAINING, NULL);
    static const struct {
        const char *node;
        int bits;
    } wanted[] = {{"relu1", 8},           {"layer1.conv1.quantize", 2},
                  {"layer1.relu1", 2},    {"layer1.conv2", 8},
                  {"layer1.relu2", 8},    {"layer2.conv1.quantize", 2},
                  {"layer2.shortcut", 8}, {"pool", 8}};
    for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
        const int32_t v = model_find_node(model, wanted[k].node);
        assert_true(v >= 0);
        assert_int_equal(model->graph.nodes[v]->activation.bits, wanted[k].bits);
    }
    assert_int_equal(model_find_node(model, "conv1.quantize"), -1);
    assert_int_equal(model_find_node(model, "fc.quantize"), -1);
    model_destroy(model);
}

/* A step without training quantizes with the first values of what would be learned. */
static void test_without_training(void **state) {
    for (int s = 0; s < N_SUBJECTS; s++) {
        check_deployed(*state, &subjects[s], networks[0], "epochs=0 calibration_samples=20");
        check_deployed(*state, &subjects[s], networks[1], "epochs=0 calibration_samples=20");
    }
}

/* The weights of training are those deployed: batch norm takes part in scales only. */
static void test_training_changes_the_model(void **state) {
    struct fixture *f = *state;
    for (int s = 0; s < N_SUBJECTS; s++) {
        float before[N_LOGITS], after[N_LOGITS];
        struct model *a =
            trained(f, &subjects[s], make_small_lenet, "epochs=0 calibration_samples=20", NULL);
        struct model *b = trained(f, &subjects[s], make_small_lenet, TRAINING, NULL);
        simulate(f, a, before);
        simulate(f, b, after);
        assert_memory_not_equal(before, after, sizeof before);
        model_destroy(a);
        model_destroy(b);
    }
}

static void test_saved_and_loaded(void **state) {
    struct fixture *f = *state;
    for (int s = 0; s < N_SUBJECTS; s++) {
        char path[] = "/tmp/pare-lowbit-XXXXXX";
        struct error err = {PARE_OK, ""};
        struct model *loaded = NULL;
        float before[N_LOGITS], after[N_LOGITS];
        struct model *model = trained(f, &subjects[s], make_resnet8_a, TRAINING, NULL);
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        must(model_save(model, path, NULL, 0, &err), &err);
        must(model_load(path, &err, &loaded), &err);
        unlink(path);
        deploy(f, model, "integer", before);
        deploy(f, loaded, "integer", after);
        assert_memory_equal(before, after, sizeof before);
        model_destroy(model);
        model_destroy(loaded);
    }
}

static void assert_equal_weights(const struct model *a, const struct model *b) {
    assert_int_equal(a->graph.n_weights, b->graph.n_weights);
    for (int32_t k = 0; k < a->graph.n_weights; k++) {
        const pare_weight *x = a->graph.weights[k], *y = b->graph.weights[k];
        assert_memory_equal(x->data, y->data, (size_t)x->n_elems * sizeof *x->data);
    }
    for (int32_t v = 0; v < a->graph.n_nodes; v++) {
        const pare_quant *x = &a->graph.nodes[v]->activation, *y = &b->graph.nodes[v]->activation;
        assert_int_equal(x->bits, y->bits);
        assert_true(x->bits == 0 || x->scale[0] == y->scale[0]);
    }
}

static void test_threads_do_not_matter(void **state) {
    struct fixture *f = *state;
    struct error err = {PARE_OK, ""};
    struct pool *pool = NULL;
    must(pool_create(3, NULL, &err, &pool), &err);
    for (int s = 0; s < N_SUBJECTS; s++) {
        struct model *one = trained(f, &subjects[s], make_resnet8_a, TRAINING, NULL);
        struct model *three = trained(f, &subjects[s], make_resnet8_a, TRAINING, pool);
        assert_equal_weights(one, three);
        model_destroy(one);
        model_destroy(three);
    }
    pool_destroy(pool);
}

static void check_zeros(const struct model *model) {
    int n_zeros = 0;
    for (int32_t k = 0; k < model->graph.n_weights; k++) {
        const pare_weight *w = model->graph.weights[k];
        for (int64_t i = 0; w->mask && i < w->n_elems; i++) {
            assert_true(w->mask[i] || (w->data[i] == 0.0f && w->codes[i] == 0));
            n_zeros += !w->mask[i];
        }
    }
    assert_true(n_zeros > 1000);
}

static void test_pruned_stays_pruned(void **state) {
    struct fixture *f = *state;
    for (int s = 0; s < N_SUBJECTS; s++) {
        struct error err = {PARE_OK, ""};
        struct text_step steps[2];
        struct model *model = make_resnet8_a();
        float deployed[N_LOGITS];
        parse(&steps[0], "magnitude", "sparsity=0.5", "");
        parse(&steps[1], subjects[s].method, subjects[s].settings, TRAINING);
        const struct step_spec specs[2] = {steps[0].spec, steps[1].spec};
        const pare_status status = apply(f, specs, 2, NULL, model, &err);
        if (strcmp(subjects[s].method, "binary") == 0) { /* has no zeros */
            assert_int_equal(status, PARE_E_UNSUPPORTED);
            assert_non_null(strstr(err.text, "is pruned, and weights of two values have no code"));
            model_destroy(model);
            continue;
        }
        must(status, &err);
        check_zeros(model);
        deploy(f, model, "integer", deployed);
        model_destroy(model);
    }
}

/* A layer left alone stays float, and what it reads is as it was while training. */
static void test_excluded_layers(void **state) {
    struct fixture *f = *state;
    for (int s = 0; s < N_SUBJECTS; s++) {
        struct error err = {PARE_OK, ""};
        struct text_step step;
        struct model *model = make_resnet8_a();
        float deployed[N_LOGITS], simulated[N_LOGITS];
        parse(&step, subjects[s].method, subjects[s].settings, TRAINING " exclude=layer2.conv1");
        must(apply(f, &step.spec, 1, NULL, model, &err), &err);
        assert_int_equal(
            model->graph.weights[model_find_weight(model, "layer2.conv1.weight")]->quant.bits, 0);
        deploy(f, model, "mixed", deployed);
        simulate(f, model, simulated);
        assert_near(deployed, simulated, subjects[s].settings);
        model_destroy(model);
    }
}

static void test_twice_is_refused(void **state) {
    struct fixture *f = *state;
    for (int s = 0; s < N_SUBJECTS; s++) {
        struct error err = {PARE_OK, ""};
        struct text_step step;
        struct model *model =
            trained(f, &subjects[s], make_small_lenet, "epochs=0 calibration_samples=20", NULL);
        parse(&step, subjects[s].method, subjects[s].settings, TRAINING);
        assert_int_equal(apply(f, &step.spec, 1, NULL, model, &err), PARE_E_STATE);
        assert_non_null(strstr(err.text, "already by an earlier step"));
        model_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deployed_is_simulated),
        cmocka_unit_test(test_residual_values),
        cmocka_unit_test(test_without_training),
        cmocka_unit_test(test_training_changes_the_model),
        cmocka_unit_test(test_saved_and_loaded),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_pruned_stays_pruned),
        cmocka_unit_test(test_excluded_layers),
        cmocka_unit_test(test_twice_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
