/* SPDX-License-Identifier: MIT */
/* Checks of whole lives, alike for methods and backends. A life that fails is the matter of `life`
 * alone: the others then have nothing to look at. */
#include "check/live.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature) /* Clang's word for what GCC defines */
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#endif
#ifdef WITH_ASAN
size_t __sanitizer_get_current_allocated_bytes(void); /* GCC 12 has no header for it */
#endif

int64_t count_lives(struct check_case *c) {
    return live_n(c->subject);
}

/* 0 after a verdict: the life did not come to its end. */
static int has_lived(struct check_case *c, const struct outcome *out) {
    if (out->is_own)
        case_fail(c, "pare check itself: %s", out->err.text);
    else if (out->status != PARE_OK)
        case_skip(c, "not brought to its end: %s", out->err.text);
    return out->status == PARE_OK && !out->is_own;
}

void check_life(struct check_case *c) {
    int which = (int)c->index;
    struct watch_options options = live_options(c);
    struct outcome out;
    case_label(c, "%s", live_name(c->subject, which));
    live(c, which, NULL, &options, &out);
    if (out.status == PARE_OK || out.is_own)
        has_lived(c, &out);
    else if (!out.is_told)
        case_fail(c, "%s", out.err.text);
    else if (out.status == PARE_E_UNSUPPORTED || out.status == PARE_E_STATE)
        case_skip(c, "refused: %s", out.err.text);
    else
        case_fail(c, "%s; give it what it needs with --set NAME=VALUE", out.err.text);
}

void check_memory(struct check_case *c) {
    struct watch_options options = live_options(c);
    struct outcome out;
    case_label(c, "%s", live_name(c->subject, (int)c->index));
    live(c, (int)c->index, NULL, &options, &out);
    if (!has_lived(c, &out))
        return;
    if (out.misuse[0])
        case_fail(c, "%s", out.misuse);
    if (out.leaked_bytes > 0)
        case_fail(c, "has not freed %zu bytes of host memory when it is destroyed",
                  out.leaked_bytes);
}

void check_threads(struct check_case *c) {
    struct watch_options options = live_options(c);
    struct outcome out;
    case_label(c, "%s", live_name(c->subject, (int)c->index));
    options.pool = live_pool(3);
    live(c, (int)c->index, NULL, &options, &out);
    if (out.violation[0])
        case_fail(c, "%s", out.violation);
    else
        has_lived(c, &out);
    pool_destroy(options.pool);
}

/* ---- output ---- */

void check_output(struct check_case *c) {
    struct watch_options options = live_options(c);
    struct outcome out;
    case_label(c, "%s", live_name(c->subject, (int)c->index));
    int file = memfd_create("output", MFD_CLOEXEC);
    if (file < 0) {
        case_skip(c, "no memory file to catch output with");
        return;
    }
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    live(c, (int)c->index, NULL, &options, &out);
    fflush(NULL);
    char text[81] = "";
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    close(file);
    if (!has_lived(c, &out))
        return;
    if (n > 0) {
        text[strcspn(text, "\n")] = '\0';
        case_fail(c, "prints \"%s\": use host->log", text);
    }
}

/* ---- the same again ---- */

enum { REPEAT_THREADS, REPEAT_BACKWARDS, REPEAT_AGAIN, REPEAT_BESIDE, N_REPEATS };

int64_t count_repeats(struct check_case *c) {
    return (int64_t)N_REPEATS * live_n(c->subject);
}

static const char *const repeat_names[N_REPEATS] = {
    "on 3 threads, in memory that held other values", "parallel work in the reverse order",
    "a second time in one process", "after a life with another seed"};

