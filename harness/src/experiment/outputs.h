/* SPDX-License-Identifier: MIT */
/* From the outputs of a network to its accuracy. */
#ifndef EXPERIMENT_OUTPUTS_H
#define EXPERIMENT_OUTPUTS_H

#include "dataset/dataset.h"
#include "measure/accuracy.h"
#include "model/model.h"

/* accuracy_measure of a split's outputs (n,n_classes). A network that ends in softmax gives
 * probabilities: `outputs` then becomes their logarithms, whose softmax they are. */
pare_status outputs_measure(const pare_graph *graph, const struct dataset *ds, enum split_id split,
                            float *outputs, struct error *err, struct accuracy *acc,
                            uint8_t *predictions);

#endif
