/* SPDX-License-Identifier: MIT */
/* What backends share whose convolutions and linear layers are made of tiles in registers: borders
 * around values instead of tests in inner loops, packed weights, one arena, batches in chunks, the
 * split into tasks, and every step that is not such a product. A backend adds its levels: for each
 * the kinds of product that it has tile kernels for, and steps.inc compiled with that level's
 * flags. README.md says how values and weights lie in memory. Depends on common/ and the public
 * headers only. */
#ifndef BACKENDS_TILED_TILED_H
#define BACKENDS_TILED_TILED_H

#include "lower.h"
#include "planes.h"

#include <stdint.h>

/* ---- values in memory ---- */

/* Samples one after another; each is H + 2 border_h rows of W + 2 border_w pixels of C elements.
 * Borders hold the code of zero. A code of 8 bits and less is stored as the byte
 * code + tiled_backend.code_offset; but signs that only products of signs read are bits, 1 for +1,
 * in pixels of whole bytes (least significant bit first, 0 after the last; borders are 0, too). */
struct tiled_layout {
    int32_t h, w, c;
    int32_t border_h, border_w;
    int32_t is_bits;
    int32_t elem_bytes; /* of what is not bits */
    int64_t pixel_bytes;
    int64_t row_bytes, sample_bytes;
    int64_t first_bytes; /* from a sample's begin to its pixel (0,0) */
    /* In planes, one for each channel, a pixel is a vector and (0,0) a tile's first place. */
    struct tiled_planes planes;
};

/* The part of a pooling window that lies in the image; never empty. */
struct tiled_window {
    int32_t top, bottom, left, right;
};

/* ---- conv2d and linear ---- */

/* A window is n_runs runs of bytes that are contiguous in the input: a row of the kernel, or one
 * tap when there are groups. Each is read in k_steps steps of kind->codes elements; what a run
 * lacks to a whole step meets weights of 0. */
struct tiled_block {
    int32_t first, n;       /* output channels */
    int32_t vectors;        /* 1 or 2: n <= vectors * lanes */
    int32_t first_in_bytes; /* of its group, in an input pixel */
    int64_t weights_bytes;  /* where its weights begin: (n_runs, k_steps, vectors) steps */
    int32_t params;         /* index of its first start, multiplier and bias */
};

/* How n positions are cut into tiles: n_tiles[0] of positions[0], then n_tiles[1] of positions[1].
 */
struct tiled_split {
    int32_t positions[2], n_tiles[2];
};

/* Starts of sums of signs differ by place where there is padding (bits.c): one for each of n_rows
 * by n_cols places. The first rows and columns, whose windows begin in the padding, and the last
 * ones, whose windows end there, have their own; the others share a row and, because a tile is
 * several columns wide, TILED_MAX_POSITIONS columns. */
struct tiled_starts {
    int32_t n_rows, n_cols;
    int32_t top, bottom, left, right; /* output rows and columns whose windows leave the image */
    int32_t n_params;
};

struct tiled_product {
    const struct tiled_product_kind *kind; /* NULL: the 16-bit path, which has no tiles */
    int32_t n_blocks;
    struct tiled_block *blocks; /* (n_blocks) */
    void *weights;              /* by block; the 16-bit path: (OC, n_runs, run) int16 */
    int32_t *start;             /* by params: -(z_a + code_offset) sum w scale, modulo 2^32 */
    struct tiled_starts starts; /* of signs: start is (n_rows, n_cols, n_params) */
    float *multiplier, *bias;   /* by params; divided by the scale, of signs doubled */
    int32_t n_runs, k_steps;
    int64_t *run_bytes;          /* (n_runs) from a window's begin */
    struct tiled_split split[3]; /* conv2d: of a row, by vectors */
};

/* An integer add that is done by the convolution that makes one of its terms, if that is its only
 * reader: the convolution's own value is then never stored. */
struct tiled_fused {
    int32_t is_fused;
    int32_t middle;          /* the value that is not stored */
    int32_t low, high;       /* its clamp bounds */
    float m_middle, m_other; /* the add's multipliers */
};

