/* SPDX-License-Identifier: MIT */
/* Metrics against cases worked out by hand. */
#include "measure/accuracy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EXACT 1e-14

static void close_to(double got, double wanted, double tolerance) {
    if (!(fabs(got - wanted) <= tolerance)) {
        fail_msg("got %.17g, wanted %.17g", got, wanted);
    }
}

/* A 1 at the predicted class, 0 elsewhere. */
static void one_hot(float *logits, const uint8_t *predictions, int32_t n, int32_t n_classes) {
    memset(logits, 0, (size_t)(n * n_classes) * sizeof *logits);
    for (int32_t i = 0; i < n; i++) {
        logits[i * n_classes + predictions[i]] = 1.0f;
    }
}

/* Class 3 never occurs and is never predicted.
 *        predicted 0 1 2
 * true 0           1 1 .
 *      1           . 2 .
 *      2           1 . 1 */
static void test_all_metrics(void **state) {
    (void)state;
    const uint8_t labels[6] = {0, 0, 1, 1, 2, 2};
    const uint8_t wanted[6] = {0, 1, 1, 1, 2, 0};
    float logits[6 * 4];
    uint8_t predictions[6];
    int64_t confusion[16];
    const int64_t cells[16] = {1, 1, 0, 0, 0, 2, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0};
    struct accuracy a;
    struct error err;
    one_hot(logits, wanted, 6, 4);
    assert_int_equal(accuracy_measure(logits, labels, 6, 4, &err, &a, predictions, confusion),
                     PARE_OK);
    assert_memory_equal(predictions, wanted, sizeof wanted);
    assert_memory_equal(confusion, cells, sizeof cells);
    assert_int_equal(a.n_samples, 6);
    assert_int_equal(a.n_classes, 4);
    close_to(a.top1, 4.0 / 6.0, EXACT);
    /* Wilson: centre 0.6016110, half width 0.3016176 */
    close_to(a.top1_ci_lo, 0.2999934, 1e-6);
    close_to(a.top1_ci_hi, 0.9032286, 1e-6);
    close_to(a.top5, 1.0, EXACT); /* fewer than 5 classes */
    close_to(a.loss, log(exp(1.0) + 3.0) - 4.0 / 6.0, EXACT);
    close_to(a.precision_macro, (1.0 / 2 + 2.0 / 3 + 1.0 + 0.0) / 4, EXACT);
    close_to(a.recall_macro, (1.0 / 2 + 1.0 + 1.0 / 2 + 0.0) / 4, EXACT);
    close_to(a.f1_macro, (1.0 / 2 + 4.0 / 5 + 2.0 / 3 + 0.0) / 4, EXACT);
    close_to(a.precision_micro, 4.0 / 6.0, EXACT);
    close_to(a.recall_micro, 4.0 / 6.0, EXACT);
    close_to(a.f1_micro, 4.0 / 6.0, EXACT);
    close_to(a.precision_weighted, (1.0 / 2 + 2.0 / 3 + 1.0) / 3, EXACT);
    close_to(a.recall_weighted, (1.0 / 2 + 1.0 + 1.0 / 2) / 3, EXACT);
    close_to(a.f1_weighted, (1.0 / 2 + 4.0 / 5 + 2.0 / 3) / 3, EXACT);
}

/* A class that is predicted and never occurs; one that occurs and is never predicted; supports 3
 * : 1. */
static void test_absent_classes(void **state) {
    (void)state;
    const uint8_t labels[4] = {0, 0, 0, 1};
    const uint8_t wanted[4] = {0, 0, 2, 0};
    float logits[4 * 3];
    struct accuracy a;
    struct error err;
    one_hot(logits, wanted, 4, 3);
    assert_int_equal(accuracy_measure(logits, labels, 4, 3, &err, &a, NULL, NULL), PARE_OK);
    close_to(a.precision_macro, (2.0 / 3 + 0 + 0) / 3, EXACT);
    close_to(a.recall_macro, (2.0 / 3 + 0 + 0) / 3, EXACT);
    close_to(a.f1_macro, (4.0 / 6 + 0 + 0) / 3, EXACT);
    close_to(a.precision_weighted, 2.0 / 3 * 3 / 4, EXACT);
    close_to(a.f1_weighted, 4.0 / 6 * 3 / 4, EXACT);
}

