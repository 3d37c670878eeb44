/* SPDX-License-Identifier: MIT */
#include "pattern_map.h"

#include <string.h>

/* * and ?; by going back to the last star, so in time n m. */
static int matches(const char *pattern, size_t n, const char *name) {
    const char *const end = pattern + n;
    const char *star = NULL;
    const char *retry = NULL;
    while (*name) {
        if (pattern < end && *pattern == '*') {
            star = pattern++;
            retry = name;
        } else if (pattern < end && (*pattern == '?' || *pattern == *name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++retry;
        } else {
            return 0;
        }
    }
    while (pattern < end && *pattern == '*') {
        pattern++;
    }
    return pattern == end;
}

/* The entry that decides for a layer, or -1. */
static int32_t entry_of(const struct pattern_map *map, const char *layer) {
    for (int32_t k = 0; k < map->n; k++) {
        if (matches(map->entries[k], strcspn(map->entries[k], "="), layer)) {
            return k;
        }
    }
    return -1;
}

const char *pattern_map_value(const struct pattern_map *map, int32_t k) {
    const char *equals = strchr(map->entries[k], '=');
    return equals && equals != map->entries[k] ? equals + 1 : NULL;
}

const char *pattern_map_find(const struct pattern_map *map, const char *layer) {
    const int32_t k = entry_of(map, layer);
    return k >= 0 ? pattern_map_value(map, k) : NULL;
}

pare_status pattern_map_check_graph(const pare_host *host, const char *what,
                                    const struct pattern_map *map, const pare_graph *graph) {
    for (int32_t k = 0; k < map->n; k++) {
        int is_used = 0;
        for (int32_t v = 0; v < graph->n_nodes && !is_used; v++) {
            is_used = host->selected(host, graph, v) && entry_of(map, graph->nodes[v]->name) == k;
        }
        if (!is_used) {
            return host->fail(host, PARE_E_NOT_FOUND,
                              "%s: \"%.60s\" decides for no selected layer of %s: its "
                              "pattern matches none, or an earlier one takes them all",
                              what, map->entries[k], graph->name);
        }
    }
    return PARE_OK;
}
