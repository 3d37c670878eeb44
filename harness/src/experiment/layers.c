/* SPDX-License-Identifier: MIT */
/* What a compressed model is like, layer by layer, in one cell. */
#include "experiment/fill.h"

#include <jansson.h>
#include <stdlib.h>

/* One weight tensor of a convolution or linear node; NULL when out of memory. */
static json_t *describe(const pare_graph *graph, const pare_weight *w) {
    const pare_node *node = graph->nodes[w->node];
    int64_t n_kept = w->mask ? 0 : w->n_elems;
    for (int64_t i = 0; w->mask && i < w->n_elems; i++)
        n_kept += w->mask[i];
    return json_pack("{s:s, s:i, s:I, s:I, s:I}", "name", node->name, "bits",
                     w->quant.bits ? (int)w->quant.bits : 32, "weights", (json_int_t)w->n_elems,
                     "nonzero", (json_int_t)n_kept, "macs",
                     (json_int_t)model_node_macs(graph, w->node));
}

void fill_layers(struct record *rec, const struct model *model) {
    const pare_graph *graph = &model->graph;
    json_t *layers = json_array();
    for (int32_t i = 0; layers && i < graph->n_weights; i++)
        if (graph->weights[i]->role == PARE_ROLE_WEIGHT)
            json_array_append_new(layers, describe(graph, graph->weights[i]));
    char *text = layers ? json_dumps(layers, JSON_COMPACT) : NULL;
    record_set(rec, COL_layers_json, text);
    free(text);
    json_decref(layers);
}
