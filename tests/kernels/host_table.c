/* SPDX-License-Identifier: MIT */
#include "host_table.h"

#include "guard_page.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each block has its size before it and guard bytes on both sides. */
#define GUARD 64
#define GUARD_BYTE 0x5a

static void *host_alloc(const pare_host *host, size_t bytes) {
    struct test_host *self = (struct test_host *)(uintptr_t)host;
    self->wrong_allocs += self->in_run;
    if (self->n_allocs++ == self->fail_at || (self->most_bytes > 0 && bytes > self->most_bytes)) {
        return NULL;
    }
    if (self->guard_pages) {
        const size_t whole = (bytes + 7) / 8 * 8;
        void *guarded = guard_page_alloc(whole);
        if (guarded != NULL) {
            memset(guarded, 0xcd, whole);
            self->n_live++;
        }
        return guarded;
    }
    size_t total = (bytes + 63) / 64 * 64 + 3 * GUARD;
    unsigned char *block = aligned_alloc(64, total);
    if (block == NULL) {
        return NULL;
    }
    memset(block, GUARD_BYTE, total);
    memcpy(block, &bytes, sizeof bytes);
    memset(block + 2 * GUARD, 0xcd, bytes); /* not cleared, as promised */
    self->n_live++;
    return block + 2 * GUARD;
}

static void host_free(const pare_host *host, void *ptr) {
    struct test_host *self = (struct test_host *)(uintptr_t)host;
    if (ptr == NULL) {
        return;
    }
    if (self->guard_pages) {
        guard_page_free(ptr);
        self->n_live--;
        return;
    }
    unsigned char *block = (unsigned char *)ptr - 2 * GUARD;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    for (size_t k = 0; k < GUARD; k++) {
        if (block[GUARD + k] != GUARD_BYTE || block[2 * GUARD + bytes + k] != GUARD_BYTE) {
            self->damaged++;
            break;
        }
    }
    self->n_live--;
    free(block);
}

static pare_status host_fail(const pare_host *host, pare_status status, const char *format, ...) {
    struct test_host *self = (struct test_host *)(uintptr_t)host;
    va_list args;
    va_start(args, format);
    vsnprintf(self->text, sizeof self->text, format, args);
    va_end(args);
    return status;
}

static int32_t host_n_threads(const pare_host *host) {
    return ((const struct test_host *)host)->n_threads;
}

/* Thread k takes every n_threads-th index. */
struct share {
    void (*body)(void *, int64_t);
    void *arg;
    int64_t first, step, n;
};

static void *run_share(void *arg) {
    const struct share *share = arg;
    for (int64_t k = share->first; k < share->n; k += share->step) {
        share->body(share->arg, k);
    }
    return NULL;
}

static void host_parallel_for(const pare_host *host, int64_t n, void (*body)(void *, int64_t),
                              void *arg) {
    const struct test_host *self = (const struct test_host *)host;
    pthread_t threads[16];
    struct share shares[16];
    /* Not under emulation: qemu-user keeps megabytes of each thread for good. The work is then cut
     * as for so many threads, and done by one. */
    if (self->n_threads <= 1 || getenv("KERNEL_TESTS_EVERY") != NULL) {
        for (int64_t k = 0; k < n; k++) {
            body(arg, self->backwards ? n - 1 - k : k);
        }
        return;
    }
    for (int32_t t = 0; t < self->n_threads; t++) {
        shares[t] = (struct share){body, arg, t, self->n_threads, n};
        if (pthread_create(&threads[t], NULL, run_share, &shares[t]) != 0) {
            abort();
        }
    }
    for (int32_t t = 0; t < self->n_threads; t++) {
        pthread_join(threads[t], NULL);
    }
}

void test_host_init(struct test_host *host) {
    memset(host, 0, sizeof *host);
    host->fail_at = -1;
    host->n_threads = 1;
    host->host = (pare_host){.struct_size = sizeof host->host,
                             .abi_major = PARE_ABI_MAJOR,
                             .abi_minor = PARE_ABI_MINOR,
                             .version = "test",
                             .alloc = host_alloc,
                             .free = host_free,
                             .fail = host_fail,
                             .n_threads = host_n_threads,
                             .parallel_for = host_parallel_for};
}
