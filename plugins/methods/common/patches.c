/* SPDX-License-Identifier: MIT */
#include "patches.h"

#include <string.h>

struct patches patches_of(const pare_graph *graph, const pare_node *layer) {
    const pare_node *in = graph->nodes[layer->inputs[0]];
    const pare_weight *w = layer->weights[PARE_ROLE_WEIGHT];
    struct patches p = {in->dims[0], in->dims[1], in->dims[2], 1, 1, 1, 1, 0,
                        0,           1,           1,           1, 0, 0, 0, 0};
    if (layer->op == PARE_OP_CONV2D) {
        p.kernel_h = layer->kernel_h;
        p.kernel_w = layer->kernel_w;
        p.stride_h = layer->stride_h;
        p.stride_w = layer->stride_w;
        p.pad_h = layer->pad_h;
        p.pad_w = layer->pad_w;
        p.out_h = layer->dims[0];
        p.out_w = layer->dims[1];
        p.n_groups = layer->groups;
    }
    p.n_places = (int64_t)p.out_h * p.out_w;
    p.n_outputs = w->dims[0] / p.n_groups;
    p.row_elems = w->n_elems / w->dims[0];
    p.in_elems = (int64_t)p.in_h * p.in_w * p.in_c;
    return p;
}

void patches_row(const struct patches *p, const float *value, int64_t place, int32_t group,
                 float *row) {
    const int64_t n_channels = p->in_c / p->n_groups;
    const int64_t y0 = place / p->out_w * p->stride_h - p->pad_h;
    const int64_t x0 = place % p->out_w * p->stride_w - p->pad_w;
    for (int64_t tap = 0; tap < (int64_t)p->kernel_h * p->kernel_w; tap++, row += n_channels) {
        const int64_t y = y0 + tap / p->kernel_w;
        const int64_t x = x0 + tap % p->kernel_w;
        if (y < 0 || y >= p->in_h || x < 0 || x >= p->in_w) {
            memset(row, 0, (size_t)n_channels * sizeof *row);
        } else {
            const float *from = value + (y * p->in_w + x) * p->in_c + group * n_channels;
            memcpy(row, from, (size_t)n_channels * sizeof *row);
        }
    }
}
