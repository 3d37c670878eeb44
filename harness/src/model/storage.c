/* SPDX-License-Identifier: MIT */
/* Which way to store a weight takes the fewest bytes. */
#include "model/storage.h"

#include "core/alloc.h"
#include "model/coded.h"
#include "model/pack.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ENTRY_BYTES = 16,        /* what one more tensor or key costs in a deflated header, about */
    GAP_BITS_ABOVE_MEAN = 5, /* widths tried for coded gaps, from that of the mean gap on */
};

static int64_t count_kept(const pare_weight *w) {
    int64_t n = 0;
    for (int64_t i = 0; i < w->n_elems; i++)
        n += w->mask[i] != 0;
    return n;
}

static bool is_zero(const pare_weight *w, int64_t i) {
    return w->quant.bits == 0 ? w->data[i] == 0.0f : w->codes[i] == 0;
}

/* Can the mask be read off the zeros? Not if a kept value is 0. */
static bool zeros_tell_mask(const pare_weight *w) {
    for (int64_t i = 0; i < w->n_elems; i++)
        if (w->mask[i] != 0 && is_zero(w, i))
            return false;
    return true;
}

static bool is_two_of_four(const pare_weight *w) {
    for (int64_t i = 0; i + 4 <= w->n_elems; i += 4)
        if ((w->mask[i] != 0) + (w->mask[i + 1] != 0) + (w->mask[i + 2] != 0) +
                (w->mask[i + 3] != 0) !=
            2)
            return false;
    return w->n_elems % 4 == 0;
}

/* ---- values ---- */

static int64_t plain_bytes(const pare_weight *w, int64_t n) {
    return w->quant.bits == 0 ? n * (int64_t)sizeof(float)
                              : (int64_t)pack_n_bytes(w->quant.bits, n);
}

/* Are its values few? Only layers' weights are looked at: an initial bias of zeros stays a plain
 * tensor. */
static bool shares_values(const pare_weight *w) {
    return w->role == PARE_ROLE_WEIGHT && w->quant.bits == 0;
}

static pare_status try_coded(const pare_weight *w, struct storage *s, int64_t extra,
                             struct error *err, int64_t *least) {
    uint32_t *numbers = NULL;
    struct coded_plan plan;
    struct storage coded = *s;
    pare_status status = storage_numbers(w, &coded, err, &numbers);
    if (status != PARE_OK)
        return status;
    coded_choose(numbers, coded.n_stored, &plan);
    free(numbers);
    coded.values_are_coded = true;
    if (plan.n_bytes + ENTRY_BYTES + extra < *least) {
        *s = coded;
        *least = plan.n_bytes + ENTRY_BYTES + extra;
    }
    return PARE_OK;
}

/* The codebook, with indices plain and coded. */
static pare_status try_codebook(const pare_weight *w, struct storage *s, struct error *err,
                                int64_t *least) {
    float codebook[MAX_CODEBOOK_ELEMS];
    struct storage with = *s;
    with.codebook_elems = storage_codebook(w, s, codebook);
    with.values_are_coded = false;
    if (with.codebook_elems == 0 || (with.codebook_elems == 1 && w->mask == NULL))
        return PARE_OK; /* one value only: nobody has given it others yet */
    int64_t extra = (int64_t)sizeof(float) * with.codebook_elems + 2 * ENTRY_BYTES;
    int64_t index_bits = storage_index_bits(with.codebook_elems) * s->n_stored;
    int64_t n_bytes = extra + (index_bits + 7) / 8;
    if (n_bytes < *least) {
        *s = with;
        *least = n_bytes;
    }
    pare_status status = try_coded(w, &with, extra, err, least);
    if (status == PARE_OK && with.values_are_coded)
        *s = with;
    return status;
}

/* The best way for the values of the elements that s->encoding has. */
static pare_status choose_values(const pare_weight *w, bool may_code, struct storage *s,
                                 struct error *err, int64_t *n_bytes) {
    int64_t least = plain_bytes(w, s->n_stored);
    pare_status status = PARE_OK;
    if (s->n_stored > 0 && may_code)
        status = try_coded(w, s, 0, err, &least);
    if (s->n_stored > 0 && w->quant.bits == 0 && (may_code || shares_values(w)) &&
        status == PARE_OK)
        status = try_codebook(w, s, err, &least);
    if (status == PARE_OK)
        *n_bytes = least;
    return status;
}

