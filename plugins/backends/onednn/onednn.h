/* SPDX-License-Identifier: MIT */
/* A comparator: float graphs on oneDNN's kernels, in pieces of ONEDNN_PIECE samples (pieced.h). */
#ifndef BACKENDS_ONEDNN_ONEDNN_H
#define BACKENDS_ONEDNN_ONEDNN_H

#include "pieced.h"

#include <dnnl.h>

#define ONEDNN_PIECE 8

extern const pare_backend onednn_backend;

/* What the library takes here. [any] */
const char *onednn_isa(void);

struct onednn_step {
    struct lower_step low; /* without weights */
    const char *kernel;
    dnnl_primitive_t primitive;    /* NULL: pieced_run_plain */
    dnnl_memory_desc_t in[2], out; /* of one piece, NHWC */
    size_t scratch_bytes;
    void *weights_data;          /* in the primitive's own layout */
    float *bias_data;            /* (OC) */
    dnnl_memory_t weights, bias; /* of these */
    float *gain, *shift;         /* affine: (C) each */
};

/* Fills *step from `low`, whose weights may be dropped afterwards. `name` is the node's, for
 * messages. What was made before a failure is in *step. [main] */
pare_status onednn_prepare(struct pieced_maker *pieced, dnnl_engine_t engine, dnnl_stream_t stream,
                           const struct lower_step *low, const char *name,
                           struct onednn_step *step);
void onednn_step_free(const pare_host *host, struct onednn_step *step); /* [main] */

/* libgomp's; the settings of the thread that calls. */
int omp_get_max_threads(void);
void omp_set_num_threads(int n);

#endif
