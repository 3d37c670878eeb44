/* SPDX-License-Identifier: MIT */
/* Prefix codes of least length (Huffman 1952), canonical as in RFC 1951, section 3.2.2: the lengths
 * alone say the codes. */
#ifndef MODEL_HUFFMAN_H
#define MODEL_HUFFMAN_H

#include "core/error.h"
#include "model/bits.h"

enum {
    HUFFMAN_MAX_BITS = 15, /* of one code */
    HUFFMAN_MAX_SYMBOLS = 512
};

/* counts (n), n <= HUFFMAN_MAX_SYMBOLS -> lengths (n) in bits, 0 where the count is 0. Where codes
 * would be longer than HUFFMAN_MAX_BITS, counts are made more alike until they are not. A symbol
 * that is alone gets length 0: it takes no bits. */
void huffman_lengths(const int64_t *counts, int32_t n, uint8_t *lengths);

struct huffman_encoder {
    uint16_t codes[HUFFMAN_MAX_SYMBOLS]; /* with the first bit as the least significant */
};
void huffman_encoder_init(const uint8_t *lengths, int32_t n, struct huffman_encoder *encoder);

struct huffman_decoder {
    int32_t counts[HUFFMAN_MAX_BITS + 1]; /* symbols of each length */
    int16_t symbols[HUFFMAN_MAX_SYMBOLS]; /* by code */
    bool is_alone;                        /* one symbol, which takes no bits */
};
/* False: these are not the lengths of a complete prefix code (nor all 0, with n == 1). Lengths may
 * be anything up to HUFFMAN_MAX_BITS. */
bool huffman_decoder_init(const uint8_t *lengths, int32_t n, struct huffman_decoder *decoder);
/* False: the bits end within a code. */
bool huffman_next(const struct huffman_decoder *decoder, struct bit_reader *bits, int32_t *symbol);

#endif
