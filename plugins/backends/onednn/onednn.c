/* SPDX-License-Identifier: MIT */
#include "onednn.h"

#include <string.h>

/* What one step is given in one lane. Memory gets its place in each run. */
struct binding {
    dnnl_memory_t in[2], out, scratch;
};

struct lane {
    char *scratch;
    dnnl_stream_t stream;
    struct binding *bindings; /* (n_steps) */
};

struct context {
    dnnl_engine_t engine;
    int32_t n_steps, n_lanes, n_samples;
    struct onednn_step *steps; /* (n_steps) */
    struct lane *lanes;        /* (n_lanes) */
};

const char *onednn_isa(void) {
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
        return "sse41";
    case dnnl_cpu_isa_avx:
        return "avx";
    case dnnl_cpu_isa_avx2:
        return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
        return "avx-vnni";
    case dnnl_cpu_isa_avx512_core:
        return "avx512";
    case dnnl_cpu_isa_avx512_core_vnni:
        return "avx512-vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
        return "avx512-bf16";
    case dnnl_cpu_isa_avx512_core_amx:
        return "avx512-amx";
    default:
        return "generic";
    }
}

/* ---- what is taken ---- */

static pare_status refuse_codes(const pare_host *host, const char *name) {
    return host->fail(host, PARE_E_UNSUPPORTED,
                      "%s: its value is quantized, and onednn computes in float only; use backend "
                      "\"auto\"",
                      name);
}

static pare_status supports(const pare_host *host, const pare_graph *graph, int32_t node) {
    return graph->nodes[node]->activation.bits != 0 ? refuse_codes(host, graph->nodes[node]->name)
                                                    : PARE_OK;
}

static pare_status accepts(const pare_host *host, const struct lower_plan *plan,
                           const pare_graph *graph) {
    for (int32_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].rep != LOWER_F32) {
            return refuse_codes(host, graph->nodes[plan->values[v].node]->name);
        }
    }
    return PARE_OK;
}

static const char *execution(const struct lower_plan *plan) {
    return plan->execution;
}

/* ---- memory ---- */

static void lane_free(const pare_host *host, const struct context *c, struct lane *lane) {
    for (int32_t s = 0; lane->bindings != NULL && s < c->n_steps; s++) {
        const struct binding *b = &lane->bindings[s];
        dnnl_memory_destroy(b->in[0]);
        dnnl_memory_destroy(b->in[1]);
        dnnl_memory_destroy(b->out);
        dnnl_memory_destroy(b->scratch);
    }
    dnnl_stream_destroy(lane->stream);
    host->free(host, lane->bindings);
    host->free(host, lane->scratch);
}

static void close_library(const pare_host *host, void *context) {
    struct context *c = context;
    if (c == NULL) {
        return;
    }
    for (int32_t l = 0; c->lanes != NULL && l < c->n_lanes; l++) {
        lane_free(host, c, &c->lanes[l]);
    }
    for (int32_t s = 0; c->steps != NULL && s < c->n_steps; s++) {
        onednn_step_free(host, &c->steps[s]);
    }
    dnnl_engine_destroy(c->engine);
    host->free(host, c->lanes);
    host->free(host, c->steps);
    host->free(host, c);
}

static pare_status open_library(struct pieced_maker *maker) {
    const pare_host *host = maker->host;
    struct context *c = pieced_alloc(host, 1, sizeof *c);
    if (c == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
    }
    maker->context = c;
    c->n_steps = maker->plan->n_steps;
    c->n_lanes = maker->n_lanes;
    c->n_samples = maker->plan->max_batch;
    if (dnnl_engine_create(&c->engine, dnnl_cpu, 0) != dnnl_success) {
        return host->fail(host, PARE_E_UNSUPPORTED, "oneDNN has no engine for a CPU");
    }
    c->steps = pieced_alloc(host, c->n_steps, sizeof *c->steps);
    c->lanes = pieced_alloc(host, c->n_lanes, sizeof *c->lanes);
    int is_made = c->steps != NULL && c->lanes != NULL;
    for (int32_t l = 0; is_made && l < c->n_lanes; l++) {
        c->lanes[l].bindings = pieced_alloc(host, c->n_steps, sizeof *c->lanes[l].bindings);
        is_made = c->lanes[l].bindings != NULL &&
                  dnnl_stream_create(&c->lanes[l].stream, c->engine, dnnl_stream_default_flags) ==
                      dnnl_success;
    }
    return is_made ? PARE_OK : host->fail(host, PARE_E_NOMEM, "out of memory for an executable");
}

/* ---- making steps ---- */

static dnnl_status_t bind_step(const struct context *c, const struct onednn_step *step,
                               struct lane *lane, struct binding *b) {
    const dnnl_dims_t bytes = {(dnnl_dim_t)step->scratch_bytes};
    dnnl_memory_desc_t scratch;
    dnnl_status_t status = dnnl_success;
    for (int32_t k = 0; k < step->low.n_inputs && status == dnnl_success; k++) {
        status = dnnl_memory_create(&b->in[k], &step->in[k], c->engine, NULL);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&b->out, &step->out, c->engine, NULL);
    }
    if (status == dnnl_success && step->scratch_bytes > 0) {
        status = dnnl_memory_desc_init_by_tag(&scratch, 1, bytes, dnnl_u8, dnnl_a);
        if (status == dnnl_success) {
            status = dnnl_memory_create(&b->scratch, &scratch, c->engine, lane->scratch);
        }
    }
    return status;
}