static void test_ties_and_top5(void **state) {
    (void)state;
    const uint8_t labels[4] = {0, 4, 5, 6};
    float logits[4 * 7] = {0}; /* all equal: class 0 is predicted, 0..4 are the first five */
    uint8_t predictions[4];
    struct accuracy a;
    struct error err;
    logits[3 * 7 + 6] = 1.0f;
    logits[3 * 7 + 2] = 1.0f; /* a tie of 2 and 6 */
    assert_int_equal(accuracy_measure(logits, labels, 4, 7, &err, &a, predictions, NULL), PARE_OK);
    const uint8_t wanted[4] = {0, 0, 0, 2};
    assert_memory_equal(predictions, wanted, sizeof wanted);
    close_to(a.top1, 1.0 / 4, EXACT);
    close_to(a.top5, 3.0 / 4, EXACT);
}

static void test_loss_of_extreme_logits(void **state) {
    (void)state;
    const float logits[2 * 2] = {3e38f, -3e38f, 1000.0f, 0.0f};
    const uint8_t labels[2] = {0, 0};
    const uint8_t wrong[2] = {0, 1};
    struct accuracy a;
    struct error err;
    assert_int_equal(accuracy_measure(logits, labels, 2, 2, &err, &a, NULL, NULL), PARE_OK);
    close_to(a.loss, 0.0, EXACT);
    assert_int_equal(accuracy_measure(logits, wrong, 2, 2, &err, &a, NULL, NULL), PARE_OK);
    close_to(a.loss, 500.0, 1e-10);
}

static void test_one_class_and_256(void **state) {
    (void)state;
    const uint8_t labels[1] = {255};
    float logits[256] = {0};
    const float one = 2.0f;
    uint8_t prediction;
    struct accuracy a;
    struct error err;
    logits[255] = 1.0f;
    assert_int_equal(accuracy_measure(logits, labels, 1, 256, &err, &a, &prediction, NULL),
                     PARE_OK);
    assert_int_equal(prediction, 255);
    close_to(a.f1_macro, 1.0 / 256, EXACT);
    const uint8_t zero[1] = {0};
    assert_int_equal(accuracy_measure(&one, zero, 1, 1, &err, &a, NULL, NULL), PARE_OK);
    close_to(a.loss, 0.0, EXACT);
    close_to(a.top5, 1.0, EXACT);
}

static void test_bad_input(void **state) {
    (void)state;
    float logits[2 * 3] = {0};
    uint8_t labels[2] = {0, 2};
    uint8_t predictions[2] = {77, 77};
    int64_t confusion[9] = {77};
    struct accuracy a = {.n_samples = 77};
    struct error err;
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++) {
        logits[5] = bad[k];
        assert_int_equal(accuracy_measure(logits, labels, 2, 3, &err, &a, predictions, confusion),
                         PARE_E_NUMERIC);
        assert_non_null(strstr(err.text, "sample 1"));
        assert_non_null(strstr(err.text, "class 2"));
    }
    logits[5] = 0.0f;
    labels[1] = 3;
    assert_int_equal(accuracy_measure(logits, labels, 2, 3, &err, &a, predictions, confusion),
                     PARE_E_RANGE);
    assert_non_null(strstr(err.text, "label is 3"));
    labels[1] = 2;
    assert_int_equal(accuracy_measure(logits, labels, 0, 3, &err, &a, predictions, confusion),
                     PARE_E_ARG);
    assert_int_equal(accuracy_measure(logits, labels, 1, 257, &err, &a, predictions, confusion),
                     PARE_E_ARG);
    assert_int_equal(a.n_samples, 77);
    assert_int_equal(predictions[0], 77);
    assert_int_equal(confusion[0], 77);
}

/* 8 lost and 2 won: p = 2 (1 + 10 + 45) / 2^10. */
static void test_compare(void **state) {
    (void)state;
    uint8_t labels[20] = {0};
    uint8_t baseline[20] = {0};
    uint8_t predictions[20] = {0};
    struct accuracy_paired p;
    for (int i = 0; i < 8; i++) {
        predictions[i] = 1;
    }
    baseline[8] = baseline[9] = 1;
    baseline[10] = 1; /* wrong both, differently: no flip, no agreement */
    predictions[10] = 2;
    baseline[11] = predictions[11] = 1; /* wrong both, alike */
    accuracy_compare(predictions, baseline, labels, 20, &p);
    assert_int_equal(p.flips_lost, 8);
    assert_int_equal(p.flips_won, 2);
    close_to(p.agreement, 9.0 / 20, EXACT);
    close_to(p.mcnemar_p, 2.0 * 56 / 1024, 1e-12);
    accuracy_compare(labels, labels, labels, 20, &p);
    close_to(p.agreement, 1.0, EXACT);
    close_to(p.mcnemar_p, 1.0, EXACT);
    assert_int_equal(p.flips_lost + p.flips_won, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_metrics),       cmocka_unit_test(test_absent_classes),
        cmocka_unit_test(test_ties_and_top5),     cmocka_unit_test(test_loss_of_extreme_logits),
        cmocka_unit_test(test_one_class_and_256), cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
