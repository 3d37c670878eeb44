/* SPDX-License-Identifier: MIT */
/* Names for sets of events, and what is worked out from several events. */
#include "measure/counters.h"

#include "core/alloc.h"

#include <stdlib.h>
#include <string.h>

static const struct counter_group groups[] = {
    {"ipc", "cycles and instructions", {"PAPI_TOT_CYC", "PAPI_TOT_INS"}},
    {"cache",
     "misses of each level",
     {"PAPI_L1_DCM", "PAPI_L1_ICM", "PAPI_L2_TCM", "PAPI_L3_TCM", "PAPI_TOT_INS"}},
    {"branch", "branches and mispredictions", {"PAPI_BR_INS", "PAPI_BR_MSP", "PAPI_TOT_INS"}},
    {"tlb", "misses of address translation", {"PAPI_TLB_DM", "PAPI_TLB_IM", "PAPI_TOT_INS"}},
    {"stall", "cycles in which nothing was done", {"PAPI_RES_STL", "PAPI_STL_ICY", "PAPI_TOT_CYC"}},
    {"model",
     "what the backend says it did",
     {"sde:::pare::MACS", "sde:::pare::WEIGHT_BYTES", "sde:::pare::KERNEL_CALLS",
      "sde:::pare::FALLBACK_OPS"}},
    {"kernel",
     "the operating system's share",
     {"page_faults", "context_switches", "migrations", "task_clock_ns"}},
};

const struct counter_group *counters_groups(size_t *n) {
    *n = sizeof groups / sizeof *groups;
    return groups;
}

static const struct counter_group *find_group(const char *name) {
    for (size_t k = 0; k < sizeof groups / sizeof *groups; k++) {
        if (strcmp(groups[k].name, name) == 0)
            return &groups[k];
    }
    return NULL;
}

static void add_once(const char **events, size_t *n, const char *event) {
    for (size_t k = 0; k < *n; k++) {
        if (strcmp(events[k], event) == 0)
            return;
    }
    events[(*n)++] = event;
}

pare_status counters_expand(const char *const *names, size_t n_names, struct error *err,
                            const char ***events, size_t *n_events) {
    const char **list = alloc_array(n_names * COUNTER_GROUP_EVENTS + 1, sizeof *list);
    size_t n = 0;
    if (list == NULL)
        return error_set(err, PARE_E_NOMEM, "counters: out of memory");
    for (size_t k = 0; k < n_names; k++) {
        const struct counter_group *group = find_group(names[k]);
        if (group == NULL)
            add_once(list, &n, names[k]);
        for (size_t i = 0; group && i < COUNTER_GROUP_EVENTS && group->events[i]; i++)
            add_once(list, &n, group->events[i]);
    }
    *events = list;
    *n_events = n;
    return PARE_OK;
}

static const struct counter_metric metrics[] = {
    {"ipc", "PAPI_TOT_INS", 1, "PAPI_TOT_CYC"},
    {"l1d_mpki", "PAPI_L1_DCM", 1000, "PAPI_TOT_INS"},
    {"l2_mpki", "PAPI_L2_TCM", 1000, "PAPI_TOT_INS"},
    {"llc_mpki", "PAPI_L3_TCM", 1000, "PAPI_TOT_INS"},
    {"branch_mpki", "PAPI_BR_MSP", 1000, "PAPI_TOT_INS"},
    {"bytes_per_mac", "sde:::pare::WEIGHT_BYTES", 1, "sde:::pare::MACS"},
    {"macs_per_cycle", "sde:::pare::MACS", 1, "PAPI_TOT_CYC"},
    {"llc_misses_per_kilo_mac", "PAPI_L3_TCM", 1000, "sde:::pare::MACS"},
    {"l1i_mpki", "PAPI_L1_ICM", 1000, "PAPI_TOT_INS"},
    {"dtlb_mpki", "PAPI_TLB_DM", 1000, "PAPI_TOT_INS"},
    {"itlb_mpki", "PAPI_TLB_IM", 1000, "PAPI_TOT_INS"},
    {"branch_miss_share", "PAPI_BR_MSP", 1, "PAPI_BR_INS"},
    {"stall_share", "PAPI_RES_STL", 1, "PAPI_TOT_CYC"},
};

const struct counter_metric *counters_metrics(size_t *n) {
    *n = sizeof metrics / sizeof *metrics;
    return metrics;
}

int counters_metric(const struct counters *set, const struct counter_metric *metric,
                    double *value) {
    int64_t above, below;
    if (!counters_value_of(set, metric->numerator, &above) ||
        !counters_value_of(set, metric->denominator, &below) || below <= 0)
        return 0;
    *value = metric->scale * (double)above / (double)below;
    return 1;
}
