/* SPDX-License-Identifier: MIT */
/* pare compare: two files of records. */
#include "compare/compare.h"

#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A flag in percent, or points, as a fraction. */
static pare_status percent(const struct cli *cli, const char *name, int is_zero_allowed,
                           double *value, struct error *err) {
    const char *text = cli_value(cli, name, NULL);
    char *end;
    if (!text)
        return PARE_OK;
    double given = strtod(text, &end);
    if (end == text || *end != '\0' || !(is_zero_allowed ? given >= 0 : given > 0) || given > 1000)
        return error_set(err, PARE_E_RANGE, "--%s is '%.32s', wanted a number %s 0..1000", name,
                         text, is_zero_allowed ? "in" : "above");
    *value = given / 100;
    return PARE_OK;
}

static pare_status read_options(const struct cli *cli, struct compare_options *options,
                                struct error *err) {
    compare_default_options(options);
    options->across_machines = cli_has(cli, "across-machines");
    if (percent(cli, "threshold", 0, &options->threshold, err) ||
        percent(cli, "threshold-top1", 1, &options->threshold_top1, err) ||
        percent(cli, "threshold-bytes", 1, &options->threshold_bytes, err))
        return err->status;
    return PARE_OK;
}

/* ---- the table for people ---- */

/* What all arms have in common is no column. */
struct shape {
    int has_seeds, has_runs;
    char run[128]; /* of the first arm */
};

static struct shape shape_of(const struct comparison *cmp) {
    struct shape shape = {0};
    if (cmp->n_arms > 0)
        compare_describe_run(&cmp->arms[0], shape.run);
    for (size_t k = 1; k < cmp->n_arms; k++) {
        char run[128];
        compare_describe_run(&cmp->arms[k], run);
        shape.has_runs |= strcmp(run, shape.run) != 0;
        shape.has_seeds |= strcmp(cmp->arms[k].seed, cmp->arms[0].seed) != 0;
    }
    return shape;
}

/* What an arm is stands first: where a narrow terminal makes the table fold, it is repeated. */
static struct table *table_for_people(const struct shape *shape) {
    const char *headers[10] = {"pipeline"};
    size_t n = 1;
    if (shape->has_seeds)
        headers[n++] = ">seed";
    if (shape->has_runs)
        headers[n++] = "arm";
    static const char *const rest[] = {"verdict", "latency", "top-1", "file", "activations", "why"};
    for (size_t k = 0; k < sizeof rest / sizeof *rest; k++)
        headers[n++] = rest[k];
    return table_create(headers);
}

static pare_status add_for_people(const struct comparison *cmp, const struct shape *shape,
                                  struct table *table, const struct compared_arm *arm,
                                  struct error *err) {
    char run[128], subject[256], texts[N_QUANTITIES][64];
    compare_describe_subject(cmp, arm, subject);
    compare_describe_run(arm, run);
    for (int q = 0; q < N_QUANTITIES; q++)
        compare_describe(arm, (enum quantity)q, texts[q]);
    const char *cells[9] = {subject};
    size_t n = 1;
    if (shape->has_seeds)
        cells[n++] = arm->seed;
    if (shape->has_runs)
        cells[n++] = run;
    cells[n++] = verdict_name(arm->verdict);
    cells[n++] = texts[QUANTITY_LATENCY];
    cells[n++] = texts[QUANTITY_TOP1];
    cells[n++] = texts[QUANTITY_FILE];
    cells[n++] = texts[QUANTITY_ACTIVATIONS];
    cells[n] = arm->reason;
    return table_add(table, cells, err);
}

/* The weightiest first. */
static pare_status fill_for_people(const struct comparison *cmp, const struct shape *shape,
                                   struct table *table, struct error *err) {
    for (int v = 0; v < N_VERDICTS; v++)
        for (size_t k = 0; k < cmp->n_arms; k++)
            if ((int)cmp->arms[k].verdict == v &&
                add_for_people(cmp, shape, table, &cmp->arms[k], err))
                return err->status;
    return PARE_OK;
}

/* ---- the table for programs ---- */

enum { N_ID_CELLS = 10, N_CHANGE_CELLS = 4, N_LAST_CELLS = 4 };
enum { N_CELLS = N_ID_CELLS + N_QUANTITIES * N_CHANGE_CELLS + N_LAST_CELLS };

