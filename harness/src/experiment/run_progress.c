/* SPDX-License-Identifier: MIT */
#include "experiment/run_progress.h"

#include "core/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void run_progress_begin(struct run_progress *p, int quiet) {
    *p = (struct run_progress){
        .quiet = quiet, .is_tty = isatty(STDERR_FILENO), .start_ns = clock_ns()};
}

/* "3 min 20 s left", from the trials done so far; "" before the first is done. The current one
 * takes its share off as it goes on, and no more than that. */
static void compose_left(const struct run_progress *p, char text[48]) {
    char duration[32];
    text[0] = '\0';
    if (p->n_begun < 2)
        return;
    double each_s = (double)(p->trial_ns - p->start_ns) * 1e-9 / (double)(p->n_begun - 1);
    double current_s = (double)(clock_ns() - p->trial_ns) * 1e-9;
    double rest_s = each_s * (double)(p->n_total - p->n_begun);
    format_duration(rest_s + (current_s < each_s ? each_s - current_s : 0), duration);
    snprintf(text, 48, "%s left", duration);
}

/* "best 99.41 % ptq(bits=8)" */
static void compose_best(const struct run_progress *p, char text[96]) {
    text[0] = '\0';
    if (p->best[0])
        snprintf(text, 96, "best %.2f %% %s", 100 * p->best_top1, p->best);
}

void run_progress_trial(struct run_progress *p, const struct trial *trial) {
    char left[48], best[96];
    p->n_begun++;
    p->trial_ns = clock_ns();
    if (p->n_total < p->n_begun)
        p->n_total = p->n_begun;
    compose_left(p, left);
    compose_best(p, best);
    /* On a terminal the line has one row, in which more has to stand. */
    int room = p->is_tty ? 32 : 140, is_cut = strlen(trial->label) > (size_t)room;
    snprintf(p->trial, sizeof p->trial, "[%zu/%zu] %.*s%s, seed %llu", p->n_begun, p->n_total, room,
             trial->label, is_cut ? "..." : "", (unsigned long long)trial->seed);
    if (!p->quiet && !p->is_tty)
        fprintf(stderr, "%s%s%s%s%s\n", p->trial, left[0] ? "  about " : "", left,
                best[0] ? ", " : "", best);
}

void run_progress_stage(const struct run_progress *p, enum trial_stage stage,
                        const struct arm_spec *arm) {
    char left[48], best[96], step[96], line[512];
    if (p->quiet || !p->is_tty)
        return;
    if (!arm)
        snprintf(step, sizeof step, "building");
    else if (stage == TRIAL_ACCURACY)
        snprintf(step, sizeof step, "accuracy on %.40s", arm->backend);
    else
        snprintf(step, sizeof step, "timing %.40s t%d b%d", arm->backend, arm->threads, arm->batch);
    compose_left(p, left);
    compose_best(p, best);
    /* What changes stands first: the end of the line may be cut off. */
    snprintf(line, sizeof line, "%s: %s%s%s%s%s", p->trial, step, left[0] ? " | " : "", left,
             best[0] ? " | " : "", best);
    progress_redraw(line);
}

void run_progress_row(struct run_progress *p, const struct record *rec) {
    int is_ok = strcmp(record_get(rec, COL_status), "ok") == 0;
    if (!is_ok && !p->quiet && p->is_tty) /* a line that stays: its trial's will be drawn over */
        fprintf(stderr, "\r\033[K%s: failed: %s\n", p->trial, record_get(rec, COL_error));
    else if (!is_ok && !p->quiet)
        fprintf(stderr, "  failed: %s\n", record_get(rec, COL_error));
    const char *cell = record_get(rec, COL_top1), *pipeline = record_get(rec, COL_pipeline);
    if (!is_ok || !cell[0])
        return;
    int is_compressed = strcmp(pipeline, "fp32") != 0;
    double top1 = strtod(cell, NULL);
    int is_better = !p->best[0] || is_compressed > p->best_is_compressed ||
                    (is_compressed == p->best_is_compressed && top1 > p->best_top1);
    if (!is_better)
        return;
    p->best_top1 = top1;
    p->best_is_compressed = is_compressed;
    snprintf(p->best, sizeof p->best, "%s%s", strlen(pipeline) < sizeof p->best ? "" : "...",
             strlen(pipeline) < sizeof p->best
                 ? pipeline
                 : pipeline + strlen(pipeline) - (sizeof p->best - 4));
}

void run_progress_end(const struct run_progress *p) {
    if (!p->quiet && p->is_tty)
        progress_redraw("");
}
