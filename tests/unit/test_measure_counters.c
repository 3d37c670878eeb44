/* SPDX-License-Identifier: MIT */
/* Counters by the real PAPI and kernel of this machine, and by stand-ins for machines that this one
 * is not: with hardware counters, without a PMU, without PAPI. */
#include "measure/counters.h"
#include "measure/counters_internal.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a PAPI that is not there ---- */

enum { FAKE_GROUPS = 16, FAKE_SLOTS = 8, CODE_NO_EVENT = -7, CODE_CONFLICT = -8, CODE_BAD = -4 };

struct fake {
    int starts_not; /* the library cannot be used */
    int has_pmu, has_sde, has_rapl;
    int slots; /* events that fit into one group of the processor */
    int fail_start, fail_stop;
    int n_threads;
    int64_t sde[N_SDE], sde_at_start[N_SDE];
    int64_t sde_error; /* added to what is read */
    int n_live, n_running, n_created;
    struct {
        int live, running, n;
        char events[FAKE_SLOTS][48];
    } groups[FAKE_GROUPS];
};

static const struct {
    const char *name;
    long long value;
} fake_events[] = {{"PAPI_TOT_CYC", 5000},
                   {"PAPI_TOT_INS", 9000},
                   {"PAPI_L1_DCM", 70},
                   {"PAPI_BR_MSP", 3},
                   {"rapl:::PACKAGE_ENERGY:PACKAGE0", 123456}};

static int fake_init(void *context, char version[32], char *why, size_t why_size) {
    struct fake *f = context;
    snprintf(version, 32, "9.8.7");
    if (f->starts_not)
        snprintf(why, why_size, "PAPI is broken");
    return !f->starts_not;
}

static int fake_component(void *context, const char *name, char *why, size_t why_size) {
    struct fake *f = context;
    int works = strcmp(name, "perf_event") == 0 ? f->has_pmu
                : strcmp(name, "sde") == 0      ? f->has_sde
                : strcmp(name, "rapl") == 0     ? f->has_rapl
                                                : 0;
    if (!works)
        snprintf(why, why_size, "%s: no default PMU found", name);
    return works;
}

static int fake_create(void *context, int *group) {
    struct fake *f = context;
    for (int g = 0; g < FAKE_GROUPS; g++) {
        if (!f->groups[g].live) {
            f->groups[g].live = 1;
            f->groups[g].n = 0;
            f->n_live++;
            f->n_created++;
            *group = g;
            return 0;
        }
    }
    return CODE_BAD;
}

static int fake_add(void *context, int group, const char *event) {
    struct fake *f = context;
    int known = strncmp(event, "sde:::pare::", 12) == 0;
    for (size_t i = 0; i < sizeof fake_events / sizeof *fake_events; i++)
        known |= strcmp(event, fake_events[i].name) == 0;
    if (!known)
        return CODE_NO_EVENT;
    if (f->groups[group].n == (strncmp(event, "PAPI_", 5) == 0 ? f->slots : FAKE_SLOTS))
        return CODE_CONFLICT;
    snprintf(f->groups[group].events[f->groups[group].n++], 48, "%s", event);
    return 0;
}

static int fake_start(void *context, int group) {
    struct fake *f = context;
    if (f->fail_start)
        return CODE_BAD;
    assert_false(f->groups[group].running);
    f->groups[group].running = 1;
    f->n_running++;
    memcpy(f->sde_at_start, f->sde, sizeof f->sde);
    return 0;
}

static long long fake_read(const struct fake *f, const char *event) {
    for (int k = 0; k < N_SDE; k++) {
        if (strncmp(event, "sde:::pare::", 12) == 0 &&
            strcmp(event + 12, sde_name((enum sde_counter)k)) == 0)
            return f->sde[k] - f->sde_at_start[k] + f->sde_error;
    }
    for (size_t i = 0; i < sizeof fake_events / sizeof *fake_events; i++) {
        if (strcmp(event, fake_events[i].name) == 0)
            return fake_events[i].value;
    }
    return -1;
}

static int fake_stop(void *context, int group, long long *values) {
    struct fake *f = context;
    assert_true(f->groups[group].running);
    f->groups[group].running = 0;
    f->n_running--;
    for (int i = 0; i < f->groups[group].n; i++)
        values[i] = fake_read(f, f->groups[group].events[i]);
    return f->fail_stop ? CODE_BAD : 0;
}

