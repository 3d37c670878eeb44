/* SPDX-License-Identifier: MIT */
/* A safetensors file with its header deflated, inside another one. Of a network compressed a
 * hundredfold, names and graph would otherwise take as much as the weights. README.md of this
 * folder has the layout. */
#ifndef MODEL_COMPACT_H
#define MODEL_COMPACT_H

#include "model/safetensors.h"

#include <stdbool.h>

/* file (n_bytes), a valid safetensors file -> *out, of at least least_bytes. Freed by the caller.
 */
pare_status compact_make(const uint8_t *file, size_t n_bytes, size_t least_bytes, struct error *err,
                         uint8_t **out, size_t *n_out);
/* Is this the outer file of one? */
bool compact_is(const struct st_file *file);
/* The inner file. Nothing in it is trusted; what st_read checks is left to it. Freed by the caller.
 */
pare_status compact_open(const struct st_file *file, struct error *err, uint8_t **out,
                         size_t *n_out);

#endif
