/* SPDX-License-Identifier: MIT */
/* pare list, pare describe */
#include "cli/cli.h"
#include "core/file.h"
#include "dataset/dataset.h"
#include "experiment/experiment.h"
#include "experiment/tables.h"
#include "script/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A table that is being filled; a failure sticks. */
struct listing {
    struct table *table;
    pare_status status;
    struct error err;
};

static void start(struct listing *list, const char *const *headers) {
    list->status = PARE_OK;
    list->table = table_create(headers);
    if (!list->table)
        list->status = error_set(&list->err, PARE_E_NOMEM, "out of memory");
}

static void add(struct listing *list, const char *const *cells) {
    if (list->status == PARE_OK)
        list->status = table_add(list->table, cells, &list->err);
}

static int finish(const struct cli *cli, struct listing *list) {
    if (list->status == PARE_OK)
        cli_print(cli, list->table);
    table_destroy(list->table);
    return list->status ? cli_fail(cli, &list->err) : CLI_DONE;
}

/* ---- plugins ---- */

static int list_methods(const struct cli *cli, const struct registry *reg) {
    static const char *const headers[] = {"id", "version", "doc", "reference", "file", NULL};
    struct listing list;
    start(&list, headers);
    for (size_t k = 0; k < registry_n_entries(reg); k++) {
        const struct plugin_entry *entry = registry_entry(reg, k);
        const pare_method *m = entry->method;
        if (!m)
            continue;
        const char *cells[] = {m->id, m->version, m->doc, m->reference, entry->path};
        add(&list, cells);
    }
    return finish(cli, &list);
}

static int list_backends(const struct cli *cli, const struct registry *reg) {
    static const char *const headers[] = {"id",  "version", "isa",  ">score",
                                          "doc", "why not", "file", NULL};
    struct listing list;
    start(&list, headers);
    for (size_t k = 0; k < registry_n_entries(reg); k++) {
        const struct plugin_entry *entry = registry_entry(reg, k);
        const pare_backend *b = entry->backend;
        pare_probe probe = {0};
        struct error err;
        char score[16];
        if (!b)
            continue;
        if (registry_probe(entry, &err, &probe))
            snprintf(probe.reason, sizeof probe.reason, "%.180s", err.text);
        snprintf(score, sizeof score, "%d", probe.score);
        const char *cells[] = {b->id,  b->version,   probe.isa,  score,
                               b->doc, probe.reason, entry->path};
        add(&list, cells);
    }
    for (size_t k = 0; k < registry_n_rejects(reg); k++) {
        const struct plugin_reject *reject = registry_reject(reg, k);
        const char *cells[] = {reject->name, NULL, NULL, "0", NULL, reject->reason, reject->path};
        if (reject->lacks_library)
            add(&list, cells);
    }
    return finish(cli, &list);
}

static int list_plugins(const struct cli *cli, int methods) {
    struct error err;
    struct registry *reg;
    if (cli_registry(cli, &err, &reg))
        return cli_fail(cli, &err);
    int result = methods ? list_methods(cli, reg) : list_backends(cli, reg);
    registry_destroy(reg);
    return result;
}

/* ---- models, datasets, checkpoints ---- */

static void add_model(void *arg, const char *name, const char *doc) {
    const char *cells[] = {name, doc};
    add(arg, cells);
}

static int list_models(const struct cli *cli) {
    static const char *const headers[] = {"name", "doc", NULL};
    struct listing list;
    start(&list, headers);
    if (list.status == PARE_OK)
        list.status = script_list_models(add_model, &list, &list.err);
    return finish(cli, &list);
}

int data_list_command(struct cli *cli) {
    static const char *const headers[] = {"name",  "input",    ">classes", ">train", ">val",
                                          ">test", "found in", "doc",      "note",   NULL};
    struct listing list;
    start(&list, headers);
    for (const struct dataset_info *info = dataset_infos(); info->name; info++) {
        char text[5][32], *path = NULL;
        struct error err;
        snprintf(text[0], sizeof text[0], "%dx%dx%d", info->dims[0], info->dims[1], info->dims[2]);
        snprintf(text[1], sizeof text[1], "%d", info->n_classes);
        snprintf(text[2], sizeof text[2], "%lld", (long long)info->n_train);
        snprintf(text[3], sizeof text[3], "%lld", (long long)info->n_val);
        snprintf(text[4], sizeof text[4], "%lld", (long long)info->n_test);
        int is_whole, found = dataset_locate_test(info->name, &err, &path, &is_whole) == PARE_OK;
        const char *note = info->licence_note && info->licence_note[0] ? info->licence_note : NULL;
        if (found && !is_whole)
            note = "only the test split is there";
        const char *cells[] = {info->name,          text[0],   text[1], text[2], text[3], text[4],
                               found ? path : NULL, info->doc, note};
        add(&list, cells);
        free(path);
    }
    return finish(cli, &list);
}

