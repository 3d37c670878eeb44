/* SPDX-License-Identifier: MIT */
/* Memory that ends right at a page which nobody may touch, so that reading or writing one byte past
 * it ends the program. */
#ifndef KERNELS_GUARD_PAGE_H
#define KERNELS_GUARD_PAGE_H

#include <stddef.h>

/* NULL when exhausted. Aligned as far as its end, which is the page's begin, allows: to 64 bytes
 * when `bytes` is a multiple of 64. [any] */
void *guard_page_alloc(size_t bytes);
void guard_page_free(void *ptr); /* NULL is fine. [any] */

#endif
