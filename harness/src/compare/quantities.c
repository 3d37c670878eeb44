/* SPDX-License-Identifier: MIT */
#include "compare/quantities.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fewer degrees of freedom know the noise from run to run too badly to be of use. */
#define MIN_DF 4
/* Without repeats it is taken to be three times what the interval of one run shows, and a bit more:
 * README.md tells how that was measured. */
#define UNREPEATED_FACTOR 3.0
#define UNREPEATED_ERROR 0.003

void context_prepare(struct context *context) {
    size_t n = context->n_tests > 0 ? context->n_tests : 1;
    context->one = interval_factor(1, 0);
    context->all = interval_factor(n, 0);
    for (int basis = 0; basis < N_BASES; basis++) {
        size_t df = context->noise[basis].df >= MIN_DF ? context->noise[basis].df : 0;
        context->one_of[basis] = interval_factor(1, df);
        context->all_of[basis] = interval_factor(n, df);
    }
}

static double number(const struct side_arm *arm, enum side_number column) {
    return side_last(arm)->numbers[column];
}

static int same_text(const struct pair *pair, enum side_text text) {
    return strcmp(side_last(pair->base)->texts[text], side_last(pair->new)->texts[text]) == 0;
}

static void give_reason(struct change *change, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void give_reason(struct change *change, enum verdict verdict, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(change->reason, sizeof change->reason, format, list);
    va_end(list);
    change->verdict = verdict;
}

/* What both files must have, or there is nothing to compare; 0: done already. */
static int both_have(const struct pair *pair, enum side_number column, struct change *out) {
    int base = !isnan(number(pair->base, column)), new = !isnan(number(pair->new, column));
    *out = (struct change){.is_compared = base || new, .basis = "", .verdict = VERDICT_SAME};
    out->value = out->lo = out->hi = NAN;
    if (base && !new)
        give_reason(out, VERDICT_FAILED, "%s is empty in NEW", side_number_name(column));
    if (!base && new)
        out->is_compared = 0; /* more is measured now: no change for the worse or the better */
    return base && new;
}

/* Repeats of one arm must agree where nothing is left to chance. */
static int repeats_agree(const struct side_arm *arm, enum side_number column, struct change *out) {
    for (size_t k = 1; k < arm->n; k++) {
        double a = arm->rows[k - 1]->numbers[column], b = arm->rows[k]->numbers[column];
        if (a < b || a > b) {
            give_reason(out, VERDICT_INCONCLUSIVE,
                        "%s differs between lines %zu and %zu of one file",
                        side_number_name(column), arm->rows[k - 1]->line, arm->rows[k]->line);
            return 0;
        }
    }
    return 1;
}

/* ---- latency ---- */

static const enum side_number basis_columns[N_BASES][3] = {
    {NUMBER_ratio, NUMBER_ratio_ci_lo, NUMBER_ratio_ci_hi},
    {NUMBER_median_ns, NUMBER_median_ci_lo_ns, NUMBER_median_ci_hi_ns}};

static double log_cell(const struct side_row *row, enum basis basis) {
    return log(row->numbers[basis_columns[basis][0]]);
}

void noise_add(struct noise *noise, const struct side_arm *arm, enum basis basis) {
    double sum = 0, squares = 0;
    size_t n = 0;
    for (size_t k = 0; k < arm->n; k++) {
        double y = log_cell(arm->rows[k], basis);
        if (isnan(y))
            continue;
        n++;
        squares += (double)(n - 1) / (double)n * (y - sum) * (y - sum); /* Welford */
        sum += (y - sum) / (double)n;
    }
    if (n > 1) {
        noise->sum_squares += squares;
        noise->df += n - 1;
    }
}

struct estimate {
    double value;    /* mean of the logarithms of its repeats */
    double variance; /* of one of them, from its interval; NaN without one */
    double n;
};

static struct estimate estimate(const struct side_arm *arm, enum basis basis) {
    double sum = 0, within = 0, n = 0;
    for (size_t k = 0; k < arm->n; k++) {
        const double *cells = arm->rows[k]->numbers;
        double y = log_cell(arm->rows[k], basis);
        double e =
            interval_log_error(cells[basis_columns[basis][1]], cells[basis_columns[basis][2]]);
        if (isnan(y))
            continue;
        sum += y;
        within += e * e;
        n++;
    }
    return (struct estimate){sum / n, within / n, n};
}

/* Variance of one run of an arm. With repeats: what all arms together show or, where that is more,
 * what this arm shows, for some are noisier than others. */
static double run_variance(const struct pair *pair, enum basis basis, const struct context *context,
                           double within) {
    const struct noise *all = &context->noise[basis];
    struct noise own = {0};
    if (all->df < MIN_DF)
        return UNREPEATED_FACTOR * UNREPEATED_FACTOR * within + UNREPEATED_ERROR * UNREPEATED_ERROR;
    noise_add(&own, pair->base, basis);
    noise_add(&own, pair->new, basis);
    double variance = fmax(within, all->sum_squares / (double)all->df);
    return own.df > 0 ? fmax(variance, own.sum_squares / (double)own.df) : variance;
}

static struct interval change_of_basis(const struct pair *pair, enum basis basis,
                                       const struct context *context) {
    struct estimate base = estimate(pair->base, basis), new = estimate(pair->new, basis);
    double variance = run_variance(pair, basis, context, base.variance) / base.n +
                      run_variance(pair, basis, context, new.variance) / new.n;
    double value = new.value - base.value, error = sqrt(variance);
    double one = context->one_of[basis] * error, all = context->all_of[basis] * error;
    return (struct interval){value, value - one, value + one, value - all, value + all};
}

static double least(const struct side_arm *arm, enum side_number column) {
    double min = NAN;
    for (size_t k = 0; k < arm->n; k++)
        min = fmin(min, arm->rows[k]->numbers[column]);
    return min;
}

/* Two times that were not taken in turns: the machine may have changed between them. The interval
 * is widened to hold the change of the fastest query, which neighbours disturb least, and the
 * change that is left when the machine's own peak is allowed for. A change of the code moves all
 * three. */
static struct interval change_of_time(const struct pair *pair, const struct context *context) {
    struct interval change = change_of_basis(pair, BASIS_TIME, context);
    double fastest = log(least(pair->new, NUMBER_min_ns) / least(pair->base, NUMBER_min_ns));
    double peak = log(number(pair->new, NUMBER_peak_gmacs) / number(pair->base, NUMBER_peak_gmacs));
    if (isnan(change.lo))
        return change;
    const double others[] = {fastest, change.value + peak};
    for (size_t k = 0; k < 2; k++) {
        if (isnan(others[k]))
            continue;
        change.lo = fmin(change.lo, others[k]);
        change.hi = fmax(change.hi, others[k]);
        change.all_lo = fmin(change.all_lo, others[k]);
        change.all_hi = fmax(change.all_hi, others[k]);
    }
    return change;
}

int pair_has_ratio(const struct pair *pair) {
    return !isnan(number(pair->base, NUMBER_ratio)) && !isnan(number(pair->new, NUMBER_ratio)) &&
           same_text(pair, TEXT_ratio_arm_id);
}

/* Did an arm differ from itself, by more than half of what is looked for? */
static int control_differs(const struct side_arm *arm, const struct context *context,
                           double *change) {
    const double *cells = side_last(arm)->numbers;
    double error = interval_log_error(cells[NUMBER_aa_ratio_ci_lo], cells[NUMBER_aa_ratio_ci_hi]);
    double half = context->all * error, value = log(cells[NUMBER_aa_ratio]);
    struct interval interval = {value, value - half, value + half, value - half, value + half};
    enum verdict verdict = interval_judge(&interval, 0.5 * log1p(context->options->threshold), 1);
    *change = cells[NUMBER_aa_ratio] - 1;
    return verdict == VERDICT_REGRESSED || verdict == VERDICT_IMPROVED;
}

/* What makes two latencies incomparable. 0: something does, and *out says so. */
static int latencies_compare(const struct pair *pair, const struct context *context,
                             struct change *out) {
    double control = 0;
    if (fabs(number(pair->base, NUMBER_samples_per_query) -
             number(pair->new, NUMBER_samples_per_query)) > 0)
        give_reason(out, VERDICT_INCONCLUSIVE, "samples_per_query differs");
    else if (!same_text(pair, TEXT_cache_state))
        give_reason(out, VERDICT_INCONCLUSIVE, "cache_state differs");
    else if (control_differs(pair->base, context, &control))
        give_reason(out, VERDICT_INCONCLUSIVE, "in BASE the arm differs from itself by %+.1f %%",
                    100 * control);
    else if (control_differs(pair->new, context, &control))
        give_reason(out, VERDICT_INCONCLUSIVE, "in NEW the arm differs from itself by %+.1f %%",
                    100 * control);
    else
        return 1;
    return 0;
}

/* Why a time alone does not decide. */
static void explain_time(const struct pair *pair, int noise_is_known, struct change *out) {
    const char *base = side_last(pair->base)->texts[TEXT_disturbed];
    const char *new = side_last(pair->new)->texts[TEXT_disturbed];
    if (!noise_is_known)
        give_reason(out, VERDICT_INCONCLUSIVE,
                    "no ratio: its time alone counts only with repeats of both files");
    else if (base[0] || new[0])
        give_reason(out, VERDICT_INCONCLUSIVE, "time not resolved; disturbed in %s: %.80s",
                    base[0] ? "BASE" : "NEW", base[0] ? base : new);
    else
        give_reason(out, VERDICT_INCONCLUSIVE, "time not resolved");
}

enum verdict pair_time(const struct pair *pair, const struct context *context,
                       struct interval *change) {
    *change = change_of_time(pair, context);
    return interval_judge(change, log1p(context->options->threshold), 1);
}

void compare_latency(const struct pair *pair, const struct context *context, struct change *out) {
    if (!both_have(pair, NUMBER_median_ns, out))
        return;
    int by_ratio = pair_has_ratio(pair);
    int noise_is_known = by_ratio || context->noise[BASIS_TIME].df >= MIN_DF;
    if (!by_ratio && context->options->across_machines) {
        out->is_compared = 0; /* times of two machines */
        return;
    }
    struct interval change;
    enum verdict verdict = pair_time(pair, context, &change);
    if (by_ratio) {
        change = change_of_basis(pair, BASIS_RATIO, context);
        verdict = interval_judge(&change, log1p(context->options->threshold), 1);
    }
    out->basis = by_ratio ? "ratio" : "time";
    out->value = expm1(change.value);
    out->lo = expm1(change.lo);
    out->hi = expm1(change.hi);
    if (!latencies_compare(pair, context, out))
        return;
    out->verdict = verdict;
    if (isnan(out->lo))
        give_reason(out, VERDICT_INCONCLUSIVE, "too few samples for an interval");
    else if (by_ratio && verdict == VERDICT_INCONCLUSIVE)
        give_reason(out, VERDICT_INCONCLUSIVE, "ratio not resolved (allowing for %zu comparisons)",
                    context->n_tests);
    else if (!by_ratio &&
             (verdict == VERDICT_INCONCLUSIVE || (verdict != VERDICT_SAME && !noise_is_known)))
        explain_time(pair, noise_is_known, out);
}

/* ---- accuracy ---- */

/* Samples on which the two networks can differ: each that either does not share with the baseline,
 * if that is the same one in both files. -1: unknown. */
static int64_t most_discordant(const struct pair *pair) {
    static const enum side_number counts[] = {NUMBER_flips_lost, NUMBER_flips_won};
    double sum = 0;
    if (!same_text(pair, TEXT_base_sha256) || !side_last(pair->base)->texts[TEXT_base_sha256][0] ||
        !(fabs(number(pair->base, NUMBER_top1_baseline) -
               number(pair->new, NUMBER_top1_baseline)) <= 0))
        return -1;
    for (size_t k = 0; k < 2; k++)
        sum += number(pair->base, counts[k]) + number(pair->new, counts[k]);
    return sum >= 0 && sum < 1e12 ? (int64_t)sum : -1;
}

/* The interval of a difference of shares: paired where that is known, and narrower. Both hold, and
 * the choice rests on how many samples may differ, not on which of the two networks won them. */
static void shares(int64_t k_base, int64_t k_new, int64_t n, int64_t discordant, double factor,
                   double *lo, double *hi) {
    double paired_lo, paired_hi;
    interval_newcombe(k_base, k_new, n, factor, lo, hi);
    if (discordant < llabs(k_new - k_base))
        return;
    interval_paired(k_base, k_new, n, discordant, factor, &paired_lo, &paired_hi);
    if (paired_hi - paired_lo < *hi - *lo) {
        *lo = paired_lo;
        *hi = paired_hi;
    }
}

void compare_top1(const struct pair *pair, const struct context *context, struct change *out) {
    if (!both_have(pair, NUMBER_top1, out) || !repeats_agree(pair->base, NUMBER_top1, out) ||
        !repeats_agree(pair->new, NUMBER_top1, out))
        return;
    double n_samples = number(pair->base, NUMBER_n_samples);
    if (!(n_samples >= 1 && fabs(n_samples - number(pair->new, NUMBER_n_samples)) <= 0) ||
        !same_text(pair, TEXT_split) || !same_text(pair, TEXT_dataset)) {
        give_reason(out, VERDICT_INCONCLUSIVE, "top1 is not of the same samples");
        return;
    }
    int64_t n = (int64_t)n_samples;
    int64_t k_base = llround(number(pair->base, NUMBER_top1) * n_samples);
    int64_t k_new = llround(number(pair->new, NUMBER_top1) * n_samples);
    struct interval change;
    interval_exact((double)(k_new - k_base) / n_samples, &change);
    shares(k_base, k_new, n, most_discordant(pair), context->one, &change.lo, &change.hi);
    shares(k_base, k_new, n, most_discordant(pair), context->all, &change.all_lo, &change.all_hi);
    out->value = change.value;
    out->lo = change.lo;
    out->hi = change.hi;
    out->verdict = interval_judge(&change, context->options->threshold_top1, -1);
    if (out->verdict != VERDICT_INCONCLUSIVE)
        return;
    if (fabs(change.value) <= context->options->threshold_top1)
        out->verdict = VERDICT_SAME; /* what both got right of the same samples is known exactly */
    else
        give_reason(out, VERDICT_INCONCLUSIVE,
                    "top1 changed by less than chance can on %lld samples", (long long)n);
}

/* ---- sizes ---- */

void compare_bytes(const struct pair *pair, const struct context *context, enum side_number column,
                   struct change *out) {
    if (!both_have(pair, column, out) || !repeats_agree(pair->base, column, out) ||
        !repeats_agree(pair->new, column, out))
        return;
    double base = number(pair->base, column), new = number(pair->new, column);
    double value = base > 0 ? new / base - 1 : new > 0 ? INFINITY : 0;
    struct interval change;
    interval_exact(value, &change);
    out->value = out->lo = out->hi = value;
    out->verdict = interval_judge(&change, context->options->threshold_bytes, 1);
}

size_t pair_n_tests(const struct pair *pair, int across_machines) {
    int latency = !isnan(number(pair->base, NUMBER_median_ns)) &&
                  !isnan(number(pair->new, NUMBER_median_ns)) &&
                  (!across_machines || pair_has_ratio(pair));
    int top1 = !isnan(number(pair->base, NUMBER_top1)) && !isnan(number(pair->new, NUMBER_top1));
    return (size_t)latency + (size_t)top1;
}
