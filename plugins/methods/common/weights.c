/* SPDX-License-Identifier: MIT */
#include "weights.h"
#include "grid.h"

#include <math.h>

/* Scales of one tensor, a channel per index. */
struct scaling {
    const struct weight_rule *rule;
    const float *data; /* (n_channels, per_channel) */
    int64_t per_channel;
    float *scale; /* (n_channels) out */
};

static double weight_error(const float *data, int64_t n, const struct grid *grid) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += grid_error(grid, (double)data[i]);
    }
    return sum;
}

float weight_scale_of(const float *data, int64_t n, int bits, int is_mse) {
    float largest = 0.0f; /* in float: GCC 12 for AArch64 crashes on the same loop in double */
    for (int64_t i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(data[i]));
    }
    const double most = (double)largest;
    struct grid best = grid_symmetric(-most, most, bits);
    double least = is_mse ? weight_error(data, n, &best) : 0.0;
    for (int k = GRID_N_CLIPS - 1; is_mse && k >= 1; k--) {
        const double clip = most * k / GRID_N_CLIPS;
        const struct grid grid = grid_symmetric(-clip, clip, bits);
        const double error = weight_error(data, n, &grid);
        if (error < least) {
            least = error;
            best = grid;
        }
    }
    return best.scale;
}

static void scale_channel(void *arg, int64_t channel) {
    const struct scaling *s = arg;
    s->scale[channel] = weight_scale_of(s->data + channel * s->per_channel, s->per_channel,
                                        s->rule->bits, s->rule->is_mse);
}

void weight_scales(const pare_host *host, const pare_weight *w, const struct weight_rule *rule,
                   float *scale) {
    const int64_t n_channels = weight_n_scales(rule, w);
    struct scaling scaling = {rule, w->data, w->n_elems / n_channels, scale};
    host->parallel_for(host, n_channels, scale_channel, &scaling);
}

pare_quant weight_quant(const struct weight_rule *rule, const pare_weight *w, const float *scale) {
    const int32_t qmax = (1 << (rule->bits - 1)) - 1;
    return (pare_quant){
        rule->bits, -qmax, qmax, rule->is_per_channel ? 0 : -1, (int32_t)weight_n_scales(rule, w),
        scale,      NULL};
}

pare_status weight_quantize(const pare_host *host, const pare_graph *graph, const pare_weight *w,
                            const struct weight_rule *rule) {
    if (rule->group_size > 0) {
        return weight_quantize_groups(host, graph, w, rule);
    }
    const int64_t n_scales = weight_n_scales(rule, w);
    float *scale = host->alloc(host, (size_t)n_scales * sizeof *scale);
    if (!scale) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for %lld scales", w->name,
                          (long long)n_scales);
    }
    weight_scales(host, w, rule, scale);
    const pare_quant quant = weight_quant(rule, w, scale);
    const pare_status status = host->set_weight_quant(host, graph, w->index, &quant, NULL);
    host->free(host, scale);
    return status;
}
