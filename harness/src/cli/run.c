/* SPDX-License-Identifier: MIT */
/* pare run */
#include "cli/cli.h"
#include "core/alloc.h"
#include "script/script.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the table at the end ---- */

static void make_arm(const struct record *rec, char text[128]) {
    const char *cache = record_get(rec, COL_cache_state), *cores = record_get(rec, COL_core_kind);
    int is_hot = strcmp(cache, "hot") == 0, is_any = strcmp(cores, "any") == 0;
    snprintf(text, 128, "%s t%s b%s %s%s%s%s%s", record_get(rec, COL_backend),
             record_get(rec, COL_threads), record_get(rec, COL_batch),
             record_get(rec, COL_scenario), is_hot ? "" : " ", is_hot ? "" : cache,
             is_any ? "" : " ", is_any ? "" : cores);
}

/* "1.52x [1.48, 1.55]": the inverse of the ratio of times and of its interval. */
static void make_speed_up(const struct record *rec, char text[128]) {
    const char *ratio = record_get(rec, COL_ratio), *lo = record_get(rec, COL_ratio_ci_lo),
               *hi = record_get(rec, COL_ratio_ci_hi);
    text[0] = '\0';
    if (!ratio[0])
        return;
    int n = snprintf(text, 128, "%.2fx", 1 / strtod(ratio, NULL));
    if (lo[0] && hi[0])
        snprintf(text + n, (size_t)(128 - n), " [%.2f, %.2f]", 1 / strtod(hi, NULL),
                 1 / strtod(lo, NULL));
}

static void make_status(const struct record *rec, char text[128]) {
    const char *error = record_get(rec, COL_error);
    int n = snprintf(text, 128, "%s%s%s", record_get(rec, COL_status), error[0] ? ": " : "", error);
    if (n >= 128)
        memcpy(text + 124, "...", 4); /* the whole of it is in the file */
}

enum { VIEW_SEED = 1, VIEW_ARM = 2 }; /* places in run_view that may be left out */
static const struct view_column run_view[] = {
    {"pipeline", COL_pipeline, NULL, NULL, NULL},
    {">seed", COL_seed, NULL, NULL, NULL},
    {"arm", -1, NULL, make_arm, NULL},
    {">sparsity", COL_sparsity, cli_format_percent, NULL, NULL},
    {">top-1", COL_top1, cli_format_percent, NULL, NULL},
    {">simulated", COL_top1_simulated, cli_format_percent, NULL, NULL},
    {">file", COL_bytes_file, cli_format_bytes, NULL, NULL},
    {">smaller", COL_compression_ratio, cli_format_factor, NULL, NULL},
    {">median", COL_median_ns, cli_format_ns, NULL, NULL},
    {">95 % interval", -1, NULL, cli_make_interval, NULL},
    {">speed-up", -1, NULL, make_speed_up, NULL},
    {"status", -1, NULL, make_status, NULL},
    {NULL, COL_status, NULL, NULL, NULL},
    {NULL, COL_error, NULL, NULL, NULL},
    {NULL, COL_backend, NULL, NULL, NULL},
    {NULL, COL_threads, NULL, NULL, NULL},
    {NULL, COL_batch, NULL, NULL, NULL},
    {NULL, COL_scenario, NULL, NULL, NULL},
    {NULL, COL_execution, NULL, NULL, NULL},
    {NULL, COL_median_ci_lo_ns, NULL, NULL, NULL},
    {NULL, COL_median_ci_hi_ns, NULL, NULL, NULL},
    {NULL, COL_ratio, NULL, NULL, NULL},
    {NULL, COL_ratio_ci_lo, NULL, NULL, NULL},
    {NULL, COL_ratio_ci_hi, NULL, NULL, NULL},
};
#define N_RUN_VIEW (sizeof run_view / sizeof *run_view)

/* Does row k belong in the table: written by this process or, when resuming, of this experiment and
 * the last word on its arm? */
static int belongs(const struct record *rows, size_t n_rows, size_t k, const struct experiment *exp,
                   int resumed) {
    const struct record *rec = &rows[k];
    char mine[32];
    if (strcmp(record_get(rec, COL_experiment), exp->name) != 0)
        return 0;
    const char *run = record_get(rec, COL_run_id);
    snprintf(mine, sizeof mine, "-%ld", (long)getpid());
    size_t n = strlen(run), m = strlen(mine);
    for (size_t j = k + 1; resumed && j < n_rows; j++)
        if (strcmp(record_get(rec, COL_arm_id), record_get(&rows[j], COL_arm_id)) == 0)
            return 0;
    return resumed || (n > m && strcmp(run + n - m, mine) == 0);
}

static pare_status print_results(const struct cli *cli, const struct experiment *exp,
                                 const struct run_options *options, struct error *err) {
    struct record *rows = NULL;
    size_t n_rows = 0, n_kept = 0, n_columns = 0;
    if (record_read(options->out_path, err, &rows, &n_rows))
        return err->status;
    struct record *kept = alloc_array(n_rows, sizeof *kept); /* borrows the cells of rows */
    for (size_t k = 0; kept && k < n_rows; k++)
        if (belongs(rows, n_rows, k, exp, options->resume))
            kept[n_kept++] = rows[k];
    struct view_column view[N_RUN_VIEW];
    for (size_t k = 0; k < N_RUN_VIEW; k++) {
        int is_constant =
            (k == VIEW_SEED && exp->n_seeds == 1) || (k == VIEW_ARM && exp->n_arms == 1);
        if (cli->format != TABLE_TEXT || !is_constant)
            view[n_columns++] = run_view[k];
    }
    pare_status status = kept ? cli_print_rows(cli, kept, n_kept, view, n_columns, 0, err)
                              : error_set(err, PARE_E_NOMEM, "out of memory for the table");
    free(kept);
    record_rows_free(rows, n_rows);
    return status;
}

