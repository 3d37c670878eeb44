/* SPDX-License-Identifier: MIT */
/* The method filter as a step of a pipeline: every criterion with its passes over values or
 * gradients, batch norms' statistics, training, what may come before and after it. */
#include "experiment/pipeline.h"
#include "train/train.h"
#include "train_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint8_t pixels[TINY_IMAGES * TINY_ELEMS], labels[TINY_IMAGES];
static struct dataset ds;
static struct registry *reg;

enum { MAX_INPUTS = 16, MAX_STEPS = 3, N_LOGITS = TINY_IMAGES * 10 };

/* Each step is "method name=value name=value". */
static pare_status run_steps(struct model *m, const char *const *texts, int32_t n_threads,
                             struct error *err) {
    static char copies[MAX_STEPS][256];
    static struct param_input inputs[MAX_STEPS][MAX_INPUTS];
    struct step_spec steps[MAX_STEPS];
    struct pipeline_spec spec = {.steps = steps};
    struct pipeline *pipeline = NULL;
    struct pool *pool = NULL;
    for (; texts[spec.n_steps]; spec.n_steps++) {
        struct step_spec *step = &steps[spec.n_steps];
        snprintf(copies[spec.n_steps], sizeof copies[0], "%s", texts[spec.n_steps]);
        *step = (struct step_spec){.method = strtok(copies[spec.n_steps], " "),
                                   .inputs = inputs[spec.n_steps]};
        for (char *item = strtok(NULL, " "); item && step->n_inputs < MAX_INPUTS;
             item = strtok(NULL, " ")) {
            char *equals = strchr(item, '=');
            *equals = '\0';
            step->inputs[step->n_inputs++] = (struct param_input){
                .name = item, .kind = INPUT_STRING, .from_text = 1, .string = equals + 1};
        }
    }
    if (n_threads > 1) {
        assert_int_equal(pool_create(n_threads, NULL, err, &pool), PARE_OK);
    }
    const struct pipeline_env env = {.ds = &ds, .seed = 3, .pool = pool, .base_sha256 = ""};
    pare_status status = pipeline_resolve(&spec, reg, err, &pipeline);
    if (status == PARE_OK) {
        status = pipeline_apply(pipeline, &env, m, err, NULL);
    }
    pipeline_destroy(pipeline);
    pool_destroy(pool);
    return status;
}

static void must_run(struct model *m, const char *const *texts) {
    struct error err;
    if (run_steps(m, texts, 1, &err) != PARE_OK) {
        fail_msg("%s: %s", texts[0], err.text);
    }
}

static void logits_of(struct model *m, float logits[N_LOGITS]) {
    struct error err;
    assert_int_equal(train_infer_split(m, &ds, SPLIT_TEST, NULL, &err, logits), PARE_OK);
}

static int64_t macs_of(const struct model *m) {
    struct model_counts counts;
    model_count(m, &counts);
    return counts.macs_effective;
}

/* Masked and removed give the same network, statistics included, whatever the criterion. */
static void test_criteria(void **state) {
    (void)state;
    const char *const criteria[] = {"l1", "fpgm", "taylor", "apoz", "bn_gamma", "hrank", "random"};
    const char *const channels[] = {"inner", "all"};
    for (size_t k = 0; k < 2 * (sizeof criteria / sizeof *criteria); k++) {
        struct model *compact = make_resnet8(k % 2 ? 'A' : 'B');
        struct model *masked = make_resnet8(k % 2 ? 'A' : 'B');
        float a[N_LOGITS], b[N_LOGITS];
        char text[2][200];
        for (int is_masked = 0; is_masked < 2; is_masked++) {
            snprintf(text[is_masked], sizeof text[0],
                     "filter criterion=%s macs=0.4 scope=%s channels=%s compact=%s "
                     "calibration_samples=20",
                     criteria[k / 2], k % 4 < 2 ? "local" : "global", channels[k / 2 % 2],
                     is_masked ? "false" : "true");
        }
        const int64_t before = macs_of(compact);
        must_run(compact, (const char *const[]){text[0], NULL});
        must_run(masked, (const char *const[]){text[1], NULL});
        assert_int_equal(macs_of(compact), macs_of(masked));
        assert_true((double)macs_of(compact) <= 0.6 * (double)before);
        logits_of(compact, a);
        logits_of(masked, b);
        for (int i = 0; i < N_LOGITS; i++) {
            if (!(fabsf(a[i] - b[i]) <= 1e-4f * fmaxf(1.0f, fabsf(b[i])))) {
                fail_msg("%s: logit %d is %g removed and %g masked", text[0], i, (double)a[i],
                         (double)b[i]);
            }
        }
        model_destroy(compact);
        model_destroy(masked);
    }
}

