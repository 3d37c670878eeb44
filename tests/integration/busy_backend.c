/* SPDX-License-Identifier: MIT */
/* A backend for tests of the measurement: `ref`, and after it busy work whose length is known. A
 * model with a mask (any pruned model) does BUSY_PERCENT more of it, with BUSY_ALL every model, and
 * computes the same. BUSY_ROUNDS leaves another rounding mode behind. */
#include "ref.h"

#include <fenv.h>
#include <stdlib.h>

#ifndef BUSY_PERCENT
#define BUSY_PERCENT 3
#endif

enum { BUSY_STEPS = 200000 };

struct busy_instance {
    const pare_host *host;
    void *ref;
};

struct busy_executable {
    const pare_host *host;
    void *ref;
    int64_t steps;
};

static pare_status busy_probe(const pare_host *host, pare_probe *probe) {
    pare_status status = ref_backend.probe(host, probe);
    probe->score = 1; /* never by "auto" */
    return status;
}

static pare_status busy_create(const pare_host *host, const pare_params *params, void **instance) {
    struct busy_instance *busy = host->alloc(host, sizeof *busy);
    if (!busy)
        return PARE_E_NOMEM;
    busy->host = host;
    pare_status status = ref_backend.create(host, params, &busy->ref);
    if (status != PARE_OK) {
        host->free(host, busy);
        return status;
    }
    *instance = busy;
    return PARE_OK;
}

static void busy_destroy(void *instance) {
    struct busy_instance *busy = instance;
    if (!busy)
        return;
    ref_backend.destroy(busy->ref);
    busy->host->free(busy->host, busy);
}

static pare_status busy_supports(void *instance, const pare_graph *graph, int32_t node) {
    return ref_backend.supports(((struct busy_instance *)instance)->ref, graph, node);
}

static int does_more(const pare_graph *graph) {
#ifdef BUSY_ALL
    return 1;
#endif
    for (int32_t i = 0; i < graph->n_weights; i++) {
        if (graph->weights[i]->mask)
            return 1;
    }
    return 0;
}

static pare_status busy_compile(void *instance, const pare_graph *graph,
                                const pare_compile_options *options, void **executable) {
    struct busy_instance *busy = instance;
    struct busy_executable *exe = busy->host->alloc(busy->host, sizeof *exe);
    if (!exe)
        return PARE_E_NOMEM;
    exe->host = busy->host;
    exe->steps = does_more(graph) ? BUSY_STEPS / 100 * (100 + BUSY_PERCENT) : BUSY_STEPS;
    pare_status status = ref_backend.compile(busy->ref, graph, options, &exe->ref);
    if (status != PARE_OK) {
        busy->host->free(busy->host, exe);
        return status;
    }
    *executable = exe;
    return PARE_OK;
}

static void busy_executable_destroy(void *executable) {
    struct busy_executable *exe = executable;
    if (!exe)
        return;
    ref_backend.executable_destroy(exe->ref);
    exe->host->free(exe->host, exe);
}

static pare_status busy_info(void *executable, const pare_executable_info **info) {
    return ref_backend.executable_info(((struct busy_executable *)executable)->ref, info);
}

/* Steps that depend on each other, so that no two overlap. */
static pare_status busy_run(void *executable, const float *images, int32_t n, float *output) {
    const struct busy_executable *exe = executable;
    pare_status status = ref_backend.run(exe->ref, images, n, output);
    uint32_t x = 1;
    for (int64_t k = 0; k < exe->steps; k++) {
        x = x * 1664525u + 1013904223u;
        __asm__ volatile("" : "+r"(x));
    }
#ifdef BUSY_ROUNDS
    fesetround(FE_TOWARDZERO);
#endif
    return status;
}

static const void *busy_extension(const char *id) {
    (void)id;
    return NULL;
}

static const pare_backend busy_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "busy",
    .version = "1.0.0",
    .doc = "ref with busy work after it, for tests of the measurement",
    .reference = "none",
    .probe = busy_probe,
    .create = busy_create,
    .destroy = busy_destroy,
    .supports = busy_supports,
    .compile = busy_compile,
    .executable_destroy = busy_executable_destroy,
    .executable_info = busy_info,
    .run = busy_run,
    .get_extension = busy_extension,
};

static const pare_backend *const backends[] = {&busy_backend};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "busy",  .version = "1.0.0",
    .license = "MIT",   .n_backends = 1, .backends = backends,
};

PARE_EXPORT const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
