/* SPDX-License-Identifier: MIT */
#include "subjects.h"

#include "ref.h"
#ifdef __x86_64__
#include "x86.h"
#endif
#ifdef __aarch64__
#include "arm.h"
#endif
#ifdef PARE_HAVE_ONEDNN
#include "onednn.h"
#endif
#ifdef PARE_HAVE_XNNPACK
#include "xnnpack_backend.h"
#endif

int32_t subjects_usable(struct subject subjects[MAX_SUBJECTS]) {
    int32_t n = 0;
    subjects[n++] = (struct subject){&ref_backend, "portable", 1, 0, 0};
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        subjects[n++] = (struct subject){&ref_backend, "portable-avx2", 1, 0, 0};
    }
    int32_t n_levels;
    const struct x86_level *levels = x86_levels(&n_levels);
    uint32_t features = x86_cpu_features();
    for (int32_t k = 0; k < n_levels; k++) {
        if ((features & levels[k].needs) == levels[k].needs) {
            subjects[n++] = (struct subject){&x86_backend, levels[k].isa, 0, 0, 0};
        }
    }
#endif
#ifdef __aarch64__
    uint32_t features = arm_cpu_features();
    for (int32_t k = 0; k < arm_levels.n_levels; k++) {
        const struct tiled_level *level = &arm_levels.levels[k];
        if ((features & level->needs) == level->needs) {
            subjects[n++] = (struct subject){&arm_backend, level->isa, 0, 0, 0};
        }
    }
#endif
#ifdef PARE_HAVE_ONEDNN
    subjects[n++] = (struct subject){&onednn_backend, onednn_isa(), 0, 1, 0};
#endif
#ifdef PARE_HAVE_XNNPACK
    subjects[n++] = (struct subject){&xnnpack_backend, XNNPACK_ISA, 0, 0, 1};
#endif
    return n;
}
