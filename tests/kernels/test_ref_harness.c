/* SPDX-License-Identifier: MIT */
/* The ref plugin as the harness loads it, on models that the harness made. */
#include "check/graph_maker.h"
#include "core/pool.h"
#include "model/model.h"
#include "naive.h"
#include "plugin/registry.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_IMAGES 6
#define N_INPUT (12 * 12 * 3)

static struct error err;

static int32_t add(struct model *model, struct node_spec spec) {
    static char names[64][16];
    int32_t index;
    snprintf(names[model->graph.n_nodes], sizeof names[0], "n%d", model->graph.n_nodes);
    spec.name = names[model->graph.n_nodes];
    if (model_add(model, &spec, &err, &index) != PARE_OK) {
        fail_msg("%s", err.text);
    }
    return index;
}

static int32_t add_conv(struct model *model, int32_t in, int32_t channels, int32_t stride) {
    int32_t conv = add(model, (struct node_spec){.op = PARE_OP_CONV2D,
                                                 .inputs = {in},
                                                 .out_channels = channels,
                                                 .kernel_h = 3,
                                                 .kernel_w = 3,
                                                 .stride_h = stride,
                                                 .stride_w = stride,
                                                 .pad_h = 1,
                                                 .pad_w = 1});
    return add(model, (struct node_spec){.op = PARE_OP_BATCH_NORM, .inputs = {conv}});
}

static int32_t add_relu(struct model *model, int32_t in) {
    return add(model, (struct node_spec){.op = PARE_OP_RELU, .inputs = {in}});
}

/* A residual network with one block of each kind and batch norms that do something. */
static struct model *make_model(void) {
    const int32_t dims[3] = {12, 12, 3};
    struct model *model;
    assert_int_equal(model_create("small-resnet", dims, &err, &model), PARE_OK);
    int32_t x = add_relu(model, add_conv(model, 0, 8, 1));
    for (int32_t stride = 1; stride <= 2; stride++) {
        int32_t channels = 8 * stride;
        int32_t skip = stride == 1 ? x
                                   : add(model, (struct node_spec){.op = PARE_OP_SHORTCUT_A,
                                                                   .inputs = {x},
                                                                   .out_channels = channels,
                                                                   .stride_h = 2,
                                                                   .stride_w = 2});
        int32_t y = add_relu(model, add_conv(model, x, channels, stride));
        y = add_conv(model, y, channels, 1);
        x = add_relu(model, add(model, (struct node_spec){.op = PARE_OP_ADD, .inputs = {y, skip}}));
    }
    x = add(model, (struct node_spec){.op = PARE_OP_GLOBAL_AVG_POOL, .inputs = {x}});
    add(model,
        (struct node_spec){.op = PARE_OP_LINEAR, .inputs = {x}, .out_channels = 10, .bias = 1});
    assert_int_equal(model_finish(model, &err), PARE_OK);
    model_init_weights(model, 7);
    uint64_t random = 3;
    for (int32_t w = 0; w < model->graph.n_weights; w++) {
        const pare_weight *weight = model->graph.weights[w];
        float *data = model_weight_data(model, w);
        for (int64_t k = 0; k < weight->n_elems && weight->role != PARE_ROLE_WEIGHT; k++) {
            data[k] += (weight->role == PARE_ROLE_VAR ? 0.2f : 0.1f) * fabsf(maker_normal(&random));
        }
    }
    return model;
}

struct run {
    struct registry *reg;
    struct pool *pool;
    struct params *params;
    const struct plugin_entry *entry;
    struct instance *inst;
};