static void add_checkpoint(void *arg, const char *name, const char *path) {
    struct listing *list = arg;
    struct error err;
    struct model *model = NULL;
    char n_params[32] = "";
    if (model_load(path, &err, &model)) {
        const char *cells[] = {name, NULL, NULL, NULL, NULL, err.text};
        add(list, cells);
        return;
    }
    struct model_counts counts;
    model_count(model, &counts);
    snprintf(n_params, sizeof n_params, "%lld", (long long)counts.params_total);
    const char *cells[] = {
        name, model->graph.name, n_params, model_note(model, "dataset"), model_note(model, "top1"),
        path};
    add(list, cells);
    model_destroy(model);
}

static int list_checkpoints(const struct cli *cli) {
    static const char *const headers[] = {"name",  "model", ">params", "dataset",
                                          ">top1", "file",  NULL};
    struct listing list;
    start(&list, headers);
    if (list.status == PARE_OK)
        list.status = script_list_checkpoints(add_checkpoint, &list, &list.err);
    return finish(cli, &list);
}

int list_command(struct cli *cli) {
    static const char *const kinds[] = {"methods", "backends", "models", "datasets", "checkpoints"};
    const char *kind = cli->args[0];
    size_t k = 0;
    while (k < 5 && strcmp(kind, kinds[k]) != 0)
        k++;
    switch (k) {
    case 0:
    case 1:
        return list_plugins(cli, k == 0);
    case 2:
        return list_models(cli);
    case 3:
        return data_list_command(cli);
    case 4:
        return list_checkpoints(cli);
    default:
        break;
    }
    struct error err;
    const char *near = nearest_name(kind, kinds, 5);
    error_set(&err, PARE_E_ARG, "'%s' is nothing to list, wanted %s%s", kind,
              near ? "" : "methods, backends, models, datasets or checkpoints", near ? near : "");
    return cli_fail(cli, &err);
}

/* ---- describe ---- */

static const char *type_name(pare_param_type type) {
    static const char *const names[] = {"?",      "bool",    "integer", "number",
                                        "string", "strings", "numbers"};
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "?";
}

/* "2..8", "minmax|percentile", or "". */
static const char *range_text(const pare_param_desc *row, char text[128]) {
    text[0] = '\0';
    if (row->choices)
        snprintf(text, 128, "%s", row->choices);
    else if ((row->type == PARE_PARAM_INT || row->type == PARE_PARAM_FLOAT ||
              row->type == PARE_PARAM_NUMBERS) &&
             !(row->min == 0 && row->max == 0))
        snprintf(text, 128, "%.10g..%.10g", row->min, row->max);
    return text[0] ? text : NULL;
}

static void add_rows(struct listing *list, const struct param_table *table) {
    for (uint32_t k = 0; k < table->n; k++) {
        /* Rows lie apart by the size that the plugin was compiled with. */
        const pare_param_desc *row =
            (const void *)((const char *)table->rows + (size_t)k * table->row_size);
        int is_list = row->type == PARE_PARAM_STRINGS || row->type == PARE_PARAM_NUMBERS;
        const char *fallback = row->default_value ? row->default_value
                               : is_list          ? "{}"
                                                  : "(must be given)";
        char range[128];
        const char *cells[] = {row->name,
                               type_name(row->type),
                               fallback,
                               range_text(row, range),
                               row->unit[0] ? row->unit : NULL,
                               row->doc,
                               table->owner};
        add(list, cells);
    }
}

/* What is known of a plugin beside its parameters; the first three are a heading for people. */
struct about {
    size_t n;
    struct field {
        const char *name, *value;
        int is_list; /* of words parted by ", " */
    } fields[12];
    char aspects[3][128];
    pare_probe probe;
};

static void add_field(struct about *about, const char *name, const char *value, int is_list) {
    about->fields[about->n++] = (struct field){name, value, is_list};
}

static const char *aspects_text(uint32_t set, char text[128]) {
    static const char *const names[] = {
        "weights",  "mask",       "weight quantization", "activation quantization",
        "topology", "activations"};
    size_t used = 0;
    text[0] = '\0';
    for (unsigned k = 0; k < 6; k++)
        if (set & (1u << k))
            used += (size_t)snprintf(text + used, 128 - used, "%s%s", used ? ", " : "", names[k]);
    return text;
}