void check_repeat(struct check_case *c) {
    int which = (int)(c->index / N_REPEATS), how = (int)(c->index % N_REPEATS);
    struct watch_options options = live_options(c);
    struct outcome first, second;
    case_label(c, "%s, %s", live_name(c->subject, which), repeat_names[how]);
    live(c, which, NULL, &options, &first);
    if (!has_lived(c, &first))
        return;
    if (how == REPEAT_THREADS) {
        options.fill = 0x00;
        options.pool = live_pool(3);
    } else if (how == REPEAT_BACKWARDS) {
        options.fill = 0x3c;
        options.backwards = 1;
    } else if (how == REPEAT_BESIDE) {
        struct watch_options other = options;
        other.seed++;
        other.instance = 1;
        live(c, which, NULL, &other, &second);
    }
    live(c, which, NULL, &options, &second);
    pool_destroy(options.pool);
    if (second.status != PARE_OK)
        case_fail(c, "now it fails: %s", second.err.text);
    else if (first.digest != second.digest)
        case_fail(c, "another result, from the same seed");
}

/* ---- many lives ---- */

/* The allocator keeps freed pieces, and needs many lives until it reuses all of them: a leak is
 * what every window of lives adds. */
enum { WARM_UP = 10, WINDOW = 20, N_WINDOWS = 30 };

/* Files and threads need no such patience, and soon meet a limit, at which they grow no more or, of
 * memory for threads' stacks, the process ends. */
enum { FEW_WINDOWS = 3 };

/* One small block is the least that counts. */
enum { LEAST_BYTES = 16 };

/* Allocated and not freed, in bytes; 0 where this cannot be asked. */
static size_t heap_bytes(void) {
#if defined(WITH_ASAN)
    return __sanitizer_get_current_allocated_bytes();
#elif defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#else
    return 0;
#endif
}

static int count_entries(const char *folder) {
    DIR *dir = opendir(folder);
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* What so many lives add to the heap, the open files and the threads; 0 after a verdict. */
struct growth {
    int64_t bytes, files, threads;
};

static int live_on(struct check_case *c, int n_lives, struct growth *growth) {
    struct watch_options options = live_options(c);
    struct outcome out;
    size_t bytes = heap_bytes();
    int n_files = count_entries("/proc/self/fd"), n_threads = count_entries("/proc/self/task");
    for (int k = 0; k < n_lives; k++) {
        live(c, (int)c->index, NULL, &options, &out);
        if (!has_lived(c, &out))
            return 0;
    }
    growth->bytes = (int64_t)(heap_bytes() - bytes);
    growth->files = count_entries("/proc/self/fd") - n_files;
    growth->threads = count_entries("/proc/self/task") - n_threads;
    return 1;
}

void check_loops(struct check_case *c) {
    struct growth least = {INT64_MAX, INT64_MAX, INT64_MAX}, now;
    case_label(c, "%s", live_name(c->subject, (int)c->index));
    if (!live_on(c, WARM_UP, &now))
        return;
    int is_open = 1;
    for (int k = 0; k < N_WINDOWS && is_open; k++) {
        if (!live_on(c, WINDOW, &now))
            return;
        least.bytes = now.bytes < least.bytes ? now.bytes : least.bytes;
        if (k < FEW_WINDOWS) {
            least.files = now.files < least.files ? now.files : least.files;
            least.threads = now.threads < least.threads ? now.threads : least.threads;
        }
        int left_behind = least.files >= WINDOW || least.threads >= WINDOW;
        int grows = least.bytes >= LEAST_BYTES * WINDOW;
        is_open = k + 1 < FEW_WINDOWS ? left_behind || grows : !left_behind && grows;
    }
    /* Threads hold memory, and files may: what is left behind is the better reason. */
    if (least.threads >= WINDOW)
        case_fail(c, "leaves threads behind: %lld after %d lives", (long long)least.threads,
                  WINDOW);
    else if (least.files >= WINDOW)
        case_fail(c, "leaves files open: %lld after %d lives", (long long)least.files, WINDOW);
    else if (least.bytes >= LEAST_BYTES * WINDOW)
        case_fail(c, "%lld bytes of malloc'd memory more after each life",
                  (long long)least.bytes / WINDOW);
}
