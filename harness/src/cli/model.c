/* SPDX-License-Identifier: MIT */
/* pare model info, eval, quantize, export */
#include "cli/cli.h"
#include "core/alloc.h"
#include "experiment/experiment.h"
#include "experiment/pipeline.h"
#include "script/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Notes on where a file comes from, as runs and `pare model quantize` write them. */
static const char *const note_keys[] = {"dataset",    "experiment", "script",      "seed",
                                        "base",       "pipeline",   "params_json", "pare_version",
                                        "git_commit", "top1"};
#define N_NOTES (sizeof note_keys / sizeof *note_keys)

/* ---- info ---- */

static int64_t node_params(const pare_node *node, int64_t *nonzero, int32_t *bits) {
    int64_t total = 0;
    *nonzero = 0;
    *bits = 0;
    for (int role = 0; role < PARE_N_ROLES; role++) {
        const pare_weight *w = node->weights[role];
        if (!w || role == PARE_ROLE_MEAN || role == PARE_ROLE_VAR)
            continue;
        total += w->n_elems;
        for (int64_t i = 0; i < w->n_elems; i++)
            *nonzero += !w->mask || w->mask[i];
        if (role == PARE_ROLE_WEIGHT)
            *bits = w->quant.bits;
    }
    return total;
}

static pare_status add_layer(struct table *table, const pare_graph *graph, int32_t k,
                             struct error *err) {
    const pare_node *node = graph->nodes[k];
    int64_t nonzero;
    int32_t bits;
    int64_t n_params = node_params(node, &nonzero, &bits);
    int64_t macs = model_node_macs(graph, k);
    char text[8][32] = {{0}};
    snprintf(text[0], sizeof text[0], "%d", k);
    snprintf(text[1], sizeof text[1], "%dx%dx%d", node->dims[0], node->dims[1], node->dims[2]);
    if (n_params) {
        snprintf(text[2], sizeof text[2], "%lld", (long long)n_params);
        snprintf(text[3], sizeof text[3], "%lld", (long long)nonzero);
    }
    if (macs)
        snprintf(text[4], sizeof text[4], "%lld", (long long)macs);
    if (bits)
        snprintf(text[5], sizeof text[5], "%d", bits);
    if (node->activation.bits)
        snprintf(text[6], sizeof text[6], "%d", node->activation.bits);
    const char *inputs = node->n_inputs ? text[7] : NULL;
    if (node->n_inputs == 1)
        snprintf(text[7], sizeof text[7], "%d", node->inputs[0]);
    else if (node->n_inputs == 2)
        snprintf(text[7], sizeof text[7], "%d %d", node->inputs[0], node->inputs[1]);
    const char *cells[] = {text[0],
                           node->name,
                           op_name(node->op),
                           inputs,
                           text[1],
                           text[2][0] ? text[2] : NULL,
                           text[3][0] ? text[3] : NULL,
                           text[4][0] ? text[4] : NULL,
                           text[5][0] ? text[5] : NULL,
                           text[6][0] ? text[6] : NULL};
    return table_add(table, cells, err);
}

static pare_status print_layers(const struct cli *cli, const struct model *model,
                                struct error *err) {
    static const char *const headers[] = {
        ">node",    "name",  "op",           "inputs",           ">output", ">params",
        ">nonzero", ">macs", ">weight bits", ">activation bits", NULL};
    struct table *table = table_create(headers);
    pare_status status = table ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    for (int32_t k = 0; k < model->graph.n_nodes && status == PARE_OK; k++)
        status = add_layer(table, &model->graph, k, err);
    if (status == PARE_OK)
        cli_print(cli, table);
    table_destroy(table);
    return status;
}

