/* SPDX-License-Identifier: MIT */
#include "experiment/pipeline.h"

#include "core/alloc.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/surroundings.h"
#include "experiment/gradients.h"
#include "experiment/samples.h"
#include "experiment/tables.h"
#include "train/train.h"

#include <jansson.h>
#include <pare/ext/norm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A step's parameters come from the method's own table and, with it, the host's. */
enum { TABLE_METHOD, TABLE_WHERE, TABLE_CALIBRATION, TABLE_TRAINING, MAX_TABLES };

struct step {
    const struct plugin_entry *entry;
    const pare_method_calibrate *calibrate; /* NULL: the method has no such extension */
    const pare_method_calibrate *calibrate_after;
    const pare_method_gradients *gradients;
    const pare_method_norm *norm;
    const pare_method_train *train;
    struct params *params;
};

struct pipeline {
    size_t n_steps;
    struct step *steps;
};

static int trains(const struct step *step) {
    return step->train && params_get(step->params, "epochs")->f > 0;
}

static const void *extension(const pare_method *method, const char *id) {
    return method->get_extension ? method->get_extension(id) : NULL;
}

static pare_status resolve_step(const struct step_spec *spec, const struct registry *reg,
                                struct error *err, struct step *step) {
    if (registry_find_method(reg, spec->method, err, &step->entry) != PARE_OK)
        return err->status;
    const pare_method *method = step->entry->method;
    step->calibrate = extension(method, PARE_METHOD_CALIBRATE);
    step->calibrate_after = extension(method, PARE_METHOD_CALIBRATE_AFTER);
    step->gradients = extension(method, PARE_METHOD_GRADIENTS);
    step->norm = extension(method, PARE_METHOD_NORM);
    step->train = extension(method, PARE_METHOD_TRAIN);
    struct param_table tables[MAX_TABLES];
    size_t n = 0;
    tables[n++] = (struct param_table){method->params, method->n_params,
                                       step->entry->plugin->param_desc_size, method->id};
    tables[n++] = tables_where();
    if (step->calibrate || step->calibrate_after || step->gradients)
        tables[n++] = tables_calibration();
    if (step->train)
        tables[n++] = experiment_train_table();
    if (params_resolve(tables, n, spec->inputs, spec->n_inputs, err, &step->params) != PARE_OK)
        return err->status;
    int acts = method->apply || step->calibrate || step->calibrate_after || step->gradients;
    if (!acts && !trains(step))
        return error_set(err, PARE_E_ARG,
                         "epochs is 0, but %s does all its work while training; wanted more",
                         method->id);
    return PARE_OK;
}

pare_status pipeline_resolve(const struct pipeline_spec *spec, const struct registry *reg,
                             struct error *err, struct pipeline **out) {
    struct pipeline *pipeline = alloc_array(1, sizeof *pipeline);
    struct step *steps = alloc_array(spec->n_steps, sizeof *steps);
    if (!pipeline || !steps) {
        free(pipeline);
        free(steps);
        return error_set(err, PARE_E_NOMEM, "out of memory for a pipeline");
    }
    *pipeline = (struct pipeline){spec->n_steps, steps};
    struct pipeline_state state = {0};
    for (size_t i = 0; i < spec->n_steps; i++) {
        if (resolve_step(&spec->steps[i], reg, err, &steps[i]) != PARE_OK ||
            pipeline_admit(&state, steps[i].entry->method, err) != PARE_OK) {
            error_prefix(err, "step %zu (%s)", i + 1, spec->steps[i].method);
            pipeline_destroy(pipeline);
            return err->status;
        }
    }
    *out = pipeline;
    return PARE_OK;
}

void pipeline_destroy(struct pipeline *pipeline) {
    if (!pipeline)
        return;
    for (size_t i = 0; i < pipeline->n_steps; i++)
        params_destroy(pipeline->steps[i].params);
    free(pipeline->steps);
    free(pipeline);
}

char *pipeline_json(const struct pipeline *pipeline) {
    json_t *list = json_array();
    for (size_t i = 0; i < pipeline->n_steps; i++) {
        const struct step *step = &pipeline->steps[i];
        char *params = params_json(step->params);
        json_t *object = json_object();
        json_object_set_new(object, "method", json_string(step->entry->method->id));
        json_object_set_new(object, "version", json_string(step->entry->method->version));
        json_object_set_new(object, "params", params ? json_loads(params, 0, NULL) : json_null());
        json_array_append_new(list, object);
        free(params);
    }
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text;
}

