/* SPDX-License-Identifier: MIT */
/* Inside the dataset module: readers and the generator, all filling struct samples. */
#ifndef DATASET_SOURCES_H
#define DATASET_SOURCES_H

#include "core/error.h"
#include "dataset/dataset.h"

#include <stddef.h>
#include <stdint.h>

enum source_kind { SOURCE_IDX, SOURCE_CIFAR, SOURCE_GLYPHS };

/* What struct dataset_info does not tell: the files, training files first, and the constants. */
struct source {
    enum source_kind kind;
    size_t n_files;
    const char *const *files; /* (n_files) names, without .gz */
    int32_t flip;
    float mean[3], stddev[3];
};
const struct source *source_of(const struct dataset_info *info);
/* The files from here on are those of the test split. */
size_t source_first_test_file(const struct source *source);

/* Where a reader puts sample i: at place[i], or at i when place is NULL. The number of samples,
 * their shape and classes are what the dataset is known to have; a file with others is refused. */
struct samples {
    const struct dataset_info *info;
    int64_t n;
    uint8_t *images;       /* (n,H,W,C) */
    uint8_t *labels;       /* (n) */
    const uint32_t *place; /* (n) a permutation, or NULL */
};

/* ---- IDX (MNIST, Fashion-MNIST) ---- */

/* Check one unpacked file in memory, data (n_bytes); `name` stands in messages. Images must be
 * unsigned bytes (count,H,W) of dims (H,W,1); labels unsigned bytes (count), each < n_classes. The
 * size must be exactly what the header says. *items points into data. */
pare_status idx_parse_images(const char *name, const uint8_t *data, size_t n_bytes,
                             const int32_t dims[3], struct error *err, int64_t *count,
                             const uint8_t **items);
pare_status idx_parse_labels(const char *name, const uint8_t *data, size_t n_bytes,
                             int32_t n_classes, struct error *err, int64_t *count,
                             const uint8_t **items);

/* Reads dir/<images> and dir/<labels>, each plain or with .gz. */
pare_status idx_load(const char *dir, const char *images, const char *labels, struct samples *into,
                     struct error *err);

/* The file dir/name, or dir/name.gz, malloc'd; PARE_E_NOT_FOUND when neither is there. */
pare_status idx_find(const char *dir, const char *name, struct error *err, char **path);

/* ---- CIFAR-10's binary layout ---- */

/* One file in memory: records of 1 label byte and H*W*C pixels, one plane per channel. Puts records
 * at first, first + 1, ... of `into`; *count is how many there are. */
pare_status cifar_parse(const char *name, const uint8_t *data, size_t n_bytes, struct samples *into,
                        int64_t first, struct error *err, int64_t *count);

/* Reads files (n_files) of dir one after the other. */
pare_status cifar_load(const char *dir, const char *const *files, size_t n_files,
                       struct samples *into, struct error *err);

/* ---- glyphs ---- */

/* Draws sample `index` of stream "train" or "test": image (28,28), *label. The same bits on every
 * machine: only + - * / and sqrt on doubles, and integers. [any] */
void glyphs_draw(const char *stream, uint64_t index, uint8_t *image, uint8_t *label);

/* ---- files that are fetched ---- */

/* One file of a dataset, as the manifest (datasets/manifest.inc) has it. Digests are written
 * "sha256:<hex>" or "md5:<hex>"; "" where none is published. */
struct manifest_file {
    const char *dataset;
    const char *url;            /* base and file name */
    const char *file;           /* name in the dataset's folder, without .gz */
    int64_t n_bytes;            /* of the unpacked contents */
    const char *packed_digest;  /* of the file that the URL gives */
    const char *content_digest; /* of the unpacked contents */
};
const struct manifest_file *manifest_files(size_t *n);

/* Compares bytes (n_bytes), or a file as it lies, with a digest. *same is 0 or 1; got becomes what
 * they have, written like the digest wanted. */
void digest_compare_bytes(const void *data, size_t n_bytes, const char *wanted, int *same,
                          char got[80]);
pare_status digest_compare_file(const char *path, const char *wanted, struct error *err, int *same,
                                char got[80]);

/* Downloads files (n_files) of one dataset into dir; see dataset_fetch. A row whose file ends in
 * ".tar" is an archive: the rows without URL are taken out of it, and it is removed. */
pare_status fetch_files(const struct manifest_file *files, size_t n_files, const char *mirror,
                        const char *dir, struct error *err);

/* Writes the files that rows without URL name, found in a tar archive in memory, data (n_bytes),
 * into dir; by their last path component, and only if size and digest are right. */
pare_status tar_unpack(const char *name, const uint8_t *data, size_t n_bytes,
                       const struct manifest_file *files, size_t n_files, const char *dir,
                       struct error *err);

#endif