static void fake_destroy(void *context, int group) {
    struct fake *f = context;
    assert_true(f->groups[group].live);
    f->groups[group].live = 0;
    f->n_live--;
}

static const char *fake_error_text(void *context, int code) {
    (void)context;
    return code == CODE_NO_EVENT ? "Event does not exist" : "Not supported";
}

static void fake_sde_add(void *context, enum sde_counter which, int64_t amount) {
    ((struct fake *)context)->sde[which] += amount;
}

static int fake_n_threads(void *context) {
    return ((struct fake *)context)->n_threads;
}

static struct papi_api fake_api(struct fake *f) {
    return (struct papi_api){
        f,         fake_init,    fake_component,  fake_create,  fake_add,      fake_start,
        fake_stop, fake_destroy, fake_error_text, fake_sde_add, fake_n_threads};
}

/* ---- helpers ---- */

static struct counters *open_set(const struct papi_api *papi, const char *const *events, size_t n) {
    struct counters *set = NULL;
    struct error err = {0};
    if (counters_open_by(papi, events, n, &err, &set) != PARE_OK)
        fail_msg("%s", err.text);
    return set;
}

static void run_pass(struct counters *set, size_t pass, int64_t macs) {
    struct error err = {0};
    assert_int_equal(counters_start(set, pass, &err), PARE_OK);
    counters_sde_add(set, SDE_MACS, macs);
    counters_sde_add(set, SDE_KERNEL_CALLS, 2);
    assert_int_equal(counters_stop(set, pass, &err), PARE_OK);
}

static int64_t value_of(const struct counters *set, size_t k) {
    int64_t value = -1;
    const char *reason = "";
    if (!counters_value(set, k, &value, &reason))
        fail_msg("event %zu is absent: %s", k, reason);
    return value;
}

static const char *absence_of(const struct counters *set, size_t k) {
    int64_t value = -77;
    const char *reason = NULL;
    if (counters_value(set, k, &value, &reason))
        fail_msg("event %zu has the value %lld", k, (long long)value);
    assert_int_equal(value, -77); /* never 0 for "not read" */
    assert_non_null(reason);
    assert_true(reason[0] != '\0');
    return reason;
}

/* ---- hardware counters ---- */

static void hardware_events_are_read(void **state) {
    static const char *const events[] = {"PAPI_TOT_CYC", "PAPI_TOT_INS", "sde:::pare::MACS",
                                         "rapl:::PACKAGE_ENERGY:PACKAGE0"};
    struct fake f = {.has_pmu = 1, .has_sde = 1, .has_rapl = 1, .slots = 4, .n_threads = 1};
    struct papi_api api = fake_api(&f);
    struct counters *set = open_set(&api, events, 4);
    (void)state;
    assert_int_equal(counters_n_passes(set), 1);
    run_pass(set, 0, 640);
    assert_int_equal(value_of(set, 0), 5000);
    assert_int_equal(value_of(set, 1), 9000);
    assert_int_equal(value_of(set, 2), 640);
    assert_int_equal(value_of(set, 3), 123456);
    assert_string_equal(counters_status(set), "ok");
    run_pass(set, 0, 41); /* a value covers the last run of its pass */
    assert_int_equal(value_of(set, 2), 41);
    counters_close(set);
    assert_int_equal(f.n_live, 0);
}

static void events_that_do_not_fit_get_passes(void **state) {
    static const char *const events[] = {"PAPI_TOT_CYC", "PAPI_TOT_INS", "PAPI_L1_DCM",
                                         "PAPI_BR_MSP", "sde:::pare::MACS"};
    struct fake f = {.has_pmu = 1, .has_sde = 1, .slots = 2, .n_threads = 1};
    struct papi_api api = fake_api(&f);
    struct counters *set = open_set(&api, events, 5);
    (void)state;
    assert_int_equal(counters_n_passes(set), 2);
    run_pass(set, 0, 7);
    assert_int_equal(value_of(set, 0), 5000);
    assert_non_null(strstr(absence_of(set, 2), "has not run"));
    /* Events with one reason stand together before it. */
    assert_non_null(strstr(counters_status(set), "PAPI_L1_DCM, PAPI_BR_MSP: not measured"));
    run_pass(set, 1, 9);
    assert_int_equal(value_of(set, 2), 70);
    assert_int_equal(value_of(set, 3), 3);
    assert_int_equal(value_of(set, 4), 7); /* of its own pass */
    assert_string_equal(counters_status(set), "ok");
    counters_close(set);
    assert_int_equal(f.n_live, 0);
}

