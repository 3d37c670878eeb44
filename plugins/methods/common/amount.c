/* SPDX-License-Identifier: MIT */
#include "amount.h"
#include "lowest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_COUNT 9007199254740992.0 /* 2^53: whole numbers are exact */

pare_status amount_parse(const pare_host *host, const char *what, const char *text,
                         struct amount *amount) {
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end || !strchr("0123456789.", text[0]) || strpbrk(text, "xX")) {
        return host->fail(host, PARE_E_ARG,
                          "%s: got \"%.60s\", wanted a fraction (0.5) or a count (12)", what, text);
    }
    const int is_fraction = strpbrk(text, ".eE") != NULL;
    if (!(value >= 0.0 && value <= (is_fraction ? 1.0 : MOST_COUNT))) {
        return host->fail(host, PARE_E_RANGE,
                          "%s: got %.60s, wanted a fraction in 0.0..1.0 or a whole number", what,
                          text);
    }
    *amount = (struct amount){is_fraction ? AMOUNT_FRACTION : AMOUNT_COUNT, value};
    return PARE_OK;
}

pare_status amount_total(const pare_host *host, const struct amount *amount, const char *where,
                         int64_t n, int64_t n_pruned, int64_t *total) {
    const int64_t n_left = n - n_pruned;
    int64_t wanted = n_pruned;
    switch (amount->kind) {
    case AMOUNT_NONE:
        break;
    case AMOUNT_SPARSITY:
        wanted = lowest_count(amount->value, n);
        break;
    case AMOUNT_FRACTION:
        wanted += lowest_count(amount->value, n_left);
        break;
    case AMOUNT_COUNT:
        if (amount->value > (double)n_left) {
            return host->fail(host, PARE_E_RANGE, "%s: got a count of %.0f to prune, %lld are left",
                              where, amount->value, (long long)n_left);
        }
        wanted += (int64_t)amount->value;
        break;
    }
    *total = wanted > n_pruned ? wanted : n_pruned;
    return PARE_OK;
}

/* ---- maps ---- */

pare_status amount_map_check(const pare_host *host, const struct pattern_map *map) {
    for (int32_t k = 0; k < map->n; k++) {
        const char *value = pattern_map_value(map, k);
        struct amount amount;
        if (!value) {
            return host->fail(host, PARE_E_ARG,
                              "amounts: got \"%.60s\", wanted \"pattern=amount\" (\"conv*=0.5\")",
                              map->entries[k]);
        }
        const pare_status status = amount_parse(host, "amounts", value, &amount);
        if (status < 0) {
            return status;
        }
    }
    return PARE_OK;
}

struct amount amount_map_find(const struct pattern_map *map, const char *layer,
                              struct amount otherwise) {
    const char *text = pattern_map_find(map, layer);
    if (text) {
        const int is_fraction = strpbrk(text, ".eE") != NULL;
        return (struct amount){is_fraction ? AMOUNT_FRACTION : AMOUNT_COUNT, strtod(text, NULL)};
    }
    return otherwise;
}
