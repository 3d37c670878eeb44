/* SPDX-License-Identifier: MIT */
/* The reference backend: plain C that follows the equations of plugins/backends/README.md. */
#ifndef BACKENDS_REF_REF_H
#define BACKENDS_REF_REF_H

#include "lower.h"

#include <stdint.h>

extern const pare_backend ref_backend;

/* Output channels are computed in blocks, whose weights lie together as (KH,KW,IC/groups,width). */
#define REF_MAX_WIDTH 16
/* Output pixels (linear: samples) that share one pass over the weights. */
#define REF_TILE 4
/* Blocks of a linear layer that one task computes. */
#define REF_CHUNK 4

struct ref_block {
    int32_t first;    /* output channel */
    int32_t n;        /* channels, <= width; the rest of the block is zeros */
    int32_t width;    /* 4, 8 or 16 */
    int32_t first_in; /* input channel of its group */
    int64_t weights;  /* index of its first weight */
    int32_t params;   /* index of its first bias and multiplier */
};

/* A conv2d or linear layer packed. Exactly one of the weight arrays is there. */
struct ref_product {
    int32_t n_blocks;
    struct ref_block *blocks; /* (n_blocks) */
    float *weights_f32;
    int8_t *weights_i8;
    int16_t *weights_i16;
    float *bias;       /* by params */
    float *multiplier; /* integers */
};

struct ref_step {
    struct lower_step low;      /* without weights */
    const char *kernel;         /* name */
    struct ref_product product; /* conv2d, linear */
    float *gain, *shift;        /* affine: (C) each */
    float m[2];                 /* add, average pooling, requantize */
    int64_t n_chunks;           /* linear: tasks per tile of samples */
};

/* Tiles of a product: what one call computes. */
struct ref_tile {
    const struct ref_step *step;
    const void *x[REF_TILE];      /* where each pixel's window begins, valid part only */
    void *out[REF_TILE];          /* each pixel's output channels */
    int32_t n;                    /* pixels, 1 or REF_TILE */
    int32_t n_rows, n_cols;       /* of the valid part of the window */
    int32_t first_row, first_col; /* of the kernel */
    enum lower_rep out_rep;
    int32_t in_zero, out_zero;
};

/* kernels.c and steps.c are compiled once per level; this gives their names the level's ending. */
#define REF_PASTE2(a, b) a##b
#define REF_PASTE(a, b) REF_PASTE2(a, b)
#define REF_NAME(name) REF_PASTE(name, REF_LEVEL)

/* What a level gives. [any] [hot] */
struct ref_kernels {
    const char *isa;
    /* Task `index` of a struct ref_call; count_tasks of ref.c says how many there are. */
    void (*run_task)(void *call, int64_t index);
    void (*product_f32)(const struct ref_tile *tile, const struct ref_block *block);
    void (*product_i8)(const struct ref_tile *tile, const struct ref_block *block);
    void (*product_i16)(const struct ref_tile *tile, const struct ref_block *block);
    void (*quantize)(const float *x, void *codes, const struct lower_value *to, int64_t n);
    int (*all_finite)(const float *x, int64_t n);
};
extern const struct ref_kernels ref_kernels_portable;
#ifdef REF_LEVEL
void REF_NAME(ref_run_task_)(void *call, int64_t index); /* steps.c, for kernels.c */
#endif
#ifdef REF_HAVE_AVX2
extern const struct ref_kernels ref_kernels_avx2;
#endif

/* One step on one run. */
struct ref_call {
    const struct ref_kernels *kernels;
    const struct ref_step *step;
    const struct lower_value *in[2], *out; /* descriptions */
    const void *x[2];
    void *y;
    int32_t n_samples;
};

#endif
