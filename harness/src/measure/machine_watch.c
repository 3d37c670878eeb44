/* SPDX-License-Identifier: MIT */
#include "measure/machine_watch.h"

#include "measure/machine_internal.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void machine_watch_start(struct machine_watch *watch) {
    int cpu = sched_getcpu();
    *watch = (struct machine_watch){.root = "", .cpu = cpu >= 0 ? cpu : 0};
}

/* The number at the start of a file; -1 if there is none. */
static int64_t read_number(const char *root, const char *folder, int cpu, const char *name) {
    char path[256];
    long long value = -1;
    snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/%s/%s", root, cpu, folder, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%lld", &value) != 1 || value < 0)
        value = -1;
    fclose(file);
    return value;
}

void machine_glance(const char *root, int cpu, struct machine_glance *out) {
    struct rusage usage;
    out->steal_ticks = machine_steal_ticks(root);
    out->preemptions = getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : -1;
    out->freq_khz = read_number(root, "cpufreq", cpu, "scaling_cur_freq");
    out->throttles = read_number(root, "thermal_throttle", cpu, "core_throttle_count");
}

static int grew(int64_t before, int64_t after) {
    return before >= 0 && after > before;
}

int machine_watch_note(struct machine_watch *w, const struct machine_glance *now) {
    const struct machine_glance *last = &w->last;
    int seen[N_DISTURBANCES] = {0}, any = 0;
    if (w->looked) {
        int64_t change = now->freq_khz - last->freq_khz;
        seen[DISTURBED_STEAL] = grew(last->steal_ticks, now->steal_ticks);
        seen[DISTURBED_PREEMPTED] = grew(last->preemptions, now->preemptions);
        seen[DISTURBED_FREQUENCY] =
            last->freq_khz > 0 && now->freq_khz > 0 && llabs(change) > last->freq_khz / 20;
        seen[DISTURBED_THROTTLED] = grew(last->throttles, now->throttles);
        w->n_blocks++;
    }
    for (int k = 0; k < N_DISTURBANCES; k++) {
        w->n[k] += seen[k];
        any |= seen[k];
    }
    w->n_disturbed += any;
    w->last = *now;
    w->looked = 1;
    return any;
}

int machine_watch_look(void *watch) {
    struct machine_watch *w = watch;
    struct machine_glance now;
    machine_glance(w->root, w->cpu, &now);
    return machine_watch_note(w, &now);
}

void machine_watch_text(const struct machine_watch *w, char *text, size_t size) {
    static const char *const names[N_DISTURBANCES] = {"steal", "preempted", "frequency",
                                                      "throttled"};
    size_t used;
    text[0] = '\0';
    if (w->n_disturbed == 0)
        return;
    snprintf(text, size, "%lld of %lld blocks (", (long long)w->n_disturbed,
             (long long)w->n_blocks);
    for (int k = 0, first = 1; k < N_DISTURBANCES; k++) {
        used = strlen(text);
        if (w->n[k] > 0) {
            snprintf(text + used, size - used, "%s%s %lld", first ? "" : ", ", names[k],
                     (long long)w->n[k]);
            first = 0;
        }
    }
    used = strlen(text);
    snprintf(text + used, size - used, ")");
}
