/* SPDX-License-Identifier: MIT */
/* Files and paths. */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

/* Reads a whole file of at most max_bytes, gunzipping it if it starts with the gzip magic
 * (max_bytes then bounds the unpacked size). *data is NUL-terminated beyond *n_bytes and freed by
 * the caller. */
pare_status file_read(const char *path, size_t max_bytes, struct error *err, uint8_t **data,
                      size_t *n_bytes);

/* Writes a file whole or not at all: a temporary beside it, fsync, rename. */
pare_status file_write(const char *path, const void *data, size_t n_bytes, struct error *err);

/* dir/name, malloc'd; `name` alone when it is absolute. NULL when out of memory. */
char *file_join(const char *dir, const char *name);
int file_exists(const char *path);
/* mkdir -p. */
pare_status file_make_dirs(const char *path, struct error *err);

/* Lower-case hex SHA-256 of a file as it lies (not gunzipped), or of bytes. */
pare_status file_sha256(const char *path, struct error *err, char hex[65]);
void bytes_sha256(const void *data, size_t n_bytes, char hex[65]);

/* Where pare's own read-only files lie (scripts/lib, datasets/checkpoints, plugins): $PARE_HOME if
 * set, else <folder of the executable>/../share/pare if that exists, else the source tree it was
 * built from. `relative` is appended: home_path("scripts/lib"). malloc'd; NULL when out of memory.
 */
char *home_path(const char *relative);

/* The name in names[0..n) nearest to `wanted` by edit distance, or NULL if none is near. */
const char *nearest_name(const char *wanted, const char *const *names, size_t n);

/* Shell-style pattern, * and ? (fnmatch without path rules): 1 if it matches. */
int pattern_match(const char *pattern, const char *text);

#endif
