/* SPDX-License-Identifier: MIT */
#include "train/train.h"

#include <math.h>

/* p (c) = softmax(z / t), and log(sum exp(z / t)). */
static double softmax(const float *z, int32_t c, double t, double *p) {
    double max = (double)z[0];
    for (int32_t i = 1; i < c; i++) {
        max = (double)z[i] > max ? (double)z[i] : max;
    }
    double sum = 0.0;
    for (int32_t i = 0; i < c; i++) {
        p[i] = exp(((double)z[i] - max) / t);
        sum += p[i];
    }
    for (int32_t i = 0; i < c; i++) {
        p[i] /= sum;
    }
    return max / t + log(sum);
}

/* Cross-entropy with the target (1-e) one-hot + e/c. g (c) = share of the gradient. */
static double cross_entropy(const float *z, uint8_t label, int32_t c, double smoothing,
                            double weight, float *g) {
    double p[256];
    const double log_sum = softmax(z, c, 1.0, p);
    double loss = 0.0;
    for (int32_t i = 0; i < c; i++) {
        const double target = smoothing / c + (i == label ? 1.0 - smoothing : 0.0);
        loss += target * (log_sum - (double)z[i]);
        g[i] = (float)(weight * (p[i] - target));
    }
    return loss;
}

/* T^2 KL(teacher || student) of the softened outputs; adds to g. */
static double distillation(const float *z, const float *teacher, int32_t c, double t, double weight,
                           float *g) {
    double p[256], q[256];
    const double log_p = softmax(z, c, t, p);
    const double log_q = softmax(teacher, c, t, q);
    double loss = 0.0;
    for (int32_t i = 0; i < c; i++) {
        const double log_ratio = ((double)teacher[i] / t - log_q) - ((double)z[i] / t - log_p);
        loss += q[i] * log_ratio;
        g[i] += (float)(weight * t * (p[i] - q[i]));
    }
    return t * t * loss;
}

double train_loss(const float *logits, const float *teacher_logits, const uint8_t *labels,
                  int32_t n, int32_t n_classes, const struct train_options *options, float *grad) {
    const double l = teacher_logits ? options->distill_weight : 0.0;
    double total = 0.0;
    for (int32_t i = 0; i < n; i++) {
        const int64_t at = (int64_t)i * n_classes;
        float *g = grad + at;
        total += (1.0 - l) * cross_entropy(logits + at, labels[i], n_classes,
                                           options->label_smoothing, (1.0 - l) / n, g);
        if (teacher_logits) {
            total += l * distillation(logits + at, teacher_logits + at, n_classes,
                                      options->distill_temperature, l / n, g);
        }
    }
    return total / n;
}
