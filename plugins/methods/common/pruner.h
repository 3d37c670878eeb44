/* SPDX-License-Identifier: MIT */
/* What pruning methods share: which weights, how many of them, when, and the masks. A method brings
 * the criterion: a score per unit, of which the lowest are pruned. */
#ifndef METHODS_COMMON_PRUNER_H
#define METHODS_COMMON_PRUNER_H

#include "pruner_params.h"
#include "target.h"
#include "units.h"

#include <pare/ext/train.h>

struct pruner;
struct scored;

/* One selected weight tensor. */
struct pruner_layer {
    int32_t weight; /* index into pare_graph.weights */
    struct units units;
    int64_t first_elem, first_unit; /* its place among those of all layers */
};

/* Fills score (layer->units.n), none of them NaN; called for the layers in order. */
typedef pare_status (*pruner_score)(struct pruner *pruner, const pare_graph *graph,
                                    const struct pruner_layer *layer, float *score);

/* What one cut reaches in the end: of a layer (local) or of all of them (global). */
struct pruner_goal {
    int64_t total;   /* units pruned */
    double sparsity; /* the same as a fraction */
};

/* First member of a method's instance, so that the functions below serve as its hooks. */
struct pruner {
    const pare_host *host;
    struct pruner_options options;
    pruner_score score;
    int32_t n_layers, n_goals;
    struct pruner_layer *layers; /* (n_layers) */
    struct pruner_goal *goals;   /* (n_goals): 1 or n_layers */
    int64_t n_elems, n_units;    /* of all layers */
    uint8_t *masks;              /* (n_elems) */
    uint8_t *keep;               /* (n_units) */
    float *scores;               /* (n_units) */
    int64_t *counts;             /* scratch of lowest_drop */
    struct scored *items;        /* (n_units) scratch of ties = "pytorch", else NULL */
    float *saved_data;           /* (n_elems) weights before apply, for a schedule; else NULL */
    uint8_t *saved_masks;        /* (n_elems) */
    int is_done;                 /* the goals are reached: the last cut has been made */
};

/* Everything but the instance itself, which the method frees. */
void pruner_clear(struct pruner *pruner);

/* Finds the selected weights, how many are to go, and makes room. [main] */
pare_status pruner_prepare(struct pruner *pruner, const pare_graph *graph);

/* Which units are to be kept, keep[] = 1 or 0, as far as the schedule is after step `step`, or,
 * with `is_last`, in the end. Starts from the masks that the graph has now. Changes nothing else.
 */
pare_status pruner_choose(struct pruner *pruner, const pare_graph *graph, int64_t step,
                          int is_last);

/* Prunes, for good, what is not to be kept. A layer that would be pruned to nothing is PARE_E_RANGE
 * unless allowed. [main] */
pare_status pruner_set_masks(struct pruner *pruner, const pare_graph *graph);

/* Both, one after the other. [main] */
pare_status pruner_prune(struct pruner *pruner, const pare_graph *graph, int64_t step, int is_last);

/* The layer of a weight, or NULL. */
const struct pruner_layer *pruner_layer_of(const struct pruner *pruner, int32_t weight);

/* `apply` of a method: prepares, and prunes to the end under every schedule, because no training
 * may follow. If one does, pruner_train_begin takes it back and starts the schedule. [main] */
pare_status pruner_apply(void *instance, const pare_graph *graph);

/* begin, after_step and end of <pare/ext/train.h>. A training that was cut short still leaves what
 * was asked for. [main] */
extern const pare_method_train pruner_train;

#endif