static pare_status print_summary(const struct cli *cli, const struct model *model,
                                 struct error *err) {
    static const char *const headers[] = {"what", "value", NULL};
    const pare_graph *g = &model->graph;
    struct model_counts counts;
    struct model_sizes sizes;
    if (model_measure_sizes(model, err, &sizes))
        return err->status;
    model_count(model, &counts);
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {
        {"classes", g->n_classes},
        {"nodes", g->n_nodes},
        {"params_total", counts.params_total},
        {"params_nonzero", counts.params_nonzero},
        {"prunable_total", counts.prunable_total},
        {"prunable_nonzero", counts.prunable_nonzero},
        {"macs_dense", counts.macs_dense},
        {"macs_effective", counts.macs_effective},
        {"bytes_fp32", sizes.bytes_fp32},
        {"bytes_file", sizes.bytes_file},
        {"bytes_zstd", sizes.bytes_zstd},
    };
    struct table *table = table_create(headers);
    char text[64];
    snprintf(text, sizeof text, "%dx%dx%d", g->input_dims[0], g->input_dims[1], g->input_dims[2]);
    const char *name[] = {"model", g->name}, *input[] = {"input", text};
    pare_status status = table ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    if (status == PARE_OK)
        status = table_add(table, name, err);
    if (status == PARE_OK)
        status = table_add(table, input, err);
    for (size_t k = 0; k < sizeof rows / sizeof *rows && status == PARE_OK; k++) {
        snprintf(text, sizeof text, "%lld", (long long)rows[k].value);
        const char *cells[] = {rows[k].name, text};
        status = table_add(table, cells, err);
    }
    for (size_t k = 0; k < N_NOTES && status == PARE_OK; k++) {
        const char *cells[] = {note_keys[k], model_note(model, note_keys[k])};
        if (cells[1])
            status = table_add(table, cells, err);
    }
    if (status == PARE_OK)
        cli_print(cli, table);
    table_destroy(table);
    return status;
}

int model_info_command(struct cli *cli) {
    struct error err;
    struct model *model = NULL;
    int is_trained;
    pare_status status = cli_model(cli, cli->args[0], 1, &err, &model, &is_trained);
    if (status == PARE_OK)
        status = cli_has(cli, "layers") ? print_layers(cli, model, &err)
                                        : print_summary(cli, model, &err);
    model_destroy(model);
    return status ? cli_fail(cli, &err) : CLI_DONE;
}

/* ---- eval ---- */

static const struct view_column eval_view[] = {
    {"model", COL_model, NULL, NULL, NULL},
    {"dataset", COL_dataset, NULL, NULL, NULL},
    {"split", COL_split, NULL, NULL, NULL},
    {"n_samples", COL_n_samples, NULL, NULL, NULL},
    {"top1", COL_top1, cli_format_percent, NULL, NULL},
    {"top1_ci_lo", COL_top1_ci_lo, cli_format_percent, NULL, NULL},
    {"top1_ci_hi", COL_top1_ci_hi, cli_format_percent, NULL, NULL},
    {"top5", COL_top5, cli_format_percent, NULL, NULL},
    {"loss", COL_loss, cli_format_short, NULL, NULL},
    {"precision_macro", COL_precision_macro, cli_format_percent, NULL, NULL},
    {"recall_macro", COL_recall_macro, cli_format_percent, NULL, NULL},
    {"f1_macro", COL_f1_macro, cli_format_percent, NULL, NULL},
    {"precision_micro", COL_precision_micro, cli_format_percent, NULL, NULL},
    {"recall_micro", COL_recall_micro, cli_format_percent, NULL, NULL},
    {"f1_micro", COL_f1_micro, cli_format_percent, NULL, NULL},
    {"precision_weighted", COL_precision_weighted, cli_format_percent, NULL, NULL},
    {"recall_weighted", COL_recall_weighted, cli_format_percent, NULL, NULL},
    {"f1_weighted", COL_f1_weighted, cli_format_percent, NULL, NULL},
    {"top1_simulated", COL_top1_simulated, cli_format_percent, NULL, NULL},
    {"agreement_simulated", COL_agreement_simulated, cli_format_percent, NULL, NULL},
    {"backend", COL_backend, NULL, NULL, NULL},
    {"isa", COL_isa, NULL, NULL, NULL},
    {"execution", COL_execution, NULL, NULL, NULL},
    {"threads", COL_threads, NULL, NULL, NULL},
    {"params_total", COL_params_total, NULL, NULL, NULL},
    {"params_nonzero", COL_params_nonzero, NULL, NULL, NULL},
    {"bytes_file", COL_bytes_file, cli_format_bytes, NULL, NULL},
    {NULL, COL_confusion_json, NULL, NULL, NULL},
};

