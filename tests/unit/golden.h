/* SPDX-License-Identifier: MIT */
/* Reading the golden files of tests/golden, whose README describes their format. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GOLDEN_MAX_BYTES = 1 << 20, GOLDEN_MAX_ELEMS = 1 << 16 };

static uint8_t *golden;
static size_t golden_bytes;

/* 0 if tests/golden/`name` is there and is a golden file. */
static inline int golden_open(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s", TEST_SOURCE_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        return -1;
    }
    golden = malloc(GOLDEN_MAX_BYTES);
    golden_bytes = fread(golden, 1, GOLDEN_MAX_BYTES, f);
    fclose(f);
    return memcmp(golden, "PAREGOLD", 8);
}

static inline int golden_close(void **state) {
    (void)state;
    free(golden);
    return 0;
}

static inline uint32_t golden_u32(size_t at) {
    uint32_t v;
    memcpy(&v, golden + at, sizeof v);
    return v;
}

/* The tensor `prefix/name` of n elements, copied into a buffer that the next call overwrites. */
static inline const float *golden_tensor(const char *prefix, const char *name, int64_t n) {
    static float data[GOLDEN_MAX_ELEMS];
    char wanted[256];
    snprintf(wanted, sizeof wanted, "%s/%s", prefix, name);
    size_t at = 12;
    for (uint32_t i = 0; i < golden_u32(8); i++) {
        const uint32_t name_bytes = golden_u32(at);
        const uint32_t n_elems = golden_u32(at + 4);
        at += 8;
        if (name_bytes == strlen(wanted) && memcmp(golden + at, wanted, name_bytes) == 0) {
            assert_int_equal(n_elems, n);
            assert_true(n <= GOLDEN_MAX_ELEMS && at + name_bytes + 4 * n_elems <= golden_bytes);
            memcpy(data, golden + at + name_bytes, 4 * (size_t)n_elems);
            return data;
        }
        at += name_bytes + 4 * (size_t)n_elems;
    }
    fail_msg("%s is not in the golden file", wanted);
    return NULL;
}

#endif
