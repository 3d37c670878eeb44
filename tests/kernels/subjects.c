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

#if defined __x86_64__ || defined __aarch64__
static int32_t add_tiled(struct subject *subjects, const pare_backend *backend,
                         const struct tiled_backend *tiled) {
    int32_t n = 0;
    for (int32_t k = 0; k < tiled->n_levels; k++) {
        const struct tiled_level *level = &tiled->levels[k];
        if ((tiled->cpu_features() & level->needs) == level->needs) {
            subjects[n++] = (struct subject){backend, level->isa, 0, 0, 0, 1, 0};
            if (level->kernels->planes != NULL) {
                subjects[n++] = (struct subject){backend, level->isa, 0, 0, 0, 1, 1};
            }
        }
    }
    return n;
}
#endif

int32_t subjects_usable(struct subject subjects[MAX_SUBJECTS]) {
    int32_t n = 0;
    subjects[n++] = (struct subject){&ref_backend, "portable", 1, 0, 0, 0, 0};
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        subjects[n++] = (struct subject){&ref_backend, "portable-avx2", 1, 0, 0, 0, 0};
    }
    n += add_tiled(&subjects[n], &x86_backend, &x86_levels);
#endif
#ifdef __aarch64__
    n += add_tiled(&subjects[n], &arm_backend, &arm_levels);
#endif
#ifdef PARE_HAVE_ONEDNN
    subjects[n++] = (struct subject){&onednn_backend, onednn_isa(), 0, 1, 0, 0, 0};
#endif
#ifdef PARE_HAVE_XNNPACK
    subjects[n++] = (struct subject){&xnnpack_backend, XNNPACK_ISA, 0, 0, 1, 0, 0};
#endif
    return n;
}

pare_status subject_create(const struct subject *subject, const pare_host *host, void **instance) {
    const pare_param_value always = {.name = "sparse", .type = PARE_PARAM_STRING, .s = "always"};
    const pare_param_value *const values[] = {&always};
    const pare_params params = {sizeof params, 1, values};
    return subject->backend->create(host, subject->sparse ? &params : NULL, instance);
}
