/* SPDX-License-Identifier: MIT */
/* From a graph to what a backend executes: a list of fused steps with everything resolved (shapes,
 * how each value is stored, conversions, multipliers, biases, clamp bounds, memory). The
 * decisions and the arithmetic are those of plugins/backends/README.md; no knowledge of a machine
 * is in here, so every backend that builds on it computes the same integers. Depends on the public
 * headers only. */
#ifndef BACKENDS_COMMON_LOWER_H
#define BACKENDS_COMMON_LOWER_H

#include <pare/backend.h>

#include <stdint.h>

/* How a value is stored, and in which arithmetic a step computes. As arithmetic, LOWER_I8 is 8-bit
 * operands with an int32 accumulator that is proved not to overflow, LOWER_I16 is operands of up to
 * 16 bits with an int64 accumulator. */
enum lower_rep { LOWER_F32 = 0, LOWER_I8 = 1, LOWER_I16 = 2 };

enum lower_kind {
    LOWER_COPY = 0,   /* f32 -> f32 */
    LOWER_QUANTIZE,   /* f32 -> codes */
    LOWER_DEQUANTIZE, /* codes -> f32 */
    LOWER_REQUANTIZE, /* codes -> codes of another scale or container, relu included */
    LOWER_SIGN,       /* f32 or codes -> codes -1 and 1; arith is the input's rep */
    LOWER_CONV2D,
    LOWER_LINEAR, /* also readable as a conv2d: H = W = KH = KW = 1 */
    LOWER_AFFINE, /* batch norm that could not be folded, f32 */
    LOWER_RELU,   /* f32; on codes it is a LOWER_REQUANTIZE */
    LOWER_ADD,
    LOWER_MAX_POOL,
    LOWER_AVG_POOL, /* global average pooling too */
    LOWER_SHORTCUT_A,
    LOWER_SOFTMAX, /* f32 */
    LOWER_N_KINDS
};

enum lower_place { LOWER_ARENA = 0, LOWER_IMAGES, LOWER_OUTPUT };

/* A buffer: one value of the whole batch, samples one after another, each in NHWC order. */
struct lower_value {
    int32_t node;      /* of the graph */
    int32_t is_stored; /* 1: the value of that node; 0: a copy in another representation */
    enum lower_rep rep;
    int64_t n_elems; /* per sample */
    float scale;     /* when rep is not LOWER_F32 */
    int32_t zero, qmin, qmax;
    int32_t bits; /* of the codes; 1: each is -1 or 1 */
    enum lower_place place;
    int64_t size_bytes;            /* for max_batch samples */
    int64_t offset_bytes;          /* in the arena, a multiple of 64 */
    int32_t first_step, last_step; /* made by, last read by; first is -1 for the images */
};

struct lower_step {
    enum lower_kind kind;
    enum lower_rep arith; /* conv2d and linear on integers: their input's rep is equal to it */
    int32_t node;         /* the node it is done for */
    int32_t is_fallback;  /* 8-bit operands on the int64 path, because int32 could overflow */
    int32_t n_inputs;
    int32_t in[PARE_MAX_INPUTS], out; /* indices of values */
    int32_t relu;

    /* Geometry. Elementwise steps only use in_h * in_w * in_c. */
    int32_t in_h, in_w, in_c, out_h, out_w, out_c;
    int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, groups;
    int64_t macs; /* per sample */

    /* Conv2d and linear. Owned by the plan until lower_drop_weights. */
    float *weight_f32;     /* (OC,KH,KW,IC/groups) */
    int16_t *weight_codes; /* (OC,KH,KW,IC/groups) */
    float *bias_f32;       /* (OC), in units of the output's scale if that is codes; affine: (C) */

    /* Multipliers m: (OC) of conv2d and linear, (2) of add, (1) of average pooling and requantize;
     * the gain (C) of affine. An integer conv2d or linear makes float(acc) * m + bias_f32, each
     * operation rounded; if its out is f32 (logits), that is what it stores. */
    float *multiplier;
    int32_t clamp_lo, clamp_hi; /* of the codes made; relu included */
};

struct lower_plan {
    int32_t n_steps;
    struct lower_step *steps; /* (n_steps), in execution order */
    int32_t n_values;
    struct lower_value *values; /* (n_values) */
    int32_t max_batch;
    int64_t arena_bytes;
    const char *execution; /* pare_executable_info.execution */
};

/* PARE_OK, or a failure told to host->fail that names the node. [main] */
pare_status lower_check_node(const pare_host *host, const pare_graph *graph, int32_t node);

/* Lowers the whole graph; the graph is borrowed for the call. What cannot be executed exactly as
 * specified is refused with the node's name and the reason (PARE_E_UNSUPPORTED, PARE_E_RANGE,
 * PARE_E_NUMERIC); PARE_E_NOMEM. *out is destroyed by the caller. [main] */
pare_status lower_graph(const pare_host *host, const pare_graph *graph, int32_t max_batch,
                        struct lower_plan **out);

/* Frees weights, biases and multipliers once the backend has packed its own. [main] */
void lower_drop_weights(const pare_host *host, struct lower_plan *plan);
void lower_destroy(const pare_host *host, struct lower_plan *plan); /* NULL is fine. [main] */

/* Places the arena's values so that two whose lives overlap never share a byte: largest first, each
 * at the lowest offset that is free (Pisarchyk & Lee 2020, arXiv 2001.03288, section 5.2). Fills
 * offset_bytes and arena_bytes. [any] */
void lower_plan_arena(struct lower_plan *plan, int32_t *order /* scratch (n_values) */);

/* Bytes of one element. */
static inline int64_t lower_rep_bytes(enum lower_rep rep) {
    return rep == LOWER_F32 ? 4 : rep == LOWER_I16 ? 2 : 1;
}

#endif
