/* SPDX-License-Identifier: MIT */
/* Learned step sizes: Esser et al. 2020, arXiv 1902.08153 (LSQ); with learned offsets of values
 * Bhalgat et al. 2020, arXiv 2004.09576 (LSQ+). */
#include "lowbit.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { P_OFFSET = LOWBIT_N_PARAMS, P_GRANULARITY, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    LOWBIT_PARAMS,
    [P_OFFSET] = {"offset", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                  "LSQ+: values that can be negative have a learned offset, too"},
    [P_GRANULARITY] = {"weight_granularity", PARE_PARAM_STRING, "", 0, 0, "tensor|channel",
                       "tensor",
                       "one learned step size per weight tensor, as in the papers, or per output "
                       "channel"},
};

struct lsq {
    struct lowbit base; /* first */
    int has_offset;
};

/* A step size as float, normal and positive. */
static float step_size(double value) {
    return value >= (double)FLT_MIN || !(value == value) ? (float)value : FLT_MIN;
}

/* ---- weights ---- */

/* s = 2 E|w| / sqrt(Q_p) (Esser et al., section 2.1), over the weights that are not pruned. A
 * tensor of zeros has any scale. */
static double first_step_size(const float *w, int64_t n, int32_t qmax) {
    double sum = 0.0;
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs((double)w[i]);
        n_kept += w[i] != 0.0f;
    }
    return sum > 0.0 ? 2.0 * sum / (double)n_kept / sqrt((double)qmax) : 1.0;
}

static void weight_start(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    const int64_t n = slot->n_elems / slot->n_scales;
    (void)lb;
    slot->qmax = (1 << (slot->bits - 1)) - 1;
    slot->stored_bits = slot->bits;
    for (int32_t c = 0; c < slot->n_scales; c++) {
        slot->learned[c] = learned_at(first_step_size(w + c * n, n, slot->qmax));
    }
}

static struct fake_grid weight_grid(const struct lowbit_weight *slot, int32_t channel) {
    return (struct fake_grid){slot->scales[channel], (float)-slot->qmax, (float)slot->qmax};
}

static void weight_encode(struct lowbit *lb, struct lowbit_weight *slot, const float *w) {
    const int64_t n = slot->n_elems / slot->n_scales;
    for (int32_t c = 0; c < slot->n_scales; c++) {
        slot->scales[c] = step_size(slot->learned[c].value);
        const struct fake_grid grid = weight_grid(slot, c);
        fake_encode(lb->host, &grid, w + c * n, slot->codes + c * n, n);
    }
}

/* Equation 3: ds = rne(w/s) - w/s inside, -Q_n or Q_p outside; times 1 / sqrt(N Q_p) (section 2.2).
 */
static double step_gradient(const struct fake_sums *sums, double lo, double hi, double n,
                            double qmax) {
    return (sums->inside + lo * sums->low + hi * sums->high) / sqrt(n * qmax);
}

static void weight_backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                            const float *g, float *gw) {
    const int64_t n = slot->n_elems / slot->n_scales;
    const double qmax = (double)slot->qmax;
    for (int32_t c = 0; c < slot->n_scales; c++) {
        const struct fake_grid grid = weight_grid(slot, c);
        const struct fake_sums sums =
            fake_backward(lb->host, &grid, w + c * n, g + c * n, gw + c * n, n);
        slot->learned[c].gradient += step_gradient(&sums, -qmax, qmax, (double)n, qmax);
    }
}

static void weight_step(struct lowbit *lb, struct lowbit_weight *slot, double lr) {
    (void)lb;
    for (int32_t c = 0; c < slot->n_scales; c++) {
        learned_step_positive(&slot->learned[c], lr);
    }
}

static const struct lowbit_weight_ops weight_ops = {
    .start = weight_start,
    .encode = weight_encode,
    .backward = weight_backward,
    .step = weight_step,
};

/* ---- values ---- */

static int has_offset(const struct lowbit *lb, const struct lowbit_value *slot) {
    return slot->is_signed && ((const struct lsq *)(const void *)lb)->has_offset;
}

