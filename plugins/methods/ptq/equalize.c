/* SPDX-License-Identifier: MIT */
#include "equalize.h"
#include "plan.h"

#include <math.h>
#include <string.h>

#define MAX_ROUNDS 40
#define SETTLED 0.01 /* factors this near to 1 */

struct pair {
    const pare_weight *first, *second, *bias; /* bias of the first, or NULL */
    int64_t n;                                /* channels between the two */
    int64_t per_group;                        /* that one output channel of the second reads */
};

/* ---- pairs ---- */

static int lets_factors_through(pare_op op) {
    return op == PARE_OP_RELU || op == PARE_OP_MAX_POOL || op == PARE_OP_AVG_POOL ||
           op == PARE_OP_GLOBAL_AVG_POOL || op == PARE_OP_FLATTEN;
}

/* The selected layer that alone reads what `layer` makes, or NULL. */
static const pare_node *partner(const pare_host *host, const pare_graph *graph, int32_t layer) {
    int32_t v = layer;
    for (;;) {
        const int32_t reader =
            graph->nodes[v]->activation.bits == 0 ? plan_sole_reader(graph, v) : -1;
        if (reader < 0 || host->selected(host, graph, reader)) {
            return reader < 0 ? NULL : graph->nodes[reader];
        }
        if (!lets_factors_through(graph->nodes[reader]->op)) {
            return NULL;
        }
        v = reader;
    }
}

static int find_pair(const pare_host *host, const pare_graph *graph, int32_t layer,
                     struct pair *pair) {
    const pare_node *first = graph->nodes[layer];
    const pare_node *second =
        host->selected(host, graph, layer) ? partner(host, graph, layer) : NULL;
    if (second) {
        const int64_t n_groups = second->op == PARE_OP_CONV2D ? second->groups : 1;
        *pair = (struct pair){first->weights[PARE_ROLE_WEIGHT], second->weights[PARE_ROLE_WEIGHT],
                              first->weights[PARE_ROLE_BIAS], first->dims[2],
                              first->dims[2] / n_groups};
    }
    return second != NULL;
}

/* Which channel element i of the second weight reads: (OUT,KH,KW,IN / groups), or (OUT,H*W*C) after
 * a flatten. */
static int64_t channel_read(const struct pair *pair, int64_t i) {
    const pare_weight *w = pair->second;
    const int64_t row = i / (w->n_elems / w->dims[0]);
    const int64_t rows_per_group = w->dims[0] / (pair->n / pair->per_group);
    return row / rows_per_group * pair->per_group + i % pair->per_group;
}

/* ---- factors ---- */

/* r1, r2 (n) are out. */
static void ranges_of(const struct pair *pair, double *r1, double *r2) {
    const int64_t per_channel = pair->first->n_elems / pair->n;
    memset(r1, 0, (size_t)pair->n * sizeof *r1);
    memset(r2, 0, (size_t)pair->n * sizeof *r2);
    for (int64_t i = 0; i < pair->first->n_elems; i++) {
        double *r = &r1[i / per_channel];
        *r = fmax(*r, fabs((double)pair->first->data[i]));
    }
    for (int64_t i = 0; i < pair->second->n_elems; i++) {
        double *r = &r2[channel_read(pair, i)];
        *r = fmax(*r, fabs((double)pair->second->data[i]));
    }
}

/* r1 becomes the factors; returns how far the farthest is from 1. */
static double factors_of(int64_t n, double *r1, const double *r2) {
    double farthest = 0.0;
    for (int64_t c = 0; c < n; c++) {
        r1[c] = r1[c] > 0.0 && r2[c] > 0.0 ? sqrt(r1[c]) / sqrt(r2[c]) : 1.0;
        farthest = fmax(farthest, fabs(r1[c] - 1.0));
    }
    return farthest;
}

/* ---- the change ---- */

static pare_status scale_second(const pare_host *host, const pare_graph *graph,
                                const struct pair *pair, const double *s, float *buffer) {
    for (int64_t i = 0; i < pair->second->n_elems; i++) {
        buffer[i] = (float)((double)pair->second->data[i] * s[channel_read(pair, i)]);
    }
    return host->set_weight(host, graph, pair->second->index, buffer);
}

/* The first layer's weight or bias. */
static pare_status divide_first(const pare_host *host, const pare_graph *graph,
                                const pare_weight *w, const double *s, float *buffer) {
    const int64_t per_channel = w->n_elems / w->dims[0];
    for (int64_t i = 0; i < w->n_elems; i++) {
        buffer[i] = (float)((double)w->data[i] / s[i / per_channel]);
    }
    return host->set_weight(host, graph, w->index, buffer);
}

static pare_status equalize_pair(const pare_host *host, const pare_graph *graph,
                                 const struct pair *pair, double *farthest) {
    const int64_t n1 = pair->first->n_elems;
    const int64_t n2 = pair->second->n_elems;
    float *buffer = host->alloc(host, (size_t)(n1 > n2 ? n1 : n2) * sizeof *buffer);
    double *s = host->alloc(host, 2 * (size_t)pair->n * sizeof *s);
    pare_status status = PARE_OK;
    if (!buffer || !s) {
        status =
            host->fail(host, PARE_E_NOMEM, "%s: no memory for equalization", pair->first->name);
        goto cleanup;
    }
    ranges_of(pair, s, s + pair->n);
    *farthest = fmax(*farthest, factors_of(pair->n, s, s + pair->n));
    status = scale_second(host, graph, pair, s, buffer);
    if (status == PARE_OK) {
        status = divide_first(host, graph, pair->first, s, buffer);
    }
    if (status == PARE_OK && pair->bias) {
        status = divide_first(host, graph, pair->bias, s, buffer);
    }
cleanup:
    host->free(host, s);
    host->free(host, buffer);
    return status;
}

pare_status equalize(const pare_host *host, const pare_graph *graph, int32_t *n_pairs) {
    double farthest = INFINITY;
    int32_t n = 0;
    for (int round = 0; round < MAX_ROUNDS && farthest > SETTLED; round++) {
        farthest = 0.0;
        n = 0;
        for (int32_t layer = 0; layer < graph->n_nodes; layer++) {
            struct pair pair;
            if (find_pair(host, graph, layer, &pair)) {
                const pare_status status = equalize_pair(host, graph, &pair, &farthest);
                if (status < 0) {
                    return status;
                }
                n++;
            }
        }
    }
    *n_pairs = n;
    return PARE_OK;
}
