/* SPDX-License-Identifier: MIT */
/* The part of core/file.h about names: where pare's own files lie, near names, patterns. */
#include "core/alloc.h"
#include "core/file.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *home_path(const char *relative) {
    const char *home = getenv("PARE_HOME");
    if (home && home[0])
        return file_join(home, relative);
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = 0;
        char *slash = strrchr(exe, '/');
        if (slash)
            *slash = 0;
        char *share = file_join(exe, "../share/pare");
        if (share && file_exists(share)) {
            char *path = file_join(share, relative);
            free(share);
            return path;
        }
        free(share);
    }
    return file_join(PARE_SOURCE_DIR, relative);
}

/* Levenshtein distance of names of at most MAX_NAME bytes. */
enum { MAX_NAME = 64 };

static size_t edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX_NAME || m > MAX_NAME)
        return MAX_NAME;
    size_t row[MAX_NAME + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *nearest_name(const char *wanted, const char *const *names, size_t n) {
    const char *best = NULL;
    size_t limit = strlen(wanted) / 2 + 1, best_distance = limit + 1;
    for (size_t k = 0; k < n; k++) {
        size_t d = edit_distance(wanted, names[k]);
        /* A prefix ("weight" for "weight_bits") is near whatever its length. */
        if (strlen(wanted) >= 3 && strncmp(wanted, names[k], strlen(wanted)) == 0 && d > 1)
            d = 1;
        if (d < best_distance) {
            best_distance = d;
            best = names[k];
        }
    }
    return best;
}

int pattern_match(const char *pattern, const char *text) {
    return fnmatch(pattern, text, 0) == 0;
}