/* Q_n and Q_p as codes: unsigned for values that are never negative, and with an offset. */
static void bounds(const struct lowbit *lb, const struct lowbit_value *slot, int32_t *lo,
                   int32_t *hi) {
    const int32_t levels = 1 << slot->bits;
    *lo = slot->is_signed && !has_offset(lb, slot) ? -levels / 2 : 0;
    *hi = *lo + levels - 1;
}

/* LSQ as for weights; LSQ+ covers what is seen: s = (max - min) / (Q_p - Q_n), beta = min - Q_n s.
 */
static void value_start(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_stats *stats, int64_t n) {
    int32_t lo, hi;
    bounds(lb, slot, &lo, &hi);
    const double mean = stats->abs_sum / (double)n;
    slot->scale = learned_at(2.0 * mean / sqrt((double)hi));
    slot->offset = learned_at(0.0);
    if (has_offset(lb, slot)) {
        const double min = fmin((double)stats->min, 0.0);
        const double max = fmax((double)stats->max, 0.0);
        slot->scale = learned_at((max - min) / (double)(hi - lo));
        slot->offset = learned_at(min);
    }
}

/* The offset is a whole number of steps, so that it is a zero point, and leaves 0 on the grid. */
static struct grid value_grid(const struct lowbit *lb, const struct lowbit_value *slot) {
    int32_t lo, hi;
    bounds(lb, slot, &lo, &hi);
    const float scale = step_size(slot->scale.value);
    const double steps = rint(slot->offset.value / (double)scale);
    const int32_t shift = (int32_t)fmin(fmax(steps, (double)-hi), (double)-lo);
    const int32_t qmin = -(1 << (slot->bits - 1));
    return (struct grid){scale, qmin - lo - (has_offset(lb, slot) ? shift : 0), qmin,
                         qmin + hi - lo};
}

/* Bhalgat & al., equations 5 and 6; without offset they are those of LSQ. */
static void value_learn(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_sums *sums) {
    int32_t lo, hi;
    bounds(lb, slot, &lo, &hi);
    const double n = (double)slot->n_features;
    slot->scale.gradient += step_gradient(sums, (double)lo, (double)hi, n, (double)hi);
    if (has_offset(lb, slot)) {
        slot->offset.gradient += (sums->low + sums->high) / sqrt(n * (double)hi);
    }
}

static void value_step(struct lowbit *lb, struct lowbit_value *slot, double lr) {
    learned_step_positive(&slot->scale, lr);
    if (has_offset(lb, slot)) {
        learned_step(&slot->offset, lr);
    }
}

static const struct lowbit_value_ops value_ops = {
    .start = value_start,
    .grid = value_grid,
    .learn = value_learn,
    .step = value_step,
};

/* ---- the plugin ---- */

static void destroy(void *instance) {
    struct lsq *m = instance;
    if (m) {
        const pare_host *host = m->base.host;
        lowbit_clear(&m->base);
        host->free(host, m);
    }
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct lsq *m = host->alloc(host, sizeof *m);
    if (!m) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *m = (struct lsq){
        .base = {.weight_ops = &weight_ops,
                 .edge_weight_ops = &weight_ops,
                 .value_ops = &value_ops,
                 .edge_value_ops = &value_ops,
                 .is_per_channel = strcmp(v[P_GRANULARITY]->s, "channel") == 0},
        .has_offset = v[P_OFFSET]->i != 0,
    };
    pare_status status = lowbit_create(&m->base, host, v);
    if (status < 0) {
        host->free(host, m);
        return status;
    }
    *instance = m;
    return PARE_OK;
}

static const pare_method lsq = {
    .struct_size = sizeof lsq,
    .id = "lsq",
    .version = "1.0.0",
    .doc = "learns the step sizes of weights and activations (LSQ), and offsets (LSQ+), while the "
           "network trains at 2..8 bits",
    .reference = "Esser et al. 2020, arXiv 1902.08153; Bhalgat et al. 2020, arXiv 2004.09576",
    .params = params,
    .n_params = N_PARAMS,
    LOWBIT_ASPECTS,
    .create = create,
    .destroy = destroy,
    .apply = lowbit_apply,
    .get_extension = lowbit_get_extension,
};

static const pare_method *const methods[] = {&lsq};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "lsq",  .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
