/* SPDX-License-Identifier: MIT */
/* Which of n scores are the lowest: exact counts, in linear time, with a fixed order of ties. */
#ifndef METHODS_COMMON_LOWEST_H
#define METHODS_COMMON_LOWEST_H

#include <stdint.h>

#define LOWEST_N_COUNTS (1 << 16) /* of the scratch memory that lowest_drop needs */

/* Clears keep[i] of the k lowest among those with keep[i] == 1; 0 <= k <= their number. Order:
 * score ascending, then place ascending; -0 and 0 are equal. score (n) not NaN, keep (n) 0 or 1,
 * `counts` is scratch. [any] */
void lowest_drop(const float *score, int64_t n, int64_t k, int64_t counts[LOWEST_N_COUNTS],
                 uint8_t *keep);

/* k = round-half-even(fraction * n), as Python's round. */
int64_t lowest_count(double fraction, int64_t n);

#endif
