/* SPDX-License-Identifier: MIT */
/* Folders and files that tests make and remove. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* A new folder under $TMPDIR or /tmp; path (256). */
static inline void scratch_make(char path[256]) {
    const char *base = getenv("TMPDIR");
    snprintf(path, 256, "%s/pare-test-XXXXXX", base && strlen(base) < 200 ? base : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
}

static inline void scratch_remove(const char *path) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0)
        perror(path);
}

/* dir/name in one of four buffers, used in turn. */
static inline const char *scratch_path(const char *dir, const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static inline void scratch_write(const char *dir, const char *name, const void *data, size_t n) {
    FILE *file = fopen(scratch_path(dir, name), "wb");
    if (!file || fwrite(data, 1, n, file) != n || fclose(file) != 0) {
        perror(name);
        abort();
    }
}

static inline void scratch_write_gz(const char *dir, const char *name, const void *data, size_t n) {
    gzFile file = gzopen(scratch_path(dir, name), "wb");
    if (!file || gzwrite(file, data, (unsigned)n) != (int)n || gzclose(file) != Z_OK) {
        perror(name);
        abort();
    }
}

/* A file as text, malloc'd, NUL-terminated; *n may be NULL. Aborts when it is not there. */
static inline char *scratch_read(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        abort();
    }
    size_t size = 0, got;
    char *text = malloc(1);
    char buffer[4096];
    while ((got = fread(buffer, 1, sizeof buffer, file)) > 0) {
        text = realloc(text, size + got + 1);
        if (!text)
            abort();
        memcpy(text + size, buffer, got);
        size += got;
    }
    fclose(file);
    text[size] = 0;
    if (n)
        *n = size;
    return text;
}

/* Fails the test, showing the text, unless every one of the parts is in it. Ends with NULL. */
#define assert_message(text, ...)                                                                  \
    do {                                                                                           \
        const char *const parts[] = {__VA_ARGS__, NULL};                                           \
        for (size_t part_no = 0; parts[part_no]; part_no++)                                        \
            if (!strstr((text), parts[part_no]))                                                   \
                fail_msg("'%s' is not in: %s", parts[part_no], (text));                            \
    } while (0)

#endif
