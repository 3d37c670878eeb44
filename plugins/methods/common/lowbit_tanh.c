/* SPDX-License-Identifier: MIT */
#include "lowbit_tanh.h"

#include <float.h>
#include <math.h>

enum { BLOCK = 4096, MOST_BITS = 7 };

pare_status lowbit_tanh_check(const pare_host *host, int weight_bits) {
    if (weight_bits <= MOST_BITS || weight_bits == LOWBIT_FLOAT) {
        return PARE_OK;
    }
    return host->fail(host, PARE_E_RANGE,
                      "weight_bits: got %d, wanted 2..7 or 32 (float): these 2^b levels need b + 1 "
                      "bits as codes",
                      weight_bits);
}

static void start(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    (void)lb, (void)w;
    slot->qmax = (1 << slot->bits) - 1;
    slot->stored_bits = slot->bits + 1;
}

struct job {
    struct lowbit_weight *slot;
    const float *w, *g;
    float *gw;
    double largest; /* M */
};

static int64_t end_of(const struct job *job, int64_t index) {
    const int64_t end = (index + 1) * BLOCK;
    return end < job->slot->n_elems ? end : job->slot->n_elems;
}

static void each_block(struct lowbit *lb, struct job *job, void (*body)(void *, int64_t)) {
    lb->host->parallel_for(lb->host, (job->slot->n_elems + BLOCK - 1) / BLOCK, body, job);
}

static void encode_block(void *arg, int64_t index) {
    const struct job *job = arg;
    const double n = (double)job->slot->qmax;
    for (int64_t i = index * BLOCK; i < end_of(job, index); i++) {
        const double x = tanh((double)job->w[i]) / (2.0 * job->largest) + 0.5;
        job->slot->codes[i] = (int16_t)(job->w[i] == 0.0f ? 0.0 : 2.0 * rint(n * x) - n);
    }
}

/* tanh grows with |w|, so the largest weight makes M. */
static void encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    const struct fake_stats stats = fake_look(lb->host, w, slot->n_elems);
    const double largest = tanh(fmax(fabs((double)stats.min), fabs((double)stats.max)));
    struct job job = {.slot = slot, .w = w, .largest = largest > (double)FLT_MIN ? largest : 1.0};
    slot->scales[0] = (float)(job.largest / (double)slot->qmax);
    each_block(lb, &job, encode_block);
}

static void backward_block(void *arg, int64_t index) {
    const struct job *job = arg;
    for (int64_t i = index * BLOCK; i < end_of(job, index); i++) {
        const double t = tanh((double)job->w[i]);
        job->gw[i] = (float)((double)job->g[i] * (1.0 - t * t));
    }
}

static void backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w, const float *g,
                     float *gw) {
    struct job job = {.slot = slot, .w = w, .g = g, .gw = gw};
    each_block(lb, &job, backward_block);
}

const struct lowbit_weight_ops lowbit_weight_tanh = {
    .start = start,
    .encode = encode,
    .backward = backward,
};
