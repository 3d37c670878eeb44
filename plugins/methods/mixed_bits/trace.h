/* SPDX-License-Identifier: MIT */
/* Traces of the Hessian of the loss, layer by layer, by Hutchinson's estimator:
 *     Tr(H_i) = E[v' H_i v],   v of random signs,   H_i v = (g(w + e v) - g(w - e v)) / (2 e),
 * with gradients g from <pare/ext/gradients.h> and v of one layer at a time: two passes for each
 * layer and sample. (All layers at once would take one pair, but what they do to each other, which
 * has mean 0, drowned the estimate.) Yao et al. 2020 (arXiv 1912.07145), Dong et al. 2020 (arXiv
 * 1911.03852), section 3.3. */
#ifndef MIXED_BITS_TRACE_H
#define MIXED_BITS_TRACE_H

#include <pare/ext/gradients.h>
#include <pare/plugin.h>

struct trace_layer {
    int32_t weight; /* index in the graph */
    int64_t n_elems, first_elem;
    int64_t n_kept; /* not pruned */
    double e;       /* step times the root mean square of its weights */
    double sum;     /* of v'Hv; the mean is trace_of */
};

struct traces {
    const pare_host *host;
    int32_t n;
    struct trace_layer *layers; /* (n) selected layers */
    int64_t n_elems;
    float *weights;   /* (n_elems) w */
    float *moved;     /* (largest layer) */
    int8_t *signs;    /* (largest layer) v of the present layer; 0 where pruned */
    double product;   /* v'g, summed over the images of the present pass */
    int64_t n_images; /* of the present pass */
    int32_t n_samples;
    int is_done; /* all passes */
    pare_rng rng;
};

/* Layers and weights of the graph. Freed by trace_clear, after a failure, too. PARE_E_NUMERIC where
 * all weights are 0, PARE_E_ARG where there are more passes than a host makes. [main] */
pare_status trace_init(const pare_host *host, const pare_graph *graph, int32_t n_samples,
                       double step, struct traces *t);
void trace_clear(struct traces *t);

/* For the three functions of the extension, in pass `number`. After each pair of passes the weights
 * are what they were. */
pare_status trace_begin(struct traces *t, const pare_graph *graph, int64_t number);
void trace_see(struct traces *t, int64_t number, int32_t weight, const float *gradient, int32_t n);
pare_status trace_end(struct traces *t, const pare_graph *graph, int64_t number, int32_t *again);

/* The estimate; below 0 by chance, or where the loss bends downwards, and then 0. */
double trace_of(const struct traces *t, int32_t layer);

#endif
