/* SPDX-License-Identifier: MIT */
/* What methods that train low-bit networks share: everything but the arithmetic of a weight's codes
 * and of a value's grid, which a method gives as two tables of functions.
 *
 * While training, the weights of selected layers, and the values they read, are replaced by what
 * the integer path will hold for them, to the bit. Batch norm stays as it is: at the end weights
 * are quantized first and batch norm is folded afterwards, which multiplies scales and keeps codes,
 * so that nothing of what was learned is rounded again. Then the rest of the values that an integer
 * network stores (inputs of additions and poolings) gets a grid from calibration images.
 *
 * A method embeds a struct lowbit as its instance's first member, and names lowbit_apply and the
 * two extensions in its descriptor. All functions are [main]. */
#ifndef METHODS_COMMON_LOWBIT_H
#define METHODS_COMMON_LOWBIT_H

#include "fake.h"
#include "learned.h"
#include "plan.h"

#include <pare/ext/calibrate.h>
#include <pare/ext/train.h>

#define LOWBIT_FLOAT 32 /* as a number of bits: stays float */

/* ---- parameters: the first rows of the method's table ---- */

enum {
    LOWBIT_P_ACTIVATION_BITS,
    LOWBIT_P_FIRST_LAST_BITS,
    LOWBIT_P_RESIDUAL_BITS,
    LOWBIT_P_PROGRESSIVE,
    LOWBIT_N_SHARED,
    LOWBIT_P_WEIGHT_BITS = LOWBIT_N_SHARED, /* not in methods whose weights have one width */
    LOWBIT_N_PARAMS
};

#define LOWBIT_PARAMS                                                                              \
    [LOWBIT_P_WEIGHT_BITS] = {"weight_bits", PARE_PARAM_INT,                                       \
                              "bits",        2,                                                    \
                              LOWBIT_FLOAT,  NULL,                                                 \
                              "4",           "width of weights: 2..8; 32: they stay float"},       \
    LOWBIT_SHARED_PARAMS(2, "4", "2..8")

/* Without the width of weights. */
#define LOWBIT_SHARED_PARAMS(activation_min, activation_default, activation_doc)                   \
    [LOWBIT_P_ACTIVATION_BITS] = {"activation_bits",                                               \
                                  PARE_PARAM_INT,                                                  \
                                  "bits",                                                          \
                                  activation_min,                                                  \
                                  LOWBIT_FLOAT,                                                    \
                                  NULL,                                                            \
                                  activation_default,                                              \
                                  "width of the values that layers read: " activation_doc          \
                                  "; 32: they stay float"},                                        \
    [LOWBIT_P_FIRST_LAST_BITS] = {"first_last_bits",                                               \
                                  PARE_PARAM_INT,                                                  \
                                  "bits",                                                          \
                                  0,                                                               \
                                  LOWBIT_FLOAT,                                                    \
                                  NULL,                                                            \
                                  "8",                                                             \
                                  "width of the first and the last layer, weights and values "     \
                                  "read: 2..8; 0: as the others; 32: they stay float"},            \
    [LOWBIT_P_RESIDUAL_BITS] = {"residual_bits",                                                   \
                                PARE_PARAM_INT,                                                    \
                                "bits",                                                            \
                                2,                                                                 \
                                8,                                                                 \
                                NULL,                                                              \
                                "8",                                                               \
                                "width of the values that additions and poolings read"},           \
    [LOWBIT_P_PROGRESSIVE] = {"progressive",                                                       \
                              PARE_PARAM_NUMBERS,                                                  \
                              "bits",                                                              \
                              2,                                                                   \
                              8,                                                                   \
                              NULL,                                                                \
                              NULL,                                                                \
                              "widths to begin with, widest first ({8, 4}): each for an equal "    \
                              "part of the first half of the training"}

/* What such a method reads, writes and preserves. What earlier steps did to other layers and values
 * stays; folding preserves whatever else was done to the topology. */
#define LOWBIT_ASPECTS                                                                             \
    .reads = PARE_WEIGHTS | PARE_MASK | PARE_ACTIVATIONS,                                          \
    .writes = PARE_WEIGHTS | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY,            \
    .preserves = PARE_MASK | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY

/* ---- slots ---- */

struct lowbit;
struct lowbit_weight;
struct lowbit_value;

/* How weights become codes. */
struct lowbit_weight_ops {
    int has_one_width; /* 1: progressive widths do not concern it */
    int has_no_zero;   /* 1: no code for a pruned weight */
    /* Sets qmax, stored_bits and the learned numbers for slot->bits from w (n_elems), which is
     * finite. Once, and again after each change of the width. */
    void (*start)(struct lowbit *lb, struct lowbit_weight *slot, const float *w);
    /* codes (n_elems) and scales (n_scales) of w. In every forward pass, and for deployment. */
    void (*encode)(struct lowbit *lb, struct lowbit_weight *slot, const float *w);
    /* Gradient with respect to scale * code -> gradient with respect to w (may be the same memory),
     * and added to those of the learned numbers. */
    void (*backward)(struct lowbit *lb, struct lowbit_weight *slot, const float *w, const float *g,
                     float *gw);
    void (*step)(struct lowbit *lb, struct lowbit_weight *slot, double lr); /* NULL: no numbers */
};

