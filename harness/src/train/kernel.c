/* SPDX-License-Identifier: MIT */
#include "train/kernel.h"

#include <stdlib.h>
#include <string.h>

extern const struct kernels kernels_base;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avx512;

/* __builtin_cpu_supports also asks whether the operating system saves the registers. */
static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

const struct kernels *kernels_at(int32_t i) {
    const struct kernels *all[4] = {NULL};
    int n = 0;
#if defined(__x86_64__)
    if (has_avx512()) {
        all[n++] = &kernels_avx512;
    }
    if (has_avx2()) {
        all[n++] = &kernels_avx2;
    }
#endif
    all[n++] = &kernels_base;
    return i >= 0 && i < n ? all[i] : NULL;
}

const struct kernels *kernels_best(void) {
    const char *wanted = getenv("PARE_TRAIN_ISA");
    for (int32_t i = 0; wanted && kernels_at(i); i++) {
        if (strcmp(kernels_at(i)->name, wanted) == 0) {
            return kernels_at(i);
        }
    }
    return kernels_at(0);
}