char *pipeline_methods(const struct pipeline *pipeline) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return NULL;
    for (size_t i = 0; i < pipeline->n_steps; i++) {
        const pare_method *method = pipeline->steps[i].entry->method;
        fprintf(out, "%s%s %s", i ? "; " : "", method->id, method->version);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

double pipeline_epochs(const struct pipeline *pipeline) {
    double epochs = 0;
    for (size_t i = 0; i < pipeline->n_steps; i++) {
        if (pipeline->steps[i].train)
            epochs += params_get(pipeline->steps[i].params, "epochs")->f;
    }
    return epochs;
}

const pare_param_value *pipeline_param(const struct pipeline *pipeline, const char *name) {
    for (size_t i = 0; i < pipeline->n_steps; i++) {
        const pare_param_value *value = params_get(pipeline->steps[i].params, name);
        if (value)
            return value;
    }
    return NULL;
}

/* ---- doing one step ---- */

/* A step under way. What a method says in a hook is kept here, because the trainer between only
 * passes the status on. */
struct step_run {
    const struct step *step;
    const struct pipeline_env *env;
    struct model *model;
    struct instance *inst;
    void *self;
    const pare_method_calibrate *watching; /* which of the two calibrations is under way */
    struct error plugin_err;
    int failed;
};

static pare_status note(struct step_run *run, pare_status status, const char *call) {
    if (instance_status(run->inst, status, call, &run->plugin_err) == PARE_OK)
        return PARE_OK;
    run->failed = 1;
    return run->plugin_err.status;
}

/* A call of the plugin, noted while it lasts. */
#define CALL(run, name, expression) (instance_enter((run)->inst, name), note(run, expression, name))

/* The plugin's own words, where it was the plugin that failed. */
static pare_status settle(struct step_run *run, pare_status status, struct error *err) {
    if (status != PARE_OK && run->failed)
        *err = run->plugin_err;
    return status;
}

static pare_status visit_value(void *context, int32_t node, const float *value, int32_t n) {
    struct step_run *run = context;
    return CALL(run, "observe",
                run->watching->observe(run->self, &run->model->graph, node, value, n));
}

static pare_status observe_pass(struct step_run *run, struct network *net, const uint32_t *items,
                                int64_t n, int32_t batch, float *images, struct error *err) {
    for (int64_t at = 0; at < n; at += batch) {
        int32_t count = (int32_t)(n - at < batch ? n - at : batch);
        dataset_batch(run->env->ds, SPLIT_TRAIN, items + at, count, images);
        const float *logits;
        pare_status status =
            network_infer_observed(net, images, count, visit_value, run, err, &logits);
        if (status != PARE_OK)
            return settle(run, status, err);
    }
    return PARE_OK;
}

enum { MAX_CALIBRATION_PASSES = 10000, MAX_TRAININGS = 10000 };

static pare_status observe_passes(struct step_run *run, const uint32_t *items, int64_t n,
                                  int32_t batch, struct error *err) {
    const struct dataset *ds = run->env->ds;
    size_t pixels = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    struct network *net = NULL;
    float *images = alloc_array((size_t)batch * pixels, sizeof *images);
    pare_status status = images ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    if (status == PARE_OK)
        status = network_create(run->model, batch, 0, NULL, run->env->pool, err, &net);
    int32_t again = 1;
    for (int pass = 0; status == PARE_OK && again; pass++) {
        again = 0;
        if (pass == MAX_CALIBRATION_PASSES)
            status = error_set(err, PARE_E_PLUGIN, "asks for more than %d calibration passes",
                               MAX_CALIBRATION_PASSES);
        if (status == PARE_OK)
            status = observe_pass(run, net, items, n, batch, images, err);
        if (status == PARE_OK)
            status = settle(
                run, CALL(run, "end", run->watching->end(run->self, &run->model->graph, &again)),
                err);
    }
    network_destroy(net);
    free(images);
    return status;
}

static pare_status calibrate(struct step_run *run, const pare_method_calibrate *calibration,
                             struct error *err) {
    run->watching = calibration;
    int64_t n = params_get(run->step->params, "calibration_samples")->i;
    int32_t batch = (int32_t)params_get(run->step->params, "calibration_batch")->i;
    uint32_t *items = NULL;
    pare_status status = samples_choose(run->env->ds, n, run->env->seed, err, &items);
    if (status == PARE_OK)
        status = settle(
            run, CALL(run, "begin", run->watching->begin(run->self, &run->model->graph)), err);
    if (status == PARE_OK)
        status = observe_passes(run, items, n, batch, err);
    free(items);
    return status;
}

/* ---- gradients ---- */

static pare_status see_gradients(struct step_run *run, struct error *err) {
    const struct gradient_env env = {
        .ds = run->env->ds,
        .seed = run->env->seed,
        .pool = run->env->pool,
        .n_samples = params_get(run->step->params, "calibration_samples")->i,
        .batch = (int32_t)params_get(run->step->params, "calibration_batch")->i};
    return gradients_run(run->step->gradients, run->inst, &env, run->model, err);
}

/* ---- statistics of batch norms ---- */

static int has_batch_norm(const pare_graph *graph) {
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i]->op == PARE_OP_BATCH_NORM)
            return 1;
    }
    return 0;
}

