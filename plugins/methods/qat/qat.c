/* SPDX-License-Identifier: MIT */
/* Quantization-aware training with ranges by minimum and maximum: Jacob et al. 2018, arXiv
 * 1712.05877, section 3. */
#include "lowbit_minmax.h"

#include <string.h>

enum { P_OBSERVER = LOWBIT_N_PARAMS, P_MOMENTUM, P_DELAY, P_GRANULARITY, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    LOWBIT_PARAMS,
    [P_OBSERVER] = {"observer", PARE_PARAM_STRING, "", 0, 0, "moving_average|minmax",
                    "moving_average",
                    "range of an activation: of the batches' extremes an average, or all of them"},
    [P_MOMENTUM] = {"momentum_observer", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.99",
                    "observer moving_average: weight of the past against one batch; below 1"},
    [P_DELAY] = {"delay", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0",
                 "part of the training in which activations stay float while they are observed"},
    [P_GRANULARITY] = {"weight_granularity", PARE_PARAM_STRING, "", 0, 0, "channel|tensor",
                       "channel", "one weight scale per output channel, or per tensor"},
};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    const int is_average = strcmp(v[P_OBSERVER]->s, "moving_average") == 0;
    if (v[P_MOMENTUM]->f >= 1.0) {
        return host->fail(host, PARE_E_RANGE, "momentum_observer: got %g, wanted less than 1",
                          v[P_MOMENTUM]->f);
    }
    struct lowbit *lb = host->alloc(host, sizeof *lb);
    if (!lb) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *lb = (struct lowbit){
        .weight_ops = &lowbit_weight_minmax,
        .edge_weight_ops = &lowbit_weight_minmax,
        .value_ops = &lowbit_value_average,
        .edge_value_ops = &lowbit_value_average,
        .is_per_channel = strcmp(v[P_GRANULARITY]->s, "channel") == 0,
    };
    pare_status status = lowbit_create(lb, host, v);
    if (status < 0) {
        host->free(host, lb);
        return status;
    }
    lb->kept = is_average ? v[P_MOMENTUM]->f : 1.0;
    lb->value_delay = v[P_DELAY]->f;
    *instance = lb;
    return PARE_OK;
}

static const pare_method qat = {
    .struct_size = sizeof qat,
    .id = "qat",
    .version = "1.0.0",
    .doc = "trains with fake quantization at 2..8 bits, ranges by minimum and maximum, gradients "
           "straight through",
    .reference = "Jacob et al. 2018, arXiv 1712.05877, section 3",
    .params = params,
    .n_params = N_PARAMS,
    LOWBIT_ASPECTS,
    .create = create,
    .destroy = lowbit_destroy,
    .apply = lowbit_apply,
    .get_extension = lowbit_get_extension,
};

static const pare_method *const methods[] = {&qat};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "qat",  .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
