/* SPDX-License-Identifier: MIT */
/* Filling groups of a record's columns. */
#ifndef EXPERIMENT_FILL_H
#define EXPERIMENT_FILL_H

#include "experiment/deployment.h"
#include "measure/accuracy.h"
#include "measure/machine.h"

void fill_machine(struct record *rec, const struct machine *machine);
void fill_accuracy(struct record *rec, const struct accuracy *acc);
void fill_paired(struct record *rec, const struct accuracy_paired *paired);

/* Column confusion_json from predictions and labels (n), each below n_classes. */
pare_status fill_confusion(struct record *rec, const uint8_t *predictions, const uint8_t *labels,
                           int64_t n, int32_t n_classes, struct error *err);

/* Parameters, operations and bytes of a model; bytes_fp32 is that of the uncompressed base. */
pare_status fill_size(struct record *rec, const struct model *model, const struct model *base,
                      struct error *err);

/* Bits, sparsity, operations and storage of each layer (fill_size does it too). */
pare_status fill_layers(struct record *rec, const struct model *model, struct error *err);

void fill_execution(struct record *rec, const struct deployment *dep);

void fill_profile(struct record *rec, enum latency_profile profile);

/* schema, time, status: what every row has. `error` "" is status ok. */
void fill_outcome(struct record *rec, pare_status status, const char *error);

/* Is any value or weight quantized? */
int graph_is_quantized(const pare_graph *graph);

#endif