static void unknown_and_doubled_events_are_absent(void **state) {
    static const char *const events[] = {
        "PAPI_NOPE", "PAPI_TOT_INS", "PAPI_TOT_INS", "sde:::pare::NOPE", "sde:::other::MACS",
        "",          "nvml:::POWER", "sde:::"};
    struct fake f = {.has_pmu = 1, .has_sde = 1, .slots = 4, .n_threads = 1};
    struct papi_api api = fake_api(&f);
    struct counters *set = open_set(&api, events, 8);
    (void)state;
    run_pass(set, 0, 1);
    assert_non_null(strstr(absence_of(set, 0), "Event does not exist"));
    assert_int_equal(value_of(set, 1), 9000);
    assert_non_null(strstr(absence_of(set, 2), "listed twice"));
    assert_non_null(strstr(absence_of(set, 3), "no such event"));
    assert_non_null(strstr(absence_of(set, 4), "no such event"));
    assert_non_null(strstr(absence_of(set, 5), "Event does not exist"));
    assert_non_null(strstr(absence_of(set, 6), "nvml"));
    assert_non_null(strstr(absence_of(set, 7), "no such event"));
    counters_close(set);
    assert_int_equal(f.n_live, 0);
    assert_int_equal(f.n_running, 0);
}

static void failures_of_papi_make_events_absent(void **state) {
    static const char *const events[] = {"PAPI_TOT_CYC"};
    (void)state;
    for (int at_stop = 0; at_stop <= 1; at_stop++) {
        struct fake f = {.has_pmu = 1, .slots = 4, .n_threads = 1};
        struct papi_api api = fake_api(&f);
        struct counters *set = open_set(&api, events, 1);
        run_pass(set, 0, 1);
        assert_int_equal(value_of(set, 0), 5000);
        f.fail_start = !at_stop;
        f.fail_stop = at_stop;
        run_pass(set, 0, 1); /* the old value must not survive */
        assert_non_null(
            strstr(absence_of(set, 0), at_stop ? "could not be read" : "could not start"));
        counters_close(set);
        assert_int_equal(f.n_live, 0);
    }
}

static void several_threads_leave_hardware_events_out(void **state) {
    static const char *const events[] = {"PAPI_TOT_CYC", "sde:::pare::MACS"};
    struct fake f = {.has_pmu = 1, .has_sde = 1, .slots = 4, .n_threads = 3};
    struct papi_api api = fake_api(&f);
    struct counters *set = open_set(&api, events, 2);
    (void)state;
    run_pass(set, 0, 5);
    assert_non_null(strstr(absence_of(set, 0), "this process has 3"));
    assert_int_equal(value_of(set, 1), 5);
    counters_close(set);
}

static void papi_that_miscounts_is_caught(void **state) {
    static const char *const events[] = {"sde:::pare::MACS"};
    struct fake f = {.has_sde = 1, .slots = 4, .n_threads = 1, .sde_error = 1};
    struct papi_api api = fake_api(&f);
    struct counters *set = open_set(&api, events, 1);
    (void)state;
    run_pass(set, 0, 5);
    assert_non_null(strstr(absence_of(set, 0), "PAPI read 6, pare counted 5"));
    counters_close(set);
}

/* ---- machines without ---- */

static void without_a_pmu_says_so(void **state) {
    static const char *const events[] = {"PAPI_TOT_INS", "sde:::pare::MACS", "page_faults"};
    struct fake f = {.has_sde = 1, .slots = 4, .n_threads = 1};
    struct papi_api api = fake_api(&f);
    struct counters *set = open_set(&api, events, 3);
    (void)state;
    run_pass(set, 0, 12);
    assert_non_null(strstr(absence_of(set, 0), "no hardware counters here (perf_event: "));
    assert_int_equal(value_of(set, 1), 12);
    assert_true(value_of(set, 2) >= 0);
    assert_string_equal(counters_status(set), "PAPI_TOT_INS: no hardware counters here "
                                              "(perf_event: no default PMU found)");
    counters_close(set);
}

