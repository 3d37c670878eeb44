/* SPDX-License-Identifier: MIT */
/* What backends share that hand the steps of a plan to somebody else's library. A batch is cut into
 * pieces of at most `most_samples`; a piece is computed by one of the harness's threads, always at
 * its full size, so that results depend neither on the number of threads nor on the batch. The
 * price: a batch of one piece uses one thread, and one that is no multiple of a piece costs as much
 * as the next that is. Depends on common/ and the public headers only. */
#ifndef BACKENDS_PIECED_PIECED_H
#define BACKENDS_PIECED_PIECED_H

#include "lower.h"

#include <stddef.h>

/* A lane is what one thread needs to compute a piece: pieces l, l + n_lanes, ... are lane l's. */
struct pieced_maker {
    const pare_host *host;
    const struct lower_plan *plan; /* for one piece */
    int32_t n_lanes;
    void *context;          /* the library's own, from `open` */
    int64_t bytes_resident; /* the library adds what it keeps for weights */
    int64_t bytes_scratch;  /* and for scratch, of all lanes */
};

/* What a library gives. Calls are [main] unless marked. */
struct pieced_library {
    const char *name;     /* for messages: "oneDNN" */
    int32_t most_samples; /* of a piece */
    int32_t extra_bytes;  /* that it may read past the end of a value */
    const char *(*isa)(void);
    const char *isa_advice; /* how to make it take another */

    /* PARE_OK, or PARE_E_UNSUPPORTED told to host->fail: of one node, and of a whole plan. */
    pare_status (*supports)(const pare_host *host, const pare_graph *graph, int32_t node);
    pare_status (*accepts)(const pare_host *host, const struct lower_plan *plan,
                           const pare_graph *graph);
    /* What pare_executable_info says of a plan that it accepted. */
    const char *(*execution)(const struct lower_plan *plan);

    pare_status (*open)(struct pieced_maker *maker);
    void (*close)(const pare_host *host, void *context); /* NULL is fine */

    /* Makes step `index` of the plan for every lane. `node` is its name, for messages. The weights
     * are dropped when all steps are made. */
    pare_status (*prepare)(struct pieced_maker *maker, int32_t index, const char *node,
                           const char **kernel);

    /* At the begin of a thread's work; may be NULL. [any] */
    void (*enter)(void);
    /* One step on one whole piece: x by input, y. 0, or the library's own status. [any] [hot] */
    int (*run)(void *context, int32_t lane, int32_t index, const void *const *x, void *y);
};

/* For a pare_backend: the plugin's own functions call these, or are these. The instance is the
 * library's and nothing else. */
pare_status pieced_create(const pare_host *host, const struct pieced_library *library,
                          void **instance);
void pieced_destroy(void *instance);
pare_status pieced_supports(void *instance, const pare_graph *graph, int32_t node);
pare_status pieced_compile(void *instance, const pare_graph *graph,
                           const pare_compile_options *options, void **executable);
void pieced_executable_destroy(void *executable);
pare_status pieced_executable_info(void *executable, const pare_executable_info **info);
pare_status pieced_run(void *executable, const float *images, int32_t n, float *output);
const void *pieced_get_extension(const char *id);

/* Float steps that libraries do not have: copy, relu, affine (gain, shift: (C), NULL for the
 * others), shortcut A, softmax; on `n` samples. [any] [hot] */
void pieced_run_plain(const struct lower_step *s, const float *gain, const float *shift,
                      const float *x, float *y, int32_t n);
/* On elements of any size; the new channels are bytes `fill`. [any] [hot] */
void pieced_shortcut_a(const struct lower_step *s, const void *x, void *y, int32_t n,
                       int64_t elem_bytes, int fill);

/* Cleared memory; NULL when exhausted. [main] */
void *pieced_alloc(const pare_host *host, int64_t n, size_t size);

#endif
