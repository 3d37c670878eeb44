/* SPDX-License-Identifier: MIT */
#include "plugin/registry.h"
#include "core/alloc.h"
#include "core/file.h"
#include "plugin/descriptor.h"
#include "plugin/host.h"
#include "plugin/open.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ENTRIES 1024

struct loaded {
    char *path;   /* canonical */
    void *handle; /* of dlopen */
};

struct registry {
    struct loaded *loaded;
    size_t n_loaded;
    struct plugin_entry **entries; /* pointers, so that they stay where they are */
    size_t n_entries;
    struct plugin_reject *rejects;
    size_t n_rejects;
    int is_own; /* the folder of pare's own plugins is being scanned */
    struct note *note;
};

static pare_status no_memory(struct error *err) {
    return error_set(err, PARE_E_NOMEM, "plugin registry: out of memory");
}

pare_status registry_create(struct error *err, struct registry **out) {
    struct registry *reg = alloc_array(1, sizeof *reg);
    if (!reg) {
        return no_memory(err);
    }
    if (note_create(err, &reg->note) < 0) {
        free(reg);
        return err->status;
    }
    *out = reg;
    return PARE_OK;
}

struct note *registry_note(const struct registry *reg) {
    return reg->note;
}

static void destroy_entry(struct plugin_entry *entry) {
    if (entry) {
        free((void *)(uintptr_t)entry->owner);
        free(entry);
    }
}

void registry_destroy(struct registry *reg) {
    if (!reg) {
        return;
    }
    for (size_t k = 0; k < reg->n_entries; k++) {
        destroy_entry(reg->entries[k]);
    }
    for (size_t k = 0; k < reg->n_loaded; k++) {
        dlclose(reg->loaded[k].handle);
        free(reg->loaded[k].path);
    }
    for (size_t k = 0; k < reg->n_rejects; k++) {
        free((void *)(uintptr_t)reg->rejects[k].path);
        free((void *)(uintptr_t)reg->rejects[k].reason);
        free((void *)(uintptr_t)reg->rejects[k].name);
    }
    free(reg->entries);
    free(reg->loaded);
    free(reg->rejects);
    note_destroy(reg->note);
    free(reg);
}

/* ---- loading ---- */

static const char *entry_id(const struct plugin_entry *entry) {
    return entry->method ? entry->method->id : entry->backend->id;
}

static pare_status make_entry(const pare_plugin *plugin, const char *path,
                              const pare_method *method, const pare_backend *backend,
                              struct error *err, struct plugin_entry **out) {
    struct plugin_entry *entry = alloc_array(1, sizeof *entry);
    char *owner =
        method ? alloc_printf("method %s", method->id) : alloc_printf("backend %s", backend->id);
    if (!entry || !owner) {
        free(entry);
        free(owner);
        return no_memory(err);
    }
    *entry = (struct plugin_entry){path, plugin, method, backend, owner};
    *out = entry;
    return PARE_OK;
}

/* Appends an entry unless its id is taken; the array has room. */
static pare_status add_entry(struct registry *reg, struct plugin_entry *entry, struct error *err) {
    for (size_t k = 0; k < reg->n_entries; k++) {
        const struct plugin_entry *other = reg->entries[k];
        if (!other->method == !entry->method && strcmp(entry_id(other), entry_id(entry)) == 0) {
            return error_set(err, PARE_E_ABI, "%s is already provided by %s", entry->owner,
                             other->path);
        }
    }
    entry->note = reg->note;
    reg->entries[reg->n_entries++] = entry;
    return PARE_OK;
}

/* Adds all descriptors of a checked plugin, or none. */
static pare_status add_plugin(struct registry *reg, const pare_plugin *plugin, const char *path,
                              struct error *err) {
    size_t before = reg->n_entries;
    size_t n = plugin->n_methods + (size_t)plugin->n_backends;
    if (before + n > MAX_ENTRIES) {
        return error_set(err, PARE_E_LIMIT, "more than %d methods and backends", MAX_ENTRIES);
    }
    struct plugin_entry **grown =
        alloc_resize(reg->entries, before + n, sizeof(struct plugin_entry *));
    if (!grown) {
        return no_memory(err);
    }
    reg->entries = grown;
    pare_status status = PARE_OK;
    for (size_t k = 0; k < n && status == PARE_OK; k++) {
        struct plugin_entry *entry = NULL;
        const pare_method *method = k < plugin->n_methods ? plugin->methods[k] : NULL;
        const pare_backend *backend = method ? NULL : plugin->backends[k - plugin->n_methods];
        status = make_entry(plugin, path, method, backend, err, &entry);
        if (status == PARE_OK) {
            status = add_entry(reg, entry, err);
            if (status < 0) {
                destroy_entry(entry);
            }
        }
    }
    while (status < 0 && reg->n_entries > before) {
        destroy_entry(reg->entries[--reg->n_entries]);
    }
    return status;
}

