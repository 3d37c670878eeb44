/* SPDX-License-Identifier: MIT */
/* What a script describes is what the run gets: grids, arms, options, hooks. */
#include "script/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct registry *reg;

static struct script *load(const char *text) {
    char path[] = "/tmp/pare_script_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    struct error err;
    struct script *script = NULL;
    pare_status status = script_load(path, NULL, reg, &err, &script);
    unlink(path);
    if (status)
        fail_msg("%s", err.text);
    return script;
}

/* The profile decides what a script asks for. */
static void profile_is_known(void **state) {
    (void)state;
    struct script *script =
        load("local pare = require 'pare'\n"
             "assert(pare.profile == 'default')\n"
             "return pare.experiment { name = pare.profile, dataset = 'glyphs',\n"
             "  model = pare.model 'lenet300':init(), pipelines = { {} } }\n");
    assert_string_equal(script_experiment(script)->name, "default");
    script_destroy(script);
}

static void expect_label(const struct pipeline_spec *pipeline, const char *wanted) {
    char *label = pipeline_label(pipeline);
    assert_string_equal(label, wanted);
    free(label);
}

static void grids_expand_in_written_order(void **state) {
    (void)state;
    struct script *script =
        load("local pare = require 'pare'\n"
             "local two = pare.grid { 'minmax', 'percentile' }\n"
             "return pare.experiment {\n"
             "  name = 'grids', dataset = 'glyphs', model = pare.model 'lenet300':init(),\n"
             "  seeds = { 3, 1 },\n"
             "  pipelines = {\n"
             "    {},\n"
             "    { { 'ptq', observer = two, bits = pare.grid { 8, 2 } } },\n"
             "    { { 'magnitude', sparsity = 0.5, exclude = { 'fc3' } }, { 'ptq' } },\n"
             "    { { pare.grid { 'magnitude' }, sparsity = pare.grid { 0.25, 0.75 } } },\n"
             "  },\n"
             "}\n");
    const struct experiment *exp = script_experiment(script);
    static const char *const wanted[] = {
        "fp32",
        "ptq(bits=8, observer=minmax)",
        "ptq(bits=8, observer=percentile)",
        "ptq(bits=2, observer=minmax)",
        "ptq(bits=2, observer=percentile)",
        "magnitude(exclude=fc3, sparsity=0.5) + ptq",
        "magnitude(sparsity=0.25)",
        "magnitude(sparsity=0.75)",
    };
    assert_int_equal(exp->n_pipelines, sizeof wanted / sizeof *wanted);
    for (size_t k = 0; k < exp->n_pipelines; k++)
        expect_label(&exp->pipelines[k], wanted[k]);
    assert_string_equal(exp->name, "grids");
    assert_int_equal(exp->n_seeds, 2);
    assert_int_equal(exp->seeds[0], 3);
    assert_int_equal(exp->model.source, MODEL_INIT);
    assert_string_equal(exp->model.label, "lenet300");
    assert_int_equal(exp->model.model->graph.input_dims[0], 28);
    script_destroy(script);
}

static void arms_are_a_product(void **state) {
    (void)state;
    struct script *script =
        load("local pare = require 'pare'\n"
             "return pare.experiment {\n"
             "  name = 'arms', dataset = pare.dataset('glyphs', { train = 100, test = 50 }),\n"
             "  model = pare.model('resnet8', { shortcut = 'B' }):train { epochs = 2, lr = 0.1 },\n"
             "  pipelines = { {} }, counters = { 'page_faults' },\n"
             "  arms = { { backend = { 'ref', 'auto' }, threads = { 1, 2 } }, { batch = { 8, 16 "
             "} }, { cache = { 'hot', 'cold-all' }, cores = { 'little', 'BIG' "
             "} } },\n"
             "}\n");
    const struct experiment *exp = script_experiment(script);
    static const struct {
        const char *backend;
        int threads, batch;
        const char *scenario;
        enum cache_state cache;
        enum core_kind cores;
    } wanted[] = {{"ref", 1, 1, "single"},
                  {"ref", 2, 1, "single"},
                  {"auto", 1, 1, "single"},
                  {"auto", 2, 1, "single"},
                  {"auto", 1, 8, "offline"},
                  {"auto", 1, 16, "offline"},
                  {"auto", 1, 1, "single", CACHE_HOT, CORES_LITTLE},
                  {"auto", 1, 1, "single", CACHE_HOT, CORES_BIG},
                  {"auto", 1, 1, "single", CACHE_COLD_ALL, CORES_LITTLE},
                  {"auto", 1, 1, "single", CACHE_COLD_ALL, CORES_BIG}};
    assert_int_equal(exp->n_arms, 10);
    for (size_t k = 0; k < exp->n_arms; k++) {
        assert_string_equal(exp->arms[k].backend, wanted[k].backend);
        assert_int_equal(exp->arms[k].threads, wanted[k].threads);
        assert_int_equal(exp->arms[k].batch, wanted[k].batch);
        assert_string_equal(exp->arms[k].scenario, wanted[k].scenario);
        assert_int_equal(exp->arms[k].cache, wanted[k].cache);
        assert_int_equal(exp->arms[k].cores, wanted[k].cores);
    }
    assert_int_equal(exp->data_options.max_train, 100);
    assert_int_equal(exp->data_options.max_val, 0);
    assert_int_equal(exp->data_options.max_test, 50);
    assert_string_equal(exp->model.label, "resnet8(shortcut=B)");
    assert_int_equal(exp->model.source, MODEL_TRAIN);
    assert_int_equal(exp->model.n_train_inputs, 2);
    assert_string_equal(exp->model.train_inputs[0].name, "epochs");
    assert_int_equal(exp->n_counters, 1);
    script_destroy(script);
}

