/* SPDX-License-Identifier: MIT */
/* A matrix product in fp32 on the host's threads, fast enough for what calibration computes. */
#ifndef METHODS_COMMON_DENSE_H
#define METHODS_COMMON_DENSE_H

#include <pare/plugin.h>
#include <stddef.h>

/* Rows of b may be read this many floats past their end, so behind the last one there must be
 * memory. What lies there changes nothing. */
#define DENSE_SLACK 16

/* c[i*c_i + j] (=, or += with accumulate) sum over t < n_t of a[i*a_i + t*a_t] * b[t*b_t + j],
 * for i < n_i, j < n_j. Sums run over t in order; no product is fused with its sum. Strides in
 * elements. */
struct dense {
    const float *a;
    const float *b;
    float *c;
    int64_t n_i, n_j, n_t;
    ptrdiff_t a_i, a_t, b_t, c_i;
    int accumulate;
};

/* Single-threaded. The same bits on every machine. [any] [hot] */
void dense_multiply(const struct dense *d);

/* The same, rows of c shared out among the threads; the same bits for any number of them. [main] */
void dense_parallel(const pare_host *host, const struct dense *d);

/* For dense.c: dense_loops.c compiled once per instruction set. */
void dense_multiply_base(const struct dense *d);
void dense_multiply_avx2(const struct dense *d); /* where DENSE_HAVE_AVX2 */

#endif
