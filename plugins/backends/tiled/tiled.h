/* SPDX-License-Identifier: MIT */
/* What backends share whose convolutions and linear layers are made of tiles in registers: borders
 * around values instead of tests in inner loops, packed weights, one arena, the split into tasks,
 * and every step that is not such a product. A backend adds its levels: for each a table of tile
 * kernels, and steps.inc compiled with that level's flags. README.md says how values and weights
 * lie in memory. Depends on common/ and the public headers only. */
#ifndef BACKENDS_TILED_TILED_H
#define BACKENDS_TILED_TILED_H

#include "lower.h"

#include <stdint.h>

/* ---- values in memory ---- */

/* Samples one after another; each is H + 2 border_h rows of W + 2 border_w pixels of C elements.
 * Borders hold the code of zero. Codes of 8 bits and less are stored as code + 128 in a byte,
 * because the dot product instructions multiply unsigned by signed bytes. */
struct tiled_layout {
    int32_t h, w, c;
    int32_t border_h, border_w;
    int32_t elem_bytes;
    int64_t row_bytes, sample_bytes;
    int64_t first_bytes; /* from a sample's begin to its pixel (0,0) */
};

/* The part of a pooling window that lies in the image. */
struct tiled_window {
    int32_t top, bottom, left, right;
};

/* ---- conv2d and linear ---- */

/* A window is n_runs runs of bytes that are contiguous in the input: a row of the kernel, or one
 * tap when there are groups. Each is read in k_steps steps of codes_per_step codes, or of one
 * float; what a run lacks to a whole step meets weights of 0. */
struct tiled_block {
    int32_t first, n;       /* output channels */
    int32_t vectors;        /* 1 or 2: n <= vectors * lanes */
    int32_t first_in_bytes; /* of its group, in an input pixel */
    int64_t weights_bytes;  /* where its weights begin: (n_runs, k_steps, vectors, lanes) */
    int32_t params;         /* index of its first start, multiplier and bias */
};

/* How n positions are cut into tiles: n_tiles[0] of positions[0], then n_tiles[1] of positions[1].
 */
struct tiled_split {
    int32_t positions[2], n_tiles[2];
};

struct tiled_product {
    int32_t n_blocks;
    struct tiled_block *blocks; /* (n_blocks) */
    void *weights;              /* by block; the 16-bit path: (OC, n_runs, run) int16 */
    int32_t *start;             /* by params: -(z_a + code_offset) sum w, modulo 2^32 */
    float *multiplier, *bias;   /* by params */
    int32_t n_runs, k_steps;
    int64_t *run_bytes;          /* (n_runs) from a window's begin */
    struct tiled_split split[3]; /* conv2d: of a row, by vectors */
};

struct tiled_step {
    struct lower_step low; /* without weights */
    const char *kernel;
    struct tiled_product product;
    float *gain, *shift; /* affine: (C) each */
    float m[2];          /* add, average pooling, requantize */
};

/* Work for one call of a tile kernel: n_rows rows of n_tiles tiles of P positions, one block. */
struct tiled_tiles {
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
    int32_t n;       /* output channels */
    int32_t is_f32;  /* the output */
    int32_t relu;    /* of an f32 output */
    int32_t zero;    /* the rest: of codes, as they are stored */
    float low, high; /* clamp bounds less the zero point */
};

typedef void (*tiled_tile_kernel)(const struct tiled_tiles *tiles);

#define TILED_MAX_POSITIONS 16
/* [vectors][positions]; NULL where there is none. */
typedef tiled_tile_kernel tiled_tile_table[3][TILED_MAX_POSITIONS + 1];

/* One step on one run. */
struct tiled_call {
    const struct tiled_kernels *kernels;
    const struct tiled_step *step;
    const struct lower_value *in[2], *out;
    const struct tiled_layout *in_layout[2], *out_layout;
    const char *x[2];
    char *y;
    int32_t n_samples;
    int32_t n_parts; /* tasks per sample */
};

/* What a level gives. [any] [hot] */
struct tiled_kernels {
    int32_t lanes; /* output channels of a vector */
    /* A step's weights for a vector: (lanes, codes_per_step) int8; or, 4 codes in pairs, (2, lanes,
     * 2) int16: codes 0 and 2 of each channel, then 1 and 3. */
    int32_t codes_per_step, is_pairs;
    int32_t max_positions[2][3]; /* [f32, i8][vectors] */
    const tiled_tile_table *tiles_f32, *tiles_i8;
    /* Rows [first, end) of a sample's output, with their borders; not for linear. */
    void (*run_rows)(const struct tiled_call *call, int32_t sample, int32_t first, int32_t end);
    /* Blocks [first, end) of a linear layer for all samples. */
    void (*run_linear)(const struct tiled_call *call, int32_t first, int32_t end);
    int (*all_finite)(const float *x, int64_t n);
};

struct tiled_level {
    const char *isa;
    uint32_t needs; /* set of features */
    const struct tiled_kernels *kernels;
};

