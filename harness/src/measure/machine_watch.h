/* SPDX-License-Identifier: MIT */
/* Watching the machine from block to block of a measurement: what changed, what took time away. */
#ifndef MEASURE_MACHINE_WATCH_H
#define MEASURE_MACHINE_WATCH_H

#include <stddef.h>
#include <stdint.h>

enum disturbance {
    DISTURBED_STEAL,     /* the hypervisor gave the processor to someone else */
    DISTURBED_PREEMPTED, /* another process of this system took it (involuntary switches) */
    DISTURBED_FREQUENCY, /* changed by more than 5 % */
    DISTURBED_THROTTLED, /* the processor says it was too hot, or out of power */
    N_DISTURBANCES
};

/* What each look reads; -1 where the system does not tell. Cheap: three small files and a call. */
struct machine_glance {
    int64_t steal_ticks, preemptions, freq_khz, throttles;
};

struct machine_watch {
    const char *root; /* of the system's files: "" */
    int cpu;          /* whose frequency */
    int looked;       /* once already */
    struct machine_glance last;
    int64_t n_blocks;          /* between two looks each */
    int64_t n_disturbed;       /* of them */
    int64_t n[N_DISTURBANCES]; /* blocks in which this was seen */
};

/* Of the calling thread's processor. */
void machine_watch_start(struct machine_watch *watch);
/* Compares with the last look: 1 if something disturbed the time between; 0 the first time. Its
 * type is that of latency_options.watch. */
int machine_watch_look(void *watch);
/* The comparison alone. */
int machine_watch_note(struct machine_watch *watch, const struct machine_glance *now);
void machine_glance(const char *root, int cpu, struct machine_glance *out);

/* "4 of 75 blocks (steal 3, preempted 2)"; "" if none was disturbed. */
void machine_watch_text(const struct machine_watch *watch, char *text, size_t size);

#endif