static void without_papi_own_counts_remain(void **state) {
    static const char *const events[] = {"PAPI_TOT_INS", "sde:::pare::MACS", "task_clock_ns"};
    struct fake broken = {.starts_not = 1};
    struct papi_api api = fake_api(&broken);
    (void)state;
    for (int built = 0; built <= 1; built++) {
        struct counters *set = open_set(built ? &api : NULL, events, 3);
        run_pass(set, 0, 99);
        assert_non_null(strstr(absence_of(set, 0), built ? "PAPI is broken" : "without PAPI"));
        assert_int_equal(value_of(set, 1), 99);
        assert_true(value_of(set, 2) >= 0);
        counters_close(set);
    }
    counters_close(NULL);
    counters_sde_add(NULL, SDE_MACS, 1);
}

static void probe_tells_what_works(void **state) {
    struct counters_support s;
    struct fake f = {.has_pmu = 1, .has_sde = 1, .has_rapl = 0};
    struct papi_api api = fake_api(&f);
    (void)state;
    counters_probe_by(&api, &s);
    assert_true(s.papi_library && s.papi_hardware && s.papi_sde && !s.energy);
    assert_string_equal(s.papi_version, "9.8.7");
    assert_string_equal(s.why[0], "");
    assert_string_equal(s.why[1], "");
    assert_non_null(strstr(s.why[4], "rapl"));
    assert_non_null(strstr(s.why[4], "powercap"));
    f.has_rapl = 1;
    f.has_pmu = 0;
    counters_probe_by(&api, &s);
    assert_true(s.energy && !s.papi_hardware);
    assert_non_null(strstr(s.why[1], "no default PMU"));
    assert_string_equal(s.why[4], "");
    counters_probe_by(NULL, &s);
    assert_true(!s.papi_library && !s.papi_hardware && !s.papi_sde && !s.energy);
    for (int i = 0; i < 5; i++)
        assert_int_equal(s.why[i][0] != '\0', i != 3 || !s.software_events);
}

/* ---- this machine ---- */

static void real_sde_counts_through_papi(void **state) {
    static const char *const events[] = {"sde:::pare::WEIGHT_BYTES", "sde:::pare::MACS",
                                         "sde:::pare::FALLBACK_OPS", "sde:::pare::KERNEL_CALLS"};
    struct counters_support support;
    struct error err = {0};
    struct counters *set = NULL;
    (void)state;
    counters_probe(&support);
    print_message("PAPI %s: hardware %d (%s), sde %d (%s), perf_event %d (%s), energy %d (%s)\n",
                  support.papi_version, support.papi_hardware, support.why[1], support.papi_sde,
                  support.why[2], support.software_events, support.why[3], support.energy,
                  support.why[4]);
    if (!support.papi_sde) {
        print_message("SKIPPED: %s\n", support.why[2]);
        skip();
    }
    for (int round = 0; round < 3; round++) { /* sets come and go */
        assert_int_equal(counters_open(events, 4, &err, &set), PARE_OK);
        counters_sde_add(set, SDE_MACS, 1000000); /* before the start: not counted */
        for (int64_t run = 1; run <= 3; run++) {
            assert_int_equal(counters_start(set, 0, &err), PARE_OK);
            counters_sde_add(set, SDE_MACS, 41000000000 * run);
            counters_sde_add(set, SDE_MACS, 1);
            counters_sde_add(set, SDE_WEIGHT_BYTES, 270896);
            counters_sde_add(set, SDE_KERNEL_CALLS, 31);
            assert_int_equal(counters_stop(set, 0, &err), PARE_OK);
            counters_sde_add(set, SDE_MACS, 7); /* after the stop: not counted */
            assert_string_equal(counters_status(set), "ok");
            assert_int_equal(value_of(set, 0), 270896);
            assert_int_equal(value_of(set, 1), 41000000000 * run + 1);
            assert_int_equal(value_of(set, 2), 0); /* counted, and there were none */
            assert_int_equal(value_of(set, 3), 31);
        }
        counters_close(set);
    }
}

