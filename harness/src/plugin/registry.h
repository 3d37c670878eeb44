/* SPDX-License-Identifier: MIT */
/* Finding, loading and keeping plugins; instances of their methods and backends. */
#ifndef PLUGIN_REGISTRY_H
#define PLUGIN_REGISTRY_H

#include "core/error.h"
#include "core/note.h"
#include "core/pool.h"
#include "plugin/params.h"

#include <pare/backend.h>
#include <pare/ext/calibrate.h>
#include <pare/ext/observe.h>
#include <pare/ext/train.h>
#include <pare/method.h>
#include <stddef.h>
#include <stdint.h>

struct registry;

pare_status registry_create(struct error *err, struct registry **out);
void registry_destroy(struct registry *reg); /* closes all plugins; every instance must be gone */

/* Where the calls into plugins are noted, so that the parent of a process that died in one knows
 * which. */
struct note *registry_note(const struct registry *reg);

/* Others' plugins are code: a folder that everybody may write to is refused (PARE_E_STATE), and so
 * is such a file, or one in such a folder without the sticky bit; unless PARE_TRUST_PLUGIN_PATH
 * is 1. Each file is opened in a child process first, so that a constructor or an entry that
 * crashes or hangs is an error. Neither is done for pare's own folder.
 *
 * Loads one file. That it is a whole ELF shared object for this machine is checked before dlopen;
 * then symbol, magic, ABI version, struct sizes, descriptors, parameter tables, duplicate ids: each
 * its own message, after the path. A file is loaded as a whole or not at all; one that is loaded
 * already is PARE_OK and left as it is. [main] */
pare_status registry_load(struct registry *reg, const char *path, struct error *err);

/* Loads every *.so of a folder, in name order. A file that cannot be loaded is remembered with its
 * error (registry_rejects) and does not stop the scan. */
pare_status registry_scan(struct registry *reg, const char *folder, struct error *err);

/* Scans the folders of $PARE_PLUGIN_PATH (colon separated; one that cannot be read is an error),
 * and then the folder of pare's own plugins: <folder of the executable>/../lib/pare/plugins where
 * that exists, else that of the build. An id of $PARE_PLUGIN_PATH wins over the same id among
 * pare's own, which then stands among the rejects. */
pare_status registry_scan_default(struct registry *reg, struct error *err);

struct plugin_entry {
    const char *path; /* of the shared object */
    const pare_plugin *plugin;
    const pare_method *method; /* one of these two is not NULL */
    const pare_backend *backend;
    const char *owner; /* "method ptq", "backend ref": for messages */
    struct note *note; /* the registry's; calls of its instances are noted there */
};
size_t registry_n_entries(const struct registry *reg);
const struct plugin_entry *registry_entry(const struct registry *reg, size_t k);

struct plugin_reject {
    const char *path;
    const char *reason;
    const char *name; /* of the file, without .so */
    /* It is pare's own, and only lacks a library that is not installed: nothing to warn of, but to
     * list. pare's own files are named after the method or backend in them. */
    int lacks_library;
};
size_t registry_n_rejects(const struct registry *reg);
const struct plugin_reject *registry_reject(const struct registry *reg, size_t k);

/* By id; the error names the nearest id, or is PARE_E_UNSUPPORTED and names the library that pare's
 * own plugin of that name lacks. Backend "auto" is the usable one with the highest score;
 * of equals, the one loaded first. */
pare_status registry_find_method(const struct registry *reg, const char *id, struct error *err,
                                 const struct plugin_entry **out);
pare_status registry_find_backend(const struct registry *reg, const char *id, struct error *err,
                                  const struct plugin_entry **out);

/* Asks a backend whether it can run here: *out has its score, and the reason when that is 0. A
 * probe that fails is an error. */
pare_status registry_probe(const struct plugin_entry *entry, struct error *err, pare_probe *out);

/* Are the tables of a method's extensions whole? Calls get_extension, which scanning does not;
 * instance_create does the same. */
pare_status registry_check_extensions(const struct plugin_entry *entry, struct error *err);

/* The parameter table of an entry, for params_resolve; owner is "method ptq" or "backend ref", and
 * lives as long as the registry. */
struct param_table registry_param_table(const struct plugin_entry *entry);

/* Surroundings of an instance; the patterns are copied. */
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
 * error "method ptq: <what it said>". `params` is borrowed until instance_destroy. A method's
 * extensions are checked here too: what <pare/ext/...> requires is not NULL. */
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

/* Notes that a function of the plugin is about to be called; instance_status, or another enter,
 * ends the call. `call` is a literal. [hot] */
void instance_enter(struct instance *inst, const char *call);

/* Turns the status of a plugin call into an error with the message the plugin left (or the status's
 * own text and `call`, if it left none). PARE_OK passes. */
pare_status instance_status(struct instance *inst, pare_status status, const char *call,
                            struct error *err);

/* Include/exclude patterns that match no conv2d or linear node of the graph are errors, and so are
 * patterns that together leave no layer selected. */
pare_status instance_check_patterns(struct instance *inst, const pare_graph *graph,
                                    struct error *err);

/* ---- pipelines: what earlier steps established ---- */

#define PIPELINE_N_ASPECTS 4

/* Start with all zeros. */
struct pipeline_state {
    uint32_t established; /* pare_aspect of MASK, WEIGHT_QUANT, ACTIVATION_QUANT, TOPOLOGY */
    const pare_method *by[PIPELINE_N_ASPECTS]; /* who established it last, in that order */
};

/* Rejects a method that would undo what is established, with the order that works, if one does.
 * A step undoes aspect E, established earlier and not in its `preserves`, if it writes
 *   - E itself, or
 *   - WEIGHTS, and E is MASK or WEIGHT_QUANT: new values are neither zero nor on the grid, or
 *   - TOPOLOGY, and E is MASK, WEIGHT_QUANT or ACTIVATION_QUANT: they hang on nodes that change.
 * Folding batch norm counts as writing TOPOLOGY, and a quantizer that folds establishes it. That
 * alone forbids nothing that comes later except another writer of TOPOLOGY which does not preserve
 * it: a method that merely needs batch norms to be there sees in the graph that they are gone, and
 * says so itself. */
pare_status pipeline_admit(struct pipeline_state *state, const pare_method *method,
                           struct error *err);

#endif