static pare_status reestimate_norms(struct step_run *run, struct error *err) {
    const struct pipeline_env *env = run->env;
    instance_enter(run->inst, "n_batches");
    const int32_t n = run->step->norm->n_batches(run->self, &run->model->graph);
    note(run, PARE_OK, "n_batches");
    if (n < 0)
        return error_set(err, PARE_E_PLUGIN,
                         "asks for batch norm statistics over %d batches, wanted 0 or more", n);
    if (n == 0 || !has_batch_norm(&run->model->graph))
        return PARE_OK;
    return train_reestimate_batch_norm(run->model, env->ds, n, env->seed, env->pool, err);
}

/* ---- training hooks: from the trainer's to the plugin's ---- */

static int is_selected(const struct step_run *run, int32_t node) {
    const pare_host *host = instance_host(run->inst);
    return host->selected(host, &run->model->graph, node) == 1;
}

static int wants_weight(void *context, int32_t weight) {
    const struct step_run *run = context;
    const pare_weight *w = run->model->graph.weights[weight];
    return run->step->train->weight_forward && w->role == PARE_ROLE_WEIGHT &&
           is_selected(run, w->node);
}

static int wants_activation(void *context, int32_t node) {
    const struct step_run *run = context;
    return run->step->train->activation_forward && is_selected(run, node);
}

static int wants_image_gradient(void *context, int32_t node) {
    const struct step_run *run = context;
    const pare_method_train *ext = run->step->train;
    return !PARE_HAS(ext, pare_method_train, wants_image_gradient) || !ext->wants_image_gradient ||
           ext->wants_image_gradient(run->self, &run->model->graph, node) != 0;
}

static pare_status weight_forward(void *context, int32_t weight, const float *w, float *used) {
    struct step_run *run = context;
    return CALL(run, "weight_forward",
                run->step->train->weight_forward(run->self, &run->model->graph, weight, w, used));
}

static pare_status weight_backward(void *context, int32_t weight, const float *w,
                                   const float *grad_used, float *grad_w) {
    struct step_run *run = context;
    return CALL(run, "weight_backward",
                run->step->train->weight_backward(run->self, &run->model->graph, weight, w,
                                                  grad_used, grad_w));
}

static pare_status activation_forward(void *context, int32_t node, const float *x, float *y,
                                      int64_t n) {
    struct step_run *run = context;
    return CALL(run, "activation_forward",
                run->step->train->activation_forward(run->self, &run->model->graph, node, x, y, n));
}

static pare_status activation_backward(void *context, int32_t node, const float *x,
                                       const float *grad_y, float *grad_x, int64_t n) {
    struct step_run *run = context;
    return CALL(run, "activation_backward",
                run->step->train->activation_backward(run->self, &run->model->graph, node, x,
                                                      grad_y, grad_x, n));
}

static pare_status after_step(void *context, int64_t step, double lr) {
    struct step_run *run = context;
    note_beat(run->step->entry->note);
    if (!run->step->train->after_step)
        return PARE_OK;
    pare_train_step info = {.struct_size = sizeof info, .step = step, .lr = lr};
    return CALL(run, "after_step",
                run->step->train->after_step(run->self, &run->model->graph, &info));
}

