/* SPDX-License-Identifier: MIT */
#include "estimators.h"
#include "standard.h"

#include <float.h>
#include <math.h>

/* ---- what all share ---- */

static void start(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    (void)lb, (void)w;
    slot->qmax = 1;
    slot->stored_bits = 1;
}

/* Part of the training that is over, 0..1. */
static double progress(const struct lowbit *lb) {
    return lb->n_steps > 0 ? (double)lb->step / (double)lb->n_steps : 1.0;
}

static double mean_abs(const float *w, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs((double)w[i]);
    }
    return sum / (double)n;
}

/* A scale that a channel of zeros, or of numbers too small, may have. */
static float usable(double scale) {
    return scale >= (double)FLT_MIN || scale != scale ? (float)scale : 1.0f;
}

static double sign(double x) {
    return x < 0.0 ? -1.0 : 1.0;
}

/* Channels are independent: one task each. */
struct job {
    const struct lowbit *lb;
    struct lowbit_weight *slot;
    const float *w, *g;
    float *gw;
};

typedef void (*channel_body)(void *arg, int64_t channel);

static void each_channel(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                         const float *g, float *gw, channel_body body) {
    struct job job = {lb, slot, w, g, gw};
    lb->host->parallel_for(lb->host, slot->n_scales, body, &job);
}

/* ---- XNOR-Net ---- */

static void xnor_encode_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t n = job->slot->n_elems / job->slot->n_scales;
    const float *w = job->w + channel * n;
    int16_t *codes = job->slot->codes + channel * n;
    job->slot->scales[channel] = usable(mean_abs(w, n)); /* eq. 6 */
    for (int64_t i = 0; i < n; i++) {
        codes[i] = w[i] < 0.0f ? -1 : 1;
    }
}

static void xnor_encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    each_channel(lb, slot, w, NULL, NULL, xnor_encode_channel);
}

/* dL/dw_i = alpha g_i [|w_i| <= 1] + sign(w_i)/n sum_j g_j sign(w_j): the gradient of alpha = E|w|
 * is exact, that of the sign straight through (section 3.1). */
static void xnor_backward_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t n = job->slot->n_elems / job->slot->n_scales;
    const float *w = job->w + channel * n, *g = job->g + channel * n;
    float *gw = job->gw + channel * n;
    const double alpha = (double)job->slot->scales[channel];
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)g[i] * sign((double)w[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        const double through = fabs((double)w[i]) <= 1.0 ? alpha * (double)g[i] : 0.0;
        gw[i] = (float)(through + sign((double)w[i]) * sum / (double)n);
    }
}

static void xnor_backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                          const float *g, float *gw) {
    each_channel(lb, slot, w, g, gw, xnor_backward_channel);
}

const struct lowbit_weight_ops binary_xnor = {
    .has_one_width = 1,
    .has_no_zero = 1,
    .start = start,
    .encode = xnor_encode,
    .backward = xnor_backward,
};

/* ---- IR-Net ---- */

/* Libra-PB, but with the size of the weights before they were divided by their
 * deviation: 2^s with s = rne(log2 E|w - mean|). Without a batch norm behind it a layer would
 * otherwise multiply its values by 1 / deviation. */
static void irnet_encode_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t n = job->slot->n_elems / job->slot->n_scales;
    const float *w = job->w + channel * n;
    const struct standard s = standard_make(w, n);
    const double size = s.deviation * standard_mean_abs(&s, w, n);
    job->slot->scales[channel] = usable(size > (double)FLT_MIN ? exp2(rint(log2(size))) : 1.0);
    standard_codes(&s, w, n, job->slot->codes + channel * n);
}

static void irnet_encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    each_channel(lb, slot, w, NULL, NULL, irnet_encode_channel);
}

/* EDE: the sign's gradient is k t (1 - tanh^2(t x)), t from 0.1 to 10, k = max(1/t,
 * 1).
 */
static void irnet_backward_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t n = job->slot->n_elems / job->slot->n_scales;
    const float *w = job->w + channel * n, *g = job->g + channel * n;
    float *gw = job->gw + channel * n;
    const struct standard s = standard_make(w, n);
    const double t = 0.1 * pow(100.0, progress(job->lb));
    const double k = fmax(1.0 / t, 1.0);
    const double scale = (double)job->slot->scales[channel];
    for (int64_t i = 0; i < n; i++) {
        const double th = tanh(t * standard_of(&s, w[i]));
        gw[i] = (float)(scale * (double)g[i] * k * t * (1.0 - th * th));
    }
    standard_backward(&s, w, n, gw);
}

static void irnet_backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                           const float *g, float *gw) {
    each_channel(lb, slot, w, g, gw, irnet_backward_channel);
}

const struct lowbit_weight_ops binary_irnet = {
    .has_one_width = 1,
    .has_no_zero = 1,
    .start = start,
    .encode = irnet_encode,
    .backward = irnet_backward,
};

/* ---- ReCU ---- */

static void recu_encode_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t n = job->slot->n_elems / job->slot->n_scales;
    const float *w = job->w + channel * n;
    const struct standard s = standard_make(w, n);
    job->slot->scales[channel] = usable(mean_abs(w, n));
    standard_codes(&s, w, n, job->slot->codes + channel * n);
}

static void recu_encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    each_channel(lb, slot, w, NULL, NULL, recu_encode_channel);
}

/* The quantile Q(tau) of a Laplace distribution is -b ln(2 - 2 tau) with b = E|x|; tau
 * grows from 0.85 to 0.99 as e^progress does. Clamping leaves the sign; what is clamped gets no
 * gradient.
 */
static double recu_bound(const struct lowbit *lb, const struct standard *s, const float *w,
                         int64_t n) {
    const double slope = (0.99 - 0.85) / (exp(1.0) - 1.0);
    const double tau = slope * exp(progress(lb)) + 0.85 - slope;
    return -standard_mean_abs(s, w, n) * log(2.0 - 2.0 * tau);
}

static void recu_backward_channel(void *arg, int64_t channel) {
    const struct job *job = arg;
    const int64_t n = job->slot->n_elems / job->slot->n_scales;
    const float *w = job->w + channel * n, *g = job->g + channel * n;
    float *gw = job->gw + channel * n;
    const struct standard s = standard_make(w, n);
    const double bound = recu_bound(job->lb, &s, w, n);
    const double scale = (double)job->slot->scales[channel];
    for (int64_t i = 0; i < n; i++) {
        const double x = standard_of(&s, w[i]);
        gw[i] = fabs(x) <= bound ? (float)(scale * (double)g[i]) : 0.0f;
    }
    standard_backward(&s, w, n, gw);
}

static void recu_backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                          const float *g, float *gw) {
    each_channel(lb, slot, w, g, gw, recu_backward_channel);
}

const struct lowbit_weight_ops binary_recu = {
    .has_one_width = 1,
    .has_no_zero = 1,
    .start = start,
    .encode = recu_encode,
    .backward = recu_backward,
};
