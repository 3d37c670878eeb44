/* SPDX-License-Identifier: MIT */
#include "grid.h"

#include <float.h>
#include <math.h>

/* A scale below the smallest normal float would lose its precision; such a range holds only zero as
 * far as anyone can tell, and then every scale represents it. */
static float usable_scale(double scale) {
    return scale >= (double)FLT_MIN ? (float)scale : 1.0f;
}

struct grid grid_affine(double lo, double hi, int bits) {
    lo = fmin(lo, 0.0);
    hi = fmax(hi, 0.0);
    int32_t qmin = -(1 << (bits - 1));
    int32_t qmax = (1 << (bits - 1)) - 1;
    float scale = usable_scale((hi - lo) / (double)(qmax - qmin));
    double zero = (double)qmin + rint(-lo / (double)scale);
    zero = fmin(fmax(zero, (double)qmin), (double)qmax);
    return (struct grid){scale, (int32_t)zero, qmin, qmax};
}

struct grid grid_symmetric(double lo, double hi, int bits) {
    int32_t qmax = (1 << (bits - 1)) - 1;
    double most = fmax(fabs(lo), fabs(hi));
    return (struct grid){usable_scale(most / (double)qmax), 0, -qmax, qmax};
}

double grid_round(const struct grid *grid, double value) {
    double code = rint(value / (double)grid->scale) + (double)grid->zero_point;
    code = fmin(fmax(code, (double)grid->qmin), (double)grid->qmax);
    return (double)grid->scale * (code - (double)grid->zero_point);
}

double grid_error(const struct grid *grid, double value) {
    double e = value - grid_round(grid, value);
    return e * e;
}