static pare_status load_canonical(struct registry *reg, char *take_path, struct error *err) {
    void *handle = NULL;
    const pare_plugin *plugin = NULL;
    struct loaded *grown = alloc_resize(reg->loaded, reg->n_loaded + 1, sizeof *grown);
    if (!grown) {
        free(take_path);
        return no_memory(err);
    }
    reg->loaded = grown;
    pare_status status = reg->is_own ? open_plugin(take_path, err, &handle, &plugin)
                                     : open_foreign(take_path, err, &handle, &plugin);
    if (status == PARE_OK) {
        status = add_plugin(reg, plugin, take_path, err);
    }
    if (status < 0) {
        if (handle) {
            dlclose(handle);
        }
        free(take_path);
        return status;
    }
    reg->loaded[reg->n_loaded++] = (struct loaded){take_path, handle};
    return PARE_OK;
}

static pare_status load(struct registry *reg, const char *path, struct error *err) {
    char *canonical = realpath(path, NULL); /* dlopen would search for a name without a slash */
    if (!canonical) {
        return error_set(err, errno == ENOENT ? PARE_E_NOT_FOUND : PARE_E_IO,
                         "cannot be opened: %s", strerror(errno));
    }
    for (size_t k = 0; k < reg->n_loaded; k++) {
        if (strcmp(reg->loaded[k].path, canonical) == 0) {
            free(canonical);
            return PARE_OK;
        }
    }
    return load_canonical(reg, canonical, err);
}

pare_status registry_load(struct registry *reg, const char *path, struct error *err) {
    pare_status status = load(reg, path, err);
    if (status < 0) {
        error_prefix(err, "plugin %s", path);
    }
    return status;
}

/* ---- scanning ---- */

static pare_status remember_reject(struct registry *reg, const char *path, const struct error *why,
                                   struct error *err) {
    struct plugin_reject *grown = alloc_resize(reg->rejects, reg->n_rejects + 1, sizeof *grown);
    if (!grown) {
        return no_memory(err);
    }
    reg->rejects = grown;
    char *path_copy = alloc_printf("%s", path);
    char *reason_copy = alloc_printf("%s", why->text);
    const char *base = strrchr(path, '/') + 1; /* of a path that scan_one joined */
    char *name = alloc_printf("%.*s", (int)(strlen(base) - strlen(".so")), base);
    if (!path_copy || !reason_copy || !name) {
        free(path_copy);
        free(reason_copy);
        free(name);
        return no_memory(err);
    }
    reg->rejects[reg->n_rejects++] = (struct plugin_reject){
        path_copy, reason_copy, name, reg->is_own && why->status == PARE_E_UNSUPPORTED};
    return PARE_OK;
}

static int is_shared_object(const struct dirent *item) {
    size_t n = strlen(item->d_name);
    return n > 3 && item->d_name[0] != '.' && strcmp(item->d_name + n - 3, ".so") == 0;
}

/* Byte order: unlike alphasort, it is the same in every locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static pare_status scan_one(struct registry *reg, const char *folder, const char *name,
                            struct error *err) {
    struct error reason;
    char *path = file_join(folder, name);
    if (!path) {
        return no_memory(err);
    }
    pare_status status = load(reg, path, &reason);
    if (status < 0) {
        status = remember_reject(reg, path, &reason, err);
    }
    free(path);
    return status;
}

pare_status registry_scan(struct registry *reg, const char *folder, struct error *err) {
    struct dirent **items = NULL;
    if (!reg->is_own && open_check_folder(folder, err) < 0) {
        return err->status;
    }
    int n = scandir(folder, &items, is_shared_object, by_name);
    if (n < 0) {
        return error_set(err, errno == ENOENT ? PARE_E_NOT_FOUND : PARE_E_IO,
                         "plugin folder %s: cannot be read: %s", folder, strerror(errno));
    }
    pare_status status = PARE_OK;
    for (int k = 0; k < n; k++) {
        if (status == PARE_OK) {
            status = scan_one(reg, folder, items[k]->d_name, err);
        }
        free(items[k]);
    }
    free(items);
    return status;
}

static pare_status scan_path(struct registry *reg, const char *list, struct error *err) {
    char *copy = alloc_printf("%s", list);
    if (!copy) {
        return no_memory(err);
    }
    pare_status status = PARE_OK;
    for (char *rest = copy; rest && status == PARE_OK;) {
        const char *folder = strsep(&rest, ":");
        if (folder[0]) {
            status = registry_scan(reg, folder, err);
        }
    }
    if (status < 0) {
        error_prefix(err, "PARE_PLUGIN_PATH");
    }
    free(copy);
    return status;
}

/* <folder of the executable>/../lib/pare/plugins if it exists, malloc'd. */
static char *installed_folder(void) {
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) {
        return NULL;
    }
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    if (!slash) {
        return NULL;
    }
    *slash = '\0';
    char *folder = alloc_printf("%s/../%s/pare/plugins", exe, PARE_LIBDIR);
    if (folder && !file_exists(folder)) {
        free(folder);
        folder = NULL;
    }
    return folder;
}

