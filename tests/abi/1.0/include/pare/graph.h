/* SPDX-License-Identifier: MIT */
/* A model as plugins see it: nodes in topological order, each making one value, and weight tensors.
 * Everything here is read-only for plugins; changes go through pare_host. Pointers into a graph
 * stay valid until the next host call that changes the graph's topology (fold_batch_norm). */
#ifndef PARE_GRAPH_H
#define PARE_GRAPH_H

#include <pare/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Activations are (N,H,W,C) or, after flatten, linear and global pooling, (N,C). */
typedef enum pare_op {
    PARE_OP_INPUT = 0,  /* node 0, and only node 0 */
    PARE_OP_CONV2D = 1, /* weight (OC,KH,KW,IC/groups), optional bias (OC); cross-correlation */
    PARE_OP_LINEAR = 2, /* weight (OUT,IN), optional bias (OUT); input (N,IN) */
    PARE_OP_BATCH_NORM =
        3, /* gamma, beta, mean, var (C): gamma (x - mean)/sqrt(var + eps) + beta */
    PARE_OP_RELU = 4,
    PARE_OP_ADD = 5,             /* two inputs of one shape */
    PARE_OP_MAX_POOL = 6,        /* padding, where there is any, never wins */
    PARE_OP_AVG_POOL = 7,        /* no padding; divides by the window's size */
    PARE_OP_GLOBAL_AVG_POOL = 8, /* (N,H,W,C) -> (N,C) */
    PARE_OP_FLATTEN = 9,         /* (N,H,W,C) -> (N,H*W*C), NHWC order */
    PARE_OP_SHORTCUT_A = 10, /* every stride-th pixel; (C_out - C_in)/2 zero channels before, the
                                rest after (He et al. 2015, option A) */
    PARE_OP_SOFTMAX = 11     /* over C of (N,C); only as the last node */
} pare_op;

typedef enum pare_role {
    PARE_ROLE_WEIGHT = 0,
    PARE_ROLE_BIAS = 1,
    PARE_ROLE_GAMMA = 2,
    PARE_ROLE_BETA = 3,
    PARE_ROLE_MEAN = 4,
    PARE_ROLE_VAR = 5,
    PARE_N_ROLES = 6
} pare_role;

#define PARE_MAX_RANK 4
#define PARE_MAX_INPUTS 2

/* One weight tensor. `data` always holds the fp32 values that a float execution uses: with a mask,
 * masked elements are exactly 0; quantized, data[i] == scale * code exactly (in float). */
typedef struct pare_weight {
    uint32_t struct_size;
    int32_t index; /* its place in pare_graph.weights */
    int32_t node;  /* the node it belongs to */
    pare_role role;
    const char *name; /* "layer1.0.conv1.weight" */
    int32_t rank;
    int64_t dims[PARE_MAX_RANK]; /* unused ones are 1 */
    int64_t n_elems;
    const float *data;    /* (dims) fp32 */
    const uint8_t *mask;  /* (dims) 1 kept, 0 pruned; NULL: dense */
    pare_quant quant;     /* bits == 0: not quantized */
    const int16_t *codes; /* (dims) integer codes, NULL when not quantized */
} pare_weight;

typedef struct pare_node {
    uint32_t struct_size;
    int32_t index; /* its place in pare_graph.nodes, and the name of the value it makes */
    pare_op op;
    const char *name; /* "layer1.0.conv1"; unique */
    int32_t n_inputs;
    int32_t inputs[PARE_MAX_INPUTS];          /* indices of earlier nodes */
    int32_t n_consumers;                      /* how many inputs of later nodes read this value */
    int32_t rank;                             /* of the value made, without the batch: 3 or 1 */
    int32_t dims[3];                          /* (H,W,C), or (1,1,C) when rank is 1 */
    int32_t kernel_h, kernel_w;               /* conv2d, pools */
    int32_t stride_h, stride_w;               /* conv2d, pools, shortcut */
    int32_t pad_h, pad_w;                     /* conv2d, max pool; on both sides */
    int32_t groups;                           /* conv2d; 1 otherwise */
    float eps;                                /* batch norm */
    const pare_weight *weights[PARE_N_ROLES]; /* by role; NULL where there is none */
    pare_quant
        activation; /* of the value made; bits == 0: float. Lies on the value that is really
                       stored: where a conv2d, linear or add feeds only a relu, on the relu */
} pare_node;

typedef struct pare_graph {
    uint32_t struct_size;
    const char *name;      /* "resnet20" */
    int32_t input_dims[3]; /* (H,W,C) */
    int32_t n_classes;
    int32_t n_nodes;
    const pare_node *const *nodes; /* (n_nodes); the last one makes the output */
    int32_t n_weights;
    const pare_weight *const *weights; /* (n_weights) */
} pare_graph;

#ifdef __cplusplus
}
#endif
#endif
