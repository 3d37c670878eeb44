/* SPDX-License-Identifier: MIT */
/* Triangular factors of symmetric positive matrices, (n,n) in fp64, row by row. Single-threaded,
 * the sums in one order. [any] */
#ifndef OBC_FACTOR_H
#define OBC_FACTOR_H

#include <stdint.h>

/* a = L L' in place: L in the lower part, with the diagonal; the rest is left as it is. 0, or -1
 * where a is not positive definite. */
int factor_cholesky(double *a, int64_t n);

/* x (n) <- (L L')^-1 x */
void factor_solve(const double *l, int64_t n, double *x);

/* From the L of factor_cholesky to (L L')^-1, in place, the whole matrix. */
void factor_finish_inverse(double *l, int64_t n);

/* The upper U with h^-1 = U' U, zeros below, from rows and columns of h (n,n) in the order `order`:
 * U of the matrix h[order[i]][order[j]]. Frantar et al. 2022 (arXiv 2210.17323), section 3,
 * "Cholesky reformulation". `work` (n,n). 0, or -1. */
int factor_inverse(const double *h, const int32_t *order, int64_t n, double *work, double *u);

#endif
