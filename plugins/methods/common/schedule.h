/* SPDX-License-Identifier: MIT */
/* When: how sparsity grows while a model trains. */
#ifndef METHODS_COMMON_SCHEDULE_H
#define METHODS_COMMON_SCHEDULE_H

#include <stdint.h>

enum schedule_kind { SCHEDULE_ONCE, SCHEDULE_LINEAR, SCHEDULE_AGP };

struct schedule {
    enum schedule_kind kind;
    double initial, final; /* sparsities at the first and from the last update on */
    double begin, end;     /* fractions of the training between which it acts */
    int64_t interval;      /* steps between updates; 0: chosen by schedule_start */
    int64_t first, last;   /* steps of the first and the last update; set by schedule_start */
};

/* "once", "linear" or "agp"; -1: none of them. */
int schedule_parse(const char *name);

/* Fits the schedule into a training of n_steps >= 1 steps. An interval of 0 becomes 100 steps, or
 * fewer where that would give less than 20 updates. `last` is a whole number of intervals after
 * `first`, and both are steps of the training. [any] */
void schedule_start(struct schedule *schedule, int64_t n_steps);

/* 1 if there is an update after step `step` (0-based). */
int schedule_is_due(const struct schedule *schedule, int64_t step);

/* The sparsity wanted after step `step`, clamped to [first, last]:
 *     agp     s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3    Zhu & Gupta 2017 (arXiv 1710.01878),
 * eq. 1 linear  s_f + (s_i - s_f) (1 - (t - t_0) / (n dt)) once    s_f */
double schedule_at(const struct schedule *schedule, int64_t step);

#endif
