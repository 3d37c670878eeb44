/* SPDX-License-Identifier: MIT */
#include "experiment/arm_internal.h"

#include "core/alloc.h"
#include "measure/machine.h"
#include "measure/machine_watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pare_status arm_scenario(const char *scenario, int32_t batch, struct error *err,
                         int32_t *samples_per_query) {
    enum { MULTI_SAMPLES = 8 };
    if (strcmp(scenario, "single") == 0 && batch != 1)
        return error_set(
            err, PARE_E_ARG,
            "scenario single is one sample per query, and batch is %d: wanted batch 1, "
            "or scenario offline",
            batch);
    if (strcmp(scenario, "multi") == 0 && batch != 1 && batch != MULTI_SAMPLES)
        return error_set(
            err, PARE_E_ARG,
            "scenario multi is %d samples per query, and batch is %d: leave batch out, "
            "or take scenario offline",
            (int)MULTI_SAMPLES, batch);
    if (strcmp(scenario, "single") != 0 && strcmp(scenario, "multi") != 0 &&
        strcmp(scenario, "offline") != 0)
        return error_set(err, PARE_E_ARG, "scenario is \"%s\", wanted single, multi or offline",
                         scenario);
    *samples_per_query = strcmp(scenario, "multi") == 0 ? MULTI_SAMPLES : batch;
    return PARE_OK;
}

int64_t arm_rotation_bytes(enum cache_state cache, const struct topology *topo) {
    int64_t largest = 0;
    for (int level = 1; level <= 3; level++) {
        int64_t bytes = topology_cache_bytes(topo, level);
        largest = bytes > largest ? bytes : largest;
    }
    return cache == CACHE_HOT ? 0 : 2 * (largest > 0 ? largest : INT64_C(32) << 20);
}

static pare_status make_inputs(const struct arm_request *r, struct error *err,
                               struct inputs *inputs) {
    int64_t n_blocks = r->n_images / r->samples_per_query;
    int64_t block = r->samples_per_query * r->subject->input_elems;
    *inputs = (struct inputs){.images = r->images, .n_blocks = n_blocks, .block_elems = block};
    if (r->cache != CACHE_COLD_ALL)
        return PARE_OK;
    int64_t set_bytes = n_blocks * block * (int64_t)sizeof(float);
    int64_t n_sets = (r->rotation_bytes + set_bytes - 1) / set_bytes;
    inputs->store = alloc_array((size_t)(n_sets * n_blocks * block), sizeof(float));
    if (!inputs->store)
        return error_set(err, PARE_E_NOMEM, "out of memory for inputs that fill the caches");
    for (int64_t k = 0; k < n_sets; k++)
        memcpy(inputs->store + k * n_blocks * block, r->images, (size_t)set_bytes);
    inputs->images = inputs->store;
    inputs->n_blocks = n_sets * n_blocks;
    return PARE_OK;
}

const float *arm_inputs(struct querier *q, int64_t i) {
    struct inputs *inputs = q->inputs;
    int64_t block = (inputs->store ? inputs->turn++ : i) % inputs->n_blocks;
    return inputs->images + block * inputs->block_elems;
}

pare_status arm_query(void *context, int64_t i) {
    struct querier *q = context;
    const float *images = arm_inputs(q, i);
    deployment_rotate(q->dep);
    return deployment_run(q->dep, images, q->request->samples_per_query, &q->err, q->output);
}

void arm_warm_inputs(void *context, int64_t i) {
    enum { LINE_ELEMS = 64 / sizeof(float) };
    const struct inputs *inputs = ((struct querier *)context)->inputs;
    const volatile float *block = inputs->images + i % inputs->n_blocks * inputs->block_elems;
    for (int64_t k = 0; k < inputs->block_elems; k += LINE_ELEMS)
        (void)block[k];
}

/* ---- latency ---- */

/* The arms that take turns. The subject comes last but for its double. */
struct turns {
    const struct arm_request *request;
    struct latency_arm arms[3];
    struct latency results[3];
    size_t n, subject;
};

