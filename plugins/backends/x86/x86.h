/* SPDX-License-Identifier: MIT */
/* The x86-64 backend: one set of kernels per level of the instruction set, chosen when the model is
 * compiled. README.md says how values and weights lie in memory. */
#ifndef BACKENDS_X86_X86_H
#define BACKENDS_X86_X86_H

#include "lower.h"

#include <stdint.h>

extern const pare_backend x86_backend;

/* ---- what the processor and the system can do (cpu.c) ---- */

#define X86_HAS_AVX2 1u /* with FMA */
#define X86_HAS_AVX_VNNI 2u
#define X86_HAS_AVX512 4u /* F, BW, DQ, VL */
#define X86_HAS_AVX512_VNNI 8u

/* A set of X86_HAS_*, by CPUID and XGETBV. [any] */
uint32_t x86_cpu_features(void);

/* ---- values in memory ---- */

/* Samples one after another; each is H + 2 border_h rows of W + 2 border_w pixels of C elements.
 * Borders hold the code of zero. Codes of 8 bits and less are stored as code + 128 in a byte,
 * because the dot product instructions multiply unsigned by signed bytes. */
struct x86_layout {
    int32_t h, w, c;
    int32_t border_h, border_w;
    int32_t elem_bytes;
    int64_t row_bytes, sample_bytes;
    int64_t first_bytes; /* from a sample's begin to its pixel (0,0) */
};

/* ---- conv2d and linear ---- */

/* A window is n_runs runs of bytes that are contiguous in the input: a row of the kernel, or one
 * tap when there are groups. Each is read in k_steps steps of 4 bytes (4 codes, or one float); what
 * a run lacks to a whole step meets weights of 0. */
struct x86_block {
    int32_t first, n;       /* output channels */
    int32_t vectors;        /* 1 or 2: n <= vectors * lanes */
    int32_t first_in_bytes; /* of its group, in an input pixel */
    int64_t weights_bytes;  /* where its weights begin: (n_runs, k_steps, vectors, lanes) */
    int32_t params;         /* index of its first start, multiplier and bias */
};

/* How n positions are cut into tiles: n_tiles[0] of positions[0], then n_tiles[1] of positions[1].
 */
struct x86_split {
    int32_t positions[2], n_tiles[2];
};

struct x86_product {
    int32_t n_blocks;
    struct x86_block *blocks; /* (n_blocks) */
    void *weights;            /* by block; the 16-bit path: (OC, n_runs, run) int16 */
    int32_t *start;           /* by params: -(z_a + 128) sum w, modulo 2^32 */
    float *multiplier, *bias; /* by params */
    int32_t n_runs, k_steps;
    int64_t *run_bytes;        /* (n_runs) from a window's begin */
    struct x86_split split[3]; /* conv2d: of a row, by vectors */
};

/* An integer add that is done by the convolution that makes one of its terms, if that is its only
 * reader: the convolution's own value is then never stored. */
struct x86_fused {
    int32_t is_fused;
    int32_t middle;          /* the value that is not stored */
    int32_t low, high;       /* its clamp bounds */
    float m_middle, m_other; /* the add's multipliers */
};

struct x86_step {
    struct lower_step low; /* without weights; a fused one's second input is the other term */
    struct x86_fused fused;
    const char *kernel;
    struct x86_product product;
    float *gain, *shift; /* affine: (C) each */
    float m[2];          /* add, average pooling, requantize */
};

/* Work for one call of a tile kernel: n_rows rows of n_tiles tiles of P positions, one block. */
struct x86_tiles {
    const char *x;                      /* the first position's window */
    char *y;                            /* its output channels */
    int64_t x_step_bytes, y_step_bytes; /* between positions */
    int64_t x_row_bytes, y_row_bytes;   /* between rows */
    int32_t n_tiles, n_rows;
    int32_t n_runs, k_steps;
    const int64_t *run_bytes;
    const char *weights;
    int64_t block_bytes; /* of weights, for kernels that take several blocks at once */
    const int32_t *start;
    const float *multiplier, *bias;
    int32_t n;      /* output channels */
    int32_t is_f32; /* the output */
    int32_t relu;   /* of an f32 output */
    int32_t zero;   /* of codes, as they are stored, like stored_low, the lower clamp bound */
    int32_t stored_low;
    float high; /* upper clamp bound less the zero point */

