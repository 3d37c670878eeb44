/* SPDX-License-Identifier: MIT */
/* Precisions by name: how `pare bench` makes a model of one out of any float model. Such models are
 * for timing; nothing is trained, so their accuracy means nothing. */
#ifndef EXPERIMENT_PRECISION_H
#define EXPERIMENT_PRECISION_H

#include "dataset/dataset.h"
#include "model/model.h"
#include "plugin/registry.h"

struct precision {
    const char *name;
    int bits;              /* of ptq; 0: none */
    int inner_weight_bits; /* of weights but the first and last layer's: 2 ternary, 1 binary; 0: as
                              ptq has them */
    int inner_signs;       /* 1: those layers read signs (1 bit); what adds read keeps its bits */
};

/* fp32, int8, int4, int2, ternary, binary-weights, binary; NULL with the choice as a message. [any]
 */
const struct precision *precision_find(const char *name, struct error *err);

/* Changes a float model: ptq, calibrated on the first n_samples images of the training split, then
 * inner weights by sign or threshold. With inner_signs a quantize node of 1 bit stands before each
 * inner layer, and relus whose signs would all be 1 are taken out. [main] */
pare_status precision_apply(const struct precision *precision, struct model *model,
                            const struct dataset *ds, int32_t n_samples, uint64_t seed,
                            const struct registry *reg, struct error *err);

/* Is there such a pattern with that sparsity? PARE_E_ARG. [any] */
pare_status precision_check_prune(double sparsity, const char *pattern, struct error *err);

/* Makes weights of a float model 0, without training: for the pattern "unstructured" the smallest
 * of each layer, by the method magnitude; for "2:4", whose sparsity is 0.5, two of each four, by
 * the method nm. PARE_E_ARG for another pattern or sparsity. [main] */
pare_status precision_prune(struct model *model, double sparsity, const char *pattern,
                            const struct dataset *ds, uint64_t seed, const struct registry *reg,
                            struct error *err);

#endif