#define TILED_MAX_NAME 48

struct tiled_step {
    struct lower_step low; /* without weights; a fused one's second input is the other term */
    struct tiled_fused fused;
    char kernel[TILED_MAX_NAME];
    struct tiled_product product;
    struct tiled_sparse sparse; /* instead, of what makes planes */
    float *gain, *shift;        /* affine: (C) each */
    float m[2];                 /* add, average pooling, requantize */
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
    int64_t start_step; /* of signs: between positions */
    const float *multiplier, *bias;
    int32_t n;      /* output channels */
    int32_t is_f32; /* the output */
    int32_t relu;   /* of an f32 output */
    int32_t zero;   /* of codes, as they are stored, like the clamp bounds */
    int32_t stored_low, stored_high;
    float high; /* upper clamp bound less the zero point */

    /* An add done at once: the other term at the first position, NULL: none. */
    const char *other;
    int64_t other_step_bytes, other_row_bytes;
    int32_t other_zero;            /* as it is stored */
    float middle_low, middle_high; /* clamp bounds of the layer's own value less its zero point */
    float m_middle, m_other;       /* the add's multipliers */
};

typedef void (*tiled_tile_kernel)(const struct tiled_tiles *tiles);

#define TILED_MAX_POSITIONS 16
/* [vectors][positions]; NULL where there is none. */
typedef tiled_tile_kernel tiled_tile_table[3][TILED_MAX_POSITIONS + 1];

/* A way to compute a convolution or linear layer: how its weights lie in memory and which kernels
 * read them. [any] [hot] */
struct tiled_product_kind {
    int32_t bits;             /* of a weight; of 1 bit it is 1 or -1, and cannot be 0 */
    int32_t codes;            /* elements of the input that a step reads */
    int32_t weight_bytes;     /* of a step, for one vector of output channels */
    int32_t max_positions[3]; /* by vectors */
    /* A power of 2: sums are of weights so many times as large as their codes. */
    int32_t scale;
    /* Stores a layer's weight `from` as weight k (of `codes`) of the vector's channel `lane`, in a
     * step's cleared memory. */
    void (*put)(char *step, int32_t lane, int32_t k, const struct lower_step *s, int64_t from);
    /* The kernel for tiles of so many vectors and positions, both within max_positions. Of t only
     * the geometry is filled in. */
    tiled_tile_kernel (*tile)(const struct tiled_tiles *t, int32_t vectors, int32_t positions);
    /* The kernel that computes n blocks of two whole vectors for a single position; NULL: none. */
    tiled_tile_kernel (*single)(int32_t n_blocks);
    const char *suffix; /* of the kernel's name; NULL: none */
};

/* The kinds of product. */
enum tiled_kind {
    TILED_F32 = 0,
    TILED_I8,
    TILED_I8_W4, /* weights of 4, 2 and 1 bits */
    TILED_I8_W2,
    TILED_I8_W1,
    TILED_B1,        /* signs by signs, where a run of bits fills its steps */
    TILED_B1_MASKED, /* any run of bits */
    TILED_F32_HALF,  /* convolutions of no more output channels than half a vector has lanes */
    TILED_I8_HALF,
    TILED_N_KINDS
};

/* ---- steps ---- */

/* One step on one run. */
struct tiled_call {
    const struct tiled_kernels *kernels;
    const struct tiled_step *step;
    const struct lower_value *in[2], *middle, *out;
    const struct tiled_layout *in_layout[2], *out_layout;
    const char *x[2];
    char *y;
    int32_t n_samples;
    int32_t n_parts; /* tasks per sample */
};

/* What a level gives. [any] [hot] */
struct tiled_kernels {
    int32_t lanes;                                         /* output channels of a vector */
    const struct tiled_product_kind *kinds[TILED_N_KINDS]; /* NULL: it has none */
    /* Rows [first, end) of a sample's output, with their borders; not for linear. */
    void (*run_rows)(const struct tiled_call *call, int32_t sample, int32_t first, int32_t end);
    /* Blocks [first, end) of a linear layer for all samples. */
    void (*run_linear)(const struct tiled_call *call, int32_t first, int32_t end);
    int (*all_finite)(const float *x, int64_t n);
    const struct tiled_planes_kernels *planes; /* NULL: it has no sparse convolutions */
};

