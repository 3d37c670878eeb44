/* SPDX-License-Identifier: MIT */
/* The networks of scripts/lib/models.lua against published counts. */
#include "script/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct model *build(const char *name, const int32_t *dims, struct param_input *options,
                           size_t n_options) {
    struct error err;
    struct model *model = NULL;
    if (script_build_model(name, dims, dims ? 10 : 0, options, n_options, &err, &model))
        fail_msg("%s: %s", name, err.text);
    return model;
}

static void expect_counts(const char *name, const int32_t *dims, const char *shortcut,
                          int64_t params, int64_t macs) {
    struct param_input option = {.name = "shortcut", .kind = INPUT_STRING};
    char value[] = "?";
    value[0] = shortcut ? shortcut[0] : '?';
    option.string = value;
    struct model *model = build(name, dims, &option, shortcut ? 1 : 0);
    struct model_counts counts;
    model_count(model, &counts);
    assert_int_equal(counts.params_total, params);
    assert_int_equal(counts.macs_dense, macs);
    model_destroy(model);
}

static void counts_are_the_published_ones(void **state) {
    (void)state;
    const int32_t colour[3] = {32, 32, 3}, grey[3] = {28, 28, 1};
    /* LeNet-5-Caffe 431 k and LeNet-300-100 266 k: Han et al. 2015 (arXiv 1506.02626), tables 1-4.
     */
    expect_counts("lenet5", NULL, NULL, 431080, 2293000);
    expect_counts("lenet300", NULL, NULL, 266610, 266200);
    /* ResNet20 0.27 M, 44 0.66 M, 56 0.85 M: He et al. 2015 (arXiv 1512.03385), table 6; to the
     * unit as in widely used re-implementations with padded (A) and convolutional (B) shortcuts. */
    expect_counts("resnet20", colour, "A", 269722, 40551040);
    expect_counts("resnet20", colour, NULL, 269722, 40551040);
    expect_counts("resnet20", colour, "B", 272474, 40813184);
    expect_counts("resnet32", colour, "A", 464154, 68862592);
    expect_counts("resnet44", colour, "A", 658586, 97174144);
    expect_counts("resnet56", colour, "A", 853018, 125485696);
    expect_counts("resnet20", grey, "A", 269434, 30821248);
}

static void depth_is_an_option(void **state) {
    (void)state;
    const int32_t colour[3] = {32, 32, 3};
    char name[] = "depth";
    struct param_input depth = {.name = name, .kind = INPUT_NUMBER, .is_integer = 1, .number = 8};
    struct model *by_depth = build("resnet", colour, &depth, 1);
    struct model *by_name = build("resnet8", colour, NULL, 0);
    assert_int_equal(by_depth->graph.n_nodes, by_name->graph.n_nodes);
    model_destroy(by_depth);
    model_destroy(by_name);
}

static int32_t n_nodes_of(const struct model *model, pare_op op) {
    int32_t n = 0;
    for (int32_t k = 0; k < model->graph.n_nodes; k++)
        n += model->graph.nodes[k]->op == op;
    return n;
}

/* Bi-Real Net's way around each convolution: an addition for each but the first, no parameters; one
 * of the two in a block where the shape changes needs what a single one needs. */
static void skips_are_an_option(void **state) {
    (void)state;
    const int32_t colour[3] = {32, 32, 3};
    char name[] = "skips", value[] = "double";
    struct param_input option = {.name = name, .kind = INPUT_STRING, .string = value};
    struct model *model = build("resnet20", colour, &option, 1);
    struct model_counts counts;
    model_count(model, &counts);
    assert_int_equal(counts.params_total, 269722);
    assert_int_equal(counts.macs_dense, 40551040);
    assert_int_equal(n_nodes_of(model, PARE_OP_ADD), 18);
    assert_int_equal(n_nodes_of(model, PARE_OP_SHORTCUT_A), 2);
    model_destroy(model);
}

static void expect_failure(const char *name, struct param_input *option, const char *wanted) {
    struct error err;
    struct model *model = NULL;
    assert_int_not_equal(script_build_model(name, NULL, 0, option, option ? 1 : 0, &err, &model),
                         PARE_OK);
    assert_null(model);
    if (!strstr(err.text, wanted))
        fail_msg("got '%s', wanted '...%s...'", err.text, wanted);
}

static void mistakes_are_named(void **state) {
    (void)state;
    char shortcut[] = "shortcut", shortcat[] = "shortcat", depth[] = "depth", value[] = "C";
    struct param_input bad_value = {.name = shortcut, .kind = INPUT_STRING, .string = value};
    struct param_input bad_name = {.name = shortcat, .kind = INPUT_STRING, .string = value};
    struct param_input bad_type = {.name = shortcut, .kind = INPUT_NUMBER, .number = 1};
    struct param_input bad_depth = {
        .name = depth, .kind = INPUT_NUMBER, .is_integer = 1, .number = 21};
    expect_failure("resnet2", NULL, "unknown model 'resnet2', did you mean 'resnet");
    expect_failure("resnet20", &bad_value, "model resnet20: shortcut is 'C', wanted 'A'");
    expect_failure("resnet20", &bad_name, "unknown key 'shortcat', did you mean 'shortcut'?");
    expect_failure("resnet20", &bad_type, "shortcut is a number, wanted a string");
    char skips[] = "skips", triple[] = "triple";
    struct param_input bad_skips = {.name = skips, .kind = INPUT_STRING, .string = triple};
    expect_failure("resnet20", &bad_skips, "model resnet20: skips is 'triple', wanted 'single'");
    expect_failure("resnet", &bad_depth, "depth is 21, wanted 6n+2");
    expect_failure("absent.lua:x", NULL, "absent.lua");
}

static void count_item(void *arg, const char *name, const char *doc) {
    int *n = arg;
    *n += strcmp(name, "lenet5") == 0 || strcmp(name, "resnet20") == 0;
    assert_true(strlen(doc) > 20);
}

static void models_are_listed(void **state) {
    (void)state;
    struct error err;
    int n = 0;
    assert_int_equal(script_list_models(count_item, &n, &err), PARE_OK);
    assert_int_equal(n, 2);
}

static void unknown_checkpoints_are_named(void **state) {
    (void)state;
    struct error err;
    char *path = NULL;
    assert_int_equal(script_find_checkpoint("no-such-checkpoint", &err, &path), PARE_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "checkpoint 'no-such-checkpoint': no such file"));
    assert_int_equal(script_find_checkpoint("no/such/file", &err, &path), PARE_E_NOT_FOUND);
    assert_null(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_the_published_ones),
        cmocka_unit_test(depth_is_an_option),
        cmocka_unit_test(skips_are_an_option),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(models_are_listed),
        cmocka_unit_test(unknown_checkpoints_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