static pare_status add_for_programs(struct table *table, const struct compared_arm *arm,
                                    struct error *err) {
    char numbers[N_QUANTITIES][3][32];
    const char *cells[N_CELLS] = {arm->arm_id,   arm->trial_id, arm->model,   arm->dataset,
                                  arm->pipeline, arm->seed,     arm->backend, arm->threads,
                                  arm->batch,    arm->scenario};
    size_t at = N_ID_CELLS;
    for (int q = 0; q < N_QUANTITIES; q++) {
        const struct change *c = &arm->changes[q];
        const double values[] = {c->value, c->lo, c->hi};
        cells[at++] = c->is_compared ? verdict_name(c->verdict) : NULL;
        for (int k = 0; k < 3; k++) {
            snprintf(numbers[q][k], sizeof numbers[q][k], "%.6g", values[k]);
            cells[at++] = c->is_compared && isfinite(values[k]) ? numbers[q][k] : NULL;
        }
    }
    cells[at++] = arm->changes[QUANTITY_LATENCY].basis;
    cells[at++] = verdict_name(arm->verdict);
    cells[at++] = arm->fails_gate ? "1" : "0";
    cells[at++] = arm->reason;
    return table_add(table, cells, err);
}

static pare_status fill_for_programs(const struct comparison *cmp, struct table *table,
                                     struct error *err) {
    for (size_t k = 0; k < cmp->n_arms; k++)
        if (add_for_programs(table, &cmp->arms[k], err))
            return err->status;
    return PARE_OK;
}

#define CHANGE_HEADERS(name) name "_verdict", name "_change", name "_change_lo", name "_change_hi"

static pare_status print(const struct cli *cli, const struct comparison *cmp, struct error *err) {
    static const char *const for_programs[] = {"arm_id",
                                               "trial_id",
                                               "model",
                                               "dataset",
                                               "pipeline",
                                               "seed",
                                               "backend",
                                               "threads",
                                               "batch",
                                               "scenario",
                                               CHANGE_HEADERS("latency"),
                                               CHANGE_HEADERS("top1"),
                                               CHANGE_HEADERS("bytes_file"),
                                               CHANGE_HEADERS("bytes_activations"),
                                               "latency_basis",
                                               "verdict",
                                               "fails_gate",
                                               "reason",
                                               NULL};
    int people = cli->format == TABLE_TEXT;
    const struct shape shape = shape_of(cmp);
    struct table *table = people ? table_for_people(&shape) : table_create(for_programs);
    if (!table)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    pare_status status =
        people ? fill_for_people(cmp, &shape, table, err) : fill_for_programs(cmp, table, err);
    if (status == PARE_OK)
        cli_print(cli, table);
    table_destroy(table);
    return status;
}

static void print_summary(const struct comparison *cmp) {
    const struct shape shape = shape_of(cmp);
    printf("\n%zu arms%s%s:", cmp->n_arms, shape.has_runs ? "" : " on ",
           shape.has_runs ? "" : shape.run);
    for (int v = 0; v < N_VERDICTS; v++)
        printf("%s %zu %s", v ? "," : "", cmp->n_of[v], verdict_name((enum verdict)v));
    printf(".\n");
}

static void tell(const struct cli *cli, const struct comparison *cmp) {
    static const char *const sides[] = {"BASE", "NEW"};
    for (size_t k = 0; k < cmp->n_notes; k++)
        cli_warn(cli, "%s", cmp->notes[k]);
    for (int k = 0; k < 2; k++)
        if (cmp->n_without_id[k])
            cli_warn(cli, "%zu rows of %s have no arm_id and are left out", cmp->n_without_id[k],
                     sides[k]);
    if (cmp->n_only_new)
        cli_warn(cli, "%zu arms are only in NEW and are not compared", cmp->n_only_new);
}

int compare_command(struct cli *cli) {
    struct compare_options options;
    struct error err;
    struct comparison *cmp = NULL;
    const char *junit = cli_value(cli, "junit", NULL);
    const char *markdown = cli_value(cli, "markdown", NULL);
    if (read_options(cli, &options, &err) ||
        compare_files(cli->args[0], cli->args[1], &options, &err, &cmp))
        return cli_fail(cli, &err);
    tell(cli, cmp);
    int status = CLI_DONE;
    if (print(cli, cmp, &err) || (junit && compare_write_junit(cmp, junit, &err)) ||
        (markdown && compare_write_markdown(cmp, markdown, &err)))
        status = cli_fail(cli, &err);
    else if (cli->format == TABLE_TEXT)
        print_summary(cmp);
    if (status == CLI_DONE && cli_has(cli, "gate") && cmp->n_failing_gate) {
        fflush(stdout);
        fprintf(stderr,
                "pare compare: gate: %zu of %zu arms are worse or cannot be measured any "
                "more\n",
                cmp->n_failing_gate, cmp->n_arms);
        status = CLI_FAILED;
    }
    compare_destroy(cmp);
    return status;
}
