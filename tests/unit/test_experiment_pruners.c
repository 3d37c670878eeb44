/* SPDX-License-Identifier: MIT */
/* Every pruner as a step of a pipeline, with training where it has one, and a quantizer behind it:
 * as sparse as asked for, the same bits on any number of threads, and the zeros survive. */
#include "experiment/pipeline.h"
#include "train_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint8_t pixels[TINY_IMAGES * TINY_ELEMS], labels[TINY_IMAGES];
static struct dataset ds;
static struct registry *reg;

/* `settings` as on a command line, parted by spaces. */
static const struct pruner_case {
    const char *method, *settings;
    double sparsity; /* of all conv2d and linear weights, to half a weight per layer */
} cases[] = {
    {"magnitude", "sparsity=0.8 schedule=agp epochs=6 batch=4", 0.8},
    {"magnitude", "sparsity=0.8 schedule=iterative rounds=3 scope=global epochs=6 batch=4", 0.8},
    {"random", "sparsity=0.8 epochs=2 batch=4", 0.8},
    {"snip", "sparsity=0.8 calibration_samples=20 epochs=2 batch=4", 0.8},
    {"grasp", "sparsity=0.8 calibration_samples=20 epochs=2 batch=4", 0.8},
    {"synflow", "sparsity=0.8 calibration_samples=20 epochs=2 batch=4", 0.8},
    {"rigl", "sparsity=0.8 interval=3 epochs=6 batch=4", 0.8},
    {"rigl", "sparsity=0.8 distribution=uniform interval=3 epochs=6 batch=4", 0.8},
    {"movement", "sparsity=0.8 epochs=6 batch=4", 0.8},
    {"dns", "sparsity=0.8 epochs=6 batch=4", 0.8},
    {"deep_compression", "sparsity=0.8 bits=3 epochs=2 batch=4 gradient=mean", 0.8},
    {"lottery", "sparsity=0.8 rounds=3 rewind=0.2 epochs=2 batch=4", 0.8},
    {"lottery", "sparsity=0.8 rounds=1 rewind=0 epochs=2 batch=4", 0.8},
    {"nm", "epochs=2 batch=4", 874.0 / 1902.0}, /* less where rows are no multiple of 4 */
    {"nm", "srste=false epochs=2 batch=4", 874.0 / 1902.0},
    {"lottery", "sparsity=0.8 rounds=3 rewind_what=rate epochs=2 batch=4", 0.8},
};
enum { N_CASES = sizeof cases / sizeof cases[0], MAX_INPUTS = 16 };

/* A step from text, which it cuts up. */
static struct step_spec step_of(const char *method, char *text, struct param_input *inputs) {
    struct step_spec step = {.method = (char *)(uintptr_t)method, .inputs = inputs};
    for (char *item = strtok(text, " "); item && step.n_inputs < MAX_INPUTS;
         item = strtok(NULL, " ")) {
        char *equals = strchr(item, '=');
        *equals = '\0';
        inputs[step.n_inputs++] = (struct param_input){
            .name = item, .kind = INPUT_STRING, .from_text = 1, .string = equals + 1};
    }
    return step;
}

/* The small lenet after the pruner and, with `quantizes`, 4-bit weights. */
static struct model *run_case(const struct pruner_case *c, int quantizes, int32_t n_threads) {
    struct error err;
    struct pipeline *pipeline;
    char texts[2][256];
    struct param_input inputs[2][MAX_INPUTS];
    snprintf(texts[0], sizeof texts[0], "%s", c->settings);
    snprintf(texts[1], sizeof texts[1], "weight_bits=4 activation_bits=32 calibration_samples=20");
    struct step_spec steps[2] = {step_of(c->method, texts[0], inputs[0]),
                                 step_of("ptq", texts[1], inputs[1])};
    const struct pipeline_spec spec = {.n_steps = quantizes ? 2 : 1, .steps = steps};
    struct pool *pool = NULL;
    struct model *m = make_small_lenet();
    if (n_threads > 1) {
        assert_int_equal(pool_create(n_threads, NULL, &err, &pool), PARE_OK);
    }
    const struct pipeline_env env = {.ds = &ds, .seed = 3, .pool = pool, .base_sha256 = ""};
    if (pipeline_resolve(&spec, reg, &err, &pipeline) != PARE_OK ||
        pipeline_apply(pipeline, &env, m, &err, NULL) != PARE_OK) {
        fail_msg("%s %s: %s", c->method, c->settings, err.text);
    }
    pipeline_destroy(pipeline);
    pool_destroy(pool);
    return m;
}

static void test_sparsity(void **state) {
    (void)state;
    for (int k = 0; k < N_CASES; k++) {
        struct model *m = run_case(&cases[k], 0, 1);
        struct model_counts counts;
        model_count(m, &counts);
        const int64_t pruned = counts.prunable_total - counts.prunable_nonzero;
        const double wanted = cases[k].sparsity * (double)counts.prunable_total;
        if (!(fabs((double)pruned - wanted) <= 2.0)) { /* four layers */
            fail_msg("%s %s: %lld weights are pruned, wanted %g", cases[k].method,
                     cases[k].settings, (long long)pruned, wanted);
        }
        model_destroy(m);
    }
}

static void test_threads(void **state) {
    (void)state;
    for (int k = 0; k < N_CASES; k++) {
        struct model *one = run_case(&cases[k], 0, 1), *three = run_case(&cases[k], 0, 3);
        for (int32_t i = 0; i < one->graph.n_weights; i++) {
            const pare_weight *w = one->graph.weights[i];
            if (memcmp(w->data, three->graph.weights[i]->data,
                       (size_t)w->n_elems * sizeof *w->data) != 0) {
                fail_msg("%s: %s differs between 1 and 3 threads", cases[k].method, w->name);
            }
        }
        model_destroy(one);
        model_destroy(three);
    }
}

static void test_zeros_survive(void **state) {
    (void)state;
    for (int k = 0; k < N_CASES; k++) {
        struct model *pruned = run_case(&cases[k], 0, 1), *both = run_case(&cases[k], 1, 1);
        for (int32_t i = 0; i < pruned->graph.n_weights; i++) {
            const pare_weight *w = pruned->graph.weights[i], *q = both->graph.weights[i];
            if (w->role != PARE_ROLE_WEIGHT) {
                continue;
            }
            assert_int_equal(q->quant.bits, 4);
            for (int64_t e = 0; w->mask && e < w->n_elems; e++) {
                if (!w->mask[e] && (q->mask[e] || q->codes[e] != 0 || q->data[e] != 0.0f)) {
                    fail_msg("%s: %s[%lld] was pruned and has code %d", cases[k].method, w->name,
                             (long long)e, q->codes[e]);
                }
            }
        }
        model_destroy(pruned);
        model_destroy(both);
    }
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
        cmocka_unit_test(test_sparsity),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_zeros_survive),
    };
    return cmocka_run_group_tests_name("pruners in pipelines", tests, set_up, tear_down);
}
