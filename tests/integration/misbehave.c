/* SPDX-License-Identifier: MIT */
/* A plugin that does what plugins do by mistake: method misbehave in the way that its parameter
 * names, backend misbehave_run by crashing when it is first run. */
#include <pare/backend.h>
#include <pare/method.h>

#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile int always = 1;
static void *volatile nowhere;

static void segfault(const pare_host *host) {
    (void)host;
    *(volatile int *)nowhere = 1;
}

static void abort_it(const pare_host *host) {
    (void)host;
    abort();
}

static void exit_0(const pare_host *host) {
    (void)host;
    exit(0);
}

static void exit_3(const pare_host *host) {
    (void)host;
    _exit(3);
}

static void loop(const pare_host *host) {
    (void)host;
    while (always)
        ;
}

/* Looks as little at what malloc gives as such code does. */
static void eat_memory(const pare_host *host) {
    (void)host;
    for (int k = 0; k < 512; k++) /* 2 GB, where nothing limits it */
        memset(malloc(1 << 22), 1, 1 << 22);
}

static void eat_host_memory(const pare_host *host) {
    for (int k = 0; k < 512; k++)
        memset(host->alloc(host, 1 << 22), 1, 1 << 22);
}

/* Every block writes over the header of the next. */
static void overflow_heap(const pare_host *host) {
    enum { N = 8, BYTES = 50000 };
    char *blocks[N];
    (void)host;
    for (int k = 0; k < N; k++)
        blocks[k] = malloc(BYTES);
    for (int k = 0; k < N; k++)
        memset(blocks[k], 0xff, (size_t)(BYTES + always * 32));
    for (int k = 0; k < N; k++)
        free(blocks[k]);
}

static void free_twice(const pare_host *host) {
    void *volatile block = malloc(2000);
    (void)host;
    free(block);
    free(block);
}

static int recurse(volatile int *deeper) {
    volatile int here[1024];
    here[0] = *deeper + 1;
    return always ? recurse(here) + here[0] : 0;
}

static void overflow_stack(const pare_host *host) {
    volatile int start = 0;
    (void)host;
    always = recurse(&start) != 0;
}

static void close_files(const pare_host *host) {
    (void)host;
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
}

static void write_files(const pare_host *host) {
    static const char text[] = "epoch 1: loss 0.25\n";
    (void)host;
    for (int fd = 3; fd < 64; fd++)
        if (write(fd, text, sizeof text - 1) < 0)
            continue;
}

static void kill_group(const pare_host *host) {
    (void)host;
    kill(0, SIGKILL);
}

static void stop(const pare_host *host) {
    (void)host;
    raise(SIGSTOP);
}

static void divide(const pare_host *host) {
    volatile int zero = 0;
    (void)host;
#if defined(__x86_64__)
    zero = 7 / zero;
#else
    (void)zero; /* gives 0 on ARM */
    raise(SIGFPE);
#endif
}

/* Returns twice. */
static void fork_it(const pare_host *host) {
    (void)host;
    if (fork() < 0)
        abort();
}

static void end_thread(const pare_host *host) {
    (void)host;
    pthread_exit(NULL);
}

static void lock_twice(const pare_host *host) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    (void)host;
    pthread_mutex_lock(&mutex);
    pthread_mutex_lock(&mutex);
}

static void crash_one(void *arg, int64_t index) {
    (void)arg;
    if (index == 100)
        *(volatile int *)nowhere = 1;
}

static void crash_in_thread(const pare_host *host) {
    host->parallel_for(host, 1000, crash_one, NULL);
}

static void wander(const pare_host *host) {
    (void)host;
    if (chdir("/") != 0)
        abort();
}

static void kill_self(const pare_host *host) {
    (void)host;
    raise(SIGKILL);
}

static void *exit_from(void *arg) {
    (void)arg;
    _exit(5);
}

static void exit_in_thread(const pare_host *host) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, exit_from, NULL) != 0)
        abort();
    loop(host);
}

/* No signal but SIGKILL gets through. */
static void ignore_signals(const pare_host *host) {
    sigset_t all;
    (void)host;
    sigfillset(&all);
    for (int k = 1; k < 32; k++)
        signal(k, SIG_IGN);
    sigprocmask(SIG_BLOCK, &all, NULL);
}

static void ignore_and_loop(const pare_host *host) {
    ignore_signals(host);
    loop(host);
}

static void handle_and_go_on(int number) {
    (void)number;
}

/* A crash whose handler returns crashes again and again. */
static void handle_crash(const pare_host *host) {
    signal(SIGSEGV, handle_and_go_on);
    segfault(host);
}

/* A small fork bomb: they live on, with copies of all that is open. */
static void breed(const pare_host *host) {
    (void)host;
    for (int k = 0; k < 40; k++)
        if (fork() == 0)
            for (;;)
                pause();
}

static void print_much(const pare_host *host) {
    (void)host;
    for (int k = 0; k < 100000; k++)
        if (printf("{\"top1\": 1.0}, trial 3 of 7, epoch %d\n", k) < 0)
            abort();
    fflush(stdout);
}

