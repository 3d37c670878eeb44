/* SPDX-License-Identifier: MIT */
#include "compare/namesake.h"

#include "core/alloc.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What names an arm, in full; malloc'd, NULL when out of memory. */
static char *name_of(const struct side_arm *arm, int across_machines) {
    static const enum side_text texts[] = {
        TEXT_experiment, TEXT_model,   TEXT_base_sha256, TEXT_dataset,   TEXT_split,
        TEXT_pipeline,   TEXT_seed,    TEXT_backend,     TEXT_threads,   TEXT_batch,
        TEXT_scenario,   TEXT_profile, TEXT_cache_state, TEXT_core_kind, TEXT_host};
    enum { N_NAMING = sizeof texts / sizeof *texts };
    const struct side_row *row = side_last(arm);
    size_t n = N_NAMING - (across_machines != 0), n_bytes = 1;
    for (size_t k = 0; k < n; k++)
        n_bytes += strlen(row->texts[texts[k]]) + 1;
    char *name = alloc_array(n_bytes, 1), *at = name;
    for (size_t k = 0; name && k < n; k++) {
        at = stpcpy(at, row->texts[texts[k]]);
        *at++ = '\n';
    }
    return name;
}

/* ---- parameters ---- */

enum likeness { ALIKE, ALIKE_BUT_NEW, UNLIKE };

static void print_value(const json_t *value, char text[32]) {
    char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    snprintf(text, 32, "%s", dump ? dump : "?");
    free(dump);
}

/* Of one step; `said` gets the parameter that only one has, or how one differs. */
static enum likeness compare_step(json_t *a, json_t *b, char said[128]) {
    const char *method = json_string_value(json_object_get(a, "method"));
    const char *other = json_string_value(json_object_get(b, "method"));
    json_t *params = json_object_get(a, "params"), *others = json_object_get(b, "params"), *value;
    enum likeness likeness = ALIKE;
    const char *key;
    if (!method || !other || strcmp(method, other) != 0 || !json_is_object(params) ||
        !json_is_object(others))
        return UNLIKE;
    json_object_foreach(params, key, value) {
        json_t *there = json_object_get(others, key);
        if (there && !json_equal(value, there)) {
            char x[32], y[32];
            print_value(value, x);
            print_value(there, y);
            snprintf(said, 128, "%.16s of %.16s is %.20s in BASE, %.20s in NEW", key, method, x, y);
            return UNLIKE;
        }
        if (!there && likeness == ALIKE) {
            snprintf(said, 128, "%.31s of %.31s", key, method);
            likeness = ALIKE_BUT_NEW;
        }
    }
    json_object_foreach(others, key, value) {
        if (likeness == ALIKE && !json_object_get(params, key)) {
            snprintf(said, 128, "%.31s of %.31s", key, method);
            likeness = ALIKE_BUT_NEW;
        }
    }
    return likeness;
}

static enum likeness compare_params(const char *a_text, const char *b_text, char said[128]) {
    json_t *a = json_loads(a_text, 0, NULL), *b = json_loads(b_text, 0, NULL);
    size_t n = json_array_size(a);
    enum likeness likeness = n > 0 && json_array_size(b) == n ? ALIKE : UNLIKE;
    for (size_t k = 0; k < n && likeness != UNLIKE; k++) {
        enum likeness step = compare_step(json_array_get(a, k), json_array_get(b, k), said);
        likeness = step > likeness ? step : likeness;
    }
    json_decref(a);
    json_decref(b);
    return likeness;
}

/* ---- pairing ---- */

struct named {
    char *name;
    const struct side_arm *arm; /* NULL: taken */
};

static int order_named(const void *x, const void *y) {
    return strcmp(((const struct named *)x)->name, ((const struct named *)y)->name);
}

static int order_arms(const void *x, const void *y) {
    const struct side_arm *const *a = x, *const *b = y;
    return (*a > *b) - (*a < *b);
}

/* The arms of `new_side` that no pair has, sorted by name. */
static pare_status list_free(const struct side *new_side, int across_machines,
                             const struct pair *pairs, size_t n_pairs, struct error *err,
                             struct named *list, size_t *n) {
    const struct side_arm **taken = alloc_array(n_pairs + 1, sizeof *taken);
    size_t n_taken = 0;
    if (!taken)
        return error_set(err, PARE_E_NOMEM, "out of memory for %zu arms", n_pairs);
    for (size_t k = 0; k < n_pairs; k++)
        if (pairs[k].new)
            taken[n_taken++] = pairs[k].new;
    qsort(taken, n_taken, sizeof *taken, order_arms);
    for (size_t k = 0; k < new_side->n_arms; k++) {
        const struct side_arm *arm = &new_side->arms[k];
        if (bsearch(&arm, taken, n_taken, sizeof *taken, order_arms))
            continue;
        list[*n] = (struct named){name_of(arm, across_machines), arm};
        if (!list[*n].name) {
            free(taken);
            return error_set(err, PARE_E_NOMEM, "out of memory for names of arms");
        }
        ++*n;
    }
    free(taken);
    qsort(list, *n, sizeof *list, order_named);
    return PARE_OK;
}

/* The one of that name; NULL: none, or several. */
static struct named *find_one(struct named *list, size_t n, char *name) {
    struct named wanted = {.name = name};
    struct named *found = bsearch(&wanted, list, n, sizeof *list, order_named);
    if (!found || (found > list && order_named(found - 1, found) == 0) ||
        (found + 1 < list + n && order_named(found, found + 1) == 0))
        return NULL;
    return found->arm ? found : NULL;
}

static pare_status pair_one(struct pair *pair, int across_machines, struct named *list, size_t n,
                            struct error *err, size_t *n_found, char example[64]) {
    char *name = name_of(pair->base, across_machines);
    if (!name)
        return error_set(err, PARE_E_NOMEM, "out of memory for names of arms");
    struct named *found = find_one(list, n, name);
    free(name);
    if (!found)
        return PARE_OK;
    char said[128] = "";
    enum likeness likeness = compare_params(side_last(pair->base)->texts[TEXT_params_json],
                                            side_last(found->arm)->texts[TEXT_params_json], said);
    if (likeness == UNLIKE && said[0])
        snprintf(pair->why, sizeof pair->why, "%s", said);
    if (likeness != ALIKE_BUT_NEW)
        return PARE_OK;
    pair->new = found->arm;
    found->arm = NULL;
    if (++*n_found == 1)
        snprintf(example, 64, "%.63s", said);
    return PARE_OK;
}

pare_status namesakes_pair(const struct side *new_side, int across_machines, struct pair *pairs,
                           size_t n_pairs, struct error *err, size_t *n_found, char example[64]) {
    size_t n = 0;
    struct named *list = alloc_array(new_side->n_arms, sizeof *list);
    if (!list)
        return error_set(err, PARE_E_NOMEM, "out of memory for %zu arms", new_side->n_arms);
    pare_status status = list_free(new_side, across_machines, pairs, n_pairs, err, list, &n);
    *n_found = 0;
    for (size_t k = 0; k < n_pairs && n > 0 && status == PARE_OK; k++)
        if (!pairs[k].new)
            status = pair_one(&pairs[k], across_machines, list, n, err, n_found, example);
    for (size_t k = 0; k < n; k++)
        free(list[k].name);
    free(list);
    return status;
}
