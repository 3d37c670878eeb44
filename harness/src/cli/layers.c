/* SPDX-License-Identifier: MIT */
/* Where the time of a query goes, as a table: a row for each kernel. */
#include "cli/cli.h"
#include "core/alloc.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "conv1 + bn1 + relu1" */
static char *layer_name(const json_t *layer) {
    char *name = strdup(json_string_value(json_object_get(layer, "name")));
    const json_t *fused = json_object_get(layer, "fused");
    for (size_t k = 0; name && k < json_array_size(fused); k++) {
        char *longer = alloc_printf("%s + %s", name, json_string_value(json_array_get(fused, k)));
        free(name);
        name = longer;
    }
    return name;
}

static pare_status add_layer(struct table *table, const struct record *rec, const json_t *layer,
                             double sum_ns, struct error *err) {
    char ns_text[32], time[32], share[32];
    double ns = json_real_value(json_object_get(layer, "ns"));
    char *name = layer_name(layer);
    snprintf(ns_text, sizeof ns_text, "%.17g", ns);
    cli_format_ns(ns_text, time);
    snprintf(share, sizeof share, "%.1f %%", sum_ns > 0 ? 100 * ns / sum_ns : 0);
    const char *cells[] = {record_get(rec, COL_backend), name,
                           json_string_value(json_object_get(layer, "kernel")), time, share};
    pare_status status =
        name ? table_add(table, cells, err) : error_set(err, PARE_E_NOMEM, "out of memory");
    free(name);
    return status;
}

pare_status cli_print_layers(const struct cli *cli, const struct record *rows, size_t n,
                             struct error *err) {
    static const char *const headers[] = {"backend", "layer", "kernel", ">time", ">share", NULL};
    if (cli->format == TABLE_CSV || cli->format == TABLE_JSON)
        return PARE_OK;
    struct table *table = table_create(headers);
    pare_status status = table ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    for (size_t r = 0; r < n && status == PARE_OK; r++) {
        json_t *list = json_loads(record_get(&rows[r], COL_layer_times_json), 0, NULL);
        double sum_ns = 0;
        for (size_t k = 0; k < json_array_size(list); k++)
            sum_ns += json_real_value(json_object_get(json_array_get(list, k), "ns"));
        for (size_t k = 0; k < json_array_size(list) && status == PARE_OK; k++)
            status = add_layer(table, &rows[r], json_array_get(list, k), sum_ns, err);
        if (!list)
            cli_warn(cli, "backend %s does not tell the times of layers",
                     record_get(&rows[r], COL_backend));
        json_decref(list);
    }
    if (status == PARE_OK) {
        putchar('\n');
        cli_print(cli, table);
    }
    table_destroy(table);
    return status;
}
