/* SPDX-License-Identifier: MIT */
#include "schedule.h"

#include <string.h>

#define USUAL_INTERVAL 100
#define FEWEST_UPDATES 20

int schedule_parse(const char *name) {
    static const char *const names[] = {"once", "linear", "agp"};
    for (int k = 0; k < 3; k++) {
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

void schedule_start(struct schedule *schedule, int64_t n_steps) {
    schedule->first = step_at(schedule->begin, n_steps);
    int64_t end = step_at(schedule->end, n_steps);
    int64_t span = end > schedule->first ? end - schedule->first : 0;
    if (schedule->interval <= 0) {
        int64_t most = span / FEWEST_UPDATES;
        schedule->interval = most < 1 ? 1 : most < USUAL_INTERVAL ? most : USUAL_INTERVAL;
    }
    if (schedule->interval > span) {
        schedule->interval = span > 0 ? span : 1;
    }
    schedule->last = schedule->first + span / schedule->interval * schedule->interval;
}

int schedule_is_due(const struct schedule *schedule, int64_t step) {
    return step >= schedule->first && step <= schedule->last &&
           (step - schedule->first) % schedule->interval == 0;
}

double schedule_at(const struct schedule *schedule, int64_t step) {
    int64_t span = schedule->last - schedule->first;
    if (schedule->kind == SCHEDULE_ONCE || step >= schedule->last || span == 0) {
        return schedule->final;
    }
    int64_t done = step > schedule->first ? step - schedule->first : 0;
    double left = 1.0 - (double)done / (double)span;
    double factor = schedule->kind == SCHEDULE_AGP ? left * left * left : left;
    return schedule->final + (schedule->initial - schedule->final) * factor;
}
