/* SPDX-License-Identifier: MIT */
/* A host table that watches the plugin it is given to: what it allocates and frees, from which
 * thread it calls, what it says when it fails; and that can refuse memory, or run parallel work in
 * another order. */
#ifndef CHECK_WATCH_H
#define CHECK_WATCH_H

#include "plugin/host.h"

#include <pthread.h>
#include <stdatomic.h>

struct guarded; /* one block of memory with bytes around it that nobody may write */

struct watch_options {
    struct pool *pool;
    uint64_t seed;
    uint64_t instance;          /* place in the pipeline */
    const char *const *exclude; /* patterns of layers that the step leaves out */
    size_t n_exclude;
    int64_t fail_at; /* the allocation, from 0, that is refused; -1: none */
    int fail_on;     /* and all that follow it */
    uint8_t fill;    /* what new memory holds */
    int backwards;   /* parallel work runs on one thread, the last index first */
};

struct watch {
    struct instance *inst; /* its `host` is what the plugin gets */
    pare_host real;        /* the functions it had */
    struct watch_options options;
    pthread_t main;
    pthread_mutex_t lock;   /* guards what follows but for the atomics */
    struct guarded *blocks; /* not freed */
    size_t live_bytes;      /* in them */
    char misuse[256];       /* first wrong use of memory; "" */
    char violation[256];    /* first break of a thread or [hot] rule; "" */
    pare_status told;       /* status of the latest pare_host.fail, PARE_OK: none */
    _Atomic int64_t n_allocs, n_refused;
    atomic_int in_parallel, in_hot;
};

/* The plugin's create is not called yet. PARE_E_NOMEM. */
pare_status watch_open(const struct plugin_entry *entry, const struct watch_options *options,
                       struct error *err, struct watch **out);

/* Looks at the blocks that are left, and frees all. NULL is fine. */
void watch_close(struct watch *w);

/* Notes in `misuse` what was written around blocks that are held now. */
void watch_check_blocks(struct watch *w);

static inline const pare_host *watch_host(const struct watch *w) {
    return instance_host(w->inst);
}

#endif
