/* SPDX-License-Identifier: MIT */
#include "weights.h"

#include <math.h>

#define MAX_BITS 16

struct job {
    const struct weight_rule *rule;
    const float *data; /* (n_channels, per_channel) */
    int64_t per_channel, n_groups;
    float *own;     /* (n_channels, n_groups) a group's own scale */
    float *scale;   /* (n_channels) out */
    int16_t *codes; /* (n_channels, per_channel) out */
};

static int32_t largest_code(int bits) {
    return (1 << (bits - 1)) - 1;
}

static int32_t largest_factor(const struct weight_rule *rule) {
    return (1 << rule->group_bits) - 1;
}

int weight_group_bits(const struct weight_rule *rule) {
    const int64_t most = (int64_t)largest_code(rule->bits) * largest_factor(rule);
    int bits = 2;
    while (((int64_t)1 << (bits - 1)) - 1 < most) {
        bits++;
    }
    return bits;
}

/* A scale that is too small for a float's precision would make factors of noise. */
static float channel_scale(const float *own, int64_t n_groups, int32_t most) {
    float largest = 0.0f;
    for (int64_t g = 0; g < n_groups; g++) {
        largest = fmaxf(largest, own[g]);
    }
    const float scale = largest / (float)most;
    return isnormal(scale) ? scale : 1.0f;
}

static void encode_group(const struct job *job, int64_t from, int64_t n, float scale,
                         int32_t factor) {
    const float most = (float)largest_code(job->rule->bits);
    const float step = scale * (float)factor;
    for (int64_t i = from; i < from + n; i++) {
        const float code = fminf(fmaxf(rintf(job->data[i] / step), -most), most);
        job->codes[i] = (int16_t)((int32_t)code * factor);
    }
}

/* The last group of a channel may be smaller. */
static int64_t group_elems(const struct job *job, int64_t group) {
    const int64_t left = job->per_channel - group * job->rule->group_size;
    return left < job->rule->group_size ? left : job->rule->group_size;
}

/* 0 for a group of zeros, which any scale represents: it does not decide the channel's. */
static float own_scale(const struct job *job, const float *data, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (data[i] != 0.0f) {
            return weight_scale_of(data, n, job->rule->bits, job->rule->is_mse);
        }
    }
    return 0.0f;
}

static void encode_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t at = channel * job->per_channel;
    const int32_t most = largest_factor(job->rule);
    float *own = job->own + channel * job->n_groups;
    for (int64_t g = 0; g < job->n_groups; g++) {
        own[g] = own_scale(job, job->data + at + g * job->rule->group_size, group_elems(job, g));
    }
    const float scale = channel_scale(own, job->n_groups, most);
    for (int64_t g = 0; g < job->n_groups; g++) {
        const float ratio = fminf(fmaxf(rintf(own[g] / scale), 1.0f), (float)most);
        encode_group(job, at + g * job->rule->group_size, group_elems(job, g), scale,
                     (int32_t)ratio);
    }
    job->scale[channel] = scale;
}

pare_status weight_quantize_groups(const pare_host *host, const pare_graph *graph,
                                   const pare_weight *w, const struct weight_rule *rule) {
    const int64_t n_channels = w->dims[0];
    const int64_t per_channel = w->n_elems / n_channels;
    const int64_t n_groups = (per_channel - 1) / rule->group_size + 1;
    struct job job = {rule, w->data, per_channel, n_groups, NULL, NULL, NULL};
    if (weight_group_bits(rule) > MAX_BITS) {
        return host->fail(
            host, PARE_E_RANGE,
            "%s: weights of %d bits times factors of %d make codes of %d bits, wanted "
            "at most %d: lower weight_bits or group_bits",
            w->name, rule->bits, rule->group_bits, weight_group_bits(rule), MAX_BITS);
    }
    job.own = host->alloc(host, (size_t)(n_channels * n_groups) * sizeof *job.own);
    job.scale = host->alloc(host, (size_t)n_channels * sizeof *job.scale);
    job.codes = host->alloc(host, (size_t)w->n_elems * sizeof *job.codes);
    pare_status status;
    if (job.own && job.scale && job.codes) {
        const int32_t qmax = largest_code(rule->bits) * largest_factor(rule);
        host->parallel_for(host, n_channels, encode_channel, &job);
        const pare_quant quant = {weight_group_bits(rule), -qmax,     qmax, 0,
                                  (int32_t)n_channels,     job.scale, NULL};
        status = host->set_weight_quant(host, graph, w->index, &quant, job.codes);
    } else {
        status = host->fail(host, PARE_E_NOMEM, "%s: no memory for %lld groups", w->name,
                            (long long)(n_channels * n_groups));
    }
    host->free(host, job.codes);
    host->free(host, job.scale);
    host->free(host, job.own);
    return status;
}