/* ---- which elements ---- */

/* Gaps as they are, in the width that takes least. */
static int64_t plain_gaps(const pare_weight *w, struct storage *s) {
    int64_t least = INT64_MAX;
    for (int32_t bits = 1; bits <= MAX_GAP_BITS; bits++) {
        int64_t n_bytes = (storage_gaps(w->mask, w->n_elems, bits, NULL) * bits + 7) / 8;
        if (n_bytes < least) {
            least = n_bytes;
            s->gap_bits = bits;
        }
    }
    return least;
}

static pare_status coded_gaps(const pare_weight *w, struct storage *s, struct error *err,
                              int64_t *least) {
    struct coded_plan plan;
    int32_t first = 1;
    while (first < MAX_GAP_BITS && s->n_stored << (first + 1) <= w->n_elems)
        first++;
    int64_t most = storage_gaps(w->mask, w->n_elems, first, NULL);
    uint32_t *numbers = alloc_array((size_t)most, sizeof *numbers);
    if (numbers == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", w->name);
    for (int32_t bits = first; bits <= first + GAP_BITS_ABOVE_MEAN && bits <= MAX_GAP_BITS;
         bits++) {
        int64_t n = storage_gaps(w->mask, w->n_elems, bits, numbers);
        coded_choose(numbers, n, &plan);
        if (plan.n_bytes + ENTRY_BYTES < *least) {
            *least = plan.n_bytes + ENTRY_BYTES;
            s->gap_bits = bits;
            s->gaps_are_coded = true;
        }
    }
    free(numbers);
    return PARE_OK;
}

/* What says which elements are kept: the best of bitmap, pairs and gaps. */
static pare_status choose_places(const pare_weight *w, struct storage *s, struct error *err,
                                 int64_t *n_bytes) {
    struct storage relative = {.encoding = ENCODING_RELATIVE, .n_stored = s->n_stored};
    int64_t least = (w->n_elems + 7) / 8, gaps = plain_gaps(w, &relative);
    pare_status status = s->n_stored > 0 ? coded_gaps(w, &relative, err, &gaps) : PARE_OK;
    s->encoding = ENCODING_BITMAP;
    if (is_two_of_four(w) && storage_pairs_bytes(w->n_elems) < least) {
        s->encoding = ENCODING_PAIRS;
        least = storage_pairs_bytes(w->n_elems);
    }
    if (gaps + ENTRY_BYTES < least) {
        *s = relative;
        least = gaps + ENTRY_BYTES;
    }
    *n_bytes = least;
    return status;
}

pare_status storage_choose(const pare_weight *w, bool may_code, struct error *err,
                           struct storage *out, int64_t *n_bytes) {
    struct storage dense = {.encoding = ENCODING_DENSE, .n_stored = w->n_elems};
    struct storage sparse = {.encoding = ENCODING_BITMAP};
    int64_t dense_bytes = 0, places = 0, values = 0;
    if (w->mask == NULL) {
        pare_status status = choose_values(w, may_code && w->quant.bits == 0, &dense, err, n_bytes);
        *out = dense;
        return status;
    }
    sparse.n_stored = count_kept(w);
    pare_status status = choose_places(w, &sparse, err, &places);
    if (status == PARE_OK)
        status = choose_values(w, true, &sparse, err, &values);
    dense.encoding = ENCODING_ZEROS;
    if (status == PARE_OK)
        status = choose_values(w, true, &dense, err, &dense_bytes);
    if (status != PARE_OK)
        return status;
    bool zeros = dense_bytes <= places + values + ENTRY_BYTES && zeros_tell_mask(w);
    *out = zeros ? dense : sparse;
    *n_bytes = zeros ? dense_bytes : places + values;
    return PARE_OK;
}

bool storage_is_special(const struct storage *s) {
    return s->gaps_are_coded || s->values_are_coded || s->codebook_elems > 0 ||
           s->encoding >= ENCODING_PAIRS;
}

void storage_name(const struct storage *s, const pare_weight *w, char name[32]) {
    static const char *const places[N_ENCODINGS] = {"", "", "-bitmap", "-2:4", "-relative"};
    snprintf(name, 32, "%s%s%s",
             s->codebook_elems > 0 ? "codebook"
             : w->quant.bits == 0  ? "fp32"
                                   : "packed",
             places[s->encoding], s->gaps_are_coded || s->values_are_coded ? "-huffman" : "");
}
