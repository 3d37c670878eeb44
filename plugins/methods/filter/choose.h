/* SPDX-License-Identifier: MIT */
/* Which classes go: so many of the lowest scores that the amount is reached. */
#ifndef FILTER_CHOOSE_H
#define FILTER_CHOOSE_H

#include "channels.h"

struct amount_wanted {
    double macs;     /* of the multiply-accumulates, at least; < 0: not given */
    double fraction; /* of the channels of each family, or of all; < 0: not given */
    int is_global;
    int32_t
        multiple; /* channels of each layer that loses any: so many, or times that; 1: any number */
};

struct choice {
    const struct channels *channels; /* borrowed */
    int32_t *order;  /* (n_classes) those that may go, one family after the other, lowest score
                        first;  is_global: all in one */
    int32_t *place;  /* (n_classes) of a class in its family's order; is_global: in all */
    int32_t *size;   /* (n_classes) of its family, counting those that may go; is_global: of all */
    uint8_t *goes;   /* (n_classes) the answer */
    int32_t *kept;   /* (n_nodes) channels that a node keeps */
    int32_t n_order; /* in order */
};

/* Fills choice->goes. score (n_classes); equal ones go in the order of their numbers. No layer
 * loses all its channels. PARE_E_RANGE when that, `multiple` or the layers left out do not let so
 * many multiply-accumulates go. Freed by choice_clear. [main] */
pare_status choice_make(const struct channels *channels, const pare_graph *graph,
                        const struct amount_wanted *wanted, const double *score,
                        struct choice *choice);
void choice_clear(struct choice *choice);

/* Multiply-accumulates of one sample, with and without what goes; by shapes, masks do not count. */
void choice_macs(const struct choice *choice, const pare_graph *graph, double *before,
                 double *after);

/* Of the classes that may go, those that do. */
void choice_count(const struct choice *choice, int32_t *n_going, int32_t *n_candidates);

#endif
