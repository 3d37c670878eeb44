/* SPDX-License-Identifier: MIT */
/* A method that trains low-bit networks, driven by hand on two layers: fc1 (6,4) reads the input,
 * which can be negative, fc2 (3,6) reads a relu. */
#ifndef TESTS_PLUGINS_LOWBIT_FIXTURES_H
#define TESTS_PLUGINS_LOWBIT_FIXTURES_H

#include "core/rng.h"
#include "fixtures.h"

#include <math.h>
#include <pare/ext/calibrate.h>
#include <pare/ext/train.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { W1 = 24, W2 = 18 };

struct trainer {
    struct registry *reg;
    const pare_method *method;
    const pare_method_train *train;
    const pare_method_calibrate *deploy;
    struct made made;
    void *self;
    struct model *model;
    int32_t fc1, fc2;         /* nodes */
    int32_t weight1, weight2; /* weights */
};

static inline void trainer_must(struct trainer *t, pare_status status, const char *what) {
    struct error err = {PARE_OK, ""};
    must(instance_status(t->made.inst, status, what, &err), &err);
}

/* Weights and values with a tail, none of them half way between two codes. */
static inline void fill(const char *name, int64_t n, float scale, float *out) {
    pare_rng rng;
    rng_init(&rng, 7, name, 0);
    for (int64_t i = 0; i < n; i++) {
        const float u = 2.0f * rng_float(&rng) - 1.0f;
        out[i] = scale * (3.0f * u * u * u * u * u + 0.5f * u);
    }
}

static inline struct trainer trainer_start(const char *plugin, const char *settings) {
    struct error err = {PARE_OK, ""};
    const struct instance_env env = {0};
    float w1[W1], w2[W2];
    struct trainer t = {.reg = load_shipped(plugin), .model = model_two_layers()};
    const struct plugin_entry *entry = registry_entry(t.reg, 0);
    t.method = entry->method;
    t.train = t.method->get_extension(PARE_METHOD_TRAIN);
    t.deploy = t.method->get_extension(PARE_METHOD_CALIBRATE_AFTER);
    must(make_instance(entry, settings, &env, &err, &t.made), &err);
    t.self = instance_self(t.made.inst);
    t.fc1 = model_find_node(t.model, "fc1");
    t.fc2 = model_find_node(t.model, "fc2");
    t.weight1 = model_find_weight(t.model, "fc1.weight");
    t.weight2 = model_find_weight(t.model, "fc2.weight");
    fill("w1", W1, 0.5f, w1);
    fill("w2", W2, 0.5f, w2);
    must(model_set_weight(t.model, t.weight1, w1, &err), &err);
    must(model_set_weight(t.model, t.weight2, w2, &err), &err);
    return t;
}

static inline void trainer_begin(struct trainer *t, int64_t n_steps) {
    const pare_train_plan plan = {
        .struct_size = sizeof plan, .n_steps = n_steps, .steps_per_epoch = n_steps, .batch = 1};
    trainer_must(t, t->method->apply(t->self, &t->model->graph), "apply");
    trainer_must(t, t->train->begin(t->self, &t->model->graph, &plan), "begin");
}

static inline void trainer_finish(struct trainer *t) {
    assert_int_equal(unmake(&t->made), 0);
    model_destroy(t->model);
    registry_destroy(t->reg);
}

static inline const float *weight_data(const struct trainer *t, int32_t weight) {
    return t->model->graph.weights[weight]->data;
}

static inline void weights_of(struct trainer *t, int32_t weight, float *used) {
    trainer_must(
        t,
        t->train->weight_forward(t->self, &t->model->graph, weight, weight_data(t, weight), used),
        "weight_forward");
}

static inline void weights_back(struct trainer *t, int32_t weight, const float *g, float *gw) {
    trainer_must(
        t,
        t->train->weight_backward(t->self, &t->model->graph, weight, weight_data(t, weight), g, gw),
        "weight_backward");
}

static inline void values_of_node(struct trainer *t, int32_t node, const float *x, int64_t n,
                                  float *y) {
    trainer_must(t, t->train->activation_forward(t->self, &t->model->graph, node, x, y, n),
                 "activation_forward");
}

static inline void values_back(struct trainer *t, int32_t node, const float *x, const float *g,
                               int64_t n, float *gx) {
    trainer_must(t, t->train->activation_backward(t->self, &t->model->graph, node, x, g, gx, n),
                 "activation_backward");
}

static inline void take_step(struct trainer *t, int64_t step, double lr) {
    const pare_train_step info = {.struct_size = sizeof info, .step = step, .lr = lr};
    trainer_must(t, t->train->after_step(t->self, &t->model->graph, &info), "after_step");
}

/* Distance between neighbouring levels of y, which has some on either side of a gap of one. */
static inline double level_distance(const float *y, int64_t n) {
    double least = INFINITY;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < n; k++) {
            const double d = fabs((double)y[i] - (double)y[k]);
            least = d > 0.0 && d < least ? d : least;
        }
    }
    return least;
}

/* The gradient that a first step of `lr` followed: 1.9 lr g, by Nesterov's momentum of 0.9. */
static inline double gradient_from(double before, double after, double lr) {
    return (before - after) / (1.9 * lr);
}

static inline void assert_close(double got, double wanted, double tolerance) {
    if (!(fabs(got - wanted) <= tolerance)) {
        fail_msg("got %.9g, wanted %.9g", got, wanted);
    }
}

static inline void refuse_settings(const char *plugin, const char *settings, const char *text) {
    struct error err = {PARE_OK, ""};
    struct made made = {0};
    const struct instance_env env = {0};
    struct registry *reg = load_shipped(plugin);
    assert_int_not_equal(make_instance(registry_entry(reg, 0), settings, &env, &err, &made),
                         PARE_OK);
    assert_string_equal(err.text, text);
    registry_destroy(reg);
}

#endif
