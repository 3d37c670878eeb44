/* SPDX-License-Identifier: MIT */
#include "core/cgroup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PATH = 1024 };

/* The one or two numbers at the start of a file; how many there are. */
static int read_numbers(const char *path, double *a, double *b) {
    FILE *file = fopen(path, "re");
    int n = file != NULL ? fscanf(file, "%lf %lf", a, b) : 0;
    if (file != NULL)
        fclose(file);
    return n > 0 ? n : 0;
}

/* Version 2: cpu.max holds "quota period", the quota "max" if there is none. Version 1: two files,
 * the quota -1. */
static double quota_of_folder(const char *folder) {
    char path[MAX_PATH + 32];
    double quota = 0, period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (read_numbers(path, &quota, &period) != 2) {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        if (read_numbers(path, &quota, &period) != 1)
            return INFINITY;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        if (read_numbers(path, &period, &(double){0}) != 1)
            return INFINITY;
    }
    return quota > 0 && period > 0 ? quota / period : INFINITY;
}

/* memory.max holds bytes or "max"; version 1 has a number near 2^63 where there is no limit. */
static double memory_of_folder(const char *folder) {
    static const char *const names[] = {"memory.max", "memory.limit_in_bytes"};
    for (int k = 0; k < 2; k++) {
        char path[MAX_PATH + 32];
        double bytes = 0;
        snprintf(path, sizeof path, "%s/%s", folder, names[k]);
        if (read_numbers(path, &bytes, &(double){0}) > 0)
            return bytes < 0x1p62 ? bytes : INFINITY;
    }
    return INFINITY;
}

/* Of one kind: the controller of version 1, and how to read the limit of one group. */
struct limit {
    const char *controller, *mount;
    double (*of_folder)(const char *folder);
};
static const struct limit cpu_limit = {"cpu", "/sys/fs/cgroup/cpu", quota_of_folder};
static const struct limit memory_limit = {"memory", "/sys/fs/cgroup/memory", memory_of_folder};

/* The least limit from mount/group up to mount. */
static double limit_of_path(const struct limit *limit, const char *root, const char *mount,
                            const char *group) {
    char folder[MAX_PATH];
    size_t top = strlen(root) + strlen(mount);
    double least = INFINITY;
    if (strstr(group, "..") != NULL || /* a group outside of this namespace */
        snprintf(folder, sizeof folder, "%s%s%s", root, mount, group) >= (int)sizeof folder)
        return INFINITY;
    for (;;) {
        char *slash;
        least = fmin(least, limit->of_folder(folder));
        slash = strrchr(folder, '/');
        if (strlen(folder) <= top || slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* Has the list "cpu,cpuacct" the entry "cpu"? */
static int has_controller(const char *controllers, size_t n, const char *name) {
    for (size_t i = 0; i < n;) {
        size_t length = strcspn(controllers + i, ",:");
        if (length == strlen(name) && strncmp(controllers + i, name, length) == 0)
            return 1;
        i += length + 1;
    }
    return 0;
}

static double least_limit(const struct limit *limit, const char *root) {
    char path[MAX_PATH], line[MAX_PATH];
    double least = INFINITY;
    FILE *file;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    file = fopen(path, "re");
    if (file == NULL)
        return INFINITY;
    /* Lines are number:controllers:/group; version 2's has no controllers. */
    while (fgets(line, sizeof line, file) != NULL) {
        char *controllers = strchr(line, ':'), *group;
        group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL)
            continue;
        controllers++;
        group++;
        group[strcspn(group, "\n")] = '\0';
        if (strcmp(group, "/") == 0)
            group[0] = '\0';
        if (controllers[0] == ':')
            least = fmin(least, limit_of_path(limit, root, "/sys/fs/cgroup", group));
        else if (has_controller(controllers, (size_t)(group - 1 - controllers), limit->controller))
            least = fmin(least, limit_of_path(limit, root, limit->mount, group));
    }
    fclose(file);
    return least;
}

double cgroup_cpu_quota(const char *root) {
    return least_limit(&cpu_limit, root);
}

double cgroup_memory_limit(const char *root) {
    return least_limit(&memory_limit, root);
}
