/* SPDX-License-Identifier: MIT */
#include "measure/accuracy.h"

#include "core/alloc.h"
#include "measure/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOP_K 5

static pare_status check_input(const float *logits, const uint8_t *labels, int64_t n,
                               int32_t n_classes, struct error *err) {
    if (n < 1 || n_classes < 1 || n_classes > 256) {
        return error_set(err, PARE_E_ARG,
                         "accuracy of %lld samples and %d classes: wanted at least one sample and "
                         "1..256 classes",
                         (long long)n, n_classes);
    }
    for (int64_t i = 0; i < n; i++) {
        if (labels[i] >= n_classes) {
            return error_set(err, PARE_E_RANGE,
                             "sample %lld: label is %d, the model has %d classes", (long long)i,
                             labels[i], n_classes);
        }
        for (int32_t c = 0; c < n_classes; c++) {
            float x = logits[i * n_classes + c];
            if (!isfinite(x)) {
                return error_set(err, PARE_E_NUMERIC,
                                 "sample %lld: logit of class %d is %g, wanted a finite number",
                                 (long long)i, c, (double)x);
            }
        }
    }
    return PARE_OK;
}

/* The largest logit; among equals the lowest class. */
static int32_t predict(const float *x /* (n_classes) */, int32_t n_classes) {
    int32_t best = 0;
    for (int32_t c = 1; c < n_classes; c++) {
        best = x[c] > x[best] ? c : best;
    }
    return best;
}

/* How many classes come before `label`: larger logits, and equal ones of lower classes. */
static int32_t rank_of(const float *x /* (n_classes) */, int32_t n_classes, int32_t label) {
    int32_t rank = 0;
    for (int32_t c = 0; c < n_classes; c++) {
        rank += x[c] > x[label] || (x[c] == x[label] && c < label);
    }
    return rank;
}

/* -log softmax(x)[label]; shifted by the maximum, so that no exponential overflows. */
static double cross_entropy(const float *x /* (n_classes) */, int32_t n_classes, int32_t label) {
    double largest = (double)x[predict(x, n_classes)];
    double sum = 0.0;
    for (int32_t c = 0; c < n_classes; c++) {
        sum += exp((double)x[c] - largest);
    }
    return log(sum) + largest - (double)x[label];
}

static double ratio(int64_t part, int64_t whole) {
    return whole > 0 ? (double)part / (double)whole : 0.0;
}

/* Averages over classes. A class with no predictions has precision 0, one with no samples recall 0.
 */
static void average_classes(const int64_t *confusion, int32_t n_classes, struct accuracy *out) {
    for (int32_t c = 0; c < n_classes; c++) {
        int64_t hits = confusion[c * n_classes + c];
        int64_t support = 0;
        int64_t predicted = 0;
        for (int32_t k = 0; k < n_classes; k++) {
            support += confusion[c * n_classes + k];
            predicted += confusion[k * n_classes + c];
        }
        double precision = ratio(hits, predicted);
        double recall = ratio(hits, support);
        double f1 = ratio(2 * hits, support + predicted);
        double weight = ratio(support, out->n_samples);
        out->precision_macro += precision / n_classes;
        out->recall_macro += recall / n_classes;
        out->f1_macro += f1 / n_classes;
        out->precision_weighted += precision * weight;
        out->recall_weighted += recall * weight;
        out->f1_weighted += f1 * weight;
    }
}

pare_status accuracy_measure(const float *logits, const uint8_t *labels, int64_t n,
                             int32_t n_classes, struct error *err, struct accuracy *out,
                             uint8_t *predictions, int64_t *confusion) {
    pare_status status = check_input(logits, labels, n, n_classes, err);
    if (status != PARE_OK) {
        return status;
    }
    size_t n_cells = (size_t)n_classes * (size_t)n_classes;
    int64_t *cells = alloc_array(n_cells, sizeof *cells);
    if (cells == NULL) {
        return error_set(err, PARE_E_NOMEM, "out of memory for a confusion matrix of %d classes",
                         n_classes);
    }
    struct accuracy result = {.n_samples = n, .n_classes = n_classes};
    int64_t n_right = 0;
    int64_t n_top5 = 0;
    double loss = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const float *x = logits + i * n_classes;
        int32_t predicted = predict(x, n_classes);
        n_right += predicted == labels[i];
        n_top5 += rank_of(x, n_classes, labels[i]) < TOP_K;
        loss += cross_entropy(x, n_classes, labels[i]);
        cells[labels[i] * n_classes + predicted]++;
        if (predictions != NULL) {
            predictions[i] = (uint8_t)predicted;
        }
    }
    result.top1 = ratio(n_right, n);
    result.top5 = ratio(n_top5, n);
    result.loss = loss / (double)n;
    stats_wilson(n_right, n, &result.top1_ci_lo, &result.top1_ci_hi);
    average_classes(cells, n_classes, &result);
    /* Each sample has one label and one prediction, so the three pooled figures are the same. */
    result.precision_micro = result.top1;
    result.recall_micro = result.top1;
    result.f1_micro = result.top1;
    if (confusion != NULL) {
        memcpy(confusion, cells, n_cells * sizeof *cells);
    }
    free(cells);
    *out = result;
    return PARE_OK;
}

void accuracy_compare(const uint8_t *predictions, const uint8_t *baseline, const uint8_t *labels,
                      int64_t n, struct accuracy_paired *out) {
    struct accuracy_paired result = {0};
    int64_t n_same = 0;
    for (int64_t i = 0; i < n; i++) {
        int right = predictions[i] == labels[i];
        int was_right = baseline[i] == labels[i];
        result.flips_lost += was_right && !right;
        result.flips_won += right && !was_right;
        n_same += predictions[i] == baseline[i];
    }
    result.agreement = ratio(n_same, n);
    result.mcnemar_p = stats_mcnemar_exact(result.flips_lost, result.flips_won);
    *out = result;
}
