/* SPDX-License-Identifier: MIT */
#include "smallest.h"

#include <math.h>
#include <string.h>

/* The bits of |x| + 1: for finite floats they are ordered as the numbers are, which leaves 0 for
 * what is pruned already. +-0 give the same key. */
static uint32_t key_of(const struct run *run, int64_t i) {
    uint32_t bits;
    if (run->kept && !run->kept[i]) {
        return 0;
    }
    memcpy(&bits, &run->data[i], sizeof bits);
    return (bits & 0x7fffffffu) + 1u;
}

/* Counts the 16-bit digit at `shift` of all keys whose higher digits are those of `prefix`. */
static void count_digit(const struct run *runs, int32_t n_runs, uint32_t prefix, int shift,
                        int64_t counts[SMALLEST_N_COUNTS]) {
    memset(counts, 0, SMALLEST_N_COUNTS * sizeof *counts);
    for (int32_t r = 0; r < n_runs; r++) {
        for (int64_t i = 0; i < runs[r].n; i++) {
            uint32_t key = key_of(&runs[r], i);
            if (shift == 16 || key >> 16 == prefix) {
                counts[(key >> shift) & 0xffffu]++;
            }
        }
    }
}

/* The digit in which element k (0-based) lies; *k becomes its place within that digit. */
static uint32_t find_digit(const int64_t counts[SMALLEST_N_COUNTS], int64_t *k) {
    uint32_t digit = 0;
    while (digit < SMALLEST_N_COUNTS - 1 && *k >= counts[digit]) {
        *k -= counts[digit++];
    }
    return digit;
}

struct cut smallest_cut(const struct run *runs, int32_t n_runs, int64_t k,
                        int64_t counts[SMALLEST_N_COUNTS]) {
    int64_t total = 0;
    for (int32_t r = 0; r < n_runs; r++) {
        total += runs[r].n;
    }
    if (k >= total) {
        return (struct cut){UINT32_MAX, 0};
    }
    int64_t left = k;
    count_digit(runs, n_runs, 0, 16, counts);
    uint32_t high = find_digit(counts, &left);
    count_digit(runs, n_runs, high, 0, counts);
    uint32_t low = find_digit(counts, &left);
    return (struct cut){high << 16 | low, left};
}

void smallest_mask(const struct run *runs, int32_t n_runs, struct cut cut) {
    int64_t ties = cut.ties;
    for (int32_t r = 0; r < n_runs; r++) {
        for (int64_t i = 0; i < runs[r].n; i++) {
            uint32_t key = key_of(&runs[r], i);
            int goes = key < cut.key || (key == cut.key && ties > 0);
            ties -= key == cut.key && goes;
            /* What was pruned stays pruned, even if the cut lies among it. */
            runs[r].mask[i] = !goes && key != 0;
        }
    }
}

int64_t smallest_count(double fraction, int64_t n) {
    return (int64_t)rint(fraction * (double)n); /* the default rounding mode: half to even */
}
