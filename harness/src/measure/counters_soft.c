/* SPDX-License-Identifier: MIT */
#include "core/alloc.h"
#include "measure/counters_internal.h"

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name;
    uint64_t config;
} soft_events[N_SOFT] = {
    [SOFT_PAGE_FAULTS] = {"page_faults", PERF_COUNT_SW_PAGE_FAULTS},
    [SOFT_CONTEXT_SWITCHES] = {"context_switches", PERF_COUNT_SW_CONTEXT_SWITCHES},
    [SOFT_MIGRATIONS] = {"migrations", PERF_COUNT_SW_CPU_MIGRATIONS},
    [SOFT_TASK_CLOCK] = {"task_clock_ns", PERF_COUNT_SW_TASK_CLOCK},
};

enum soft_event soft_find(const char *name) {
    int k = 0;
    while (k < N_SOFT && strcmp(name, soft_events[k].name) != 0)
        k++;
    return (enum soft_event)k;
}

/* Counted in kernel mode too: that is where a switch or a fault of a system call happens, and a
 * count of user mode alone would be a false 0. */
static int open_for_thread(enum soft_event event, pid_t thread) {
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof attr,
        .config = soft_events[event].config,
        .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
        .inherit = 1, /* threads that this one starts later */
    };
    return (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Opens the event for every thread there is. All or nothing; errno tells why nothing. */
static int open_by_perf(struct soft_counter *counter) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int code = 0;
    if (tasks == NULL)
        return 0;
    while (code == 0 && (entry = readdir(tasks)) != NULL) {
        int *more, fd;
        if (entry->d_name[0] == '.')
            continue;
        fd = open_for_thread(counter->event, (pid_t)atoi(entry->d_name));
        more = fd < 0 ? NULL : alloc_resize(counter->fds, counter->n_fds + 1, sizeof *more);
        if (fd < 0 && errno == ESRCH)
            continue; /* a thread that has just ended */
        if (more == NULL) {
            code = fd < 0 ? errno : ENOMEM;
            if (fd >= 0)
                close(fd);
            break;
        }
        counter->fds = more;
        counter->fds[counter->n_fds++] = fd;
    }
    closedir(tasks);
    if (code == 0 && counter->n_fds > 0)
        return 1;
    soft_close(counter);
    errno = code != 0 ? code : ESRCH;
    return 0;
}

int soft_open(struct soft_counter *counter, enum soft_event event, int by_perf, char *why,
              size_t why_size) {
    memset(counter, 0, sizeof *counter);
    counter->event = event;
    if (by_perf && open_by_perf(counter))
        return 1;
    if (event != SOFT_MIGRATIONS)
        return 1; /* getrusage and the CPU clock never fail for the own process */
    if (by_perf)
        snprintf(why, why_size, "perf_event_open: %s (see kernel.perf_event_paranoid)",
                 strerror(errno));
    else
        snprintf(why, why_size, "only perf_event counts it");
    return 0;
}

static int read_by_perf(const struct soft_counter *counter, struct soft_reading *out, char *why,
                        size_t why_size) {
    struct soft_reading sum = {0};
    for (size_t i = 0; i < counter->n_fds; i++) {
        struct {
            uint64_t value, enabled_ns, running_ns;
        } got;
        if (read(counter->fds[i], &got, sizeof got) != (ssize_t)sizeof got) {
            snprintf(why, why_size, "reading perf_event: %s", strerror(errno));
            return 0;
        }
        if (got.running_ns < got.enabled_ns) {
            snprintf(why, why_size, "multiplexed: counted %llu of %llu ns",
                     (unsigned long long)got.running_ns, (unsigned long long)got.enabled_ns);
            return 0;
        }
        sum.value += (int64_t)got.value;
        sum.enabled_ns += (int64_t)got.enabled_ns;
        sum.running_ns += (int64_t)got.running_ns;
    }
    *out = sum;
    return 1;
}

int soft_read(const struct soft_counter *counter, struct soft_reading *out, char *why,
              size_t why_size) {
    struct rusage usage;
    struct timespec cpu;
    if (counter->fds != NULL)
        return read_by_perf(counter, out, why, why_size);
    if (getrusage(RUSAGE_SELF, &usage) != 0 || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) != 0) {
        snprintf(why, why_size, "getrusage: %s", strerror(errno));
        return 0;
    }
    *out = (struct soft_reading){0};
    if (counter->event == SOFT_PAGE_FAULTS)
        out->value = (int64_t)usage.ru_minflt + usage.ru_majflt;
    else if (counter->event == SOFT_CONTEXT_SWITCHES)
        out->value = (int64_t)usage.ru_nvcsw + usage.ru_nivcsw;
    else
        out->value = (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
    return 1;
}

void soft_close(struct soft_counter *counter) {
    for (size_t i = 0; i < counter->n_fds; i++)
        close(counter->fds[i]);
    free(counter->fds);
    counter->fds = NULL;
    counter->n_fds = 0;
}
