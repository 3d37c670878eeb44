/* SPDX-License-Identifier: MIT */
/* What a layer reads and computes at some places of each calibration image: all of them, or as many
 * as were asked for, chosen by the seed, the same in every pass. */
#ifndef ADAROUND_SAMPLES_H
#define ADAROUND_SAMPLES_H

#include "patches.h"

/* Rows of floats that grow in number. */
struct rows {
    float *data; /* (n, width), with DENSE_SLACK behind it */
    int64_t n, width, room;
};

/* Of one layer, in all passes. */
struct samples {
    const pare_host *host;
    int32_t node;
    struct patches patches;
    int64_t n_taken;      /* places per image */
    pare_rng rng;         /* of the present pass */
    struct rows *inputs;  /* (groups) of the float network; with has_inputs */
    struct rows *outputs; /* (groups) what it makes of them, before the bias */
    struct rows *now;     /* (groups) what the layer reads from the network as it is */
    int has_inputs;
};

/* Freed by samples_clear, after a failure, too. [main] */
pare_status samples_init(const pare_host *host, const pare_graph *graph, int32_t node,
                         int64_t n_places, int has_inputs, struct samples *samples);
void samples_clear(struct samples *samples);

/* Before a pass: the same places again. */
void samples_restart(struct samples *samples, const pare_graph *graph);

/* n images of the layer's input, in the float network: targets; or in the network as it is. Values
 * that are not finite are PARE_E_NUMERIC. [main] */
pare_status samples_see_float(struct samples *samples, const pare_graph *graph, const float *value,
                              int32_t n);
pare_status samples_see_now(struct samples *samples, const pare_graph *graph, const float *value,
                            int32_t n);

#endif
