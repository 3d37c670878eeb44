/* SPDX-License-Identifier: MIT */
/* Additive powers of two: Li et al. 2020, arXiv 1909.13144. */
#include "lowbit_minmax.h"
#include "lowbit_step.h"
#include "standard.h"

#include <math.h>

enum { MOST_LEVELS = 16, MOST_BITS = 5, BLOCK = 4096, N_PARAMS = LOWBIT_N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {LOWBIT_PARAMS};

/* ---- levels ---- */

/* Magnitudes of b-bit weights as whole multiples of the smallest power: sums of one member of each
 * set (eq. 5), 2^(b-1) of them, ascending. In units of 1, 1/8, 1/16 and 1/64 the sets are 2 bits
 * {0, 1} 3 bits  {0, 1/2, 1/4, 1/8} 4 bits  {0, 1/2, 1/4, 1/16} + {0, 1/8} 5 bits  {0, 1/2, 1/8,
 * 1/32} + {0, 1/4, 1/16, 1/64} */
static const int16_t levels[MOST_BITS + 1][MOST_LEVELS] = {
    [2] = {0, 1},
    [3] = {0, 1, 2, 4},
    [4] = {0, 1, 2, 3, 4, 6, 8, 10},
    [5] = {0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48},
};

/* ---- weights ---- */

static double bound(const struct lowbit_weight *slot) {
    return slot->learned[0].value;
}

/* The bound on standardized weights begins at 3 deviations. */
static void start(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    (void)lb, (void)w;
    slot->qmax = levels[slot->bits][(1 << (slot->bits - 1)) - 1];
    slot->stored_bits = 1;
    while ((1 << (slot->stored_bits - 1)) - 1 < slot->qmax) {
        slot->stored_bits++;
    }
    slot->learned[0] = learned_at(3.0);
}

struct job {
    struct lowbit_weight *slot;
    struct standard standard;
    const float *w, *g;
    float *gw;
};

static int64_t end_of(const struct job *job, int64_t index) {
    const int64_t end = (index + 1) * BLOCK;
    return end < job->slot->n_elems ? end : job->slot->n_elems;
}

static void each_block(struct lowbit *lb, struct job *job, void (*body)(void *, int64_t)) {
    lb->host->parallel_for(lb->host, (job->slot->n_elems + BLOCK - 1) / BLOCK, body, job);
}

/* The nearest level of magnitude `size` in units, the smaller of two equally near. */
static int16_t nearest(const int16_t *level, int n, double size) {
    int k = 0;
    while (k + 1 < n && size > 0.5 * (double)(level[k] + level[k + 1])) {
        k++;
    }
    return level[k];
}

/* A weight of exactly 0 (a pruned one) stays 0, wherever the mean is. */
static void encode_block(void *arg, int64_t index) {
    const struct job *job = arg;
    const struct lowbit_weight *slot = job->slot;
    const double per_unit = (double)slot->qmax / bound(slot);
    for (int64_t i = index * BLOCK; i < end_of(job, index); i++) {
        const double x = standard_of(&job->standard, job->w[i]) * per_unit;
        const int16_t size = nearest(levels[slot->bits], 1 << (slot->bits - 1), fabs(x));
        slot->codes[i] = (int16_t)(job->w[i] == 0.0f ? 0 : x < 0.0 ? -size : size);
    }
}

static void encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    struct job job = {.slot = slot, .standard = standard_make(w, slot->n_elems), .w = w};
    slot->scales[0] = lowbit_step_size(job.standard.deviation * bound(slot) / (double)slot->qmax);
    each_block(lb, &job, encode_block);
}

/* Reparameterized clipping: the gradient of the bound is q - x/a inside and sign(x)
 * outside, that of x is straight through inside. */
static void backward_block(void *arg, int64_t index) {
    const struct job *job = arg;
    for (int64_t i = index * BLOCK; i < end_of(job, index); i++) {
        const double x = fabs(standard_of(&job->standard, job->w[i]));
        const double through = x < bound(job->slot) ? job->standard.deviation : 0.0;
        job->gw[i] = (float)(through * (double)job->g[i]);
    }
}

/* Times 1 / sqrt(n), as LSQ has it, because the sum runs over all weights. */
static double bound_gradient(const struct job *job) {
    const struct lowbit_weight *slot = job->slot;
    double sum = 0.0;
    for (int64_t i = 0; i < slot->n_elems; i++) {
        const double x = standard_of(&job->standard, job->w[i]) / bound(slot);
        const double q = (double)slot->codes[i] / (double)slot->qmax;
        sum += (double)job->g[i] * (fabs(x) < 1.0 ? q - x : x < 0.0 ? -1.0 : 1.0);
    }
    return job->standard.deviation * sum / sqrt((double)slot->n_elems);
}

static void backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w, const float *g,
                     float *gw) {
    struct job job = {slot, standard_make(w, slot->n_elems), w, g, gw};
    slot->learned[0].gradient += bound_gradient(&job); /* before gw, which may be g */
    each_block(lb, &job, backward_block);
    standard_backward(&job.standard, w, slot->n_elems, gw);
}

static void step(struct lowbit *lb, struct lowbit_weight *slot, double lr) {
    (void)lb;
    learned_step_positive(&slot->learned[0], lr);
}

static const struct lowbit_weight_ops weight_ops = {
    .has_one_width = 1,
    .start = start,
    .encode = encode,
    .backward = backward,
    .step = step,
};

/* ---- the plugin ---- */

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct lowbit *lb = host->alloc(host, sizeof *lb);
    if (!lb) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *lb = (struct lowbit){
        .weight_ops = &weight_ops,
        .edge_weight_ops = &lowbit_weight_minmax,
        .value_ops = &lowbit_value_step,
        .edge_value_ops = &lowbit_value_step,
    };
    pare_status status = lowbit_create(lb, host, given->values);
    if (status == PARE_OK && lb->weight_bits > MOST_BITS && lb->weight_bits != LOWBIT_FLOAT) {
        status = host->fail(host, PARE_E_RANGE,
                            "weight_bits: got %d, wanted 2..%d or 32 (float): more levels are no "
                            "8-bit codes",
                            lb->weight_bits, MOST_BITS);
    }
    if (status < 0) {
        host->free(host, lb);
        return status;
    }
    *instance = lb;
    return PARE_OK;
}

static const pare_method apot = {
    .struct_size = sizeof apot,
    .id = "apot",
    .version = "1.0.0",
    .doc = "trains weights that are sums of powers of two, with a learned bound (APoT)",
    .reference = "Li et al. 2020, arXiv 1909.13144, eq. 5",
    .params = params,
    .n_params = N_PARAMS,
    LOWBIT_ASPECTS,
    .create = create,
    .destroy = lowbit_destroy,
    .apply = lowbit_apply,
    .get_extension = lowbit_get_extension,
};

static const pare_method *const methods[] = {&apot};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "apot", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
