/* SPDX-License-Identifier: MIT */
/* A network with channels masked and the one with these channels removed give the same logits on
 * every backend and level: the same bits on integers and on our own backends, within rounding on
 * the comparators. */
#include "../unit/model_fixtures.h"
#include "core/rng.h"
#include "host_table.h"
#include "subjects.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { BATCH = 3, MOST_CLASSES = 10 };

/* ---- weights, so that batch norms do something ---- */

static float uniform(pare_rng *rng, float lo, float hi) {
    return lo + (hi - lo) * rng_float(rng);
}

static void randomise(struct model *m, pare_rng *rng) {
    model_init_weights(m, 7);
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        float *data = model_weight_data(m, i);
        if (w->role == PARE_ROLE_WEIGHT)
            continue;
        float lo = w->role == PARE_ROLE_GAMMA || w->role == PARE_ROLE_VAR ? 0.6f : -0.3f;
        for (int64_t k = 0; k < w->n_elems; k++)
            data[k] = uniform(rng, lo, lo + 0.7f);
    }
}

/* ---- what is removed, by class ---- */

struct choice {
    int64_t n;
    int32_t *class_of;
    uint8_t *keep; /* (n) */
};

/* Is any channel of this node kept? */
static int has_any(const struct choice *choice, int64_t first, int32_t n) {
    return memchr(choice->keep + first, 1, (size_t)n) != NULL;
}

/* About half of all classes; of a node that would lose everything the first class comes back. */
static struct choice choose(const struct model *m, pare_rng *rng) {
    struct error err;
    struct choice c = {.n = model_n_channels(m)};
    c.class_of = calloc((size_t)c.n, sizeof *c.class_of);
    c.keep = malloc((size_t)c.n);
    uint8_t *fate = malloc((size_t)c.n);
    assert_int_equal(model_channel_classes(m, c.n, &err, c.class_of), PARE_OK);
    for (int64_t k = 0; k < c.n; k++)
        fate[k] = (uint8_t)rng_below(rng, 2);
    int again = 1;
    while (again) {
        again = 0;
        for (int64_t e = 0; e < c.n; e++)
            c.keep[e] = c.class_of[e] < 0 || fate[c.class_of[e]];
        int64_t first = 0;
        for (int32_t i = 0; i < m->graph.n_nodes; i++) {
            int32_t n = m->graph.nodes[i]->dims[2];
            if (!has_any(&c, first, n)) {
                fate[c.class_of[first]] = 1;
                again = 1;
            }
            first += n;
        }
    }
    free(fate);
    return c;
}

static void choice_free(struct choice *c) {
    free(c->class_of);
    free(c->keep);
}

/* Pruned rows of layers, with their biases; gamma and beta of batch norms. */
static void mask_channels(struct model *m, const struct choice *c) {
    int64_t first = 0;
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        const pare_node *node = m->graph.nodes[i];
        for (int role = PARE_ROLE_WEIGHT; role <= PARE_ROLE_BETA; role++) {
            const pare_weight *w = node->weights[role];
            struct error err;
            if (w == NULL)
                continue;
            uint8_t *mask = malloc((size_t)w->n_elems);
            for (int64_t k = 0; k < w->n_elems; k++)
                mask[k] = c->keep[first + k / (w->n_elems / w->dims[0])];
            assert_int_equal(model_set_mask(m, w->index, mask, &err), PARE_OK);
            free(mask);
        }
        first += node->dims[2];
    }
}

static void remove_chosen(struct model *m, const struct choice *c) {
    struct error err;
    int32_t nodes[512];
    const uint8_t *keep[512];
    int64_t first = 0;
    assert_in_range(m->graph.n_nodes, 1, 512);
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        nodes[i] = i;
        keep[i] = c->keep + first;
        first += m->graph.nodes[i]->dims[2];
    }
    if (model_remove_channels(m, m->graph.n_nodes, nodes, keep, &err) != PARE_OK)
        fail_msg("%s: %s", m->graph.name, err.text);
    assert_int_equal(model_verify(m, &err), PARE_OK);
}

/* ---- 8 bits throughout ---- */

static void quantize_weight(struct model *m, const pare_weight *w) {
    struct error err;
    int32_t n = (int32_t)w->dims[0];
    int64_t per_row = w->n_elems / n;
    float *scale = malloc((size_t)n * sizeof *scale);
    for (int32_t r = 0; r < n; r++) {
        float most = 0.0f;
        for (int64_t k = 0; k < per_row; k++)
            most = fmaxf(most, fabsf(w->data[r * per_row + k]));
        scale[r] = most > 0.0f ? most / 127.0f : 1.0f;
    }
    pare_quant q = {.bits = 8, .qmin = -127, .qmax = 127, .axis = 0, .n = n, .scale = scale};
    assert_int_equal(model_set_weight_quant(m, w->index, &q, NULL, &err), PARE_OK);
    free(scale);
}

/* One grid for all values, zero point not 0: what is masked has the code 5 then. */
static void quantize(struct model *m) {
    struct error err;
    const float scale = 0.04f;
    const int32_t zero = 5;
    assert_int_equal(model_fold_batch_norm(m, &err), PARE_OK);
    for (int32_t i = 0; i < m->graph.n_weights; i++)
        if (m->graph.weights[i]->role == PARE_ROLE_WEIGHT)
            quantize_weight(m, m->graph.weights[i]);
    const pare_quant q = {.bits = 8,
                          .qmin = -128,
                          .qmax = 127,
                          .axis = -1,
                          .n = 1,
                          .scale = &scale,
                          .zero_point = &zero};
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        pare_op next = i + 1 < m->graph.n_nodes ? m->graph.nodes[i + 1]->op : PARE_OP_SOFTMAX;
        if (next != PARE_OP_SOFTMAX)                    /* logits stay float */
            model_set_activation_quant(m, i, &q, &err); /* refused where nothing is stored */
    }
}

