/* SPDX-License-Identifier: MIT */
/* Rounding one weight tensor. */
#ifndef METHODS_COMMON_WEIGHTS_H
#define METHODS_COMMON_WEIGHTS_H

#include <pare/plugin.h>

struct weight_rule {
    int bits;           /* 2..16 */
    int is_per_channel; /* one scale per output channel; otherwise one per tensor */
    int is_mse;         /* the clip of least squared error; otherwise the largest absolute value */
};

/* Symmetric codes, Krishnamoorthi 2018 (arXiv 1806.08342), section 2.2. [main] */
pare_status weight_quantize(const pare_host *host, const pare_graph *graph, const pare_weight *w,
                            const struct weight_rule *rule);

#endif
