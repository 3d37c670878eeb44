/* SPDX-License-Identifier: MIT */
/* Fake quantization of whole tensors on the host's threads. The split into blocks depends on the
 * number of elements alone, so results do not depend on the number of threads. [main] */
#ifndef METHODS_COMMON_FAKE_H
#define METHODS_COMMON_FAKE_H

#include "fake_loops.h"
#include "grid.h"

#include <pare/plugin.h>

/* The grid in the terms of the loops. */
struct fake_grid fake_grid_of(const struct grid *grid);

/* y (n) = scale * clamp(rne(x / scale), lo, hi): to the bit what the integer path holds for x. */
void fake_forward(const pare_host *host, const struct fake_grid *grid, const float *x, float *y,
                  int64_t n);

/* The straight-through gradient gx (n), may be g, and the sums for the grid's own parameters. */
struct fake_sums fake_backward(const pare_host *host, const struct fake_grid *grid, const float *x,
                               const float *g, float *gx, int64_t n);

/* codes (n) of weights: clamp(rne(x / scale), lo, hi). */
void fake_encode(const pare_host *host, const struct fake_grid *grid, const float *x,
                 int16_t *codes, int64_t n);

struct fake_stats fake_look(const pare_host *host, const float *x, int64_t n);

/* The loops for this machine, single-threaded. */
const struct fake_loops *fake_best(void);

#endif
