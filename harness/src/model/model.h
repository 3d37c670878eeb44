/* SPDX-License-Identifier: MIT */
/* Models: a graph with weights, built node by node, changed in checked ways, saved and loaded. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "core/error.h"

#include <pare/graph.h>
#include <stddef.h>
#include <stdint.h>

/* `graph` is the public view, kept up to date by every function here; it is the first member, so a
 * const pare_graph * that came from a model can be turned back by model_of. */
struct model {
    pare_graph graph;
    struct model_private *priv;
};

static inline struct model *model_of(const pare_graph *graph) {
    return (struct model *)(uintptr_t)graph;
}

/* ---- building ---- */

/* A model with only its input node ("input"). */
pare_status model_create(const char *name, const int32_t input_dims[3], struct error *err,
                         struct model **out);
void model_destroy(struct model *model);
pare_status model_copy(const struct model *model, struct error *err, struct model **out);

/* What to add. Unused fields are 0; strides and groups of 0 mean 1. */
struct node_spec {
    pare_op op;
    const char *name;                /* unique; letters, digits, '.', '_' and '-' */
    int32_t inputs[PARE_MAX_INPUTS]; /* indices of earlier nodes */
    int32_t out_channels;            /* conv2d, linear, shortcut */
    int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, groups;
    int32_t bias; /* conv2d, linear: 1 adds a bias */
    float eps;    /* batch norm; 0 means 1e-5 */
};

/* Adds a node after all others, with shapes inferred and weights made (zeros; gamma and var 1).
 * Names of weights: "<node>.weight", ".bias"; batch norm ".weight", ".bias", ".running_mean",
 * ".running_var" (PyTorch's names). Every limit is checked; a message names the node. */
pare_status model_add(struct model *model, const struct node_spec *spec, struct error *err,
                      int32_t *index);

/* Declares the last node the output: (n_classes) of rank 1. Checks that every node is used. */
pare_status model_finish(struct model *model, struct error *err);

/* Uniform weights, bound sqrt(6/fan_in) (He et al. 2015, arXiv 1502.01852), or sqrt(1/fan_in) for
 * the linear that makes the logits; biases and beta 0, gamma and variance 1. From `seed`, the same
 * bits on every machine. Masks and quantization are removed. */
void model_init_weights(struct model *model, uint64_t seed);

/* ---- changing: the checked setters behind pare_host ----
 * What each does stands at pare_host in <pare/plugin.h>; on failure the model is as it was.
 * `weight` and `node` are indices into the graph. Pointers into the graph stay valid until one of
 * model_fold_batch_norm, model_insert_quantize, model_remove_relu and model_remove_channels. */
pare_status model_set_weight(struct model *model, int32_t weight, const float *data,
                             struct error *err);
/* Unchecked writable access for the trainer: fp32 data (dims) of a weight that is not quantized.
 * Masked elements must stay 0. */
float *model_weight_data(struct model *model, int32_t weight);
pare_status model_set_mask(struct model *model, int32_t weight, const uint8_t *mask,
                           struct error *err);
pare_status model_set_weight_quant(struct model *model, int32_t weight, const pare_quant *quant,
                                   const int16_t *codes, struct error *err);
/* Needs a finished model. NULL or bits == 0 removes. Refused (PARE_E_UNSUPPORTED, the message says
 * where to put it) on the last node, and on a conv2d, linear, add or batch norm that feeds only a
 * relu. */
pare_status model_set_activation_quant(struct model *model, int32_t node, const pare_quant *quant,
                                       struct error *err);
/* Refused (PARE_E_STATE) where the value of a layer to be folded into is itself quantized. */
pare_status model_fold_batch_norm(struct model *model, struct error *err);
/* What each does stands at pare_host_topology in <pare/ext/topology.h>. */
pare_status model_insert_quantize(struct model *model, int32_t node, int32_t slot,
                                  struct error *err, int32_t *quantize);
pare_status model_remove_relu(struct model *model, int32_t node, struct error *err);

/* Channels of the values of all nodes together. */
int64_t model_n_channels(const struct model *model);
/* class_of (n), n as above. */
pare_status model_channel_classes(const struct model *model, int64_t n, struct error *err,
                                  int32_t *class_of);
/* nodes (n_cuts), keep (n_cuts), each (channels of that node). */
pare_status model_remove_channels(struct model *model, int32_t n_cuts, const int32_t *nodes,
                                  const uint8_t *const *keep, struct error *err);

/* Everything that must hold of any model: masks zero, data == scale*code, codes in range, scales
 * finite and positive, zero points in range, all values finite. The message names tensor and
 * element. */
pare_status model_verify(const struct model *model, struct error *err);

/* ---- looking ---- */
int32_t model_find_node(const struct model *model, const char *name);   /* -1: none */
int32_t model_find_weight(const struct model *model, const char *name); /* -1: none */
const char *op_name(pare_op op);                                        /* "conv2d" */

struct model_counts {
    int64_t params_total;   /* learnable: weights, biases, gamma, beta; not running statistics */
    int64_t params_nonzero; /* of those, not masked */
    int64_t prunable_total, prunable_nonzero; /* conv2d and linear weights only */
    int64_t macs_dense;                       /* per sample, conv2d and linear */
    int64_t macs_effective;                   /* with multiplications by masked weights left out */
};
void model_count(const struct model *model, struct model_counts *counts);
int64_t model_node_macs(const pare_graph *graph, int32_t node);

/* ---- files (safetensors; format notes in model/README.md) ---- */

/* Free-form provenance kept in the file's metadata: dataset, seed, script, accuracy, pare version.
 */
struct model_note {
    const char *key, *value;
};

/* As it would be stored: codes packed to their bits, what is pruned left out where that is smaller,
 * each weight in the way that takes the fewest bytes. The model must be finished and valid
 * (model_verify). Only the notes given are stored, not those the model was loaded with. *data is
 * freed by the caller. */
pare_status model_serialize(const struct model *model, const struct model_note *notes,
                            size_t n_notes, struct error *err, uint8_t **data, size_t *n_bytes);
/* `origin` begins each message: a path. The data may be freed afterwards. */
pare_status model_parse(const uint8_t *data, size_t n_bytes, const char *origin, struct error *err,
                        struct model **out);
pare_status model_save(const struct model *model, const char *path, const struct model_note *notes,
                       size_t n_notes, struct error *err);
pare_status model_load(const char *path, struct error *err, struct model **out);
/* A note read from the file the model came from, or NULL. */
const char *model_note(const struct model *model, const char *key);

/* How the file holds a weight. Values: "fp32", "packed" (codes in their bits) or "codebook"
 * (indices of shared values); if pruned ones are left out, how it says which: "-bitmap", "-2:4" or
 * "-relative" (gaps); "-huffman" where values or gaps are coded. "packed-relative-huffman". */
struct model_storage {
    char name[32];
    int64_t n_bytes; /* of its tensors: values, indices, codebook, tables, scales; no header */
};
pare_status model_weight_storage(const pare_weight *weight, struct error *err,
                                 struct model_storage *out);

struct model_sizes {
    int64_t bytes_fp32; /* the file, if every weight were dense fp32 */
    int64_t bytes_file; /* the file as saved, packed, without notes */
    int64_t bytes_zstd; /* that file through zstd, level 19 */
};
pare_status model_measure_sizes(const struct model *model, struct error *err,
                                struct model_sizes *out);

#endif
