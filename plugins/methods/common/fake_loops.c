/* SPDX-License-Identifier: MIT */
#include "fake_loops.h"

#include <math.h>

#ifndef FAKE_LOOPS
#define FAKE_LOOPS fake_loops_base
#endif

enum { LANES = 16 };

/* Adding and taking away 1.5 * 2^23 rounds to a whole number, half to even. */
static const float MAGIC = 12582912.0f;

/* A NaN becomes lo, as in the backends. */
static inline float clamp(float t, float lo, float hi) {
    t = t > lo ? t : lo;
    return t < hi ? t : hi;
}

/* Clamping first changes nothing: lo and hi are whole numbers. */
static inline float round_clamped(float t, float lo, float hi) {
    return (clamp(t, lo, hi) + MAGIC) - MAGIC;
}

static void forward(const struct fake_grid *grid, const float *x, float *restrict y, int64_t n) {
    const float scale = grid->scale, lo = grid->lo, hi = grid->hi;
    for (int64_t i = 0; i < n; i++) {
        y[i] = scale * round_clamped(x[i] / scale, lo, hi);
    }
}

static void encode(const struct fake_grid *grid, const float *x, int16_t *restrict codes,
                   int64_t n) {
    const float scale = grid->scale, lo = grid->lo, hi = grid->hi;
    for (int64_t i = 0; i < n; i++) {
        codes[i] = (int16_t)round_clamped(x[i] / scale, lo, hi);
    }
}

/* One element: its gradient; its shares are added to the three sums. */
static inline float back(const struct fake_grid *grid, float x, float g, float *inside, float *low,
                         float *high) {
    const float t = x / grid->scale;
    const float r = round_clamped(t, grid->lo, grid->hi);
    const float at_low = t > grid->lo ? 0.0f : g;
    const float at_high = t >= grid->hi ? g : 0.0f;
    const float through = t > grid->lo && t < grid->hi ? g : 0.0f;
    *inside += t > grid->lo && t < grid->hi ? g * (r - t) : 0.0f;
    *low += at_low;
    *high += at_high;
    return through;
}

static double sum_lanes(const float *lanes) {
    double sum = 0.0;
    for (int j = 0; j < LANES; j++) {
        sum += (double)lanes[j];
    }
    return sum;
}

static void backward(const struct fake_grid *grid, const float *x, const float *g, float *gx,
                     int64_t n, struct fake_sums *sums) {
    const struct fake_grid q = *grid;
    float inside[LANES] = {0}, low[LANES] = {0}, high[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float out[LANES];
        for (int j = 0; j < LANES; j++) {
            out[j] = back(&q, x[i + j], g[i + j], &inside[j], &low[j], &high[j]);
        }
        for (int j = 0; j < LANES; j++) {
            gx[i + j] = out[j];
        }
    }
    for (int j = 0; i < n; i++, j++) {
        gx[i] = back(&q, x[i], g[i], &inside[j], &low[j], &high[j]);
    }
    sums->inside += sum_lanes(inside);
    sums->low += sum_lanes(low);
    sums->high += sum_lanes(high);
}

static inline void look(float x, float *min, float *max, float *abs_sum) {
    *min = x < *min ? x : *min;
    *max = x > *max ? x : *max;
    *abs_sum += fabsf(x);
}

static void stats(const float *x, int64_t n, struct fake_stats *out) {
    float min[LANES], max[LANES], abs_sum[LANES];
    for (int j = 0; j < LANES; j++) {
        min[j] = INFINITY;
        max[j] = -INFINITY;
        abs_sum[j] = 0.0f;
    }
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            look(x[i + j], &min[j], &max[j], &abs_sum[j]);
        }
    }
    for (int j = 0; i < n; i++, j++) {
        look(x[i], &min[j], &max[j], &abs_sum[j]);
    }
    *out = (struct fake_stats){INFINITY, -INFINITY, sum_lanes(abs_sum)};
    for (int j = 0; j < LANES; j++) {
        out->min = min[j] < out->min ? min[j] : out->min;
        out->max = max[j] > out->max ? max[j] : out->max;
    }
}

const struct fake_loops FAKE_LOOPS = {forward, backward, encode, stats};
