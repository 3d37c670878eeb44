/* SPDX-License-Identifier: MIT */
/* Plugins, models and records, as several commands need them. */
#include "cli/cli.h"
#include "core/alloc.h"
#include "core/file.h"
#include "core/progress.h"
#include "script/script.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- plugins ---- */

static int ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static pare_status load_path(struct registry *reg, const char *path, struct error *err) {
    return ends_with(path, ".so") ? registry_load(reg, path, err) : registry_scan(reg, path, err);
}

pare_status cli_registry(const struct cli *cli, struct error *err, struct registry **out) {
    struct registry *reg = NULL;
    const char **paths = NULL;
    size_t n = 0;
    pare_status status = cli_values(cli, "plugin-path", err, &paths, &n);
    if (status == PARE_OK)
        status = registry_create(err, &reg);
    for (size_t k = 0; status == PARE_OK && k < n; k++)
        status = load_path(reg, paths[k], err);
    if (status == PARE_OK)
        status = registry_scan_default(reg, err);
    free(paths);
    if (status) {
        registry_destroy(reg);
        return status;
    }
    for (size_t k = 0; k < registry_n_rejects(reg); k++) {
        const struct plugin_reject *reject = registry_reject(reg, k);
        if (!reject->lacks_library)
            cli_warn(cli, "plugin %s: %s", reject->path, reject->reason);
    }
    *out = reg;
    return PARE_OK;
}

/* ---- models ---- */

struct known {
    const char *name;
    int found;
};

static void compare_name(void *arg, const char *name, const char *doc) {
    struct known *known = arg;
    (void)doc;
    known->found |= strcmp(known->name, name) == 0;
}

static pare_status is_network(const char *name, struct error *err, int *found) {
    struct known known = {name, strstr(name, ".lua:") != NULL};
    if (!known.found && script_list_models(compare_name, &known, err))
        return err->status;
    *found = known.found;
    return PARE_OK;
}

static pare_status build_network(const struct cli *cli, const char *name, uint64_t seed,
                                 struct error *err, struct model **out) {
    int32_t dims[3];
    int64_t n_classes;
    const char *input = cli_value(cli, "input", NULL);
    const char **texts = NULL;
    size_t n = 0;
    if (cli_integer(cli, "classes", 0, 100000, 0, err, &n_classes) ||
        (input && cli_parse_dims(input, err, dims)) || cli_values(cli, "option", err, &texts, &n))
        return err->status;
    struct param_input *options = alloc_array(n, sizeof *options);
    pare_status status = options ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    for (size_t k = 0; status == PARE_OK && k < n; k++)
        status = cli_parse_setting(texts[k], err, &options[k]);
    if (status == PARE_OK)
        status =
            script_build_model(name, input ? dims : NULL, (int32_t)n_classes, options, n, err, out);
    if (status == PARE_OK)
        model_init_weights(*out, seed);
    for (size_t k = 0; options && k < n; k++)
        param_input_clear(&options[k]);
    free(options);
    free(texts);
    return status;
}

static pare_status load_checkpoint(const struct cli *cli, const char *name, struct error *err,
                                   struct model **out) {
    static const char *const only_networks[] = {"input", "classes", "option"};
    for (size_t k = 0; k < 3; k++)
        if (cli_has(cli, only_networks[k]))
            return error_set(
                err, PARE_E_ARG,
                "--%s goes with a network by name; '%s' is a checkpoint, which has its "
                "own",
                only_networks[k], name);
    char *path = NULL;
    if (script_find_checkpoint(name, err, &path)) {
        if (!strchr(name, '/'))
            error_prefix(err, "'%s' is no network (see `pare list models`)", name);
        return err->status;
    }
    pare_status status = model_load(path, err, out);
    free(path);
    return status;
}

pare_status cli_model(const struct cli *cli, const char *name, uint64_t seed, struct error *err,
                      struct model **out, int *is_trained) {
    int network = 0;
    if (is_network(name, err, &network))
        return err->status;
    *is_trained = !network;
    return network ? build_network(cli, name, seed, err, out)
                   : load_checkpoint(cli, name, err, out);
}

/* ---- records ---- */

static int is_shown(const struct cli *cli, const struct view_column *c) {
    return cli->format == TABLE_TEXT ? c->header != NULL : c->column >= 0;
}

/* The text of one cell; NULL when it is empty. */
static const char *cell_text(const struct cli *cli, const struct record *rec,
                             const struct view_column *c, char text[128]) {
    const char *cell = c->column >= 0 ? record_get(rec, (enum column)c->column) : "";
    text[0] = '\0';
    if (cli->format != TABLE_TEXT)
        return cell[0] ? cell : NULL;
    if (c->make)
        c->make(rec, text);
    else if (c->format)
        c->format(cell, text);
    else
        return cell[0] ? cell : NULL;
    return text[0] ? text : NULL;
}

