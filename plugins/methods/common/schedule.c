/* SPDX-License-Identifier: MIT */
#include "schedule.h"

#include <math.h>
#include <string.h>

#define USUAL_INTERVAL 100
#define FEWEST_UPDATES 20

int schedule_parse(const char *name) {
    static const char *const names[] = {"once", "linear", "agp", "iterative", "list"};
    for (int k = 0; k < 5; k++) {
        if (strcmp(name, names[k]) == 0) {
            return k;
        }
    }
    return -1;
}

static int64_t step_at(double fraction, int64_t n_steps) {
    int64_t step = (int64_t)(fraction * (double)n_steps);
    return step < 0 ? 0 : step >= n_steps ? n_steps - 1 : step;
}

static void start_list(struct schedule *schedule) {
    schedule->first = step_at(schedule->list_at[0], schedule->n_steps);
    schedule->last = step_at(schedule->list_at[schedule->n_list - 1], schedule->n_steps);
}

static int64_t interval_of(const struct schedule *schedule, int64_t span) {
    int64_t interval = schedule->interval;
    if (schedule->kind == SCHEDULE_ITERATIVE) {
        interval = schedule->rounds > 1 ? span / (schedule->rounds - 1) : span;
        interval = interval > 0 ? interval : 1;
    } else if (interval <= 0) {
        const int64_t most = span / FEWEST_UPDATES;
        interval = most < 1 ? 1 : most < USUAL_INTERVAL ? most : USUAL_INTERVAL;
    }
    return interval > span && span > 0 ? span : span > 0 ? interval : 1;
}

void schedule_start(struct schedule *schedule, int64_t n_steps) {
    schedule->n_steps = n_steps;
    if (schedule->kind == SCHEDULE_LIST) {
        start_list(schedule);
        return;
    }
    schedule->first = step_at(schedule->begin, n_steps);
    const int64_t end = step_at(schedule->end, n_steps);
    const int64_t span = end > schedule->first ? end - schedule->first : 0;
    schedule->interval = interval_of(schedule, span);
    int64_t n = span / schedule->interval;
    if (schedule->kind == SCHEDULE_ITERATIVE && n > schedule->rounds - 1) {
        n = schedule->rounds - 1;
    }
    schedule->last = schedule->first + n * schedule->interval;
}

/* List entries that are over after step `step`. */
static int32_t n_passed(const struct schedule *schedule, int64_t step) {
    int32_t n = 0;
    while (n < schedule->n_list && step >= step_at(schedule->list_at[n], schedule->n_steps)) {
        n++;
    }
    return n;
}

int schedule_is_due(const struct schedule *schedule, int64_t step) {
    if (schedule->kind == SCHEDULE_LIST) {
        return step >= 0 && n_passed(schedule, step) > n_passed(schedule, step - 1);
    }
    return step >= schedule->first && step <= schedule->last &&
           (step - schedule->first) % schedule->interval == 0;
}

static double iterative_at(const struct schedule *schedule, int64_t done, int64_t span) {
    if (schedule->initial >= 1.0) {
        return schedule->final;
    }
    const double rounds = (double)(span / schedule->interval + 1);
    const double round = (double)(done / schedule->interval + 1);
    const double left = (1.0 - schedule->final) / (1.0 - schedule->initial);
    return 1.0 - (1.0 - schedule->initial) * pow(left, round / rounds);
}

double schedule_at(const struct schedule *schedule, int64_t step) {
    const int64_t span = schedule->last - schedule->first;
    if (schedule->kind == SCHEDULE_ONCE || step >= schedule->last) {
        return schedule->final;
    }
    if (schedule->kind == SCHEDULE_LIST) {
        const int32_t n = n_passed(schedule, step);
        return n > 0 ? schedule->list_to[n - 1] : schedule->initial;
    }
    if (span == 0) {
        return schedule->final;
    }
    const int64_t done = step > schedule->first ? step - schedule->first : 0;
    if (schedule->kind == SCHEDULE_ITERATIVE) {
        return iterative_at(schedule, done, span);
    }
    const double left = 1.0 - (double)done / (double)span;
    const double factor = schedule->kind == SCHEDULE_AGP ? left * left * left : left;
    return schedule->final + (schedule->initial - schedule->final) * factor;
}
