/* SPDX-License-Identifier: MIT */
#include "lowest.h"

#include <math.h>
#include <string.h>

/* Bits that are ordered as the numbers are: those of a negative number reversed, and all positive
 * ones above them. Adding 0 makes -0 to 0. */
static uint32_t key_of(float score) {
    const float value = score + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Counts the 16-bit digit at `shift` of the keys whose higher digits are those of `prefix`. */
static void count_digit(const float *score, const uint8_t *keep, int64_t n, uint32_t prefix,
                        int shift, int64_t counts[LOWEST_N_COUNTS]) {
    memset(counts, 0, LOWEST_N_COUNTS * sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key = key_of(score[i]);
        if (keep[i] && (shift == 16 || key >> 16 == prefix)) {
            counts[(key >> shift) & 0xffffu]++;
        }
    }
}

/* The digit in which element k (0-based) lies; *k becomes its place within that digit. */
static uint32_t find_digit(const int64_t counts[LOWEST_N_COUNTS], int64_t *k) {
    uint32_t digit = 0;
    while (digit < LOWEST_N_COUNTS - 1 && *k >= counts[digit]) {
        *k -= counts[digit++];
    }
    return digit;
}

void lowest_drop(const float *score, int64_t n, int64_t k, int64_t counts[LOWEST_N_COUNTS],
                 uint8_t *keep) {
    if (k <= 0) {
        return;
    }
    int64_t ties = k - 1; /* the place of the last that goes */
    count_digit(score, keep, n, 0, 16, counts);
    const uint32_t high = find_digit(counts, &ties);
    count_digit(score, keep, n, high, 0, counts);
    const uint32_t cut = high << 16 | find_digit(counts, &ties);
    ties++;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key = key_of(score[i]);
        if (keep[i] && (key < cut || (key == cut && ties > 0))) {
            keep[i] = 0;
            ties -= key == cut;
        }
    }
}

int64_t lowest_count(double fraction, int64_t n) {
    return (int64_t)rint(fraction * (double)n); /* the default rounding mode: half to even */
}
