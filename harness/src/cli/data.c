/* SPDX-License-Identifier: MIT */
/* pare data fetch, verify; pare merge */
#include "cli/cli.h"
#include "core/alloc.h"
#include "dataset/dataset.h"

#include <stdio.h>
#include <stdlib.h>

int data_fetch_command(struct cli *cli) {
    struct error err;
    const char *name = cli->args[0];
    const char *dest = cli_value(cli, "dest", NULL);
    if (!dataset_find_info(name, &err) ||
        dataset_fetch(name, cli_value(cli, "mirror", NULL), dest, &err))
        return cli_fail(cli, &err);
    char *cache = dest ? NULL : dataset_cache_dir();
    printf("%s: fetched into %s/%s\n", name, dest ? dest : cache ? cache : "the cache", name);
    free(cache);
    return CLI_DONE;
}

struct verdicts {
    struct table *table;
    size_t n;
    pare_status status;
    struct error err;
};

static void add_verdict(void *arg, const char *file, const char *verdict) {
    struct verdicts *v = arg;
    const char *cells[] = {file, verdict};
    if (v->status == PARE_OK)
        v->status = table_add(v->table, cells, &v->err);
    v->n++;
}

int data_verify_command(struct cli *cli) {
    static const char *const headers[] = {"file", "verdict", NULL};
    struct error err;
    struct verdicts verdicts = {.table = table_create(headers)};
    if (!verdicts.table) {
        error_set(&err, PARE_E_NOMEM, "out of memory");
        return cli_fail(cli, &err);
    }
    pare_status status = dataset_verify(cli->args[0], add_verdict, &verdicts, &err);
    if (status == PARE_OK && verdicts.status)
        err = verdicts.err;
    if (verdicts.n > 0) /* not where the dataset is missing altogether */
        cli_print(cli, verdicts.table);
    table_destroy(verdicts.table);
    return status || verdicts.status ? cli_fail(cli, &err) : CLI_DONE;
}

int merge_command(struct cli *cli) {
    struct error err;
    const char *out = cli_value(cli, "out", NULL);
    if (!out) {
        error_set(&err, PARE_E_ARG, "--out is missing: pare merge A.csv B.csv -o ALL.csv");
        return cli_fail(cli, &err);
    }
    if (record_merge(cli->args, cli->n_args, out, &err))
        return cli_fail(cli, &err);
    cli_warn_of_cut_files(cli);
    return CLI_DONE;
}
