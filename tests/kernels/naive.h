/* SPDX-License-Identifier: MIT */
/* The arithmetic of plugins/backends/README.md, written a second time from its text: one sample,
 * one element at a time, no packing, no arena. */
#ifndef KERNELS_NAIVE_H
#define KERNELS_NAIVE_H

#include <pare/graph.h>

#include <stdint.h>

struct naive_value {
    int made; /* 0: fused away */
    int64_t n;
    float *real;      /* (n), or NULL */
    int64_t *codes;   /* (n), or NULL */
    pare_quant quant; /* of the codes */
};

/* Runs one image; values (n_nodes) is filled, freed with naive_free. output (n_classes). */
void naive_run(const pare_graph *graph, const float *image, struct naive_value *values,
               float *output);
void naive_free(const pare_graph *graph, struct naive_value *values);

/* The same with every value in float and the quantized ones rounded to their grid ("simulated"): in
 * long double. real (n_nodes) of each value is filled. */
void naive_simulate(const pare_graph *graph, const float *image, struct naive_value *values,
                    float *output);

#endif