static void pass_sample(void *arg, size_t arm, int64_t i, double ns) {
    const struct turns *turns = arg;
    const struct arm_request *r = turns->request;
    if (r->sample && arm == turns->subject)
        r->sample(r->sample_arg, i, ns);
}

static void record_latency(struct record *rec, const struct latency *lat) {
    static const enum column outliers[N_OUTLIER_CLASSES] = {
        COL_outliers_low_severe, COL_outliers_low_mild, COL_outliers_high_mild,
        COL_outliers_high_severe};
    record_set_int(rec, COL_latency_n, lat->n);
    record_set_int(rec, COL_warmup_n, lat->warmup_n);
    record_set_real(rec, COL_first_ns, lat->first_ns);
    record_set_real(rec, COL_min_ns, lat->min_ns);
    record_set_real(rec, COL_median_ns, lat->median_ns);
    record_set_real(rec, COL_median_ci_lo_ns, lat->median_ci_lo_ns);
    record_set_real(rec, COL_median_ci_hi_ns, lat->median_ci_hi_ns);
    record_set_real(rec, COL_p90_ns, lat->p90_ns);
    record_set_real(rec, COL_p95_ns, lat->p95_ns);
    record_set_real(rec, COL_p99_ns, lat->p99_ns);
    record_set_real(rec, COL_mad_ns, lat->mad_ns);
    record_set_real(rec, COL_mean_ns, lat->mean_ns);
    record_set_real(rec, COL_cv, lat->cv);
    record_set_int(rec, COL_outliers, lat->outliers);
    for (int k = 0; k < N_OUTLIER_CLASSES && lat->outliers_of[0] >= 0; k++)
        record_set_int(rec, outliers[k], lat->outliers_of[k]);
    record_set_real(rec, COL_throughput_ips, lat->throughput_ips);
    record_set_real(rec, COL_ratio, lat->ratio);
    record_set_real(rec, COL_ratio_ci_lo, lat->ratio_ci_lo);
    record_set_real(rec, COL_ratio_ci_hi, lat->ratio_ci_hi);
    record_set(rec, COL_stop_rule, lat->stop_rule);
    record_set_int(rec, COL_queries_per_sample, lat->queries_per_sample);
    record_set_int(rec, COL_rounds, lat->n_rounds);
    record_set_int(rec, COL_blocks_disturbed, lat->blocks_disturbed);
}

static void record_control(struct record *rec, const struct latency *control) {
    record_set_real(rec, COL_aa_ratio, control->ratio);
    record_set_real(rec, COL_aa_ratio_ci_lo, control->ratio_ci_lo);
    record_set_real(rec, COL_aa_ratio_ci_hi, control->ratio_ci_hi);
}

/* The peak belongs to the arithmetic that was used: int8 where anything ran on integers. */
static void record_peak(struct record *rec, const struct arm_request *r, double median_ns) {
    int integer = strcmp(r->subject->info->execution, "float") != 0;
    double peak = machine_peak_macs(integer) * r->threads;
    double reached = (double)r->macs_dense * r->samples_per_query / (median_ns * 1e-9);
    record_set(rec, COL_peak_kind, integer ? "int8" : "fp32");
    record_set_real(rec, COL_peak_gmacs, peak * 1e-9);
    record_set_real(rec, COL_fraction_of_peak, reached / peak);
}

