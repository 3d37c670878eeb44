/* SPDX-License-Identifier: MIT */
#include "dense.h"

void dense_multiply(const struct dense *d) {
#if defined(DENSE_HAVE_AVX2)
    if (__builtin_cpu_supports("avx2")) {
        dense_multiply_avx2(d);
        return;
    }
#endif
    dense_multiply_base(d);
}

enum { BAND = 16 };

static void multiply_band(void *arg, int64_t band) {
    struct dense d = *(const struct dense *)arg;
    const int64_t first = band * BAND;
    d.n_i = d.n_i - first < BAND ? d.n_i - first : BAND;
    d.a += first * d.a_i;
    d.c += first * d.c_i;
    dense_multiply(&d);
}

void dense_parallel(const pare_host *host, const struct dense *d) {
    struct dense copy = *d;
    host->parallel_for(host, (d->n_i + BAND - 1) / BAND, multiply_band, &copy);
}
