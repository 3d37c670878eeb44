/* SPDX-License-Identifier: MIT */
/* Datasets in memory: 8-bit images (N,H,W,C) and labels, cut into train, val and test. */
#ifndef DATASET_DATASET_H
#define DATASET_DATASET_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

enum split_id { SPLIT_TRAIN = 0, SPLIT_VAL = 1, SPLIT_TEST = 2, N_SPLITS = 3 };

struct dataset_split {
    int64_t n;
    const uint8_t *images; /* (n,H,W,C) */
    const uint8_t *labels; /* (n), each < n_classes */
};

struct dataset {
    const char *name; /* "mnist": what every record says */
    int32_t dims[3];  /* (H,W,C) */
    int32_t n_classes;
    float mean[3], stddev[3]; /* per channel, of pixels / 255, fixed constants of the dataset */
    int32_t flip; /* 1: a left-right flip keeps the label (CIFAR-10), 0: it does not (digits) */
    struct dataset_split splits[N_SPLITS];
    char origin[512]; /* the folder it was read from, or "embedded" */
    int is_test_only; /* 1: the training files are not there; train and val have no images */
    void *storage;
};

/* What is known of a dataset without reading it. */
struct dataset_info {
    const char *name;
    const char *doc; /* one sentence */
    int32_t dims[3];
    int32_t n_classes;
    int64_t n_train, n_val, n_test;
    const char *licence_note; /* "" or what to know before using it */
};

/* All known datasets (mnist, fashion-mnist, cifar10, cifar10-jpeg, glyphs), terminated by a NULL
 * name. */
const struct dataset_info *dataset_infos(void);
const struct dataset_info *dataset_find_info(const char *name, struct error *err);

struct dataset_options {
    int64_t max_train, max_val, max_test; /* 0: all; else the first n of each split */
};

/* Opens a dataset by name. Folders are searched in this order: each D of $PARE_DATASETS (colon
 * separated) as D/<name>, then <home>/datasets/<name>, then <cache>/<name> (dataset_cache_dir).
 * Files may be gzipped or not. The validation split is cut from the training file by a fixed seed,
 * the same for everyone. Checks every header, size and label; a file with other than the dataset's
 * own number of samples is refused. Where no folder has all files, the first that has those of the
 * test split and no other is taken, and the dataset is that alone: enough to measure on a board.
 * `options` may be NULL. dataset_close(NULL) is fine. */
pare_status dataset_open(const char *name, const struct dataset_options *options, struct error *err,
                         struct dataset **out);
void dataset_close(struct dataset *ds);

/* The folder that has the whole dataset, malloc'd, or PARE_E_NOT_FOUND with where it looked and
 * what to do (embedded datasets give "embedded"). */
pare_status dataset_locate(const char *name, struct error *err, char **path);

/* The folder dataset_open would read, with the whole dataset (*is_whole 1) or the test split alone.
 */
pare_status dataset_locate_test(const char *name, struct error *err, char **path, int *is_whole);

/* PARE_E_NOT_FOUND, with what to do, for a dataset that is its test split alone; `what` needs
 * images of the training split: "calibration". */
pare_status dataset_need_train(const struct dataset *ds, const char *what, struct error *err);

/* Normalised fp32 images of items[0..n) of a split: out (n,H,W,C), (pixel/255 - mean)/stddev. */
void dataset_batch(const struct dataset *ds, enum split_id split, const uint32_t *items, int64_t n,
                   float *out);
/* The same for images first..first+n. */
void dataset_span(const struct dataset *ds, enum split_id split, int64_t first, int64_t n,
                  float *out);

/* ${PARE_CACHE}, else $XDG_CACHE_HOME/pare/datasets, else ~/.cache/pare/datasets; malloc'd. */
char *dataset_cache_dir(void);

/* Downloads into <dest>/<name> (dest NULL: the cache). `mirror` (https:// or file:///folder)
 * replaces the manifest's base URL. Resumes partial files; nothing gets its final name before its
 * checksum is right. Files that are there and right are kept. Progress on stderr. Statuses:
 * PARE_E_IO (network, disk; another try resumes), PARE_E_FORMAT (wrong checksum), PARE_E_STATE
 * (another process is at it), PARE_E_ARG, PARE_E_UNSUPPORTED (nothing to fetch). [main] */
pare_status dataset_fetch(const char *name, const char *mirror, const char *dest,
                          struct error *err);

/* Checks the files of a located dataset against the manifest: their unpacked contents, or where no
 * checksum of those is published, the packed file. `report` is called per file with "ok",
 * "missing", "differs: got ..., wanted ..."; its strings live for the call. PARE_E_FORMAT if any is
 * not ok. */
pare_status dataset_verify(const char *name,
                           void (*report)(void *arg, const char *file, const char *verdict),
                           void *arg, struct error *err);

#endif
