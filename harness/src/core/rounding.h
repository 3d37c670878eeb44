/* SPDX-License-Identifier: MIT */
/* How this thread's processor rounds floats: others' code may change it and forget to change it
 * back. */
#ifndef CORE_ROUNDING_H
#define CORE_ROUNDING_H

#include <stdint.h>

/* Direction of rounding, flush-to-zero, traps; not the flags that record what has happened. [hot]
 */
uint32_t rounding_mode(void);
void rounding_restore(uint32_t mode);

/* What to tell whoever changed it. */
#define ROUNDING_CHANGED                                                                           \
    "leaves the processor rounding in another way (direction, or denormals flushed to zero), "     \
    "which "                                                                                       \
    "would change the results of others: link without -ffast-math and -Ofast, or put it back"

#endif
