/* SPDX-License-Identifier: MIT */
/* What a layer multiplies its weights with: for each place of its output the row of values that one
 * output channel's weights meet, in the order of the weights (a convolution's im2col). */
#ifndef METHODS_COMMON_PATCHES_H
#define METHODS_COMMON_PATCHES_H

#include <pare/plugin.h>

struct patches {
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
    int32_t out_h, out_w;
    int32_t n_groups;
    int64_t n_places;  /* out_h * out_w */
    int64_t n_outputs; /* channels of one group */
    int64_t row_elems; /* weights of one output channel: KH * KW * IC / groups */
    int64_t in_elems;  /* of the value of one image */
};

/* Of a conv2d or linear node; a linear layer is a 1x1 convolution of a 1x1 image. */
struct patches patches_of(const pare_graph *graph, const pare_node *layer);

/* row (row_elems): what the channels of `group` meet at `place` (< n_places) of one image's value,
 * (H,W,C); padding is 0. [any] [hot] */
void patches_row(const struct patches *p, const float *value, int64_t place, int32_t group,
                 float *row);

#endif
