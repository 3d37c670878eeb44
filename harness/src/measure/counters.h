/* SPDX-License-Identifier: MIT */
/* Counters: PAPI where it works, pare's own software-defined events (libsde), the kernel's software
 * events, getrusage. A counter that cannot be read is absent with a reason, never 0. */
#ifndef MEASURE_COUNTERS_H
#define MEASURE_COUNTERS_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

/* What the measured code did, maintained by the harness and exported as sde:::pare::<NAME>. */
enum sde_counter { SDE_MACS, SDE_WEIGHT_BYTES, SDE_KERNEL_CALLS, SDE_FALLBACK_OPS, N_SDE };

struct counters; /* one set of events, opened */

/* Opens events by name (at most 256): PAPI presets ("PAPI_TOT_INS"), natives, "sde:::pare::MACS",
 * and the short names "page_faults", "context_switches", "migrations", "task_clock_ns". Unknown or
 * unavailable events are not an error: they are absent, with a reason. Nothing is multiplexed: PAPI
 * events that do not fit together are spread over counters_n_passes passes (at least 1).
 *
 * What they count: the short names, the whole process in user and kernel mode; PAPI's hardware
 * events, the calling thread in user mode (absent where the process has more threads: half a count
 * would be a wrong one). pare's own events are read through PAPI and must equal what
 * counters_sde_add was given; without PAPI that is their value. PARE_E_LIMIT, PARE_E_NOMEM. [main]
 */
pare_status counters_open(const char *const *events, size_t n_events, struct error *err,
                          struct counters **out);
void counters_close(struct counters *set); /* NULL is fine */
size_t counters_n_passes(const struct counters *set);

/* A value covers the last start to stop of its pass. PARE_E_ARG for a pass there is not,
 * PARE_E_STATE out of turn; an event that cannot be started or read becomes absent instead. */
pare_status counters_start(struct counters *set, size_t pass, struct error *err);
pare_status counters_stop(struct counters *set, size_t pass, struct error *err);

/* Adds to a software-defined counter; cheap; called by the harness around backend runs. [main] */
void counters_sde_add(struct counters *set, enum sde_counter which, int64_t amount);

/* Value of event k < n_events: 1 if it was read, 0 if absent (then *reason says why). */
int counters_value(const struct counters *set, size_t k, int64_t *value, const char **reason);

/* The same by an event's name; 0 if it is not in the set. */
int counters_value_of(const struct counters *set, const char *event, int64_t *value);

/* How long the software events were enabled, and how long they counted, over the last run of each
 * pass and all threads: by perf_event, which tells both; an event that did not count all the time
 * is absent. 0 where nothing told (getrusage, and PAPI, which opens groups pinned: the kernel
 * counts them all the time or fails the read). */
int counters_times(const struct counters *set, int64_t *enabled_ns, int64_t *running_ns);

/* ---- groups and metrics ---- */

enum { COUNTER_GROUP_EVENTS = 8 };

/* Events that belong together, by one name. */
struct counter_group {
    const char *name, *doc;
    const char *events[COUNTER_GROUP_EVENTS]; /* up to a NULL */
};
const struct counter_group *counters_groups(size_t *n);

/* `names` with each group's name replaced by its events, and nothing twice. The array is malloc'd,
 * its strings are the caller's or static. */
pare_status counters_expand(const char *const *names, size_t n_names, struct error *err,
                            const char ***events, size_t *n_events);

/* What follows from two events: scale * numerator / denominator. They may come from two passes,
 * that is, from two runs of the same queries. */
struct counter_metric {
    const char *name; /* "ipc" */
    const char *numerator;
    double scale;
    const char *denominator;
};
const struct counter_metric *counters_metrics(size_t *n);
/* 1, or 0 if either event is absent or the denominator is 0. */
int counters_metric(const struct counters *set, const struct counter_metric *metric, double *value);

/* "ok", or "PAPI_TOT_CYC, PAPI_TOT_INS: no hardware counters here (...); ...": every event without
 * a value, those with one reason together. Lives with set, until the next call. */
const char *counters_status(struct counters *set);

/* For `pare env`: does each group work here, and why not? software_events is about perf_event;
 * without it getrusage and the process's CPU clock stand in for all of them but migrations. */
struct counters_support {
    int papi_library, papi_hardware, papi_sde, software_events, energy;
    char why[5][256]; /* in the order of the fields; "" where it works */
    char papi_version[32], energy_method[64];
};
void counters_probe(struct counters_support *support);

#endif
