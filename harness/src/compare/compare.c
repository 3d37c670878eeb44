/* SPDX-License-Identifier: MIT */
#include "compare/compare.h"

#include "compare/namesake.h"
#include "compare/quantities.h"
#include "compare/side.h"
#include "core/alloc.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *verdict_name(enum verdict verdict) {
    static const char *const names[N_VERDICTS] = {[VERDICT_REGRESSED] = "regressed",
                                                  [VERDICT_FAILED] = "failed-to-measure",
                                                  [VERDICT_INCONCLUSIVE] = "inconclusive",
                                                  [VERDICT_IMPROVED] = "improved",
                                                  [VERDICT_SAME] = "same"};
    return names[verdict];
}

const char *quantity_name(enum quantity quantity) {
    static const char *const names[N_QUANTITIES] = {[QUANTITY_LATENCY] = "latency",
                                                    [QUANTITY_TOP1] = "top1",
                                                    [QUANTITY_FILE] = "bytes_file",
                                                    [QUANTITY_ACTIVATIONS] = "bytes_activations"};
    return names[quantity];
}

void compare_default_options(struct compare_options *options) {
    *options = (struct compare_options){
        .threshold = 0.02, .threshold_top1 = 0.002, .threshold_bytes = 0.01};
}

/* ---- pairing ---- */

/* What makes two machines two. Kernel and compiler may change on one machine: they are noted. */
static const enum side_text machine_texts[] = {TEXT_host,  TEXT_cpu,      TEXT_arch,
                                               TEXT_cores, TEXT_governor, TEXT_virtual};
static const enum side_text noted_texts[] = {TEXT_os, TEXT_compiler, TEXT_profile};

static pare_status check_machine(const struct comparison *cmp, const struct pair *pair,
                                 struct error *err) {
    const struct side_row *base = side_last(pair->base), *new = side_last(pair->new);
    for (size_t k = 0; k < sizeof machine_texts / sizeof *machine_texts; k++) {
        const char *a = base->texts[machine_texts[k]], *b = new->texts[machine_texts[k]];
        if (strcmp(a, b) != 0)
            return error_set(err, PARE_E_ARG,
                             "two machines: %s is '%.64s' at %s line %zu and '%.64s' at %s line "
                             "%zu; measure both on one, or compare only ratios with "
                             "--across-machines",
                             side_text_name(machine_texts[k]), a, cmp->sides[0].path, base->line, b,
                             cmp->sides[1].path, new->line);
    }
    return PARE_OK;
}

static int same_trial(const struct side_arm *a, const struct side_arm *b) {
    return strcmp(side_last(a)->texts[TEXT_trial_id], side_last(b)->texts[TEXT_trial_id]) == 0;
}

/* The arm of NEW that is compared with `base`: that of the same trial and host; without one, that
 * of the same trial on another host, if there is only one. *out NULL: none. */
static pare_status find_new(const struct comparison *cmp, const struct side_arm *base,
                            struct error *err, struct side_arm **out) {
    size_t n, n_others = 0;
    struct side_arm *found = side_find(&cmp->sides[1], side_id(base), &n), *other = NULL;
    *out = NULL;
    for (size_t k = 0; k < n; k++) {
        if (!same_trial(base, &found[k]))
            continue;
        if (strcmp(side_last(base)->texts[TEXT_host], side_last(&found[k])->texts[TEXT_host]) ==
            0) {
            *out = &found[k];
            return PARE_OK;
        }
        other = &found[k];
        n_others++;
    }
    if (n_others > 1)
        return error_set(
            err, PARE_E_ARG,
            "%s: line %zu: arm %.32s has no row of host '%.64s' in %s, but rows of %zu "
            "other hosts; leave one of them in that file",
            cmp->sides[0].path, side_last(base)->line, side_id(base),
            side_last(base)->texts[TEXT_host], cmp->sides[1].path, n_others);
    *out = other;
    return PARE_OK;
}

