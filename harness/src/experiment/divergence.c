/* SPDX-License-Identifier: MIT */
#include "experiment/divergence.h"

#include "core/alloc.h"
#include "train/network.h"

#include <math.h>
#include <stdlib.h>

/* The simulated codes of every quantized node, then the first deployed one that differs. */
struct search {
    const pare_graph *graph;
    int32_t n;
    int16_t **codes; /* by node: (n, node dims), NULL where not quantized */
    int32_t first;   /* node, -1: none */
    int no_memory;
};

static int64_t value_elems(const struct search *s, int32_t node) {
    const int32_t *d = s->graph->nodes[node]->dims;
    return (int64_t)s->n * d[0] * d[1] * d[2];
}

static pare_status keep_simulated(void *context, int32_t node, const float *value, int32_t n) {
    struct search *s = context;
    (void)n;
    const pare_quant *q = &s->graph->nodes[node]->activation;
    if (!q->bits)
        return PARE_OK;
    int64_t n_elems = value_elems(s, node);
    int16_t *codes = alloc_array((size_t)n_elems, sizeof *codes);
    if (!codes) {
        s->no_memory = 1;
        return PARE_E_NOMEM;
    }
    float zero = (float)(q->zero_point ? q->zero_point[0] : 0);
    /* The value lies on the grid already, so this recovers its code exactly. */
    for (int64_t i = 0; i < n_elems; i++)
        codes[i] = (int16_t)(rintf(value[i] / q->scale[0]) + zero);
    s->codes[node] = codes;
    return PARE_OK;
}

static pare_status compare_deployed(void *context, int32_t node, const float *real,
                                    const int16_t *codes, int64_t n_elems) {
    struct search *s = context;
    (void)real;
    if (!codes || s->first >= 0 || !s->codes[node] || n_elems != value_elems(s, node))
        return PARE_OK;
    for (int64_t i = 0; i < n_elems; i++) {
        if (codes[i] != s->codes[node][i]) {
            s->first = node;
            break;
        }
    }
    return PARE_OK;
}

static pare_status search(struct search *s, struct deployment *dep, const pare_backend_observe *ext,
                          struct model *model, const float *images, struct error *err) {
    struct network *net = NULL;
    float *output = alloc_array((size_t)s->n * (size_t)dep->n_outputs, sizeof *output);
    if (!output)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    pare_status status = network_create(model, s->n, 0, NULL, NULL, err, &net);
    if (status == PARE_OK) {
        const float *logits;
        status = network_infer_observed(net, images, s->n, keep_simulated, s, err, &logits);
    }
    if (status == PARE_OK) {
        instance_enter(dep->inst, "observe");
        status = ext->run(dep->executable, images, s->n, output, compare_deployed, s);
        status = instance_status(dep->inst, status, "observe", err);
    }
    if (s->no_memory)
        status = error_set(err, PARE_E_NOMEM, "out of memory comparing simulated values");
    network_destroy(net);
    free(output);
    return status;
}

pare_status divergence_find(struct deployment *dep, struct model *model, const float *images,
                            int32_t n, struct error *err, struct record *rec) {
    const pare_backend_observe *ext =
        dep->backend->get_extension ? dep->backend->get_extension(PARE_BACKEND_OBSERVE) : NULL;
    if (!ext)
        return PARE_OK;
    const pare_graph *graph = &model->graph;
    struct search s = {.graph = graph, .n = n < dep->max_batch ? n : dep->max_batch, .first = -1};
    s.codes = alloc_array((size_t)graph->n_nodes, sizeof *s.codes);
    if (!s.codes)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    pare_status status = search(&s, dep, ext, model, images, err);
    if (status == PARE_OK && s.first >= 0)
        record_set(rec, COL_diverging_layer, graph->nodes[s.first]->name);
    for (int32_t i = 0; i < graph->n_nodes; i++)
        free(s.codes[i]);
    free(s.codes);
    return status;
}
