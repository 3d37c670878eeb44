/* SPDX-License-Identifier: MIT */
/* What methods that quantize after training share: their parameters, widths by layer, and grids of
 * values from what calibration shows of the float network.
 *
 *     post_fold, post_plan -> post_observe..., post_end (again, while it says so) ->
 * post_set_values
 *
 * All functions are [main]. */
#ifndef METHODS_COMMON_POST_H
#define METHODS_COMMON_POST_H

#include "pattern_map.h"
#include "plan.h"
#include "range.h"
#include "weights.h"

#define POST_FLOAT 32 /* as a number of bits: stays float */

/* The rows of post_rows.inc. */
enum {
    POST_P_BITS,
    POST_P_WEIGHT_BITS,
    POST_P_ACTIVATION_BITS,
    POST_P_OBSERVER,
    POST_P_PERCENTILE,
    POST_P_MOMENTUM,
    POST_P_SCHEME,
    POST_P_GRANULARITY,
    POST_P_WEIGHT_OBSERVER,
    POST_P_RESIDUAL_BITS,
    POST_P_LAYER_BITS,
    POST_N_PARAMS
};

/* What such a method reads, writes and preserves. What earlier steps did to other layers and values
 * stays (plan_check_fresh); folding preserves whatever else was done to the topology. */
#define POST_ASPECTS                                                                               \
    .reads = PARE_WEIGHTS | PARE_MASK | PARE_ACTIVATIONS,                                          \
    .writes = PARE_WEIGHTS | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY,            \
    .preserves = PARE_MASK | PARE_WEIGHT_QUANT | PARE_ACTIVATION_QUANT | PARE_TOPOLOGY

struct post {
    const pare_host *host;
    int weight_bits, activation_bits; /* POST_FLOAT: untouched */
    int residual_bits;                /* of values that no layer reads; 0: activation_bits */
    struct pattern_map layer_bits;    /* in place of the first two, where those are not float */
    struct range_rule rule;           /* its bits and percentile are the value's */
    struct weight_rule weight_rule;   /* its bits are the layer's: post_weight_rule */
    int is_ready;                     /* plan and ranges fit the graph */
    int64_t n_calls;                  /* of post_observe in the present pass */
    int32_t pass;
    struct plan plan;
    struct range *ranges; /* (plan.n) those of root values are used */
};

/* From the values of the rows above, after checking them; weights have 2..most_weight_bits bits.
 * Both widths may be float: the method knows whether that makes sense. Nothing is allocated. */
pare_status post_init(const pare_host *host, const pare_param_value *const *values,
                      int most_weight_bits, struct post *post);
void post_clear(struct post *post); /* and ready to be planned anew */

/* Checks the selected layers and the patterns of layer_bits, and folds batch norm. */
pare_status post_fold(const struct post *post, const pare_graph *graph);
/* Plans on the graph as it is now. With residual_bits, layers that read fewer bits than other
 * readers of their value get a quantize node of their own. */
pare_status post_plan(struct post *post, const pare_graph *graph);

static inline int post_wants_values(const struct post *post) {
    return post->activation_bits != POST_FLOAT;
}

/* The value of `node`, (n, its dims), all finite where it is to get a grid; else PARE_E_NUMERIC. */
pare_status post_observe(struct post *post, const pare_graph *graph, int32_t node,
                         const float *value, int32_t n);
/* After a pass: *again = 1 while the ranges need one more. PARE_E_STATE where values are wanted (by
 * the grids, or by the method) and none came. */
pare_status post_end(struct post *post, int is_needed, int32_t *again);

/* Every planned value that has no grid yet gets one. */
pare_status post_set_values(struct post *post, const pare_graph *graph);

/* How the weight of that layer is rounded. */
struct weight_rule post_weight_rule(const struct post *post, const pare_node *layer);

#endif
