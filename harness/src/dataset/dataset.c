/* SPDX-License-Identifier: MIT */
#include "dataset/dataset.h"

#include "core/alloc.h"
#include "core/file.h"
#include "core/rng.h"
#include "dataset/sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what there is ---- */

/* clang-format off */
static const struct dataset_info infos[] = {
    {"mnist", "Handwritten digits, 28x28 grey (LeCun, Cortes, Burges)",
     {28, 28, 1}, 10, 55000, 5000, 10000, "no licence in the files; CC BY-SA 3.0 is widely given"},
    {"fashion-mnist", "Ten kinds of clothes, 28x28 grey (Xiao, Rasul, Vollgraf 2017)",
     {28, 28, 1}, 10, 55000, 5000, 10000, "MIT, Zalando SE"},
    {"cifar10", "Ten kinds of objects, 32x32 colour (Krizhevsky 2009)",
     {32, 32, 3}, 10, 45000, 5000, 10000, "no licence stated; its author asks to cite the report"},
    {"cifar10-jpeg", "CIFAR-10 after JPEG at quality 75; figures are not those of CIFAR-10",
     {32, 32, 3}, 10, 45000, 5000, 10000, "as cifar10"},
    {"glyphs", "Digits drawn from strokes by a seeded generator, embedded; not MNIST",
     {28, 28, 1}, 10, 18000, 2000, 5000, "MIT, part of pare"},
    {NULL, NULL, {0, 0, 0}, 0, 0, 0, 0, NULL},
};
/* clang-format on */
enum { N_DATASETS = sizeof infos / sizeof infos[0] - 1 };