/* ---- running ---- */

/* The logits of BATCH images; 0: the backend does not take this graph. */
static int run_on(const struct subject *subject, const struct model *m, const float *images,
                  float *output, char execution[16]) {
    struct test_host host;
    void *instance, *exe;
    const pare_executable_info *info;
    test_host_init(&host);
    const pare_compile_options options = {sizeof options, BATCH, subject->isa};
    assert_int_equal(subject->backend->create(&host.host, NULL, &instance), PARE_OK);
    pare_status status = subject->backend->compile(instance, &m->graph, &options, &exe);
    if (status == PARE_E_UNSUPPORTED && (subject->float_only || subject->approximate)) {
        subject->backend->destroy(instance);
        return 0;
    }
    if (status != PARE_OK)
        fail_msg("%s on %s: %s", m->graph.name, subject->isa, host.text);
    assert_int_equal(subject->backend->executable_info(exe, &info), PARE_OK);
    snprintf(execution, 16, "%s", info->execution);
    assert_int_equal(subject->backend->run(exe, images, BATCH, output), PARE_OK);
    subject->backend->executable_destroy(exe);
    subject->backend->destroy(instance);
    assert_int_equal(host.n_live, 0);
    return 1;
}

static void compare(const struct subject *subject, const struct model *masked,
                    const struct model *compact, const float *images, int is_integer) {
    float a[BATCH * MOST_CLASSES], b[BATCH * MOST_CLASSES], most = 0.0f;
    char execution[16];
    int32_t n = masked->graph.n_classes;
    if (!run_on(subject, masked, images, a, execution) ||
        !run_on(subject, compact, images, b, execution))
        return;
    for (int32_t k = 0; k < BATCH * n; k++)
        most = fmaxf(most, fabsf(a[k]));
    assert_true(most > 0.01f);
    assert_memory_not_equal(a, a + n, (size_t)n * sizeof *a); /* two images, two answers */
    if (is_integer && !subject->approximate)
        assert_string_equal(execution, "integer");
    int same_bits = subject->exact || (is_integer && !subject->approximate);
    float allowed = same_bits              ? 0.0f
                    : subject->approximate ? 0.1f * most /* a code may be one off, in each layer */
                                           : 1e-5f * most;
    for (int32_t k = 0; k < BATCH * n; k++)
        if (!(fabsf(a[k] - b[k]) <= allowed))
            fail_msg("%s on %s: logit %d is %.9g masked and %.9g without the channels",
                     masked->graph.name, subject->isa, k, (double)a[k], (double)b[k]);
}

static void check_network(struct model *m, uint64_t seed) {
    struct subject subjects[MAX_SUBJECTS];
    int32_t n_subjects = subjects_usable(subjects);
    const int32_t *d = m->graph.input_dims;
    size_t n_pixels = (size_t)d[0] * (size_t)d[1] * (size_t)d[2];
    float *images = malloc(BATCH * n_pixels * sizeof *images);
    pare_rng rng;
    rng_init(&rng, seed, "surgery", 0);
    for (size_t k = 0; k < BATCH * n_pixels; k++)
        images[k] = uniform(&rng, -1.0f, 1.0f);
    randomise(m, &rng);
    struct choice c = choose(m, &rng);
    mask_channels(m, &c);
    for (int is_integer = 0; is_integer < 2; is_integer++) {
        struct error err;
        struct model *compact = NULL;
        if (is_integer) {
            choice_free(&c); /* folding has taken nodes out */
            rng_init(&rng, seed, "surgery of a folded network", 0);
            randomise(m, &rng);
            assert_int_equal(model_fold_batch_norm(m, &err), PARE_OK);
            c = choose(m, &rng);
            mask_channels(m, &c);
            quantize(m);
        }
        assert_int_equal(model_copy(m, &err, &compact), PARE_OK);
        remove_chosen(compact, &c);
        for (int32_t k = 0; k < n_subjects; k++)
            compare(&subjects[k], m, compact, images, is_integer);
        model_destroy(compact);
    }
    choice_free(&c);
    free(images);
    model_destroy(m);
}

static void test_resnets(void **state) {
    (void)state;
    check_network(make_resnet(3, 'A', 16, 3), 1); /* ResNet20 */
    check_network(make_resnet(3, 'B', 16, 3), 2);
}

static void test_deep_resnets(void **state) {
    (void)state;
    check_network(make_resnet(5, 'A', 8, 3), 3); /* ResNet32 */
    check_network(make_resnet(9, 'B', 8, 3), 4); /* ResNet56 */
    check_network(make_resnet(9, 'A', 8, 3), 5);
}

static void test_lenets(void **state) {
    (void)state;
    check_network(make_lenet300(), 6);
    check_network(make_lenet5(), 7);
}

static void test_branches(void **state) {
    (void)state;
    for (uint64_t seed = 8; seed < 16; seed++)
        check_network(make_branchy(), seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resnets),
        cmocka_unit_test(test_deep_resnets),
        cmocka_unit_test(test_lenets),
        cmocka_unit_test(test_branches),
    };
    return cmocka_run_group_tests_name("backend surgery", tests, NULL, NULL);
}
