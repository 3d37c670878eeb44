/* SPDX-License-Identifier: MIT */
/* Convolutions of at most half a vector of output channels: every number of channels and of
 * positions in a tile, int8 to the bit and floats within rounding of ref, and by the kernel meant
 * for them. */
#include "check/graph_maker.h"
#include "host_table.h"
#include "subjects.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CLASSES = 4, MOST_PIXELS = 2 * 40 * 17 };

struct shape {
    int32_t in_c, out_c, width, kernel;
    int is_int8, has_relu;
};

/* input (2,width,in_c) - conv - [relu] - flatten - linear (4) */
static void make_graph(struct maker *m, const struct shape *s) {
    maker_init(m, 5, 2, s->width, s->in_c);
    int32_t x = maker_conv(m, 0, s->out_c, s->kernel, 1, s->kernel / 2, 1, 1);
    if (s->is_int8) {
        maker_quantize_value(m, 0, 8, 0.02f, 7);
        maker_quantize_weight(m, x, 8);
    }
    x = s->has_relu ? maker_simple(m, PARE_OP_RELU, x) : x;
    if (s->is_int8) {
        maker_quantize_value(m, x, 8, 0.05f, -3);
    }
    x = maker_simple(m, PARE_OP_FLATTEN, x);
    x = maker_linear(m, x, CLASSES, 1);
    if (s->is_int8) {
        maker_quantize_weight(m, x, 8);
    }
}

/* Runs one image; is any kernel a `_half`? */
static int run(const struct subject *subject, const struct maker *m, const float *image,
               float output[CLASSES]) {
    struct test_host host;
    void *instance, *exe;
    const pare_executable_info *info;
    int is_half = 0;
    test_host_init(&host);
    const pare_compile_options options = {sizeof options, 1, subject->isa};
    assert_int_equal(subject->backend->create(&host.host, NULL, &instance), PARE_OK);
    if (subject->backend->compile(instance, &m->graph, &options, &exe) != PARE_OK)
        fail_msg("%s: %s", subject->isa, host.text);
    assert_int_equal(subject->backend->executable_info(exe, &info), PARE_OK);
    for (int32_t k = 0; k < info->n_kernels; k++)
        is_half |= strstr(info->kernels[k]->kernel, "_half") != NULL;
    assert_int_equal(subject->backend->run(exe, image, 1, output), PARE_OK);
    subject->backend->executable_destroy(exe);
    subject->backend->destroy(instance);
    assert_int_equal(host.n_live, 0);
    assert_int_equal(host.damaged, 0);
    return is_half;
}

/* 1: by a `_half` kernel. */
static int check_shape(const struct subject *ref, const struct subject *subject,
                       const struct shape *s) {
    struct maker m;
    float image[MOST_PIXELS], wanted[CLASSES], got[CLASSES], most = 0.0f;
    make_graph(&m, s);
    for (int32_t k = 0; k < 2 * s->width * s->in_c; k++)
        image[k] = maker_normal(&m.random);
    run(ref, &m, image, wanted);
    const int is_half = run(subject, &m, image, got);
    for (int k = 0; k < CLASSES; k++)
        most = fmaxf(most, fabsf(wanted[k]));
    for (int k = 0; k < CLASSES; k++) {
        const float allowed = s->is_int8 ? 0.0f : 1e-5f * most;
        if (!(fabsf(got[k] - wanted[k]) <= allowed))
            fail_msg(
                "%s, %s, %d to %d channels, width %d, kernel %d: logit %d is %.9g, wanted %.9g",
                subject->isa, s->is_int8 ? "int8" : "fp32", s->in_c, s->out_c, s->width, s->kernel,
                k, (double)got[k], (double)wanted[k]);
    }
    maker_free(&m);
    return is_half;
}

/* Which kind a level is to take: where a run fills whole steps, or nearly. */
static int wants_half(const struct subject *subject, const struct shape *s) {
    const int elems = s->kernel * s->in_c, read = (elems + 7) / 8 * 8, plain = (elems + 3) / 4 * 4;
    if (strncmp(subject->isa, "avx512", 6) != 0 || s->out_c > 8)
        return 0;
    return s->is_int8 ? strstr(subject->isa, "vnni") != NULL && read <= plain + plain / 8
                      : elems % 2 == 0;
}

static void check_subject(const struct subject *ref, const struct subject *subject) {
    static const int32_t in_channels[] = {1, 2, 3, 4, 8, 12, 16, 17};
    for (int is_int8 = 0; is_int8 < 2; is_int8++) {
        for (int32_t out_c = 1; out_c <= 9; out_c++) {
            for (int32_t width = 1; width <= 40; width += width < 18 ? 1 : 11) {
                const int32_t in_c = in_channels[(out_c * 5 + width) % 8];
                const struct shape s = {in_c,    out_c,    width, width % 3 == 0 ? 1 : 3,
                                        is_int8, width % 2};
                assert_int_equal(check_shape(ref, subject, &s), wants_half(subject, &s));
            }
        }
        const struct shape inner = {16, 8, 32, 3, is_int8, 1}; /* of ResNet20's first stage */
        assert_int_equal(check_shape(ref, subject, &inner), wants_half(subject, &inner));
    }
}

static void test_every_level(void **state) {
    struct subject subjects[MAX_SUBJECTS];
    const int32_t n = subjects_usable(subjects);
    (void)state;
    for (int32_t k = 1; k < n; k++)
        if (subjects[k].fuses_adds) /* the tiled ones */
            check_subject(&subjects[0], &subjects[k]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_level)};
    return cmocka_run_group_tests_name("tiled half", tests, NULL, NULL);
}
