/* SPDX-License-Identifier: MIT */
/* Training under masks that can recover: the forward pass uses w m, m the pruner's keep[], while
 * the graph holds w whole; at the end m becomes the mask. */
#ifndef METHODS_COMMON_SOFT_H
#define METHODS_COMMON_SOFT_H

#include "pruner.h"

/* Before training: prepares the pruner, lets its schedule start, and keeps all that is kept. For
 * methods that prune single weights. [main] */
pare_status soft_begin(struct pruner *pruner, const pare_graph *graph, const pare_train_plan *plan);

/* weight_forward of <pare/ext/train.h>: used = w m. */
pare_status soft_forward(void *instance, const pare_graph *graph, int32_t weight, const float *w,
                         float *used);

#endif