/* Scratch is of one step at a time; when a later one needs more, all have to be told. */
static int grow_scratch(struct pieced_maker *maker, size_t bytes) {
    struct context *c = maker->context;
    const int64_t wanted = (int64_t)bytes * c->n_lanes;
    if (wanted <= maker->bytes_scratch) {
        return 1;
    }
    maker->bytes_scratch = wanted;
    for (int32_t l = 0; l < c->n_lanes; l++) {
        struct lane *lane = &c->lanes[l];
        maker->host->free(maker->host, lane->scratch);
        lane->scratch = pieced_alloc(maker->host, (int64_t)bytes, 1);
        if (lane->scratch == NULL) {
            return 0;
        }
        for (int32_t s = 0; s < c->n_steps; s++) {
            if (lane->bindings[s].scratch != NULL) {
                dnnl_memory_set_data_handle(lane->bindings[s].scratch, lane->scratch);
            }
        }
    }
    return 1;
}

static pare_status prepare(struct pieced_maker *maker, int32_t index, const char *node,
                           const char **kernel) {
    struct context *c = maker->context;
    struct onednn_step *step = &c->steps[index];
    /* The library plans its primitives for the threads that it may start: none. */
    const int n_threads = omp_get_max_threads();
    omp_set_num_threads(1);
    pare_status status = onednn_prepare(maker, c->engine, c->lanes[0].stream,
                                        &maker->plan->steps[index], node, step);
    omp_set_num_threads(n_threads);
    *kernel = step->kernel;
    if (status != PARE_OK || step->primitive == NULL) {
        return status;
    }
    int is_made = grow_scratch(maker, step->scratch_bytes);
    for (int32_t l = 0; is_made && l < c->n_lanes; l++) {
        is_made = bind_step(c, step, &c->lanes[l], &c->lanes[l].bindings[index]) == dnnl_success;
    }
    return is_made ? PARE_OK
                   : maker->host->fail(maker->host, PARE_E_NOMEM,
                                       "%s: out of memory for activations", node);
}

/* ---- running ---- */

static void enter(void) {
    omp_set_num_threads(1); /* of this thread */
}

static int run(void *context, int32_t l, int32_t index, const void *const *x, void *y) {
    const struct context *c = context;
    const struct onednn_step *step = &c->steps[index];
    const struct binding *b = &c->lanes[l].bindings[index];
    dnnl_exec_arg_t args[6];
    int n_args = 0;
    if (step->primitive == NULL) {
        pieced_run_plain(&step->low, step->gain, step->shift, x[0], y, c->n_samples);
        return 0;
    }
    for (int32_t k = 0; k < step->low.n_inputs; k++) {
        dnnl_memory_set_data_handle(b->in[k], (void *)(uintptr_t)x[k]);
        args[n_args++] = (dnnl_exec_arg_t){k == 0 ? DNNL_ARG_SRC_0 : DNNL_ARG_SRC_1, b->in[k]};
    }
    dnnl_memory_set_data_handle(b->out, y);
    args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_DST, b->out};
    if (step->weights != NULL) {
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, step->weights};
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, step->bias};
    }
    if (b->scratch != NULL) {
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, b->scratch};
    }
    return (int)dnnl_primitive_execute(step->primitive, c->lanes[l].stream, n_args, args);
}

/* ---- the backend ---- */

static const struct pieced_library library = {
    .name = "oneDNN",
    .most_samples = ONEDNN_PIECE,
    .isa = onednn_isa,
    .isa_advice = "the environment variable ONEDNN_MAX_CPU_ISA makes it take less",
    .supports = supports,
    .accepts = accepts,
    .execution = execution,
    .open = open_library,
    .close = close_library,
    .prepare = prepare,
    .enter = enter,
    .run = run,
};

/* As ref's, the least that is usable: "auto" finds x86 first wherever this is built. */
static pare_status onednn_probe(const pare_host *host, pare_probe *probe) {
    (void)host;
    probe->score = 1;
    probe->reason[0] = '\0';
    memset(probe->isa, 0, sizeof probe->isa);
    const char *isa = onednn_isa();
    memcpy(probe->isa, isa, strlen(isa));
    return PARE_OK;
}

static pare_status onednn_create(const pare_host *host, const pare_params *params,
                                 void **instance) {
    (void)params;
    return pieced_create(host, &library, instance);
}

const pare_backend onednn_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "onednn",
    .version = "1.0.0",
    .doc = "Comparator: float graphs on oneDNN's kernels; never chosen by auto",
    .reference = "https://oneapi-src.github.io/oneDNN, version 2",
    .probe = onednn_probe,
    .create = onednn_create,
    .destroy = pieced_destroy,
    .supports = pieced_supports,
    .compile = pieced_compile,
    .executable_destroy = pieced_executable_destroy,
    .executable_info = pieced_executable_info,
    .run = pieced_run,
    .get_extension = pieced_get_extension,
};
