/* SPDX-License-Identifier: MIT */
/* The embedded dataset, its splits, and batches; MNIST's figures where MNIST is at hand. */
#include "core/file.h"
#include "dataset/dataset.h"
#include "dataset/sources.h"
#include "scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

static struct dataset *open_all(const char *name) {
    struct error err;
    struct dataset *ds;
    if (dataset_open(name, NULL, &err, &ds) != PARE_OK)
        fail_msg("%s", err.text);
    return ds;
}

static size_t elems_of(const struct dataset *ds) {
    return (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
}

/* Whatever changes these digests changes a published dataset and every checkpoint trained on it. */
static void glyphs_are_the_same_bits_everywhere(void **state) {
    (void)state;
    struct dataset *ds = open_all("glyphs");
    char hex[65];
    bytes_sha256(ds->splits[SPLIT_TEST].images, 5000 * 784, hex);
    assert_string_equal(hex, "73b0291192bb5f0e5fce63841deb708229a967f3461182cd1d2eefe7b157e660");
    bytes_sha256(ds->splits[SPLIT_TEST].labels, 5000, hex);
    assert_string_equal(hex, "c7a0ed12e913a723bf19aad3b3967561220aba5fc156d13840a5e5ac8e3200bd");
    bytes_sha256(ds->splits[SPLIT_TRAIN].images, 18000 * 784, hex);
    assert_string_equal(hex, "b7c6cc10dd619a77e070f2e4ef88a39995ee54fbdb733b9c2db3626da567880b");
    bytes_sha256(ds->splits[SPLIT_VAL].images, 2000 * 784, hex);
    assert_string_equal(hex, "09450012e7201458cc7dfbc838090878d18e3625f2c0510f57a9e03674e2fbbb");
    assert_string_equal(ds->origin, "embedded");
    dataset_close(ds);
}

static void check_splits(const struct dataset *ds, const struct dataset_info *info) {
    const int64_t wanted[] = {info->n_train, info->n_val, info->n_test};
    for (int s = 0; s < N_SPLITS; s++) {
        assert_int_equal(ds->splits[s].n, wanted[s]);
        int64_t counts[10] = {0};
        for (int64_t i = 0; i < ds->splits[s].n; i++) {
            assert_in_range(ds->splits[s].labels[i], 0, 9);
            counts[ds->splits[s].labels[i]]++;
        }
        for (int c = 0; c < 10; c++) /* no class is missing or rules */
            assert_in_range(counts[c], wanted[s] / 14, wanted[s] / 7);
    }
}

static void glyphs_are_whole_and_quick(void **state) {
    (void)state;
    struct error err;
    clock_t start = clock();
    struct dataset *ds = open_all("glyphs");
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("glyphs drawn in %.2f s of one core\n", seconds);
    assert_true(seconds < 15); /* 1.5 s is promised; sanitizers and busy machines take longer */
    check_splits(ds, dataset_find_info("glyphs", &err));
    for (int s = 0; s < N_SPLITS; s++)
        for (int64_t i = 0; i < ds->splits[s].n; i++) {
            const uint8_t *image = ds->splits[s].images + 784 * i;
            int ink = 0;
            for (int p = 0; p < 784; p++)
                ink += image[p] > 100;
            assert_in_range(ink, 8, 400); /* neither empty nor full */
        }
    dataset_close(ds);
}

static void limits_show_the_first_samples(void **state) {
    (void)state;
    struct error err;
    struct dataset *all = open_all("glyphs"), *few;
    const struct dataset_options options = {.max_train = 50, .max_val = 30, .max_test = 70};
    assert_int_equal(dataset_open("glyphs", &options, &err, &few), PARE_OK);
    const size_t wanted[] = {50, 30, 70};
    for (int s = 0; s < N_SPLITS; s++) {
        assert_int_equal(few->splits[s].n, wanted[s]);
        assert_memory_equal(few->splits[s].images, all->splits[s].images, wanted[s] * 784);
        assert_memory_equal(few->splits[s].labels, all->splits[s].labels, wanted[s]);
    }
    dataset_close(few);
    dataset_close(all);
    dataset_close(NULL);
}

/* Mean and deviation of the training pixels are the constants that batches are normalised by. */
static void check_constants(const struct dataset *ds) {
    double sum = 0, squares = 0;
    size_t n = (size_t)ds->splits[SPLIT_TRAIN].n * elems_of(ds);
    for (size_t k = 0; k < n; k++) {
        double pixel = ds->splits[SPLIT_TRAIN].images[k] / 255.0;
        sum += pixel;
        squares += pixel * pixel;
    }
    double mean = sum / (double)n, deviation = sqrt(squares / (double)n - mean * mean);
    assert_true(fabs(mean - (double)ds->mean[0]) < 0.001);
    assert_true(fabs(deviation - (double)ds->stddev[0]) < 0.001);
}

static void batches_are_normalised(void **state) {
    (void)state;
    struct dataset *ds = open_all("glyphs");
    check_constants(ds);
    const uint32_t items[] = {7, 0, 1999};
    float *batch = malloc(3 * 784 * sizeof *batch);
    assert_non_null(batch);
    dataset_batch(ds, SPLIT_VAL, items, 3, batch);
    for (size_t i = 0; i < 3; i++)
        for (size_t p = 0; p < 784; p++) {
            float pixel = (float)ds->splits[SPLIT_VAL].images[784 * items[i] + p] / 255.0f;
            assert_true(batch[784 * i + p] == (pixel - ds->mean[0]) / ds->stddev[0]);
        }
    free(batch);
    dataset_close(ds);
    /* Three channels: each by its own constants. */
    const uint8_t image[] = {0, 128, 255, 1, 2, 3};
    struct dataset colours = {
        .dims = {1, 2, 3}, .mean = {0.5f, 0.25f, 0.125f}, .stddev = {0.5f, 0.25f, 2.0f}};
    colours.splits[SPLIT_TEST] = (struct dataset_split){1, image, NULL};
    float out[6];
    dataset_batch(&colours, SPLIT_TEST, &items[1], 1, out);
    for (size_t k = 0; k < 6; k++)
        assert_true(out[k] ==
                    ((float)image[k] / 255.0f - colours.mean[k % 3]) / colours.stddev[k % 3]);
}

static void mnist_is_read_where_it_is(void **state) {
    (void)state;
    struct error err;
    struct dataset *ds;
    if (dataset_open("mnist", NULL, &err, &ds) != PARE_OK) {
        print_message("SKIPPED: %s\n", err.text);
        assert_int_equal(err.status, PARE_E_NOT_FOUND);
        skip();
    }
    check_splits(ds, dataset_find_info("mnist", &err));
    check_constants(ds);
    /* First and last labels of the test file, as published. */
    assert_int_equal(ds->splits[SPLIT_TEST].labels[0], 7);
    assert_int_equal(ds->splits[SPLIT_TEST].labels[9999], 6);
    /* The validation split is part of every published figure. */
    char hex[65];
    bytes_sha256(ds->splits[SPLIT_VAL].labels, 5000, hex);
    assert_string_equal(hex, "685b486f49a3eb66dd78d292406225bfe134b320fd0386d59a82a4e1e6aeca9d");
    dataset_close(ds);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(glyphs_are_the_same_bits_everywhere),
        cmocka_unit_test(glyphs_are_whole_and_quick),
        cmocka_unit_test(limits_show_the_first_samples),
        cmocka_unit_test(batches_are_normalised),
        cmocka_unit_test(mnist_is_read_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
