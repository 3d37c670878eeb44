/* SPDX-License-Identifier: MIT */
/* DoReFa-Net: Zhou et al. 2016, arXiv 1606.06160. Weights by tanh, values clipped at a fixed bound.
 * Gradients stay float. */
#include "lowbit_minmax.h"
#include "lowbit_tanh.h"

#include <math.h>
#include <string.h>

enum { P_CLIP = LOWBIT_N_PARAMS, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    LOWBIT_PARAMS,
    [P_CLIP] = {"clip", PARE_PARAM_FLOAT, "", 0, 1e6, NULL, "0",
                "bound of the values that layers read; the paper's is 1; 0: the largest magnitude "
                "of the first batch"},
};

struct dorefa {
    struct lowbit base; /* first */
    double clip;
};

static void value_start(struct lowbit *lb, struct lowbit_value *slot,
                        const struct fake_stats *stats, int64_t n) {
    const double clip = ((const struct dorefa *)(const void *)lb)->clip;
    const double largest = fmax(fabs((double)stats->min), fabs((double)stats->max));
    (void)n;
    slot->hi = clip > 0.0 ? clip : largest;
}

/* Never negative: [0, clip] and all codes; else [-clip, clip], symmetric. */
static struct grid value_grid(const struct lowbit *lb, const struct lowbit_value *slot) {
    (void)lb;
    return slot->is_signed ? grid_symmetric(-slot->hi, slot->hi, slot->bits)
                           : grid_affine(0.0, slot->hi, slot->bits);
}

static const struct lowbit_value_ops value_ops = {.start = value_start, .grid = value_grid};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct dorefa *m = host->alloc(host, sizeof *m);
    if (!m) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *m = (struct dorefa){
        .base = {.weight_ops = &lowbit_weight_tanh,
                 .edge_weight_ops = &lowbit_weight_minmax,
                 .value_ops = &value_ops,
                 .edge_value_ops = &lowbit_value_average},
        .clip = v[P_CLIP]->f,
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

static const pare_method dorefa = {
    .struct_size = sizeof dorefa,
    .id = "dorefa",
    .version = "1.0.0",
    .doc = "trains weights of 2^b levels by tanh, and values clipped at a fixed bound (DoReFa-Net)",
    .reference = "Zhou et al. 2016, arXiv 1606.06160, eq. 9 and 11",
    .params = params,
    .n_params = N_PARAMS,
    LOWBIT_ASPECTS,
    .create = create,
    .destroy = lowbit_destroy,
    .apply = lowbit_apply,
    .get_extension = lowbit_get_extension,
};

static const pare_method *const methods[] = {&dorefa};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "dorefa", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,   .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
