/* SPDX-License-Identifier: MIT */
/* Graphs made by hand or at random, quantized or not, for checks of backends. */
#ifndef CHECK_GRAPH_MAKER_H
#define CHECK_GRAPH_MAKER_H

#include <pare/graph.h>
#include <stddef.h>
#include <stdint.h>

/* ---- random numbers ---- */
uint32_t maker_random(uint64_t *state);
int32_t maker_between(uint64_t *state, int32_t lo, int32_t hi); /* inclusive */
float maker_normal(uint64_t *state);                            /* about N(0,1) */

/* ---- graphs; nothing is checked, memory lives until maker_free ---- */
struct maker {
    pare_graph graph;
    uint64_t random;
    const pare_node *nodes[256];
    const pare_weight *weights[1024];
    void *memory[8192];
    int32_t n_memory;
};

void maker_init(struct maker *m, uint64_t seed, int32_t h, int32_t w, int32_t c);
void maker_free(struct maker *m);
pare_node *maker_node(struct maker *m, int32_t index); /* writable */
pare_weight *maker_weight(struct maker *m, int32_t node, pare_role role);

/* Each returns the new node's index; weights are random. */
int32_t maker_conv(struct maker *m, int32_t in, int32_t out_c, int32_t kernel, int32_t stride,
                   int32_t pad, int32_t groups, int bias);
int32_t maker_linear(struct maker *m, int32_t in, int32_t out_c, int bias);
int32_t maker_batch_norm(struct maker *m, int32_t in);
int32_t maker_simple(struct maker *m, pare_op op,
                     int32_t in); /* relu, flatten, quantize, global pool, softmax */
int32_t maker_pool(struct maker *m, pare_op op, int32_t in, int32_t kernel, int32_t stride,
                   int32_t pad);
int32_t maker_add(struct maker *m, int32_t a, int32_t b);
int32_t maker_shortcut(struct maker *m, int32_t in, int32_t out_c, int32_t stride);

/* Per output channel, `bits` wide; from the data (min-max), which becomes scale * code. */
void maker_quantize_weight(struct maker *m, int32_t node, int32_t bits);
/* Random ternary or binary codes. */
void maker_ternary_weight(struct maker *m, int32_t node);
void maker_binary_weight(struct maker *m, int32_t node);
/* Makes so many per cent of a weight 0, at random; then `rows` of its output channels as a whole.
 */
void maker_prune(struct maker *m, int32_t node, int32_t percent, int32_t rows);
void maker_quantize_value(struct maker *m, int32_t node, int32_t bits, float scale, int32_t zero);
int32_t maker_sign(struct maker *m, int32_t in, float scale); /* a quantize node of 1 bit */
/* With a random zero point, the ends of the range included; real values of about +-range. */
void maker_quantize_somehow(struct maker *m, int32_t node, int32_t bits, float range);

/* Operators, shapes, groups, which values and weights are quantized and to how many bits: all from
 * the seed. Ends in a linear layer, sometimes with a softmax; at most 40 classes. */
void maker_random_graph(struct maker *m, uint64_t seed);

#endif