/* [kind][rep], with the backend's prefix P. */
#define TILED_KERNEL_NAMES(P)                                                                      \
    {                                                                                              \
        [LOWER_COPY] = {P "_copy_f32", P "_copy_i8", P "_copy_i16"},                               \
        [LOWER_QUANTIZE] = {"", P "_quantize_i8", P "_quantize_i16"},                              \
        [LOWER_DEQUANTIZE] = {"", P "_dequantize_i8", P "_dequantize_i16"},                        \
        [LOWER_REQUANTIZE] = {"", P "_requantize_i8", P "_requantize_i16"},                        \
        [LOWER_SIGN] = {P "_sign_f32", P "_sign_i8", P "_sign_i16"},                               \
        [LOWER_CONV2D] = {P "_conv2d_f32", P "_conv2d_i8", P "_conv2d_i16"},                       \
        [LOWER_LINEAR] = {P "_linear_f32", P "_linear_i8", P "_linear_i16"},                       \
        [LOWER_AFFINE] = {P "_batch_norm_f32", "", ""}, [LOWER_RELU] = {P "_relu_f32", "", ""},    \
        [LOWER_ADD] = {P "_add_f32", P "_add_i8", P "_add_i16"},                                   \
        [LOWER_MAX_POOL] = {P "_max_pool_f32", P "_max_pool_i8", P "_max_pool_i16"},               \
        [LOWER_AVG_POOL] = {P "_avg_pool_f32", P "_avg_pool_i8", P "_avg_pool_i16"},               \
        [LOWER_SHORTCUT_A] = {P "_shortcut_a_f32", P "_shortcut_a_i8", P "_shortcut_a_i16"},       \
        [LOWER_SOFTMAX] = {P "_softmax_f32", "", ""},                                              \
    }
/* Weights of fewer than 8 bits are widened when they are packed, and the name says so:
 * [bits - 1][linear, conv2d]. */
#define TILED_WIDENED_NAMES(P)                                                                     \
    {                                                                                              \
        {P "_linear_i8_w1_widened", P "_conv2d_i8_w1_widened"},                                    \
            {P "_linear_i8_w2_widened", P "_conv2d_i8_w2_widened"},                                \
            {P "_linear_i8_w3_widened", P "_conv2d_i8_w3_widened"},                                \
            {P "_linear_i8_w4_widened", P "_conv2d_i8_w4_widened"},                                \
    }
#define TILED_MAX_WIDENED_BITS 4

/* A backend; static data. */
struct tiled_backend {
    int32_t n_levels;
    const struct tiled_level *levels; /* (n_levels), the best last */
    uint32_t (*cpu_features)(void);   /* what processor and system have [any] */
    int32_t code_offset;
    const char *const (*kernel_names)[3];  /* (LOWER_N_KINDS) */
    const char *const (*widened_names)[2]; /* (TILED_MAX_WIDENED_BITS) */
};

/* The level called `isa`, NULL: the best, among those that `features` allow; NULL when it is not
 * known or lacking. [any] */
const struct tiled_level *tiled_find_level(const struct tiled_backend *backend, uint32_t features,
                                           const char *isa);

/* An instance that believes it has these features only, so that a test can be any processor. [main]
 */
pare_status tiled_create_with(const pare_host *host, const struct tiled_backend *backend,
                              uint32_t features, void **instance);

/* For a pare_backend. The plugin's own probe and create call the first and tiled_create_with; the
 * others are used as they are. */
pare_status tiled_probe(const struct tiled_backend *backend, pare_probe *probe);
void tiled_destroy(void *instance);
pare_status tiled_supports(void *instance, const pare_graph *graph, int32_t node);
pare_status tiled_compile(void *instance, const pare_graph *graph,
                          const pare_compile_options *options, void **executable);
void tiled_executable_destroy(void *executable);
pare_status tiled_executable_info(void *executable, const pare_executable_info **info);
pare_status tiled_run(void *executable, const float *images, int32_t n, float *output);
const void *tiled_get_extension(const char *id);

/* n positions in tiles of at most `most`, as equal as can be. [any] */
struct tiled_split tiled_split_positions(int32_t n, int32_t most);

/* ---- planning and packing (plan.c, pack.c) ---- */

struct tiled_plan {
    struct lower_plan low;        /* its steps and values are this plan's own */
    struct tiled_layout *layouts; /* by value */
    struct lower_plan *lowered;   /* owns the weights until they are dropped */
};

/* Lowers the graph; decides where borders lie, adds the copies that need, and plans the arena. What
 * failed is to be destroyed, too. [main] */
pare_status tiled_plan_graph(const pare_host *host, const pare_graph *graph, int32_t max_batch,
                             struct tiled_plan *plan);
void tiled_plan_destroy(const pare_host *host, struct tiled_plan *plan);

struct tiled_packer {
    const pare_host *host;
    const struct tiled_kernels *kernels;
    const struct tiled_plan *plan;
    int32_t code_offset;
    int64_t bytes_resident; /* counted here */
};

/* Cleared memory that counts as resident; NULL when exhausted. [main] */
void *tiled_keep(struct tiled_packer *packer, int64_t n, size_t size);

/* Packs weights of step->low into step->product; 0 when memory is exhausted. [main] */
int tiled_pack_product(struct tiled_packer *packer, struct tiled_step *step, int64_t *weight_bytes);

#endif
