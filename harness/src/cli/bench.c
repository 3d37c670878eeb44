/* SPDX-License-Identifier: MIT */
/* pare bench */
#include "cli/cli.h"
#include "core/alloc.h"
#include "experiment/experiment.h"
#include "experiment/precision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The null control, "1.001 [0.998, 1.004]": what a comparison of two such rows cannot tell from
 * nothing. */
static void make_control(const struct record *rec, char text[128]) {
    const char *ratio = record_get(rec, COL_aa_ratio), *lo = record_get(rec, COL_aa_ratio_ci_lo);
    text[0] = '\0';
    if (ratio[0] && lo[0])
        snprintf(text, 128, "%.3f [%.3f, %.3f]", strtod(ratio, NULL), strtod(lo, NULL),
                 strtod(record_get(rec, COL_aa_ratio_ci_hi), NULL));
}

/* The column `pipeline` holds the precision here: that is the pipeline of a benchmark. */
static const struct view_column bench_view[] = {
    {"model", COL_model, NULL, NULL, NULL},
    {"precision", COL_pipeline, NULL, NULL, "precision"},
    {">zeros asked for", COL_sparsity_requested, cli_format_percent, NULL, NULL},
    {"backend", COL_backend, NULL, NULL, NULL},
    {"isa", COL_isa, NULL, NULL, NULL},
    {"execution", COL_execution, NULL, NULL, NULL},
    {">threads", COL_threads, NULL, NULL, NULL},
    {">batch", COL_batch, NULL, NULL, NULL},
    {NULL, COL_scenario, NULL, NULL, NULL},
    {NULL, COL_cache_state, NULL, NULL, NULL},
    {NULL, COL_core_kind, NULL, NULL, NULL},
    {">median", COL_median_ns, cli_format_ns, NULL, NULL},
    {">95 % interval", -1, NULL, cli_make_interval, NULL},
    {NULL, COL_median_ci_lo_ns, NULL, NULL, NULL},
    {NULL, COL_median_ci_hi_ns, NULL, NULL, NULL},
    {">p90", COL_p90_ns, cli_format_ns, NULL, NULL},
    {NULL, COL_p99_ns, NULL, NULL, NULL},
    {NULL, COL_min_ns, NULL, NULL, NULL},
    {NULL, COL_first_ns, NULL, NULL, NULL},
    {NULL, COL_latency_n, NULL, NULL, NULL},
    {NULL, COL_cv, NULL, NULL, NULL},
    {">A/A", -1, NULL, make_control, NULL},
    {NULL, COL_aa_ratio, NULL, NULL, NULL},
    {NULL, COL_aa_ratio_ci_lo, NULL, NULL, NULL},
    {NULL, COL_aa_ratio_ci_hi, NULL, NULL, NULL},
    {">samples/s", COL_throughput_ips, cli_format_short, NULL, NULL},
    {NULL, COL_macs_dense, NULL, NULL, NULL},
    {">peak GMAC/s", COL_peak_gmacs, cli_format_short, NULL, NULL},
    {">of peak", COL_fraction_of_peak, cli_format_percent, NULL, NULL},
    {NULL, COL_bytes_resident, NULL, NULL, NULL},
    {">activations", COL_bytes_activations, cli_format_bytes, NULL, NULL},
    {NULL, COL_kernels, NULL, NULL, NULL},
    {NULL, COL_fallback_ops, NULL, NULL, NULL},
    {NULL, COL_binding, NULL, NULL, NULL},
    {NULL, COL_stop_rule, NULL, NULL, NULL},
    {NULL, COL_disturbed, NULL, NULL, NULL},
    {NULL, COL_counters_status, NULL, NULL, NULL},
    {NULL, COL_cycles, NULL, NULL, NULL},
    {NULL, COL_instructions, NULL, NULL, NULL},
    {NULL, COL_ipc, NULL, NULL, NULL},
    {NULL, COL_macs_executed, NULL, NULL, NULL},
    {NULL, COL_gmacs, NULL, NULL, NULL},
    {NULL, COL_bytes_per_mac, NULL, NULL, NULL},
    {NULL, COL_page_faults, NULL, NULL, NULL},
    {NULL, COL_context_switches, NULL, NULL, NULL},
    {NULL, COL_energy_uj, NULL, NULL, NULL},
    {NULL, COL_energy_method, NULL, NULL, NULL},
    {NULL, COL_counters_json, NULL, NULL, NULL},
    {NULL, COL_layer_times_json, NULL, NULL, NULL},
};

/* "0.9" of --sparsity; 0 where there is none. */
static pare_status read_sparsity(const struct cli *cli, struct error *err,
                                 struct bench_options *options) {
    const char *text = cli_value(cli, "sparsity", NULL);
    char *end = NULL;
    options->sparsity = text ? strtod(text, &end) : 0;
    options->sparsity_pattern = cli_value(cli, "sparsity-pattern", "unstructured");
    if (text && (end == text || *end || !(options->sparsity > 0 && options->sparsity < 1)))
        return error_set(err, PARE_E_ARG,
                         "--sparsity is '%s', wanted a fraction above 0 and below 1, as 0.9", text);
    if (!text && cli_value(cli, "sparsity-pattern", NULL))
        return error_set(err, PARE_E_ARG, "--sparsity-pattern is given without --sparsity");
    return text ? precision_check_prune(options->sparsity, options->sparsity_pattern, err)
                : PARE_OK;
}

