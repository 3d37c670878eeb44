/* SPDX-License-Identifier: MIT */
/* How far the results of two right backends may be apart. */
#ifndef CHECK_BOUND_H
#define CHECK_BOUND_H

#include "core/error.h"

#include <pare/graph.h>

/* Follows one image (H,W,C) through the graph in double and carries, beside each value, the most by
 * which two backends may differ in it: what plugins/backends/README.md grants a float layer on
 * equal inputs, 2 (n + 2) 2^-24 (|bias| + sum |x w|), and what differences of its inputs make of
 * it. Nodes that run on integers (is_integer (n_nodes)) add nothing; a difference that meets a
 * rounding to codes grows by one code. slack (n_classes). PARE_E_NOMEM. */
pare_status bound_outputs(const pare_graph *graph, const uint8_t *is_integer, const float *image,
                          struct error *err, double *slack);

#endif