static pare_status parse_split(const char *name, struct error *err, enum split_id *split) {
    static const char *const names[] = {"train", "val", "test"};
    for (int k = 0; k < N_SPLITS; k++)
        if (strcmp(name, names[k]) == 0) {
            *split = (enum split_id)k;
            return PARE_OK;
        }
    return error_set(err, PARE_E_ARG, "--split is '%s', wanted test, val or train", name);
}

/* A model for a command that has no use for untrained weights. */
static pare_status trained_model(const struct cli *cli, struct error *err, struct model **out) {
    int is_trained;
    if (cli_model(cli, cli->args[0], 1, err, out, &is_trained))
        return err->status;
    if (is_trained)
        return PARE_OK;
    model_destroy(*out);
    *out = NULL;
    return error_set(err, PARE_E_ARG,
                     "'%s' is a network without weights, wanted a checkpoint or a file (see `pare "
                     "list checkpoints`)",
                     cli->args[0]);
}

static pare_status evaluate(const struct cli *cli, struct model *model, const struct registry *reg,
                            struct error *err) {
    int64_t threads;
    struct eval_options options = {
        .dataset = cli_value(cli, "dataset", NULL),
        .split = SPLIT_TEST,
        .backend = cli_value(cli, "backend", "auto"),
        .isa = cli_value(cli, "isa", NULL),
        .confusion = cli_has(cli, "confusion"),
        .logits_path = cli_value(cli, "logits", NULL),
    };
    if (!options.dataset)
        return error_set(err, PARE_E_ARG,
                         "--dataset is missing, wanted a name (see `pare data list`)");
    if (parse_split(cli_value(cli, "split", "test"), err, &options.split) ||
        cli_integer(cli, "threads", 0, 1024, 0, err, &threads) ||
        cli_integer(cli, "samples", 0, INT64_MAX, 0, err, &options.n_samples))
        return err->status;
    options.threads = (int32_t)threads;
    struct record rec = {0};
    pare_status status = experiment_eval(model, &options, reg, err, &rec);
    record_set(&rec, COL_model, cli->args[0]);
    if (status == PARE_OK)
        status =
            cli_print_rows(cli, &rec, 1, eval_view, sizeof eval_view / sizeof *eval_view, 1, err);
    if (status == PARE_OK && options.confusion && cli->format == TABLE_TEXT)
        status = cli_print_confusion(cli, record_get(&rec, COL_confusion_json), err);
    record_clear(&rec);
    return status;
}

int model_eval_command(struct cli *cli) {
    struct error err;
    struct registry *reg = NULL;
    struct model *model = NULL;
    pare_status status = trained_model(cli, &err, &model);
    if (status == PARE_OK)
        status = cli_registry(cli, &err, &reg);
    if (status == PARE_OK)
        status = evaluate(cli, model, reg, &err);
    registry_destroy(reg);
    model_destroy(model);
    return status ? cli_fail(cli, &err) : CLI_DONE;
}

/* ---- export ---- */

static pare_status out_path(const struct cli *cli, struct error *err, const char **path) {
    *path = cli_value(cli, "out", NULL);
    return *path ? PARE_OK
                 : error_set(err, PARE_E_ARG, "--out is missing, wanted a .safetensors file");
}

int model_export_command(struct cli *cli) {
    struct error err;
    struct model *model = NULL;
    const char *path;
    int is_trained;
    int64_t seed;
    pare_status status = out_path(cli, &err, &path);
    if (status == PARE_OK)
        status = cli_integer(cli, "seed", 0, INT64_MAX, 1, &err, &seed);
    if (status == PARE_OK)
        status = cli_model(cli, cli->args[0], (uint64_t)seed, &err, &model, &is_trained);
    struct model_note notes[N_NOTES];
    size_t n_notes = 0;
    for (size_t k = 0; status == PARE_OK && k < N_NOTES; k++)
        if (model_note(model, note_keys[k]))
            notes[n_notes++] = (struct model_note){note_keys[k], model_note(model, note_keys[k])};
    if (status == PARE_OK)
        status = model_save(model, path, notes, n_notes, &err);
    model_destroy(model);
    return status ? cli_fail(cli, &err) : CLI_DONE;
}

