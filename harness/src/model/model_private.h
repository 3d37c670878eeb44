/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. Every object is owned by its model; views are first members,
 * so that a public pointer leads back to its store. */
#ifndef MODEL_MODEL_PRIVATE_H
#define MODEL_MODEL_PRIVATE_H

#include "model/model.h"

#include <stdbool.h>

enum {
    MAX_NODES = 4096,
    MAX_NAME_BYTES = 128,
    MAX_DIM = 65536,    /* of images, channels, kernels, strides and paddings */
    MAX_ELEMS = 1 << 28 /* of one weight, and of one value without the batch */
};

/* Buffers are made once and then stay where they are, so that pointers a plugin holds live until
 * the topology changes; whether they are in use shows in the view. */
struct weight_store {
    pare_weight view;
    char *name;
    float *data;    /* (dims) */
    uint8_t *mask;  /* (dims) or NULL */
    int16_t *codes; /* (dims) or NULL */
    float *scale;   /* (dims[0]) or NULL */
};

struct node_store {
    pare_node view;
    char *name;
    float activation_scale;
    int32_t activation_zero_point;
};

struct note_store {
    char *key, *value;
};

struct model_private {
    char *name;
    const pare_node **nodes;     /* (graph.n_nodes), each the view of a node_store */
    const pare_weight **weights; /* (graph.n_weights), each the view of a weight_store */
    int32_t node_capacity, weight_capacity;
    bool is_finished;
    int64_t elems_left; /* weight elements that may still be made: bounds what a file can ask for */
    struct note_store *notes;
    size_t n_notes;
};

static inline struct node_store *node_at(const struct model *model, int32_t index) {
    return (struct node_store *)(uintptr_t)model->priv->nodes[index];
}

static inline struct weight_store *weight_at(const struct model *model, int32_t index) {
    return (struct weight_store *)(uintptr_t)model->priv->weights[index];
}

static inline struct weight_store *weight_of(const pare_weight *view) {
    return (struct weight_store *)(uintptr_t)view;
}

static inline bool op_has_weights(pare_op op) {
    return op == PARE_OP_CONV2D || op == PARE_OP_LINEAR;
}

/* graph.c */
pare_status model_check_name(const char *what, const char *name, struct error *err);
pare_status weight_create(const char *node_name, const char *suffix, pare_role role, int32_t rank,
                          const int64_t dims[PARE_MAX_RANK], struct error *err,
                          struct weight_store **out);
void weight_destroy(struct weight_store *weight);
/* A node named and shaped like *view, without weights. */
pare_status node_create(const pare_node *view, struct error *err, struct node_store **out);
void node_destroy(struct node_store *node);
/* Numbers nodes and weights, counts consumers and renews the public view; after every change. */
void model_renew_view(struct model *model);
/* Makes room for `more` entries, so that model_push_* cannot fail. */
pare_status model_reserve(struct model *model, int32_t more_nodes, int32_t more_weights,
                          struct error *err);
pare_status model_add_note(struct model *model, const char *key, const char *value,
                           struct error *err);

/* rewire.c: takes node `index`, which has one input, out of the list, with its weights; its readers
 * then read that input. The view is stale until model_renew_view. */
void model_remove_node(struct model *model, int32_t index);

/* shape.c: fills op, sizes and shape of *node from the spec and its inputs. */
pare_status shape_infer(const struct model *model, const struct node_spec *spec, struct error *err,
                        pare_node *node);
/* The weights a node needs. Returns how many there are. */
struct weight_plan {
    pare_role role;
    const char *suffix; /* "weight" */
    int32_t rank;
    int64_t dims[PARE_MAX_RANK];
    float fill;
};
int32_t shape_plan_weights(const pare_node *node, int32_t in_channels, bool bias,
                           struct weight_plan plan[PARE_N_ROLES]);
int64_t shape_n_elems(const int64_t dims[PARE_MAX_RANK]); /* -1: more than MAX_ELEMS */

/* setters.c */
pare_status weight_make_mask_buffer(struct weight_store *weight, struct error *err);
pare_status weight_make_quant_buffers(struct weight_store *weight, struct error *err);
void weight_put_quant(struct weight_store *weight, const pare_quant *quant);
static inline float weight_scale(const pare_quant *quant, int64_t elem, int64_t elems_per_scale) {
    return quant->scale[quant->n == 1 ? 0 : elem / elems_per_scale];
}

/* quant.c: does *quant describe a weight (an activation) as <pare/tensor.h> demands? `where` begins
 * the message. */
pare_status quant_check_weight(const pare_quant *quant, const pare_weight *weight,
                               const char *where, struct error *err);
pare_status quant_check_codes(const pare_quant *quant, const int16_t *codes, const uint8_t *mask,
                              int64_t n_elems, const char *where, struct error *err);
pare_status quant_check_activation(const pare_quant *quant, const char *where, struct error *err);
/* Values of 1 bit are made by quantize nodes only. */
pare_status quant_check_signs(const pare_quant *quant, const pare_node *node, struct error *err);

#endif
