/* SPDX-License-Identifier: MIT */
/* Where the time of an arm's queries goes, kernel by kernel, in runs of their own: extension
 * pare.backend.profile/1. Reading a clock between kernels disturbs them, so none of these runs is
 * among the timed queries. */
#include "core/alloc.h"
#include "core/progress.h"
#include "experiment/arm_internal.h"
#include "measure/stats.h"

#include <jansson.h>
#include <pare/ext/profile.h>
#include <stdlib.h>

/* A median needs 11. */
enum { MIN_RUNS = 11, MAX_RUNS = 500, WARMUP_RUNS = 2, CLOCK_TRIALS = 64 };

struct profile {
    const pare_backend_profile *ext;
    struct querier *q;
    int32_t n_kernels;
    int64_t clock_cost_ns, last_ns;
    int32_t wrong;  /* a kernel that there is not, else 0 */
    double *row;    /* (n_kernels + 1) of this run: kernels, then all else; -1: not told of */
    double *ns;     /* (MAX_RUNS, n_kernels + 1) */
    double *column; /* (MAX_RUNS) scratch */
    int32_t n_runs;
};

/* What is between two reads is the second one's cost, too. */
static int64_t measure_clock_cost(void) {
    int64_t least = INT64_MAX;
    for (int k = 0; k < CLOCK_TRIALS; k++) {
        int64_t begin_ns = clock_ns(), cost_ns = clock_ns() - begin_ns;
        least = cost_ns >= 0 && cost_ns < least ? cost_ns : least;
    }
    return least < INT64_MAX ? least : 0;
}

static void note_time(struct profile *p, int32_t slot) {
    int64_t took_ns = clock_ns() - p->last_ns - p->clock_cost_ns;
    p->row[slot] = (p->row[slot] < 0 ? 0 : p->row[slot]) + (took_ns > 0 ? (double)took_ns : 0);
    p->last_ns = clock_ns();
}

static void kernel_done(void *context, int32_t kernel) {
    struct profile *p = context;
    if (kernel < -1 || kernel >= p->n_kernels) {
        p->wrong = kernel;
        return;
    }
    note_time(p, kernel >= 0 ? kernel : p->n_kernels);
}

static pare_status run_once(struct profile *p, int64_t i) {
    struct querier *q = p->q;
    struct deployment *dep = q->dep;
    const float *images = arm_inputs(q, i);
    deployment_rotate(dep);
    for (int32_t k = 0; k <= p->n_kernels; k++)
        p->row[k] = -1;
    if (q->request->cache == CACHE_COLD_WEIGHTS)
        arm_warm_inputs(q, i);
    instance_enter(dep->inst, "profile");
    p->last_ns = clock_ns();
    pare_status status = p->ext->run(dep->executable, images, q->request->samples_per_query,
                                     q->output, kernel_done, p);
    note_time(p, p->n_kernels); /* from the last kernel's end */
    return instance_status(dep->inst, status, "profile", &q->err);
}

/* A backend that does not keep the extension's word is an error like any other of its. */
static pare_status check_told(const struct profile *p, struct error *err) {
    const struct deployment *dep = p->q->dep;
    if (p->wrong)
        return error_set(err, PARE_E_PLUGIN, "backend %s: told of kernel %d, has 0..%d",
                         dep->backend->id, p->wrong, p->n_kernels - 1);
    for (int32_t k = 0; k < p->n_kernels; k++)
        if (p->row[k] < 0)
            return error_set(err, PARE_E_PLUGIN, "backend %s: did not tell that kernel %d (%s) ran",
                             dep->backend->id, k, dep->info->kernels[k]->kernel);
    return PARE_OK;
}

static pare_status run_all(struct profile *p, struct error *err) {
    struct latency_options options;
    latency_profile_options(p->q->request->profile, &options);
    int64_t limit_ns = options.min_duration_ns / 4;
    limit_ns = limit_ns < INT64_C(1000000000) ? limit_ns : INT64_C(1000000000);
    int64_t begin_ns = 0;
    for (int32_t i = -WARMUP_RUNS; i < MAX_RUNS; i++) {
        p->row = p->ns + (int64_t)(i < 0 ? 0 : i) * (p->n_kernels + 1);
        if (i == 0)
            begin_ns = clock_ns();
        if (i >= MIN_RUNS && clock_ns() - begin_ns > limit_ns)
            break;
        if (run_once(p, i < 0 ? 0 : i) != PARE_OK) {
            *err = p->q->err;
            return err->status;
        }
        if (check_told(p, err) != PARE_OK)
            return err->status;
        p->n_runs = i + 1;
    }
    return PARE_OK;
}

/* ---- recording ---- */

/* owner (n_nodes): the kernel that computes each node, -1: none. A node without a kernel of its own
 * is done by that of its input; of two inputs, as of an add, by the later, before which it cannot
 * be done. */