/* The training, and again from a step of the method's choice as long as it asks for that. */
static pare_status train_rounds(struct step_run *run, struct train_options *options,
                                const struct train_hooks *hooks, struct error *err) {
    const pare_method_train *ext = run->step->train;
    const int may_repeat = PARE_HAS(ext, pare_method_train, again) && ext->again;
    for (int round = 0; round < MAX_TRAININGS; round++) {
        struct train_result result;
        int64_t from = -1;
        pare_status status = train_run(run->model, run->env->ds, options, hooks, run->env->pool,
                                       run->env->label, err, &result);
        if (status == PARE_OK && may_repeat)
            status = CALL(run, "again", ext->again(run->self, &run->model->graph, &from));
        if (status != PARE_OK || from < 0)
            return settle(run, status, err);
        options->first_step = from; /* checked by train_run */
    }
    return error_set(err, PARE_E_PLUGIN, "asks for more than %d trainings", MAX_TRAININGS);
}

static pare_status train_step(struct step_run *run, struct error *err) {
    const pare_method_train *ext = run->step->train;
    struct train_options options;
    if (experiment_train_options(run->step->params, run->env->ds, run->env->seed, err, &options) !=
        PARE_OK)
        return err->status;
    options.teacher = run->env->teacher;
    pare_train_plan plan = {.struct_size = sizeof plan, .batch = options.batch, .lr = options.lr};
    plan.n_steps = train_n_steps(run->env->ds, &options, &plan.steps_per_epoch);
    pare_status status =
        settle(run, CALL(run, "begin", ext->begin(run->self, &run->model->graph, &plan)), err);
    if (status != PARE_OK)
        return status;
    struct train_hooks hooks = {
        .network = {.context = run,
                    .wants_weight = wants_weight,
                    .wants_activation = wants_activation,
                    .wants_image_gradient = wants_image_gradient,
                    .weight_forward = weight_forward,
                    .weight_backward = weight_backward,
                    .activation_forward = activation_forward,
                    .activation_backward = activation_backward},
        .context = run,
        .after_step = after_step,
    };
    status = train_rounds(run, &options, &hooks, err);
    if (status != PARE_OK)
        return status;
    if (!ext->end)
        return PARE_OK;
    return settle(run, CALL(run, "end", ext->end(run->self, &run->model->graph)), err);
}

static pare_status do_stages(struct step_run *run, struct error *err) {
    const struct step *step = run->step;
    if (instance_check_patterns(run->inst, &run->model->graph, err) != PARE_OK)
        return err->status;
    if (step->calibrate && calibrate(run, step->calibrate, err) != PARE_OK)
        return err->status;
    if (step->gradients && see_gradients(run, err) != PARE_OK)
        return err->status;
    const pare_method *method = step->entry->method;
    if (method->apply) {
        pare_status status =
            settle(run, CALL(run, "apply", method->apply(run->self, &run->model->graph)), err);
        if (status != PARE_OK)
            return status;
    }
    if (step->norm && reestimate_norms(run, err) != PARE_OK)
        return err->status;
    if (trains(step) && train_step(run, err) != PARE_OK)
        return err->status;
    return step->calibrate_after ? calibrate(run, step->calibrate_after, err) : PARE_OK;
}

static pare_status do_step(const struct step *step, size_t index, const struct pipeline_env *env,
                           struct model *model, struct error *err) {
    const pare_param_value *include = params_get(step->params, "include");
    const pare_param_value *exclude = params_get(step->params, "exclude");
    struct instance_env inst_env = {.pool = env->pool,
                                    .seed = env->seed,
                                    .instance = index,
                                    .include = include->strings,
                                    .n_include = (size_t)include->n,
                                    .exclude = exclude->strings,
                                    .n_exclude = (size_t)exclude->n};
    struct step_run run = {.step = step, .env = env, .model = model};
    if (instance_create(step->entry, step->params, TABLE_METHOD, &inst_env, err, &run.inst) !=
        PARE_OK)
        return err->status;
    struct surroundings before;
    struct error changed;
    surroundings_take(&before);
    run.self = instance_self(run.inst);
    pare_status status = do_stages(&run, err);
    instance_destroy(run.inst, NULL);
    if (surroundings_restore(&before, &changed) != PARE_OK && status == PARE_OK) {
        *err = changed;
        return err->status;
    }
    if (status != PARE_OK)
        return status;
    if (model_verify(model, err) != PARE_OK)
        return error_prefix(err, "left the model in a bad state");
    return PARE_OK;
}