static void record_disturbance(struct record *rec, const struct machine_state *before,
                               const struct machine_state *after,
                               const struct machine_watch *watch) {
    if (before->freq_khz > 0)
        record_set_int(rec, COL_freq_khz_before, before->freq_khz);
    if (after->freq_khz > 0)
        record_set_int(rec, COL_freq_khz_after, after->freq_khz);
    if (before->load >= 0)
        record_set_real(rec, COL_load, before->load);
    record_set_real(rec, COL_temperature_c, after->temperature_c);
    int64_t steal = before->steal_ticks < 0 || after->steal_ticks < 0
                        ? -1
                        : after->steal_ticks - before->steal_ticks;
    if (steal >= 0)
        record_set_int(rec, COL_steal_ticks, steal);
    char text[192];
    machine_watch_text(watch, text, sizeof text);
    double slower = before->freq_khz > 0 ? (double)after->freq_khz / (double)before->freq_khz : 1;
    if (after->freq_khz > 0 && fabs(slower - 1) > 0.05) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%sfrequency changed by %+.0f %% from begin to end",
                 n ? "; " : "", 100 * (slower - 1));
    }
    record_set(rec, COL_disturbed, text);
}

static void add_turn(struct turns *turns, struct querier *querier, size_t against) {
    turns->arms[turns->n++] = (struct latency_arm){
        .context = querier,
        .query = arm_query,
        .samples_per_query = turns->request->samples_per_query,
        .against = against,
        .prepare = turns->request->cache == CACHE_COLD_WEIGHTS ? arm_warm_inputs : NULL,
    };
}

/* The message of the query that failed says more than the status that stopped the timing. */
static pare_status timing_failed(const struct turns *turns, struct error *err) {
    for (size_t k = 0; k < turns->n; k++) {
        const struct querier *querier = turns->arms[k].context;
        if (querier->err.status != PARE_OK) {
            *err = querier->err;
            break;
        }
    }
    return error_prefix(err, "timing");
}

static pare_status measure_latency(const struct arm_request *r, struct querier *subject,
                                   struct querier *baseline, struct querier *control,
                                   struct error *err, struct record *rec) {
    struct turns turns = {.request = r};
    if (baseline)
        add_turn(&turns, baseline, 0);
    turns.subject = turns.n;
    add_turn(&turns, subject, 0);
    if (control)
        add_turn(&turns, control, turns.subject);
    struct latency_options options;
    latency_profile_options(r->profile, &options);
    struct machine_watch watch;
    machine_watch_start(&watch);
    options.watch = machine_watch_look;
    options.watch_arg = &watch;
    struct machine_state before, after;
    machine_read_state(&before);
    pare_status status = latency_measure(turns.arms, turns.n, &options, r->seed, pass_sample,
                                         &turns, err, turns.results);
    machine_read_state(&after);
    if (status != PARE_OK)
        return timing_failed(&turns, err);
    record_latency(rec, &turns.results[turns.subject]);
    if (control)
        record_control(rec, &turns.results[turns.subject + 1]);
    record_peak(rec, r, turns.results[turns.subject].median_ns);
    record_disturbance(rec, &before, &after, &watch);
    return PARE_OK;
}

pare_status arm_measure(const struct arm_request *r, struct error *err, struct record *rec) {
    if (r->n_images < r->samples_per_query)
        return error_set(err, PARE_E_RANGE, "a query takes %d images, and there are %lld",
                         r->samples_per_query, (long long)r->n_images);
    size_t n_outputs = (size_t)r->samples_per_query * (size_t)r->subject->n_outputs;
    float *output = alloc_array(n_outputs, sizeof *output);
    if (!output)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    struct inputs inputs = {0};
    struct querier subject = {.dep = r->subject, .request = r, .inputs = &inputs, .output = output};
    struct querier baseline = subject, control = subject;
    baseline.dep = r->baseline;
    control.dep = r->control;
    record_set(rec, COL_cache_state, experiment_cache_name(r->cache));
    record_set_int(rec, COL_samples_per_query, r->samples_per_query);
    pare_status status = make_inputs(r, err, &inputs);
    if (status == PARE_OK)
        status = measure_latency(r, &subject, r->baseline ? &baseline : NULL,
                                 r->control ? &control : NULL, err, rec);
    if (status == PARE_OK)
        status = arm_count(&subject, err, rec);
    if (status == PARE_OK)
        status = arm_profile(&subject, err, rec);
    free(inputs.store);
    free(output);
    return status;
}
