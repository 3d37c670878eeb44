/* SPDX-License-Identifier: MIT */
#include "core/alloc.h"
#include "core/pool.h"
#include "core/progress.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct pool *make_pool(int32_t n_threads, const struct topology *topo) {
    struct error err = {0};
    struct pool *pool = NULL;
    if (pool_create(n_threads, topo, &err, &pool) != PARE_OK)
        fail_msg("%s", err.text);
    return pool;
}

struct visits {
    _Atomic int32_t *count; /* (n) */
    int32_t n_threads;
    _Atomic int32_t bad_thread;
};

static void visit(void *arg, int64_t index, int32_t thread) {
    struct visits *v = arg;
    atomic_fetch_add(&v->count[index], 1);
    if (thread < 0 || thread >= v->n_threads)
        atomic_store(&v->bad_thread, 1);
}

/* Every index is run exactly once, and all are done when pool_run returns. */
static void each_index_runs_once(void **state) {
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 16, 17, 127, 1000, 4099};
    (void)state;
    for (int32_t n_threads = 1; n_threads <= 8; n_threads++) {
        struct pool *pool = make_pool(n_threads, NULL);
        assert_int_equal(pool_n_threads(pool), n_threads);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            struct visits v = {calloc((size_t)sizes[s] + 1, sizeof *v.count), n_threads, 0};
            assert_non_null(v.count);
            pool_run(pool, sizes[s], visit, &v);
            for (int64_t i = 0; i < sizes[s]; i++)
                assert_int_equal(atomic_load(&v.count[i]), 1);
            assert_int_equal(atomic_load(&v.count[sizes[s]]), 0);
            assert_int_equal(atomic_load(&v.bad_thread), 0);
            free(v.count);
        }
        pool_destroy(pool);
    }
}

struct sum {
    const int64_t *in;
    int64_t *out;
    int64_t round;
};

/* Plain, unsynchronised writes: the thread sanitizer watches that pool_run orders them. */
static void add_round(void *arg, int64_t index, int32_t thread) {
    const struct sum *s = arg;
    (void)thread;
    s->out[index] = s->in[index] + s->round;
}

/* Each run reads what the run before wrote on whatever thread. */
static void many_runs_see_each_other(void **state) {
    enum { N = 37, ROUNDS = 4000 };
    (void)state;
    for (int32_t n_threads = 1; n_threads <= 8; n_threads++) {
        struct pool *pool = make_pool(n_threads, NULL);
        int64_t a[N] = {0}, b[N];
        int64_t expected = 0;
        for (int64_t round = 0; round < ROUNDS; round++) {
            struct sum s = {round % 2 ? b : a, round % 2 ? a : b, round};
            pool_run(pool, N - round % 3, add_round, &s);
            for (int64_t i = N - round % 3; i < N; i++)
                s.out[i] = s.in[i] + round;
            expected += round;
        }
        for (int i = 0; i < N; i++)
            assert_int_equal(a[i], expected);
        pool_destroy(pool);
    }
}

struct hash_job {
    uint64_t *out;
};

static void hash_index(void *arg, int64_t index, int32_t thread) {
    struct hash_job *job = arg;
    uint64_t x = (uint64_t)index + 1;
    (void)thread;
    for (int k = 0; k < 50; k++)
        x = x * UINT64_C(6364136223846793005) + (x >> 17);
    job->out[index] = x;
}

static void results_do_not_depend_on_threads(void **state) {
    enum { N = 513 };
    uint64_t reference[N], got[N];
    struct hash_job job = {reference};
    (void)state;
    pool_run(NULL, N, hash_index, &job);
    for (int32_t n_threads = 1; n_threads <= 8; n_threads++) {
        struct pool *pool = make_pool(n_threads, NULL);
        memset(got, 0, sizeof got);
        job.out = got;
        pool_run(pool, N, hash_index, &job);
        assert_memory_equal(got, reference, sizeof got);
        pool_destroy(pool);
    }
}

struct meeting {
    _Atomic int32_t arrived;
    int32_t wanted;
};

static void meet(void *arg, int64_t index, int32_t thread) {
    struct meeting *m = arg;
    int64_t give_up_ns = clock_ns() + 10 * INT64_C(1000000000);
    (void)index;
    (void)thread;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->wanted && clock_ns() < give_up_ns)
        sched_yield();
}

/* As many indices as threads, each waiting for all: only truly concurrent threads get through, also
 * after they have gone to sleep. */
static void all_threads_take_part(void **state) {
    const struct timespec nap = {0, 2000000};
    (void)state;
    for (int32_t n_threads = 2; n_threads <= 8; n_threads++) {
        struct pool *pool = make_pool(n_threads, NULL);
        for (int round = 0; round < 3; round++) {
            struct meeting m = {0, n_threads};
            int64_t start_ns = clock_ns();
            pool_run(pool, n_threads, meet, &m);
            assert_int_equal(atomic_load(&m.arrived), n_threads);
            assert_true(clock_ns() - start_ns < 9 * INT64_C(1000000000));
            nanosleep(&nap, NULL);
        }
        pool_destroy(pool);
    }
}

static int64_t cpu_time_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void idle_pool_uses_no_time(void **state) {
    struct pool *pool = make_pool(4, NULL);
    struct visits v = {calloc(8, sizeof *v.count), 4, 0};
    const struct timespec nap = {0, 300000000};
    int64_t before_ns;
    (void)state;
    pool_run(pool, 8, visit, &v);
    before_ns = cpu_time_ns();
    nanosleep(&nap, NULL);
    /* Spinning workers would burn up to 3 x 300 ms; they may spin for 3 x 50 us. */
    assert_true(cpu_time_ns() - before_ns < 20 * 1000000);
    pool_destroy(pool);
    free(v.count);
}

