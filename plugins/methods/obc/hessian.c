/* SPDX-License-Identifier: MIT */
#include "hessian.h"
#include "dense.h"

#include <math.h>
#include <string.h>

/* Rows of X whose products are summed in fp32 before they go into the sums in fp64; a band of rows
 * of H is one thread's. Neither depends on the number of threads. */
enum { CHUNK = 512, BAND = 16 };

pare_status hessian_init(const pare_host *host, const pare_graph *graph, const pare_node *layer,
                         struct hessian *hessian) {
    *hessian = (struct hessian){.host = host, .patches = patches_of(graph, layer)};
    const int64_t n = hessian->n = hessian->patches.row_elems;
    const int64_t n_groups = hessian->patches.n_groups;
    const int64_t most = INT64_MAX / 16 / n / n;
    if (n_groups < most) {
        hessian->h = host->alloc(host, (size_t)(n_groups * n * n) * sizeof *hessian->h);
        hessian->rows = host->alloc(host, (size_t)(CHUNK * n + DENSE_SLACK) * sizeof(float));
        hessian->sums = host->alloc(host, (size_t)(n * n) * sizeof(float));
    }
    if (!hessian->h || !hessian->rows || !hessian->sums) {
        return host->fail(host, PARE_E_NOMEM,
                          "%s: no memory for second derivatives of %lld weights", layer->name,
                          (long long)n);
    }
    memset(hessian->h, 0, (size_t)(n_groups * n * n) * sizeof *hessian->h);
    memset(hessian->rows + CHUNK * n, 0, DENSE_SLACK * sizeof(float));
    return PARE_OK;
}

void hessian_clear(struct hessian *hessian) {
    if (hessian->host) {
        hessian->host->free(hessian->host, hessian->h);
        hessian->host->free(hessian->host, hessian->rows);
        hessian->host->free(hessian->host, hessian->sums);
    }
    *hessian = (struct hessian){0};
}

struct chunk {
    const struct hessian *hessian;
    const float *value; /* (images, dims) */
    int64_t first, n_rows;
    int32_t group;
};

static void fill_row(void *arg, int64_t index) {
    const struct chunk *c = arg;
    const struct patches *p = &c->hessian->patches;
    const int64_t row = c->first + index;
    patches_row(p, c->value + row / p->n_places * p->in_elems, row % p->n_places, c->group,
                c->hessian->rows + index * c->hessian->n);
}

/* The part of a band from its own first column on. */
static void add_band(void *arg, int64_t band) {
    const struct chunk *c = arg;
    const struct hessian *hessian = c->hessian;
    const int64_t n = hessian->n;
    const int64_t first = band * BAND;
    const int64_t n_band = n - first < BAND ? n - first : BAND;
    float *sums = hessian->sums + first * n;
    const struct dense product = {.a = hessian->rows + first,
                                  .b = hessian->rows + first,
                                  .c = sums,
                                  .n_i = n_band,
                                  .n_j = n - first,
                                  .n_t = c->n_rows,
                                  .a_i = 1,
                                  .a_t = n,
                                  .b_t = n,
                                  .c_i = n};
    dense_multiply(&product);
    for (int64_t i = 0; i < n_band; i++) {
        double *h = hessian->h + (c->group * n + first + i) * n + first;
        for (int64_t j = i; j < n - first; j++) {
            h[j] += (double)sums[i * n + j];
        }
    }
}

void hessian_see(struct hessian *hessian, const float *value, int32_t n) {
    const pare_host *host = hessian->host;
    const int64_t n_rows = n * hessian->patches.n_places;
    for (int32_t group = 0; group < hessian->patches.n_groups; group++) {
        for (int64_t at = 0; at < n_rows; at += CHUNK) {
            struct chunk chunk = {hessian, value, at, n_rows - at < CHUNK ? n_rows - at : CHUNK,
                                  group};
            host->parallel_for(host, chunk.n_rows, fill_row, &chunk);
            host->parallel_for(host, (hessian->n + BAND - 1) / BAND, add_band, &chunk);
        }
    }
    hessian->n_rows += n_rows;
}

static pare_status finish_group(const struct hessian *hessian, const char *layer, double damping,
                                double *h) {
    const int64_t n = hessian->n;
    const double factor = 2.0 / (double)hessian->n_rows;
    double trace = 0.0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = i; j < n; j++) {
            h[i * n + j] *= factor;
            h[j * n + i] = h[i * n + j];
            if (!isfinite(h[i * n + j])) {
                return hessian->host->fail(
                    hessian->host, PARE_E_NUMERIC,
                    "%s: products of the values it reads while calibrating sum up to %g, wanted a "
                    "finite number",
                    layer, h[i * n + j]);
            }
        }
        trace += h[i * n + i];
    }
    for (int64_t i = 0; i < n; i++) {
        h[i * n + i] += damping * trace / (double)n;
    }
    return PARE_OK;
}

pare_status hessian_finish(struct hessian *hessian, const char *layer, double damping) {
    const int64_t n = hessian->n;
    if (hessian->n_rows == 0) {
        return hessian->host->fail(hessian->host, PARE_E_STATE,
                                   "%s: calibration saw no values: it needs at least one image",
                                   layer);
    }
    pare_status status = PARE_OK;
    for (int32_t group = 0; group < hessian->patches.n_groups && status == PARE_OK; group++) {
        status = finish_group(hessian, layer, damping, hessian->h + group * n * n);
    }
    return status;
}