/* ---- quantize ---- */

struct compression {
    struct step_spec step;
    struct model *model, *teacher;
    struct dataset *ds;
    struct registry *reg;
    struct pipeline *pipeline;
    struct topology *topo;
    struct pool *pool;
};

static pare_status read_step(const struct cli *cli, struct error *err, struct step_spec *step) {
    const char **texts = NULL;
    size_t n = 0;
    pare_status status = cli_values(cli, "set", err, &texts, &n);
    step->method = strdup(cli_value(cli, "method", "ptq"));
    step->inputs = alloc_array(n, sizeof *step->inputs);
    if (status == PARE_OK && (!step->method || !step->inputs))
        status = error_set(err, PARE_E_NOMEM, "out of memory");
    for (size_t k = 0; k < n && status == PARE_OK; k++) {
        status = cli_parse_setting(texts[k], err, &step->inputs[k]);
        step->n_inputs = k + (status == PARE_OK);
    }
    free(texts);
    return status;
}

static pare_status compress(const struct cli *cli, struct compression *c, struct error *err) {
    int64_t seed;
    const char *path, *dataset = cli_value(cli, "dataset", NULL);
    const struct dataset_options all = {0};
    if (!dataset)
        return error_set(err, PARE_E_ARG,
                         "--dataset is missing, wanted a name (see `pare data list`)");
    if (out_path(cli, err, &path) || cli_integer(cli, "seed", 0, INT64_MAX, 1, err, &seed) ||
        read_step(cli, err, &c->step) || cli_registry(cli, err, &c->reg))
        return err->status;
    struct pipeline_spec spec = {.n_steps = 1, .steps = &c->step};
    if (pipeline_resolve(&spec, c->reg, err, &c->pipeline) || trained_model(cli, err, &c->model) ||
        model_copy(c->model, err, &c->teacher) || dataset_open(dataset, &all, err, &c->ds) ||
        topology_create(err, &c->topo) ||
        pool_create(topology_n_cores(c->topo), c->topo, err, &c->pool))
        return err->status;
    if (memcmp(c->ds->dims, c->model->graph.input_dims, sizeof c->ds->dims) != 0)
        return error_set(err, PARE_E_ARG, "dataset %s has other images than model %s takes",
                         dataset, cli->args[0]);
    struct pipeline_env env = {.ds = c->ds,
                               .teacher = c->teacher,
                               .seed = (uint64_t)seed,
                               .pool = c->pool,
                               .label = c->step.method};
    if (pipeline_apply(c->pipeline, &env, c->model, err, NULL))
        return err->status;
    char *label = pipeline_label(&spec), seed_text[32];
    snprintf(seed_text, sizeof seed_text, "%lld", (long long)seed);
    const struct model_note notes[] = {{"base", cli->args[0]},
                                       {"dataset", dataset},
                                       {"pipeline", label ? label : ""},
                                       {"seed", seed_text}};
    pare_status status = model_save(c->model, path, notes, 4, err);
    free(label);
    return status;
}

int model_quantize_command(struct cli *cli) {
    struct error err;
    struct compression c = {0};
    pare_status status = compress(cli, &c, &err);
    pipeline_destroy(c.pipeline);
    pool_destroy(c.pool);
    topology_destroy(c.topo);
    dataset_close(c.ds);
    model_destroy(c.teacher);
    model_destroy(c.model);
    registry_destroy(c.reg);
    for (size_t k = 0; k < c.step.n_inputs; k++)
        param_input_clear(&c.step.inputs[k]);
    free(c.step.inputs);
    free(c.step.method);
    return status ? cli_fail(cli, &err) : CLI_DONE;
}