/* The number that PAPI itself gives, not the one that pare keeps beside it. */
static void real_papi_reads_the_exported_counter(void **state) {
    const struct papi_api *papi = papi_real();
    char version[32], why[160];
    long long values[2] = {-1, -1};
    int group = 0;
    (void)state;
    if (papi == NULL || !papi->init(papi->context, version, why, sizeof why) ||
        !papi->component(papi->context, "sde", why, sizeof why)) {
        print_message("SKIPPED: no PAPI with sde\n");
        skip();
    }
    assert_int_equal(papi->group_create(papi->context, &group), 0);
    assert_int_equal(papi->group_add(papi->context, group, "sde:::pare::KERNEL_CALLS"), 0);
    assert_int_equal(papi->group_add(papi->context, group, "sde:::pare::MACS"), 0);
    assert_int_equal(papi->group_start(papi->context, group), 0);
    papi->sde_add(papi->context, SDE_MACS, 123456789012);
    papi->sde_add(papi->context, SDE_KERNEL_CALLS, 3);
    assert_int_equal(papi->group_stop(papi->context, group, values), 0);
    assert_true(values[0] == 3 && values[1] == 123456789012);
    papi->group_destroy(papi->context, group);
}

static void real_hardware_events_count_or_say_why(void **state) {
    static const char *const events[] = {"PAPI_TOT_INS"};
    struct error err = {0};
    struct counters *set = NULL;
    volatile double x = 1;
    int64_t value = 0;
    const char *reason = NULL;
    (void)state;
    assert_int_equal(counters_open(events, 1, &err, &set), PARE_OK);
    assert_int_equal(counters_start(set, 0, &err), PARE_OK);
    for (int i = 0; i < 1000000; i++)
        x = x * 0.5 + 1;
    assert_int_equal(counters_stop(set, 0, &err), PARE_OK);
    if (counters_value(set, 0, &value, &reason)) {
        print_message("PAPI_TOT_INS: %lld\n", (long long)value);
        assert_true(value > 3000000);
        assert_string_equal(counters_status(set), "ok");
    } else {
        print_message("PAPI_TOT_INS: %s\n", reason);
        assert_true(strlen(reason) > 10);
        assert_non_null(strstr(counters_status(set), reason));
    }
    counters_close(set);
}

/* A sanitizer's shadow memory faults too. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { FAULT_PAGES = 200, SPARE_FAULTS = 5000 };
#else
enum { FAULT_PAGES = 200, SPARE_FAULTS = 500 };
#endif

static void *touch_pages(void *arg) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    /* Huge pages would make one fault of many. */
    char *memory =
        mmap(NULL, FAULT_PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)arg;
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, FAULT_PAGES * page, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < FAULT_PAGES; i++)
        ((volatile char *)memory)[i * page] = 1;
    munmap(memory, FAULT_PAGES * page);
    return NULL;
}

/* By perf_event and by getrusage: faults of this and of another thread, switches by sleeping, time
 * by working. */
