/* SPDX-License-Identifier: MIT */
/* dataset: IDX and CIFAR-10 files, good and bad, and where datasets are looked for. */
#include "dataset/dataset.h"
#include "dataset/sources.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

static char dir[256];

static int make_dir(void **state) {
    (void)state;
    scratch_make(dir);
    setenv("PARE_HOME", dir, 1);
    setenv("PARE_CACHE", scratch_path(dir, "cache"), 1);
    unsetenv("PARE_DATASETS");
    return 0;
}
static int remove_dir(void **state) {
    (void)state;
    scratch_remove(dir);
    return 0;
}

/* Four images of 3x2 and their labels, below 5. */
static const struct dataset_info tiny = {"tiny", "", {3, 2, 1}, 5, 3, 1, 4, ""};
static const uint8_t tiny_images[16 + 24] = {0,  0,  8,  3,  0,  0,  0,  4,  0,  0,  0,  3,  0,  0,
                                             0,  2,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                                             13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};
static const uint8_t tiny_labels[8 + 4] = {0, 0, 8, 1, 0, 0, 0, 4, 4, 0, 1, 2};

static pare_status load_tiny(const uint32_t *place, struct error *err, uint8_t images[24],
                             uint8_t labels[4]) {
    struct samples into = {&tiny, 4, images, labels, place};
    return idx_load(dir, "images", "labels", &into, err);
}

static void idx_is_read_plain_and_packed(void **state) {
    (void)state;
    struct error err;
    uint8_t images[24], labels[4];
    scratch_write(dir, "images", tiny_images, sizeof tiny_images);
    scratch_write_gz(dir, "labels.gz", tiny_labels, sizeof tiny_labels);
    assert_int_equal(load_tiny(NULL, &err, images, labels), PARE_OK);
    assert_memory_equal(images, tiny_images + 16, 24);
    assert_memory_equal(labels, tiny_labels + 8, 4);
    const uint32_t place[] = {3, 0, 1, 2};
    assert_int_equal(load_tiny(place, &err, images, labels), PARE_OK);
    const uint8_t moved[] = {0, 1, 2, 4};
    assert_memory_equal(labels, moved, 4);
    assert_int_equal(images[18], 1);
    assert_int_equal(images[0], 7);
    remove(scratch_path(dir, "labels.gz"));
}

/* The tiny files with one file replaced by `data`; the message must have the parts. */
static void refuse(const char *file, const uint8_t *data, size_t n, const char *part1,
                   const char *part2) {
    struct error err;
    uint8_t images[24], labels[4];
    scratch_write(dir, "images", tiny_images, sizeof tiny_images);
    scratch_write(dir, "labels", tiny_labels, sizeof tiny_labels);
    scratch_write(dir, file, data, n);
    assert_int_equal(load_tiny(NULL, &err, images, labels), PARE_E_FORMAT);
    assert_message(err.text, scratch_path(dir, file), part1, part2);
}

/* A copy of the images' (or labels') bytes with byte `at` set to `value`. */
static const uint8_t *with(int is_images, size_t at, uint8_t value) {
    static uint8_t copy[40];
    memcpy(copy, is_images ? tiny_images : tiny_labels,
           is_images ? sizeof tiny_images : sizeof tiny_labels);
    copy[at] = value;
    return copy;
}

static void bad_idx_is_refused(void **state) {
    (void)state;
    refuse("images", tiny_images, 0, "truncated: 0 bytes", "has 16");
    refuse("images", tiny_images, 15, "truncated: 15 bytes", "has 16");
    refuse("images", with(1, 0, 'P'), 40, "not an IDX file: begins with 50 00 08 03",
           "wanted 00 00 08 03");
    refuse("images", with(1, 2, 0x0d), 40, "element type is 0x0d", "wanted 0x08");
    refuse("images", tiny_labels, 12, "truncated: 12 bytes", "has 16");
    refuse("images", with(1, 3, 1), 40, "data of 1 dimensions, wanted 3", "swapped");
    refuse("labels", tiny_images, 40, "data of 3 dimensions, wanted 1", "swapped");
    refuse("images", with(1, 11, 4), 40, "images are 4x2", "wanted 3x2");
    refuse("images", with(1, 12, 0xff), 40, "images are 3x4278190082", "wanted 3x2");
    refuse("images", tiny_images, 39, "truncated: header says 4 images, that is 40 bytes",
           "got 39");
    refuse("images", with(1, 4, 0xff), 40, "truncated: header says 4278190084 images",
           "that is 25669140520 bytes, got 40");
    refuse("images", with(1, 7, 3), 40, "trailing bytes: header says 3 images, that is 34 bytes",
           "got 40");
    refuse("images", with(1, 7, 0), 40, "header says 0 images", "");
    refuse("images", with(1, 7, 3), 34, "3 images, wanted 4", "this is not tiny");
    refuse("labels", with(0, 7, 3), 11, "3 labels, wanted 4", "this is not tiny");
    refuse("labels", tiny_labels, 11, "truncated: header says 4 labels", "got 11");
    refuse("labels", with(0, 9, 5), 12, "label 1 is 5", "wanted 0..4");
    refuse("labels", with(0, 11, 255), 12, "label 3 is 255", "wanted 0..4");
}