/* ---- the command ---- */

static pare_status parse_shard(const char *text, struct error *err, struct run_options *options) {
    int used = 0;
    int32_t index, count;
    if (!text)
        return PARE_OK;
    if (sscanf(text, "%9d/%9d%n", &index, &count, &used) != 2 || text[used] != '\0' || index < 1 ||
        count < 1 || index > count)
        return error_set(err, PARE_E_ARG, "--shard is '%s', wanted I/N with 1 <= I <= N", text);
    options->shard_index = index;
    options->shard_count = count;
    return PARE_OK;
}

static pare_status read_options(const struct cli *cli, struct error *err,
                                struct run_options *options) {
    *options = (struct run_options){
        .out_path = cli_value(cli, "out", NULL),
        .profile = PROFILE_DEFAULT,
        .resume = cli_has(cli, "resume"),
        .dry_run = cli_has(cli, "dry-run"),
        .filter = cli_value(cli, "filter", NULL),
        .samples_path = cli_value(cli, "keep-samples", NULL),
        .quiet = cli_has(cli, "quiet"),
        .isolate = !cli_has(cli, "no-isolation"),
    };
    int64_t trial_s, call_s, memory_mb = 0;
    if (cli_integer(cli, "trial-timeout", 0, INT32_MAX, 0, err, &trial_s) ||
        cli_integer(cli, "call-timeout", 0, INT32_MAX, 1800, err, &call_s) ||
        cli_integer(cli, "trial-memory", 0, INT32_MAX, 0, err, &memory_mb))
        return err->status;
    options->trial_timeout_s = (double)trial_s;
    options->call_timeout_s = (double)call_s;
    options->trial_memory_bytes =
        cli_has(cli, "trial-memory") ? memory_mb * INT64_C(1000000) : experiment_default_memory();
    if (latency_parse_profile(cli_value(cli, "profile", "default"), err, &options->profile))
        return err->status;
    return parse_shard(cli_value(cli, "shard", NULL), err, options);
}

static int run_experiment(const struct cli *cli, struct experiment *exp, const struct registry *reg,
                          struct run_options *options) {
    struct error err;
    struct run_summary summary = {0};
    char *path = NULL;
    if (!options->out_path)
        options->out_path = path = alloc_printf("results/runs/%s.csv", exp->name);
    pare_status status =
        options->out_path ? PARE_OK : error_set(&err, PARE_E_NOMEM, "out of memory");
    if (status == PARE_OK)
        status = experiment_run(exp, reg, options, &err, &summary);
    if (status == PARE_OK && summary.plan)
        cli_print(cli, summary.plan);
    else if (status == PARE_OK)
        status = print_results(cli, exp, options, &err);
    table_destroy(summary.plan);
    if (status == PARE_OK && summary.n_trials == 0)
        cli_warn(cli, "no trial was chosen (%zu pipelines, %zu seeds); see --filter and --shard",
                 exp->n_pipelines, exp->n_seeds);
    if (status == PARE_OK) {
        /* Beside a table for people; elsewhere it would spoil the output. */
        FILE *file = cli->format == TABLE_TEXT ? stdout : stderr;
        fprintf(file, "\n%s: model %s on dataset %s, %zu trial%s, %zu arm%s", exp->name,
                exp->model.label, exp->dataset, summary.n_trials, summary.n_trials == 1 ? "" : "s",
                summary.n_arms, summary.n_arms == 1 ? "" : "s");
        if (options->dry_run)
            fprintf(file, ", %zu of them in %s already (dry run, nothing done)\n",
                    summary.n_skipped, options->out_path);
        else
            fprintf(file, ": %zu done, %zu failed, %zu skipped\nresults: %s\n", summary.n_done,
                    summary.n_failed, summary.n_skipped, options->out_path);
    }
    free(path);
    if (status)
        return cli_fail(cli, &err);
    return summary.n_failed ? CLI_FAILED : CLI_DONE;
}

/* Ctrl-C ends the process as ever, but not without a word on what became of the work. */
static void say_interrupted(int signal_number) {
    static const char text[] =
        "\npare run: interrupted; finished rows are kept, the same command with "
        "--resume does the rest\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    raise(signal_number); /* SA_RESETHAND: to the default action */
}

static void explain_interrupts(void) {
    struct sigaction action = {.sa_handler = say_interrupted, .sa_flags = (int)SA_RESETHAND};
    struct sigaction old;
    /* A shell that runs it in the background ignores the signal; so it shall stay. */
    if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(SIGINT, &action, NULL);
}

int run_command(struct cli *cli) {
    struct error err;
    struct registry *reg = NULL;
    struct script *script = NULL;
    struct run_options options;
    struct script_options script_options = {0};
    const char **sets = NULL;
    pare_status status = read_options(cli, &err, &options);
    if (status == PARE_OK)
        status = cli_values(cli, "set", &err, &sets, &script_options.n_sets);
    script_options.sets = sets;
    script_options.profile = cli_value(cli, "profile", "default");
    if (!options.dry_run)
        explain_interrupts();
    if (status == PARE_OK)
        status = cli_registry(cli, &err, &reg);
    if (status == PARE_OK)
        status = script_load(cli->args[0], &script_options, reg, &err, &script);
    int result = status ? cli_fail(cli, &err)
                        : run_experiment(cli, script_experiment(script), reg, &options);
    script_destroy(script);
    registry_destroy(reg);
    free(sets);
    return result;
}
