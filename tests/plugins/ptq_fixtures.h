/* SPDX-License-Identifier: MIT */
/* Methods that calibrate, driven with what a model computes from made-up images. Include after
 * cmocka.h. */
#ifndef TESTS_PLUGINS_PTQ_FIXTURES_H
#define TESTS_PLUGINS_PTQ_FIXTURES_H

#include "core/rng.h"
#include "fixtures.h"
#include "train/network.h"

#include <math.h>
#include <pare/ext/calibrate.h>

enum { N_IMAGES = 12, IMAGES_PER_BATCH = 5 }; /* the last batch is smaller */

/* (N_IMAGES, dims of the input): mostly positive, so that means are far from 0. Caller frees. */
static inline float *images_for(const struct model *m, int64_t *n_elems) {
    const int32_t *dims = m->graph.input_dims;
    *n_elems = (int64_t)dims[0] * dims[1] * dims[2];
    float *images = malloc((size_t)(N_IMAGES * *n_elems) * sizeof *images);
    pare_rng rng;
    rng_init(&rng, 5, "images", 0);
    for (int64_t i = 0; i < N_IMAGES * *n_elems; i++) {
        images[i] = 2.0f * rng_float(&rng) - 0.5f;
    }
    return images;
}

struct ptq_run {
    struct loaded *loaded;
    struct model *model;
};

static inline pare_status ptq_visit(void *context, int32_t node, const float *value, int32_t n) {
    struct ptq_run *run = context;
    return run->loaded->calibrate->observe(run->loaded->self, &run->model->graph, node, value, n);
}

/* Evaluates the images in batches; every node's value goes to `visit`. */
static inline void watch(struct model *m, network_visitor visit, void *context) {
    struct error err = {PARE_OK, ""};
    struct pool *pool = NULL;
    struct network *net = NULL;
    int64_t n_elems = 0;
    float *images = images_for(m, &n_elems);
    must(pool_create(1, NULL, &err, &pool), &err);
    must(network_create(m, IMAGES_PER_BATCH, 0, NULL, pool, &err, &net), &err);
    for (int32_t at = 0; at < N_IMAGES; at += IMAGES_PER_BATCH) {
        const float *logits = NULL;
        const int32_t n = at + IMAGES_PER_BATCH <= N_IMAGES ? IMAGES_PER_BATCH : N_IMAGES - at;
        must(network_infer_observed(net, images + at * n_elems, n, visit, context, &err, &logits),
             &err);
    }
    network_destroy(net);
    pool_destroy(pool);
    free(images);
}

/* The whole step; `err` has the method's message. */
static inline pare_status try_calibrated(struct model *m, const char *method, const char *settings,
                                         const struct instance_env *env, struct error *err) {
    struct loaded q;
    pare_status status = try_method(method, method, settings, env, err, &q);
    if (status != PARE_OK) {
        return status;
    }
    struct ptq_run run = {&q, m};
    status = instance_status(q.made.inst, q.calibrate->begin(q.self, &m->graph), "begin", err);
    for (int32_t again = 1; again && status == PARE_OK;) {
        again = 0;
        watch(m, ptq_visit, &run);
        status =
            instance_status(q.made.inst, q.calibrate->end(q.self, &m->graph, &again), "end", err);
    }
    status = status == PARE_OK ? apply_loaded(&q, m, err) : status;
    unload(&q);
    return status == PARE_OK ? model_verify(m, err) : status;
}

static inline void calibrated_step(struct model *m, const char *method, const char *settings,
                                   const struct instance_env *env) {
    struct error err = {PARE_OK, ""};
    must(try_calibrated(m, method, settings, env, &err), &err);
}

static inline void ptq_step(struct model *m, const char *settings, const struct instance_env *env) {
    calibrated_step(m, "ptq", settings, env);
}

struct collected {
    int32_t node;
    int64_t n_elems, n; /* of one image; collected so far */
    float *values;      /* (N_IMAGES, n_elems) */
};

static inline pare_status collect(void *context, int32_t node, const float *value, int32_t n) {
    struct collected *c = context;
    if (node == c->node) {
        const int64_t count = n * c->n_elems;
        memcpy(c->values + c->n, value, (size_t)count * sizeof *value);
        c->n += count;
    }
    return PARE_OK;
}

/* What the model makes of the images at that node; caller frees. */
static inline float *values_at(struct model *m, const char *name, int64_t *n_elems) {
    struct collected c = {.node = model_find_node(m, name)};
    if (c.node < 0) {
        fprintf(stderr, "fixture: no node %s\n", name);
        exit(1);
    }
    const int32_t *dims = m->graph.nodes[c.node]->dims;
    c.n_elems = (int64_t)dims[0] * dims[1] * dims[2];
    c.values = malloc((size_t)(N_IMAGES * c.n_elems) * sizeof *c.values);
    watch(m, collect, &c);
    *n_elems = c.n_elems;
    return c.values;
}

#endif
