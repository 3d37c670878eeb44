/* SPDX-License-Identifier: MIT */
#include "xnnpack_backend.h"

#include <string.h>

struct context {
    int32_t n_steps, n_lanes, n_samples;
    struct xnnpack_step *steps; /* (n_steps) */
};

static const char *isa(void) {
    return XNNPACK_ISA;
}

/* ---- what is taken ---- */

static pare_status refuse_wide(const pare_host *host, const char *name) {
    return host->fail(
        host, PARE_E_UNSUPPORTED,
        "%s: it needs codes or sums wider than int8 and int32, which XNNPACK does not "
        "have; use backend \"auto\"",
        name);
}

static pare_status supports(const pare_host *host, const pare_graph *graph, int32_t node) {
    return graph->nodes[node]->activation.bits > 8 ? refuse_wide(host, graph->nodes[node]->name)
                                                   : PARE_OK;
}

static pare_status accepts(const pare_host *host, const struct lower_plan *plan,
                           const pare_graph *graph) {
    for (int32_t s = 0; s < plan->n_steps; s++) {
        const struct lower_step *step = &plan->steps[s];
        if (step->arith == LOWER_I16 || plan->values[step->out].rep == LOWER_I16) {
            return refuse_wide(host, graph->nodes[step->node]->name);
        }
    }
    return PARE_OK;
}

/* Integers, but not those that the specification prescribes. */
static const char *execution(const struct lower_plan *plan) {
    return strcmp(plan->execution, "float") == 0 ? plan->execution : "approximate";
}

/* ---- an executable ---- */

static pare_status open_library(struct pieced_maker *maker) {
    const pare_host *host = maker->host;
    if (xnn_initialize(NULL) != xnn_status_success) {
        return host->fail(host, PARE_E_UNSUPPORTED, "XNNPACK does not take this processor");
    }
    struct context *c = pieced_alloc(host, 1, sizeof *c);
    if (c == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    maker->context = c;
    c->n_steps = maker->plan->n_steps;
    c->n_lanes = maker->n_lanes;
    c->n_samples = maker->plan->max_batch;
    c->steps = pieced_alloc(host, c->n_steps, sizeof *c->steps);
    return c->steps != NULL ? PARE_OK
                            : host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
}

static void close_library(const pare_host *host, void *context) {
    struct context *c = context;
    if (c == NULL) {
        return;
    }
    for (int32_t s = 0; c->steps != NULL && s < c->n_steps; s++) {
        xnnpack_step_free(host, &c->steps[s], c->n_lanes);
    }
    host->free(host, c->steps);
    host->free(host, c);
}

static pare_status prepare(struct pieced_maker *maker, int32_t index, const char *node,
                           const char **kernel) {
    struct context *c = maker->context;
    pare_status status = xnnpack_make(maker, index, node, &c->steps[index]);
    *kernel = c->steps[index].kernel;
    return status;
}

static int run_plain(const struct xnnpack_step *step, const void *x, void *y, int32_t n) {
    int conversion = step->low.kind == LOWER_DEQUANTIZE || step->low.kind == LOWER_SIGN;
    if (step->low.arith == LOWER_F32 && !conversion) {
        pieced_run_plain(&step->low, step->gain, step->shift, x, y, n);
    } else {
        xnnpack_run_plain_i8(step, x, y, n);
    }
    return 0;
}

/* An operator is told where its values are when that has changed. */
static int run(void *context, int32_t l, int32_t index, const void *const *x, void *y) {
    const struct context *c = context;
    const struct xnnpack_step *step = &c->steps[index];
    if (step->is_plain) {
        return run_plain(step, x[0], y, c->n_samples);
    }
    const void **last = step->last[l];
    if (last[0] != x[0] || last[1] != x[1] || last[2] != y) {
        enum xnn_status status = xnnpack_set_up(step, step->operators[l], c->n_samples, x, y);
        if (status != xnn_status_success) {
            return (int)status;
        }
        last[0] = x[0];
        last[1] = x[1];
        last[2] = y;
    }
    return (int)xnn_run_operator(step->operators[l], NULL);
}

/* ---- the backend ---- */

static const struct pieced_library library = {
    .name = "XNNPACK",
    .most_samples = XNNPACK_PIECE,
    .extra_bytes = XNN_EXTRA_BYTES,
    .isa = isa,
    .isa_advice = "it always chooses for itself",
    .supports = supports,
    .accepts = accepts,
    .execution = execution,
    .open = open_library,
    .close = close_library,
    .prepare = prepare,
    .run = run,
};

/* As ref's, the least that is usable; xnn_initialize looks at the processor only. */
static pare_status xnnpack_probe(const pare_host *host, pare_probe *probe) {
    static const char reason[] = "XNNPACK does not take this processor";
    (void)host;
    probe->score = xnn_initialize(NULL) == xnn_status_success;
    memset(probe->reason, 0, sizeof probe->reason);
    memset(probe->isa, 0, sizeof probe->isa);
    if (probe->score > 0) {
        memcpy(probe->isa, XNNPACK_ISA, sizeof XNNPACK_ISA);
    } else {
        memcpy(probe->reason, reason, sizeof reason);
    }
    return PARE_OK;
}

static pare_status xnnpack_create(const pare_host *host, const pare_params *params,
                                  void **instance) {
    (void)params;
    return pieced_create(host, &library, instance);
}

const pare_backend xnnpack_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "xnnpack",
    .version = "1.0.0",
    .doc = "Comparator: float and int8 graphs on XNNPACK's operators; never chosen by auto",
    .reference = "https://github.com/google/XNNPACK",
    .probe = xnnpack_probe,
    .create = xnnpack_create,
    .destroy = pieced_destroy,
    .supports = pieced_supports,
    .compile = pieced_compile,
    .executable_destroy = pieced_executable_destroy,
    .executable_info = pieced_executable_info,
    .run = pieced_run,
    .get_extension = pieced_get_extension,
};
