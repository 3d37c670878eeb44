/* SPDX-License-Identifier: MIT */
/* Ternary weight networks: Li et al. 2016, arXiv 1605.04711 (TWN); with learned magnitudes C. Zhu
 * et al. 2017, arXiv 1612.01064 (TTQ). */
#include "lowbit_minmax.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { P_THRESHOLD = LOWBIT_N_SHARED, P_GRANULARITY, P_MAGNITUDES, P_PART, P_CODE_BITS, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    LOWBIT_SHARED_PARAMS(2, "8", "2..8"),
    [P_THRESHOLD] = {"threshold", PARE_PARAM_FLOAT, "", 0, 4, NULL, "0.7",
                     "weights of magnitude up to this times the mean magnitude become 0"},
    [P_GRANULARITY] = {"weight_granularity", PARE_PARAM_STRING, "", 0, 0, "tensor|channel",
                       "tensor",
                       "one threshold and scale per weight tensor, or per output channel"},
    [P_MAGNITUDES] = {"magnitudes", PARE_PARAM_STRING, "", 0, 0, "mean|learned", "mean",
                      "one, of the weights that are not 0 (TWN), or two learned ones, for positive "
                      "and for negative weights (TTQ)"},
    [P_PART] = {"learned_threshold", PARE_PARAM_FLOAT, "", 0, 1, NULL, "0.05",
                "magnitudes learned: weights up to this times the largest magnitude become 0"},
    [P_CODE_BITS] = {"code_bits", PARE_PARAM_INT, "bits", 3, 8, NULL, "8",
                     "magnitudes learned: width of the codes of one scale that stand for them"},
};

struct ternary {
    struct lowbit base; /* first */
    double threshold, part;
    int code_bits; /* of TTQ: the larger magnitude is the largest code */
};

static const struct ternary *method_of(const struct lowbit *lb) {
    return (const struct ternary *)(const void *)lb;
}

/* ---- TWN ---- */

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
    struct job job = {slot, w, method_of(lb)->threshold};
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

/* ---- TTQ: slot->learned holds W_p and W_n of each scale ---- */

struct span {
    int64_t n;
    double largest, delta; /* delta = t max|w| (eq. 9) */
};

static struct span span_of(const struct lowbit *lb, const struct lowbit_weight *slot,
                           const float *w) {
    struct span span = {slot->n_elems / slot->n_scales, 0.0, 0.0};
    for (int64_t i = 0; i < span.n; i++) {
        const float size = fabsf(w[i]);
        span.largest = (double)size > span.largest ? (double)size : span.largest;
    }
    span.delta = method_of(lb)->part * span.largest;
    return span;
}

/* 1, 0 or -1. */
static int zone_of(const struct span *span, float w) {
    return (double)w > span->delta ? 1 : (double)w < -span->delta ? -1 : 0;
}

/* Both magnitudes begin at the mean of the weights they stand for. */
static void learned_start(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    slot->stored_bits = method_of(lb)->code_bits;
    slot->qmax = (1 << (slot->stored_bits - 1)) - 1;
    for (int32_t c = 0; c < slot->n_scales; c++) {
        const struct span span = span_of(lb, slot, w + c * (slot->n_elems / slot->n_scales));
        double sum[2] = {0.0, 0.0};
        int64_t n[2] = {0, 0};
        for (int64_t i = 0; i < span.n; i++) {
            const float value = w[c * span.n + i];
            const int zone = zone_of(&span, value);
            if (zone != 0) {
                sum[zone < 0] += fabs((double)value);
                n[zone < 0]++;
            }
        }
        for (int side = 0; side < 2; side++) {
            const double other = n[!side] > 0 ? sum[!side] / (double)n[!side] : 1.0;
            slot->learned[2 * c + side] =
                learned_at(n[side] > 0 ? sum[side] / (double)n[side] : other);
        }
    }
}

static void learned_encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    for (int32_t c = 0; c < slot->n_scales; c++) {
        const double positive = slot->learned[2 * c].value;
        const double negative = slot->learned[2 * c + 1].value;
        const double scale = fmax(positive, negative) / slot->qmax;
        const struct span span = span_of(lb, slot, w + c * (slot->n_elems / slot->n_scales));
        slot->scales[c] = scale >= (double)FLT_MIN ? (float)scale : 1.0f;
        const int16_t codes[3] = {(int16_t)-fmax(rint(negative / scale), 1.0), 0,
                                  (int16_t)fmax(rint(positive / scale), 1.0)};
        for (int64_t i = 0; i < span.n; i++) {
            slot->codes[c * span.n + i] = codes[zone_of(&span, w[c * span.n + i]) + 1];
        }
    }
}

/* dL/dW_p = sum of g over positive weights, dL/dW_n = - that over negative ones (eq. 7); latent
 * weights take W_p g, g or W_n g (eq. 8), magnitudes being parts of the largest weight. */
static void learned_backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                             const float *g, float *gw) {
    for (int32_t c = 0; c < slot->n_scales; c++) {
        const struct span span = span_of(lb, slot, w + c * (slot->n_elems / slot->n_scales));
        const double unit = span.largest > 0.0 ? span.largest : 1.0;
        struct learned *both = &slot->learned[2 * c];
        const float factors[3] = {(float)(both[1].value / unit), 1.0f,
                                  (float)(both[0].value / unit)};
        double sums[3] = {0.0, 0.0, 0.0};
        for (int64_t i = c * span.n; i < (c + 1) * span.n; i++) {
            const int zone = zone_of(&span, w[i]) + 1;
            sums[zone] += (double)g[i];
            gw[i] = factors[zone] * g[i];
        }
        both[0].gradient += sums[2] / sqrt((double)span.n);
        both[1].gradient -= sums[0] / sqrt((double)span.n);
    }
}

static void learned_magnitudes_step(struct lowbit *lb, struct lowbit_weight *slot, double lr) {
    (void)lb;
    for (int32_t k = 0; k < 2 * slot->n_scales; k++) {
        learned_step_positive(&slot->learned[k], lr);
    }
}

static const struct lowbit_weight_ops learned_ops = {
    .has_one_width = 1,
    .start = learned_start,
    .encode = learned_encode,
    .backward = learned_backward,
    .step = learned_magnitudes_step,
};

/* ---- the method ---- */

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct ternary *m = host->alloc(host, sizeof *m);
    if (!m) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *m = (struct ternary){
        .base = {.weight_ops =
                     strcmp(v[P_MAGNITUDES]->s, "learned") == 0 ? &learned_ops : &weight_ops,
                 .edge_weight_ops = &lowbit_weight_minmax,
                 .value_ops = &lowbit_value_average,
                 .edge_value_ops = &lowbit_value_average,
                 .is_per_channel = strcmp(v[P_GRANULARITY]->s, "channel") == 0,
                 .weight_bits = 2},
        .threshold = v[P_THRESHOLD]->f,
        .part = v[P_PART]->f,
        .code_bits = (int)v[P_CODE_BITS]->i,
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
    .doc = "trains weights of three levels: -1, 0 and 1 by their mean magnitude (TWN), or with two "
           "learned magnitudes (TTQ)",
    .reference = "Li et al. 2016, arXiv 1605.04711, eq. 5 and 6; Zhu et al. 2017, arXiv 1612.01064",
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
