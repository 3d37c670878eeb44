/* SPDX-License-Identifier: MIT */
/* How a job runs. `state` packs whether a job is open, how many workers are in it, and its number.
 * The caller writes the job, opens it, takes part in it, and when no index is left closes it and
 * waits for the workers inside. A worker enters by a compare-and-swap on an open state, so it can
 * never see a job that has ended, and one that wakes too late finds it closed and is not waited
 * for: a job costs no wake-up that it does not use.
 *
 * Both sides spin for a while and then sleep on a condition variable. A sleeper announces itself
 * (sequentially consistent) before its last look at the state, and whoever changes the state looks
 * for sleepers afterwards, so one of the two always sees the other. */
#include "core/pool.h"

#include "core/alloc.h"
#include "core/progress.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 1024, CACHE_LINE = 64, BINDING_BYTES = 96 };

/* Workers spin this long before they sleep, and the caller before it sleeps for the last of them:
 * longer than the serial stretches between the layers of a network, short to a scheduler. */
static const int64_t SPIN_NS = 50000;
/* With more threads than hardware threads a spinner takes the time of one that has work. */
static const int64_t SPIN_CROWDED_NS = 1000;

/* The bits of pool.state. */
#define STATE_STOP UINT64_C(1)
#define STATE_OPEN UINT64_C(2)
#define STATE_ONE_WORKER UINT64_C(4)
#define STATE_WORKERS UINT64_C(0xfffc) /* up to 16383 */
#define STATE_ONE_JOB UINT64_C(0x10000)
#define STATE_JOB (~UINT64_C(0xffff))

struct pool {
    /* Written by the caller while the job is closed. */
    pool_body body;
    void *arg;
    int64_t n, chunk;

    _Alignas(CACHE_LINE) _Atomic uint64_t state;
    _Alignas(CACHE_LINE) _Atomic int64_t next; /* first index not yet claimed */

    _Alignas(CACHE_LINE) _Atomic int32_t n_sleeping; /* workers */
    _Atomic int32_t caller_sleeps;
    _Atomic int32_t running; /* inside pool_run: nesting and second callers are bugs */
    pthread_mutex_t mutex;
    pthread_cond_t wake_workers, wake_caller;
    int32_t n_ready; /* workers that have bound themselves; under the mutex */

    int32_t n_threads;
    int64_t spin_ns;
    const struct topology *topo; /* borrowed while the pool starts */
    struct worker *workers;      /* (n_threads - 1) */
    int32_t n_started;
    cpu_set_t caller_affinity; /* restored by pool_destroy */
    pthread_t caller;
    int caller_bound;
    char *binding;
};

struct worker {
    struct pool *pool;
    pthread_t handle;
    int32_t thread; /* 1.. */
    char binding[BINDING_BYTES];
};

static void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

/* True when the worker that has last done job `seen` has something to do. */
static int worker_is_wanted(uint64_t state, uint64_t seen) {
    return (state & STATE_STOP) || ((state & STATE_OPEN) && (state & STATE_JOB) != seen);
}

static int all_have_left(uint64_t state) {
    return (state & STATE_WORKERS) == 0;
}

/* Claims indices until none is left. */
static void work(struct pool *pool, int32_t thread) {
    const pool_body body = pool->body;
    void *const arg = pool->arg;
    const int64_t n = pool->n, chunk = pool->chunk;
    for (;;) {
        int64_t begin = atomic_fetch_add_explicit(&pool->next, chunk, memory_order_relaxed);
        int64_t end = n - begin > chunk ? begin + chunk : n;
        if (begin >= n)
            return;
        for (int64_t i = begin; i < end; i++)
            body(arg, i, thread);
    }
}

static uint64_t worker_wait(struct pool *pool, uint64_t seen) {
    const int64_t deadline_ns = clock_ns() + pool->spin_ns;
    uint64_t state;
    do {
        for (int k = 0; k < 32; k++) {
            state = atomic_load_explicit(&pool->state, memory_order_acquire);
            if (worker_is_wanted(state, seen))
                return state;
            cpu_relax();
        }
    } while (clock_ns() < deadline_ns);

    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (!worker_is_wanted(state = atomic_load(&pool->state), seen))
        pthread_cond_wait(&pool->wake_workers, &pool->mutex);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
    return state;
}

