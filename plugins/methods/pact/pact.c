/* SPDX-License-Identifier: MIT */
/* PACT: values clipped at a learned bound, Choi et al. 2018, arXiv 1805.06085; weights as
 * DoReFa-Net's. */
#include "lowbit_minmax.h"
#include "lowbit_tanh.h"

#include <math.h>

enum { P_ALPHA = LOWBIT_N_PARAMS, P_DECAY, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    LOWBIT_PARAMS,
    [P_ALPHA] = {"alpha", PARE_PARAM_FLOAT, "", 0, 1e6, NULL, "0",
                 "bound that values begin with; the paper's is 10; 0: the largest magnitude of the "
                 "first batch"},
    [P_DECAY] = {"alpha_decay", PARE_PARAM_FLOAT, "", 0, 1, NULL, "0.0005",
                 "L2 penalty on the bounds"},
};

struct pact {
    struct lowbit base; /* first */
    double alpha, decay;
};

static void value_start(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_stats *stats, int64_t n) {
    const double alpha = ((const struct pact *)(const void *)lb)->alpha;
    const double largest = fmax(fabs((double)stats->min), fabs((double)stats->max));
    (void)n;
    slot->scale = learned_at(alpha > 0.0 ? alpha : largest);
}

/* y = rne(clip(x, 0, a) (2^k - 1) / a) a / (2^k - 1), eq. 1 and 2; where x can be negative, [-a,
 * a]. */
static struct grid value_grid(const struct lowbit *lb, const struct lowbit_value *slot) {
    const double a = slot->scale.value;
    (void)lb;
    return slot->is_signed ? grid_symmetric(-a, a, slot->bits) : grid_affine(0.0, a, slot->bits);
}

/* Eq. 3: dy/da = 1 where x >= a, 0 elsewhere; and -1 where x <= -a. */
static void value_learn(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_sums *sums) {
    (void)lb;
    slot->scale.gradient += sums->high - (slot->is_signed ? sums->low : 0.0);
}

static void value_step(struct lowbit *lb, struct lowbit_value *slot, double lr) {
    slot->scale.gradient += ((const struct pact *)(const void *)lb)->decay * slot->scale.value;
    learned_step_positive(&slot->scale, lr);
}

static const struct lowbit_value_ops value_ops = {
    .start = value_start,
    .grid = value_grid,
    .learn = value_learn,
    .step = value_step,
};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct pact *m = host->alloc(host, sizeof *m);
    if (!m) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *m = (struct pact){
        .base = {.weight_ops = &lowbit_weight_tanh,
                 .edge_weight_ops = &lowbit_weight_minmax,
                 .value_ops = &value_ops,
                 .edge_value_ops = &lowbit_value_average},
        .alpha = v[P_ALPHA]->f,
        .decay = v[P_DECAY]->f,
    };
    pare_status status = lowbit_create(&m->base, host, v);
    if (status == PARE_OK) {
        status = lowbit_tanh_check(host, m->base.weight_bits);
    }
    if (status < 0) {
        host->free(host, m);
        return status;
    }
    *instance = m;
    return PARE_OK;
}

static const pare_method pact = {
    .struct_size = sizeof pact,
    .id = "pact",
    .version = "1.0.0",
    .doc = "learns the bounds at which values are clipped (PACT); weights of 2^b levels by tanh",
    .reference = "Choi et al. 2018, arXiv 1805.06085, eq. 1 to 3",
    .params = params,
    .n_params = N_PARAMS,
    LOWBIT_ASPECTS,
    .create = create,
    .destroy = lowbit_destroy,
    .apply = lowbit_apply,
    .get_extension = lowbit_get_extension,
};

static const pare_method *const methods[] = {&pact};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "pact", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
