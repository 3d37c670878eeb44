/* SPDX-License-Identifier: MIT */
/* One weight to and from the tensors of a file. */
#ifndef MODEL_WEIGHT_FILE_H
#define MODEL_WEIGHT_FILE_H

#include "model/model_private.h"
#include "model/safetensors.h"
#include "model/storage.h"

/* Adds the tensors that `storage`, which storage_choose made, needs. */
pare_status weight_write(struct st_writer *writer, const pare_weight *w,
                         const struct storage *storage, struct error *err);
/* As a plain tensor of fp32, whatever it is. */
pare_status weight_write_plain(struct st_writer *writer, const pare_weight *w, struct error *err);
/* The entry in the node's "storage", or NULL where a plain tensor needs none. *failed: no memory */
json_t *weight_entry(const pare_weight *w, const struct storage *storage, int *failed);

/* Values, mask and quantization from `entry` (NULL: none) and the file's tensors, which are marked
 * as used. */
pare_status weight_read(struct model *model, const struct st_file *file, json_t *entry,
                        struct weight_store *w, struct error *err);

/* What only the JSON of graphs needs: fields with messages. `where` begins each. */
pare_status json_check_keys(json_t *object, const char *where, const char *const *allowed,
                            struct error *err);
pare_status json_to_int(json_t *value, const char *where, const char *key, struct error *err,
                        int32_t *out);
pare_status json_get_int(json_t *object, const char *where, const char *key, struct error *err,
                         int32_t *out);

#endif
