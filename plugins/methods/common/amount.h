/* SPDX-License-Identifier: MIT */
/* How much is pruned: of everything, or of what is left, or a number. */
#ifndef METHODS_COMMON_AMOUNT_H
#define METHODS_COMMON_AMOUNT_H

#include "pattern_map.h"

#include <pare/plugin.h>

enum amount_kind {
    AMOUNT_NONE,     /* leave it alone */
    AMOUNT_SPARSITY, /* fraction of all, what is pruned already included */
    AMOUNT_FRACTION, /* fraction of what is left */
    AMOUNT_COUNT     /* as many of what is left */
};

struct amount {
    enum amount_kind kind;
    double value;
};

/* "0.5" or "1.0" (with a point or an exponent): that fraction of what is left; "12": that many.
 * What else it may be is PARE_E_ARG or PARE_E_RANGE, said of `what`. */
pare_status amount_parse(const pare_host *host, const char *what, const char *text,
                         struct amount *amount);

/* The units that are to be pruned in all, of n of which n_pruned are pruned already. More than are
 * left: PARE_E_RANGE, said of `where`. Fractions are rounded half to even. */
pare_status amount_total(const pare_host *host, const struct amount *amount, const char *where,
                         int64_t n, int64_t n_pruned, int64_t *total);

/* A list "pattern=amount": every entry has a pattern and an amount that parses. */
pare_status amount_map_check(const pare_host *host, const struct pattern_map *map);

/* What the map says of a layer, or `otherwise`. The map has been checked. */
struct amount amount_map_find(const struct pattern_map *map, const char *layer,
                              struct amount otherwise);

#endif