static void worker_leave(struct pool *pool) {
    uint64_t state = atomic_fetch_sub(&pool->state, STATE_ONE_WORKER) - STATE_ONE_WORKER;
    if (all_have_left(state) && !(state & STATE_OPEN) && atomic_load(&pool->caller_sleeps)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->wake_caller);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *worker_main(void *arg) {
    struct worker *worker = arg;
    struct pool *pool = worker->pool;
    uint64_t seen = 0;

    if (pool->topo != NULL)
        topology_bind_thread(pool->topo, worker->thread, worker->binding, sizeof worker->binding);
    pthread_mutex_lock(&pool->mutex);
    pool->n_ready++;
    pthread_cond_signal(&pool->wake_caller);
    pthread_mutex_unlock(&pool->mutex);

    for (;;) {
        uint64_t state = worker_wait(pool, seen);
        if (state & STATE_STOP)
            return NULL;
        /* Enters only if nothing has changed since; otherwise looks again. */
        if (!atomic_compare_exchange_strong(&pool->state, &state, state + STATE_ONE_WORKER))
            continue;
        seen = state & STATE_JOB;
        work(pool, worker->thread);
        worker_leave(pool);
    }
}

/* Waits until the workers inside the closed job have left it. */
static void caller_wait(struct pool *pool) {
    const int64_t deadline_ns = clock_ns() + pool->spin_ns;
    do {
        for (int k = 0; k < 32; k++) {
            if (all_have_left(atomic_load_explicit(&pool->state, memory_order_acquire)))
                return;
            cpu_relax();
        }
    } while (clock_ns() < deadline_ns);

    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, 1);
    while (!all_have_left(atomic_load(&pool->state)))
        pthread_cond_wait(&pool->wake_caller, &pool->mutex);
    atomic_store(&pool->caller_sleeps, 0);
    pthread_mutex_unlock(&pool->mutex);
}

static void wake_sleepers(struct pool *pool) {
    if (atomic_load(&pool->n_sleeping) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake_workers);
    pthread_mutex_unlock(&pool->mutex);
}

static void run_shared(struct pool *pool, int64_t n, pool_body body, void *arg) {
    uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
    pool->body = body;
    pool->arg = arg;
    pool->n = n;
    /* Small enough that the last chunk keeps nobody waiting long, large enough that claiming many
     * small indices costs little. */
    pool->chunk = n / ((int64_t)pool->n_threads * 16) + 1;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store(&pool->state, ((state & STATE_JOB) + STATE_ONE_JOB) | STATE_OPEN);
    wake_sleepers(pool);
    work(pool, 0);
    atomic_fetch_and(&pool->state, ~STATE_OPEN);
    caller_wait(pool);
}

void pool_run(struct pool *pool, int64_t n, pool_body body, void *arg) {
    assert(n <= INT64_MAX / 2);
    if (pool == NULL) {
        for (int64_t i = 0; i < n; i++)
            body(arg, i, 0);
        return;
    }
    int32_t was_running = atomic_exchange_explicit(&pool->running, 1, memory_order_relaxed);
    assert(!was_running && "pool_run: nested, or called from two threads");
    (void)was_running;
    if (n < 2 || pool->n_threads == 1) {
        for (int64_t i = 0; i < n; i++)
            body(arg, i, 0);
    } else {
        run_shared(pool, n, body, arg);
    }
    atomic_store_explicit(&pool->running, 0, memory_order_relaxed);
}

/* Hardware threads this thread may use. */
static int32_t count_usable(const struct topology *topo) {
    cpu_set_t set;
    long n;
    if (topo != NULL)
        return topology_n_pus(topo);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    n = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than a cpu_set_t holds */
    return n > 0 && n < INT32_MAX ? (int32_t)n : 1;
}

