/* SPDX-License-Identifier: MIT */
#include "experiment/base.h"

#include "core/alloc.h"
#include "core/file.h"
#include "experiment/outputs.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_status hash_model(const struct model *model, struct error *err, char hex[65]) {
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    if (model_serialize(model, NULL, 0, err, &data, &n_bytes) != PARE_OK)
        return err->status;
    bytes_sha256(data, n_bytes, hex);
    free(data);
    return PARE_OK;
}

static pare_status resolve_training(const struct experiment *exp, struct error *err,
                                    struct params **out) {
    struct param_table table = experiment_train_table();
    return params_resolve(&table, 1, exp->model.train_inputs, exp->model.n_train_inputs, err, out);
}

pare_status base_identity(const struct experiment *exp, struct error *err, char **out) {
    char hex[65];
    /* Of an untrained model this is the identity of its graph. */
    if (hash_model(exp->model.model, err, hex) != PARE_OK)
        return err->status;
    char *text = NULL;
    if (exp->model.source == MODEL_TRAIN) {
        struct params *params;
        if (resolve_training(exp, err, &params) != PARE_OK)
            return err->status;
        char *json = params_json(params);
        text = alloc_printf("train:%s:%s", hex, json ? json : "");
        free(json);
        params_destroy(params);
    } else {
        text = alloc_printf("%s:%s", exp->model.source == MODEL_INIT ? "init" : "checkpoint", hex);
    }
    if (!text)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    *out = text;
    return PARE_OK;
}

/* What decides a trained base; malloc'd. */
static char *cache_key(const struct base_env *env, uint64_t seed) {
    struct error ignored;
    char *identity = NULL;
    if (base_identity(env->exp, &ignored, &identity) != PARE_OK)
        return NULL;
    char *key = alloc_printf("base|%s|%s|%lld|%llu", identity, env->ds->name,
                             (long long)env->ds->splits[SPLIT_TRAIN].n, (unsigned long long)seed);
    free(identity);
    return key;
}

static pare_status train_base(const struct base_env *env, uint64_t seed, struct model *model,
                              struct error *err, double *seconds) {
    struct params *params;
    struct train_options options;
    if (resolve_training(env->exp, err, &params) != PARE_OK)
        return err->status;
    pare_status status = experiment_train_options(params, env->ds, seed, err, &options);
    params_destroy(params);
    if (status != PARE_OK)
        return status;
    char label[96];
    snprintf(label, sizeof label, "training %s, seed %llu", env->exp->model.label,
             (unsigned long long)seed);
    struct train_hooks hooks = {0};
    struct train_result result;
    status = train_run(model, env->ds, &options, &hooks, env->pool, env->quiet ? NULL : label, err,
                       &result);
    if (status == PARE_OK)
        *seconds = result.seconds;
    return status;
}

static pare_status make_model(const struct base_env *env, uint64_t seed, struct error *err,
                              struct model **out) {
    const struct model_spec *spec = &env->exp->model;
    char *key = spec->source == MODEL_TRAIN ? cache_key(env, seed) : NULL;
    double seconds;
    if (key && cache_get(env->cache, key, out, &seconds)) {
        free(key);
        return PARE_OK;
    }
    struct model *model = NULL;
    pare_status status = model_copy(spec->model, err, &model);
    if (status == PARE_OK && spec->source != MODEL_CHECKPOINT)
        model_init_weights(model, seed);
    if (status == PARE_OK && spec->source == MODEL_TRAIN)
        status = train_base(env, seed, model, err, &seconds);
    if (status == PARE_OK && key)
        cache_put(env->cache, key, model, seconds);
    free(key);
    if (status != PARE_OK) {
        model_destroy(model);
        return status;
    }
    *out = model;
    return PARE_OK;
}

static pare_status evaluate(const struct base_env *env, struct base *base, struct error *err) {
    const struct dataset_split *test = &env->ds->splits[SPLIT_TEST];
    base->logits = alloc_array((size_t)test->n * (size_t)env->ds->n_classes, sizeof(float));
    base->predictions = alloc_array((size_t)test->n, 1);
    if (!base->logits || !base->predictions)
        return error_set(err, PARE_E_NOMEM, "out of memory for the baseline's outputs");
    struct accuracy acc;
    if (train_infer_split(base->model, env->ds, SPLIT_TEST, env->pool, err, base->logits) !=
            PARE_OK ||
        outputs_measure(&base->model->graph, env->ds, SPLIT_TEST, base->logits, err, &acc,
                        base->predictions) != PARE_OK)
        return err->status;
    base->top1 = acc.top1;
    return hash_model(base->model, err, base->sha256);
}

pare_status base_create(const struct base_env *env, uint64_t seed, struct error *err,
                        struct base **out) {
    struct base *base = alloc_array(1, sizeof *base);
    if (!base)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    base->seed = seed;
    struct error *failure = &base->failure;
    if (make_model(env, seed, failure, &base->model) != PARE_OK ||
        evaluate(env, base, failure) != PARE_OK)
        error_prefix(failure, "base model %s", env->exp->model.label);
    else
        failure->status = PARE_OK;
    *out = base;
    return PARE_OK;
}

void base_destroy(struct base *base) {
    if (!base)
        return;
    model_destroy(base->model);
    free(base->logits);
    free(base->predictions);
    free(base);
}