static void add_note(struct comparison *cmp, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_note(struct comparison *cmp, const char *format, ...) {
    va_list list;
    if (cmp->n_notes == sizeof cmp->notes / sizeof *cmp->notes)
        return;
    va_start(list, format);
    vsnprintf(cmp->notes[cmp->n_notes++], sizeof cmp->notes[0], format, list);
    va_end(list);
}

/* By id; what is left, by name. */
static pare_status find_all_new(struct comparison *cmp, struct pair *pairs, struct error *err) {
    size_t n_base = cmp->sides[0].n_arms, n_by_name;
    char example[64];
    for (size_t k = 0; k < n_base; k++) {
        struct side_arm *new;
        pairs[k].base = &cmp->sides[0].arms[k];
        if (find_new(cmp, pairs[k].base, err, &new) != PARE_OK)
            return err->status;
        pairs[k].new = new;
    }
    if (namesakes_pair(&cmp->sides[1], cmp->options.across_machines, pairs, n_base, err, &n_by_name,
                       example) != PARE_OK)
        return err->status;
    if (n_by_name > 0)
        add_note(cmp,
                 "%zu arms are paired by name: their methods have parameters that only one file "
                 "knows, such as %s",
                 n_by_name, example);
    return PARE_OK;
}

static pare_status pair_arms(struct comparison *cmp, struct pair *pairs, size_t *n_pairs,
                             struct error *err) {
    size_t n_shared = 0;
    if (find_all_new(cmp, pairs, err) != PARE_OK)
        return err->status;
    for (size_t k = 0; k < cmp->sides[0].n_arms; k++) {
        n_shared += pairs[k].new != NULL;
        if (pairs[k].new && !cmp->options.across_machines &&
            check_machine(cmp, &pairs[k], err) != PARE_OK)
            return err->status;
    }
    if (n_shared == 0) {
        const struct side_row *a = cmp->sides[0].order[0], *b = cmp->sides[1].order[0];
        return error_set(err, PARE_E_FORMAT,
                         "%s and %s share no arm: the one begins with %.60s of %.40s on %.40s, the "
                         "other with %.60s of %.40s on %.40s; compare two runs of one experiment",
                         cmp->sides[0].path, cmp->sides[1].path, a->texts[TEXT_pipeline],
                         a->texts[TEXT_model], a->texts[TEXT_dataset], b->texts[TEXT_pipeline],
                         b->texts[TEXT_model], b->texts[TEXT_dataset]);
    }
    *n_pairs = cmp->sides[0].n_arms;
    return PARE_OK;
}

/* In the order of BASE. */
static int order_pairs(const void *x, const void *y) {
    size_t a = side_last(((const struct pair *)x)->base)->line;
    size_t b = side_last(((const struct pair *)y)->base)->line;
    return (a > b) - (a < b);
}

/* ---- one arm ---- */

static int is_measured(const struct pair *pair) {
    return pair->new && pair->new->is_ok && pair->base->is_ok;
}

static void describe_arm(const struct pair *pair, struct compared_arm *arm) {
    const char *const *texts = side_last(pair->base)->texts;
    *arm = (struct compared_arm){.arm_id = texts[TEXT_arm_id],
                                 .trial_id = texts[TEXT_trial_id],
                                 .model = texts[TEXT_model],
                                 .dataset = texts[TEXT_dataset],
                                 .pipeline = texts[TEXT_pipeline],
                                 .seed = texts[TEXT_seed],
                                 .backend = texts[TEXT_backend],
                                 .threads = texts[TEXT_threads],
                                 .batch = texts[TEXT_batch],
                                 .scenario = texts[TEXT_scenario],
                                 .verdict = VERDICT_SAME};
}

static void fail_arm(struct compared_arm *arm, int fails_gate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fail_arm(struct compared_arm *arm, int fails_gate, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(arm->reason, sizeof arm->reason, format, list);
    va_end(list);
    arm->verdict = VERDICT_FAILED;
    arm->fails_gate = fails_gate;
}

/* 0: one of the two was not measured, and *arm says so. */
static int both_measured(const struct pair *pair, struct compared_arm *arm) {
    if (!pair->new)
        fail_arm(arm, pair->base->is_ok, "not in NEW%s%s", pair->why[0] ? ": " : "", pair->why);
    else if (!pair->new->is_ok)
        fail_arm(arm, pair->base->is_ok, "%.16s in NEW: %.180s",
                 side_last(pair->new)->texts[TEXT_status], side_last(pair->new)->texts[TEXT_error]);
    else if (!pair->base->is_ok)
        fail_arm(arm, 0, "%.16s in BASE: %.180s", side_last(pair->base)->texts[TEXT_status],
                 side_last(pair->base)->texts[TEXT_error]);
    else
        return 1;
    return 0;
}

/* The weightiest verdict is the arm's, and those quantities that have it are its reason. */
static void join_verdicts(struct compared_arm *arm) {
    size_t n_compared = 0, used = 0;
    for (int q = 0; q < N_QUANTITIES; q++) {
        if (!arm->changes[q].is_compared)
            continue;
        n_compared++;
        if (arm->changes[q].verdict < arm->verdict)
            arm->verdict = arm->changes[q].verdict;
    }
    if (n_compared == 0) {
        fail_arm(arm, 0, "the files hold no figure that can be compared");
        return;
    }
    arm->fails_gate = arm->verdict == VERDICT_REGRESSED || arm->verdict == VERDICT_FAILED;
    for (int q = 0; q < N_QUANTITIES && arm->verdict != VERDICT_SAME; q++) {
        const struct change *c = &arm->changes[q];
        if (!c->is_compared || c->verdict != arm->verdict || used >= sizeof arm->reason - 1)
            continue;
        char text[64];
        compare_describe(arm, (enum quantity)q, text);
        used += (size_t)snprintf(
            arm->reason + used, sizeof arm->reason - used, "%s%s %s", used ? "; " : "",
            c->reason[0] ? "" : quantity_name((enum quantity)q), c->reason[0] ? c->reason : text);
    }
    if (arm->reason[0] == ' ')
        memmove(arm->reason, arm->reason + 1, strlen(arm->reason));
}

/* A ratio also changes when the baseline does. If the baseline's own time got better where the
 * ratio got worse, or the reverse, the arm's own time must show the change too. */
static void check_baseline(const struct comparison *cmp, const struct pair *pairs, size_t k,
                           const struct context *context) {
    struct change *change = &cmp->arms[k].changes[QUANTITY_LATENCY];
    if (!change->is_compared || cmp->options.across_machines ||
        strcmp(change->basis, "ratio") != 0 ||
        (change->verdict != VERDICT_REGRESSED && change->verdict != VERDICT_IMPROVED))
        return;
    enum verdict opposite =
        change->verdict == VERDICT_REGRESSED ? VERDICT_IMPROVED : VERDICT_REGRESSED;
    const struct side_row *row = side_last(pairs[k].base);
    size_t n;
    const struct side_arm *found = side_find(&cmp->sides[0], row->texts[TEXT_ratio_arm_id], &n);
    for (size_t b = 0; b < n; b++) {
        const struct pair *baseline = &pairs[found[b].place];
        struct interval own, others;
        if (strcmp(side_last(&found[b])->texts[TEXT_host], row->texts[TEXT_host]) != 0 ||
            !is_measured(baseline))
            continue;
        if (pair_time(baseline, context, &others) == opposite &&
            pair_time(&pairs[k], context, &own) != change->verdict) {
            change->verdict = VERDICT_INCONCLUSIVE;
            snprintf(change->reason, sizeof change->reason,
                     "ratio %+.1f %%, but its baseline's time changed by %+.1f %% and its own by "
                     "%+.1f %%",
                     100 * change->value, 100 * expm1(others.value), 100 * expm1(own.value));
        }
        return;
    }
}

/* ---- the whole ---- */

static void note_differences(struct comparison *cmp, const struct pair *pairs, size_t n_pairs) {
    for (size_t t = 0; t < sizeof noted_texts / sizeof *noted_texts; t++)
        for (size_t k = 0; k < n_pairs; k++) {
            if (!pairs[k].new)
                continue;
            const char *a = side_last(pairs[k].base)->texts[noted_texts[t]];
            const char *b = side_last(pairs[k].new)->texts[noted_texts[t]];
            if (strcmp(a, b) == 0)
                continue;
            add_note(cmp, "%s differs: '%.60s' in BASE, '%.60s' in NEW",
                     side_text_name(noted_texts[t]), a, b);
            break;
        }
}

/* ISO 8601 in UTC compares as text. */
static const char *newest(const struct side *side) {
    const char *time = "";
    for (size_t r = 0; r < side->n_rows; r++)
        if (strcmp(side->rows[r].texts[TEXT_time_utc], time) > 0)
            time = side->rows[r].texts[TEXT_time_utc];
    return time;
}

static void describe_files(struct comparison *cmp) {
    const char *base_time = newest(&cmp->sides[0]), *new_time = newest(&cmp->sides[1]);
    snprintf(cmp->newest, sizeof cmp->newest, "%.31s", new_time);
    snprintf(cmp->host, sizeof cmp->host, "%.127s",
             side_last_row(&cmp->sides[1])->texts[TEXT_host]);
    static const char *const names[] = {"BASE", "NEW"};
    for (int k = 0; k < 2; k++)
        if (cmp->sides[k].is_cut)
            add_note(cmp, "the last row of %s is cut off in the middle and left out", names[k]);
    const char *base_run = side_last_row(&cmp->sides[0])->texts[TEXT_run_id];
    if (base_run[0] && strcmp(base_run, side_last_row(&cmp->sides[1])->texts[TEXT_run_id]) == 0)
        add_note(cmp, "BASE and NEW hold rows of one run (run_id %.40s)", base_run);
    if (base_time[0] && new_time[0] && strcmp(new_time, base_time) < 0)
        add_note(
            cmp,
            "NEW is older than BASE (%.20s, %.20s): swapped files, or a clock that was set back",
            new_time, base_time);
}

static void prepare(const struct comparison *cmp, const struct pair *pairs, size_t n_pairs,
                    struct context *context) {
    *context = (struct context){.options = &cmp->options};
    for (size_t k = 0; k < n_pairs; k++) {
        if (!is_measured(&pairs[k]))
            continue;
        context->n_tests += pair_n_tests(&pairs[k], cmp->options.across_machines);
        for (int basis = 0; basis < N_BASES; basis++) {
            noise_add(&context->noise[basis], pairs[k].base, (enum basis)basis);
            noise_add(&context->noise[basis], pairs[k].new, (enum basis)basis);
        }
    }
    context_prepare(context);
}

static void compare_pairs(struct comparison *cmp, const struct pair *pairs, size_t n_pairs) {
    struct context context;
    prepare(cmp, pairs, n_pairs, &context);
    cmp->n_tests = context.n_tests;
    cmp->n_arms = n_pairs;
    for (size_t k = 0; k < n_pairs; k++) {
        struct compared_arm *arm = &cmp->arms[k];
        cmp->sides[0].arms[pairs[k].base - cmp->sides[0].arms].place = k;
        describe_arm(&pairs[k], arm);
        if (!both_measured(&pairs[k], arm))
            continue;
        compare_latency(&pairs[k], &context, &arm->changes[QUANTITY_LATENCY]);
        compare_top1(&pairs[k], &context, &arm->changes[QUANTITY_TOP1]);
        compare_bytes(&pairs[k], &context, NUMBER_bytes_file, &arm->changes[QUANTITY_FILE]);
        compare_bytes(&pairs[k], &context, NUMBER_bytes_activations,
                      &arm->changes[QUANTITY_ACTIVATIONS]);
    }
    for (size_t k = 0; k < n_pairs; k++) {
        struct compared_arm *arm = &cmp->arms[k];
        if (pairs[k].new &&pairs[k].new->is_ok && pairs[k].base->is_ok) {
            check_baseline(cmp, pairs, k, &context);
            join_verdicts(arm);
        }
        cmp->n_of[arm->verdict]++;
        cmp->has_several_models |= strcmp(arm->model, cmp->arms[0].model) != 0;
        cmp->n_failing_gate += (size_t)arm->fails_gate;
    }
}

static size_t count_only_new(const struct comparison *cmp, const struct pair *pairs,
                             size_t n_pairs) {
    size_t n_only = 0, n;
    for (size_t k = 0; k < cmp->sides[1].n_arms; k++)
        n_only += side_find(&cmp->sides[0], side_id(&cmp->sides[1].arms[k]), &n) == NULL;
    for (size_t k = 0; k < n_pairs; k++) /* paired by name */
        n_only -= pairs[k].new &&strcmp(side_id(pairs[k].base), side_id(pairs[k].new)) != 0;
    return n_only;
}

pare_status compare_files(const char *base_path, const char *new_path,
                          const struct compare_options *options, struct error *err,
                          struct comparison **out) {
    struct comparison *cmp = alloc_array(1, sizeof *cmp);
    struct pair *pairs = NULL;
    size_t n_pairs = 0;
    if (!cmp || !(cmp->sides = alloc_array(2, sizeof *cmp->sides))) {
        free(cmp);
        return error_set(err, PARE_E_NOMEM, "out of memory");
    }
    cmp->options = *options;
    if (side_read(&cmp->sides[0], base_path, err) != PARE_OK ||
        side_read(&cmp->sides[1], new_path, err) != PARE_OK)
        goto cleanup;
    pairs = alloc_array(cmp->sides[0].n_arms, sizeof *pairs);
    cmp->arms = alloc_array(cmp->sides[0].n_arms, sizeof *cmp->arms);
    if (!pairs || !cmp->arms) {
        error_set(err, PARE_E_NOMEM, "out of memory for %zu arms", cmp->sides[0].n_arms);
        goto cleanup;
    }
    if (pair_arms(cmp, pairs, &n_pairs, err) != PARE_OK)
        goto cleanup;
    qsort(pairs, n_pairs, sizeof *pairs, order_pairs);
    describe_files(cmp);
    note_differences(cmp, pairs, n_pairs);
    compare_pairs(cmp, pairs, n_pairs);
    cmp->n_only_new = count_only_new(cmp, pairs, n_pairs);
    cmp->n_without_id[0] = cmp->sides[0].n_without_id;
    cmp->n_without_id[1] = cmp->sides[1].n_without_id;
    *out = cmp;
    free(pairs);
    return PARE_OK;
cleanup:
    free(pairs);
    compare_destroy(cmp);
    return err->status;
}

void compare_destroy(struct comparison *cmp) {
    if (!cmp)
        return;
    side_clear(&cmp->sides[0]);
    side_clear(&cmp->sides[1]);
    free(cmp->sides);
    free(cmp->arms);
    free(cmp);
}
