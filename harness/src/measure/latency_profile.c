/* SPDX-License-Identifier: MIT */
#include "measure/latency.h"

#include <string.h>

#define MS INT64_C(1000000) /* in ns */

pare_status latency_parse_profile(const char *name, struct error *err, enum latency_profile *out) {
    static const char *const names[] = {"quick", "default", "mlperf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum latency_profile)i;
            return PARE_OK;
        }
    }
    return error_set(err, PARE_E_NOT_FOUND, "profile '%s': wanted quick, default or mlperf", name);
}

void latency_profile_options(enum latency_profile profile, struct latency_options *options) {
    static const struct latency_options profiles[] = {
        [PROFILE_QUICK] = {100 * MS, 1000 * MS, 100, 100000, 3, 10000},
        [PROFILE_DEFAULT] = {1000 * MS, 10000 * MS, 1000, 1000000, 10, 100000},
        [PROFILE_MLPERF] = {600000 * MS, 3600000 * MS, 1024, 10000000, 20, 1000000},
    };
    *options = profiles[profile];
    options->min_rounds = 12;
}
