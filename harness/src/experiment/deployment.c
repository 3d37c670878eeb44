/* SPDX-License-Identifier: MIT */
#include "experiment/deployment.h"

#include "core/alloc.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_status create_instance(struct deployment *dep, const struct registry *reg,
                                   const char *backend, struct pool *pool, struct error *err) {
    const struct plugin_entry *entry;
    if (registry_find_backend(reg, backend, err, &entry) != PARE_OK)
        return err->status;
    dep->backend = entry->backend;
    struct param_table table = {entry->backend->params, entry->backend->n_params,
                                entry->plugin->param_desc_size, entry->backend->id};
    if (params_resolve(&table, 1, NULL, 0, err, &dep->params) != PARE_OK)
        return err->status;
    struct instance_env env = {.pool = pool};
    return instance_create(entry, dep->params, 0, &env, err, &dep->inst);
}

/* A backend that cannot be used here says why in its probe. */
static pare_status check_probe(struct deployment *dep, struct error *err) {
    pare_probe probe = {.struct_size = sizeof probe};
    const pare_host *host = instance_host(dep->inst);
    instance_enter(dep->inst, "probe");
    pare_status status =
        instance_status(dep->inst, dep->backend->probe(host, &probe), "probe", err);
    if (status == PARE_OK && probe.score <= 0)
        return error_set(err, PARE_E_UNSUPPORTED, "backend %s cannot run here: %s",
                         dep->backend->id, probe.reason);
    return status;
}

static pare_status compile_one(struct deployment *dep, const pare_graph *graph, const char *isa,
                               struct error *err, void **executable) {
    pare_compile_options options = {
        .struct_size = sizeof options, .max_batch = dep->max_batch, .isa = isa};
    instance_enter(dep->inst, "compile");
    pare_status status =
        dep->backend->compile(instance_self(dep->inst), graph, &options, executable);
    return instance_status(dep->inst, status, "compile", err);
}

static pare_status compile(struct deployment *dep, const pare_graph *graph, const char *isa,
                           struct error *err) {
    void *self = instance_self(dep->inst);
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        instance_enter(dep->inst, "supports");
        pare_status status = dep->backend->supports(self, graph, i);
        if (instance_status(dep->inst, status, "supports", err) != PARE_OK)
            return err->status;
    }
    if (compile_one(dep, graph, isa, err, &dep->executable) != PARE_OK)
        return err->status;
    instance_enter(dep->inst, "executable_info");
    pare_status status = dep->backend->executable_info(dep->executable, &dep->info);
    return instance_status(dep->inst, status, "executable_info", err);
}

pare_status deployment_create(const pare_graph *graph, const struct registry *reg,
                              const char *backend, const char *isa, int32_t max_batch,
                              struct pool *pool, struct error *err, struct deployment **out) {
    struct deployment *dep = alloc_array(1, sizeof *dep);
    if (!dep)
        return error_set(err, PARE_E_NOMEM, "out of memory for backend %s", backend);
    dep->max_batch = max_batch;
    dep->n_outputs = graph->n_classes;
    dep->input_elems = (int64_t)graph->input_dims[0] * graph->input_dims[1] * graph->input_dims[2];
    if (create_instance(dep, reg, backend, pool, err) != PARE_OK ||
        check_probe(dep, err) != PARE_OK || compile(dep, graph, isa, err) != PARE_OK) {
        deployment_destroy(dep);
        return err->status;
    }
    for (int32_t i = 0; i < dep->info->n_kernels; i++) {
        dep->macs += dep->info->kernels[i]->macs;
        dep->weight_bytes += dep->info->kernels[i]->weight_bytes;
        dep->n_fallback += dep->info->kernels[i]->is_fallback != 0;
    }
    *out = dep;
    return PARE_OK;
}

void deployment_destroy(struct deployment *dep) {
    if (!dep)
        return;
    if (dep->executable)
        instance_enter(dep->inst, "executable_destroy");
    for (int32_t k = 0; k < dep->n_executables; k++)
        dep->backend->executable_destroy(dep->executables[k]);
    if (dep->executable && !dep->executables)
        dep->backend->executable_destroy(dep->executable);
    free(dep->executables);
    if (dep->inst)
        instance_destroy(dep->inst, NULL);
    params_destroy(dep->params);
    free(dep);
}

enum { MAX_COPIES = 1 << 16 };

/* How many executables fill `bytes` past the first; 0 and an error. */
static int32_t count_copies(const struct deployment *dep, int64_t bytes, struct error *err) {
    int64_t each = dep->info->bytes_resident + dep->info->bytes_activations;
    if (dep->info->bytes_resident <= 0) {
        error_set(err, PARE_E_UNSUPPORTED,
                  "cold caches: backend %s does not tell how many bytes its weights take",
                  dep->backend->id);
        return 0;
    }
    int64_t n = (bytes + each - 1) / each + 1;
    if (n <= MAX_COPIES)
        return (int32_t)n;
    error_set(err, PARE_E_UNSUPPORTED,
              "cold caches: it takes %lld copies of this model to fill %lld bytes, at most %d are "
              "made",
              (long long)n, (long long)bytes, (int)MAX_COPIES);
    return 0;
}

