/* SPDX-License-Identifier: MIT */
/* experiment: whole small runs on glyphs with the real plugins. */
#include "core/alloc.h"
#include "core/file.h"
#include "core/table.h"
#include "experiment/experiment.h"
#include "experiment/fill.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- building experiments by hand ---- */

static struct param_input number(const char *name, double value) {
    return (struct param_input){.name = strdup(name),
                                .kind = INPUT_NUMBER,
                                .is_integer = value == (double)(long)value,
                                .number = value};
}

static void add_step(struct pipeline_spec *p, const char *method, size_t n,
                     const struct param_input *inputs) {
    p->steps = alloc_resize(p->steps, p->n_steps + 1, sizeof *p->steps);
    struct step_spec *step = &p->steps[p->n_steps++];
    *step = (struct step_spec){strdup(method), n, alloc_resize(NULL, n, sizeof *inputs)};
    for (size_t i = 0; i < n; i++)
        step->inputs[i] = inputs[i];
}

static void drop_steps(struct pipeline_spec *p) {
    for (size_t i = 0; i < p->n_steps; i++) {
        for (size_t k = 0; k < p->steps[i].n_inputs; k++)
            param_input_clear(&p->steps[i].inputs[k]);
        free(p->steps[i].inputs);
        free(p->steps[i].method);
    }
    free(p->steps);
    *p = (struct pipeline_spec){0};
}

static struct model *tiny_model(int softmax) {
    struct error err;
    struct model *model;
    const int32_t dims[3] = {28, 28, 1};
    assert_int_equal(model_create("tiny", dims, &err, &model), PARE_OK);
    const struct node_spec nodes[] = {
        {.op = PARE_OP_CONV2D,
         .name = "conv1",
         .inputs = {0},
         .out_channels = 4,
         .kernel_h = 5,
         .kernel_w = 5,
         .stride_h = 2,
         .stride_w = 2,
         .bias = 1},
        {.op = PARE_OP_RELU, .name = "relu1", .inputs = {1}},
        {.op = PARE_OP_MAX_POOL,
         .name = "pool",
         .inputs = {2},
         .kernel_h = 2,
         .kernel_w = 2,
         .stride_h = 2,
         .stride_w = 2},
        {.op = PARE_OP_FLATTEN, .name = "flatten", .inputs = {3}},
        {.op = PARE_OP_LINEAR, .name = "fc", .inputs = {4}, .out_channels = 10, .bias = 1},
        {.op = PARE_OP_SOFTMAX, .name = "softmax", .inputs = {5}},
    };
    size_t n_nodes = sizeof nodes / sizeof *nodes - (softmax ? 0 : 1);
    for (size_t i = 0; i < n_nodes; i++)
        assert_int_equal(model_add(model, &nodes[i], &err, NULL), PARE_OK);
    assert_int_equal(model_finish(model, &err), PARE_OK);
    return model;
}

/* fp32; ptq 8; magnitude 0.5 + ptq 8, on two seeds and one arm: 6 rows. */
static struct experiment make_experiment(void) {
    struct experiment exp = {.name = strdup("unit"),
                             .dataset = strdup("glyphs"),
                             .data_options = {600, 100, 300},
                             .model = {.label = strdup("tiny"), .source = MODEL_TRAIN}};
    exp.model.model = tiny_model(0);
    exp.model.train_inputs = alloc_resize(NULL, 1, sizeof *exp.model.train_inputs);
    exp.model.train_inputs[0] = number("epochs", 10);
    exp.model.n_train_inputs = 1;
    exp.seeds = alloc_resize(NULL, 2, sizeof *exp.seeds);
    exp.seeds[0] = 1;
    exp.seeds[1] = 2;
    exp.n_seeds = 2;
    exp.pipelines = alloc_resize(NULL, 3, sizeof *exp.pipelines);
    memset(exp.pipelines, 0, 3 * sizeof *exp.pipelines);
    exp.n_pipelines = 3;
    add_step(&exp.pipelines[1], "ptq", 2,
             (struct param_input[]){number("bits", 8), number("calibration_samples", 64)});
    add_step(&exp.pipelines[2], "magnitude", 1, (struct param_input[]){number("sparsity", 0.5)});
    add_step(&exp.pipelines[2], "ptq", 2,
             (struct param_input[]){number("bits", 8), number("calibration_samples", 64)});
    exp.arms = alloc_resize(NULL, 1, sizeof *exp.arms);
    exp.arms[0] = (struct arm_spec){strdup("ref"), 1, 1, strdup("single")};
    exp.n_arms = 1;
    return exp;
}