static void bad_gzip_and_oversize_are_refused(void **state) {
    (void)state;
    struct error err;
    uint8_t images[24], labels[4];
    scratch_write(dir, "labels", tiny_labels, sizeof tiny_labels);
    remove(scratch_path(dir, "images"));
    scratch_write_gz(dir, "images.gz", tiny_images, sizeof tiny_images);
    size_t n;
    char *packed = scratch_read(scratch_path(dir, "images.gz"), &n);
    for (size_t cut = 1; cut < n; cut++) { /* cut anywhere: never read as whole */
        scratch_write(dir, "images.gz", packed, cut);
        assert_int_equal(load_tiny(NULL, &err, images, labels), PARE_E_FORMAT);
        assert_message(err.text, "images.gz");
    }
    packed[n - 5] = (char)(packed[n - 5] ^ 1); /* in the checksum */
    scratch_write(dir, "images.gz", packed, n);
    assert_int_equal(load_tiny(NULL, &err, images, labels), PARE_E_FORMAT);
    assert_message(err.text, "images.gz", "damaged gzip data");
    free(packed);
    size_t huge = 1u << 20; /* packs to about a thousand bytes */
    uint8_t *zeros = calloc(huge, 1);
    assert_non_null(zeros);
    scratch_write_gz(dir, "images.gz", zeros, huge);
    free(zeros);
    assert_int_equal(load_tiny(NULL, &err, images, labels), PARE_E_LIMIT);
    assert_message(err.text, "images.gz: larger than the");
    remove(scratch_path(dir, "images.gz"));
    assert_int_equal(load_tiny(NULL, &err, images, labels), PARE_E_NOT_FOUND);
    assert_message(err.text, dir, "lacks images (plain or .gz)");
}

/* Two classes, 1x2 pixels of 3 channels: records of 7 bytes, planes R R G G B B. */
static const struct dataset_info colours = {"colours", "", {1, 2, 3}, 2, 2, 0, 2, ""};
static const uint8_t colour_records[14] = {1, 10, 11, 20, 21, 30, 31, 0, 40, 41, 50, 51, 60, 61};

static void cifar_is_read_to_nhwc(void **state) {
    (void)state;
    struct error err;
    uint8_t images[12], labels[2];
    const uint32_t place[] = {1, 0};
    struct samples into = {&colours, 2, images, labels, place};
    scratch_write(dir, "batch1", colour_records, 7);
    scratch_write_gz(dir, "batch2.gz", colour_records + 7, 7);
    const char *const files[] = {"batch1", "batch2"};
    assert_int_equal(cifar_load(dir, files, 2, &into, &err), PARE_OK);
    const uint8_t wanted[] = {40, 50, 60, 41, 51, 61, 10, 20, 30, 11, 21, 31};
    assert_memory_equal(images, wanted, 12);
    assert_int_equal(labels[0], 0);
    assert_int_equal(labels[1], 1);
}

static void bad_cifar_is_refused(void **state) {
    (void)state;
    struct error err;
    uint8_t images[12], labels[2], lying[14];
    struct samples into = {&colours, 2, images, labels, NULL};
    const char *const files[] = {"batch"};
    for (size_t n = 0; n < 14; n++) {
        scratch_write(dir, "batch", colour_records, n);
        assert_int_equal(cifar_load(dir, files, 1, &into, &err), PARE_E_FORMAT);
        if (n == 7)
            assert_message(err.text, dir, "1 records in 1 files, wanted 2", "not all of it");
        else
            assert_message(err.text, "batch:", "bytes are not whole records of 7");
    }
    memcpy(lying, colour_records, 14);
    lying[7] = 2;
    scratch_write(dir, "batch", lying, 14);
    assert_int_equal(cifar_load(dir, files, 1, &into, &err), PARE_E_FORMAT);
    assert_message(err.text, "batch: label of record 1 is 2, wanted 0..1");
    uint8_t longer[21] = {0};
    scratch_write(dir, "batch", longer, 21);
    assert_int_equal(cifar_load(dir, files, 1, &into, &err), PARE_E_FORMAT);
    assert_message(err.text, "batch: 3 records, wanted at most 2");
}

/* ---- where datasets are looked for ---- */

static void touch_idx(const char *folder) {
    const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                 "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"};
    for (int k = 0; k < 4; k++)
        scratch_write(folder, names[k], tiny_images, sizeof tiny_images);
}

static void located_at(const char *name, const char *wanted) {
    struct error err;
    char *path = NULL;
    if (dataset_locate(name, &err, &path) != PARE_OK)
        fail_msg("%s", err.text);
    assert_string_equal(path, wanted);
    free(path);
}

