/* SPDX-License-Identifier: MIT */
/* Which values of a graph are quantized. */
#ifndef METHODS_COMMON_PLAN_H
#define METHODS_COMMON_PLAN_H

#include <pare/plugin.h>

/* For each value (node) one of these, or the index of the node whose grid it shares. */
#define PLAN_FLOAT (-1) /* stays float */

struct plan {
    const pare_host *host;
    int32_t n;     /* nodes */
    int32_t *root; /* (n) PLAN_FLOAT, or the node that is observed; root[v] == v: its own grid */
};

/* The rules:
 *  1. The input value of every selected conv2d and linear is quantized, and its output value,
 * except where that is the graph's output (logits stay float).
 *  2. Where a conv2d, linear or add feeds only a relu, the value that counts is the relu's: it is
 * the one that is stored.
 *  3. max_pool, flatten, shortcut_a and quantize copy codes: their value has its input's grid, so
 *     if it is quantized, so is its input. A quantize node that has a grid already keeps it.
 *  4. An add, average pooling or relu whose value is quantized reads quantized values, so that no
 * float island lies between integer layers; but the output of a conv2d or linear that is not
 * selected, and of a batch norm that could not be folded, does not become quantized by this rule.
 * All other values stay float. Freed by plan_clear. [main] */
pare_status plan_init(const pare_host *host, const pare_graph *graph, struct plan *plan);
void plan_clear(struct plan *plan);

/* max_pool, flatten, shortcut_a, and quantize as long as it has no grid: the value has its input's
 * codes. */
int plan_copies_codes(pare_op op);

/* The node whose codes value v has, which is v itself where it copies none. */
int32_t plan_source(const pare_graph *graph, int32_t v);

/* Does anything but selected layers compute with value v or a copy of its codes? */
int plan_is_shared(const pare_host *host, const pare_graph *graph, int32_t v);

/* The node that alone reads value v, or -1. */
int32_t plan_sole_reader(const pare_graph *graph, int32_t v);

/* Is the value of layer `node`, or of the relu behind it, the graph's output (or on its way there
 * through nothing but flatten and softmax)? */
int plan_is_output(const pare_graph *graph, int32_t node);

/* A layer that an earlier step has quantized is not quantized again: rounding twice is never what
 * is wanted, and steps with different widths share a model by include and exclude. PARE_E_STATE,
 * with a message, if a selected one is. [main] */
pare_status plan_check_fresh(const pare_host *host, const pare_graph *graph);

#endif
