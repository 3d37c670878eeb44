/* SPDX-License-Identifier: MIT */
#include "fake.h"

#include <math.h>

enum { MOST_BLOCKS = 256, SMALLEST_BLOCK = 16384 };

const struct fake_loops *fake_best(void) {
#ifdef FAKE_HAVE_AVX2
    if (__builtin_cpu_supports("avx2")) {
        return &fake_loops_avx2;
    }
#endif
    return &fake_loops_base;
}

struct fake_grid fake_grid_of(const struct grid *grid) {
    return (struct fake_grid){grid->scale, (float)(grid->qmin - grid->zero_point),
                              (float)(grid->qmax - grid->zero_point)};
}

struct job {
    const struct fake_loops *loops;
    const struct fake_grid *grid;
    const float *x, *g; /* (n) */
    float *out;         /* (n) */
    int16_t *codes;     /* (n) */
    int64_t n, block;
    struct fake_sums sums[MOST_BLOCKS];
    struct fake_stats stats[MOST_BLOCKS];
};

/* Sets the size of a block, and returns how many there are. */
static int64_t cut(struct job *job) {
    job->block = (job->n + MOST_BLOCKS - 1) / MOST_BLOCKS;
    job->block = job->block < SMALLEST_BLOCK ? SMALLEST_BLOCK : (job->block + 63) / 64 * 64;
    return (job->n + job->block - 1) / job->block;
}

static int64_t length(const struct job *job, int64_t index) {
    int64_t left = job->n - index * job->block;
    return left < job->block ? left : job->block;
}

static void forward_block(void *arg, int64_t index) {
    const struct job *job = arg;
    int64_t at = index * job->block;
    job->loops->forward(job->grid, job->x + at, job->out + at, length(job, index));
}

static void backward_block(void *arg, int64_t index) {
    struct job *job = arg;
    int64_t at = index * job->block;
    job->sums[index] = (struct fake_sums){0};
    job->loops->backward(job->grid, job->x + at, job->g + at, job->out + at, length(job, index),
                         &job->sums[index]);
}

static void encode_block(void *arg, int64_t index) {
    const struct job *job = arg;
    int64_t at = index * job->block;
    job->loops->encode(job->grid, job->x + at, job->codes + at, length(job, index));
}

static void look_block(void *arg, int64_t index) {
    struct job *job = arg;
    job->loops->stats(job->x + index * job->block, length(job, index), &job->stats[index]);
}

void fake_forward(const pare_host *host, const struct fake_grid *grid, const float *x, float *y,
                  int64_t n) {
    struct job job = {.loops = fake_best(), .grid = grid, .x = x, .out = y, .n = n};
    host->parallel_for(host, cut(&job), forward_block, &job);
}

struct fake_sums fake_backward(const pare_host *host, const struct fake_grid *grid, const float *x,
                               const float *g, float *gx, int64_t n) {
    struct job job = {.loops = fake_best(), .grid = grid, .x = x, .g = g, .out = gx, .n = n};
    int64_t n_blocks = cut(&job);
    struct fake_sums sums = {0};
    host->parallel_for(host, n_blocks, backward_block, &job);
    for (int64_t k = 0; k < n_blocks; k++) {
        sums.inside += job.sums[k].inside;
        sums.low += job.sums[k].low;
        sums.high += job.sums[k].high;
    }
    return sums;
}

void fake_encode(const pare_host *host, const struct fake_grid *grid, const float *x,
                 int16_t *codes, int64_t n) {
    struct job job = {.loops = fake_best(), .grid = grid, .x = x, .codes = codes, .n = n};
    host->parallel_for(host, cut(&job), encode_block, &job);
}

struct fake_stats fake_look(const pare_host *host, const float *x, int64_t n) {
    struct job job = {.loops = fake_best(), .x = x, .n = n};
    int64_t n_blocks = cut(&job);
    struct fake_stats all = {INFINITY, -INFINITY, 0.0};
    host->parallel_for(host, n_blocks, look_block, &job);
    for (int64_t k = 0; k < n_blocks; k++) {
        all.min = job.stats[k].min < all.min ? job.stats[k].min : all.min;
        all.max = job.stats[k].max > all.max ? job.stats[k].max : all.max;
        all.abs_sum += job.stats[k].abs_sum;
    }
    return all;
}
