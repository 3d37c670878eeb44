/* SPDX-License-Identifier: MIT */
#include "factor.h"

#include <math.h>
#include <string.h>

enum { LANES = 8 };

/* Sums in lanes, so that they vectorize. */
static double dot(const double *a, const double *b, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            lane[k] += a[i + k] * b[i + k];
        }
    }
    double sum = 0.0;
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    for (int k = 0; k < LANES; k++) {
        sum += lane[k];
    }
    return sum;
}

int factor_cholesky(double *a, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            a[i * n + j] = (a[i * n + j] - dot(a + i * n, a + j * n, j)) / a[j * n + j];
        }
        const double left = a[i * n + i] - dot(a + i * n, a + i * n, i);
        if (!(left > 0.0) || !isfinite(left)) {
            return -1;
        }
        a[i * n + i] = sqrt(left);
    }
    return 0;
}

void factor_solve(const double *l, int64_t n, double *x) {
    for (int64_t i = 0; i < n; i++) {
        x[i] = (x[i] - dot(l + i * n, x, i)) / l[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        x[i] /= l[i * n + i];
        for (int64_t j = 0; j < i; j++) {
            x[j] -= l[i * n + j] * x[i];
        }
    }
}

/* L^-1 in place, row after row: row i of L times the rows of L^-1 above it, taken from e_i. */
static void invert_lower(double *l, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double *row = l + i * n;
        const double last = row[i];
        for (int64_t k = 0; k < i; k++) { /* row[k] is still L's when its turn comes */
            const double factor = row[k];
            row[k] = 0.0;
            for (int64_t j = 0; j <= k; j++) {
                row[j] -= factor * l[k * n + j];
            }
        }
        for (int64_t j = 0; j < i; j++) {
            row[j] /= last;
        }
        row[i] = 1.0 / last;
    }
}

/* (L L')^-1 = L^-T L^-1: the sum over the rows of L^-1 of their outer products. Row i of the result
 * needs rows i and below of L^-1, so it can replace row i. */
void factor_finish_inverse(double *l, int64_t n) {
    invert_lower(l, n);
    for (int64_t i = 0; i < n; i++) {
        double *row = l + i * n;
        const double own = row[i];
        for (int64_t j = 0; j <= i; j++) {
            row[j] *= own;
        }
        for (int64_t k = i + 1; k < n; k++) {
            const double factor = l[k * n + i];
            for (int64_t j = 0; j <= i; j++) {
                row[j] += factor * l[k * n + j];
            }
        }
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i + 1; j < n; j++) {
            l[i * n + j] = l[j * n + i];
        }
    }
}

/* With rows and columns turned round, h = L L' becomes h = R R' with an upper R, and U = R^-1. */
int factor_inverse(const double *h, const int32_t *order, int64_t n, double *work, double *u) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            u[i * n + j] = h[order[n - 1 - i] * n + order[n - 1 - j]];
        }
    }
    if (factor_cholesky(u, n) != 0) {
        return -1;
    }
    invert_lower(u, n);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const double lower = u[i * n + j];
            work[(n - 1 - i) * n + n - 1 - j] = lower;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        memset(u + i * n, 0, (size_t)i * sizeof *u);
        memcpy(u + i * n + i, work + i * n + i, (size_t)(n - i) * sizeof *u);
    }
    return 0;
}
