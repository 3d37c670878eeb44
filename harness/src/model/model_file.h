/* SPDX-License-Identifier: MIT */
/* What the writer and the reader of model files share; README.md of this folder has the format. */
#ifndef MODEL_MODEL_FILE_H
#define MODEL_MODEL_FILE_H

enum {
    GRAPH_SCHEMA = 1,
    MAX_FILE_BYTES = 256 << 20,
    MAX_GRAPH_DEPTH = 5,         /* graph, nodes, node, storage, weight */
    MAX_ELEMS_PER_BYTE = 1024,   /* elements of weights per byte of a file: what it may ask for */
    MAX_TENSOR_NAME_BYTES = 160, /* node name, role and suffix */
};

#define NOTE_PREFIX "note."

#endif
