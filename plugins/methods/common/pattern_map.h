/* SPDX-License-Identifier: MIT */
/* A list "pattern=value" over layers, of which the first pattern that matches a layer counts. */
#ifndef METHODS_COMMON_PATTERN_MAP_H
#define METHODS_COMMON_PATTERN_MAP_H

#include <pare/plugin.h>

struct pattern_map {
    int32_t n;
    const char *const *entries; /* borrowed from the parameters */
};

/* The value part of entry k, or NULL where the entry is not "pattern=value" with a pattern. */
const char *pattern_map_value(const struct pattern_map *map, int32_t k);

/* The value for a layer by name, or NULL: no pattern matches. Patterns know * and ?. The entries
 * are known to be "pattern=value". */
const char *pattern_map_find(const struct pattern_map *map, const char *layer);

/* Every pattern matches a layer of the graph that is selected and that no earlier one took; else
 * PARE_E_NOT_FOUND, said of `what`, the parameter's name. */
pare_status pattern_map_check_graph(const pare_host *host, const char *what,
                                    const struct pattern_map *map, const pare_graph *graph);

#endif
