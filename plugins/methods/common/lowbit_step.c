/* SPDX-License-Identifier: MIT */
#include "lowbit_step.h"

#include <float.h>
#include <math.h>

float lowbit_step_size(double value) {
    return value >= (double)FLT_MIN || !(value == value) ? (float)value : FLT_MIN;
}

double lowbit_step_gradient(const struct fake_sums *sums, double lo, double hi, double n,
                            double qmax) {
    return (sums->inside + lo * sums->low + hi * sums->high) / sqrt(n * qmax);
}

static int has_offset(const struct lowbit *lb, const struct lowbit_value *slot) {
    return slot->is_signed && lb->has_offset;
}

/* Q_n and Q_p as codes: unsigned for values that are never negative, and with an offset. */
static void bounds(const struct lowbit *lb, const struct lowbit_value *slot, int32_t *lo,
                   int32_t *hi) {
    const int32_t levels = 1 << slot->bits;
    *lo = slot->is_signed && !has_offset(lb, slot) ? -levels / 2 : 0;
    *hi = *lo + levels - 1;
}

/* LSQ as for weights; LSQ+ covers what is seen: s = (max - min) / (Q_p - Q_n), beta = min - Q_n s.
 */
static void value_start(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_stats *stats, int64_t n) {
    int32_t lo, hi;
    bounds(lb, slot, &lo, &hi);
    const double mean = stats->abs_sum / (double)n;
    slot->scale = learned_at(2.0 * mean / sqrt((double)hi));
    slot->offset = learned_at(0.0);
    if (has_offset(lb, slot)) {
        const double min = fmin((double)stats->min, 0.0);
        const double max = fmax((double)stats->max, 0.0);
        slot->scale = learned_at((max - min) / (double)(hi - lo));
        slot->offset = learned_at(min);
    }
}

/* The offset is a whole number of steps, so that it is a zero point, and leaves 0 on the grid. */
static struct grid value_grid(const struct lowbit *lb, const struct lowbit_value *slot) {
    int32_t lo, hi;
    bounds(lb, slot, &lo, &hi);
    const float scale = lowbit_step_size(slot->scale.value);
    const double steps = rint(slot->offset.value / (double)scale);
    const int32_t shift = (int32_t)fmin(fmax(steps, (double)-hi), (double)-lo);
    const int32_t qmin = -(1 << (slot->bits - 1));
    return (struct grid){scale, qmin - lo - (has_offset(lb, slot) ? shift : 0), qmin,
                         qmin + hi - lo};
}

/* Bhalgat & al., equations 5 and 6; without offset they are those of LSQ. */
static void value_learn(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_sums *sums) {
    int32_t lo, hi;
    bounds(lb, slot, &lo, &hi);
    const double n = (double)slot->n_features;
    slot->scale.gradient += lowbit_step_gradient(sums, (double)lo, (double)hi, n, (double)hi);
    if (has_offset(lb, slot)) {
        slot->offset.gradient += (sums->low + sums->high) / sqrt(n * (double)hi);
    }
}

static void value_step(struct lowbit *lb, struct lowbit_value *slot, double lr) {
    learned_step_positive(&slot->scale, lr);
    if (has_offset(lb, slot)) {
        learned_step(&slot->offset, lr);
    }
}

const struct lowbit_value_ops lowbit_value_step = {
    .start = value_start,
    .grid = value_grid,
    .learn = value_learn,
    .step = value_step,
};
