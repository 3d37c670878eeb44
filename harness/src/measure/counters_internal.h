/* SPDX-License-Identifier: MIT */
/* The two things that counters.c stands on, each behind a border that tests can replace or force.
 */
#ifndef MEASURE_COUNTERS_INTERNAL_H
#define MEASURE_COUNTERS_INTERNAL_H

#include "measure/counters.h"

/* PAPI as counters.c sees it: groups of events that count together. Functions that return int give
 * 0 or a PAPI error code, unless said otherwise. [main] */
struct papi_api {
    void *context; /* first argument of each function */
    /* 1 if the library works here; otherwise 0 and why. Cheap when called again. */
    int (*init)(void *context, char version[32], char *why, size_t why_size);
    /* 1 if a component ("perf_event", "sde", "rapl") works here; otherwise 0 and why. */
    int (*component)(void *context, const char *name, char *why, size_t why_size);
    int (*group_create)(void *context, int *group);
    int (*group_add)(void *context, int group, const char *event);
    int (*group_start)(void *context, int group);
    int (*group_stop)(void *context, int group, long long *values); /* in the order of adding */
    void (*group_destroy)(void *context, int group);
    const char *(*error_text)(void *context, int code);
    /* Adds to what is exported as sde:::pare::<NAME>. */
    void (*sde_add)(void *context, enum sde_counter which, int64_t amount);
    int (*n_threads)(void *context); /* of this process; <= 0: unknown */
};

/* The real one; NULL in a build without PAPI. */
const struct papi_api *papi_real(void);

/* PAPI's component for the processor's own counters. */
#define PAPI_CPU_COMPONENT "perf_event"

/* 1 if PAPI works; otherwise 0 and why. `papi` may be NULL. */
int papi_start(const struct papi_api *papi, char version[32], char *why, size_t why_size);

/* The public functions by a given PAPI, which may be NULL. */
pare_status counters_open_by(const struct papi_api *papi, const char *const *events,
                             size_t n_events, struct error *err, struct counters **out);
void counters_probe_by(const struct papi_api *papi, struct counters_support *support);

/* energy_open by a given PAPI, which may be NULL, and files below `root`. */
struct energy *energy_open_by(const struct papi_api *papi, const char *root, char *why,
                              size_t why_size);

/* "MACS"; names of what pare exports. */
const char *sde_name(enum sde_counter which);

/* The kernel's software events of this process, all threads: by perf_event where permitted, else by
 * getrusage and the process's CPU clock. */
enum soft_event {
    SOFT_PAGE_FAULTS,
    SOFT_CONTEXT_SWITCHES,
    SOFT_MIGRATIONS,
    SOFT_TASK_CLOCK,
    N_SOFT,
    SOFT_NONE = N_SOFT
};

struct soft_counter {
    enum soft_event event;
    int *fds; /* (n_fds) one per thread; NULL: getrusage */
    size_t n_fds;
    struct soft_reading {
        int64_t value;
        int64_t enabled_ns, running_ns; /* sums over threads; 0 by getrusage, which does not tell */
    } at_start;
};

enum soft_event soft_find(const char *name); /* SOFT_NONE if it is none */
/* 1, or 0 and why. Without `by_perf`, perf_event is not tried. */
int soft_open(struct soft_counter *counter, enum soft_event event, int by_perf, char *why,
              size_t why_size);
/* Reads the count so far: 1, or 0 and why. */
int soft_read(const struct soft_counter *counter, struct soft_reading *out, char *why,
              size_t why_size);
void soft_close(struct soft_counter *counter);

#endif