static const char *const idx_files[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
static const char *const cifar_files[] = {"data_batch_1.bin", "data_batch_2.bin",
                                          "data_batch_3.bin", "data_batch_4.bin",
                                          "data_batch_5.bin", "test_batch.bin"};

/* Row k belongs to infos[k]. Mean and standard deviation of training pixels / 255, as usually
 * published: MNIST by PyTorch's examples, CIFAR-10 by many ResNet repositories (the deviation of
 * pixels, not the smaller mean of per-image deviations that others use), Fashion-MNIST likewise;
 * glyphs computed from its own training images. A test computes those of mnist and glyphs. */
static const struct source sources[N_DATASETS] = {
    {SOURCE_IDX, 4, idx_files, 0, {0.1307f}, {0.3081f}},
    {SOURCE_IDX, 4, idx_files, 0, {0.2860f}, {0.3530f}},
    {SOURCE_CIFAR, 6, cifar_files, 1, {0.4914f, 0.4822f, 0.4465f}, {0.2470f, 0.2435f, 0.2616f}},
    {SOURCE_CIFAR, 6, cifar_files, 1, {0.4914f, 0.4822f, 0.4465f}, {0.2470f, 0.2435f, 0.2616f}},
    {SOURCE_GLYPHS, 0, NULL, 0, {0.1064f}, {0.2186f}},
};

const struct source *source_of(const struct dataset_info *info) {
    return &sources[info - infos];
}

size_t source_first_test_file(const struct source *source) {
    /* IDX has a file of images and one of labels, the others one of both. */
    return source->n_files < 2 ? 0 : source->n_files - (source->kind == SOURCE_IDX ? 2 : 1);
}

const struct dataset_info *dataset_infos(void) {
    return infos;
}

const struct dataset_info *dataset_find_info(const char *name, struct error *err) {
    const char *names[N_DATASETS];
    for (int k = 0; k < N_DATASETS; k++) {
        if (strcmp(name, infos[k].name) == 0)
            return &infos[k];
        names[k] = infos[k].name;
    }
    const char *near = nearest_name(name, names, N_DATASETS);
    error_set(err, PARE_E_NOT_FOUND,
              "no dataset '%s'%s%s%s (there are mnist, fashion-mnist, cifar10, cifar10-jpeg, "
              "glyphs)",
              name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

/* ---- reading it ---- */

/* Memory of an open dataset: training images with the validation images after them, and test. */
struct storage {
    uint8_t *images[2], *labels[2];
    uint32_t *place; /* of training samples; only while reading */
};

static void free_storage(struct storage *storage) {
    if (!storage)
        return;
    for (int k = 0; k < 2; k++) {
        free(storage->images[k]);
        free(storage->labels[k]);
    }
    free(storage->place);
    free(storage);
}

/* The validation split: the first n_val samples of a permutation that depends on the dataset's name
 * alone, the same for everyone. Both parts keep the order of the file. */
enum { VAL_SPLIT_SEED = 1 };

static pare_status cut_validation(const struct dataset_info *info, struct storage *storage,
                                  struct error *err) {
    uint32_t n = (uint32_t)(info->n_train + info->n_val);
    uint32_t *order = alloc_array(n, sizeof *order);
    uint8_t *is_val = alloc_array(n, 1);
    storage->place = alloc_array(n, sizeof *storage->place);
    pare_status status = PARE_OK;
    if (order && is_val && storage->place) {
        pare_rng rng;
        rng_init(&rng, VAL_SPLIT_SEED, info->name, 0);
        for (uint32_t i = 0; i < n; i++)
            order[i] = i;
        rng_shuffle(&rng, order, n);
        for (int64_t k = 0; k < info->n_val; k++)
            is_val[order[k]] = 1;
        uint32_t next_train = 0, next_val = (uint32_t)info->n_train;
        for (uint32_t i = 0; i < n; i++)
            storage->place[i] = is_val[i] ? next_val++ : next_train++;
    } else
        status = error_set(err, PARE_E_NOMEM, "dataset %s: out of memory", info->name);
    free(order);
    free(is_val);
    return status;
}

static pare_status load_files(const struct dataset_info *info, const char *dir, int is_test,
                              struct samples *into, struct error *err) {
    const struct source *source = source_of(info);
    if (source->kind == SOURCE_IDX)
        return idx_load(dir, source->files[2 * is_test], source->files[2 * is_test + 1], into, err);
    size_t n_train_files = source->n_files - 1; /* the last one is the test file */
    return is_test ? cifar_load(dir, source->files + n_train_files, 1, into, err)
                   : cifar_load(dir, source->files, n_train_files, into, err);
}

/* Draws only what the splits will show: sample i does not depend on the others. */
static void draw_glyphs(const struct dataset *ds, const struct samples *into, int is_test) {
    int64_t n_train = into->info->n_train;
    for (int64_t i = 0; i < into->n; i++) {
        int64_t at = into->place ? into->place[i] : i;
        int64_t shown = is_test        ? ds->splits[SPLIT_TEST].n
                        : at < n_train ? ds->splits[SPLIT_TRAIN].n
                                       : n_train + ds->splits[SPLIT_VAL].n;
        if (at < shown)
            glyphs_draw(is_test ? "test" : "train", (uint64_t)i, into->images + 784 * at,
                        into->labels + at);
    }
}

static pare_status load_part(struct dataset *ds, const struct dataset_info *info, int is_test,
                             struct storage *storage, struct error *err) {
    int64_t n = is_test ? info->n_test : info->n_train + info->n_val;
    size_t item_bytes = (size_t)info->dims[0] * (size_t)info->dims[1] * (size_t)info->dims[2];
    uint8_t *images = storage->images[is_test] = alloc_array((size_t)n, item_bytes);
    uint8_t *labels = storage->labels[is_test] = alloc_array((size_t)n, 1);
    if (!images || !labels)
        return error_set(err, PARE_E_NOMEM, "dataset %s: out of memory for %lld images", info->name,
                         (long long)n);
    struct samples into = {info, n, images, labels, is_test ? NULL : storage->place};
    if (is_test) {
        ds->splits[SPLIT_TEST].images = images;
        ds->splits[SPLIT_TEST].labels = labels;
    } else {
        ds->splits[SPLIT_TRAIN].images = images;
        ds->splits[SPLIT_TRAIN].labels = labels;
        ds->splits[SPLIT_VAL].images = images + (size_t)info->n_train * item_bytes;
        ds->splits[SPLIT_VAL].labels = labels + info->n_train;
    }
    if (source_of(info)->kind != SOURCE_GLYPHS)
        return load_files(info, ds->origin, is_test, &into, err);
    draw_glyphs(ds, &into, is_test);
    return PARE_OK;
}

static int64_t limited(int64_t n, int64_t max) {
    return max > 0 && max < n ? max : n;
}

static pare_status load(struct dataset *ds, const struct dataset_info *info,
                        const struct dataset_options *options, struct error *err) {
    char *path = NULL;
    int is_whole;
    pare_status status = dataset_locate_test(info->name, err, &path, &is_whole);
    if (status != PARE_OK)
        return status;
    int length = snprintf(ds->origin, sizeof ds->origin, "%s", path);
    if (length < 0 || (size_t)length >= sizeof ds->origin)
        status = error_set(err, PARE_E_LIMIT, "dataset %s: path is too long: %s", info->name, path);
    free(path);
    static const struct dataset_options all;
    if (!options)
        options = &all;
    if (options->max_train < 0 || options->max_val < 0 || options->max_test < 0)
        status = error_set(err, PARE_E_ARG,
                           "dataset %s: a limit on its size is negative, wanted 0 (all) or more",
                           info->name);
    ds->is_test_only = !is_whole;
    ds->splits[SPLIT_TRAIN].n = is_whole ? limited(info->n_train, options->max_train) : 0;
    ds->splits[SPLIT_VAL].n = is_whole ? limited(info->n_val, options->max_val) : 0;
    ds->splits[SPLIT_TEST].n = limited(info->n_test, options->max_test);
    struct storage *storage = ds->storage;
    if (status == PARE_OK && is_whole)
        status = cut_validation(info, storage, err);
    for (int is_test = !is_whole; is_test < 2 && status == PARE_OK; is_test++)
        status = load_part(ds, info, is_test, storage, err);
    return status;
}

pare_status dataset_open(const char *name, const struct dataset_options *options, struct error *err,
                         struct dataset **out) {
    const struct dataset_info *info = dataset_find_info(name, err);
    if (!info)
        return err->status;
    struct dataset *ds = alloc_array(1, sizeof *ds);
    struct storage *storage = alloc_array(1, sizeof *storage);
    if (!ds || !storage) {
        free(ds);
        free(storage);
        return error_set(err, PARE_E_NOMEM, "dataset %s: out of memory", name);
    }
    ds->name = info->name;
    memcpy(ds->dims, info->dims, sizeof ds->dims);
    ds->n_classes = info->n_classes;
    memcpy(ds->mean, source_of(info)->mean, sizeof ds->mean);
    memcpy(ds->stddev, source_of(info)->stddev, sizeof ds->stddev);
    ds->flip = source_of(info)->flip;
    ds->storage = storage;
    pare_status status = load(ds, info, options, err);
    free(storage->place);
    storage->place = NULL;
    if (status != PARE_OK) {
        dataset_close(ds);
        return status;
    }
    *out = ds;
    return PARE_OK;
}

void dataset_close(struct dataset *ds) {
    if (!ds)
        return;
    free_storage(ds->storage);
    free(ds);
}

pare_status dataset_need_train(const struct dataset *ds, const char *what, struct error *err) {
    if (!ds->is_test_only)
        return PARE_OK;
    return error_set(
        err, PARE_E_NOT_FOUND,
        "dataset %s: %.600s has only the test split, but %s needs training images: put "
        "the training files beside it, or do this elsewhere and load its checkpoint",
        ds->name, ds->origin, what);
}

/* Image i of the output is items[i], without items first + i. */
static void normalise(const struct dataset *ds, enum split_id split, const uint32_t *items,
                      int64_t first, int64_t n, float *out) {
    size_t channels = (size_t)ds->dims[2];
    size_t item_elems = (size_t)ds->dims[0] * (size_t)ds->dims[1] * channels;
    float table[3][256]; /* every value a pixel can become */
    for (size_t c = 0; c < channels; c++)
        for (int pixel = 0; pixel < 256; pixel++)
            table[c][pixel] = ((float)pixel / 255.0f - ds->mean[c]) / ds->stddev[c];
    for (int64_t i = 0; i < n; i++) {
        int64_t item = items ? (int64_t)items[i] : first + i;
        const uint8_t *image = ds->splits[split].images + (size_t)item * item_elems;
        float *to = out + (size_t)i * item_elems;
        for (size_t p = 0; p < item_elems; p += channels)
            for (size_t c = 0; c < channels; c++)
                to[p + c] = table[c][image[p + c]];
    }
}

void dataset_batch(const struct dataset *ds, enum split_id split, const uint32_t *items, int64_t n,
                   float *out) {
    normalise(ds, split, items, 0, n, out);
}

void dataset_span(const struct dataset *ds, enum split_id split, int64_t first, int64_t n,
                  float *out) {
    normalise(ds, split, NULL, first, n, out);
}
