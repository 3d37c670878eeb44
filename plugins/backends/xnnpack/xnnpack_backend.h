/* SPDX-License-Identifier: MIT */
/* A comparator: float and int8 graphs on XNNPACK's operators, in pieces (pieced.h). Its int8
 * arithmetic is not that of plugins/backends/README.md, so its records say "approximate". */
#ifndef BACKENDS_XNNPACK_XNNPACK_BACKEND_H
#define BACKENDS_XNNPACK_XNNPACK_BACKEND_H

#include "pieced.h"

#include <xnnpack.h>

#define XNNPACK_PIECE 8
/* The library picks its kernels itself and does not tell which. */
#define XNNPACK_ISA "by-library"

extern const pare_backend xnnpack_backend;

struct xnnpack_step {
    struct lower_step low; /* without weights */
    struct lower_value in[PARE_MAX_INPUTS], out;
    const char *kernel;
    int is_plain;              /* no operator: one of pieced/plain.c and plain_i8.c */
    xnn_operator_t *operators; /* (n_lanes) */
    const void *(*last)[3];    /* (n_lanes): inputs and output they are set up for */
    int8_t *codes;             /* plain linear: (OUT,IN) */
    float *gain, *shift;       /* affine and plain linear: (C) */
    float multiplier;          /* plain requantize */
};

/* Fills *step, one operator for each lane; the plan's weights may be dropped afterwards. `node` is
 * its name. What was made before a failure is in *step. [main] */
pare_status xnnpack_make(struct pieced_maker *maker, int32_t index, const char *node,
                         struct xnnpack_step *step);
void xnnpack_step_free(const pare_host *host, struct xnnpack_step *step, int32_t n_lanes);

/* Tells an operator where its values are. [any] [hot] once it was told */
enum xnn_status xnnpack_set_up(const struct xnnpack_step *step, xnn_operator_t op, int32_t n,
                               const void *const *x, void *y);

/* Steps on codes without an operator: quantized linear with float output, dequantize, requantize,
 * shortcut A; as plugins/backends/README.md prescribes. [any] [hot] */
void xnnpack_run_plain_i8(const struct xnnpack_step *step, const void *x, void *y, int32_t n);

#endif
