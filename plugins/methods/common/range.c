/* SPDX-License-Identifier: MIT */
#include "range.h"
#include "entropy.h"
#include "grid.h"

#include <math.h>
#include <string.h>

int range_parse_observer(const char *name) {
    static const char *const names[] = {"minmax", "moving_average", "percentile", "mse", "entropy"};
    for (int k = 0; k < (int)(sizeof names / sizeof names[0]); k++) {
        if (strcmp(name, names[k]) == 0) {
            return k;
        }
    }
    return -1;
}

int range_see(struct range *range, const struct range_rule *rule, const float *values, int64_t n,
              int64_t *where) {
    float lo = values[0];
    float hi = values[0];
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            *where = i;
            return -1;
        }
        lo = values[i] < lo ? values[i] : lo;
        hi = values[i] > hi ? values[i] : hi;
    }
    if (range->n_batches == 0) {
        range->lo = lo;
        range->hi = hi;
    } else if (rule->observer == OBSERVER_MOVING_AVERAGE) {
        range->lo = rule->momentum * range->lo + (1.0 - rule->momentum) * (double)lo;
        range->hi = rule->momentum * range->hi + (1.0 - rule->momentum) * (double)hi;
    } else {
        range->lo = fmin(range->lo, lo);
        range->hi = fmax(range->hi, hi);
    }
    range->n_batches++;
    return 0;
}

static double bin_width(const struct range *range) {
    return (range->hi - range->lo) / RANGE_N_BINS;
}

int range_needs_bins(const struct range_rule *rule) {
    return rule->observer == OBSERVER_PERCENTILE || rule->observer == OBSERVER_MSE ||
           rule->observer == OBSERVER_ENTROPY;
}

static double largest_magnitude(const struct range *range) {
    return fmax(fabs(range->lo), fabs(range->hi));
}

void range_count(struct range *range, const struct range_rule *rule, const float *values,
                 int64_t n) {
    const int is_entropy = rule->observer == OBSERVER_ENTROPY;
    const int64_t n_bins = is_entropy ? ENTROPY_N_BINS : RANGE_N_BINS;
    const double width = is_entropy ? largest_magnitude(range) / ENTROPY_N_BINS : bin_width(range);
    const double per_width = width > 0.0 ? 1.0 / width : 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double value = (double)values[i];
        const double at = (is_entropy ? fabs(value) : value - range->lo) * per_width;
        const int64_t bin = at >= (double)n_bins ? n_bins - 1 : at > 0.0 ? (int64_t)at : 0;
        range->bins[bin]++;
    }
    range->n_seen += n;
}

/* Leaves (100 - percentile) percent of the values outside on each side. Bins are given up from the
 * outside in, as long as no more than that is lost. */
static void percentile(const struct range *range, double percent, double *lo, double *hi) {
    double may_lose = (100.0 - percent) / 100.0 * (double)range->n_seen;
    int first = 0;
    int last = RANGE_N_BINS - 1;
    double lost = (double)range->bins[first];
    while (first < last && lost <= may_lose) {
        lost += (double)range->bins[++first];
    }
    lost = (double)range->bins[last];
    while (last > first && lost <= may_lose) {
        lost += (double)range->bins[--last];
    }
    *lo = range->lo + first * bin_width(range);
    *hi = range->lo + (last + 1) * bin_width(range);
}

static double histogram_error(const struct range *range, const struct grid *grid) {
    double sum = 0.0;
    for (int k = 0; k < RANGE_N_BINS; k++) {
        if (range->bins[k] > 0) {
            double centre = range->lo + (k + 0.5) * bin_width(range);
            sum += (double)range->bins[k] * grid_error(grid, centre);
        }
    }
    return sum;
}

static double clip_error(const struct range *range, const struct range_rule *rule, double lo,
                         double hi) {
    struct grid grid =
        rule->is_symmetric ? grid_symmetric(lo, hi, rule->bits) : grid_affine(lo, hi, rule->bits);
    return histogram_error(range, &grid);
}

/* The clip of least error; the widest of equals. First both ends together, k/80 of the range; then
 * each end by itself, because the ends of a skewed value are of different use. */
static void least_error(const struct range *range, const struct range_rule *rule, double *lo,
                        double *hi) {
    const double ends[2] = {*lo, *hi};
    double clip[2] = {*lo, *hi};
    double least = INFINITY;
    for (int stage = 0; stage < 3; stage++) { /* both, hi, lo */
        double best[2] = {clip[0], clip[1]};
        for (int k = GRID_N_CLIPS; k >= 1; k--) {
            double part = (double)k / GRID_N_CLIPS;
            double low = stage == 1 ? clip[0] : part * ends[0];
            double high = stage == 2 ? clip[1] : part * ends[1];
            double error = clip_error(range, rule, low, high);
            if (error < least) {
                least = error;
                best[0] = low;
                best[1] = high;
            }
        }
        clip[0] = best[0];
        clip[1] = best[1];
    }
    *lo = clip[0];
    *hi = clip[1];
}

/* The same clip of magnitudes for both ends. All codes of an affine grid lie on the one side of a
 * value that has one side only, otherwise half of them. */
static void least_divergence(const struct range *range, const struct range_rule *rule, double *lo,
                             double *hi) {
    const int has_one_side = *lo >= 0.0 || *hi <= 0.0;
    const int bits = rule->is_symmetric || !has_one_side ? rule->bits - 1 : rule->bits;
    const int n_levels = bits < 11 ? 1 << bits : ENTROPY_N_BINS;
    const double clip =
        largest_magnitude(range) / ENTROPY_N_BINS * (double)entropy_clip(range->bins, n_levels);
    *lo = fmax(*lo, -clip);
    *hi = fmin(*hi, clip);
}

void range_final(const struct range *range, const struct range_rule *rule, double *lo, double *hi) {
    double low = range->lo;
    double high = range->hi;
    if (rule->observer == OBSERVER_PERCENTILE && range->bins && high > low) {
        percentile(range, rule->percentile, &low, &high);
    }
    low = fmin(low, 0.0);
    high = fmax(high, 0.0);
    if (rule->observer == OBSERVER_MSE && range->bins) {
        least_error(range, rule, &low, &high);
    }
    if (rule->observer == OBSERVER_ENTROPY && range->bins) {
        least_divergence(range, rule, &low, &high);
    }
    *lo = low;
    *hi = high;
}
