/* SPDX-License-Identifier: MIT */
/* What the writer and the reader of model files share; README.md of this folder has the format. */
#ifndef MODEL_MODEL_FILE_H
#define MODEL_MODEL_FILE_H

enum {
    GRAPH_SCHEMA = 1,
    MAX_FILE_BYTES = 256 << 20,
    MAX_GRAPH_DEPTH = 5,         /* graph, nodes, node, storage, weight */
    MAX_TENSOR_NAME_BYTES = 160, /* node name, role and suffix */
};

/* How a weight lies in the file. */
enum storage {
    STORAGE_DENSE = 0, /* all values, no mask */
    STORAGE_ZEROS = 1, /* all values; those that are 0 are the pruned ones */
    STORAGE_BITMAP = 2 /* the mask as bits, and the values that are kept */
};

#define STORAGE_NAMES                                                                              \
    { "dense", "zeros", "bitmap" }
#define NOTE_PREFIX "note."

#endif
