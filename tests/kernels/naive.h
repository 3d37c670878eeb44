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
    /* What a backend that sums floats in another order may differ by, from README.md; NULL: exact.
     * Codes then lie between those of before - slack and before + slack. */
    float *slack;  /* (n) */
    float *before; /* (n) codes with slack: what was quantized */
};

/* Runs one image; values (n_nodes) is filled, freed with naive_free. output (n_classes). */
void naive_run(const pare_graph *graph, const float *image, struct naive_value *values,
               float *output);
/* The same, but each node reads its inputs from `given` where that has them (a backend's own
 * values): so each operator is judged alone, and a float that differs in its last bits does not
 * change what follows. */
void naive_run_on(const pare_graph *graph, const float *image, const struct naive_value *given,
                  struct naive_value *values);
/* The code of x on grid q. */
int64_t naive_quantize(float x, const pare_quant *q);
void naive_free(const pare_graph *graph, struct naive_value *values);

/* The same with every value in float and the quantized ones rounded to their grid ("simulated"): in
 * long double. real (n_nodes) of each value is filled. */
void naive_simulate(const pare_graph *graph, const float *image, struct naive_value *values,
                    float *output);

#endif
