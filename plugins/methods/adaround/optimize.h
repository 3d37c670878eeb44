/* SPDX-License-Identifier: MIT */
/* Learning which way each weight of a layer is rounded. */
#ifndef ADAROUND_OPTIMIZE_H
#define ADAROUND_OPTIMIZE_H

#include <pare/plugin.h>

struct optimize_rule {
    int64_t iterations;
    int64_t batch;           /* images of a step */
    double lr;               /* Adam's */
    double strength, warmup; /* of the penalty; the part of all steps that does without it */
    double drop;             /* probability that a value is that of the float network */
};

/* The channels of one group. */
struct optimize_task {
    int64_t n, n_channels;   /* weights of a channel, channels */
    int64_t n_rows, n_taken; /* samples, and samples of one image, which follow each other */
    const float *x;          /* (n_rows, n) what the layer reads now, with slack */
    const float *float_x;    /* (n_rows, n) what it read in the float network; NULL without drop */
    const float *wanted;     /* (n_rows, n_channels) what it computed there, before the bias */
    const float *bias;       /* (n_channels) or NULL: 0 */
    int has_relu;            /* errors count behind a relu */
    const float *w;          /* (n_channels, n) */
    const uint8_t *mask;     /* (n_channels, n) or NULL */
    const float *scale;      /* (n_channels) */
    int32_t qmax;
    int16_t *codes; /* (n_channels, n) out */
};

/* Errors per sample, of the nearest codes and of the learned ones. */
struct optimize_result {
    double nearest, learned;
};

/* The codes of least error; the nearest ones, should learning end above them. PARE_E_NOMEM. [main]
 */
pare_status optimize_codes(const pare_host *host, const struct optimize_task *task,
                           const struct optimize_rule *rule, pare_rng *rng,
                           struct optimize_result *result);

#endif