/* What a step must not have done to what earlier steps established. */
static pare_status check_masks_kept(const struct model *before, const struct model *after,
                                    struct error *err) {
    for (int32_t i = 0; i < before->graph.n_weights; i++) {
        const pare_weight *old = before->graph.weights[i];
        if (!old->mask)
            continue;
        int32_t k = model_find_weight(after, old->name);
        const pare_weight *now = k < 0 ? NULL : after->graph.weights[k];
        if (!now || now->n_elems != old->n_elems)
            continue; /* the topology changed, which the order check allows or not */
        for (int64_t e = 0; e < old->n_elems; e++) {
            if (!old->mask[e] && now->data[e] != 0)
                return error_set(err, PARE_E_PLUGIN,
                                 "%s: element %lld was pruned by an earlier step and is %g now",
                                 old->name, (long long)e, (double)now->data[e]);
        }
    }
    return PARE_OK;
}

/* What decides the model after the first n steps; malloc'd. */
static char *prefix_key(const struct pipeline *pipeline, size_t n, const struct pipeline_env *env) {
    struct pipeline prefix = {n, pipeline->steps};
    char *json = pipeline_json(&prefix);
    char *key = alloc_printf("%s|%s|%lld|%llu|%s", env->base_sha256, env->ds->name,
                             (long long)env->ds->splits[SPLIT_TRAIN].n,
                             (unsigned long long)env->seed, json ? json : "");
    free(json);
    for (size_t i = 0; key && i < n; i++) {
        char hex[65];
        struct error ignored;
        char *longer = NULL;
        if (file_sha256(pipeline->steps[i].entry->path, &ignored, hex) == PARE_OK)
            longer = alloc_printf("%s|%s", key, hex);
        free(key);
        key = longer;
    }
    return key;
}

/* The longest beginning that the cache holds: the number of steps, whose result is then in `model`.
 */
static size_t take_from_cache(const struct pipeline *pipeline, const struct pipeline_env *env,
                              struct model *model, double *seconds) {
    size_t n = env->cache ? pipeline->n_steps : 0;
    for (; n > 0; n--) {
        if (!trains(&pipeline->steps[n - 1]))
            continue;
        struct model *cached = NULL;
        char *key = prefix_key(pipeline, n, env);
        int found = key && cache_get(env->cache, key, &cached, seconds);
        free(key);
        if (found) {
            struct model old = *model;
            *model = *cached;
            *cached = old;
            model_destroy(cached);
            break;
        }
    }
    return n;
}

static pare_status apply_step(const struct pipeline *pipeline, size_t index,
                              const struct pipeline_env *env, struct model *model,
                              struct error *err) {
    const struct step *step = &pipeline->steps[index];
    struct model *before = NULL;
    pare_status status = model_copy(model, err, &before);
    if (status == PARE_OK)
        status = do_step(step, index, env, model, err);
    if (status == PARE_OK && step->entry->method->preserves & PARE_MASK)
        status = check_masks_kept(before, model, err);
    model_destroy(before);
    return status == PARE_OK
               ? PARE_OK
               : error_prefix(err, "step %zu (%s)", index + 1, step->entry->method->id);
}

pare_status pipeline_apply(const struct pipeline *pipeline, const struct pipeline_env *env,
                           struct model *model, struct error *err, double *seconds) {
    double spent = 0;
    size_t first = take_from_cache(pipeline, env, model, &spent);
    for (size_t i = first; i < pipeline->n_steps; i++) {
        int64_t start_ns = clock_ns();
        if (apply_step(pipeline, i, env, model, err) != PARE_OK)
            return err->status;
        spent += (double)(clock_ns() - start_ns) * 1e-9;
        if (env->cache && trains(&pipeline->steps[i])) {
            char *key = prefix_key(pipeline, i + 1, env);
            if (key)
                cache_put(env->cache, key, model, spent);
            free(key);
        }
    }
    if (seconds)
        *seconds = spent;
    return PARE_OK;
}