    /* An add done at once: the other term at the first position, NULL: none. */
    const char *other;
    int64_t other_step_bytes, other_row_bytes;
    int32_t other_zero;            /* as it is stored */
    float middle_low, middle_high; /* clamp bounds of the layer's own value less its zero point */
    float m_middle, m_other;       /* the add's multipliers */
};

typedef void (*x86_tile_kernel)(const struct x86_tiles *tiles);

#define X86_MAX_POSITIONS 16
/* [vectors][positions]; NULL where there is none. */
typedef x86_tile_kernel x86_tile_table[3][X86_MAX_POSITIONS + 1];

/* How a level's dot product wants 4 weights of an output channel: side by side in 4 bytes, or as
 * int16 in two vectors, (0,2) and (1,3). */
enum x86_dot { X86_DOT_BYTES = 0, X86_DOT_PAIRS = 1 };

/* One step on one run. */
struct x86_call {
    const struct x86_kernels *kernels;
    const struct x86_step *step;
    const struct lower_value *in[2], *middle, *out;
    const struct x86_layout *in_layout[2], *out_layout;
    const char *x[2];
    char *y;
    int32_t n_samples;
    int32_t n_parts; /* tasks per sample */
};

/* What a level gives. [any] [hot] */
struct x86_kernels {
    int32_t lanes;
    enum x86_dot dot;
    int32_t max_positions[2][3]; /* [f32, i8][vectors] */
    const x86_tile_table *tiles_f32, *tiles_i8;
    /* Rows [first, end) of a sample's output, with their borders; not for linear. */
    void (*run_rows)(const struct x86_call *call, int32_t sample, int32_t first, int32_t end);
    /* Blocks [first, end) of a linear layer for all samples. */
    void (*run_linear)(const struct x86_call *call, int32_t first, int32_t end);
    int (*all_finite)(const float *x, int64_t n);
};

#define X86_LEVEL(NAME, ISA, NEEDS) extern const struct x86_kernels x86_kernels_##NAME;
#include "kernels.inc"
#undef X86_LEVEL

struct x86_level {
    const char *isa;
    uint32_t needs; /* set of X86_HAS_* */
    const struct x86_kernels *kernels;
};

/* All levels, the best last. [any] */
const struct x86_level *x86_levels(int32_t *n);

/* The level called `isa`, NULL: the best, among those that `features` allow; NULL when it is not
 * known or lacking. [any] */
const struct x86_level *x86_find_level(uint32_t features, const char *isa);

/* An instance that believes it has these features only, so that a test can be any processor. [main]
 */
pare_status x86_create_with(const pare_host *host, uint32_t features, void **instance);

/* One step of an executable alone, for one image, on what the steps before it left, so that a
 * program can time it. [main] [hot] */
void x86_run_step(void *executable, int32_t step, const float *images, float *output);
/* What the steps of an executable are. [any] */
const struct x86_step *x86_steps(void *executable, int32_t *n);

/* n positions in tiles of at most `most`, as equal as can be. [any] */
struct x86_split x86_split_positions(int32_t n, int32_t most);

/* ---- planning and packing (plan.c, pack.c) ---- */

struct x86_plan {
    struct lower_plan low;      /* its steps and values are this plan's own */
    struct x86_layout *layouts; /* by value */
    struct x86_fused *fused;    /* by value: of the step that makes it */
    struct lower_plan *lowered; /* owns the weights until they are dropped */
};

/* Lowers the graph; decides where borders lie, adds the copies that need, and plans the arena. What
 * failed is to be destroyed, too. [main] */
pare_status x86_plan_graph(const pare_host *host, const pare_graph *graph, int32_t max_batch,
                           struct x86_plan *plan);
void x86_plan_destroy(const pare_host *host, struct x86_plan *plan);

struct x86_packer {
    const pare_host *host;
    const struct x86_kernels *kernels;
    const struct x86_plan *plan;
    int64_t bytes_resident; /* counted here */
};

/* Cleared memory that counts as resident; NULL when exhausted. [main] */
void *x86_keep(struct x86_packer *packer, int64_t n, size_t size);

/* Packs weights of step->low into step->product; 0 when memory is exhausted. [main] */
int x86_pack_product(struct x86_packer *packer, struct x86_step *step, int64_t *weight_bytes);

#endif
