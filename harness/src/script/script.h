/* SPDX-License-Identifier: MIT */
/* Lua 5.4 experiment scripts: a sandboxed state in which `pare` is the only door to the outside. */
#ifndef SCRIPT_SCRIPT_H
#define SCRIPT_SCRIPT_H

#include "core/error.h"
#include "experiment/experiment.h"
#include "model/model.h"
#include "plugin/registry.h"

#include <stddef.h>
#include <stdint.h>

struct script_options {
    size_t max_memory_bytes;   /* of the Lua state; 0: 256 MiB */
    uint64_t max_instructions; /* 0: 1e9 */
    size_t n_sets;             /* --set k=v, read by scripts as pare.set.k */
    const char *const *sets;   /* "k=v" */
    const char *profile;       /* pare.profile; NULL: "default" */
};

struct script; /* the Lua state; hooks of the experiment run in it, so it must outlive the run */

/* Runs a script up to its `return pare.experiment{...}`. Errors carry "file:line:". */
pare_status script_load(const char *path, const struct script_options *options,
                        const struct registry *reg, struct error *err, struct script **out);
struct experiment *script_experiment(struct script *script); /* borrowed */
void script_destroy(struct script *script);

/* Builds a model described in scripts/lib/models.lua ("resnet20") or in a Lua file of the same form
 * ("nets.lua:mine"), with options given as inputs (shortcut = "B"; those from a command line get
 * the type they look like); weights are zero until model_init_weights or a load. input_dims NULL
 * and n_classes 0: as the description says. */
pare_status script_build_model(const char *name, const int32_t input_dims[3], int32_t n_classes,
                               const struct param_input *options, size_t n_options,
                               struct error *err, struct model **out);

/* Names and one-line docs of the models known: calls `item` for each. */
pare_status script_list_models(void (*item)(void *arg, const char *name, const char *doc),
                               void *arg, struct error *err);

/* The file of a checkpoint: `name` itself if it is a file, else <home>/datasets/checkpoints/<name>
 * .safetensors. malloc'd. */
pare_status script_find_checkpoint(const char *name, struct error *err, char **path);
/* Those that come with pare, by name: calls `item` for each. */
pare_status script_list_checkpoints(void (*item)(void *arg, const char *name, const char *path),
                                    void *arg, struct error *err);

#endif