static pare_status read_options(const struct cli *cli, struct error *err,
                                struct bench_options *options) {
    int64_t threads, batch, seed;
    *options = (struct bench_options){
        .isa = cli_value(cli, "isa", NULL),
        .precision = cli_value(cli, "precision", "fp32"),
    };
    if (cli_integer(cli, "threads", 1, 1024, 1, err, &threads) ||
        cli_integer(cli, "batch", 1, 65536, 1, err, &batch) ||
        cli_integer(cli, "seed", 0, INT64_MAX, 1, err, &seed) ||
        latency_parse_profile(cli_value(cli, "profile", "default"), err, &options->profile) ||
        experiment_parse_cache(cli_value(cli, "cache", "hot"), err, &options->cache) ||
        topology_parse_kind(cli_value(cli, "cores", "any"), err, &options->cores))
        return err->status;
    options->threads = (int32_t)threads;
    options->batch = (int32_t)batch;
    options->scenario = cli_value(cli, "scenario", batch > 1 ? "offline" : "single");
    options->seed = (uint64_t)seed;
    return read_sparsity(cli, err, options);
}

/* The row of one backend; where weights are to be 0, before it that of the model with none of them.
 * Returns how many rows there are of those that were wanted. */
static size_t bench_backend(const struct model *model, const struct registry *reg,
                            const struct bench_options *options, struct error *err,
                            struct record *rows, size_t *n_wanted) {
    struct bench_options each = *options;
    *n_wanted = options->sparsity > 0 ? 2 : 1;
    for (size_t k = 0; k < *n_wanted; k++) {
        each.sparsity = k == *n_wanted - 1 ? options->sparsity : 0;
        if (experiment_bench(model, reg, &each, err, &rows[k]) != PARE_OK) {
            record_clear(&rows[k]);
            return k;
        }
        record_set(&rows[k], COL_pipeline, options->precision);
    }
    return *n_wanted;
}

/* For people: what the zeros are worth, by the shortest times of each pair of rows. */
static void print_gains(const struct cli *cli, const struct bench_options *options,
                        const struct record *rows, size_t n) {
    for (size_t k = 0; options->sparsity > 0 && cli->format == TABLE_TEXT && k + 1 < n; k += 2) {
        double dense = strtod(record_get(&rows[k], COL_min_ns), NULL);
        double sparse = strtod(record_get(&rows[k + 1], COL_min_ns), NULL);
        if (sparse > 0)
            printf("\n%s: %.2f times as fast with %g %% of the weights 0, by the shortest times\n",
                   record_get(&rows[k], COL_backend), dense / sparse, 100 * options->sparsity);
    }
}

/* "ref,auto" one by one, each as a row. One that fails is told on stderr and does not keep the
 * others from their rows. Gives the exit status. */
static int bench_all(struct cli *cli, const struct model *model, const struct registry *reg,
                     struct bench_options *options) {
    struct error err;
    char *list = strdup(cli_value(cli, "backend", "auto"));
    struct record *rows = list ? alloc_array(2 * (strlen(list) + 1), sizeof *rows) : NULL;
    size_t n = 0;
    char *rest = NULL;
    int exit_status = CLI_DONE;
    if (!rows || strspn(list, ",") == strlen(list)) {
        error_set(&err, rows ? PARE_E_ARG : PARE_E_NOMEM,
                  rows ? "--backend is empty, wanted names such as ref,auto" : "out of memory");
        exit_status = cli_fail(cli, &err);
    }
    for (char *name = rows ? strtok_r(list, ",", &rest) : NULL; name;
         name = strtok_r(NULL, ",", &rest)) {
        options->backend = name;
        size_t n_wanted;
        size_t made = bench_backend(model, reg, options, &err, &rows[n], &n_wanted);
        n += made;
        if (made < n_wanted)
            exit_status = cli_fail(cli, &err);
    }
    if (n > 0) {
        exit_status = exit_status == CLI_DONE ? CLI_DONE : CLI_FAILED;
        if (cli_print_rows(cli, rows, n, bench_view, sizeof bench_view / sizeof *bench_view, 0,
                           &err) != PARE_OK ||
            (cli_has(cli, "layers") && cli_print_layers(cli, rows, n, &err) != PARE_OK))
            exit_status = cli_fail(cli, &err);
        print_gains(cli, options, rows, exit_status == CLI_DONE ? n : 0);
    }
    for (size_t k = 0; k < n; k++)
        record_clear(&rows[k]);
    free(rows);
    free(list);
    return exit_status;
}

/* Splits "a,b" in place: the pieces, malloc'd, lie in `list`. */
static pare_status split(char *list, struct error *err, const char ***pieces, size_t *n) {
    char *rest = NULL;
    *pieces = list ? alloc_array(strlen(list) + 1, sizeof **pieces) : NULL;
    if (!*pieces)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        (*pieces)[(*n)++] = name;
    return PARE_OK;
}

int bench_command(struct cli *cli) {
    struct error err;
    char *counters = strdup(cli_value(cli, "counters", ""));
    const char **counter_names = NULL;
    struct bench_options options;
    struct registry *reg = NULL;
    struct model *model = NULL;
    int is_trained;
    const char *name = cli_value(cli, "model", NULL);
    pare_status status =
        name ? PARE_OK
             : error_set(&err, PARE_E_ARG, "--model is missing, wanted a network or a checkpoint");
    if (status == PARE_OK)
        status = read_options(cli, &err, &options);
    if (status == PARE_OK)
        status = split(counters, &err, &counter_names, &options.n_counters);
    options.counters = counter_names;
    if (status == PARE_OK)
        status = cli_model(cli, name, options.seed, &err, &model, &is_trained);
    if (status == PARE_OK)
        status = cli_registry(cli, &err, &reg);
    int exit_status =
        status == PARE_OK ? bench_all(cli, model, reg, &options) : cli_fail(cli, &err);
    registry_destroy(reg);
    model_destroy(model);
    free(counter_names);
    free(counters);
    return exit_status;
}
