/* SPDX-License-Identifier: MIT */
/* A row of numbers, entropy coded: the upper bits of each by a Huffman code, the lower ones as they
 * are. README.md of this folder has the layout. */
#ifndef MODEL_CODED_H
#define MODEL_CODED_H

#include "model/huffman.h"

/* How a row is best coded. */
struct coded_plan {
    int32_t raw_bits;  /* of each number, uncoded */
    uint32_t first;    /* symbol 0 stands for these upper bits */
    int32_t n_symbols; /* 1..HUFFMAN_MAX_SYMBOLS */
    int64_t n_bytes;   /* of the whole, with its head */
    uint8_t lengths[HUFFMAN_MAX_SYMBOLS];
};

/* The plan of least size for numbers (n), n >= 1. [any] */
void coded_choose(const uint32_t *numbers, int64_t n, struct coded_plan *plan);
/* out (plan->n_bytes) */
void coded_write(const struct coded_plan *plan, const uint32_t *numbers, int64_t n, uint8_t *out);

struct coded_reader {
    int32_t raw_bits;
    uint32_t first;
    struct huffman_decoder huffman;
    struct bit_reader bits;
};

/* Starts to read data (n_bytes), which must live on. PARE_E_FORMAT, `what` beginning the message:
 * its head is cut off or makes no code. */
pare_status coded_open(const uint8_t *data, size_t n_bytes, const char *what, struct error *err,
                       struct coded_reader *reader);
/* False: the bits end. */
bool coded_next(struct coded_reader *reader, uint32_t *number);

#endif
