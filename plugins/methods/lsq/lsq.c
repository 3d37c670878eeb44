/* SPDX-License-Identifier: MIT */
/* Learned step sizes: Esser et al. 2020, arXiv 1902.08153 (LSQ); with learned offsets of values
 * Bhalgat et al. 2020, arXiv 2004.09576 (LSQ+). */
#include "lowbit_step.h"

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
        slot->scales[c] = lowbit_step_size(slot->learned[c].value);
        const struct fake_grid grid = weight_grid(slot, c);
        fake_encode(lb->host, &grid, w + c * n, slot->codes + c * n, n);
    }
}

static void weight_backward(struct lowbit *lb, struct lowbit_weight *slot, const float *w,
                            const float *g, float *gw) {
    const int64_t n = slot->n_elems / slot->n_scales;
    const double qmax = (double)slot->qmax;
    for (int32_t c = 0; c < slot->n_scales; c++) {
        const struct fake_grid grid = weight_grid(slot, c);
        const struct fake_sums sums =
            fake_backward(lb->host, &grid, w + c * n, g + c * n, gw + c * n, n);
        slot->learned[c].gradient += lowbit_step_gradient(&sums, -qmax, qmax, (double)n, qmax);
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

/* ---- the plugin ---- */

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct lowbit *lb = host->alloc(host, sizeof *lb);
    if (!lb) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *lb = (struct lowbit){
        .weight_ops = &weight_ops,
        .edge_weight_ops = &weight_ops,
        .value_ops = &lowbit_value_step,
        .edge_value_ops = &lowbit_value_step,
        .is_per_channel = strcmp(v[P_GRANULARITY]->s, "channel") == 0,
        .has_offset = v[P_OFFSET]->i != 0,
    };
    pare_status status = lowbit_create(lb, host, v);
    if (status < 0) {
        host->free(host, lb);
        return status;
    }
    *instance = lb;
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
    .destroy = lowbit_destroy,
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