static void about_plugin(const struct plugin_entry *entry, struct about *about) {
    const pare_method *m = entry->method;
    const pare_backend *b = entry->backend;
    struct error err;
    about->n = 0;
    add_field(about, m ? "method" : "backend", m ? m->id : b->id, 0);
    add_field(about, "version", m ? m->version : b->version, 0);
    add_field(about, "doc", m ? m->doc : b->doc, 0);
    add_field(about, "reference", m ? m->reference : b->reference, 0);
    add_field(about, "file", entry->path, 0);
    if (m) {
        add_field(about, "reads", aspects_text(m->reads, about->aspects[0]), 1);
        add_field(about, "writes", aspects_text(m->writes, about->aspects[1]), 1);
        add_field(about, "preserves", aspects_text(m->preserves, about->aspects[2]), 1);
        return;
    }
    about->probe = (pare_probe){0};
    if (registry_probe(entry, &err, &about->probe))
        snprintf(about->probe.reason, sizeof about->probe.reason, "%.180s", err.text);
    int is_usable = about->probe.score > 0;
    add_field(about, is_usable ? "usable here" : "not usable here",
              is_usable ? about->probe.isa : about->probe.reason, 0);
}

static void print_list(const char *words) {
    putchar('[');
    while (*words) {
        char word[128];
        size_t n = strcspn(words, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, words);
        table_print_json_string(stdout, word);
        words += n;
        if (*words) {
            printf(", ");
            words += strspn(words, ", ");
        }
    }
    putchar(']');
}

/* What stands before the table of parameters. */
static void print_about(enum table_format format, const struct about *about) {
    const struct field *f = about->fields;
    if (format == TABLE_TEXT)
        printf("%s %s, version %s\n%s\n", f[0].name, f[0].value, f[1].value, f[2].value);
    else if (format == TABLE_MARKDOWN)
        printf("## %s `%s`, version %s\n\n%s\n\n", f[0].name, f[0].value, f[1].value, f[2].value);
    for (size_t k = format == TABLE_JSON ? 0 : 3; k < about->n; k++) {
        const char *value = f[k].value && f[k].value[0] ? f[k].value : "nothing";
        if (format != TABLE_JSON) {
            printf("%s%s: %s\n", format == TABLE_TEXT ? "" : "- ", f[k].name, value);
            continue;
        }
        printf("%s", k ? ",\n " : "{");
        table_print_json_string(stdout, f[k].name);
        printf(": ");
        if (f[k].is_list)
            print_list(f[k].value);
        else
            table_print_json_string(stdout, f[k].value ? f[k].value : "");
    }
    printf(format == TABLE_JSON ? ",\n \"parameters\": " : "\n");
}

static int has_extension(const pare_method *m, const char *id) {
    return m && m->get_extension && m->get_extension(id) != NULL;
}

static int describe(const struct cli *cli, const struct plugin_entry *entry) {
    static const char *const headers[] = {"parameter", "type", "default", "range",
                                          "unit",      "doc",  "from",    NULL};
    struct listing list;
    struct param_table table = registry_param_table(entry);
    start(&list, headers);
    add_rows(&list, &table);
    if (entry->method) {
        table = tables_where();
        add_rows(&list, &table);
    }
    if (has_extension(entry->method, PARE_METHOD_CALIBRATE) ||
        has_extension(entry->method, PARE_METHOD_CALIBRATE_AFTER)) {
        table = tables_calibration();
        add_rows(&list, &table);
    }
    if (has_extension(entry->method, PARE_METHOD_TRAIN)) {
        table = experiment_train_table();
        add_rows(&list, &table);
    }
    if (list.status == PARE_OK && cli->format != TABLE_CSV) {
        struct about about;
        about_plugin(entry, &about);
        print_about(cli->format, &about);
    }
    int result = finish(cli, &list);
    if (result == CLI_DONE && cli->format == TABLE_JSON)
        printf("}\n");
    return result;
}

int describe_command(struct cli *cli) {
    struct error err, other;
    struct registry *reg;
    const struct plugin_entry *entry = NULL;
    const char *id = cli->args[0];
    if (cli_registry(cli, &err, &reg))
        return cli_fail(cli, &err);
    pare_status status = registry_find_method(reg, id, &err, &entry);
    if (status && strcmp(id, "auto") != 0)
        /* When neither is known, the message about methods stands: it names the nearest one. */
        status = registry_find_backend(reg, id, &other, &entry);
    if (status == PARE_E_UNSUPPORTED)
        err = other;
    int result = status ? cli_fail(cli, &err) : describe(cli, entry);
    registry_destroy(reg);
    return result;
}
