/* SPDX-License-Identifier: MIT */
/* How a weight lies in a file: which elements are stored, and how their values are. README.md of
 * this folder has the layouts. */
#ifndef MODEL_STORAGE_H
#define MODEL_STORAGE_H

#include "core/error.h"

#include <pare/graph.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which elements have a value of their own in the file. */
enum encoding {
    ENCODING_DENSE,    /* all; nothing is pruned */
    ENCODING_ZEROS,    /* all; those that are 0 are the pruned ones */
    ENCODING_BITMAP,   /* the kept ones; a bit per element says which */
    ENCODING_PAIRS,    /* the kept ones: two of each four elements */
    ENCODING_RELATIVE, /* the kept ones, each with the gap before it */
    N_ENCODINGS
};
#define ENCODING_NAMES                                                                             \
    { "dense", "zeros", "bitmap", "2:4", "relative" }

enum {
    MAX_CODEBOOK_ELEMS = 1024,
    MAX_GAP_BITS = 16,
};

struct storage {
    enum encoding encoding;
    int32_t gap_bits; /* RELATIVE: of one gap; 2^gap_bits - 1 skips so many and keeps nothing */
    bool gaps_are_coded, values_are_coded; /* as coded.h has it; otherwise as they are */
    int32_t codebook_elems; /* floats stored as indices into so many values; 0: no codebook */
    int64_t n_stored;       /* elements that have a value in the file */
};

/* The storage of fewest bytes. Gaps and values are coded, and floats have a codebook, only where
 * something is pruned, or `may_code`, or it is a layer's weight of a few values that all its
 * elements share. */
pare_status storage_choose(const pare_weight *weight, bool may_code, struct error *err,
                           struct storage *out, int64_t *n_bytes);

/* "fp32-bitmap": as model_weight_storage in model.h has it. */
void storage_name(const struct storage *storage, const pare_weight *weight, char name[32]);

/* Is it in a way that only pare reads easily? */
bool storage_is_special(const struct storage *storage);

/* Does element i have a value in the file? */
static inline bool storage_has(const struct storage *s, const pare_weight *w, int64_t i) {
    return s->encoding <= ENCODING_ZEROS || w->mask[i] != 0;
}

/* ---- values as numbers ---- */

/* What is coded in place of a float: exponent, sign and mantissa from the top, as the exponent
 * alone is far from uniform. And back. */
uint32_t storage_from_float(float value);
float storage_to_float(uint32_t number);

/* The distinct values of the stored elements, ascending (-0 before 0), at most MAX_CODEBOOK_ELEMS;
 * returns how many, 0 if there are more. */
int32_t storage_codebook(const pare_weight *w, const struct storage *s, float *codebook);

/* The numbers of the stored elements, in order: (n_stored). Freed by the caller. */
pare_status storage_numbers(const pare_weight *w, const struct storage *s, struct error *err,
                            uint32_t **out);

/* The gaps of a mask as numbers of gap_bits, fillers among them. numbers NULL: only counts. */
int64_t storage_gaps(const uint8_t *mask, int64_t n_elems, int32_t gap_bits, uint32_t *numbers);

/* 2:4: which two of four are kept, 0..5, three such to a byte in base 6. */
int64_t storage_pairs_bytes(int64_t n_elems);
void storage_write_pairs(const uint8_t *mask, int64_t n_elems, uint8_t *out);
/* False: a byte is above 6^3 - 1, or the last has more than there are elements. */
bool storage_read_pairs(const uint8_t *in, int64_t n_elems, uint8_t *mask);

/* Bits of an index into a codebook. */
int32_t storage_index_bits(int32_t codebook_elems);

#endif
