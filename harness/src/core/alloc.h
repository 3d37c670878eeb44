/* SPDX-License-Identifier: MIT */
/* Checked allocation. All return NULL when exhausted or when n * size overflows. */
#ifndef CORE_ALLOC_H
#define CORE_ALLOC_H

#include <stddef.h>

/* n elements of `size` bytes, 64-byte aligned, zeroed; free with free(). n == 0 gives one byte. */
void *alloc_array(size_t n, size_t size);

/* realloc of a plain malloc'd array with the same overflow check (no alignment promise). */
void *alloc_resize(void *ptr, size_t n, size_t size);

char *alloc_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
