/* SPDX-License-Identifier: MIT */
/* The criteria: a score per class of channels, of which the lowest go first. What a criterion says
 * of one channel of one node is averaged over the nodes of the class. */
#ifndef FILTER_SCORES_H
#define FILTER_SCORES_H

#include "channels.h"

enum criterion {
    CRITERION_L1,     /* Li et al. 2017, arXiv 1608.08710, section 3.1: sum |w| of the filter */
    CRITERION_FPGM,   /* He et al. 2019, arXiv 1811.00250, eq. 4: sum_j |F_i - F_j|_2 */
    CRITERION_TAYLOR, /* Molchanov et al. 2019, arXiv 1906.10771, eq. 8 at a gate behind the layer
                       */
    CRITERION_APOZ,   /* Hu et al. 2016, arXiv 1607.03250, eq. 1: share of zeros behind the relu */
    CRITERION_BN_GAMMA, /* Liu et al. 2017, arXiv 1708.06519, section 3: |gamma| */
    CRITERION_HRANK,    /* Lin et al. 2020, arXiv 2002.10179, eq. 4: mean rank of feature maps */
    CRITERION_RANDOM
};

#define CRITERION_CHOICES "l1|fpgm|taylor|apoz|bn_gamma|hrank|random"

/* One of the choices, as the host has checked. */
enum criterion criterion_parse(const char *name);

struct scores {
    const struct channels *channels; /* borrowed */
    enum criterion criterion;
    double *sum;      /* (n_classes) of what was seen */
    double *count;    /* (n_classes) how often */
    uint8_t *watches; /* (n_nodes) 1: its values, or its parameters' gradients, count */
    double *gate; /* (channels->n) taylor: gradient of one batch's loss by each gate; else NULL */
    int32_t last_weight; /* taylor: the last that was shown; -1: none of this batch */
    double *matrix;      /* hrank: room for one feature map; else NULL */
};

/* Freed by scores_clear. */
pare_status scores_init(const struct channels *channels, const pare_graph *graph,
                        enum criterion criterion, struct scores *scores);
void scores_clear(struct scores *scores);

/* apoz and hrank: one node's values (n, dims of the node); does nothing otherwise. */
void scores_see_value(struct scores *scores, const pare_graph *graph, int32_t node,
                      const float *value, int32_t n);

/* taylor: a weight's gradient (dims) in one batch; does nothing otherwise. After the last one,
 * scores_end_gradients. */
void scores_see_gradient(struct scores *scores, const pare_graph *graph, int32_t weight,
                         const float *gradient);
void scores_end_gradients(struct scores *scores);

/* Fills score (n_classes); as_share: in parts of the layer's mean, for criteria whose size depends
 * on the layer (l1, fpgm). Classes that may not go, or that no layer makes, get 0. A class without
 * what the criterion looks at (a relu, a batch norm, a feature map) is PARE_E_UNSUPPORTED, said of
 * its layer. */
pare_status scores_finish(struct scores *scores, const pare_graph *graph, int as_share,
                          double *score);

/* The rank of a matrix (rows, cols), which is destroyed: the columns' pivoted Householder reduction
 * stops where what is left is below max(rows, cols) * 2^-23 of the largest column. */
int32_t matrix_rank(double *matrix, int32_t rows, int32_t cols);

#endif
