/* SPDX-License-Identifier: MIT */
/* The backends and levels that this machine can run, for tests that take each in turn. */
#ifndef KERNELS_SUBJECTS_H
#define KERNELS_SUBJECTS_H

#include <pare/backend.h>

struct subject {
    const pare_backend *backend;
    const char *isa;
    int exact;       /* sums floats in the reference's order */
    int float_only;  /* refuses a graph that holds a quantized value */
    int approximate; /* a code may be one off; may refuse what its library does not have */
    int fuses_adds;  /* a convolution does the add that is its only reader */
    int sparse;      /* every convolution that has a sparse kernel takes it */
};

#define MAX_SUBJECTS 24

/* Fills `subjects`; the first is ref's portable level. */
int32_t subjects_usable(struct subject subjects[MAX_SUBJECTS]);

/* The backend's instance, with the parameters that make it this subject. */
pare_status subject_create(const struct subject *subject, const pare_host *host, void **instance);

#endif