static void map_memory(const pare_host *host) {
    (void)host;
    for (int k = 0; k < 512; k++) {
        void *block =
            mmap(NULL, 1 << 22, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(block, 1, 1 << 22); /* MAP_FAILED, too */
    }
}

static void round_up(const pare_host *host) {
    (void)host;
    fesetround(FE_UPWARD);
}

static void flush_to_zero(const pare_host *host) {
    (void)host;
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040u);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(UINT64_C(1) << 24));
#endif
}

/* To one that writes 0,5, if the machine has any. */
static void change_locale(const pare_host *host) {
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR", "nl_NL"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (setlocale(LC_ALL, names[k]))
            return;
    host->log(host, PARE_LOG_WARN, "no locale with a decimal comma is here");
}

static const struct way {
    const char *name;
    void (*act)(const pare_host *host);
} ways[] = {
    {"none", NULL},
    {"segfault", segfault},
    {"abort", abort_it},
    {"exit_0", exit_0},
    {"exit_3", exit_3},
    {"loop", loop},
    {"memory", eat_memory},
    {"host_memory", eat_host_memory},
    {"heap", overflow_heap},
    {"double_free", free_twice},
    {"stack", overflow_stack},
    {"close", close_files},
    {"write", write_files},
    {"kill_group", kill_group},
    {"stop", stop},
    {"divide", divide},
    {"fork", fork_it},
    {"end_thread", end_thread},
    {"deadlock", lock_twice},
    {"in_thread", crash_in_thread},
    {"chdir", wander},
    {"kill_self", kill_self},
    {"exit_in_thread", exit_in_thread},
    {"ignore_signals", ignore_signals},
    {"ignore_and_loop", ignore_and_loop},
    {"handle_crash", handle_crash},
    {"breed", breed},
    {"print", print_much},
    {"map_memory", map_memory},
    {"round_up", round_up},
    {"flush_to_zero", flush_to_zero},
    {"locale", change_locale},
    {"fail", NULL}, /* as it should: by a status */
};

static const pare_param_desc params[] = {
    {"way", PARE_PARAM_STRING, "", 0, 0, NULL, "none", "what to do"},
    {"number", PARE_PARAM_INT, "", 0, 0, NULL, "0", "tells trials apart"},
};

struct misbehave {
    const pare_host *host;
    const struct way *way;
};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct misbehave *m = host->alloc(host, sizeof *m);
    if (!m)
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    m->host = host;
    m->way = NULL;
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
        if (strcmp(ways[k].name, given->values[0]->s) == 0)
            m->way = &ways[k];
    *instance = m;
    return m->way ? PARE_OK : host->fail(host, PARE_E_ARG, "way is %s", given->values[0]->s);
}

static void destroy(void *instance) {
    struct misbehave *m = instance;
    if (m)
        m->host->free(m->host, m);
}

static pare_status apply(void *instance, const pare_graph *graph) {
    const struct misbehave *m = instance;
    (void)graph;
    if (strcmp(m->way->name, "fail") == 0)
        return m->host->fail(m->host, PARE_E_ARG, "failed as asked");
    if (m->way->act)
        m->way->act(m->host);
    return PARE_OK;
}

static const pare_method method = {
    .struct_size = sizeof method,
    .id = "misbehave",
    .version = "1.0.0",
    .doc = "does what should not be done",
    .reference = "",
    .params = params,
    .n_params = 2,
    .create = create,
    .destroy = destroy,
    .apply = apply,
};

/* ---- the backend ---- */

static pare_status probe(const pare_host *host, pare_probe *out) {
    (void)host;
    out->score = 1;
    return PARE_OK;
}

static pare_status backend_create(const pare_host *host, const pare_params *given,
                                  void **instance) {
    (void)given;
    *instance = (void *)(uintptr_t)host;
    return PARE_OK;
}

static void backend_destroy(void *instance) {
    (void)instance;
}

static pare_status supports(void *instance, const pare_graph *graph, int32_t node) {
    (void)instance, (void)graph, (void)node;
    return PARE_OK;
}

static const pare_executable_info executable = {
    .struct_size = sizeof executable, .isa = "none", .execution = "float"};

static pare_status compile(void *instance, const pare_graph *graph,
                           const pare_compile_options *options, void **out) {
    (void)instance, (void)graph, (void)options;
    *out = (void *)(uintptr_t)&executable;
    return PARE_OK;
}

static void executable_destroy(void *e) {
    (void)e;
}

static pare_status executable_info(void *e, const pare_executable_info **info) {
    *info = e;
    return PARE_OK;
}

static pare_status run(void *e, const float *images, int32_t n, float *output) {
    (void)e, (void)images, (void)n, (void)output;
    *(volatile int *)nowhere = 1;
    return PARE_OK;
}

static const pare_backend backend = {
    .struct_size = sizeof backend,
    .id = "misbehave_run",
    .version = "1.0.0",
    .doc = "crashes when it is run",
    .reference = "",
    .probe = probe,
    .create = backend_create,
    .destroy = backend_destroy,
    .supports = supports,
    .compile = compile,
    .executable_destroy = executable_destroy,
    .executable_info = executable_info,
    .run = run,
};

static const pare_method *const methods[] = {&method};
static const pare_backend *const backends[] = {&backend};
static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "misbehave", .version = "1.0.0", .license = "MIT",
    .n_methods = 1,     .methods = methods,  .n_backends = 1,    .backends = backends,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
