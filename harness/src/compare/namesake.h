/* SPDX-License-Identifier: MIT */
/* Pairs by name. An id is a hash of every parameter, so a method that got a new one gives all its
 * arms other ids; the arms are the same ones all the same. */
#ifndef COMPARE_NAMESAKE_H
#define COMPARE_NAMESAKE_H

#include "compare/quantities.h"

/* Gives each pair without a `new` the arm of `new_side` that no pair has, that is the same in all
 * that names an arm (experiment, model, weights, dataset, pipeline, seed, backend, ..., and host
 * unless across_machines), and whose methods' parameters are equal but for those that only one side
 * knows, of which there is one at least. *n_found counts them, `example` names such a parameter.
 * Where a parameter has another value the pair stays alone, and its `why` says so. */
pare_status namesakes_pair(const struct side *new_side, int across_machines, struct pair *pairs,
                           size_t n_pairs, struct error *err, size_t *n_found, char example[64]);

#endif
