/* SPDX-License-Identifier: MIT */
#include "samples.h"
#include "dense.h"

#include <math.h>
#include <string.h>

/* ---- rows ---- */

static pare_status rows_reserve(const pare_host *host, struct rows *rows, int64_t more) {
    if (rows->n + more <= rows->room) {
        return PARE_OK;
    }
    const int64_t room = 2 * rows->n + more;
    const size_t bytes = (size_t)(room * rows->width + DENSE_SLACK) * sizeof(float);
    float *data = host->alloc(host, bytes);
    if (!data) {
        return host->fail(host, PARE_E_NOMEM,
                          "no memory for %lld rows of %lld values: try fewer places or "
                          "calibration_samples",
                          (long long)room, (long long)rows->width);
    }
    memset(data + rows->n * rows->width, 0,
           bytes - (size_t)(rows->n * rows->width) * sizeof(float));
    if (rows->data) {
        memcpy(data, rows->data, (size_t)(rows->n * rows->width) * sizeof(float));
        host->free(host, rows->data);
    }
    rows->data = data;
    rows->room = room;
    return PARE_OK;
}

static void rows_clear(const pare_host *host, struct rows *rows, int64_t n) {
    for (int64_t k = 0; rows && k < n; k++) {
        host->free(host, rows[k].data);
    }
    host->free(host, rows);
}

static struct rows *rows_create(const pare_host *host, int64_t n, int64_t width) {
    struct rows *rows = host->alloc(host, (size_t)n * sizeof *rows);
    for (int64_t k = 0; rows && k < n; k++) {
        rows[k] = (struct rows){.width = width};
    }
    return rows;
}

/* ---- samples ---- */

pare_status samples_init(const pare_host *host, const pare_graph *graph, int32_t node,
                         int64_t n_places, int has_inputs, struct samples *samples) {
    const struct patches p = patches_of(graph, graph->nodes[node]);
    *samples = (struct samples){.host = host, .node = node, .patches = p, .has_inputs = has_inputs};
    samples->n_taken = p.n_places < n_places ? p.n_places : n_places;
    samples->inputs = rows_create(host, p.n_groups, p.row_elems);
    samples->outputs = rows_create(host, p.n_groups, p.n_outputs);
    samples->now = rows_create(host, p.n_groups, p.row_elems);
    if (!samples->inputs || !samples->outputs || !samples->now) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for its samples",
                          graph->nodes[node]->name);
    }
    samples_restart(samples, graph);
    return PARE_OK;
}

void samples_clear(struct samples *samples) {
    if (samples->host) {
        rows_clear(samples->host, samples->inputs, samples->patches.n_groups);
        rows_clear(samples->host, samples->outputs, samples->patches.n_groups);
        rows_clear(samples->host, samples->now, samples->patches.n_groups);
    }
    *samples = (struct samples){0};
}

void samples_restart(struct samples *samples, const pare_graph *graph) {
    samples->host->rng_init(samples->host, graph->nodes[samples->node]->name, &samples->rng);
}

static int64_t next_place(struct samples *samples, int64_t k) {
    const int64_t n = samples->patches.n_places;
    if (samples->n_taken == n) {
        return k;
    }
    return (int64_t)(samples->host->rng_next(&samples->rng) % (uint64_t)n);
}

static pare_status check_row(const struct samples *samples, const pare_graph *graph,
                             const float *row, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(row[i])) {
            return samples->host->fail(samples->host, PARE_E_NUMERIC,
                                       "%s: while calibrating it reads or computes %g, wanted a "
                                       "finite number",
                                       graph->nodes[samples->node]->name, (double)row[i]);
        }
    }
    return PARE_OK;
}

/* The rows of n images, appended to those of each group. */
static pare_status append(struct samples *samples, const pare_graph *graph, struct rows *to,
                          const float *value, int32_t n) {
    const struct patches *p = &samples->patches;
    pare_status status = PARE_OK;
    for (int32_t g = 0; g < p->n_groups && status == PARE_OK; g++) {
        status = rows_reserve(samples->host, &to[g], n * samples->n_taken);
    }
    for (int64_t r = 0; r < n * samples->n_taken && status == PARE_OK; r++) {
        const int64_t place = next_place(samples, r % samples->n_taken);
        for (int32_t g = 0; g < p->n_groups && status == PARE_OK; g++) {
            float *row = to[g].data + to[g].n++ * p->row_elems;
            patches_row(p, value + r / samples->n_taken * p->in_elems, place, g, row);
            status = check_row(samples, graph, row, p->row_elems);
        }
    }
    return status;
}

/* y (rows, outputs) = x (rows, n) W', W' transposed into `turned`. */
static pare_status compute(const struct samples *samples, const pare_graph *graph, int32_t group,
                           const float *x, int64_t n_rows) {
    const struct patches *p = &samples->patches;
    const pare_weight *w = graph->nodes[samples->node]->weights[PARE_ROLE_WEIGHT];
    const float *from = w->data + group * p->n_outputs * p->row_elems;
    struct rows *out = &samples->outputs[group];
    const pare_host *host = samples->host;
    const size_t bytes = (size_t)(p->n_outputs * p->row_elems + DENSE_SLACK) * sizeof(float);
    float *turned = host->alloc(host, bytes);
    pare_status status = turned
                             ? rows_reserve(host, out, n_rows)
                             : host->fail(host, PARE_E_NOMEM, "%s: no memory for a copy", w->name);
    if (status == PARE_OK) {
        memset(turned, 0, bytes);
        for (int64_t i = 0; i < p->n_outputs * p->row_elems; i++) {
            turned[i % p->row_elems * p->n_outputs + i / p->row_elems] = from[i];
        }
        float *y = out->data + out->n * p->n_outputs;
        const struct dense product = {.a = x,
                                      .b = turned,
                                      .c = y,
                                      .n_i = n_rows,
                                      .n_j = p->n_outputs,
                                      .n_t = p->row_elems,
                                      .a_i = p->row_elems,
                                      .a_t = 1,
                                      .b_t = p->n_outputs,
                                      .c_i = p->n_outputs};
        dense_parallel(host, &product);
        out->n += n_rows;
        status = check_row(samples, graph, y, n_rows * p->n_outputs);
    }
    host->free(host, turned);
    return status;
}

pare_status samples_see_float(struct samples *samples, const pare_graph *graph, const float *value,
                              int32_t n) {
    const int64_t n_rows = n * samples->n_taken;
    pare_status status = append(samples, graph, samples->inputs, value, n);
    for (int32_t g = 0; g < samples->patches.n_groups && status == PARE_OK; g++) {
        struct rows *in = &samples->inputs[g];
        status = compute(samples, graph, g, in->data + (in->n - n_rows) * in->width, n_rows);
        if (!samples->has_inputs) {
            in->n = 0;
        }
    }
    return status;
}

pare_status samples_see_now(struct samples *samples, const pare_graph *graph, const float *value,
                            int32_t n) {
    return append(samples, graph, samples->now, value, n);
}
