/* SPDX-License-Identifier: MIT */
/* Values in planes, which sparse convolutions read and make. Such a convolution multiplies one
 * weight by a vector of positions, so that a weight of 0 is simply left out (Elsen et al., "Fast
 * Sparse ConvNets", arXiv 1911.09723; Park et al., arXiv 1608.01409). README.md says why positions
 * lie as they do. Part of tiled.h. */
#ifndef BACKENDS_TILED_PLANES_H
#define BACKENDS_TILED_PLANES_H

#include <stdint.h>

struct tiled_call;

#define TILED_MAX_LANES 16

/* Vectors of a plane that are made of others by moving lanes: lane k of each is lane lanes[k] of
 * the other, -1: 0. */
struct tiled_seam {
    int32_t lanes[TILED_MAX_LANES];
    int32_t first, n; /* of tiled_planes.moves */
};

struct tiled_move {
    int32_t to_bytes, from_bytes; /* in a plane */
};

/* The image is cut into a grid of tiles, as many as a vector has lanes: lane k of a vector is the
 * pixel at one place of tile k. A plane, which is one channel, is a matrix of vectors: those of the
 * places of a tile, and around them those that windows reach, which hold pixels of the tiles beside
 * or, outside the image, 0. Floats only. */
struct tiled_planes {
    int32_t pitch_h, pitch_w; /* of a tile; 0: the value does not lie in planes */
    int32_t before_h, after_h, before_w, after_w;
    int64_t plane_bytes;
    int32_t n_seams, n_moves;
    struct tiled_seam *seams; /* (n_seams), to be done in this order */
    struct tiled_move *moves; /* (n_moves) */
};

/* One weight that is not 0. */
struct tiled_tap {
    int32_t x_bytes; /* from a window's begin in the first channel to what it multiplies */
    float weight;
};

/* A rectangle of a tile, whose sums are in registers at the same time. */
struct tiled_spot {
    int32_t row, col, n_rows, n_cols;
};

struct tiled_sparse {
    int32_t n_spots;
    struct tiled_spot *spots; /* (n_spots) */
    /* Input channels are taken in so many passes, each as many as the first-level cache holds. */
    int32_t n_passes;
    int64_t *first; /* (n_passes, OC) and the end: of taps */
    int64_t n_taps;
    struct tiled_tap *taps; /* by pass, output channel, input channel, row and column */
    float *bias;            /* (OC) */
};

/* Work for one call of a kernel: a spot, one pass, n channels. */
struct tiled_spot_work {
    const char *x; /* the first position's window */
    int64_t x_row_bytes;
    char *y; /* the first position in the first channel */
    int64_t y_row_bytes, y_plane_bytes;
    const struct tiled_tap *taps;
    const int64_t *first; /* (n + 1) */
    const float *bias;    /* (n), or NULL: the sums go on from what y holds */
    int32_t n;
    int32_t relu;
};

/* What things take at a level, in ns of the machine that README.md names; only their ratios decide
 * anything. */
struct tiled_costs {
    float dense_step;  /* a vector of weights by one position */
    float dense_end;   /* a vector of outputs of a dense product */
    float tap_vector;  /* a tap by one vector of positions */
    float tap;         /* a tap of one spot, besides */
    float sparse_end;  /* a vector of outputs of a pass of a sparse product */
    float move;        /* a vector made by moving lanes */
    float vector;      /* a vector through an addition and the like */
    float planes_elem; /* an element that comes into planes, or from them */
};

/* What a level has for values in planes. [any] [hot] */
struct tiled_planes_kernels {
    int32_t grid_h, grid_w; /* grid_h * grid_w is the number of lanes */
    int32_t max_positions;  /* of a spot */
    struct tiled_costs costs;
    /* Channels [first, end) of a sample's output, where it or the input lies in planes. */
    void (*run)(const struct tiled_call *call, int32_t sample, int32_t first, int32_t end);
};

/* Do sparse convolutions take the place of dense ones? Where they are estimated to be faster, never
 * or wherever they can (for tests). */
enum tiled_sparsity { TILED_SPARSE_AUTO = 0, TILED_SPARSE_NEVER, TILED_SPARSE_ALWAYS };

#define TILED_SPOT_COLS 8

#endif