/* ---- fixtures ---- */

struct fixture {
    struct registry *reg;
    char dir[64];
    char *csv;
    int isolate; /* each trial in a child */
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    strcpy(f->dir, "/tmp/pare-run-XXXXXX");
    if (!f || !mkdtemp(f->dir))
        return -1;
    f->csv = file_join(f->dir, "rows.csv");
    if (registry_create(&err, &f->reg) != PARE_OK ||
        registry_scan(f->reg, TEST_BINARY_DIR "/plugins", &err) != PARE_OK)
        return -1;
    *state = f;
    return 0;
}

static int set_up_isolated(void **state) {
    if (set_up(state) != 0)
        return -1;
    ((struct fixture *)*state)->isolate = 1;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    registry_destroy(f->reg);
    char *command = alloc_printf("rm -rf '%s'", f->dir);
    int rc = system(command);
    free(command);
    free(f->csv);
    free(f);
    return rc;
}

static pare_status run(struct fixture *f, struct experiment *exp, struct run_options options,
                       struct run_summary *summary, struct error *err) {
    options.out_path = options.out_path ? options.out_path : f->csv;
    options.quiet = 1;
    options.isolate = f->isolate;
    return experiment_run(exp, f->reg, &options, err, summary);
}

static size_t read_rows(const char *path, struct record **rows) {
    struct error err;
    size_t n;
    assert_int_equal(record_read(path, &err, rows, &n), PARE_OK);
    return n;
}

static double real_cell(const struct record *rec, enum column col) {
    assert_true(record_get(rec, col)[0] != 0);
    return atof(record_get(rec, col));
}

/* ---- tests ---- */

/* 2 right of class 0, one 0 taken for 2, one 2 right; class 1 does not occur. */
static void confusion_matrix_is_written_out(void **state) {
    const uint8_t labels[4] = {0, 0, 0, 2}, predictions[4] = {0, 2, 0, 2};
    struct record rec = {0};
    struct error err;
    (void)state;
    assert_int_equal(fill_confusion(&rec, predictions, labels, 4, 3, &err), PARE_OK);
    assert_string_equal(record_get(&rec, COL_confusion_json), "[[2,0,1],[0,0,0],[0,0,1]]");
    record_clear(&rec);
}

static void labels_say_what_was_written(void **state) {
    (void)state;
    struct experiment exp = make_experiment();
    char *none = pipeline_label(&exp.pipelines[0]), *two = pipeline_label(&exp.pipelines[2]);
    assert_string_equal(none, "fp32");
    assert_string_equal(two, "magnitude(sparsity=0.5) + ptq(bits=8, calibration_samples=64)");
    free(none);
    free(two);
    experiment_clear(&exp);
}

/* All samples are in the matrix, those that are right on its diagonal. */
static void check_confusion(const struct record *r) {
    const char *at = record_get(r, COL_confusion_json);
    long total = 0, right = 0;
    for (int k = 0; k < 100; k++) {
        char *end;
        at += strspn(at, "[],");
        long count = strtol(at, &end, 10);
        assert_ptr_not_equal(at, end);
        at = end;
        total += count;
        right += k % 11 == 0 ? count : 0;
    }
    assert_string_equal(at, "]]");
    assert_int_equal(total, 300);
    assert_true(fabs((double)right / 300 - real_cell(r, COL_top1)) < 1e-12);
}

