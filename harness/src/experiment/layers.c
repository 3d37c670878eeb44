/* SPDX-License-Identifier: MIT */
/* What a compressed model is like, layer by layer, in one cell. */
#include "experiment/fill.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KINDS_BYTES = 1024 };

/* One weight tensor of a convolution or linear node; NULL when out of memory. */
static json_t *describe(const pare_graph *graph, const pare_weight *w,
                        const struct model_storage *storage) {
    const pare_node *node = graph->nodes[w->node];
    int64_t n_kept = w->mask ? 0 : w->n_elems;
    for (int64_t i = 0; w->mask && i < w->n_elems; i++)
        n_kept += w->mask[i];
    return json_pack("{s:s, s:i, s:I, s:I, s:I, s:s, s:I}", "name", node->name, "bits",
                     w->quant.bits ? (int)w->quant.bits : 32, "weights", (json_int_t)w->n_elems,
                     "nonzero", (json_int_t)n_kept, "macs",
                     (json_int_t)model_node_macs(graph, w->node), "stored", storage->name, "bytes",
                     (json_int_t)storage->n_bytes);
}

/* Adds a kind to "a; b" unless it is there. */
static void add_kind(char kinds[MAX_KINDS_BYTES], const char *name) {
    const size_t n = strlen(name), end = strlen(kinds);
    for (const char *at = kinds; at && *at; at = strchr(at, ';'), at = at ? at + 2 : NULL)
        if (strncmp(at, name, n) == 0 && (at[n] == ';' || at[n] == '\0'))
            return;
    if (end + n + 3 <= MAX_KINDS_BYTES) {
        memcpy(kinds + end, "; ", 2 * (end > 0));
        memcpy(kinds + end + 2 * (end > 0), name, n + 1);
    }
}

pare_status fill_layers(struct record *rec, const struct model *model, struct error *err) {
    const pare_graph *graph = &model->graph;
    char kinds[MAX_KINDS_BYTES] = "";
    json_t *layers = json_array();
    pare_status status = layers ? PARE_OK : error_set(err, PARE_E_NOMEM, "out of memory");
    for (int32_t i = 0; i < graph->n_weights && status == PARE_OK; i++) {
        const pare_weight *w = graph->weights[i];
        struct model_storage storage;
        if (w->role != PARE_ROLE_WEIGHT)
            continue;
        status = model_weight_storage(w, err, &storage);
        if (status == PARE_OK) {
            json_array_append_new(layers, describe(graph, w, &storage));
            add_kind(kinds, storage.name);
        }
    }
    char *text = status == PARE_OK ? json_dumps(layers, JSON_COMPACT) : NULL;
    if (status == PARE_OK) {
        record_set(rec, COL_layers_json, text);
        record_set(rec, COL_stored_as, kinds);
    }
    free(text);
    json_decref(layers);
    return status;
}
