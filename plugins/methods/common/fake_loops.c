/* SPDX-License-Identifier: MIT */
#include "fake_loops.h"

#include <math.h>
#include <string.h>

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

/* A piece of a tensor, small enough for the first cache: what passes through, and what each element
 * adds to the three sums. Elementwise into arrays of its own, so that it vectorizes. */
enum { PIECE = 256 };

struct piece {
    float through[PIECE], inside[PIECE], low[PIECE], high[PIECE];
};

/* One comparison in a loop: compilers turn several into branches, which are ten times slower. */
static void back(const struct fake_grid *grid, const float *x, const float *g, int n,
                 struct piece *restrict p) {
    const float scale = grid->scale, lo = grid->lo, hi = grid->hi;
    float t[PIECE], not_low[PIECE];
    for (int i = 0; i < n; i++) {
        t[i] = x[i] / scale;
    }
    for (int i = 0; i < n; i++) {
        const float v = g[i];
        not_low[i] = t[i] > lo ? v : 0.0f;
    }
    for (int i = 0; i < n; i++) {
        const float v = not_low[i];
        p->through[i] = t[i] < hi ? v : 0.0f;
    }
    for (int i = 0; i < n; i++) {
        const float c = clamp(t[i], lo, hi);
        p->inside[i] = p->through[i] * (((c + MAGIC) - MAGIC) - c);
        p->low[i] = g[i] - not_low[i];
        p->high[i] = not_low[i] - p->through[i];
    }
}

/* Element i of all pieces goes to lane i % LANES, in order. */
static inline void add_up(const float *part, float *lanes) {
    for (int i = 0; i < PIECE; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lanes[j] += part[i + j];
        }
    }
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
    struct piece p;
    float inside[LANES] = {0}, low[LANES] = {0}, high[LANES] = {0};
    for (int64_t at = 0; at < n; at += PIECE) {
        if (n - at >= PIECE) {
            back(grid, x + at, g + at, PIECE, &p);
            memcpy(gx + at, p.through, sizeof p.through);
        } else {
            memset(&p, 0, sizeof p);
            back(grid, x + at, g + at, (int)(n - at), &p);
            memcpy(gx + at, p.through, (size_t)(n - at) * sizeof *gx);
        }
        add_up(p.inside, inside);
        add_up(p.low, low);
        add_up(p.high, high);
    }
    sums->inside += sum_lanes(inside);
    sums->low += sum_lanes(low);
    sums->high += sum_lanes(high);
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
        const float *v = x + i;
        for (int j = 0; j < LANES; j++) {
            min[j] = v[j] < min[j] ? v[j] : min[j];
            max[j] = v[j] > max[j] ? v[j] : max[j];
            abs_sum[j] += fabsf(v[j]);
        }
    }
    for (int j = 0; i < n; i++, j++) {
        min[j] = x[i] < min[j] ? x[i] : min[j];
        max[j] = x[i] > max[j] ? x[i] : max[j];
        abs_sum[j] += fabsf(x[i]);
    }
    *out = (struct fake_stats){INFINITY, -INFINITY, sum_lanes(abs_sum)};
    for (int j = 0; j < LANES; j++) {
        out->min = min[j] < out->min ? min[j] : out->min;
        out->max = max[j] > out->max ? max[j] : out->max;
    }
}

const struct fake_loops FAKE_LOOPS = {forward, backward, encode, stats};