pare_status registry_scan_default(struct registry *reg, struct error *err) {
    const char *list = getenv("PARE_PLUGIN_PATH");
    pare_status status = list ? scan_path(reg, list, err) : PARE_OK;
    if (status < 0) {
        return status;
    }
    char *installed = installed_folder();
    const char *own = installed ? installed : PARE_BUILD_PLUGIN_DIR;
    if (file_exists(own)) {
        reg->is_own = 1;
        status = registry_scan(reg, own, err);
        reg->is_own = 0;
    }
    free(installed);
    return status;
}

/* ---- looking ---- */

size_t registry_n_entries(const struct registry *reg) {
    return reg->n_entries;
}

const struct plugin_entry *registry_entry(const struct registry *reg, size_t k) {
    return k < reg->n_entries ? reg->entries[k] : NULL;
}

size_t registry_n_rejects(const struct registry *reg) {
    return reg->n_rejects;
}

const struct plugin_reject *registry_reject(const struct registry *reg, size_t k) {
    return k < reg->n_rejects ? &reg->rejects[k] : NULL;
}

pare_status registry_check_extensions(const struct plugin_entry *entry, struct error *err) {
    if (entry->method && descriptor_check_extensions(entry->method, err) < 0) {
        return error_prefix(err, "%s", entry->owner);
    }
    return PARE_OK;
}

struct param_table registry_param_table(const struct plugin_entry *entry) {
    const pare_method *m = entry->method;
    const pare_backend *b = entry->backend;
    return (struct param_table){m ? m->params : b->params, m ? m->n_params : b->n_params,
                                entry->plugin->param_desc_size, entry->owner};
}

static pare_status find(const struct registry *reg, int methods, const char *id, struct error *err,
                        const struct plugin_entry **out) {
    const char *names[MAX_ENTRIES];
    size_t n = 0;
    for (size_t k = 0; k < reg->n_entries; k++) {
        const struct plugin_entry *entry = reg->entries[k];
        if ((entry->method != NULL) != methods) {
            continue;
        }
        names[n++] = entry_id(entry);
        if (strcmp(entry_id(entry), id) == 0) {
            *out = entry;
            return PARE_OK;
        }
    }
    const char *kind = methods ? "method" : "backend";
    for (size_t k = 0; k < reg->n_rejects; k++) {
        if (reg->rejects[k].lacks_library && strcmp(reg->rejects[k].name, id) == 0) {
            return error_set(err, PARE_E_UNSUPPORTED, "%s %s: %s", kind, id,
                             reg->rejects[k].reason);
        }
    }
    const char *near = nearest_name(id, names, n);
    if (near) {
        return error_set(err, PARE_E_NOT_FOUND, "unknown %s \"%s\"; did you mean \"%s\"?", kind, id,
                         near);
    }
    return error_set(err, PARE_E_NOT_FOUND,
                     "unknown %s \"%s\"; \"pare list %ss\" shows the %zu there are", kind, id, kind,
                     n);
}

pare_status registry_find_method(const struct registry *reg, const char *id, struct error *err,
                                 const struct plugin_entry **out) {
    return find(reg, 1, id, err, out);
}

pare_status registry_probe(const struct plugin_entry *entry, struct error *err, pare_probe *out) {
    if (!entry->backend) {
        return error_set(err, PARE_E_ARG, "%s: only backends are probed", entry->owner);
    }
    struct instance_env env = {0};
    struct instance *inst = NULL;
    pare_probe probe = {.struct_size = sizeof probe};
    pare_status status = host_open(entry, &env, err, &inst);
    if (status < 0) {
        return status;
    }
    instance_enter(inst, "probe");
    status = entry->backend->probe(instance_host(inst), &probe);
    status = instance_status(inst, status, "probe", err);
    host_close(inst, NULL);
    if (status == PARE_OK) {
        probe.reason[sizeof probe.reason - 1] = '\0';
        probe.isa[sizeof probe.isa - 1] = '\0';
        *out = probe;
    }
    return status;
}

static pare_status find_auto(const struct registry *reg, struct error *err,
                             const struct plugin_entry **out) {
    const struct plugin_entry *best = NULL;
    int32_t best_score = 0;
    struct error why = {PARE_OK, "no backend is loaded"};
    for (size_t k = 0; k < reg->n_entries; k++) {
        pare_probe probe;
        if (!reg->entries[k]->backend) {
            continue;
        }
        if (registry_probe(reg->entries[k], &why, &probe) < 0) {
            continue;
        }
        if (probe.score > best_score) {
            best = reg->entries[k];
            best_score = probe.score;
        } else if (probe.score <= 0) {
            error_set(&why, PARE_E_UNSUPPORTED, "%s: %s", reg->entries[k]->owner, probe.reason);
        }
    }
    if (!best) {
        return error_set(err, PARE_E_NOT_FOUND, "backend \"auto\": none can run here (%s)",
                         why.text);
    }
    *out = best;
    return PARE_OK;
}

pare_status registry_find_backend(const struct registry *reg, const char *id, struct error *err,
                                  const struct plugin_entry **out) {
    return strcmp(id, "auto") == 0 ? find_auto(reg, err, out) : find(reg, 0, id, err, out);
}