static void start(struct run *r) {
    assert_int_equal(registry_create(&err, &r->reg), PARE_OK);
    if (registry_load(r->reg, TEST_BINARY_DIR "/plugins/ref.so", &err) != PARE_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(registry_find_backend(r->reg, "ref", &err, &r->entry), PARE_OK);
    assert_int_equal(pool_create(2, NULL, &err, &r->pool), PARE_OK);
    struct param_table table = {r->entry->backend->params, r->entry->backend->n_params,
                                sizeof(pare_param_desc), "backend ref"};
    assert_int_equal(params_resolve(&table, 1, NULL, 0, &err, &r->params), PARE_OK);
    struct instance_env env = {.pool = r->pool};
    if (instance_create(r->entry, r->params, 0, &env, &err, &r->inst) != PARE_OK) {
        fail_msg("%s", err.text);
    }
}

static void stop(struct run *r) {
    size_t leaked = 1;
    instance_destroy(r->inst, &leaked);
    assert_int_equal(leaked, 0);
    params_destroy(r->params);
    pool_destroy(r->pool);
    registry_destroy(r->reg);
}

static const char *run_model(const struct run *r, const struct model *model, const float *images,
                             float *output) {
    const pare_backend *backend = r->entry->backend;
    const pare_executable_info *info;
    void *exe;
    pare_compile_options options = {sizeof options, N_IMAGES, NULL};
    pare_status status = backend->compile(instance_self(r->inst), &model->graph, &options, &exe);
    if (instance_status(r->inst, status, "compile", &err) != PARE_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(backend->run(exe, images, N_IMAGES, output), PARE_OK);
    assert_int_equal(backend->executable_info(exe, &info), PARE_OK);
    const char *execution = info->execution;
    backend->executable_destroy(exe);
    return execution;
}

/* Convolutions but the first read signs, and there is no relu before them. */
static void make_binary(struct model *model) {
    for (int32_t i = 0; i < model->graph.n_nodes;) {
        i += model->graph.nodes[i]->op != PARE_OP_RELU ||
             model_remove_relu(model, i, &err) != PARE_OK;
    }
    for (int32_t i = 2; i < model->graph.n_nodes; i++) {
        int32_t made;
        if (model->graph.nodes[i]->op == PARE_OP_CONV2D &&
            model_insert_quantize(model, i++, 0, &err, &made) != PARE_OK) {
            fail_msg("%s", err.text);
        }
    }
}

/* Every conv2d and linear weight to 8 bits, every stored value to the range it has; but signs and
 * the weights that meet them to 1 bit. */
static void quantize(struct model *model, struct naive_value (*values)[64]) {
    for (int32_t i = 0; i < model->graph.n_nodes; i++) {
        const pare_node *node = model->graph.nodes[i];
        int is_sign = node->op == PARE_OP_QUANTIZE;
        int of_signs = i > 0 && model->graph.nodes[node->inputs[0]]->op == PARE_OP_QUANTIZE;
        float largest = 0.0f;
        for (int k = 0; k < N_IMAGES; k++) {
            for (int64_t e = 0; e < values[k][i].n && values[k][i].made; e++) {
                largest = fmaxf(largest, fabsf(values[k][i].real[e]));
            }
        }
        float scale = largest / 127.0f;
        int32_t zero = 0;
        pare_quant q = {.bits = is_sign ? 1 : 8,
                        .qmin = is_sign ? -1 : -128,
                        .qmax = is_sign ? 1 : 127,
                        .axis = -1,
                        .n = 1,
                        .scale = &scale,
                        .zero_point = &zero};
        if (values[0][i].made && i != model->graph.n_nodes - 1 && node->op != PARE_OP_SHORTCUT_A &&
            model_set_activation_quant(model, i, &q, &err) != PARE_OK) {
            fail_msg("%s", err.text);
        }
        const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
        if (w == NULL) {
            continue;
        }
        float scales[64];
        int64_t per_channel = w->n_elems / w->dims[0];
        for (int64_t c = 0; c < w->dims[0]; c++) {
            scales[c] = 1e-6f;
            for (int64_t e = c * per_channel; e < (c + 1) * per_channel; e++) {
                float size = fabsf(w->data[e]);
                scales[c] = of_signs ? scales[c] + size / (float)per_channel
                                     : fmaxf(scales[c], size / 127.0f);
            }
        }
        pare_quant wq = {.bits = of_signs ? 1 : 8,
                         .qmin = of_signs ? -1 : -127,
                         .qmax = of_signs ? 1 : 127,
                         .axis = 0,
                         .n = (int32_t)w->dims[0],
                         .scale = scales};
        if (model_set_weight_quant(model, w->index, &wq, NULL, &err) != PARE_OK) {
            fail_msg("%s", err.text);
        }
    }
    if (model_verify(model, &err) != PARE_OK) {
        fail_msg("%s", err.text);
    }
}

static void naive_all(const struct model *model, const float *images,
                      struct naive_value (*values)[64], float *output) {
    for (int k = 0; k < N_IMAGES; k++) {
        naive_run(&model->graph, images + k * N_INPUT, values[k], output + k * 10);
    }
}

static void free_all(const struct model *model, struct naive_value (*values)[64]) {
    for (int k = 0; k < N_IMAGES; k++) {
        naive_free(&model->graph, values[k]);
    }
}

/* For integer_numpy.py, which ctest runs after this program. */
static void dump(const char *name, const char *part, const float *x, size_t n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", DUMP_DIR, name, part);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(x, sizeof *x, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void dump_all(const char *name, const struct model *model, const float *images,
                     const float *output) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.safetensors", DUMP_DIR, name);
    if (model_save(model, path, NULL, 0, &err) != PARE_OK) {
        fail_msg("%s", err.text);
    }
    dump(name, "-images.f32", images, (size_t)N_IMAGES * N_INPUT);
    dump(name, "-outputs.f32", output, (size_t)N_IMAGES * 10);
}

static void make_images(float images[N_IMAGES * N_INPUT]) {
    uint64_t random = 5;
    for (int k = 0; k < N_IMAGES * N_INPUT; k++) {
        images[k] = maker_normal(&random);
    }
}

static void test_model_through_the_registry(void **state) {
    (void)state;
    static struct naive_value values[N_IMAGES][64];
    float images[N_IMAGES * N_INPUT];
    float wanted[N_IMAGES * 10];
    float unfolded[N_IMAGES * 10];
    float folded[N_IMAGES * 10];
    float integer[N_IMAGES * 10];
    struct run r;
    struct model *model = make_model();
    make_images(images);
    start(&r);
    assert_string_equal(run_model(&r, model, images, unfolded), "float");
    naive_all(model, images, values, wanted);
    assert_memory_equal(unfolded, wanted, sizeof wanted);
    free_all(model, values);

    /* Folded by the model or by the backend: the same up to rounding. */
    assert_int_equal(model_fold_batch_norm(model, &err), PARE_OK);
    assert_string_equal(run_model(&r, model, images, folded), "float");
    naive_all(model, images, values, wanted);
    float largest = 0.0f;
    for (int k = 0; k < N_IMAGES * 10; k++) {
        largest = fmaxf(largest, fabsf(folded[k]));
        assert_true(fabsf(folded[k] - unfolded[k]) < 1e-4f);
    }

    quantize(model, values);
    free_all(model, values);
    assert_string_equal(run_model(&r, model, images, integer), "integer");
    naive_all(model, images, values, wanted);
    assert_memory_equal(integer, wanted, sizeof wanted);
    for (int k = 0; k < N_IMAGES * 10; k++) {
        assert_true(fabsf(integer[k] - folded[k]) < 0.1f * largest);
    }
    free_all(model, values);
    stop(&r);
    dump_all("integer", model, images, integer);
    model_destroy(model);
}

static void test_binary_model(void **state) {
    (void)state;
    static struct naive_value values[N_IMAGES][64];
    float images[N_IMAGES * N_INPUT];
    float wanted[N_IMAGES * 10];
    float output[N_IMAGES * 10];
    struct run r;
    struct model *model = make_model();
    make_images(images);
    assert_int_equal(model_fold_batch_norm(model, &err), PARE_OK);
    make_binary(model);
    naive_all(model, images, values, wanted);
    quantize(model, values);
    free_all(model, values);
    start(&r);
    assert_string_equal(run_model(&r, model, images, output), "integer");
    stop(&r);
    naive_all(model, images, values, wanted);
    free_all(model, values);
    assert_memory_equal(output, wanted, sizeof wanted);
    dump_all("binary", model, images, output);
    model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model_through_the_registry),
                                       cmocka_unit_test(test_binary_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
