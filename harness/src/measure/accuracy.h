/* SPDX-License-Identifier: MIT */
/* Classification metrics. Ties go to the lowest class. Classes that never occur and are never
 * predicted have precision, recall and F1 of 0 and count in the macro average (scikit-learn's
 * zero_division=0, with labels = all classes). */
#ifndef MEASURE_ACCURACY_H
#define MEASURE_ACCURACY_H

#include "core/error.h"

#include <stdint.h>

struct accuracy {
    int64_t n_samples;
    int32_t n_classes;
    double top1, top1_ci_lo, top1_ci_hi; /* fraction 0..1; Wilson 95 % */
    double top5;
    double loss; /* mean cross-entropy of softmax(logits), nats */
    double precision_macro, recall_macro, f1_macro;
    double precision_micro, recall_micro, f1_micro;
    double precision_weighted, recall_weighted, f1_weighted;
};

/* logits (n,n_classes) fp32, labels (n). predictions (n) may be NULL. confusion
 * (n_classes,n_classes) [true][predicted] may be NULL. Non-finite logits: PARE_E_NUMERIC naming the
 * sample. */
pare_status accuracy_measure(const float *logits, const uint8_t *labels, int64_t n,
                             int32_t n_classes, struct error *err, struct accuracy *out,
                             uint8_t *predictions, int64_t *confusion);

/* Paired comparison with a baseline's predictions. */
struct accuracy_paired {
    int64_t flips_lost; /* baseline right, this wrong */
    int64_t flips_won;  /* baseline wrong, this right */
    double agreement;   /* fraction of samples with the same prediction */
    double mcnemar_p;   /* exact */
};
void accuracy_compare(const uint8_t *predictions, const uint8_t *baseline, const uint8_t *labels,
                      int64_t n, struct accuracy_paired *out);

#endif
