/* SPDX-License-Identifier: MIT */
#include "entropy.h"

#include <math.h>

/* Sums over the bins before a place, so that a merged level costs the same however wide it is. */
struct sums {
    double count[ENTROPY_N_BINS + 1];
    double filled[ENTROPY_N_BINS + 1]; /* bins that are not empty */
    double x_log_x[ENTROPY_N_BINS + 1];
};

static double x_log_x(double x) {
    return x > 0.0 ? x * log(x) : 0.0;
}

static void add_up(const int64_t *bins, struct sums *sums) {
    sums->count[0] = sums->filled[0] = sums->x_log_x[0] = 0.0;
    for (int k = 0; k < ENTROPY_N_BINS; k++) {
        const double n = (double)bins[k > 0 ? k : 1];
        sums->count[k + 1] = sums->count[k] + n;
        sums->filled[k + 1] = sums->filled[k] + (n > 0.0);
        sums->x_log_x[k + 1] = sums->x_log_x[k] + x_log_x(n);
    }
}

/* With N counts in all and S of them kept, P / N and Q / S have the divergence
 *     (sum P log P - sum over levels of P_level log(Q of its bins)) / N + log(S / N). */
static double divergence(const struct sums *s, int n_kept, int n_levels) {
    const double n = s->count[ENTROPY_N_BINS];
    const double kept = s->count[n_kept];
    const double beyond = n - kept;
    const double last = s->count[n_kept] - s->count[n_kept - 1];
    double sum = s->x_log_x[n_kept - 1] + x_log_x(last + beyond);
    for (int level = 0; level < n_levels; level++) {
        const int from = (int)((int64_t)level * n_kept / n_levels);
        const int to = (int)((int64_t)(level + 1) * n_kept / n_levels);
        const int is_last = to == n_kept;
        const double merged = s->count[to] - s->count[from];
        const double p = merged + (is_last ? beyond : 0.0);
        const double filled =
            s->filled[to] - s->filled[from] + (is_last && last <= 0.0 && beyond > 0.0);
        if (p > 0.0 && merged <= 0.0) {
            return INFINITY; /* Q is 0 where P is not */
        }
        sum -= p > 0.0 ? p * log(merged / filled) : 0.0;
    }
    return kept > 0.0 ? sum / n + log(kept / n) : INFINITY;
}

int entropy_clip(const int64_t *bins, int n_levels) {
    struct sums sums;
    int best = ENTROPY_N_BINS;
    double least = INFINITY;
    add_up(bins, &sums);
    for (int n_kept = ENTROPY_N_BINS; n_kept >= n_levels; n_kept--) {
        const double found = divergence(&sums, n_kept, n_levels);
        if (found < least) {
            least = found;
            best = n_kept;
        }
    }
    return best;
}
