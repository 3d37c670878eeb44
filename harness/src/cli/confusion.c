/* SPDX-License-Identifier: MIT */
/* A confusion matrix as a table: a row per true class, a column per predicted one. */
#include "cli/cli.h"
#include "core/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_BYTES = 32 };

/* The counts of "[[1,2],[3,4]]" one after the other (n_classes * n_classes); 0 if `json` is no such
 * matrix. */
static size_t parse(const char *json, long long **counts) {
    size_t n = 0, n_classes = 0;
    *counts = alloc_array(strlen(json) / 2 + 1, sizeof **counts);
    if (!*counts)
        return 0;
    for (const char *at = json; *at;) {
        char *end;
        at += strspn(at, "[],");
        if (!*at)
            break;
        (*counts)[n++] = strtoll(at, &end, 10);
        if (end == at)
            return 0;
        at = end;
    }
    while (n_classes * n_classes < n)
        n_classes++;
    return n_classes * n_classes == n ? n_classes : 0;
}

static pare_status fill_table(struct table *table, const long long *counts, size_t n,
                              char (*texts)[CELL_BYTES], const char **cells, struct error *err) {
    pare_status status = PARE_OK;
    for (size_t t = 0; t < n && status == PARE_OK; t++) {
        snprintf(texts[0], CELL_BYTES, "%zu", t);
        cells[0] = texts[0];
        for (size_t p = 0; p < n; p++) {
            snprintf(texts[p + 1], CELL_BYTES, "%lld", counts[t * n + p]);
            cells[p + 1] = counts[t * n + p] ? texts[p + 1] : "."; /* zeros hide what counts */
        }
        status = table_add(table, cells, err);
    }
    return status;
}

pare_status cli_print_confusion(const struct cli *cli, const char *json, struct error *err) {
    long long *counts = NULL;
    size_t n = parse(json, &counts);
    const char **headers = alloc_array(n + 2, sizeof *headers);
    const char **cells = alloc_array(n + 1, sizeof *cells);
    char(*texts)[CELL_BYTES] = alloc_array(n + 1, sizeof *texts);
    struct table *table = NULL;
    pare_status status = PARE_E_NOMEM;
    if (!counts || n == 0 || !headers || !cells || !texts) {
        error_set(err, PARE_E_NOMEM, "out of memory for a confusion matrix");
        goto cleanup;
    }
    headers[0] = "true";
    for (size_t p = 0; p < n; p++) {
        snprintf(texts[p], CELL_BYTES, ">as %zu", p);
        headers[p + 1] = texts[p];
    }
    table = table_create(headers);
    status = table ? fill_table(table, counts, n, texts, cells, err)
                   : error_set(err, PARE_E_NOMEM, "out of memory for a confusion matrix");
    if (status == PARE_OK) {
        putchar('\n');
        cli_print(cli, table);
    }
cleanup:
    table_destroy(table);
    free(texts);
    free(cells);
    free(headers);
    free(counts);
    return status;
}
