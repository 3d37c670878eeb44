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

/* The least quota from mount/group up to mount. */
static double quota_of_path(const char *root, const char *mount, const char *group) {
    char folder[MAX_PATH];
    size_t top = strlen(root) + strlen(mount);
    double least = INFINITY;
    if (strstr(group, "..") != NULL || /* a group outside of this namespace */
        snprintf(folder, sizeof folder, "%s%s%s", root, mount, group) >= (int)sizeof folder)
        return INFINITY;
    for (;;) {
        char *slash;
        least = fmin(least, quota_of_folder(folder));
        slash = strrchr(folder, '/');
        if (strlen(folder) <= top || slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* Has the list "cpu,cpuacct" the entry "cpu"? */
static int has_cpu(const char *controllers, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t length = strcspn(controllers + i, ",:");
        if (length == 3 && strncmp(controllers + i, "cpu", 3) == 0)
            return 1;
        i += length + 1;
    }
    return 0;
}

double cgroup_cpu_quota(const char *root) {
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
            least = fmin(least, quota_of_path(root, "/sys/fs/cgroup", group));
        else if (has_cpu(controllers, (size_t)(group - 1 - controllers)))
            least = fmin(least, quota_of_path(root, "/sys/fs/cgroup/cpu", group));
    }
    fclose(file);
    return least;
}
