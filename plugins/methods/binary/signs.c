/* SPDX-License-Identifier: MIT */
#include "signs.h"

#include <float.h>
#include <math.h>

enum { BLOCK = 16384 };

static const float BOUND = 1.25f;

static void start(struct lowbit *lb, struct lowbit_value *slot, const struct fake_stats *stats,
                  int64_t n) {
    (void)lb;
    slot->hi = stats->abs_sum / (double)n;
}

static void see(struct lowbit *lb, struct lowbit_value *slot, const struct fake_stats *stats,
                int64_t n) {
    slot->hi = lb->kept * slot->hi + (1.0 - lb->kept) * stats->abs_sum / (double)n;
}

static float size_of(const struct lowbit_value *slot) {
    return slot->hi >= (double)FLT_MIN ? (float)slot->hi : 1.0f;
}

static struct grid grid(const struct lowbit *lb, const struct lowbit_value *slot) {
    (void)lb;
    return (struct grid){size_of(slot), 0, -1, 1};
}

struct job {
    const float *x, *g; /* (n) */
    float *out;         /* (n) */
    int64_t n;
    float size;
};

static int64_t end_of(const struct job *job, int64_t index) {
    const int64_t end = (index + 1) * BLOCK;
    return end < job->n ? end : job->n;
}

static void forward_block(void *arg, int64_t index) {
    const struct job *job = arg;
    const float *x = job->x;
    float *restrict y = job->out;
    for (int64_t i = index * BLOCK; i < end_of(job, index); i++) {
        y[i] = x[i] < 0.0f ? -job->size : job->size;
    }
}

static void forward(struct lowbit *lb, const struct lowbit_value *slot, const float *x, float *y,
                    int64_t n) {
    struct job job = {.x = x, .out = y, .n = n, .size = size_of(slot)};
    lb->host->parallel_for(lb->host, (n + BLOCK - 1) / BLOCK, forward_block, &job);
}

/* b / (1.25 b) (2 - 2 |u|), which is 0 at |u| = 1. */
static void backward_block(void *arg, int64_t index) {
    const struct job *job = arg;
    const float *x = job->x, *g = job->g;
    float *restrict gx = job->out;
    const float bound = BOUND * job->size;
    for (int64_t i = index * BLOCK; i < end_of(job, index); i++) {
        const float left = 1.0f - fabsf(x[i]) / bound;
        gx[i] = g[i] * (left > 0.0f ? left : 0.0f) * (2.0f / BOUND);
    }
}

static void backward(struct lowbit *lb, const struct lowbit_value *slot, const float *x,
                     const float *g, float *gx, int64_t n) {
    struct job job = {.x = x, .g = g, .out = gx, .n = n, .size = size_of(slot)};
    lb->host->parallel_for(lb->host, (n + BLOCK - 1) / BLOCK, backward_block, &job);
}

const struct lowbit_value_ops binary_signs = {
    .has_one_width = 1,
    .start = start,
    .see = see,
    .grid = grid,
    .forward = forward,
    .backward = backward,
};
