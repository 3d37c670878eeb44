/* SPDX-License-Identifier: MIT */
/* A backend's life on one graph: create, supports, compile, run, destroy. */
#ifndef CHECK_BACKEND_LIFE_H
#define CHECK_BACKEND_LIFE_H

#include "check/graph_maker.h"
#include "check/live.h"

enum { BACKEND_LIFE_N_GRAPHS = 3, BACKEND_BATCH = 5 };

const char *backend_life_graph_name(int which);

/* What `live` does for a backend: batches of 5 and of 1 on a fixed graph, which is overwritten
 * before the first run, because it is borrowed only while compiling. */
void backend_life(struct check_case *c, int which, const struct params *params,
                  const struct watch_options *options, struct outcome *out);

/* Overwrites the graph: what reads it after this gets nonsense. Its memory is still to be freed. */
void backend_life_spoil(struct maker *m);

/* A compiled graph. */
struct compiled {
    const struct plugin_entry *entry;
    struct note *note;
    struct watch *watch;
    void *instance, *executable;
    int is_created;
    int is_refused; /* compile or supports said PARE_E_UNSUPPORTED */
    char odd[256];  /* supports and compile contradict, info makes no sense; "" */
    const pare_executable_info *info;
    int32_t n_inputs, n_classes; /* elements of an image, of a result */
};

/* On failure, too, compiled_close is to be called. Messages are the backend's. */
pare_status compiled_open(struct compiled *e, const struct params *params,
                          const struct watch_options *options, const pare_graph *graph,
                          struct outcome *out);
/* images (n, n_inputs) -> output (n, n_classes), which must have room for 16 floats more: what the
 * backend writes there is misuse. */
pare_status compiled_run(struct compiled *e, const float *images, int32_t n, float *output,
                         struct outcome *out);
/* The same by extension pare.backend.profile/1; nothing happens without it. It is odd (e->odd) if
 * the result is not `wanted` (n, n_classes) to the bit, or if not each kernel is told of. */
pare_status compiled_profile(struct compiled *e, const float *images, int32_t n,
                             const float *wanted, struct outcome *out);
/* Fills what is left of the outcome. */
void compiled_close(struct compiled *e, struct outcome *out);

#endif
