/* SPDX-License-Identifier: MIT */
/* Counting what an arm's queries do: events, what follows from them, and energy. Never while
 * timing. */
#include "core/alloc.h"
#include "core/progress.h"
#include "experiment/arm_internal.h"
#include "measure/counters.h"
#include "measure/energy.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNTED_QUERIES = 20 };

/* Events that are always tried, because they have a column. */
static const struct {
    const char *event;
    enum column col;
} counted_columns[] = {
    {"PAPI_TOT_CYC", COL_cycles},
    {"PAPI_TOT_INS", COL_instructions},
    {"PAPI_L1_DCM", COL_l1d_misses},
    {"PAPI_L2_TCM", COL_l2_misses},
    {"PAPI_L3_TCM", COL_llc_misses},
    {"PAPI_BR_MSP", COL_branch_misses},
    {"page_faults", COL_page_faults},
    {"context_switches", COL_context_switches},
    {"sde:::pare::MACS", COL_macs_executed},
    {"sde:::pare::WEIGHT_BYTES", COL_weight_bytes_read},
    {"sde:::pare::KERNEL_CALLS", COL_kernel_calls},
    {"migrations", COL_migrations},
    {"task_clock_ns", COL_task_clock},
};
enum { N_COUNTED = sizeof counted_columns / sizeof *counted_columns };

/* Metrics that have a column; others go to counters_json. */
static const struct {
    const char *metric;
    enum column col;
} metric_columns[] = {
    {"ipc", COL_ipc},
    {"l1d_mpki", COL_l1d_mpki},
    {"l2_mpki", COL_l2_mpki},
    {"llc_mpki", COL_llc_mpki},
    {"branch_mpki", COL_branch_mpki},
    {"bytes_per_mac", COL_bytes_per_mac},
    {"macs_per_cycle", COL_macs_per_cycle},
};

static pare_status count_pass(struct counters *set, size_t pass, struct querier *q,
                              struct error *err) {
    const struct deployment *dep = q->dep;
    int64_t samples = q->request->samples_per_query;
    int64_t runs = (samples + dep->max_batch - 1) / dep->max_batch;
    if (counters_start(set, pass, err) != PARE_OK)
        return err->status;
    pare_status status = PARE_OK;
    for (int64_t i = 0; i < COUNTED_QUERIES && status == PARE_OK; i++) {
        status = arm_query(q, i);
        counters_sde_add(set, SDE_MACS, dep->macs * samples);
        counters_sde_add(set, SDE_WEIGHT_BYTES, dep->weight_bytes * runs);
        counters_sde_add(set, SDE_KERNEL_CALLS, dep->info->n_kernels * runs);
        counters_sde_add(set, SDE_FALLBACK_OPS, dep->n_fallback * runs);
    }
    struct error stop_err;
    pare_status stopped = counters_stop(set, pass, &stop_err);
    if (status != PARE_OK) {
        *err = q->err;
        return status;
    }
    if (stopped != PARE_OK)
        *err = stop_err;
    return stopped;
}

/* ---- recording ---- */

static void record_events(struct record *rec, struct counters *set, const char *const *events,
                          size_t n_events, double n_samples, json_t *others) {
    for (size_t k = 0; k < n_events; k++) {
        int64_t value;
        const char *reason;
        if (!counters_value(set, k, &value, &reason))
            continue;
        double mean = (double)value / n_samples;
        if (k < N_COUNTED)
            record_set_real(rec, counted_columns[k].col, mean);
        else
            json_object_set_new(others, events[k], json_real(mean));
    }
}

static void record_metrics(struct record *rec, struct counters *set, json_t *others) {
    enum { N_COLUMNS_OF = sizeof metric_columns / sizeof *metric_columns };
    size_t n;
    const struct counter_metric *metrics = counters_metrics(&n);
    for (size_t k = 0; k < n; k++) {
        double value;
        size_t c = 0;
        if (!counters_metric(set, &metrics[k], &value))
            continue;
        while (c < N_COLUMNS_OF && strcmp(metric_columns[c].metric, metrics[k].name) != 0)
            c++;
        if (c < N_COLUMNS_OF)
            record_set_real(rec, metric_columns[c].col, value);
        else
            json_object_set_new(others, metrics[k].name, json_real(value));
    }
}

static void record_counters(struct record *rec, struct counters *set, const char *const *events,
                            size_t n_events, double n_samples) {
    json_t *others = json_object();
    int64_t enabled_ns, running_ns;
    record_events(rec, set, events, n_events, n_samples, others);
    record_metrics(rec, set, others);
    if (json_object_size(others) > 0) {
        char *text = json_dumps(others, JSON_COMPACT);
        record_set(rec, COL_counters_json, text ? text : "");
        free(text);
    }
    json_decref(others);
    if (counters_times(set, &enabled_ns, &running_ns)) {
        record_set_int(rec, COL_counters_enabled_ns, enabled_ns);
        record_set_int(rec, COL_counters_running_ns, running_ns);
    }
    record_set(rec, COL_counters_status, counters_status(set));
    record_set_int(rec, COL_counters_samples, (int64_t)n_samples);
}

