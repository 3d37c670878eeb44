/* SPDX-License-Identifier: MIT */
#include "correct.h"

#include <math.h>
#include <string.h>

static int64_t value_elems(const pare_node *node) {
    return (int64_t)node->dims[0] * node->dims[1] * node->dims[2];
}

static pare_status make_room(struct correction *c, const pare_node *node) {
    struct value_mean *mean = &c->values[node->index];
    if (!mean->sum) {
        const size_t bytes = (size_t)value_elems(node) * sizeof *mean->sum;
        mean->sum = c->host->alloc(c->host, bytes);
        if (!mean->sum) {
            return c->host->fail(c->host, PARE_E_NOMEM, "%s: no memory for means", node->name);
        }
        memset(mean->sum, 0, bytes);
    }
    return PARE_OK;
}

pare_status correction_init(const pare_host *host, const pare_graph *graph, struct correction *c) {
    const size_t bytes = (size_t)graph->n_nodes * sizeof *c->values;
    *c = (struct correction){host, graph->n_nodes, host->alloc(host, bytes)};
    if (!c->values) {
        return host->fail(host, PARE_E_NOMEM, "no memory for means of %d values", graph->n_nodes);
    }
    memset(c->values, 0, bytes);
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < graph->n_nodes && status == PARE_OK; k++) {
        if (host->selected(host, graph, k)) {
            status = make_room(c, graph->nodes[graph->nodes[k]->inputs[0]]);
        }
    }
    return status;
}

void correction_clear(struct correction *c) {
    for (int32_t v = 0; c->values && v < c->n; v++) {
        c->host->free(c->host, c->values[v].sum);
    }
    if (c->host) {
        c->host->free(c->host, c->values);
    }
    *c = (struct correction){0};
}

void correction_see(struct correction *c, const pare_graph *graph, int32_t node, const float *value,
                    int32_t n) {
    struct value_mean *mean = &c->values[node];
    const int64_t n_elems = value_elems(graph->nodes[node]);
    if (!mean->sum) {
        return;
    }
    for (int32_t image = 0; image < n; image++) {
        for (int64_t i = 0; i < n_elems; i++) {
            mean->sum[i] += (double)value[image * n_elems + i];
        }
    }
    mean->n_images += n;
}

/* How a layer reads its input; a linear layer is a 1x1 convolution of a 1x1 image. */
struct window {
    int32_t kernel_w, stride_h, stride_w, pad_h, pad_w, out_h, out_w;
};

static struct window window_of(const pare_node *layer) {
    if (layer->op == PARE_OP_LINEAR) {
        return (struct window){1, 1, 1, 0, 0, 1, 1};
    }
    return (struct window){layer->kernel_w, layer->stride_h, layer->stride_w, layer->pad_h,
                           layer->pad_w,    layer->dims[0],  layer->dims[1]};
}

static int64_t n_taps_of(const pare_node *layer) {
    return layer->op == PARE_OP_CONV2D ? (int64_t)layer->kernel_h * layer->kernel_w : 1;
}

/* Mean over images and output places of what tap (ky, kx) meets in channel `channel`. */
static double tap_mean(const struct value_mean *mean, const pare_node *in, const struct window *w,
                       int64_t tap, int64_t channel) {
    const int64_t ky = tap / w->kernel_w;
    const int64_t kx = tap % w->kernel_w;
    double sum = 0.0;
    for (int64_t oy = 0; oy < w->out_h; oy++) {
        const int64_t y = oy * w->stride_h + ky - w->pad_h;
        for (int64_t ox = 0; y >= 0 && y < in->dims[0] && ox < w->out_w; ox++) {
            const int64_t x = ox * w->stride_w + kx - w->pad_w;
            if (x >= 0 && x < in->dims[1]) { /* padding is 0 */
                sum += mean->sum[(y * in->dims[1] + x) * in->dims[2] + channel];
            }
        }
    }
    return sum / ((double)mean->n_images * w->out_h * w->out_w);
}

