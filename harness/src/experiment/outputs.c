/* SPDX-License-Identifier: MIT */
#include "experiment/outputs.h"

#include <float.h>
#include <math.h>

pare_status outputs_measure(const pare_graph *graph, const struct dataset *ds, enum split_id split,
                            float *outputs, struct error *err, struct accuracy *acc,
                            uint8_t *predictions) {
    const struct dataset_split *s = &ds->splits[split];
    if (graph->nodes[graph->n_nodes - 1]->op == PARE_OP_SOFTMAX) {
        for (int64_t i = 0; i < s->n * ds->n_classes; i++) {
            if (outputs[i] < FLT_MIN) /* keeps a NaN, which accuracy_measure reports */
                outputs[i] = FLT_MIN;
            outputs[i] = logf(outputs[i]);
        }
    }
    return accuracy_measure(outputs, s->labels, s->n, ds->n_classes, err, acc, predictions, NULL);
}
