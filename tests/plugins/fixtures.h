/* SPDX-License-Identifier: MIT */
/* Small models and instances for tests of plugins. */
#ifndef TESTS_PLUGINS_FIXTURES_H
#define TESTS_PLUGINS_FIXTURES_H

#include "model/model.h"
#include "plugin/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the test program with the message: for what a test only builds upon. */
static inline void must(pare_status status, const struct error *err) {
    if (status != PARE_OK) {
        fprintf(stderr, "fixture: %s\n", err->text);
        exit(1);
    }
}

static inline struct model *model_start(int32_t h, int32_t w, int32_t c) {
    struct error err;
    struct model *m = NULL;
    must(model_create("small", (int32_t[3]){h, w, c}, &err, &m), &err);
    return m;
}

static inline int32_t add(struct model *m, struct node_spec spec) {
    struct error err;
    int32_t index = -1;
    must(model_add(m, &spec, &err, &index), &err);
    return index;
}

static inline int32_t add_conv(struct model *m, const char *name, int32_t in, int32_t channels) {
    return add(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                     .name = name,
                                     .inputs = {in},
                                     .out_channels = channels,
                                     .kernel_h = 3,
                                     .kernel_w = 3,
                                     .pad_h = 1,
                                     .pad_w = 1,
                                     .bias = 1});
}

static inline int32_t add_linear(struct model *m, const char *name, int32_t in, int32_t outputs) {
    return add(m, (struct node_spec){.op = PARE_OP_LINEAR,
                                     .name = name,
                                     .inputs = {in},
                                     .out_channels = outputs,
                                     .bias = 1});
}

static inline int32_t add_op(struct model *m, pare_op op, const char *name, int32_t in) {
    return add(m, (struct node_spec){.op = op, .name = name, .inputs = {in}});
}

static inline int32_t add_pool(struct model *m, pare_op op, const char *name, int32_t in) {
    return add(m, (struct node_spec){.op = op,
                                     .name = name,
                                     .inputs = {in},
                                     .kernel_h = 2,
                                     .kernel_w = 2,
                                     .stride_h = 2,
                                     .stride_w = 2});
}

/* Weights from seed 1, and the output declared. */
static inline void model_end(struct model *m) {
    struct error err;
    must(model_finish(m, &err), &err);
    model_init_weights(m, 1);
}

/* input (1,1,4) - flatten - fc1 (6) - relu - fc2 (3) */
static inline struct model *model_two_layers(void) {
    struct model *m = model_start(1, 1, 4);
    int32_t x = add_op(m, PARE_OP_FLATTEN, "flatten", 0);
    x = add_linear(m, "fc1", x, 6);
    x = add_op(m, PARE_OP_RELU, "relu1", x);
    add_linear(m, "fc2", x, 3);
    model_end(m);
    return m;
}

static inline const pare_weight *weight_named(const struct model *m, const char *name) {
    int32_t k = model_find_weight(m, name);
    if (k < 0) {
        fprintf(stderr, "fixture: no weight %s\n", name);
        exit(1);
    }
    return m->graph.weights[k];
}

/* The shipped plugin NAME.so of this build. */
static inline struct registry *load_shipped(const char *name) {
    struct error err;
    struct registry *reg = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/plugins/%s.so", TEST_BINARY_DIR, name);
    must(registry_create(&err, &reg), &err);
    must(registry_load(reg, path, &err), &err);
    return reg;
}

/* An instance of the registry's first entry, with its parameters. */
struct made {
    struct params *params;
    struct instance *inst;
};

/* `settings` is "bits=4 observer=mse": as on a command line, parted by spaces. */
static inline pare_status make_instance(const struct plugin_entry *entry, const char *settings,
                                        const struct instance_env *env, struct error *err,
                                        struct made *made) {
    char text[256];
    struct param_input inputs[16] = {0};
    size_t n = 0;
    snprintf(text, sizeof text, "%s", settings);
    for (char *item = strtok(text, " "); item && n < 16; item = strtok(NULL, " ")) {
        char *equals = strchr(item, '=');
        *equals = '\0';
        inputs[n++] = (struct param_input){
            .name = item, .kind = INPUT_STRING, .from_text = 1, .string = equals + 1};
    }
    struct param_table table = registry_param_table(entry);
    pare_status status = params_resolve(&table, 1, inputs, n, err, &made->params);
    if (status == PARE_OK) {
        status = instance_create(entry, made->params, 0, env, err, &made->inst);
        if (status < 0) {
            params_destroy(made->params);
        }
    }
    return status;
}