static void software_events_count_the_process(void **state) {
    static const char *const names[N_SOFT] = {"page_faults", "context_switches", "migrations",
                                              "task_clock_ns"};
    const struct timespec nap = {0, 1000000};
    (void)state;
    for (int by_perf = 0; by_perf <= 1; by_perf++) {
        struct soft_counter counters[N_SOFT];
        struct soft_reading before[N_SOFT] = {{0}}, after[N_SOFT] = {{0}};
        int works[N_SOFT];
        char why[160] = "";
        pthread_t thread;
        volatile double x = 1;
        for (int k = 0; k < N_SOFT; k++) {
            assert_int_equal(soft_find(names[k]), k);
            works[k] = soft_open(&counters[k], (enum soft_event)k, by_perf, why, sizeof why);
            if (works[k])
                assert_true(soft_read(&counters[k], &before[k], why, sizeof why));
        }
        touch_pages(NULL);
        assert_int_equal(pthread_create(&thread, NULL, touch_pages, NULL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        for (int i = 0; i < 10; i++)
            nanosleep(&nap, NULL);
        for (int i = 0; i < 2000000; i++)
            x = x * 0.5 + 1;
        for (int k = 0; k < N_SOFT; k++) {
            if (works[k])
                assert_true(soft_read(&counters[k], &after[k], why, sizeof why));
            print_message("%s %s %lld (perf_event: %d)\n", names[k], works[k] ? "" : why,
                          (long long)(after[k].value - before[k].value), counters[k].fds != NULL);
            soft_close(&counters[k]);
        }
        assert_int_equal(works[SOFT_MIGRATIONS] && !by_perf, 0);
        assert_true(works[SOFT_PAGE_FAULTS] && works[SOFT_CONTEXT_SWITCHES] &&
                    works[SOFT_TASK_CLOCK]);
        assert_in_range(after[SOFT_PAGE_FAULTS].value - before[SOFT_PAGE_FAULTS].value,
                        2 * FAULT_PAGES, 2 * FAULT_PAGES + SPARE_FAULTS);
        assert_in_range(after[SOFT_CONTEXT_SWITCHES].value - before[SOFT_CONTEXT_SWITCHES].value,
                        10, 100000);
        assert_true(after[SOFT_TASK_CLOCK].value - before[SOFT_TASK_CLOCK].value > 500000);
    }
    assert_int_equal(soft_find("page_fault"), SOFT_NONE);
}

static void put_reading(int fd, uint64_t value, uint64_t enabled_ns, uint64_t running_ns) {
    const uint64_t got[3] = {value, enabled_ns, running_ns};
    assert_int_equal(write(fd, got, sizeof got), sizeof got);
}

/* Readings as perf_event gives them, through a pipe: summed over threads, and refused when an event
 * did not count for as long as it was enabled. */
static void counts_of_part_of_the_time_are_refused(void **state) {
    int ends[2], fds[2];
    char why[160] = "";
    struct soft_reading got = {.value = 77};
    struct soft_counter counter = {.event = SOFT_MIGRATIONS, .fds = fds, .n_fds = 2};
    (void)state;
    assert_int_equal(pipe(ends), 0);
    fds[0] = fds[1] = ends[0];
    put_reading(ends[1], 5, 1000, 1000);
    put_reading(ends[1], 8, 400, 400);
    assert_true(soft_read(&counter, &got, why, sizeof why));
    assert_int_equal(got.value, 13);
    assert_int_equal(got.enabled_ns, 1400);
    assert_int_equal(got.running_ns, 1400);
    put_reading(ends[1], 5, 1000, 1000);
    put_reading(ends[1], 8, 400, 399);
    got.value = 77;
    assert_false(soft_read(&counter, &got, why, sizeof why));
    assert_string_equal(why, "multiplexed: counted 399 of 400 ns");
    assert_int_equal(got.value, 77);
    close(ends[0]);
    close(ends[1]);
}

/* ---- groups and metrics ---- */

static void groups_become_events(void **state) {
    static const char *const names[] = {"page_faults", "branch", "ipc", "PAPI_BR_MSP", "kernel"};
    static const char *const wanted[] = {"page_faults",  "PAPI_BR_INS",  "PAPI_BR_MSP",
                                         "PAPI_TOT_INS", "PAPI_TOT_CYC", "context_switches",
                                         "migrations",   "task_clock_ns"};
    const char **events = NULL;
    size_t n = 0;
    struct error err = {0};
    (void)state;
    assert_int_equal(counters_expand(names, 5, &err, &events, &n), PARE_OK);
    assert_int_equal(n, sizeof wanted / sizeof *wanted);
    for (size_t k = 0; k < n; k++)
        assert_string_equal(events[k], wanted[k]);
    free(events);
    assert_int_equal(counters_expand(NULL, 0, &err, &events, &n), PARE_OK);
    assert_int_equal(n, 0);
    free(events);
}

static double metric(const struct counters *set, const char *name) {
    size_t n;
    const struct counter_metric *all = counters_metrics(&n);
    double value = -77;
    for (size_t k = 0; k < n; k++) {
        if (strcmp(all[k].name, name) == 0)
            return counters_metric(set, &all[k], &value) ? value : -1;
    }
    fail_msg("no metric %s", name);
    return 0;
}

static void metrics_are_ratios_of_events(void **state) {
    static const char *const events[] = {"PAPI_TOT_CYC", "PAPI_TOT_INS", "PAPI_L1_DCM",
                                         "sde:::pare::MACS", "sde:::pare::WEIGHT_BYTES"};
    struct fake f = {.has_pmu = 1, .has_sde = 1, .slots = 2, .n_threads = 1};
    struct papi_api api = fake_api(&f);
    struct counters *set = open_set(&api, events, 5);
    struct error err = {0};
    int64_t enabled_ns, running_ns;
    (void)state;
    assert_true(metric(set, "ipc") == -1); /* nothing has run: no value, and not 0 */
    for (size_t pass = 0; pass < counters_n_passes(set); pass++) {
        assert_int_equal(counters_start(set, pass, &err), PARE_OK);
        counters_sde_add(set, SDE_MACS, 1000);
        counters_sde_add(set, SDE_WEIGHT_BYTES, 500);
        assert_int_equal(counters_stop(set, pass, &err), PARE_OK);
    }
    assert_true(metric(set, "ipc") == 9000.0 / 5000);
    assert_true(metric(set, "l1d_mpki") == 1000.0 * 70 / 9000);
    assert_true(metric(set, "bytes_per_mac") == 0.5);
    assert_true(metric(set, "macs_per_cycle") == 0.2);
    assert_true(metric(set, "llc_mpki") == -1); /* not asked for */
    assert_true(metric(set, "branch_mpki") == -1);
    assert_false(counters_times(set, &enabled_ns, &running_ns)); /* no software event told */
    counters_close(set);
}

/* Trials run in child processes: a child counts for itself, also after its parent has used PAPI. */
static void children_count_for_themselves(void **state) {
    static const char *const events[] = {"sde:::pare::MACS", "page_faults"};
    struct counters_support support;
    int status;
    pid_t child;
    (void)state;
    counters_probe(&support);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct error err = {0};
        struct counters *set = NULL;
        int64_t value = 0;
        const char *reason;
        if (counters_open(events, 2, &err, &set) != PARE_OK ||
            counters_start(set, 0, &err) != PARE_OK)
            _exit(1);
        counters_sde_add(set, SDE_MACS, 77);
        if (counters_stop(set, 0, &err) != PARE_OK || !counters_value(set, 0, &value, &reason))
            _exit(2);
        if (value != 77 || strcmp(counters_status(set), "ok") != 0)
            _exit(3);
        counters_close(set);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void misuse_is_refused(void **state) {
    static const char *const events[] = {"sde:::pare::MACS"};
    struct counters *set = NULL;
    struct error err = {0};
    const char *many[257];
    (void)state;
    for (int i = 0; i < 257; i++)
        many[i] = "x";
    assert_int_equal(counters_open(many, 257, &err, &set), PARE_E_LIMIT);
    assert_null(set);
    assert_int_equal(counters_open(NULL, 0, &err, &set), PARE_OK);
    assert_int_equal(counters_n_passes(set), 1);
    assert_string_equal(counters_status(set), "ok");
    counters_close(set);

    assert_int_equal(counters_open(events, 1, &err, &set), PARE_OK);
    assert_int_equal(counters_stop(set, 0, &err), PARE_E_STATE);
    assert_int_equal(counters_start(set, 1, &err), PARE_E_ARG);
    assert_int_equal(counters_start(set, 0, &err), PARE_OK);
    assert_int_equal(counters_start(set, 0, &err), PARE_E_STATE);
    counters_close(set); /* while it runs */

    assert_int_equal(counters_open(events, 1, &err, &set), PARE_OK);
    run_pass(set, 0, 3);
    assert_int_equal(value_of(set, 0), 3);
    counters_close(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hardware_events_are_read),
        cmocka_unit_test(events_that_do_not_fit_get_passes),
        cmocka_unit_test(unknown_and_doubled_events_are_absent),
        cmocka_unit_test(failures_of_papi_make_events_absent),
        cmocka_unit_test(several_threads_leave_hardware_events_out),
        cmocka_unit_test(papi_that_miscounts_is_caught),
        cmocka_unit_test(without_a_pmu_says_so),
        cmocka_unit_test(without_papi_own_counts_remain),
        cmocka_unit_test(probe_tells_what_works),
        cmocka_unit_test(real_sde_counts_through_papi),
        cmocka_unit_test(real_papi_reads_the_exported_counter),
        cmocka_unit_test(real_hardware_events_count_or_say_why),
        cmocka_unit_test(software_events_count_the_process),
        cmocka_unit_test(counts_of_part_of_the_time_are_refused),
        cmocka_unit_test(groups_become_events),
        cmocka_unit_test(metrics_are_ratios_of_events),
        cmocka_unit_test(children_count_for_themselves),
        cmocka_unit_test(misuse_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
