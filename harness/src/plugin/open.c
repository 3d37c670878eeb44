/* SPDX-License-Identifier: MIT */
#include "plugin/open.h"
#include "core/alloc.h"
#include "core/child.h"
#include "core/rounding.h"
#include "plugin/descriptor.h"
#include "plugin/elf.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What the loader says, in glibc's words: of a library that it did not find, which is a matter of
 * this machine and not of the plugin, what to do. */
static pare_status not_opened(const char *message, struct error *err) {
    static const char missing[] = ": cannot open shared object file: No such file or directory";
    size_t n = strlen(message), tail = sizeof missing - 1;
    if (n > tail && strcmp(message + n - tail, missing) == 0) {
        return error_set(err, PARE_E_UNSUPPORTED, "needs %.*s, which is not installed",
                         (int)(n - tail), message);
    }
    return error_set(err, PARE_E_ABI, "cannot be loaded: %s", message);
}

pare_status open_plugin(const char *path, struct error *err, void **handle,
                        const pare_plugin **plugin) {
    pare_status status = elf_check(path, err);
    if (status < 0) {
        return status;
    }
    uint32_t mode = rounding_mode(); /* constructors may change it: GCC links one for -Ofast */
    void *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int is_changed = rounding_mode() != mode;
    rounding_restore(mode);
    if (!opened) {
        return not_opened(dlerror(), err);
    }
    void *symbol = dlsym(opened, "pare_plugin_entry");
    const pare_plugin *(*entry)(void) = NULL;
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from object to function pointer */
    const pare_plugin *given = NULL;
    if (is_changed) {
        status = error_set(err, PARE_E_PLUGIN, "loading it " ROUNDING_CHANGED);
    } else if (!symbol) {
        status = error_set(err, PARE_E_ABI,
                           "exports no symbol pare_plugin_entry: it is not a pare plugin");
    } else {
        given = entry();
        status = descriptor_check(given, err);
    }
    if (status < 0) {
        dlclose(opened);
        return status;
    }
    *handle = opened;
    *plugin = given;
    return PARE_OK;
}

/* ---- what is not pare's own ---- */

static int is_trusted(void) {
    const char *trust = getenv("PARE_TRUST_PLUGIN_PATH");
    return trust && strcmp(trust, "1") == 0;
}

static pare_status not_trusted(const char *what, struct error *err) {
    return error_set(err, PARE_E_STATE,
                     "%s is writable by everybody, who could put any code there: chmod o-w it, or "
                     "say --trust-plugin-path",
                     what);
}

/* May others put code where this file lies? `path` is canonical. In a folder with the sticky bit,
 * as /tmp, they cannot replace the file. */
static pare_status check_writers(const char *path, struct error *err) {
    struct stat file, dir;
    char *folder = alloc_printf("%s", path);
    if (!folder) {
        return error_set(err, PARE_E_NOMEM, "out of memory");
    }
    *strrchr(folder, '/') = '\0';
    int has_file = stat(path, &file) == 0;
    int has_dir = stat(folder[0] ? folder : "/", &dir) == 0;
    free(folder);
    if (!has_file || !has_dir) {
        return error_set(err, PARE_E_IO, "cannot be opened: %s", strerror(errno));
    }
    if (file.st_mode & S_IWOTH) {
        return not_trusted("the file", err);
    }
    return (dir.st_mode & S_IWOTH) && !(dir.st_mode & S_ISVTX) ? not_trusted("its folder", err)
                                                               : PARE_OK;
}

static pare_status trial_body(void *arg, struct child *child, struct error *err) {
    void *handle = NULL;
    const pare_plugin *plugin = NULL;
    (void)child;
    pare_status status = open_plugin(arg, err, &handle, &plugin);
    if (status == PARE_OK) {
        dlclose(handle);
    }
    return status;
}

/* Opens the file in a process of its own first: constructors and the entry may crash or hang. */
static pare_status try_plugin(char *path, struct error *err) {
    const struct child_options options = {.timeout_s = 20, .memory_bytes = (int64_t)1 << 30};
    enum child_end end;
    pare_status status = child_run(&options, trial_body, path, NULL, NULL, err, &end);
    if (status < 0 && end != CHILD_RETURNED && end != CHILD_REFUSED) {
        error_prefix(err, "it cannot even be loaded");
    }
    return status;
}

pare_status open_foreign(char *path, struct error *err, void **handle, const pare_plugin **plugin) {
    pare_status status = is_trusted() ? PARE_OK : check_writers(path, err);
    if (status == PARE_OK) {
        status = try_plugin(path, err);
    }
    return status == PARE_OK ? open_plugin(path, err, handle, plugin) : status;
}

pare_status open_check_folder(const char *folder, struct error *err) {
    struct stat info;
    if (!is_trusted() && stat(folder, &info) == 0 && (info.st_mode & S_IWOTH)) {
        not_trusted("it", err);
        return error_prefix(err, "plugin folder %s", folder);
    }
    return PARE_OK;
}
