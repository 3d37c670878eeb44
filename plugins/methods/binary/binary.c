/* SPDX-License-Identifier: MIT */
/* Weights of -1 and 1 with one scale per output channel, trained with one of three estimators;
 * values as they are, rounded, or their signs. */
#include "estimators.h"
#include "lowbit_minmax.h"
#include "signs.h"

#include <string.h>

enum { P_ESTIMATOR = LOWBIT_N_SHARED, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    LOWBIT_SHARED_PARAMS(1, "8", "2..8; 1: their signs"),
    [P_ESTIMATOR] = {"estimator", PARE_PARAM_STRING, "", 0, 0, "xnor|irnet|recu", "xnor",
                     "how weights become signs, and what stands for the gradient of that"},
};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const char *estimator = given->values[P_ESTIMATOR]->s;
    struct lowbit *lb = host->alloc(host, sizeof *lb);
    if (!lb) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *lb = (struct lowbit){
        .weight_ops = strcmp(estimator, "irnet") == 0  ? &binary_irnet
                      : strcmp(estimator, "recu") == 0 ? &binary_recu
                                                       : &binary_xnor,
        .edge_weight_ops = &lowbit_weight_minmax,
        .value_ops =
            given->values[LOWBIT_P_ACTIVATION_BITS]->i == 1 ? &binary_signs : &lowbit_value_average,
        .edge_value_ops = &lowbit_value_average,
        .is_per_channel = 1,
        .weight_bits = 1,
    };
    pare_status status = lowbit_create(lb, host, given->values);
    if (status < 0) {
        host->free(host, lb);
        return status;
    }
    *instance = lb;
    return PARE_OK;
}

static const pare_method binary = {
    .struct_size = sizeof binary,
    .id = "binary",
    .version = "1.0.0",
    .doc = "trains weights of -1 and 1 with a scale per channel (XNOR-Net, IR-Net, ReCU)",
    .reference =
        "Rastegari et al. 2016, arXiv 1603.05279; Qin et al. 2020, arXiv 1909.10788; Xu et "
        "al. 2021, arXiv 2103.12369",
    .params = params,
    .n_params = N_PARAMS,
    LOWBIT_ASPECTS,
    .create = create,
    .destroy = lowbit_destroy,
    .apply = lowbit_apply,
    .get_extension = lowbit_get_extension,
};

static const pare_method *const methods[] = {&binary};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "binary", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,   .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