struct tiled_level {
    const char *isa;
    uint32_t needs; /* set of features */
    const struct tiled_kernels *kernels;
    const struct tiled_kernels *variant; /* instead, where there are these features, too, or NULL */
    uint32_t variant_needs;
};

/* ---- backends ---- */

/* A backend; static data. */
struct tiled_backend {
    const char *id; /* kernels' names begin with it */
    int32_t n_levels;
    const struct tiled_level *levels; /* (n_levels), the best last */
    uint32_t (*cpu_features)(void);   /* what processor and system have [any] */
    int32_t code_offset;              /* of codes of 8 bits and less in memory */
};

/* The level called `isa`, NULL: the best, among those that `features` allow; NULL when it is not
 * known or lacking. [any] */
const struct tiled_level *tiled_find_level(const struct tiled_backend *backend, uint32_t features,
                                           const char *isa);

/* The parameters of every such backend. */
#define TILED_N_PARAMS 1
extern const pare_param_desc tiled_params[TILED_N_PARAMS];

/* An instance that believes it has these features only, so that a test can be any processor.
 * params: NULL is the defaults. [main] */
pare_status tiled_create_with(const pare_host *host, const struct tiled_backend *backend,
                              uint32_t features, const pare_params *params, void **instance);

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

/* One step of an executable alone, for one image, on what the steps before it left, so that a
 * program can time it. [main] [hot] */
void tiled_run_step(void *executable, int32_t step, const float *images, float *output);
/* What the steps of an executable are. [any] */
const struct tiled_step *tiled_steps(void *executable, int32_t *n);

/* n positions in tiles of at most `most`, as equal as can be. [any] */
struct tiled_split tiled_split_positions(int32_t n, int32_t most);

/* ---- planning and packing (plan.c, fuse.c, pack.c, choose.c, planes.c) ---- */

struct tiled_plan {
    struct lower_plan low;        /* its steps and values are this plan's own */
    struct tiled_layout *layouts; /* by value */
    struct tiled_fused *fused;    /* by value: of the step that makes it */
    struct lower_plan *lowered;   /* owns the weights until they are dropped */
};

/* Lowers the graph for a level; fuses adds, decides where borders lie, which signs are bits and
 * what lies in planes, adds the copies that need, and plans the arena. What failed is to be
 * destroyed, too. [main] */
pare_status tiled_plan_graph(const pare_host *host, const pare_graph *graph, int32_t max_batch,
                             const struct tiled_kernels *kernels, enum tiled_sparsity sparsity,
                             struct tiled_plan *plan);
void tiled_plan_destroy(const pare_host *host, struct tiled_plan *plan);

/* Makes convolutions take the place of the adds that are the only readers of their values. [main]
 */
void tiled_fuse_adds(struct tiled_plan *plan);

/* Cleared memory that is freed with host->free; NULL when exhausted. [main] */
void *tiled_alloc_zeroed(const pare_host *host, int64_t n, size_t size);

/* What a step may become at most: itself, a copy for its border, copies of two inputs. */
#define TILED_STEPS_PER_STEP 4

/* Makes step k of the plan, whatever was there moving on by one, a copy of value v for `node` in
 * another layout, whose index is the result; its shape is that of v. [main] */
int32_t tiled_insert_copy(struct tiled_plan *plan, int32_t k, int32_t v, int32_t node);

/* Decides which steps make planes, gives those values their layouts, and inserts the copies into
 * and out of planes; 0 when memory is exhausted. [main] */
int tiled_choose_planes(const pare_host *host, struct tiled_plan *plan,
                        const struct tiled_planes_kernels *kernels, enum tiled_sparsity sparsity);

/* The pitches that values have in planes: those that the steps between planes, which `makes_planes`
 * (n_steps) marks, demand of each other. 0: there are none that are not a waste. [main] */
