/* SPDX-License-Identifier: MIT */
#include "codebook.h"

#include <stdlib.h>

enum { MAX_ROUNDS = 1000 };

static int ascending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* How many of sorted (n) are at most `limit`. */
static int64_t count_to(const float *sorted, int64_t n, double limit) {
    int64_t low = 0;
    while (n > 0) {
        const int64_t half = n / 2;
        if ((double)sorted[low + half] <= limit) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

/* What lies between two centroids belongs to the nearer one, the middle to the lower. */
static double border(const double *centroids, int32_t k) {
    return centroids[k] + (centroids[k + 1] - centroids[k]) / 2.0;
}

/* Lloyd's rounds: each centroid becomes the mean of its values, until none moves. sums (n + 1) of
 * the first 0, 1, ... sorted values. */
static void settle(const float *sorted, const double *sums, int64_t n, double *centroids,
                   int32_t n_centroids) {
    for (int round = 0, moved = 1; moved && round < MAX_ROUNDS; round++) {
        double next[CODEBOOK_MAX];
        int64_t from = 0;
        moved = 0;
        for (int32_t k = 0; k < n_centroids; k++) {
            const int64_t to = k + 1 < n_centroids ? count_to(sorted, n, border(centroids, k)) : n;
            next[k] = to > from ? (sums[to] - sums[from]) / (double)(to - from) : centroids[k];
            moved |= next[k] != centroids[k];
            from = to;
        }
        for (int32_t k = 0; k < n_centroids; k++) {
            centroids[k] = next[k];
        }
    }
}

static void assign(const float *w, const uint8_t *mask, int64_t n, const double *centroids,
                   int32_t n_centroids, uint8_t *indices) {
    for (int64_t i = 0; i < n; i++) {
        int32_t low = 0, high = n_centroids - 1;
        indices[i] = 0;
        if (mask && !mask[i]) {
            continue;
        }
        while (low < high) {
            const int32_t middle = (low + high) / 2;
            if ((double)w[i] <= border(centroids, middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        indices[i] = (uint8_t)low;
    }
}

pare_status codebook_make(const pare_host *host, const float *w, const uint8_t *mask, int64_t n,
                          int32_t bits, struct codebook *book, uint8_t *indices) {
    double centroids[CODEBOOK_MAX];
    int64_t n_kept = 0;
    float *sorted = host->alloc(host, (size_t)n * sizeof *sorted);
    double *sums = host->alloc(host, ((size_t)n + 1) * sizeof *sums);
    if (!sorted || !sums) {
        host->free(host, sorted);
        host->free(host, sums);
        return host->fail(host, PARE_E_NOMEM, "no memory for %lld values to share", (long long)n);
    }
    for (int64_t i = 0; i < n; i++) {
        if (!mask || mask[i]) {
            sorted[n_kept++] = w[i];
        }
    }
    qsort(sorted, (size_t)n_kept, sizeof *sorted, ascending);
    sums[0] = 0.0;
    for (int64_t i = 0; i < n_kept; i++) {
        sums[i + 1] = sums[i] + (double)sorted[i];
    }
    book->n = n_kept > 0 ? (int32_t)1 << bits : 0;
    for (int32_t k = 0; k < book->n; k++) {
        const double least = (double)sorted[0], most = (double)sorted[n_kept - 1];
        centroids[k] = least + (most - least) * k / (book->n - 1);
    }
    settle(sorted, sums, n_kept, centroids, book->n);
    assign(w, mask, n, centroids, book->n, indices);
    for (int32_t k = 0; k < book->n; k++) {
        book->centroids[k] = (float)centroids[k];
    }
    host->free(host, sorted);
    host->free(host, sums);
    return PARE_OK;
}