static void pools_come_and_go(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct pool *pool = make_pool(1 + round % 5, NULL);
        struct visits v = {calloc(4, sizeof *v.count), 5, 0};
        if (round % 3)
            pool_run(pool, 4, visit, &v);
        pool_destroy(pool);
        free(v.count);
    }
    pool_destroy(NULL);
}

static void refuses_bad_thread_counts(void **state) {
    static const int32_t bad[] = {0, -1, INT32_MIN, 1025, INT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        struct pool *pool = (struct pool *)&err;
        assert_int_equal(pool_create(bad[i], NULL, &err, &pool), PARE_E_RANGE);
        assert_ptr_equal(pool, &err);
        assert_non_null(strstr(err.text, "wanted 1..1024"));
    }
}

/* A pool of which not all threads can start is taken down again. In a child with a limit of
 * threads; root has none, so there it drops to another user first. */
static void too_many_threads_is_an_error(void **state) {
    int status;
    pid_t child;
    (void)state;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    skip(); /* the sanitizers need threads and memory of their own */
#endif
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {1, 1};
        struct error err = {0};
        struct pool *pool = NULL;
        if (getuid() == 0 && setuid(65534) != 0)
            _exit(77);
        setrlimit(RLIMIT_NPROC, &none);
        if (pool_create(64, NULL, &err, &pool) == PARE_OK)
            _exit(77); /* a system that does not keep the limit */
        _exit(err.status == PARE_E_LIMIT && pool == NULL && strstr(err.text, "of 64") ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("SKIPPED: this system does not limit threads\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void nest(void *arg, int64_t index, int32_t thread) {
    struct visits v = {0};
    (void)index;
    (void)thread;
    pool_run(arg, 0, visit, &v);
}

static void nesting_is_caught(void **state) {
    int status;
    pid_t child;
    (void)state;
#ifdef NDEBUG
    skip();
#endif
    for (int32_t n_threads = 1; n_threads <= 2; n_threads++) {
        fflush(NULL);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct rlimit no_core = {0, 0};
            setrlimit(RLIMIT_CORE, &no_core);
            signal(SIGABRT, SIG_DFL); /* cmocka and sanitizers catch it */
            if (freopen("/dev/null", "w", stderr) == NULL)
                _exit(2);
            struct pool *pool = make_pool(n_threads, NULL);
            pool_run(pool, 4, nest, pool);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

static void bound_pool_names_cores_and_restores(void **state) {
    struct error err = {0};
    struct topology *topo = NULL;
    cpu_set_t before, after;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(topology_create(&err, &topo), PARE_OK);
    struct pool *pool = make_pool(3, topo);
    const char *text = pool_binding(pool);
    int parts = 1;
    topology_destroy(topo); /* the pool keeps nothing of it */
    for (const char *p = text; (p = strstr(p, "; ")) != NULL; p++)
        parts++;
    assert_int_equal(parts, 3);
    assert_true(strncmp(text, "core ", 5) == 0 || strncmp(text, "unbound: ", 9) == 0);
    struct visits v = {calloc(64, sizeof *v.count), 3, 0};
    pool_run(pool, 64, visit, &v);
    for (int i = 0; i < 64; i++)
        assert_int_equal(atomic_load(&v.count[i]), 1);
    free(v.count);
    pool_destroy(pool);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));

    pool = make_pool(2, NULL);
    assert_string_equal(pool_binding(pool), "unbound");
    pool_destroy(pool);
    assert_int_equal(pool_n_threads(NULL), 1);
}

static void meet_hot(void *arg, int64_t index, int32_t thread) {
    struct meeting *m = arg;
    (void)index;
    (void)thread;
    atomic_fetch_add(&m->arrived, 1);
    for (int64_t k = 0; atomic_load(&m->arrived) < m->wanted; k++)
        if (k % 1000 == 999)
            sched_yield();
}

/* The cost of a job in which both threads really take part: below 5 us when hot. Tries for a while,
 * since other processes may hold the second processor. */
static void overhead_is_small(void **state) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    const int64_t limit_ns = 100000;
#else
    const int64_t limit_ns = 5000;
#endif
    cpu_set_t set;
    (void)state;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 2) {
        print_message("SKIPPED: one processor\n");
        skip();
    }
    struct pool *pool = make_pool(2, NULL);
    int64_t best_ns = INT64_MAX, give_up_ns = clock_ns() + 10 * INT64_C(1000000000);
    for (int rounds = 0; rounds < 2000 || (best_ns >= limit_ns && clock_ns() < give_up_ns);
         rounds++) {
        struct meeting m = {0, 2};
        int64_t start_ns = clock_ns(), took_ns;
        pool_run(pool, 2, meet_hot, &m);
        took_ns = clock_ns() - start_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    print_message("fastest job of 2 threads that meet: %lld ns\n", (long long)best_ns);
    assert_true(best_ns < limit_ns);
    pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_index_runs_once),
        cmocka_unit_test(many_runs_see_each_other),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(all_threads_take_part),
        cmocka_unit_test(idle_pool_uses_no_time),
        cmocka_unit_test(pools_come_and_go),
        cmocka_unit_test(refuses_bad_thread_counts),
        cmocka_unit_test(too_many_threads_is_an_error),
        cmocka_unit_test(nesting_is_caught),
        cmocka_unit_test(bound_pool_names_cores_and_restores),
        cmocka_unit_test(overhead_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
