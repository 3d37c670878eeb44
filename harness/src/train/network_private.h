/* SPDX-License-Identifier: MIT */
/* Inside the executor: what a network keeps of each node, and the passes' shared pieces. */
#ifndef TRAIN_NETWORK_PRIVATE_H
#define TRAIN_NETWORK_PRIVATE_H

#include "train/conv.h"
#include "train/kernel.h"
#include "train/network.h"

/* Work on a batch is cut into chunks of this many images, whatever the number of threads; sums over
 * a batch are made per chunk, then over chunks in order. So results do not depend on the threads.
 */
enum { CHUNK = 8 };

/* How a node's value exists. */
enum value_form {
    VALUE_STORED, /* in data */
    VALUE_LAZY,  /* a batch norm or ReLU that its readers compute from the stored value of `base` */
    VALUE_PASSED /* an addition that the ReLU behind it does on the way */
};

/* A counted buffer of floats: gradients, and values in evaluation mode, which die in between. */
struct buffer {
    float *data;
    int64_t n_elems;
    int32_t refs;
};

struct node_state {
    enum value_form form;
    int32_t base;       /* VALUE_LAZY: the node whose stored value is read */
    int32_t relu;       /* VALUE_LAZY: with a ReLU on top */
    int32_t quantized;  /* fake quantization as the plan knew it */
    int32_t last_use;   /* the last node that reads data */
    int64_t n_elems;    /* of the value of one image */
    float *data;        /* (max_batch, dims) */
    struct buffer *own; /* where data lies */
    float *replaced;    /* (max_batch, dims of input 0) by the activation hook, or NULL */

    /* batch norm, all (period) but moments */
    float *scale, *shift; /* y = scale*x + shift, of this pass */
    float *centre;        /* mean as float, for the backward sums */
    float *ca, *cb, *cc;  /* norm_gradient */
    float *inv_std;
    double *moments;      /* (max_batch, 2, C): mean and m2 per image */
    double *sums;         /* (chunks, 2, C): of the gradient, see kernels.gradient_sums */
    int32_t moments_of;   /* convolution: the batch norm it gathers moments for, or -1 */
    int32_t first_reader; /* the first node that reads this value; 0: none */
    int32_t deferred;     /* ReLU behind an addition, in training: its first reader, a convolution,
                             makes the value image by image, just before it reads it */

    /* backward */
    struct buffer *grad; /* with respect to the value, or NULL: nothing came yet */
    int32_t grad_norm;   /* convolution: grad is that of this batch norm's output, to be passed
                            through it as it is read; -1: plain */
    int32_t grad_masked; /* ReLU: grad is masked already */
    int32_t sums_done;   /* batch norm: sums are there already */
    int32_t grad_relu;   /* batch norm: grad is still to be masked by the ReLU behind it */
};

struct weight_state {
    float *used;     /* (dims) by the weight hook, or NULL */
    float *gradient; /* (dims) or NULL: running statistics */
};

struct network {
    struct model *model;
    const pare_graph *graph;
    const struct kernels *k;
    struct pool *pool;
    struct network_hooks hooks;
    int32_t max_batch, train;
    int32_t observed; /* the plan in force stores every value, in evaluation mode */
    int32_t planned;
    float norm_momentum;
    int32_t norm_frozen; /* running statistics, also in training */
    int32_t n;           /* images of the current batch */
    int32_t forward;     /* a training forward pass came last: backward may follow */

    struct node_state *nodes;     /* (n_nodes) */
    struct weight_state *weights; /* (n_weights) */
    struct buffer *buffers;       /* (n_buffers) */
    int32_t n_buffers, buffers_cap;

    int32_t n_threads;
    int64_t image_elems, gradient_elems, tile_elems, work_elems;
    float *image, *gradient, *tiles, *work; /* per thread, see network_scratch */
    float *packed;                          /* of the node at work */
    float *bias;                            /* copy with slack */
    float *partial;                         /* (chunks, weights of the largest convolution) */
    double *partial_sums;                   /* (chunks, channels): of biases */
    int64_t partial_elems, channels;
    int64_t bytes;
};

static inline struct conv_scratch network_scratch(const struct network *net, int32_t thread) {
    return (struct conv_scratch){
        .image = net->image + thread * net->image_elems,
        .gradient = net->gradient ? net->gradient + thread * net->gradient_elems : NULL,
        .tiles = net->tiles + thread * net->tile_elems,
        .work = net->work + thread * net->work_elems,
    };
}

static inline int32_t network_n_chunks(int32_t n) {
    return (n + CHUNK - 1) / CHUNK;
}

/* body(arg, first, n, chunk, thread) for each chunk of the batch. */
typedef void (*chunk_body)(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread);
void network_chunks(struct network *net, chunk_body body, void *arg);

/* How to read the value of `node` from image `first` on. Not for VALUE_PASSED. */
struct source network_source(const struct network *net, int32_t node, int64_t first);

/* The stored value or the hook's replacement that `node` reads as input `i`, from image `first` on.
 */
struct source network_input(const struct network *net, const pare_node *node, int32_t i,
                            int64_t first);

const float *network_weight(const struct network *net, const pare_node *node, pare_role role);

struct pool_shape network_pool_shape(const pare_graph *graph, const pare_node *node);

/* A buffer with one reference, or NULL when out of memory. */
struct buffer *network_buffer(struct network *net, int64_t n_elems);

/* The value of a ReLU for `n` images from `first` on. */
void network_run_relu(const struct network *net, const pare_node *node, int64_t first, int64_t n);

pare_status network_run_node(struct network *net, const pare_node *node, int32_t training,
                             struct error *err);
/* Floats, counted in net->bytes, with KERNEL_SLACK; NULL when out of memory. */
float *network_floats(struct network *net, int64_t n);

#endif
