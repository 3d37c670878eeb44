/* SPDX-License-Identifier: MIT */
/* A model compiled on a backend, ready to run. */
#ifndef EXPERIMENT_DEPLOYMENT_H
#define EXPERIMENT_DEPLOYMENT_H

#include "experiment/experiment.h"

struct deployment {
    struct instance *inst;
    const pare_backend *backend;
    void *executable;
    const pare_executable_info *info; /* lives as long as the executable */
    struct params *params;
    int32_t max_batch;
    int32_t n_outputs;
    int64_t input_elems;        /* per sample */
    int64_t macs, weight_bytes; /* executed per sample; packed weights read per run */
    int32_t n_fallback;
    void **executables; /* (n_executables) of the same graph, where they rotate; else NULL */
    int32_t n_executables, turn;
};

/* `backend` is an id or "auto"; `isa` NULL: the best one. An unsupported node: PARE_E_UNSUPPORTED.
 */
pare_status deployment_create(const pare_graph *graph, const struct registry *reg,
                              const char *backend, const char *isa, int32_t max_batch,
                              struct pool *pool, struct error *err, struct deployment **out);
void deployment_destroy(struct deployment *dep);

/* Compiles each deployment's graph as often as it takes for weights and activations of its
 * executables together to fill `bytes`: who runs them by turns finds none of its weights in a cache
 * of half that size. One of each in turn, so that all lie in memory alike: where its executables
 * lie decides some percent of a cold time. PARE_E_UNSUPPORTED if a backend does not tell its bytes,
 * or a model is too small to fill that many. */
enum { MAX_ROTATING = 3 };
pare_status deployment_add_copies(struct deployment *const *deps, const pare_graph *const *graphs,
                                  size_t n_deps, const char *isa, int64_t bytes, struct error *err);
/* The next executable's turn; nothing where there is one. [hot] */
void deployment_rotate(struct deployment *dep);

/* images (n,H,W,C) -> output (n,n_outputs), any n: split into runs of at most max_batch. */
pare_status deployment_run(struct deployment *dep, const float *images, int64_t n,
                           struct error *err, float *output);

/* Does it compute the right thing? Against backend "ref" on the given images: integer executions
 * bit for bit (1e-6 after a softmax), float ones within 1e-3 of the largest output, mixed ones
 * within 0.05 of it. `ref` itself is checked to be finite and not constant. PARE_E_NUMERIC with
 * what differs. images (n,H,W,C). */
pare_status deployment_check(struct deployment *dep, const pare_graph *graph,
                             const struct registry *reg, const float *images, int32_t n,
                             struct error *err);

#endif