int tiled_find_pitches(const struct tiled_plan *plan, const struct tiled_planes_kernels *kernels,
                       const uint8_t *makes_planes, struct tiled_planes *planes /* (n_values) */);
/* Widens planes so that step s reads nothing outside them. [any] */
void tiled_widen_planes(const struct lower_step *s, const struct tiled_planes *out,
                        struct tiled_planes *in);
/* Strides of a value in planes; 0 if they overflow. [any] */
int tiled_measure_planes(struct tiled_layout *l, const struct tiled_planes_kernels *kernels);
/* Makes the seams; 0 when memory is exhausted. [main] */
int tiled_make_seams(const pare_host *host, const struct tiled_planes_kernels *kernels,
                     struct tiled_layout *l);
/* How many vectors of a plane seams make. [any] */
int64_t tiled_count_moves(const struct tiled_planes *p);

/* Weights of a float convolution that are not 0. [any] */
int64_t tiled_count_taps(const struct lower_step *s);

/* How step s, which makes `out`, is cut: the spots of a tile, of which it returns the number
 * (spots may be NULL), and the passes over its input channels. [any] */
int32_t tiled_cut_sparse(const struct tiled_planes_kernels *kernels, const struct lower_step *s,
                         const struct tiled_planes *out, struct tiled_spot *spots,
                         int32_t *n_passes);

struct tiled_packer {
    const pare_host *host;
    const struct tiled_kernels *kernels;
    const struct tiled_plan *plan;
    int32_t code_offset;
    int64_t bytes_resident; /* counted here */
};

/* Cleared memory that counts as resident; NULL when exhausted. [main] */
void *tiled_keep(struct tiled_packer *packer, int64_t n, size_t size);

/* Which values are bits (bits.c): signs that nothing reads but products by signs. [main] */
void tiled_choose_bits(struct tiled_plan *plan);

/* The kind of a product of signs. [any] */
const struct tiled_product_kind *tiled_bits_kind(const struct tiled_kernels *kernels,
                                                 const struct lower_step *s,
                                                 const struct tiled_layout *in);

/* Makes the starts of a product of signs, whose blocks are there; 0 when memory is exhausted.
 * [main] */
int tiled_pack_starts(struct tiled_packer *packer, const struct lower_step *s,
                      struct tiled_product *p, int32_t n_params);

/* Which of n rows of starts (or columns) output row `place` of `out` has, `before` being
 * tiled_starts.top (or left). [any] [hot] */
int32_t tiled_start_entry(int32_t place, int32_t n, int32_t out, int32_t before);

/* Packs weights of step->low, whose codes have `bits` bits, into step->product; 0 when memory is
 * exhausted. [main] */
int tiled_pack_product(struct tiled_packer *packer, struct tiled_step *step, int32_t bits,
                       int64_t *weight_bytes);

/* Packs the weights of a convolution between planes into step->sparse; 0 when memory is exhausted.
 * [main] */
int tiled_pack_sparse(struct tiled_packer *packer, struct tiled_step *step, int64_t *weight_bytes);

/* ---- executables (tiled.c, run.c) ---- */

struct tiled_executable {
    const pare_host *host;
    const struct tiled_backend *backend;
    const struct tiled_level *level;
    const struct tiled_kernels *kernels; /* of the level */
    int32_t max_batch;
    struct tiled_plan plan; /* for a chunk; its weights are dropped: each step holds its own */
    int32_t n_steps;
    struct tiled_step *steps; /* (n_steps) */
    char *arenas;             /* (n_arenas) of plan.low.arena_bytes each, one for each task */
    int32_t n_arenas;
    int32_t input_elems, output_elems; /* of one image */
    pare_executable_info info;
    pare_kernel_info *kernel_infos;       /* (n_steps) */
    const pare_kernel_info **kernel_list; /* (n_steps) */
};

/* Tasks that a batch is cut into, at most: one for each thread alone would wait for a late one. */
#define TILED_IMAGE_TASKS_PER_THREAD 2

/* Bytes after a value in the arena that a kernel may read: of a run's last step, or of a vector of
 * channels. */
#define TILED_SLACK_BYTES 64

#endif