/* Allocations that still succeed; negative: all do. */
static int allocations_left = -1;
static void *(*real_alloc)(const pare_host *host, size_t bytes);

static inline void *scarce_alloc(const pare_host *host, size_t bytes) {
    if (allocations_left == 0) {
        return NULL;
    }
    allocations_left -= allocations_left > 0;
    return real_alloc(host, bytes);
}

/* From here on the instance gets n more blocks of memory, and then none. */
static inline void make_scarce(struct made *made, int n) {
    real_alloc = made->inst->host.alloc;
    made->inst->host.alloc = scarce_alloc;
    allocations_left = n;
}

/* Frees it; returns the bytes it leaked. */
static inline size_t unmake(struct made *made) {
    size_t leaked = 0;
    instance_destroy(made->inst, &leaked);
    params_destroy(made->params);
    *made = (struct made){0};
    return leaked;
}

/* A method of a shipped plugin with an instance of it; NULL what it lacks. */
struct loaded {
    struct registry *reg;
    const pare_method *method;
    const pare_method_calibrate *calibrate;
    const pare_method_train *train;
    void *self;
    struct made made;
};

static inline const void *extension_of(const pare_method *method, const char *id) {
    return method->get_extension ? method->get_extension(id) : NULL;
}

static inline pare_status try_method(const char *plugin, const char *id, const char *settings,
                                     const struct instance_env *env, struct error *err,
                                     struct loaded *out) {
    const struct plugin_entry *entry = NULL;
    *out = (struct loaded){.reg = load_shipped(plugin)};
    must(registry_find_method(out->reg, id, err, &entry), err);
    out->method = entry->method;
    out->calibrate = extension_of(entry->method, PARE_METHOD_CALIBRATE);
    out->train = extension_of(entry->method, PARE_METHOD_TRAIN);
    const pare_status status = make_instance(entry, settings, env, err, &out->made);
    if (status == PARE_OK) {
        out->self = instance_self(out->made.inst);
    } else {
        registry_destroy(out->reg);
    }
    return status;
}

static inline struct loaded load_method(const char *plugin, const char *id, const char *settings,
                                        const struct instance_env *env) {
    struct error err = {PARE_OK, ""};
    struct loaded loaded;
    must(try_method(plugin, id, settings, env, &err, &loaded), &err);
    return loaded;
}

/* Ends the program if the instance has leaked. */
static inline void unload(struct loaded *loaded) {
    const size_t leaked = unmake(&loaded->made);
    if (leaked > 0) {
        fprintf(stderr, "fixture: %s leaked %zu bytes\n", loaded->method->id, leaked);
        exit(1);
    }
    registry_destroy(loaded->reg);
}

/* apply, with the plugin's message on failure. */
static inline pare_status apply_loaded(const struct loaded *loaded, struct model *m,
                                       struct error *err) {
    const pare_status status = loaded->method->apply(loaded->self, &m->graph);
    return instance_status(loaded->made.inst, status, "apply", err);
}

/* One step without training, and whether the model is still sound. */
static inline pare_status try_step(struct model *m, const char *plugin, const char *id,
                                   const char *settings, struct error *err) {
    const struct instance_env env = {.seed = 1};
    struct loaded loaded;
    pare_status status = try_method(plugin, id, settings, &env, err, &loaded);
    if (status == PARE_OK) {
        status = apply_loaded(&loaded, m, err);
        unload(&loaded);
    }
    return status == PARE_OK ? model_verify(m, err) : status;
}

static inline void do_step(struct model *m, const char *plugin, const char *id,
                           const char *settings) {
    struct error err = {PARE_OK, ""};
    must(try_step(m, plugin, id, settings, &err), &err);
}

static inline int64_t n_pruned(const pare_weight *w) {
    int64_t n = 0;
    for (int64_t i = 0; w->mask && i < w->n_elems; i++) {
        n += w->mask[i] == 0;
    }
    return n;
}

#endif
