/* SPDX-License-Identifier: MIT */
#include "units.h"

#include <math.h>
#include <string.h>

int structure_parse(const char *name) {
    static const char *const names[] = {"weight", "output", "input", "row", "column"};
    for (int k = 0; k < 5; k++) {
        if (strcmp(name, names[k]) == 0) {
            return k;
        }
    }
    return -1;
}

/* Weights of conv2d are (OC,KH,KW,IC), of linear (OUT,IN). */
pare_status units_of(const pare_host *host, const pare_weight *w, enum structure structure,
                     struct units *units) {
    if (structure == STRUCTURE_WEIGHT) {
        *units = (struct units){1, w->n_elems, 1};
        return PARE_OK;
    }
    int axis = structure == STRUCTURE_OUTPUT  ? 0
               : structure == STRUCTURE_INPUT ? w->rank - 1
               : structure == STRUCTURE_ROW   ? 1
                                              : 2;
    if (w->rank != 4 && (structure == STRUCTURE_ROW || structure == STRUCTURE_COLUMN)) {
        return host->fail(host, PARE_E_UNSUPPORTED,
                          "%s: has no kernel, so no rows or columns to prune; exclude its layer, "
                          "or use structure = \"output\" or \"input\"",
                          w->name);
    }
    *units = (struct units){1, w->dims[axis], 1};
    for (int k = 0; k < w->rank; k++) {
        units->outer *= k < axis ? w->dims[k] : 1;
        units->inner *= k > axis ? w->dims[k] : 1;
    }
    return PARE_OK;
}

void units_kept(const struct units *units, const uint8_t *mask, uint8_t *has_any) {
    memset(has_any, mask == NULL, (size_t)units->n);
    for (int64_t o = 0; mask && o < units->outer; o++) {
        for (int64_t u = 0; u < units->n; u++) {
            for (int64_t i = 0; i < units->inner; i++) {
                has_any[u] |= mask[units_index(units, o, u, i)];
            }
        }
    }
}

void units_clear(const struct units *units, const uint8_t *keep, uint8_t *mask) {
    for (int64_t o = 0; o < units->outer; o++) {
        for (int64_t u = 0; u < units->n; u++) {
            if (!keep[u]) {
                memset(&mask[units_index(units, o, u, 0)], 0, (size_t)units->inner);
            }
        }
    }
}

/* One element's part of a sum, or of a largest or smallest value. */
static double term(double x, double p) {
    return p == 0.0 ? x != 0.0 : p == 1.0 || isinf(p) ? x : p == 2.0 ? x * x : pow(x, p);
}

static double unit_norm(const struct units *units, const float *data, int64_t u, double p,
                        int as_mean) {
    if (units->outer * units->inner == 1 && p != 0.0) { /* exact, so that ties stay ties */
        return fabs((double)data[u]);
    }
    double sum = isinf(p) && p < 0 ? INFINITY : 0.0;
    for (int64_t o = 0; o < units->outer; o++) {
        for (int64_t i = 0; i < units->inner; i++) {
            double x = term(fabs((double)data[units_index(units, o, u, i)]), p);
            /* No fmax and fmin: GCC 12 for AArch64 fails on reductions of a choice of the two. */
            sum = !isinf(p) ? sum + x : (p > 0 ? x > sum : x < sum) ? x : sum;
        }
    }
    if (as_mean && !isinf(p)) {
        sum /= (double)(units->outer * units->inner);
    }
    return p == 2.0 ? sqrt(sum) : p == 0.0 || p == 1.0 || isinf(p) ? sum : pow(sum, 1.0 / p);
}

void units_norm(const struct units *units, const float *data, double p, int as_mean, float *norm) {
    for (int64_t u = 0; u < units->n; u++) {
        norm[u] = (float)unit_norm(units, data, u, p, as_mean);
    }
}
