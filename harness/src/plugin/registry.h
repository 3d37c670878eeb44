/* SPDX-License-Identifier: MIT */
/* Finding, loading and keeping plugins; instances of their methods and backends. */
#ifndef PLUGIN_REGISTRY_H
#define PLUGIN_REGISTRY_H

#include "core/error.h"
#include "core/pool.h"
#include "plugin/params.h"

#include <pare/backend.h>
#include <pare/ext/calibrate.h>
#include <pare/ext/observe.h>
#include <pare/ext/train.h>
#include <pare/method.h>

struct registry;

pare_status registry_create(struct error *err, struct registry **out);
void registry_destroy(struct registry *reg); /* closes all plugins; every instance must be gone */

/* Loads one file. ELF class, machine and endianness are checked before dlopen; then symbol, magic,
 * ABI version, struct sizes, descriptors, parameter tables, duplicate ids: each its own message. */
pare_status registry_load(struct registry *reg, const char *path, struct error *err);

/* Loads every *.so of a folder, in name order. A file that cannot be loaded is remembered with its
 * error (registry_rejects) and does not stop the scan. */
pare_status registry_scan(struct registry *reg, const char *folder, struct error *err);

/* Scans $PARE_PLUGIN_PATH (colon separated; these win over the built-in ones) and then home_path's
 * plugin folder. */
pare_status registry_scan_default(struct registry *reg, struct error *err);

struct plugin_entry {
    const char *path; /* of the shared object */
    const pare_plugin *plugin;
    const pare_method *method; /* one of these two is not NULL */
    const pare_backend *backend;
};
size_t registry_n_entries(const struct registry *reg);
const struct plugin_entry *registry_entry(const struct registry *reg, size_t k);

struct plugin_reject {
    const char *path;
    const char *reason;
};
size_t registry_n_rejects(const struct registry *reg);
const struct plugin_reject *registry_reject(const struct registry *reg, size_t k);

/* By id; the error names the nearest id. Backend "auto" is the usable one with the highest score.
 */
pare_status registry_find_method(const struct registry *reg, const char *id, struct error *err,
                                 const struct plugin_entry **out);
pare_status registry_find_backend(const struct registry *reg, const char *id, struct error *err,
                                  const struct plugin_entry **out);

/* Surroundings of an instance. */
struct instance_env {
    struct pool *pool; /* may be NULL */
    uint64_t seed;
    uint64_t instance;          /* place in the pipeline: distinguishes rng streams */
    const char *const *include; /* node-name patterns; n_include == 0: every conv2d and linear */
    size_t n_include;
    const char *const *exclude;
    size_t n_exclude;
};

/* One method or backend instance with its host table. All calls below turn a failing status into an
 * error "method ptq: <what it said>". */
struct instance;

pare_status instance_create(const struct plugin_entry *entry, const struct params *params,
                            size_t params_table, const struct instance_env *env, struct error *err,
                            struct instance **out);
/* Destroys it; a leak of host memory is reported as a warning and in *leaked_bytes (may be NULL).
 */
void instance_destroy(struct instance *inst, size_t *leaked_bytes);
void *instance_self(struct instance *inst); /* what the plugin's create gave */
const pare_host *instance_host(struct instance *inst);
const struct plugin_entry *instance_entry(const struct instance *inst);

/* Turns the status of a plugin call into an error with the message the plugin left (or the status's
 * own text and `call`, if it left none). PARE_OK passes. */
pare_status instance_status(struct instance *inst, pare_status status, const char *call,
                            struct error *err);

/* Include/exclude patterns that match no conv2d or linear node of the graph are errors. */
pare_status instance_check_patterns(struct instance *inst, const pare_graph *graph,
                                    struct error *err);

/* ---- pipelines: what earlier steps established ---- */

struct pipeline_state {
    uint32_t established; /* pare_aspect of MASK, WEIGHT_QUANT, ACTIVATION_QUANT, TOPOLOGY */
    char by[4][32];       /* who: id of the step, by bit order MASK, WEIGHT_QUANT, ACTIVATION_QUANT,
                             TOPOLOGY */
};
/* Rejects a method that would undo what is established, with the order that works. */
pare_status pipeline_admit(struct pipeline_state *state, const pare_method *method,
                           struct error *err);

#endif
