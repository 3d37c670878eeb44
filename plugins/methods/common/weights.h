/* SPDX-License-Identifier: MIT */
/* Rounding one weight tensor. */
#ifndef METHODS_COMMON_WEIGHTS_H
#define METHODS_COMMON_WEIGHTS_H

#include <pare/plugin.h>

struct weight_rule {
    int bits;           /* 2..16 */
    int is_per_channel; /* one scale per output channel; otherwise one per tensor */
    int is_mse;         /* the clip of least squared error; otherwise the largest absolute value */
    int group_size; /* 0; or a scale for each so many weights of a channel: weight_quantize_groups
                     */
    int group_bits; /* of a group's factor */
};

/* One scale per output channel, or 1. */
static inline int64_t weight_n_scales(const struct weight_rule *rule, const pare_weight *w) {
    return rule->is_per_channel ? w->dims[0] : 1;
}

/* scale (weight_n_scales) by the rule, finite and > 0; a channel of zeros has 1. [main] */
void weight_scales(const pare_host *host, const pare_weight *w, const struct weight_rule *rule,
                   float *scale);

/* The quantization with these scales, borrowed. */
pare_quant weight_quant(const struct weight_rule *rule, const pare_weight *w, const float *scale);

/* Symmetric codes, Krishnamoorthi 2018 (arXiv 1806.08342), section 2.2. [main] */
pare_status weight_quantize(const pare_host *host, const pare_graph *graph, const pare_weight *w,
                            const struct weight_rule *rule);

/* Two levels of scales (VS-Quant: Dai et al. 2021, arXiv 2102.04503, section 4): a group's scale is
 * a whole multiple, of group_bits bits, of its channel's scale, so that code times factor is again
 * an integer code of the channel:
 *     w = scale[channel] (factor[group] code),   |code| <= 2^(bits-1) - 1,
 *     factor = rne(group's own scale / scale[channel]) in 1 .. 2^group_bits - 1.
 * weight_group_bits(rule) is what such a product takes; at most 16. [main] */
pare_status weight_quantize_groups(const pare_host *host, const pare_graph *graph,
                                   const pare_weight *w, const struct weight_rule *rule);
int weight_group_bits(const struct weight_rule *rule);

/* The scale of n weights. Zeros get scale 1: any represents them. [any] */
float weight_scale_of(const float *data, int64_t n, int bits, int is_mse);

#endif
