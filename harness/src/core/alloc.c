/* SPDX-License-Identifier: MIT */
#include "core/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *alloc_array(size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX - 64)
        return NULL;
    bytes = bytes == 0 ? 64 : (bytes + 63) / 64 * 64; /* what aligned_alloc asks for */
    void *ptr = aligned_alloc(64, bytes);
    if (ptr)
        memset(ptr, 0, bytes);
    return ptr;
}

void *alloc_resize(void *ptr, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return realloc(ptr, bytes ? bytes : 1);
}

char *alloc_printf(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int n = vasprintf(&text, format, args);
    va_end(args);
    return n < 0 ? NULL : text;
}
