/* SPDX-License-Identifier: MIT */
#include "lowbit_minmax.h"

#include "grid.h"

#include <math.h>

/* ---- weights ---- */

static void weight_start(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    (void)lb, (void)w;
    slot->qmax = (1 << (slot->bits - 1)) - 1;
    slot->stored_bits = slot->bits;
}

struct work {
    struct lowbit_weight *slot;
    const float *w;
};

static void encode_channel(void *arg, int64_t channel) {
    const struct work *work = arg;
    struct lowbit_weight *slot = work->slot;
    int64_t n = slot->n_elems / slot->n_scales;
    const float *w = work->w + channel * n;
    struct fake_stats stats;
    fake_best()->stats(w, n, &stats);
    double most = fmax(fabs((double)stats.min), fabs((double)stats.max));
    struct grid grid = grid_symmetric(-most, most, slot->bits);
    slot->scales[channel] = grid.scale;
    const struct fake_grid fake = fake_grid_of(&grid);
    fake_best()->encode(&fake, w, slot->codes + channel * n, n);
}

static void weight_encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    struct work work = {slot, w};
    lb->host->parallel_for(lb->host, slot->n_scales, encode_channel, &work);
}

/* Straight through: no weight lies outside its range. */
static void weight_backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                            const float *g, float *gw) {
    (void)lb, (void)w;
    for (int64_t i = 0; i < slot->n_elems; i++) {
        gw[i] = g[i];
    }
}

const struct lowbit_weight_ops lowbit_weight_minmax = {
    .start = weight_start,
    .encode = weight_encode,
    .backward = weight_backward,
};

/* ---- values ---- */

static void value_start(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_stats *stats, int64_t n) {
    (void)lb, (void)n;
    slot->lo = (double)stats->min;
    slot->hi = (double)stats->max;
}

static void value_see(struct lowbit *lb, struct lowbit_value *slot, const struct fake_stats *stats,
                      int64_t n) {
    (void)n;
    const double lo = (double)stats->min, hi = (double)stats->max;
    if (lb->kept == 1.0) {
        slot->lo = fmin(slot->lo, lo);
        slot->hi = fmax(slot->hi, hi);
    } else {
        slot->lo = lb->kept * slot->lo + (1.0 - lb->kept) * lo;
        slot->hi = lb->kept * slot->hi + (1.0 - lb->kept) * hi;
    }
}

static struct grid value_grid(const struct lowbit *lb, const struct lowbit_value *slot) {
    (void)lb;
    return grid_affine(slot->lo, slot->hi, slot->bits);
}

const struct lowbit_value_ops lowbit_value_average = {
    .start = value_start,
    .see = value_see,
    .grid = value_grid,
};
