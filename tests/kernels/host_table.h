/* SPDX-License-Identifier: MIT */
/* A host table made by hand, for tests of backends without the harness. */
#ifndef KERNELS_HOST_TABLE_H
#define KERNELS_HOST_TABLE_H

#include <pare/backend.h>
#include <stdint.h>

struct test_host {
    pare_host host; /* first */
    char text[512]; /* of the last failure */
    int64_t n_live; /* allocations not freed */
    int64_t n_allocs;
    int64_t fail_at;   /* the allocation (from 0) that fails; -1: none */
    int backwards;     /* parallel_for runs its indices from the last to the first */
    int32_t n_threads; /* > 1: parallel_for runs on so many threads */
    int64_t damaged;   /* freed blocks whose guard bytes had been written */
    size_t most_bytes; /* larger allocations fail; 0: none does */
    int guard_pages;   /* blocks end at a protected page (aligned to 8 bytes only) */
    int in_run;        /* allocations now are counted as wrong */
    int64_t wrong_allocs;
};
void test_host_init(struct test_host *host);

#endif