static void every_arm_gives_a_whole_row(void **state) {
    struct fixture *f = *state;
    struct experiment exp = make_experiment();
    exp.confusion = 1;
    struct error err;
    struct run_summary summary;
    if (run(f, &exp, (struct run_options){0}, &summary, &err) != PARE_OK)
        fail_msg("%s", err.text);
    assert_int_equal(summary.n_trials, 6);
    assert_int_equal(summary.n_done, 6);
    assert_int_equal(summary.n_failed, 0);
    struct record *rows;
    assert_int_equal(read_rows(f->csv, &rows), 6);
    for (size_t i = 0; i < 6; i++) {
        const struct record *r = &rows[i];
        int quantized = i >= 2, pruned = i >= 4;
        assert_string_equal(record_get(r, COL_status), "ok");
        assert_string_equal(record_get(r, COL_dataset), "glyphs");
        assert_string_equal(record_get(r, COL_backend), "ref");
        assert_int_equal(real_cell(r, COL_seed), i % 2 + 1);
        assert_int_equal(real_cell(r, COL_n_samples), 300);
        assert_true(real_cell(r, COL_top1) > 0.2); /* it learned something: chance is 0.1 */
        assert_true(real_cell(r, COL_median_ns) > 0);
        assert_true(real_cell(r, COL_macs_executed) > 0);
        assert_string_equal(record_get(r, COL_execution), quantized ? "integer" : "float");
        assert_int_equal(record_get(r, COL_top1_simulated)[0] != 0, quantized);
        assert_int_equal(record_get(r, COL_ratio)[0] != 0, quantized);
        check_confusion(r);
        assert_true(real_cell(r, COL_aa_ratio) > 0.5 && real_cell(r, COL_aa_ratio) < 2);
        assert_true(real_cell(r, COL_rounds) >= 2);
        assert_true(real_cell(r, COL_blocks_disturbed) >= 0);
        if (quantized) {
            assert_true(real_cell(r, COL_agreement_simulated) > 0.99);
            assert_true(real_cell(r, COL_compression_ratio) > 1);
            assert_int_equal(real_cell(r, COL_weight_bits), 8);
            assert_int_equal(real_cell(r, COL_activation_bits), 8);
        }
        if (pruned) {
            assert_true(real_cell(r, COL_sparsity_prunable) > 0.49);
            assert_true(real_cell(r, COL_sparsity_prunable) < 0.51);
            assert_true(real_cell(r, COL_sparsity_requested) == 0.5);
        }
    }
    record_rows_free(rows, 6);
    experiment_clear(&exp);
}

static void same_seed_same_rows(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    char *other = file_join(f->dir, "again/rows.csv"); /* its own cache: trains again */
    for (int k = 0; k < 2; k++) {
        struct experiment exp = make_experiment();
        struct run_options options = {.out_path = k ? other : f->csv};
        if (run(f, &exp, options, &summary, &err) != PARE_OK)
            fail_msg("%s", err.text);
        experiment_clear(&exp);
    }
    struct record *a, *b;
    assert_int_equal(read_rows(f->csv, &a), 6);
    assert_int_equal(read_rows(other, &b), 6);
    const struct column_info *info = column_infos();
    for (size_t i = 0; i < 6; i++) {
        for (int c = 0; c < N_COLUMNS; c++) {
            if (info[c].repeatable &&
                strcmp(record_get(&a[i], (enum column)c), record_get(&b[i], (enum column)c)) != 0)
                fail_msg("row %zu: column %s is \"%s\", then \"%s\"", i, info[c].name,
                         record_get(&a[i], (enum column)c), record_get(&b[i], (enum column)c));
        }
    }
    record_rows_free(a, 6);
    record_rows_free(b, 6);
    free(other);
}

static void resume_adds_exactly_what_is_missing(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    struct experiment exp = make_experiment();
    if (run(f, &exp, (struct run_options){.filter = "ptq"}, &summary, &err) != PARE_OK)
        fail_msg("%s", err.text);
    assert_int_equal(summary.n_done, 4);
    assert_int_equal(run(f, &exp, (struct run_options){.resume = 1}, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_done, 2);
    assert_int_equal(summary.n_skipped, 4);
    assert_int_equal(run(f, &exp, (struct run_options){.resume = 1}, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_done, 0);
    struct record *rows;
    size_t n = read_rows(f->csv, &rows);
    assert_int_equal(n, 6);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++)
            assert_string_not_equal(record_get(&rows[i], COL_arm_id),
                                    record_get(&rows[k], COL_arm_id));
    }
    record_rows_free(rows, n);
    experiment_clear(&exp);
}

static void shards_part_the_trials(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    struct experiment exp = make_experiment();
    size_t n_trials = 0;
    for (int32_t i = 1; i <= 3; i++) {
        struct run_options options = {.shard_index = i, .shard_count = 3, .dry_run = 1};
        assert_int_equal(run(f, &exp, options, &summary, &err), PARE_OK);
        n_trials += summary.n_trials;
        assert_int_equal(summary.n_done, 0);
        assert_non_null(summary.plan);
        table_destroy(summary.plan);
    }
    assert_int_equal(n_trials, 6);
    assert_false(file_exists(f->csv)); /* dry */
    experiment_clear(&exp);
}

