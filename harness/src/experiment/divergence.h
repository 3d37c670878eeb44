/* SPDX-License-Identifier: MIT */
/* Where does the deployed integer execution part from the simulated one? */
#ifndef EXPERIMENT_DIVERGENCE_H
#define EXPERIMENT_DIVERGENCE_H

#include "experiment/deployment.h"

/* Sets column diverging_layer to the first node, in execution order, at which a code differs on the
 * given images (n,H,W,C); leaves it empty where none does, or where the backend cannot show its
 * values (extension pare.backend.observe/1). */
pare_status divergence_find(struct deployment *dep, struct model *model, const float *images,
                            int32_t n, struct error *err, struct record *rec);

#endif