static int is_empty(const struct cli *cli, const struct record *rows, size_t n_rows,
                    const struct view_column *c) {
    char text[128];
    for (size_t r = 0; r < n_rows; r++)
        if (cell_text(cli, &rows[r], c, text))
            return 0;
    return 1;
}

static const char *header_of(const struct cli *cli, const struct view_column *c) {
    if (cli->format == TABLE_TEXT)
        return c->header;
    return c->name ? c->name : column_infos()[c->column].name;
}

static pare_status print_upright(const struct cli *cli, const struct record *rows, size_t n_rows,
                                 const struct view_column *columns, size_t n, struct error *err) {
    const char *const headers[] = {"figure", ">value", NULL};
    struct table *table = table_create(headers);
    if (!table)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    pare_status status = PARE_OK;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n && status == PARE_OK; k++) {
            char text[128];
            const char *cell = cell_text(cli, &rows[r], &columns[k], text);
            const char *header = is_shown(cli, &columns[k]) ? header_of(cli, &columns[k]) : NULL;
            const char *cells[] = {header ? header + (header[0] == '>') : NULL, cell};
            if (header && cell)
                status = table_add(table, cells, err);
        }
    if (status == PARE_OK)
        cli_print(cli, table);
    table_destroy(table);
    return status;
}

pare_status cli_print_rows(const struct cli *cli, const struct record *rows, size_t n_rows,
                           const struct view_column *columns, size_t n, int upright,
                           struct error *err) {
    if (upright && cli->format == TABLE_TEXT)
        return print_upright(cli, rows, n_rows, columns, n, err);
    const struct view_column *shown[N_COLUMNS];
    const char *headers[N_COLUMNS + 1], *cells[N_COLUMNS];
    size_t n_shown = 0;
    for (size_t k = 0; k < n && n_shown < N_COLUMNS; k++) {
        if (!is_shown(cli, &columns[k]) ||
            (cli->format == TABLE_TEXT && is_empty(cli, rows, n_rows, &columns[k])))
            continue;
        headers[n_shown] = header_of(cli, &columns[k]);
        shown[n_shown++] = &columns[k];
    }
    headers[n_shown] = NULL;
    struct table *table = table_create(headers);
    char(*texts)[128] = alloc_array(n_shown, sizeof *texts);
    pare_status status =
        table && texts ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory for a table");
    for (size_t r = 0; r < n_rows && status == PARE_OK; r++) {
        for (size_t k = 0; k < n_shown; k++)
            cells[k] = cell_text(cli, &rows[r], shown[k], texts[k]);
        status = table_add(table, cells, err);
    }
    if (status == PARE_OK)
        cli_print(cli, table);
    free(texts);
    table_destroy(table);
    return status;
}

void cli_format_percent(const char *cell, char text[32]) {
    text[0] = '\0';
    if (cell[0])
        snprintf(text, 32, "%.2f %%", 100 * strtod(cell, NULL));
}

void cli_format_bytes(const char *cell, char text[32]) {
    double bytes = cell[0] ? strtod(cell, NULL) : NAN;
    text[0] = '\0';
    if (bytes < 10000)
        snprintf(text, 32, "%.0f B", bytes);
    else if (bytes < 1e6)
        snprintf(text, 32, "%.1f kB", bytes / 1e3);
    else if (bytes >= 1e6)
        snprintf(text, 32, "%.2f MB", bytes / 1e6);
}

void cli_format_ns(const char *cell, char text[32]) {
    text[0] = '\0';
    if (cell[0])
        format_duration(strtod(cell, NULL) * 1e-9, text);
}

void cli_format_factor(const char *cell, char text[32]) {
    text[0] = '\0';
    if (cell[0])
        snprintf(text, 32, "%.2fx", strtod(cell, NULL));
}

void cli_format_short(const char *cell, char text[32]) {
    double value = cell[0] ? strtod(cell, NULL) : NAN;
    text[0] = '\0';
    if (!isnan(value)) /* no exponents for what people count in thousands */
        snprintf(text, 32, fabs(value) >= 1e4 && fabs(value) < 1e12 ? "%.0f" : "%.4g", value);
}

void cli_make_interval(const struct record *rec, char text[128]) {
    char lo[32], hi[32];
    cli_format_ns(record_get(rec, COL_median_ci_lo_ns), lo);
    cli_format_ns(record_get(rec, COL_median_ci_hi_ns), hi);
    text[0] = '\0';
    const char *lo_unit = strchr(lo, ' '), *hi_unit = strchr(hi, ' ');
    int one_unit = lo_unit && hi_unit && strcmp(lo_unit, hi_unit) == 0;
    if (lo[0] && hi[0])
        snprintf(text, 128, "%.*s..%s", one_unit ? (int)(lo_unit - lo) : 32, lo, hi);
}
