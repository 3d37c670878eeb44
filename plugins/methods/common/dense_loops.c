/* SPDX-License-Identifier: MIT */
/* One source compiled once per instruction set: every element of c is a sum of its own, so the
 * width of a vector changes no bit. */
#include "dense.h"

#include <string.h>

#ifndef DENSE_MULTIPLY
#define DENSE_MULTIPLY dense_multiply_base
#endif

typedef float vector __attribute__((vector_size(32)));

enum { LANES = 8, ROWS = 4, COLUMNS = 2 * LANES };

/* Up to ROWS rows of c, which share the vectors of b, and up to COLUMNS columns. */
static void tile(const struct dense *d, int64_t i0, int64_t n_rows, int64_t j0) {
    const float *a[ROWS];
    vector sum[ROWS][2] = {{{0}}};
    for (int64_t r = 0; r < ROWS; r++) { /* rows past the end repeat the last one */
        a[r] = d->a + (i0 + (r < n_rows ? r : n_rows - 1)) * d->a_i;
    }
    const float *b = d->b + j0;
    for (int64_t t = 0; t < d->n_t; t++, b += d->b_t) {
        vector v[2];
        memcpy(v, b, sizeof v);
        for (int r = 0; r < ROWS; r++) {
            const float x = a[r][t * d->a_t];
            sum[r][0] += x * v[0];
            sum[r][1] += x * v[1];
        }
    }
    const int64_t n_columns = d->n_j - j0 < COLUMNS ? d->n_j - j0 : COLUMNS;
    for (int64_t r = 0; r < n_rows; r++) {
        float *c = d->c + (i0 + r) * d->c_i + j0;
        float row[COLUMNS];
        memcpy(row, sum[r], sizeof row);
        for (int64_t j = 0; j < n_columns; j++) {
            c[j] = d->accumulate ? c[j] + row[j] : row[j];
        }
    }
}

void DENSE_MULTIPLY(const struct dense *d) {
    for (int64_t i = 0; i < d->n_i; i += ROWS) {
        const int64_t n_rows = d->n_i - i < ROWS ? d->n_i - i : ROWS;
        for (int64_t j = 0; j < d->n_j; j += COLUMNS) {
            tile(d, i, n_rows, j);
        }
    }
}
