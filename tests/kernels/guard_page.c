/* SPDX-License-Identifier: MIT */
#include "guard_page.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* A page that holds the mapping's length, the pages of the block, the protected page. */
void *guard_page_alloc(size_t bytes) {
    const size_t page = page_bytes();
    if (bytes > SIZE_MAX - 4 * page) {
        return NULL;
    }
    bytes = bytes > 0 ? bytes : 1;
    const size_t n_data = (bytes + page - 1) / page;
    const size_t length = (n_data + 2) * page;
    char *all = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
        return NULL;
    }
    char *end = all + length - page;
    if (mprotect(end, page, PROT_NONE) != 0) {
        munmap(all, length);
        return NULL;
    }
    memcpy(all, &length, sizeof length);
    return end - bytes;
}

void guard_page_free(void *ptr) {
    if (ptr == NULL) {
        return;
    }
    /* It begins in the first of its pages. */
    const size_t page = page_bytes();
    char *all = (char *)ptr - (uintptr_t)ptr % page - page;
    size_t length;
    memcpy(&length, all, sizeof length);
    munmap(all, length);
}
