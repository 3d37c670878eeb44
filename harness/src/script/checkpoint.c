/* SPDX-License-Identifier: MIT */
/* Checkpoints by name. */
#include "core/alloc.h"
#include "core/file.h"
#include "script/script.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".safetensors"

struct names {
    char **items;
    size_t n;
};

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(struct names *names) {
    for (size_t k = 0; k < names->n; k++)
        free(names->items[k]);
    free(names->items);
}

/* The checkpoints of a folder without their suffix, sorted; none where the folder cannot be read.
 */
static struct names list_folder(const char *folder) {
    struct names names = {0};
    DIR *dir = opendir(folder);
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
        size_t length = strlen(entry->d_name), suffix = strlen(SUFFIX);
        if (length <= suffix || strcmp(entry->d_name + length - suffix, SUFFIX) != 0)
            continue;
        char **items = alloc_resize(names.items, names.n + 1, sizeof *items);
        if (!items)
            break;
        names.items = items;
        items[names.n] = strndup(entry->d_name, length - suffix);
        if (!items[names.n])
            break;
        names.n++;
    }
    if (dir)
        closedir(dir);
    if (names.n > 0)
        qsort(names.items, names.n, sizeof *names.items, compare);
    return names;
}

pare_status script_list_checkpoints(void (*item)(void *arg, const char *name, const char *path),
                                    void *arg, struct error *err) {
    char *folder = home_path("datasets/checkpoints");
    if (!folder)
        return error_set(err, PARE_E_NOMEM, "checkpoints: out of memory");
    struct names names = list_folder(folder);
    for (size_t k = 0; k < names.n; k++) {
        char *path = alloc_printf("%s/%s" SUFFIX, folder, names.items[k]);
        item(arg, names.items[k], path ? path : "");
        free(path);
    }
    names_free(&names);
    free(folder);
    return PARE_OK;
}

static pare_status unknown_checkpoint(const char *name, const char *folder, struct error *err) {
    struct names names = list_folder(folder);
    const char *near = nearest_name(name, (const char *const *)names.items, names.n);
    error_set(err, PARE_E_NOT_FOUND,
              "checkpoint '%s': no such file, and no %s" SUFFIX " in %s%s%s%s", name, name, folder,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    names_free(&names);
    return err->status;
}

pare_status script_find_checkpoint(const char *name, struct error *err, char **path) {
    char *folder = home_path("datasets/checkpoints");
    char *found = NULL;
    pare_status status = PARE_OK;
    if (file_exists(name))
        found = strdup(name);
    else if (folder && !strchr(name, '/'))
        found = alloc_printf("%s/%s" SUFFIX, folder, name);
    else if (folder)
        status = error_set(err, PARE_E_NOT_FOUND, "checkpoint '%s': no such file", name);
    if (status == PARE_OK && !found)
        status = error_set(err, PARE_E_NOMEM, "checkpoint '%s': out of memory", name);
    if (status == PARE_OK && !file_exists(found))
        status = unknown_checkpoint(name, folder, err);
    free(folder);
    if (status) {
        free(found);
        return status;
    }
    *path = found;
    return PARE_OK;
}
