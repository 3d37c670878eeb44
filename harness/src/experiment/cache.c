/* SPDX-License-Identifier: MIT */
#include "experiment/cache.h"

#include "core/alloc.h"
#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cache {
    char *folder;
    char program[65]; /* SHA-256 of the running binary */
};

pare_status cache_create(const char *folder, struct error *err, struct cache **out) {
    struct cache *cache = alloc_array(1, sizeof *cache);
    char *copy = alloc_printf("%s", folder);
    if (!cache || !copy) {
        free(cache);
        free(copy);
        return error_set(err, PARE_E_NOMEM, "out of memory");
    }
    cache->folder = copy;
    if (file_sha256("/proc/self/exe", err, cache->program) != PARE_OK) {
        cache_destroy(cache);
        return err->status;
    }
    *out = cache;
    return PARE_OK;
}

void cache_destroy(struct cache *cache) {
    if (!cache)
        return;
    free(cache->folder);
    free(cache);
}

/* <folder>/<32 hex digits of SHA-256(program, key)>.safetensors; malloc'd. */
static char *path_of(const struct cache *cache, const char *key) {
    char *text = alloc_printf("%s|%s", cache->program, key), hex[65];
    if (!text)
        return NULL;
    bytes_sha256(text, strlen(text), hex);
    free(text);
    return alloc_printf("%s/%.32s.safetensors", cache->folder, hex);
}

int cache_get(const struct cache *cache, const char *key, struct model **model, double *seconds) {
    char *path = cache ? path_of(cache, key) : NULL;
    struct error ignored;
    int found = path && file_exists(path) && model_load(path, &ignored, model) == PARE_OK;
    free(path);
    if (found) {
        const char *note = model_note(*model, "seconds");
        *seconds = note ? atof(note) : 0;
    }
    return found;
}

void cache_put(const struct cache *cache, const char *key, const struct model *model,
               double seconds) {
    char *path = cache ? path_of(cache, key) : NULL;
    if (!path)
        return;
    char text[32];
    snprintf(text, sizeof text, "%.3f", seconds);
    const struct model_note note = {"seconds", text};
    struct error err;
    if (file_make_dirs(cache->folder, &err) != PARE_OK ||
        model_save(model, path, &note, 1, &err) != PARE_OK)
        fprintf(stderr, "note: a trained model was not kept for later: %s\n", err.text);
    free(path);
}
