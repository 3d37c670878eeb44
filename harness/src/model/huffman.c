/* SPDX-License-Identifier: MIT */
#include "model/huffman.h"

#include <stdlib.h>
#include <string.h>

/* A leaf or an inner node of the tree. */
struct branch {
    int64_t count;
    int32_t symbol; /* of leaves; orders those of one count, so that lengths are reproducible */
    int32_t parent;
};

static int by_count(const void *a, const void *b) {
    const struct branch *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return x->symbol - y->symbol;
}

/* Leaves (n, ascending) at 0.., room for inner nodes behind them; both rows ascend as they are
 * made, so the least is at the front of one of them (van Leeuwen 1976). Returns the root. */
static int32_t join(struct branch *tree, int32_t n) {
    int32_t leaf = 0, inner = n;
    for (int32_t made = n; made < 2 * n - 1; made++) {
        tree[made] = (struct branch){.parent = -1};
        for (int k = 0; k < 2; k++) {
            bool is_leaf = leaf < n && (inner == made || tree[leaf].count <= tree[inner].count);
            struct branch *least = &tree[is_leaf ? leaf++ : inner++];
            least->parent = made;
            tree[made].count += least->count;
        }
    }
    return 2 * n - 2;
}

/* Lengths for leaves sorted by count; returns the longest. */
static int32_t measure(struct branch *tree, int32_t n, uint8_t *lengths) {
    int32_t depth[2 * HUFFMAN_MAX_SYMBOLS], longest = 0, root = join(tree, n);
    depth[root] = 0;
    for (int32_t i = root - 1; i >= 0; i--) {
        depth[i] = depth[tree[i].parent] + 1;
        if (depth[i] > longest)
            longest = depth[i];
    }
    for (int32_t i = 0; i < n && longest <= HUFFMAN_MAX_BITS; i++)
        lengths[tree[i].symbol] = (uint8_t)depth[i];
    return longest;
}

void huffman_lengths(const int64_t *counts, int32_t n, uint8_t *lengths) {
    struct branch tree[2 * HUFFMAN_MAX_SYMBOLS];
    int32_t n_used = 0;
    memset(lengths, 0, (size_t)n);
    for (int32_t i = 0; i < n; i++)
        if (counts[i] > 0)
            tree[n_used++] = (struct branch){.count = counts[i], .symbol = i};
    if (n_used < 2)
        return;
    qsort(tree, (size_t)n_used, sizeof *tree, by_count);
    while (measure(tree, n_used, lengths) > HUFFMAN_MAX_BITS)
        for (int32_t i = 0; i < n_used; i++) /* keeps their order; ends at 1 and 2 */
            tree[i].count = tree[i].count / 2 + 1;
}

void huffman_encoder_init(const uint8_t *lengths, int32_t n, struct huffman_encoder *encoder) {
    int32_t counts[HUFFMAN_MAX_BITS + 2] = {0};
    uint32_t next[HUFFMAN_MAX_BITS + 2] = {0};
    for (int32_t i = 0; i < n; i++)
        counts[lengths[i]]++;
    counts[0] = 0;
    for (int32_t bits = 1; bits <= HUFFMAN_MAX_BITS; bits++)
        next[bits] = (next[bits - 1] + (uint32_t)counts[bits - 1]) << 1;
    for (int32_t i = 0; i < n; i++) {
        uint32_t code = lengths[i] > 0 ? next[lengths[i]]++ : 0, reversed = 0;
        for (int32_t k = 0; k < lengths[i]; k++)
            reversed |= (code >> k & 1) << (lengths[i] - 1 - k);
        encoder->codes[i] = (uint16_t)reversed;
    }
}

bool huffman_decoder_init(const uint8_t *lengths, int32_t n, struct huffman_decoder *decoder) {
    int32_t first[HUFFMAN_MAX_BITS + 2] = {0}, left = 1;
    memset(decoder, 0, sizeof *decoder);
    decoder->is_alone = n == 1 && lengths[0] == 0;
    if (decoder->is_alone)
        return true;
    for (int32_t i = 0; i < n; i++)
        decoder->counts[lengths[i]]++;
    decoder->counts[0] = 0;
    for (int32_t bits = 1; bits <= HUFFMAN_MAX_BITS; bits++) {
        left = 2 * left - decoder->counts[bits]; /* codes of this length not yet given away */
        if (left < 0)
            return false;
        first[bits + 1] = first[bits] + decoder->counts[bits];
    }
    for (int32_t i = 0; i < n; i++)
        if (lengths[i] > 0)
            decoder->symbols[first[lengths[i]]++] = (int16_t)i;
    return left == 0;
}

bool huffman_next(const struct huffman_decoder *decoder, struct bit_reader *bits, int32_t *symbol) {
    int32_t code = 0, first = 0, index = 0; /* of the codes of one length: the first, and where */
    if (decoder->is_alone) {
        *symbol = 0;
        return true;
    }
    for (int32_t n = 1; n <= HUFFMAN_MAX_BITS; n++) {
        uint32_t bit = 0;
        if (!bits_get(bits, 1, &bit))
            return false;
        code |= (int32_t)bit;
        if (code - first < decoder->counts[n]) {
            *symbol = decoder->symbols[index + code - first];
            return true;
        }
        index += decoder->counts[n];
        first = (first + decoder->counts[n]) << 1;
        code <<= 1;
    }
    return false;
}
