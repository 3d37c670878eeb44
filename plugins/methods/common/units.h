/* SPDX-License-Identifier: MIT */
/* What is pruned as a whole: single weights, or slices of a tensor along one of its axes. */
#ifndef METHODS_COMMON_UNITS_H
#define METHODS_COMMON_UNITS_H

#include <pare/plugin.h>

enum structure {
    STRUCTURE_WEIGHT, /* every weight by itself */
    STRUCTURE_OUTPUT, /* output channels, or outputs of a linear */
    STRUCTURE_INPUT,  /* input channels (of a group), or inputs of a linear */
    STRUCTURE_ROW,    /* rows of the kernel; conv2d only */
    STRUCTURE_COLUMN  /* columns of the kernel; conv2d only */
};

#define STRUCTURE_CHOICES "weight|output|input|row|column"

/* One of the choices; -1: none of them. */
int structure_parse(const char *name);

/* A tensor seen as (outer, n, inner): unit u is all elements [o][u][i]. */
struct units {
    int64_t outer, n, inner;
};

/* An axis that the tensor lacks is PARE_E_UNSUPPORTED, said through host->fail. */
pare_status units_of(const pare_host *host, const pare_weight *weight, enum structure structure,
                     struct units *units);

static inline int64_t units_index(const struct units *units, int64_t o, int64_t u, int64_t i) {
    return (o * units->n + u) * units->inner + i;
}

/* has_any[u] = 1 if any element of unit u is kept; mask NULL: all are. */
void units_kept(const struct units *units, const uint8_t *mask, uint8_t *has_any);

/* Clears mask[] of every element of the units with keep[u] == 0. */
void units_clear(const struct units *units, const uint8_t *keep, uint8_t *mask);

/* norm[u] = (sum |x|^p)^(1/p) over unit u, p = 0: the number that is not 0, inf: the largest |x|,
 * -inf: the smallest. `as_mean`: the mean instead of the sum, so that units of different size
 * compare. Summed in double, rounded once. data as the tensor, finite. */
void units_norm(const struct units *units, const float *data, double p, int as_mean, float *norm);

#endif
