/* SPDX-License-Identifier: MIT */
/* pare check */
#include "check/check.h"
#include "cli/cli.h"
#include "core/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What rows go to, as they come. */
struct listing {
    const struct cli *cli;
    const struct check_options *options;
    struct table *table;
    char **lines; /* (n_lines) that reproduce failures */
    size_t n_lines;
    int64_t n_checks;
};

/* In quotes, if a shell would take it apart. */
static char *quoted(const char *text) {
    char *out = NULL;
    size_t n_bytes = 0;
    FILE *file = open_memstream(&out, &n_bytes);
    if (!file)
        return NULL;
    int is_plain = text[0] != '\0';
    for (const char *c = text; *c; c++)
        is_plain &= strchr("/._-+=,:@%", *c) != NULL || (*c >= '0' && *c <= '9') ||
                    (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
    if (!is_plain)
        fputc('\'', file);
    for (const char *c = text; *c; c++)
        fputs(*c == '\'' ? "'\\''" : (char[2]){*c, '\0'}, file);
    if (!is_plain)
        fputc('\'', file);
    if (fclose(file) == 0)
        return out;
    free(out);
    return NULL;
}

/* The command that shows a failure again, malloc'd; NULL when out of memory. */
static char *reproduce(const struct listing *list, const struct check_row *row) {
    const struct cli *cli = list->cli;
    char *out = NULL, *path = quoted(list->options->path);
    size_t n_bytes = 0;
    FILE *file = open_memstream(&out, &n_bytes);
    if (file && path) {
        const char *space = strchr(row->subject, ' ');
        fprintf(file, "pare check %s", path);
        if (space)
            fprintf(file, " --%.*s %s", (int)(space - row->subject), row->subject, space + 1);
        fprintf(file, " --only %s", row->check);
        if (space && row->failed_case >= 0)
            fprintf(file, " --case %lld", (long long)row->failed_case);
        for (size_t k = 0; k < cli->n_given; k++) {
            const char *name = cli->given[k].name;
            char *value = quoted(cli->given[k].value);
            if (strcmp(name, "seed") == 0 || strcmp(name, "set") == 0 ||
                strcmp(name, "graphs") == 0 || strcmp(name, "time-limit") == 0)
                fprintf(file, " --%s %s", name, value ? value : "");
            free(value);
        }
    }
    free(path);
    if (file && fclose(file) == 0)
        return out;
    free(out);
    return NULL;
}

static pare_status add_row(void *arg, const struct check_row *row, struct error *err) {
    struct listing *list = arg;
    char cases[24], failed[24];
    char *line = row->verdict == CHECK_FAIL ? reproduce(list, row) : NULL;
    snprintf(cases, sizeof cases, "%lld", (long long)row->n_cases);
    snprintf(failed, sizeof failed, "%lld", (long long)row->n_failed);
    const char *reason = row->reason[0] ? row->reason : NULL;
    const char *people[] = {row->subject, row->check, check_verdict_name(row->verdict), cases,
                            reason};
    const char *programs[] = {
        row->subject, row->check, check_verdict_name(row->verdict), cases, failed, reason, line};
    list->n_checks++;
    pare_status status =
        table_add(list->table, list->cli->format == TABLE_TEXT ? people : programs, err);
    char **grown = line ? alloc_resize(list->lines, list->n_lines + 1, sizeof *grown) : NULL;
    if (!grown) {
        free(line);
        return status;
    }
    list->lines = grown;
    list->lines[list->n_lines++] = line;
    return status;
}

static void print(const struct listing *list, int n_failed) {
    cli_print(list->cli, list->table);
    if (list->cli->format != TABLE_TEXT)
        return;
    if (n_failed == 0)
        printf("\n%lld checks, none failed\n", (long long)list->n_checks);
    else
        printf("\n%lld checks, %d failed; to see %s again:\n", (long long)list->n_checks, n_failed,
               n_failed == 1 ? "it" : "them");
    for (size_t k = 0; k < list->n_lines; k++)
        printf("  %s\n", list->lines[k]);
}

static pare_status read_flags(const struct cli *cli, struct check_options *o, struct error *err) {
    int64_t seed, seconds;
    if (cli_has(cli, "method") && cli_has(cli, "backend"))
        return error_set(err, PARE_E_ARG, "--method and --backend exclude each other");
    if (cli_has(cli, "case") && !cli_has(cli, "only"))
        return error_set(err, PARE_E_ARG, "--case needs --only CHECK");
    if (cli_integer(cli, "seed", 0, INT64_MAX - 1, 1, err, &seed) ||
        cli_integer(cli, "time-limit", 1, 86400, 20, err, &seconds) ||
        cli_integer(cli, "graphs", 1, 100000, 40, err, &o->n_graphs) ||
        cli_integer(cli, "case", 0, INT64_MAX - 1, 0, err, &o->only_case))
        return err->status;
    if (!cli_has(cli, "case"))
        o->only_case = -1;
    o->path = cli->args[0];
    o->seed = (uint64_t)seed;
    o->timeout_s = (double)seconds;
    o->method = cli_value(cli, "method", NULL);
    o->backend = cli_value(cli, "backend", NULL);
    o->only = cli_value(cli, "only", NULL);
    return PARE_OK;
}

/* Every `--set`; *out (n) is freed by the caller, with what its elements hold. */
static pare_status read_settings(const struct cli *cli, struct error *err, struct param_input **out,
                                 size_t *n) {
    const char **texts = NULL;
    size_t n_texts = 0;
    if (cli_values(cli, "set", err, &texts, &n_texts))
        return err->status;
    struct param_input *inputs = alloc_array(n_texts, sizeof *inputs);
    pare_status status = inputs ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    *n = 0;
    while (status == PARE_OK && *n < n_texts) {
        status = cli_parse_setting(texts[*n], err, &inputs[*n]);
        *n += status == PARE_OK;
    }
    free(texts);
    *out = inputs;
    return status;
}

static pare_status run(struct cli *cli, struct error *err, int *n_failed) {
    static const char *const people[] = {"subject", "check", "verdict", ">cases", "reason", NULL};
    static const char *const programs[] = {"subject", "check",  "verdict",   ">cases",
                                           ">failed", "reason", "reproduce", NULL};
    struct check_options options = {0};
    struct param_input *settings = NULL;
    size_t n_settings = 0;
    struct listing list = {
        cli, &options, table_create(cli->format == TABLE_TEXT ? people : programs), NULL, 0, 0};
    pare_status status = list.table ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    if (status == PARE_OK)
        status = read_flags(cli, &options, err);
    if (status == PARE_OK)
        status = read_settings(cli, err, &settings, &n_settings);
    options.settings = settings;
    options.n_settings = n_settings;
    if (status == PARE_OK)
        status = registry_create(err, &options.others);
    if (status == PARE_OK)
        status = registry_scan_default(options.others, err);
    if (status == PARE_OK)
        status = check_plugin(&options, add_row, &list, err, n_failed);
    if (status == PARE_OK)
        print(&list, *n_failed);
    registry_destroy(options.others);
    for (size_t k = 0; settings && k < n_settings; k++)
        param_input_clear(&settings[k]);
    for (size_t k = 0; k < list.n_lines; k++)
        free(list.lines[k]);
    free(settings);
    free(list.lines);
    table_destroy(list.table);
    return status;
}

int check_command(struct cli *cli) {
    struct error err;
    int n_failed = 0;
    if (run(cli, &err, &n_failed))
        return cli_fail(cli, &err);
    return n_failed ? CLI_FAILED : CLI_DONE;
}