static void a_script_describes_its_own_network(void **state) {
    (void)state;
    struct script *script = load(
        "local pare = require 'pare'\n"
        "local function build(g, x, classes, options)\n"
        "  local y = g:relu(g:conv2d(x, { out = options.width, kernel = { 3, 5 }, stride = 2,\n"
        "                                 pad = { 1, 2 }, name = 'stem' }))\n"
        "  y = g:add(y, g:batch_norm(g:conv2d(y, { out = y.channels, kernel = 3, pad = 1,\n"
        "                                          groups = y.channels, bias = false })))\n"
        "  y = g:avg_pool(g:max_pool(y, { kernel = 2 }), { kernel = 7, stride = 1 })\n"
        "  assert(y.height == 1 and y.width == 1 and y.features == 8 and y.name == 'pool2')\n"
        "  return g:softmax(g:linear(g:flatten(y), { out = classes }))\n"
        "end\n"
        "return pare.experiment { name = 'own', dataset = 'glyphs', pipelines = { {} },\n"
        "  model = pare.model { name = 'own', build = build, options = { width = 8 } }:init() }\n");
    const pare_graph *graph = &script_experiment(script)->model.model->graph;
    assert_string_equal(graph->name, "own");
    assert_int_equal(graph->n_classes, 10);
    assert_string_equal(graph->nodes[1]->name, "stem");
    assert_int_equal(graph->nodes[1]->kernel_w, 5);
    assert_int_equal(graph->nodes[1]->pad_w, 2);
    assert_int_equal(graph->nodes[1]->dims[0], 14);
    struct model_counts counts;
    model_count(script_experiment(script)->model.model, &counts);
    /* stem 8*15+8, depthwise 8*9, batch norm 16, fc 8*10+10 */
    assert_int_equal(counts.params_total, 128 + 72 + 16 + 90);
    script_destroy(script);
}

static const char with_hooks[] =
    "local pare = require 'pare'\n"
    "return pare.experiment {\n"
    "  name = 'hooks', dataset = 'glyphs', model = pare.model 'lenet300':init(),\n"
    "  pipelines = { { { 'ptq', bits = 8 } } },\n"
    "  on_trial = function(trial)\n"
    "    assert(trial.pipeline == 'ptq(bits=8)' and trial.steps[1].method == 'ptq')\n"
    "    if trial.seed == 9 then while true do end end\n"
    "    return trial.steps[1].bits == 8 and trial.seed ~= 2\n"
    "  end,\n"
    "  on_record = function(record, propose)\n"
    "    assert(record.loss == nil and record.status == 'ok')\n"
    "    if record.top1 > 0.5 then\n"
    "      assert(propose { { 'ptq', bits = pare.grid { 8, 7, 6 } } } == 2)\n"
    "    else\n"
    "      propose { { 'ptq', bitts = 5 } }\n"
    "    end\n"
    "  end,\n"
    "}\n";

static void hooks_are_called(void **state) {
    (void)state;
    struct script *script = load(with_hooks);
    struct experiment *exp = script_experiment(script);
    struct experiment_hooks *hooks = &exp->hooks;
    struct error err;
    int go = -1;
    assert_int_equal(hooks->on_trial(hooks->context, &exp->pipelines[0], 1, &go, &err), PARE_OK);
    assert_int_equal(go, 1);
    assert_int_equal(hooks->on_trial(hooks->context, &exp->pipelines[0], 2, &go, &err), PARE_OK);
    assert_int_equal(go, 0);

    struct record record = {0};
    record_set(&record, COL_status, "ok");
    record_set_real(&record, COL_top1, 0.75);
    assert_int_equal(hooks->on_record(hooks->context, &record, &err), PARE_OK);
    assert_int_equal(exp->n_pipelines, 3);
    expect_label(&exp->pipelines[1], "ptq(bits=7)");
    expect_label(&exp->pipelines[2], "ptq(bits=6)");
    record_clear(&record);
    script_destroy(script);
}

static void hooks_fail_with_their_line(void **state) {
    (void)state;
    struct script *script = load(with_hooks);
    struct experiment *exp = script_experiment(script);
    struct error err;
    int go = -1;
    struct record record = {0};
    record_set(&record, COL_status, "ok");
    record_set_real(&record, COL_top1, 0.25);
    assert_int_not_equal(exp->hooks.on_record(exp->hooks.context, &record, &err), PARE_OK);
    assert_non_null(strstr(err.text, ":15: propose: step 1 (ptq): bitts: unknown parameter"));
    assert_int_equal(exp->n_pipelines, 1);
    assert_int_equal(exp->hooks.on_trial(exp->hooks.context, &exp->pipelines[0], 9, &go, &err),
                     PARE_E_LIMIT);
    assert_non_null(strstr(err.text, ":7: ran 1000000000 instructions"));
    assert_int_equal(go, -1);
    /* The limit counts anew for each call. */
    assert_int_equal(exp->hooks.on_trial(exp->hooks.context, &exp->pipelines[0], 1, &go, &err),
                     PARE_OK);
    record_clear(&record);
    script_destroy(script);
}

static int set_up(void **state) {
    (void)state;
    struct error err;
    return registry_create(&err, &reg) != PARE_OK ||
           registry_scan(reg, TEST_BINARY_DIR "/plugins", &err) != PARE_OK;
}

static int tear_down(void **state) {
    (void)state;
    registry_destroy(reg);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile_is_known),   cmocka_unit_test(grids_expand_in_written_order),
        cmocka_unit_test(arms_are_a_product), cmocka_unit_test(a_script_describes_its_own_network),
        cmocka_unit_test(hooks_are_called),   cmocka_unit_test(hooks_fail_with_their_line),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