static int has_column(const char *event) {
    for (size_t k = 0; k < N_COUNTED; k++) {
        if (strcmp(event, counted_columns[k].event) == 0)
            return 1;
    }
    return 0;
}

/* Those with a column, then what was asked for beside them. */
static pare_status list_events(const struct arm_request *r, struct error *err, const char ***events,
                               size_t *n_events) {
    const char **asked = NULL;
    size_t n_asked = 0, n = 0;
    if (counters_expand(r->events, r->n_events, err, &asked, &n_asked) != PARE_OK)
        return err->status;
    const char **list = alloc_array(N_COUNTED + n_asked, sizeof *list);
    if (!list) {
        free(asked);
        return error_set(err, PARE_E_NOMEM, "out of memory");
    }
    for (size_t k = 0; k < N_COUNTED; k++)
        list[n++] = counted_columns[k].event;
    for (size_t k = 0; k < n_asked; k++) {
        if (!has_column(asked[k]))
            list[n++] = asked[k];
    }
    free(asked);
    *events = list;
    *n_events = n;
    return PARE_OK;
}

static pare_status count_events(struct querier *subject, struct error *err, struct record *rec) {
    const struct arm_request *r = subject->request;
    const char **events = NULL;
    size_t n = 0;
    struct counters *set = NULL;
    pare_status status = list_events(r, err, &events, &n);
    if (status == PARE_OK)
        status = counters_open(events, n, err, &set);
    for (size_t pass = 0; status == PARE_OK && pass < counters_n_passes(set); pass++)
        status = count_pass(set, pass, subject, err);
    if (status == PARE_OK)
        record_counters(rec, set, events, n, (double)COUNTED_QUERIES * r->samples_per_query);
    counters_close(set);
    free(events);
    return status;
}

/* ---- energy ---- */

/* For as long as the shortest timing takes, at most a second. */
static pare_status run_for_energy(struct querier *q, struct energy *meter, int64_t *n_queries,
                                  int64_t *microjoules, char *why, size_t why_size) {
    struct latency_options options;
    latency_profile_options(q->request->profile, &options);
    int64_t limit_ns = options.min_duration_ns < 1000000000 ? options.min_duration_ns : 1000000000;
    pare_status status = PARE_OK;
    *microjoules = -1;
    *n_queries = 0;
    if (!energy_start(meter, why, why_size))
        return PARE_OK;
    int64_t begin_ns = clock_ns();
    do {
        status = arm_query(q, *n_queries);
        ++*n_queries;
    } while (status == PARE_OK && clock_ns() - begin_ns < limit_ns);
    if (!energy_stop(meter, microjoules, why, why_size))
        *microjoules = -1;
    return status;
}

/* "ok" and "energy_uj: why" give the latter; any other status is kept before it. */
static pare_status note_missing_energy(struct record *rec, const char *why, struct error *err) {
    const char *status = record_get(rec, COL_counters_status);
    char *text = strcmp(status, "ok") == 0 ? alloc_printf("energy_uj: %s", why)
                                           : alloc_printf("%s; energy_uj: %s", status, why);
    if (!text)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    record_set(rec, COL_counters_status, text);
    free(text);
    return PARE_OK;
}

static pare_status measure_energy(struct querier *q, struct error *err, struct record *rec) {
    char why[512] = "";
    int64_t microjoules = -1, n_queries = 0;
    struct energy *meter = energy_open(why, sizeof why);
    pare_status status = PARE_OK;
    if (meter)
        status = run_for_energy(q, meter, &n_queries, &microjoules, why, sizeof why);
    if (status != PARE_OK)
        *err = q->err;
    if (status == PARE_OK && microjoules >= 0) {
        double n_samples = (double)n_queries * q->request->samples_per_query;
        record_set_real(rec, COL_energy_uj, (double)microjoules / n_samples);
        record_set(rec, COL_energy_method, energy_method(meter));
    } else if (status == PARE_OK) {
        status = note_missing_energy(rec, why, err);
    }
    energy_close(meter);
    return status;
}

pare_status arm_count(struct querier *subject, struct error *err, struct record *rec) {
    if (count_events(subject, err, rec) != PARE_OK || measure_energy(subject, err, rec) != PARE_OK)
        return error_prefix(err, "counters");
    double median_ns = strtod(record_get(rec, COL_median_ns), NULL);
    if (median_ns > 0)
        record_set_real(rec, COL_gmacs,
                        (double)subject->dep->macs * subject->request->samples_per_query /
                            median_ns);
    return PARE_OK;
}
