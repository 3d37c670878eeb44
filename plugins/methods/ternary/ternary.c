/* SPDX-License-Identifier: MIT */
/* Ternary weight networks: Li et al. 2016, arXiv 1605.04711. */
#include "lowbit_minmax.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { P_THRESHOLD = LOWBIT_N_SHARED, P_GRANULARITY, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    LOWBIT_SHARED_PARAMS(2, "8", "2..8"),
    [P_THRESHOLD] = {"threshold", PARE_PARAM_FLOAT, "", 0, 4, NULL, "0.7",
                     "weights of magnitude up to this times the mean magnitude become 0"},
    [P_GRANULARITY] = {"weight_granularity", PARE_PARAM_STRING, "", 0, 0, "tensor|channel",
                       "tensor",
                       "one threshold and scale per weight tensor, or per output channel"},
};

struct ternary {
    struct lowbit base; /* first */
    double threshold;
};

static void start(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    (void)lb, (void)w;
    slot->qmax = 1;
    slot->stored_bits = 2;
}

struct job {
    struct lowbit_weight *slot;
    const float *w;
    double threshold;
};

/* Delta = 0.7 E|w| (eq. 6), of the weights that are not pruned; a = E|w| of those above (eq. 5). */
static void encode_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t n = job->slot->n_elems / job->slot->n_scales;
    const float *w = job->w + channel * n;
    int16_t *codes = job->slot->codes + channel * n;
    double sum = 0.0, above = 0.0;
    int64_t n_kept = 0, n_above = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs((double)w[i]);
        n_kept += w[i] != 0.0f;
    }
    const double delta = n_kept > 0 ? job->threshold * sum / (double)n_kept : 0.0;
    for (int64_t i = 0; i < n; i++) {
        const int is_above = fabs((double)w[i]) > delta;
        codes[i] = (int16_t)(!is_above ? 0 : w[i] < 0.0f ? -1 : 1);
        above += is_above ? fabs((double)w[i]) : 0.0;
        n_above += is_above;
    }
    const double scale = n_above > 0 ? above / (double)n_above : 1.0;
    job->slot->scales[channel] = scale >= (double)FLT_MIN ? (float)scale : 1.0f;
}

static void encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    struct job job = {slot, w, ((const struct ternary *)(const void *)lb)->threshold};
    lb->host->parallel_for(lb->host, slot->n_scales, encode_channel, &job);
}

/* Straight through: the latent weights take the gradient of the ternary ones (section 2.4). */
static void backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w, const float *g,
                     float *gw) {
    (void)lb, (void)w;
    if (gw != g) {
        memcpy(gw, g, (size_t)slot->n_elems * sizeof *gw);
    }
}

static const struct lowbit_weight_ops weight_ops = {
    .has_one_width = 1,
    .start = start,
    .encode = encode,
    .backward = backward,
};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct ternary *m = host->alloc(host, sizeof *m);
    if (!m) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *m = (struct ternary){
        .base = {.weight_ops = &weight_ops,
                 .edge_weight_ops = &lowbit_weight_minmax,
                 .value_ops = &lowbit_value_average,
                 .edge_value_ops = &lowbit_value_average,
                 .is_per_channel = strcmp(v[P_GRANULARITY]->s, "channel") == 0,
                 .weight_bits = 2},
        .threshold = v[P_THRESHOLD]->f,
    };
    pare_status status = lowbit_create(&m->base, host, v);
    if (status < 0) {
        host->free(host, m);
        return status;
    }
    *instance = m;
    return PARE_OK;
}

static const pare_method ternary = {
    .struct_size = sizeof ternary,
    .id = "ternary",
    .version = "1.0.0",
    .doc = "trains weights of -1, 0 and 1 with a threshold from their mean magnitude (TWN)",
    .reference = "Li et al. 2016, arXiv 1605.04711, eq. 5 and 6",
    .params = params,
    .n_params = N_PARAMS,
    LOWBIT_ASPECTS,
    .create = create,
    .destroy = lowbit_destroy,
    .apply = lowbit_apply,
    .get_extension = lowbit_get_extension,
};

static const pare_method *const methods[] = {&ternary};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "ternary", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,    .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