/* Signals are the main thread's business: workers start with all of them blocked. */
static pare_status start_workers(struct pool *pool, struct error *err) {
    pare_status status = PARE_OK;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int32_t k = 0; k < pool->n_threads - 1; k++) {
        struct worker *worker = &pool->workers[k];
        int code;
        worker->pool = pool;
        worker->thread = k + 1;
        code = pthread_create(&worker->handle, NULL, worker_main, worker);
        if (code != 0) {
            status = error_set(err, PARE_E_LIMIT, "pool: thread %d of %d could not start: %s",
                               (int)k + 2, (int)pool->n_threads, strerror(code));
            break;
        }
        pool->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_lock(&pool->mutex);
    while (pool->n_ready < pool->n_started)
        pthread_cond_wait(&pool->wake_caller, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

static void bind_caller(struct pool *pool, char text[BINDING_BYTES]) {
    pool->caller = pthread_self();
    pool->caller_bound = pthread_getaffinity_np(pool->caller, sizeof pool->caller_affinity,
                                                &pool->caller_affinity) == 0;
    topology_bind_thread(pool->topo, 0, text, BINDING_BYTES);
}

static char *describe_binding(const struct pool *pool, const char *caller_binding) {
    char *text;
    if (pool->topo == NULL)
        return alloc_printf("unbound");
    text = alloc_printf("%s", caller_binding);
    for (int32_t k = 0; k < pool->n_started && text != NULL; k++) {
        char *longer = alloc_printf("%s; %s", text, pool->workers[k].binding);
        free(text);
        text = longer;
    }
    return text;
}

pare_status pool_create(int32_t n_threads, const struct topology *topo, struct error *err,
                        struct pool **out) {
    pare_status status;
    struct pool *pool;
    char caller_binding[BINDING_BYTES] = "";
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return error_set(err, PARE_E_RANGE, "pool: %d threads, wanted 1..%d", (int)n_threads,
                         (int)MAX_THREADS);
    pool = alloc_array(1, sizeof *pool);
    if (pool == NULL)
        return error_set(err, PARE_E_NOMEM, "pool: out of memory");
    pool->n_threads = n_threads;
    pool->topo = topo;
    pool->spin_ns = n_threads > count_usable(topo) ? SPIN_CROWDED_NS : SPIN_NS;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake_workers, NULL);
    pthread_cond_init(&pool->wake_caller, NULL);

    pool->workers = alloc_array((size_t)n_threads, sizeof *pool->workers);
    if (pool->workers == NULL) {
        status = error_set(err, PARE_E_NOMEM, "pool: out of memory");
        goto cleanup;
    }
    status = start_workers(pool, err);
    if (status != PARE_OK)
        goto cleanup;
    if (topo != NULL)
        bind_caller(pool, caller_binding);
    pool->binding = describe_binding(pool, caller_binding);
    if (pool->binding == NULL) {
        status = error_set(err, PARE_E_NOMEM, "pool: out of memory");
        goto cleanup;
    }
    pool->topo = NULL;
    *out = pool;
    pool = NULL;
cleanup:
    pool_destroy(pool);
    return status;
}

void pool_destroy(struct pool *pool) {
    if (pool == NULL)
        return;
    atomic_fetch_or(&pool->state, STATE_STOP);
    wake_sleepers(pool);
    for (int32_t k = 0; k < pool->n_started; k++)
        pthread_join(pool->workers[k].handle, NULL);
    if (pool->caller_bound && pthread_equal(pool->caller, pthread_self()))
        pthread_setaffinity_np(pool->caller, sizeof pool->caller_affinity, &pool->caller_affinity);
    pthread_cond_destroy(&pool->wake_caller);
    pthread_cond_destroy(&pool->wake_workers);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool->binding);
    free(pool);
}

int32_t pool_n_threads(const struct pool *pool) {
    return pool == NULL ? 1 : pool->n_threads;
}

const char *pool_binding(const struct pool *pool) {
    return pool == NULL ? "unbound" : pool->binding;
}