static pare_status skip_seed_2(void *context, const struct pipeline_spec *pipeline, uint64_t seed,
                               int *go, struct error *err) {
    (void)context;
    (void)pipeline;
    (void)err;
    *go = seed != 2;
    return PARE_OK;
}

struct proposer {
    struct experiment *exp;
    int proposed;
};

static pare_status propose_4_bits(void *context, const struct record *rec, struct error *err) {
    struct proposer *p = context;
    if (p->proposed || !strstr(record_get(rec, COL_pipeline), "bits=8"))
        return PARE_OK;
    p->proposed = 1;
    struct pipeline_spec more = {0};
    add_step(&more, "ptq", 2,
             (struct param_input[]){number("bits", 4), number("calibration_samples", 64)});
    return experiment_propose(p->exp, &more, err);
}

static void hooks_skip_and_propose(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    struct experiment exp = make_experiment();
    struct proposer proposer = {&exp, 0};
    exp.hooks = (struct experiment_hooks){&proposer, skip_seed_2, propose_4_bits};
    assert_int_equal(run(f, &exp, (struct run_options){0}, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_done, 4); /* three pipelines and the proposed one, seed 1 */
    assert_int_equal(summary.n_skipped, 4);
    struct record *rows;
    assert_int_equal(read_rows(f->csv, &rows), 4);
    assert_non_null(strstr(record_get(&rows[3], COL_pipeline), "bits=4"));
    record_rows_free(rows, 4);
    experiment_clear(&exp);
}

static void a_failing_trial_costs_itself(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    struct experiment exp = make_experiment();
    /* Only found out while it runs: more calibration images than the training split has. */
    exp.pipelines[1].steps[0].inputs[1].number = 5000;
    assert_int_equal(run(f, &exp, (struct run_options){0}, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_done, 4);
    assert_int_equal(summary.n_failed, 2);
    struct record *rows;
    assert_int_equal(read_rows(f->csv, &rows), 6);
    assert_string_equal(record_get(&rows[2], COL_status), "failed");
    assert_non_null(strstr(record_get(&rows[2], COL_error), "step 1 (ptq): calibration_samples"));
    assert_string_equal(record_get(&rows[2], COL_top1), "");
    assert_string_equal(record_get(&rows[4], COL_status), "ok");
    record_rows_free(rows, 6);
    /* Resuming tries the failed ones again, and only those. */
    assert_int_equal(run(f, &exp, (struct run_options){.resume = 1}, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_failed, 2);
    assert_int_equal(summary.n_done, 0);
    experiment_clear(&exp);
}

/* A pruning step with training, alone and before ptq: the training is done once, and gives what it
 * gives when it is done anew. */
static void training_is_shared_and_changes_nothing(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    char *other = file_join(f->dir, "anew/rows.csv");
    for (int anew = 0; anew < 2; anew++) {
        struct experiment exp = make_experiment();
        exp.n_seeds = 1;
        for (size_t i = 1; i < 3; i++) {
            struct pipeline_spec *p = &exp.pipelines[i];
            drop_steps(p);
            add_step(p, "magnitude", 2,
                     (struct param_input[]){number("sparsity", 0.5), number("epochs", 4)});
            if (i == 2)
                add_step(p, "ptq", 1, (struct param_input[]){number("calibration_samples", 64)});
        }
        struct run_options options = {.out_path = anew ? other : f->csv,
                                      .filter = anew ? "ptq" : NULL};
        if (run(f, &exp, options, &summary, &err) != PARE_OK)
            fail_msg("%s", err.text);
        experiment_clear(&exp);
    }
    struct record *shared, *single;
    assert_int_equal(read_rows(f->csv, &shared), 3);
    assert_int_equal(read_rows(other, &single), 1);
    assert_string_equal(record_get(&shared[2], COL_loss), record_get(&single[0], COL_loss));
    assert_string_equal(record_get(&shared[2], COL_bytes_zstd),
                        record_get(&single[0], COL_bytes_zstd));
    assert_string_equal(record_get(&shared[2], COL_train_epochs), "4");
    /* The time of the training counts for both trials, though it was spent once. */
    assert_true(real_cell(&shared[2], COL_trial_seconds) >
                0.9 * real_cell(&shared[1], COL_trial_seconds));
    char *count = alloc_printf("test $(ls %s/cache | wc -l) -eq 2", f->dir);
    assert_int_equal(system(count), 0); /* the base and the pruned model */
    free(count);
    record_rows_free(shared, 3);
    record_rows_free(single, 1);
    free(other);
}

/* A training that diverges is tried once per seed, and each of its trials says why. */
static void a_base_that_cannot_be_trained_fails_its_trials(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    struct experiment exp = make_experiment();
    exp.model.train_inputs = alloc_resize(exp.model.train_inputs, 2, sizeof(struct param_input));
    exp.model.train_inputs[1] = number("lr", 100);
    exp.model.n_train_inputs = 2;
    assert_int_equal(run(f, &exp, (struct run_options){0}, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_failed, 6);
    struct record *rows;
    assert_int_equal(read_rows(f->csv, &rows), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_non_null(strstr(record_get(&rows[i], COL_error), "base model tiny: "));
        assert_true(record_get(&rows[i], COL_params_json)[0] == '[');
        assert_string_equal(record_get(&rows[i], COL_profile), "quick");
        assert_string_equal(record_get(&rows[i], COL_top1), "");
    }
    record_rows_free(rows, 6);
    experiment_clear(&exp);
}

/* The loss of a network that ends in softmax is that of the same network without it. */
static void a_softmax_at_the_end_is_not_applied_twice(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    for (int softmax = 0; softmax < 2; softmax++) {
        struct experiment exp = make_experiment();
        model_destroy(exp.model.model);
        exp.model.model = tiny_model(softmax);
        struct run_options options = {.filter = "seed=1"};
        if (run(f, &exp, options, &summary, &err) != PARE_OK)
            fail_msg("%s", err.text);
        experiment_clear(&exp);
    }
    struct record *rows;
    assert_int_equal(read_rows(f->csv, &rows), 6);
    for (size_t i = 0; i < 3; i++) {
        double plain = real_cell(&rows[i], COL_loss), softmax = real_cell(&rows[i + 3], COL_loss);
        assert_string_equal(record_get(&rows[i], COL_top1), record_get(&rows[i + 3], COL_top1));
        assert_true(plain > 0 && softmax > 0.999 * plain && softmax < 1.001 * plain);
    }
    record_rows_free(rows, 6);
}

/* Rows timed by a lesser profile do not stand for those of a better one. */
static void resume_minds_the_profile(void **state) {
    struct fixture *f = *state;
    struct error err;
    struct run_summary summary;
    struct experiment exp = make_experiment();
    struct run_options options = {.filter = "fp32 seed=1"};
    assert_int_equal(run(f, &exp, options, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_done, 1);
    options.resume = 1;
    options.dry_run = 1;
    assert_int_equal(run(f, &exp, options, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_skipped, 1);
    table_destroy(summary.plan);
    options.profile = PROFILE_DEFAULT;
    assert_int_equal(run(f, &exp, options, &summary, &err), PARE_OK);
    assert_int_equal(summary.n_skipped, 0);
    table_destroy(summary.plan);
    experiment_clear(&exp);
}

static void assert_refused(struct fixture *f, struct experiment *exp, const char *wanted) {
    struct error err = {0};
    assert_int_not_equal(experiment_check(exp, f->reg, &err), PARE_OK);
    if (!strstr(err.text, wanted))
        fail_msg("message is \"%s\", wanted \"%s\" in it", err.text, wanted);
}

static void samples_that_cannot_be_kept_end_the_run(void **state) {
    struct fixture *f = *state;
    struct experiment exp = make_experiment();
    struct error err;
    struct run_summary summary;
    struct run_options options = {.out_path = f->csv, .samples_path = "/dev/full"};
    assert_int_equal(run(f, &exp, options, &summary, &err), PARE_E_IO);
    assert_non_null(strstr(err.text, "/dev/full: cannot write raw samples"));
    experiment_clear(&exp);
}

/* Pooling and flattening keep their input's grid, and so its bits. */
static void activation_bits_are_those_that_layers_read(void **state) {
    (void)state;
    struct error err;
    struct model *model = tiny_model(0);
    struct record rec = {0};
    const float scale = 0.1f;
    pare_quant quant = {.bits = 4, .qmin = -8, .qmax = 7, .axis = -1, .n = 1, .scale = &scale};
    int32_t relu = model_find_node(model, "relu1");
    assert_int_equal(model_set_activation_quant(model, relu, &quant, &err), PARE_OK);
    assert_int_equal(fill_size(&rec, model, model, &err), PARE_OK);
    /* conv1 reads 28 * 28 floats, fc 6 * 6 * 4 codes */
    double wanted = (784 * 32.0 + 144 * 4.0) / (784 + 144);
    assert_true(strtod(record_get(&rec, COL_activation_bits), NULL) == wanted);
    record_clear(&rec);
    model_destroy(model);
}

static void mistakes_are_found_before_anything_runs(void **state) {
    struct fixture *f = *state;
    struct experiment exp = make_experiment();
    char *kept = exp.pipelines[1].steps[0].method;
    exp.pipelines[1].steps[0].method = "ptk";
    assert_refused(f, &exp, "ptq"); /* the nearest name */
    exp.pipelines[1].steps[0].method = kept;

    exp.pipelines[1].steps[0].inputs[0].number = 99;
    assert_refused(f, &exp, "pipeline 2: step 1 (ptq): bits");
    exp.pipelines[1].steps[0].inputs[0].number = 8;

    struct step_spec first = exp.pipelines[2].steps[0];
    exp.pipelines[2].steps[0] = exp.pipelines[2].steps[1];
    exp.pipelines[2].steps[1] = first; /* ptq, then magnitude */
    assert_refused(f, &exp, "before \"ptq\"");
    exp.pipelines[2].steps[1] = exp.pipelines[2].steps[0];
    exp.pipelines[2].steps[0] = first;

    exp.arms[0].threads = 0;
    assert_refused(f, &exp, "arm 1: threads is 0");
    exp.arms[0].threads = 1;
    free(exp.dataset);
    exp.dataset = strdup("cifar10");
    assert_refused(f, &exp, "model tiny takes 28x28x1");
    experiment_clear(&exp);
}

/* Raw samples come the same way as rows, and belong to their arms. */
static void samples_come_out_of_children(void **state) {
    struct fixture *f = *state;
    struct experiment exp = make_experiment();
    char *path = file_join(f->dir, "samples.csv");
    struct run_options options = {.filter = "fp32", .samples_path = path};
    struct run_summary summary;
    struct error err;
    if (run(f, &exp, options, &summary, &err) != PARE_OK)
        fail_msg("%s", err.text);
    struct record *rows;
    assert_int_equal(read_rows(f->csv, &rows), 2);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char line[128];
    int64_t n[2] = {0};
    assert_string_equal(fgets(line, sizeof line, file), "arm_id,query,ns\n");
    while (fgets(line, sizeof line, file))
        for (size_t k = 0; k < 2; k++)
            n[k] += strncmp(line, record_get(&rows[k], COL_arm_id), 16) == 0;
    fclose(file);
    for (size_t k = 0; k < 2; k++)
        assert_int_equal(n[k], (int64_t)real_cell(&rows[k], COL_latency_n));
    record_rows_free(rows, 2);
    free(path);
    experiment_clear(&exp);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_ISOLATED(name)                                                                        \
    { #name " (in children)", name, set_up_isolated, tear_down, NULL }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_say_what_was_written),
        cmocka_unit_test(confusion_matrix_is_written_out),
        TEST(every_arm_gives_a_whole_row),
        TEST(same_seed_same_rows),
        TEST(resume_adds_exactly_what_is_missing),
        TEST(shards_part_the_trials),
        TEST(hooks_skip_and_propose),
        TEST(a_failing_trial_costs_itself),
        TEST(training_is_shared_and_changes_nothing),
        TEST(samples_that_cannot_be_kept_end_the_run),
        cmocka_unit_test(activation_bits_are_those_that_layers_read),
        TEST(a_base_that_cannot_be_trained_fails_its_trials),
        TEST(a_softmax_at_the_end_is_not_applied_twice),
        TEST(resume_minds_the_profile),
        TEST(mistakes_are_found_before_anything_runs),
        TEST_ISOLATED(every_arm_gives_a_whole_row),
        TEST_ISOLATED(hooks_skip_and_propose),
        TEST_ISOLATED(a_failing_trial_costs_itself),
        TEST_ISOLATED(a_base_that_cannot_be_trained_fails_its_trials),
        TEST_ISOLATED(samples_that_cannot_be_kept_end_the_run),
        TEST_ISOLATED(samples_come_out_of_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