/* Which grid a value has. */
struct lowbit_value_ops {
    int has_one_width; /* 1: progressive widths do not concern it */
    /* The first grid for slot->bits from what a batch looks like, of n values not all 0. */
    void (*start)(struct lowbit *lb, struct lowbit_value *slot, const struct fake_stats *stats,
                  int64_t n);
    /* In every forward pass while training after that; NULL: nothing to learn from it. */
    void (*see)(struct lowbit *lb, struct lowbit_value *slot, const struct fake_stats *stats,
                int64_t n);
    struct grid (*grid)(const struct lowbit *lb, const struct lowbit_value *slot);
    /* Where rounding to the grid is not what happens to x (n); NULL: it is. */
    void (*forward)(struct lowbit *lb, const struct lowbit_value *slot, const float *x, float *y,
                    int64_t n);
    void (*backward)(struct lowbit *lb, const struct lowbit_value *slot, const float *x,
                     const float *g, float *gx, int64_t n);
    void (*learn)(struct lowbit *lb, struct lowbit_value *slot, const struct fake_sums *sums);
    void (*step)(struct lowbit *lb, struct lowbit_value *slot, double lr);
};

/* The weight of one layer. */
struct lowbit_weight {
    const struct lowbit_weight_ops *ops;
    int32_t weight; /* index in the graph that is trained */
    int target_bits, bits;
    int is_ready;     /* start has been called for this width */
    int32_t n_scales; /* 1, or one per output channel */
    int64_t n_elems;
    int32_t qmax;            /* codes lie in [-qmax, qmax] */
    int32_t stored_bits;     /* what codes up to qmax take in a file */
    struct learned *learned; /* (2 n_scales): one or two for each scale, as the method likes */
    float *scales;           /* (n_scales) */
    int16_t *codes;          /* (n_elems) */
};

/* One value that selected layers read. */
struct lowbit_value {
    const struct lowbit_value_ops *ops;
    int32_t root;  /* the node of the trained graph whose value it is; layers may read copies */
    int32_t owner; /* the first layer that reads it */
    int target_bits, bits;
    int is_ready, is_signed;
    int64_t n_features; /* elements of one image */
    struct learned scale, offset;
    double lo, hi; /* of observers */
};

struct lowbit_layer {
    int32_t node;         /* in the trained graph, and at the end in the folded one */
    int32_t slot;         /* weight: into weights; -1: float */
    int32_t value;        /* into values; -1: float */
    int32_t has_quantize; /* a quantize node of its own lies before it */
};

struct lowbit {
    const pare_host *host;
    const struct lowbit_weight_ops *weight_ops, *edge_weight_ops; /* edge: first and last layer */
    const struct lowbit_value_ops *value_ops, *edge_value_ops;
    int is_per_channel; /* weights */
    int has_offset;     /* lowbit_value_step: LSQ+ */
    int weight_bits, activation_bits, edge_weight_bits, edge_value_bits, residual_bits;
    int32_t n_stages;     /* of progressive widths, before the last one */
    const double *stages; /* (n_stages) */
    double kept;          /* lowbit_value_average: part of the past that is kept; 1: the extremes of
                             all batches; lowbit_create sets 0.99 */
    double value_delay;   /* values stay float for this part of the training; 0 */
    int64_t step, n_steps;

    int32_t n_layers; /* selected, in the order of nodes: the same before and after folding */
    struct lowbit_layer *layers;
    int32_t n_weights;
    struct lowbit_weight *weights;
    int32_t n_values;
    struct lowbit_value *values;

    struct plan plan;         /* of the folded graph */
    struct lowbit_seen *seen; /* (plan.n) while calibrating */
    int32_t *wanted; /* (plan.n) index of the value slot whose grid the node's value takes, or -1 */
};

/* Fills lb from the rows above, after checking them; the method has set the tables of functions,
 * is_per_channel and, if it has no row for it, weight_bits. */
pare_status lowbit_create(struct lowbit *lb, const pare_host *host,
                          const pare_param_value *const *values);
/* pare_method.destroy. */
void lowbit_destroy(void *instance);

/* pare_method.apply: finds what is to be quantized. A layer that is quantized already is refused.
 */
pare_status lowbit_apply(void *instance, const pare_graph *graph);

extern const pare_method_train lowbit_train;      /* PARE_METHOD_TRAIN */
extern const pare_method_calibrate lowbit_deploy; /* PARE_METHOD_CALIBRATE_AFTER */
const void *lowbit_get_extension(const char *id);

/* The slot's codes from w, its name in messages. */
pare_status lowbit_encode(struct lowbit *lb, struct lowbit_weight *slot, const pare_weight *weight,
                          const float *w);
/* The slot's first grid, if there is none and not all values are 0. */
pare_status lowbit_start_value(struct lowbit *lb, struct lowbit_value *slot,
                               const struct fake_stats *stats, int64_t n, const char *name);

#endif