/* taps (KH,KW,C): the means that all output channels share. */
static pare_status fill_taps(const struct correction *c, const pare_graph *graph,
                             const pare_node *layer, double *taps) {
    const pare_node *in = graph->nodes[layer->inputs[0]];
    const struct value_mean *mean = &c->values[in->index];
    const struct window window = window_of(layer);
    const int64_t n_channels = in->dims[2];
    const int64_t n_taps = n_taps_of(layer);
    if (mean->n_images == 0) {
        return c->host->fail(c->host, PARE_E_STATE,
                             "%s: no calibration values: set calibration_samples above 0, or "
                             "bias_correction = false",
                             in->name);
    }
    for (int64_t i = 0; i < n_taps * n_channels; i++) {
        taps[i] = tap_mean(mean, in, &window, i / n_channels, i % n_channels);
        if (!isfinite(taps[i])) {
            return c->host->fail(c->host, PARE_E_NUMERIC,
                                 "%s: the calibration values' mean is %g, wanted a finite number",
                                 in->name, taps[i]);
        }
    }
    return PARE_OK;
}

/* E[w x] of one output channel. Its weights are (KH,KW,IC / groups) of data. */
static double mean_output(const pare_weight *w, const float *data, int64_t out_channel,
                          const double *taps, int64_t n_channels, int64_t n_groups) {
    const int64_t n_elems = w->n_elems / w->dims[0];
    const int64_t per_group = n_channels / n_groups;
    const int64_t first = out_channel / (w->dims[0] / n_groups) * per_group;
    double sum = 0.0;
    for (int64_t i = 0; i < n_elems; i++) {
        sum += (double)data[out_channel * n_elems + i] *
               taps[i / per_group * n_channels + first + i % per_group];
    }
    return sum;
}

struct both_taps {
    double *before, *now; /* may be the same */
};

static pare_status correct(const struct correction *c, const pare_graph *graph,
                           const pare_weight *w, const float *before, const struct both_taps *taps,
                           float *bias) {
    const pare_node *layer = graph->nodes[w->node];
    const int64_t n_channels = graph->nodes[layer->inputs[0]]->dims[2];
    const pare_weight *old = layer->weights[PARE_ROLE_BIAS];
    const int64_t n_groups = layer->op == PARE_OP_CONV2D ? layer->groups : 1;
    for (int64_t k = 0; k < w->dims[0]; k++) {
        const double wanted = mean_output(w, before, k, taps->before, n_channels, n_groups);
        const double got = mean_output(w, w->data, k, taps->now, n_channels, n_groups);
        bias[k] = (float)((double)old->data[k] - (got - wanted));
    }
    return c->host->set_weight(c->host, graph, old->index, bias);
}

pare_status correction_apply(const struct correction *c, const struct correction *now,
                             const pare_graph *graph, const pare_weight *w, const float *before) {
    const pare_host *host = c->host;
    const pare_node *layer = graph->nodes[w->node];
    if (!layer->weights[PARE_ROLE_BIAS]) {
        host->log(host, PARE_LOG_WARN, "%s has no bias: its shift is not corrected", layer->name);
        return PARE_OK;
    }
    const int64_t n_groups = layer->op == PARE_OP_CONV2D ? layer->groups : 1;
    const int64_t n_taps = w->n_elems / w->dims[0] * n_groups;
    double *both = host->alloc(host, 2 * (size_t)n_taps * sizeof *both);
    float *bias = host->alloc(host, (size_t)w->dims[0] * sizeof *bias);
    const struct both_taps taps = {both, now && both ? both + n_taps : both};
    pare_status status = both && bias ? fill_taps(c, graph, layer, taps.before)
                                      : host->fail(host, PARE_E_NOMEM,
                                                   "%s: no memory for a correction", layer->name);
    if (status == PARE_OK && now) {
        status = fill_taps(now, graph, layer, taps.now);
    }
    if (status == PARE_OK) {
        status = correct(c, graph, w, before, &taps, bias);
    }
    host->free(host, bias);
    host->free(host, both);
    return status;
}
