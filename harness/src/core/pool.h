/* SPDX-License-Identifier: MIT */
/* The harness's one pool of threads. Work is a number of indices; who runs which index is not
 * fixed, so a body may depend on its index only, and results do not depend on the number of
 * threads. */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "core/error.h"
#include "core/topology.h"

#include <stdint.h>

struct pool;

/* n_threads 1..1024, the caller of pool_run being one of them. With a topology, thread k is bound
 * to core k and the calling thread to core 0 until pool_destroy; it is borrowed for the call only.
 * NULL: not bound. Workers spin for 50 us (1 us where there are more threads than hardware
 * threads), then sleep. A pool does not survive fork: create it in the child. PARE_E_RANGE,
 * PARE_E_LIMIT when a thread cannot start, PARE_E_NOMEM. */
pare_status pool_create(int32_t n_threads, const struct topology *topo, struct error *err,
                        struct pool **out);

/* On the thread that created it, which then gets its former binding back. NULL is fine. */
void pool_destroy(struct pool *pool);

/* 1 for a NULL pool. */
int32_t pool_n_threads(const struct pool *pool);

/* "core 0 pu 0; core 1 pu 1" as read back, or "unbound". Lives as long as the pool. */
const char *pool_binding(const struct pool *pool);

/* Runs body(arg, i, thread) for each i in [0, n), 0 <= thread < n_threads; returns when all are
 * done. Not nested, one caller at a time. A NULL pool runs everything on the calling thread. */
typedef void (*pool_body)(void *arg, int64_t index, int32_t thread);
void pool_run(struct pool *pool, int64_t n, pool_body body, void *arg);

#endif