static void find_owners(const pare_graph *graph, const pare_executable_info *info, int32_t *owner) {
    for (int32_t i = 0; i < graph->n_nodes; i++)
        owner[i] = -1;
    for (int32_t k = info->n_kernels - 1; k >= 0; k--)
        owner[info->kernels[k]->node] = k;
    for (int32_t i = 0; i < graph->n_nodes; i++) { /* inputs come before their readers */
        const pare_node *node = graph->nodes[i];
        int has_own = owner[i] >= 0;
        for (int32_t k = 0; k < node->n_inputs && !has_own; k++) {
            int32_t of_input = owner[node->inputs[k]];
            owner[i] = of_input > owner[i] ? of_input : owner[i];
        }
    }
}

static json_t *describe_kernel(const pare_graph *graph, const pare_executable_info *info, int32_t k,
                               const int32_t *owner, double ns) {
    const pare_kernel_info *kernel = info->kernels[k];
    json_t *fused = json_array();
    for (int32_t i = 0; i < graph->n_nodes; i++)
        if (owner[i] == k && i != kernel->node)
            json_array_append_new(fused, json_string(graph->nodes[i]->name));
    json_t *object = json_pack("{s:s, s:s, s:f}", "name", graph->nodes[kernel->node]->name,
                               "kernel", kernel->kernel, "ns", ns);
    if (object && json_array_size(fused) > 0)
        json_object_set(object, "fused", fused);
    json_decref(fused);
    return object;
}

static double median_of(const struct profile *p, int32_t slot) {
    for (int32_t r = 0; r < p->n_runs; r++)
        p->column[r] = p->ns[(int64_t)r * (p->n_kernels + 1) + slot];
    stats_sort(p->column, (size_t)p->n_runs);
    return stats_quantile(p->column, (size_t)p->n_runs, 0.5);
}

static pare_status record_profile(const struct profile *p, struct error *err, struct record *rec) {
    const pare_graph *graph = p->q->request->graph;
    const pare_executable_info *info = p->q->dep->info;
    int32_t *owner = alloc_array((size_t)graph->n_nodes, sizeof *owner);
    json_t *list = json_array();
    if (!owner || !list) {
        free(owner);
        json_decref(list);
        return error_set(err, PARE_E_NOMEM, "out of memory for times of layers");
    }
    find_owners(graph, info, owner);
    for (int32_t k = 0; k < p->n_kernels; k++)
        json_array_append_new(list, describe_kernel(graph, info, k, owner, median_of(p, k)));
    json_array_append_new(
        list, json_pack("{s:s, s:f}", "name", "(other)", "ns", median_of(p, p->n_kernels)));
    char *text = json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(6));
    record_set(rec, COL_layer_times_json, text ? text : "");
    free(text);
    json_decref(list);
    free(owner);
    return PARE_OK;
}

static pare_status check_extension(const struct profile *p, struct error *err) {
    const pare_executable_info *info = p->q->dep->info;
    if (!PARE_HAS(p->ext, pare_backend_profile, run) || !p->ext->run)
        return error_set(err, PARE_E_ABI, "backend %s: extension %s has no run",
                         p->q->dep->backend->id, PARE_BACKEND_PROFILE);
    for (int32_t k = 0; k < p->n_kernels; k++)
        if (info->kernels[k]->node < 0 || info->kernels[k]->node >= p->q->request->graph->n_nodes)
            return error_set(err, PARE_E_PLUGIN, "backend %s: kernel %d is of node %d, has 0..%d",
                             p->q->dep->backend->id, k, info->kernels[k]->node,
                             p->q->request->graph->n_nodes - 1);
    return PARE_OK;
}

pare_status arm_profile(struct querier *subject, struct error *err, struct record *rec) {
    const struct deployment *dep = subject->dep;
    struct profile p = {.q = subject, .n_kernels = dep->info->n_kernels};
    if (subject->request->graph && dep->backend->get_extension)
        p.ext = dep->backend->get_extension(PARE_BACKEND_PROFILE);
    if (!p.ext || p.n_kernels < 1)
        return PARE_OK;
    size_t n_slots = (size_t)p.n_kernels + 1;
    p.ns = alloc_array(n_slots * MAX_RUNS, sizeof *p.ns);
    p.column = alloc_array(MAX_RUNS, sizeof *p.column);
    p.clock_cost_ns = measure_clock_cost();
    pare_status status = check_extension(&p, err);
    if (status == PARE_OK && (!p.ns || !p.column))
        status = error_set(err, PARE_E_NOMEM, "out of memory for times of layers");
    if (status == PARE_OK)
        status = run_all(&p, err);
    if (status == PARE_OK)
        status = record_profile(&p, err, rec);
    free(p.ns);
    free(p.column);
    return status == PARE_OK ? status : error_prefix(err, "times of layers");
}
