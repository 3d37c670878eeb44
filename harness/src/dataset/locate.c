/* SPDX-License-Identifier: MIT */
/* Where a dataset lies. */
#include "core/alloc.h"
#include "core/file.h"
#include "dataset/sources.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *dataset_cache_dir(void) {
    const char *dir = getenv("PARE_CACHE");
    if (dir && dir[0])
        return alloc_printf("%s", dir);
    dir = getenv("XDG_CACHE_HOME");
    if (dir && dir[0])
        return alloc_printf("%s/pare/datasets", dir);
    dir = getenv("HOME");
    if (!dir || !dir[0]) {
        const struct passwd *user = getpwuid(getuid());
        dir = user ? user->pw_dir : ".";
    }
    return alloc_printf("%s/.cache/pare/datasets", dir);
}

static int has_file(const struct source *source, size_t k, const char *dir) {
    struct error ignored;
    char *path = NULL;
    int found = idx_find(dir, source->files[k], &ignored, &path) == PARE_OK;
    free(path);
    return found;
}

/* The first file, from `from` on, of the dataset that a folder lacks, NULL when all are there.
 * Where some of the files before `from` are there, all have to be: that is a torn copy of the
 * whole. */
static const char *lacking_file(const struct source *source, size_t from, const char *dir) {
    for (size_t k = 0; k < from; k++)
        if (has_file(source, k, dir))
            from = 0;
    for (size_t k = from; k < source->n_files; k++)
        if (!has_file(source, k, dir))
            return source->files[k];
    return NULL;
}

/* Adds ", <what>" to a list, malloc'd; takes `what`. */
static void add_to_list(char **list, char *what) {
    char *longer =
        what ? alloc_printf("%s%s%s", *list ? *list : "", *list ? ", " : "", what) : NULL;
    if (longer) {
        free(*list);
        *list = longer;
    }
    free(what);
}

/* Why a folder does not serve, malloc'd. */
static char *describe_folder(const struct dataset_info *info, const char *dir,
                             const char *lacking) {
    char *script = file_join(dir, "unpack.py"), *cache = dataset_cache_dir(), *text;
    if (script && cache && file_exists(script))
        text = alloc_printf("%s (still packed: run `python3 %s %s/%s` once)", dir, script, cache,
                            info->name);
    else if (file_exists(dir))
        text = alloc_printf("%s (lacks %s)", dir, lacking);
    else
        text = alloc_printf("%s", dir);
    free(script);
    free(cache);
    return text;
}

/* Looks into one folder, and into the one that CIFAR-10's archive makes there. Takes `dir`. Returns
 * the folder with the data, or NULL after adding to the list `looked` what was seen. */
static char *try_folder(const struct dataset_info *info, size_t from, char *dir, char **looked) {
    const struct source *source = source_of(info);
    if (!dir)
        return NULL;
    const char *lacking = lacking_file(source, from, dir);
    if (!lacking)
        return dir;
    char *inner = source->kind == SOURCE_CIFAR ? file_join(dir, "cifar-10-batches-bin") : NULL;
    if (inner && file_exists(inner)) {
        free(dir);
        dir = inner;
        inner = NULL;
        lacking = lacking_file(source, from, dir);
        if (!lacking)
            return dir;
    }
    add_to_list(looked, describe_folder(info, dir, lacking));
    free(inner);
    free(dir);
    return NULL;
}

/* `from`: the first file that has to be there. */
static char *search_folders(const struct dataset_info *info, size_t from, char **looked) {
    const char *list = getenv("PARE_DATASETS");
    for (const char *at = list; at && *at;) {
        size_t n = strcspn(at, ":"), bare = n;
        while (bare > 1 && at[bare - 1] == '/')
            bare--;
        if (n > 0) {
            char *dir = alloc_printf("%.*s/%s", (int)bare, at, info->name);
            char *found = try_folder(info, from, dir, looked);
            if (found)
                return found;
        }
        at += n + (at[n] == ':');
    }
    char *relative = alloc_printf("datasets/%s", info->name);
    char *found = try_folder(info, from, relative ? home_path(relative) : NULL, looked);
    free(relative);
    if (found)
        return found;
    char *cache = dataset_cache_dir();
    found = try_folder(info, from, cache ? file_join(cache, info->name) : NULL, looked);
    free(cache);
    return found;
}

/* A dataset that can be fetched has a URL in the manifest. */
static int is_fetchable(const char *name) {
    size_t n;
    const struct manifest_file *files = manifest_files(&n);
    for (size_t k = 0; k < n; k++)
        if (strcmp(files[k].dataset, name) == 0 && files[k].url[0])
            return 1;
    return 0;
}

pare_status dataset_locate(const char *name, struct error *err, char **path) {
    const struct dataset_info *info = dataset_find_info(name, err);
    if (!info)
        return err->status;
    char *looked = NULL;
    char *found = source_of(info)->kind == SOURCE_GLYPHS ? alloc_printf("embedded")
                                                         : search_folders(info, 0, &looked);
    if (!found && !looked)
        return error_set(err, PARE_E_NOMEM, "dataset %s: out of memory", name);
    if (!found) {
        int fetchable = is_fetchable(name);
        error_set(
            err, PARE_E_NOT_FOUND,
            "dataset %s: not found in %.600s; %s%s%sname the folder above it in PARE_DATASETS, or "
            "use the embedded dataset 'glyphs'",
            name, looked, fetchable ? "run `pare data fetch " : "", fetchable ? name : "",
            fetchable ? "`, or " : "");
        free(looked);
        return err->status;
    }
    free(looked);
    *path = found;
    return PARE_OK;
}

pare_status dataset_locate_test(const char *name, struct error *err, char **path, int *is_whole) {
    pare_status status = dataset_locate(name, err, path);
    *is_whole = status == PARE_OK;
    if (status != PARE_E_NOT_FOUND)
        return status;
    const struct dataset_info *info = dataset_find_info(name, err);
    if (!info)
        return err->status;
    struct error whole = *err; /* names the folders looked into, and what to do */
    char *looked = NULL;
    char *found = search_folders(info, source_first_test_file(source_of(info)), &looked);
    free(looked);
    if (!found) {
        *err = whole;
        return status;
    }
    *path = found;
    return PARE_OK;
}