static void test_statistics(void **state) {
    (void)state;
    struct model *old = make_resnet8('B'), *anew = make_resnet8('B'), *base = make_resnet8('B');
    must_run(old, (const char *const[]){"filter fraction=0.5 norm_batches=0 calibration_samples=20",
                                        NULL});
    must_run(anew, (const char *const[]){"filter fraction=0.5 calibration_samples=20", NULL});
    /* The first batch norm is not cut: what it reads is the same, over other images. */
    const int32_t first = model_find_weight(base, "bn1.running_mean");
    assert_true(first >= 0);
    const size_t n_bytes = (size_t)base->graph.weights[first]->n_elems * sizeof(float);
    assert_memory_equal(old->graph.weights[first]->data, base->graph.weights[first]->data, n_bytes);
    assert_memory_not_equal(anew->graph.weights[first]->data, base->graph.weights[first]->data,
                            n_bytes);
    model_destroy(old);
    model_destroy(anew);
    model_destroy(base);
}

/* Fine-tuning trains the small network; the same bits on any number of threads. */
static void test_threads(void **state) {
    (void)state;
    const char *const steps[] = {
        "filter criterion=taylor fraction=0.5 calibration_samples=20 epochs=2 batch=4", NULL};
    struct error err;
    struct model *one = make_resnet8('A'), *three = make_resnet8('A');
    assert_int_equal(run_steps(one, steps, 1, &err), PARE_OK);
    assert_int_equal(run_steps(three, steps, 3, &err), PARE_OK);
    for (int32_t i = 0; i < one->graph.n_weights; i++) {
        const pare_weight *w = one->graph.weights[i];
        assert_memory_equal(w->data, three->graph.weights[i]->data,
                            (size_t)w->n_elems * sizeof *w->data);
    }
    model_destroy(one);
    model_destroy(three);
}

/* Pruned weights stay so, channels go twice, and 8 bits come last. */
static void test_order(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet8('A');
    must_run(m, (const char *const[]){"magnitude sparsity=0.5 scope=global",
                                      "filter fraction=0.25 calibration_samples=20",
                                      "filter fraction=0.25 calibration_samples=20", NULL});
    must_run(m, (const char *const[]){"ptq calibration_samples=20", NULL});
    float logits[N_LOGITS];
    logits_of(m, logits);
    struct model_counts counts;
    model_count(m, &counts);
    assert_true(counts.prunable_nonzero < counts.prunable_total);
    assert_true(counts.prunable_nonzero > 0);
    model_destroy(m);
    m = make_resnet8('A');
    assert_int_equal(
        run_steps(m, (const char *const[]){"ptq", "filter fraction=0.5", NULL}, 1, &err),
        PARE_E_STATE);
    assert_non_null(strstr(err.text, "put \"filter\" before \"ptq\""));
    model_destroy(m);
}

static int set_up(void **state) {
    struct error err;
    (void)state;
    ds = tiny_dataset(pixels, labels);
    return registry_create(&err, &reg) == PARE_OK &&
                   registry_scan(reg, TEST_BINARY_DIR "/plugins", &err) == PARE_OK
               ? 0
               : -1;
}

static int tear_down(void **state) {
    (void)state;
    registry_destroy(reg);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_criteria),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests_name("experiment filter", tests, set_up, tear_down);
}
