/* SPDX-License-Identifier: MIT */
/* When: how sparsity grows while a model trains. */
#ifndef METHODS_COMMON_SCHEDULE_H
#define METHODS_COMMON_SCHEDULE_H

#include <stdint.h>

enum schedule_kind {
    SCHEDULE_ONCE,
    SCHEDULE_LINEAR,
    SCHEDULE_AGP,
    SCHEDULE_ITERATIVE,
    SCHEDULE_LIST
};

#define SCHEDULE_CHOICES "once|linear|agp|iterative|list"

struct schedule {
    enum schedule_kind kind;
    double initial, final; /* sparsities at the first and from the last update on */
    double begin, end;     /* fractions of the training between which it acts */
    int64_t interval;      /* steps between updates; 0: chosen by schedule_start */
    int64_t first, last;   /* steps of the first and the last update; set by schedule_start */
    int64_t rounds;        /* ITERATIVE: updates, >= 1 */
    int32_t n_list;        /* LIST: updates, >= 1 */
    const double *list_at; /* LIST: (n_list) when, as fractions of the training, ascending */
    const double *list_to; /* LIST: (n_list) the sparsity from then on */
    int64_t n_steps;       /* of the training; set by schedule_start */
};

/* One of the choices; -1: none of them. */
int schedule_parse(const char *name);

/* Fits the schedule into a training of n_steps >= 1 steps. An interval of 0 becomes 100 steps, or
 * fewer where that would give less than 20 updates; ITERATIVE spreads its rounds evenly. `last` is
 * a whole number of intervals after `first`, and both are steps of the training. [any] */
void schedule_start(struct schedule *schedule, int64_t n_steps);

/* 1 if there is an update after step `step` (0-based). */
int schedule_is_due(const struct schedule *schedule, int64_t step);

/* The sparsity wanted after step `step`, clamped to [first, last]; s_i initial, s_f final:
 *     agp        s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3   Zhu & Gupta 2017, arXiv 1710.01878,
 *                                                               eq. 1
 *     linear     s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))
 *     iterative  1 - (1 - s_i) ((1 - s_f) / (1 - s_i))^(r / n) after round r of n: each prunes the
 *                same part of what is left (Frankle & Carbin 2018, arXiv 1803.03635, section 1)
 *     list       list_to of the latest list_at that is over
 *     once       s_f */
double schedule_at(const struct schedule *schedule, int64_t step);

#endif
