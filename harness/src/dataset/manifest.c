/* SPDX-License-Identifier: MIT */
#include "dataset/sources.h"

static const struct manifest_file files[] = {
#define MANIFEST(dataset, url, file, n_bytes, packed_digest, content_digest)                       \
    {dataset, url, file, n_bytes, packed_digest, content_digest},
#include "manifest.inc"
#undef MANIFEST
};

const struct manifest_file *manifest_files(size_t *n) {
    *n = sizeof files / sizeof files[0];
    return files;
}
