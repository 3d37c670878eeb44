/* SPDX-License-Identifier: MIT */
/* The copy-me plugins: they build out of tree with one command, load, and do what they say. */
#include "core/rng.h"
#include "fixtures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static struct registry *load(const char *path) {
    struct error err = {PARE_OK, ""};
    struct registry *reg = NULL;
    must(registry_create(&err, &reg), &err);
    must(registry_load(reg, path, &err), &err);
    return reg;
}

static struct registry *load_template(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/plugins/template/%s.so", TEST_BINARY_DIR, name);
    return load(path);
}

static void check_method(struct registry *reg) {
    struct error err = {PARE_OK, ""};
    const struct plugin_entry *entry = NULL;
    struct instance_env env = {0};
    struct made made = {0};
    struct model *m = model_two_layers();
    must(registry_find_method(reg, "template_threshold", &err, &entry), &err);
    must(make_instance(entry, "threshold=0.5", &env, &err, &made), &err);
    const pare_weight *w = weight_named(m, "fc1.weight");
    float largest = 0.0f, before[24];
    memcpy(before, w->data, sizeof before);
    for (int i = 0; i < 24; i++) {
        largest = fmaxf(largest, fabsf(before[i]));
    }
    must(entry->method->apply(instance_self(made.inst), &m->graph), &err);
    must(model_verify(m, &err), &err);
    int n_pruned = 0;
    for (int i = 0; i < 24; i++) {
        int goes = fabsf(before[i]) < 0.5f * largest;
        assert_true(w->data[i] == (goes ? 0.0f : before[i]));
        n_pruned += goes;
    }
    assert_in_range(n_pruned, 1, 23);
    assert_int_equal(unmake(&made), 0);
    model_destroy(m);
}

static void test_method(void **state) {
    (void)state;
    struct registry *reg = load_template("template_method");
    check_method(reg);
    registry_destroy(reg);
}

/* The command of plugins/README.md, with this build's compiler. */
static void test_method_built_out_of_tree(void **state) {
    (void)state;
    char folder[] = "/tmp/pare_template_XXXXXX";
    char path[64], command[1024];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/mine.so", folder);
    snprintf(command, sizeof command,
             "'%s' -std=c11 -Wall -Wextra -Werror -shared -fPIC -I '%s/harness/include' "
             "'%s/plugins/template/method.c' -o '%s' -lm",
             TEST_C_COMPILER, TEST_SOURCE_DIR, TEST_SOURCE_DIR, path);
    assert_int_equal(system(command), 0);
    struct registry *reg = load(path);
    check_method(reg);
    registry_destroy(reg);
    unlink(path);
    rmdir(folder);
}

/* fc1 - relu - fc2 in double, from the model's own weights. */
static void naive(const struct model *m, const float *image, double *logits) {
    const float *w1 = weight_named(m, "fc1.weight")->data, *b1 = weight_named(m, "fc1.bias")->data;
    const float *w2 = weight_named(m, "fc2.weight")->data, *b2 = weight_named(m, "fc2.bias")->data;
    double hidden[6];
    for (int o = 0; o < 6; o++) {
        hidden[o] = (double)b1[o];
        for (int i = 0; i < 4; i++) {
            hidden[o] += (double)w1[o * 4 + i] * (double)image[i];
        }
        hidden[o] = fmax(hidden[o], 0);
    }
    for (int o = 0; o < 3; o++) {
        logits[o] = (double)b2[o];
        for (int i = 0; i < 6; i++) {
            logits[o] += (double)w2[o * 6 + i] * hidden[i];
        }
    }
}

static void test_backend(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct registry *reg = load_template("template_backend");
    const struct plugin_entry *entry = NULL;
    struct instance_env env = {0};
    struct made made = {0};
    struct model *m = model_two_layers();
    float biases[6] = {0.5f, -0.25f, 0.125f, -1.0f, 2.0f, 0.0f};
    must(model_set_weight(m, weight_named(m, "fc1.bias")->index, biases, &err), &err);
    must(registry_find_backend(reg, "auto", &err, &entry), &err); /* the only one there is */
    must(make_instance(entry, "", &env, &err, &made), &err);
    pare_compile_options options = {.struct_size = sizeof options, .max_batch = 5};
    const pare_executable_info *info = NULL;
    void *executable = NULL;
    must(entry->backend->compile(instance_self(made.inst), &m->graph, &options, &executable), &err);
    must(entry->backend->executable_info(executable, &info), &err);
    assert_int_equal(info->n_kernels, m->graph.n_nodes);
    assert_string_equal(info->kernels[2]->kernel, "template_linear");
    assert_int_equal(info->kernels[2]->macs, 24);
    assert_int_equal(info->bytes_resident % 4, 0);
    float images[5 * 4], output[5 * 3];
    pare_rng rng;
    rng_init(&rng, 3, "images", 0);
    for (int i = 0; i < 20; i++) {
        images[i] = 2.0f * rng_float(&rng) - 1.0f;
    }
    must(entry->backend->run(executable, images, 5, output), &err);
    for (int s = 0; s < 5; s++) {
        double wanted[3];
        naive(m, images + 4 * s, wanted);
        for (int o = 0; o < 3; o++) {
            assert_true(fabs((double)output[3 * s + o] - wanted[o]) < 1e-5);
        }
    }
    entry->backend->executable_destroy(executable);
    assert_int_equal(unmake(&made), 0);
    model_destroy(m);
    registry_destroy(reg);
}

static void refuse(struct model *m, const pare_compile_options *options, const char *text) {
    struct error err = {PARE_OK, ""};
    struct registry *reg = load_template("template_backend");
    const struct plugin_entry *entry = registry_entry(reg, 0);
    struct instance_env env = {0};
    struct made made = {0};
    void *executable = NULL;
    must(make_instance(entry, "", &env, &err, &made), &err);
    pare_status status =
        entry->backend->compile(instance_self(made.inst), &m->graph, options, &executable);
    assert_int_equal(instance_status(made.inst, status, "compile", &err), PARE_E_UNSUPPORTED);
    assert_string_equal(err.text, text);
    assert_null(executable);
    assert_int_equal(unmake(&made), 0);
    registry_destroy(reg);
}

static void test_backend_says_why_not(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    pare_compile_options options = {.struct_size = sizeof options, .max_batch = 1};
    struct model *m = model_start(4, 4, 1);
    int32_t x = add_conv(m, "conv1", 0, 2);
    x = add_op(m, PARE_OP_FLATTEN, "flatten", x);
    add_linear(m, "fc", x, 3);
    model_end(m);
    refuse(m, &options, "backend template_float: conv1: not in a small chain of fp32 layers");
    model_destroy(m);
    m = model_two_layers();
    float scale = 0.1f;
    pare_quant quant = {8, -128, 127, -1, 1, &scale, NULL};
    must(model_set_activation_quant(m, model_find_node(m, "relu1"), &quant, &err), &err);
    refuse(m, &options, "backend template_float: relu1: not in a small chain of fp32 layers");
    options.isa = "avx9";
    refuse(m, &options, "backend template_float: isa is avx9, wanted portable");
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_method),
        cmocka_unit_test(test_method_built_out_of_tree),
        cmocka_unit_test(test_backend),
        cmocka_unit_test(test_backend_says_why_not),
    };
    return cmocka_run_group_tests_name("plugin templates", tests, NULL, NULL);
}