static void folders_are_searched_in_order(void **state) {
    (void)state;
    struct error err;
    struct dataset *ds;
    char *path = NULL, list[600], first[300], home[300], cache[300];
    assert_int_equal(dataset_locate("mnist", &err, &path), PARE_E_NOT_FOUND);
    assert_message(err.text, "dataset mnist: not found in", "/datasets/mnist", "/cache/mnist",
                   "run `pare data fetch mnist`", "PARE_DATASETS", "glyphs");
    located_at("glyphs", "embedded");
    snprintf(cache, sizeof cache, "%s/cache/mnist", dir);
    mkdir(scratch_path(dir, "cache"), 0755);
    mkdir(cache, 0755);
    touch_idx(cache);
    located_at("mnist", cache);
    snprintf(home, sizeof home, "%s/datasets/mnist", dir);
    mkdir(scratch_path(dir, "datasets"), 0755);
    mkdir(home, 0755);
    located_at("mnist", cache); /* a folder without the files is passed over */
    touch_idx(home);
    located_at("mnist", home);
    snprintf(first, sizeof first, "%s/second/mnist", dir);
    mkdir(scratch_path(dir, "second"), 0755);
    mkdir(first, 0755);
    touch_idx(first);
    snprintf(list, sizeof list, "/nowhere::%s/second:", dir);
    setenv("PARE_DATASETS", list, 1);
    located_at("mnist", first);
    /* It is all there, but not MNIST. */
    assert_int_equal(dataset_open("mnist", NULL, &err, &ds), PARE_E_FORMAT);
    assert_message(err.text, first, "images are 3x2, wanted 28x28");
    remove(scratch_path(dir, "second/mnist/t10k-labels-idx1-ubyte.gz"));
    located_at("mnist", home);
    unsetenv("PARE_DATASETS");
}

static void cifar_folders_are_understood(void **state) {
    (void)state;
    struct error err;
    char *path = NULL, list[300], inner[400];
    snprintf(list, sizeof list, "%s/third", dir);
    snprintf(inner, sizeof inner, "%s/cifar10/cifar-10-batches-bin", list);
    setenv("PARE_DATASETS", list, 1);
    mkdir(list, 0755);
    mkdir(scratch_path(list, "cifar10"), 0755);
    mkdir(inner, 0755);
    for (int k = 1; k <= 5; k++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", k);
        scratch_write(inner, name, "x", 1);
    }
    assert_int_equal(dataset_locate("cifar10", &err, &path), PARE_E_NOT_FOUND);
    scratch_write(inner, "test_batch.bin", "x", 1);
    located_at("cifar10", inner);
    /* Only the archive of cifar10-jpeg: the message says how it is unpacked. */
    mkdir(scratch_path(list, "cifar10-jpeg"), 0755);
    scratch_write(list, "cifar10-jpeg/unpack.py", "", 0);
    assert_int_equal(dataset_locate("cifar10-jpeg", &err, &path), PARE_E_NOT_FOUND);
    assert_message(err.text, "still packed: run `python3 ", "third/cifar10-jpeg/unpack.py ",
                   "/cache/cifar10-jpeg` once");
    assert_null(strstr(err.text, "pare data fetch"));
    unsetenv("PARE_DATASETS");
}

static void names_and_limits_are_checked(void **state) {
    (void)state;
    struct error err;
    struct dataset *ds;
    assert_int_equal(dataset_open("mnst", NULL, &err, &ds), PARE_E_NOT_FOUND);
    assert_message(err.text, "no dataset 'mnst'", "did you mean 'mnist'?", "glyphs");
    const struct dataset_options negative = {.max_val = -1};
    assert_int_equal(dataset_open("glyphs", &negative, &err, &ds), PARE_E_ARG);
    assert_message(err.text, "glyphs", "negative");
    int n = 0;
    for (const struct dataset_info *info = dataset_infos(); info->name; info++, n++)
        assert_ptr_equal(dataset_find_info(info->name, &err), info);
    assert_int_equal(n, 5);
    setenv("PARE_CACHE", "", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    char *cache = dataset_cache_dir();
    assert_string_equal(cache, "/x/pare/datasets");
    free(cache);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/h", 1);
    cache = dataset_cache_dir();
    assert_string_equal(cache, "/h/.cache/pare/datasets");
    free(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_is_read_plain_and_packed),
        cmocka_unit_test(bad_idx_is_refused),
        cmocka_unit_test(bad_gzip_and_oversize_are_refused),
        cmocka_unit_test(cifar_is_read_to_nhwc),
        cmocka_unit_test(bad_cifar_is_refused),
        cmocka_unit_test(folders_are_searched_in_order),
        cmocka_unit_test(cifar_folders_are_understood),
        cmocka_unit_test(names_and_limits_are_checked),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