static pare_status add_copy(struct deployment *dep, const pare_graph *graph, const char *isa,
                            struct error *err) {
    void **next = &dep->executables[dep->n_executables];
    if (compile_one(dep, graph, isa, err, next) != PARE_OK)
        return error_prefix(err, "cold caches: copy %d", dep->n_executables);
    dep->n_executables++;
    return PARE_OK;
}

pare_status deployment_add_copies(struct deployment *const *deps, const pare_graph *const *graphs,
                                  size_t n_deps, const char *isa, int64_t bytes,
                                  struct error *err) {
    int32_t wanted[MAX_ROTATING], most = 0;
    assert(n_deps <= MAX_ROTATING);
    for (size_t d = 0; d < n_deps; d++) {
        wanted[d] = count_copies(deps[d], bytes, err);
        if (wanted[d] == 0)
            return err->status;
        most = wanted[d] > most ? wanted[d] : most;
        deps[d]->executables = alloc_array((size_t)wanted[d], sizeof *deps[d]->executables);
        if (!deps[d]->executables)
            return error_set(err, PARE_E_NOMEM, "out of memory for %d executables", wanted[d]);
        deps[d]->executables[deps[d]->n_executables++] = deps[d]->executable;
    }
    for (int32_t k = 1; k < most; k++) {
        for (size_t d = 0; d < n_deps; d++) {
            if (k < wanted[d] && add_copy(deps[d], graphs[d], isa, err) != PARE_OK)
                return err->status;
        }
    }
    return PARE_OK;
}

void deployment_rotate(struct deployment *dep) {
    if (!dep->executables)
        return;
    dep->turn = (dep->turn + 1) % dep->n_executables;
    dep->executable = dep->executables[dep->turn];
}

pare_status deployment_run(struct deployment *dep, const float *images, int64_t n,
                           struct error *err, float *output) {
    for (int64_t at = 0; at < n; at += dep->max_batch) {
        int32_t count = (int32_t)(n - at < dep->max_batch ? n - at : dep->max_batch);
        instance_enter(dep->inst, "run");
        pare_status status = dep->backend->run(dep->executable, images + at * dep->input_elems,
                                               count, output + at * dep->n_outputs);
        if (instance_status(dep->inst, status, "run", err) != PARE_OK)
            return err->status;
    }
    return PARE_OK;
}

static pare_status check_alive(const struct deployment *dep, const float *got, int64_t n,
                               struct error *err) {
    int constant = 1;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(got[i]))
            return error_set(err, PARE_E_NUMERIC,
                             "output check: backend %s gives %g for output %lld", dep->backend->id,
                             (double)got[i], (long long)i);
        constant &= got[i] == got[0];
    }
    if (constant)
        return error_set(err, PARE_E_NUMERIC,
                         "output check: backend %s gives the same output %g everywhere",
                         dep->backend->id, (double)got[0]);
    return PARE_OK;
}

/* Relative to the largest output. Integers are exact, up to a softmax that may follow them in
 * float. In mixed networks a float sum in another order can flip a code, so only gross errors can
 * be told. */
static float allowed_difference(const struct deployment *dep, const pare_graph *graph) {
    int softmax = graph->nodes[graph->n_nodes - 1]->op == PARE_OP_SOFTMAX;
    if (strcmp(dep->info->execution, "integer") == 0)
        return softmax ? 1e-6f : 0;
    return strcmp(dep->info->execution, "float") == 0 ? 1e-3f : 0.05f;
}

static pare_status check_against(const struct deployment *dep, const pare_graph *graph,
                                 const float *got, const float *wanted, int64_t n,
                                 struct error *err) {
    float largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(wanted[i]));
    float tolerance = allowed_difference(dep, graph) * largest;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabsf(got[i] - wanted[i]) <= tolerance)) /* a NaN of ref's too */
            return error_set(err, PARE_E_NUMERIC,
                             "output check: backend %s gives %.9g for output %lld, ref gives %.9g "
                             "(allowed difference %g)",
                             dep->backend->id, (double)got[i], (long long)i, (double)wanted[i],
                             (double)tolerance);
    }
    return PARE_OK;
}

pare_status deployment_check(struct deployment *dep, const pare_graph *graph,
                             const struct registry *reg, const float *images, int32_t n,
                             struct error *err) {
    int64_t n_outputs = (int64_t)n * dep->n_outputs;
    float *got = alloc_array((size_t)n_outputs * 2, sizeof *got);
    if (!got)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    float *wanted = got + n_outputs;
    struct deployment *ref = NULL;
    pare_status status = deployment_run(dep, images, n, err, got);
    if (status == PARE_OK)
        status = check_alive(dep, got, n_outputs, err);
    if (status == PARE_OK && strcmp(dep->backend->id, "ref") != 0) {
        status = deployment_create(graph, reg, "ref", NULL, n, NULL, err, &ref);
        if (status == PARE_OK)
            status = deployment_run(ref, images, n, err, wanted);
        if (status == PARE_OK)
            status = check_against(dep, graph, got, wanted, n_outputs, err);
    }
    deployment_destroy(ref);
    free(got);
    return status;
}
