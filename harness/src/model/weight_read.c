/* SPDX-License-Identifier: MIT */
/* Weights from a file's tensors. Nothing is trusted: every tensor must have exactly the shape that
 * graph and entry give it, every stream exactly the numbers it is to have. */
#include "core/alloc.h"
#include "model/coded.h"
#include "model/model_file.h"
#include "model/pack.h"
#include "model/weight_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const encoding_names[] = ENCODING_NAMES;

/* ---- tensors ---- */

static pare_status find_tensor(const struct st_file *file, const char *name, const char *suffix,
                               enum st_dtype dtype, int32_t rank, struct error *err,
                               struct st_tensor **out) {
    char full[MAX_TENSOR_NAME_BYTES];
    snprintf(full, sizeof full, "%s%s%s", name, *suffix != '\0' ? "." : "", suffix);
    struct st_tensor *t = st_find(file, full);
    if (t == NULL)
        return error_set(err, PARE_E_FORMAT, "%s: the tensor is missing", full);
    if (t->dtype != dtype)
        return error_set(err, PARE_E_FORMAT, "%s: dtype is %s, wanted %s", full,
                         t->dtype == ST_F32 ? "F32" : "U8", dtype == ST_F32 ? "F32" : "U8");
    if (t->rank != rank)
        return error_set(err, PARE_E_FORMAT, "%s: rank is %d, wanted %d", full, t->rank, rank);
    t->is_used = 1;
    *out = t;
    return PARE_OK;
}

/* The tensor "name" or "name.suffix", which must be there, of this dtype and shape. */
static pare_status take_tensor(const struct st_file *file, const char *name, const char *suffix,
                               enum st_dtype dtype, int32_t rank, const int64_t *dims,
                               struct error *err, const void **data) {
    struct st_tensor *t = NULL;
    pare_status status = find_tensor(file, name, suffix, dtype, rank, err, &t);
    if (status != PARE_OK)
        return status;
    for (int32_t i = 0; i < rank; i++)
        if (t->dims[i] != dims[i])
            return error_set(err, PARE_E_FORMAT, "%s: dimension %d is %lld, wanted %lld", t->name,
                             i, (long long)t->dims[i], (long long)dims[i]);
    *data = t->data;
    return PARE_OK;
}

/* ---- rows of numbers: coded, or of `bits` each ---- */

struct row {
    const char *name;
    bool is_coded;
    int32_t bits;
    struct coded_reader coded;
    struct bit_reader plain;
};

static pare_status open_row(const struct st_file *file, const char *name, const char *suffix,
                            bool is_coded, int32_t bits, struct error *err, struct row *row) {
    struct st_tensor *t = NULL;
    pare_status status = find_tensor(file, name, suffix, ST_U8, 1, err, &t);
    if (status != PARE_OK)
        return status;
    *row = (struct row){.name = t->name, .is_coded = is_coded, .bits = bits};
    if (is_coded)
        return coded_open(t->data, t->n_bytes, t->name, err, &row->coded);
    row->plain = (struct bit_reader){t->data, t->data + t->n_bytes, 0, 0};
    return PARE_OK;
}

/* The next number, which must be at most `most`. `i` of `n`: for messages. */
static pare_status next_in_row(struct row *row, uint32_t most, int64_t i, int64_t n,
                               struct error *err, uint32_t *number) {
    if (!(row->is_coded ? coded_next(&row->coded, number)
                        : bits_get(&row->plain, row->bits, number)))
        return error_set(err, PARE_E_FORMAT, "%s: ends within number %lld of %lld", row->name,
                         (long long)i, (long long)n);
    if (*number > most)
        return error_set(err, PARE_E_FORMAT, "%s: number %lld of %lld is %u, wanted at most %u",
                         row->name, (long long)i, (long long)n, *number, most);
    return PARE_OK;
}

static pare_status close_row(const struct row *row, struct error *err) {
    if (bits_at_end(row->is_coded ? &row->coded.bits : &row->plain))
        return PARE_OK;
    return error_set(err, PARE_E_FORMAT, "%s: goes on after its last number", row->name);
}

/* ---- the entry ---- */

/* How one weight is stored, as its node's JSON says. */
struct layout {
    struct storage storage;
    pare_quant quant; /* without scales */
};

/* Absent: false. "huffman": true. */
static pare_status read_coding(json_t *entry, const char *where, const char *key, struct error *err,
                               bool *is_coded) {
    json_t *value = json_object_get(entry, key);
    const char *text = json_string_value(value);
    if (value != NULL && (text == NULL || strcmp(text, "huffman") != 0))
        return error_set(err, PARE_E_FORMAT, "%s: %s is \"%.20s\", wanted huffman", where, key,
                         text != NULL ? text : "(not a string)");
    *is_coded = value != NULL;
    return PARE_OK;
}

static pare_status read_encoding(json_t *entry, const struct weight_store *w, struct error *err,
                                 struct storage *s) {
    const char *encoding = json_string_value(json_object_get(entry, "encoding"));
    int found = 0;
    while (found < N_ENCODINGS &&
           (encoding == NULL || strcmp(encoding, encoding_names[found]) != 0))
        found++;
    if (found == N_ENCODINGS)
        return error_set(err, PARE_E_FORMAT,
                         "%s: encoding is \"%.20s\", wanted dense, zeros, bitmap, 2:4 or relative",
                         w->name, encoding != NULL ? encoding : "(missing)");
    s->encoding = (enum encoding)found;
    if (s->encoding == ENCODING_PAIRS && w->view.n_elems % 4 != 0)
        return error_set(err, PARE_E_FORMAT, "%s: encoding is 2:4, of %lld elements", w->name,
                         (long long)w->view.n_elems);
    return PARE_OK;
}

/* What only encoding "relative" has, and must have. */
static pare_status read_relative(json_t *entry, const struct weight_store *w, struct error *err,
                                 struct storage *s) {
    int32_t kept = 0;
    pare_status status = json_get_int(entry, w->name, "kept", err, &kept);
    if (status == PARE_OK)
        status = json_get_int(entry, w->name, "gap_bits", err, &s->gap_bits);
    if (status == PARE_OK && (kept < 0 || kept > w->view.n_elems))
        return error_set(err, PARE_E_FORMAT, "%s: kept is %d, wanted 0..%lld", w->name, kept,
                         (long long)w->view.n_elems);
    if (status == PARE_OK && (s->gap_bits < 1 || s->gap_bits > MAX_GAP_BITS))
        return error_set(err, PARE_E_FORMAT, "%s: gap_bits is %d, wanted 1..%d", w->name,
                         s->gap_bits, MAX_GAP_BITS);
    s->n_stored = kept;
    return status;
}

static pare_status read_storage(json_t *entry, const struct weight_store *w, struct error *err,
                                struct storage *s) {
    bool is_relative, has_codebook = json_object_get(entry, "codebook") != NULL;
    pare_status status = read_encoding(entry, w, err, s);
    if (status == PARE_OK)
        status = read_coding(entry, w->name, "gaps", err, &s->gaps_are_coded);
    if (status == PARE_OK)
        status = read_coding(entry, w->name, "values", err, &s->values_are_coded);
    if (status == PARE_OK && has_codebook)
        status = json_get_int(entry, w->name, "codebook", err, &s->codebook_elems);
    if (status != PARE_OK)
        return status;
    if (has_codebook && (s->codebook_elems < 1 || s->codebook_elems > MAX_CODEBOOK_ELEMS))
        return error_set(err, PARE_E_FORMAT, "%s: codebook is %d, wanted 1..%d", w->name,
                         s->codebook_elems, MAX_CODEBOOK_ELEMS);
    is_relative = s->encoding == ENCODING_RELATIVE;
    if (!is_relative && (s->gaps_are_coded || json_object_get(entry, "kept") != NULL ||
                         json_object_get(entry, "gap_bits") != NULL))
        return error_set(err, PARE_E_FORMAT,
                         "%s: gaps, kept and gap_bits are for encoding relative only", w->name);
    return is_relative ? read_relative(entry, w, err, s) : PARE_OK;
}

static pare_status read_quant(json_t *entry, const struct weight_store *w, struct error *err,
                              struct layout *layout) {
    pare_quant *q = &layout->quant;
    if (json_object_get(entry, "bits") == NULL && json_object_get(entry, "qmax") == NULL &&
        json_object_get(entry, "axis") == NULL)
        return PARE_OK;
    pare_status status = json_get_int(entry, w->name, "bits", err, &q->bits);
    if (status == PARE_OK)
        status = json_get_int(entry, w->name, "qmax", err, &q->qmax);
    if (status == PARE_OK)
        status = json_get_int(entry, w->name, "axis", err, &q->axis);
    if (status == PARE_OK && (q->bits < 1 || q->bits > 16 || q->qmax < 1 || q->qmax > INT16_MAX))
        status = error_set(err, PARE_E_FORMAT, "%s: bits is %d and qmax %d, wanted 1..16 and 1..%d",
                           w->name, q->bits, q->qmax, INT16_MAX);
    if (status == PARE_OK && layout->storage.codebook_elems > 0)
        status = error_set(err, PARE_E_FORMAT, "%s: has both bits and a codebook", w->name);
    q->qmin = -q->qmax;
    q->n = q->axis == 0 ? (int32_t)w->view.dims[0] : 1;
    return status;
}

static pare_status read_layout(json_t *entry, const struct weight_store *w, struct error *err,
                               struct layout *layout) {
    static const char *const keys[] = {"encoding", "bits", "qmax",   "axis",     "kept",
                                       "gap_bits", "gaps", "values", "codebook", NULL};
    *layout = (struct layout){.storage = {.n_stored = w->view.n_elems}};
    if (entry == NULL)
        return PARE_OK;
    pare_status status = json_check_keys(entry, w->name, keys, err);
    if (status == PARE_OK)
        status = read_storage(entry, w, err, &layout->storage);
    return status == PARE_OK ? read_quant(entry, w, err, layout) : status;
}

/* ---- which elements are kept ---- */

static pare_status read_bitmap(const struct st_file *file, struct weight_store *w,
                               struct error *err) {
    const void *bits = NULL;
    int64_t n_bytes = (w->view.n_elems + 7) / 8;
    pare_status status = take_tensor(file, w->name, "mask", ST_U8, 1, &n_bytes, err, &bits);
    if (status == PARE_OK && !pack_read_mask(bits, w->view.n_elems, w->mask))
        status = error_set(err, PARE_E_FORMAT, "%s.mask: bits after the last element are not 0",
                           w->name);
    return status;
}

static pare_status read_pairs(const struct st_file *file, struct weight_store *w,
                              struct error *err) {
    const void *pairs = NULL;
    int64_t n_bytes = storage_pairs_bytes(w->view.n_elems);
    pare_status status = take_tensor(file, w->name, "pairs", ST_U8, 1, &n_bytes, err, &pairs);
    if (status == PARE_OK && !storage_read_pairs(pairs, w->view.n_elems, w->mask))
        status = error_set(err, PARE_E_FORMAT, "%s.pairs: a byte is no three pairs", w->name);
    return status;
}

static pare_status read_gaps(const struct st_file *file, struct weight_store *w,
                             const struct storage *s, struct error *err) {
    const uint32_t filler = (UINT32_C(1) << s->gap_bits) - 1;
    struct row row;
    int64_t at = 0, k = 0, n = w->view.n_elems;
    memset(w->mask, 0, (size_t)n);
    pare_status status = open_row(file, w->name, "gaps", s->gaps_are_coded, s->gap_bits, err, &row);
    while (k < s->n_stored && status == PARE_OK) {
        uint32_t gap = 0;
        status = next_in_row(&row, filler, k, s->n_stored, err, &gap);
        if (status != PARE_OK)
            break;
        at += gap;
        if (at >= n)
            return error_set(err, PARE_E_FORMAT,
                             "%s: kept element %lld of %lld is at %lld, beyond the %lld there are",
                             row.name, (long long)k, (long long)s->n_stored, (long long)at,
                             (long long)n);
        if (gap == filler)
            continue;
        w->mask[at++] = 1;
        k++;
    }
    return status == PARE_OK ? close_row(&row, err) : status;
}

/* Into the mask buffer; s->n_stored becomes how many there are. */
static pare_status read_places(const struct st_file *file, struct weight_store *w,
                               struct storage *s, struct error *err) {
    if (s->encoding <= ENCODING_ZEROS)
        return PARE_OK;
    pare_status status = weight_make_mask_buffer(w, err);
    if (status == PARE_OK)
        status = s->encoding == ENCODING_BITMAP  ? read_bitmap(file, w, err)
                 : s->encoding == ENCODING_PAIRS ? read_pairs(file, w, err)
                                                 : read_gaps(file, w, s, err);
    s->n_stored = 0;
    for (int64_t i = 0; i < w->view.n_elems && status == PARE_OK; i++)
        s->n_stored += w->mask[i];
    return status;
}

static bool is_stored(const struct storage *s, const struct weight_store *w, int64_t i) {
    return s->encoding <= ENCODING_ZEROS || w->mask[i] != 0;
}

/* ---- values ---- */

static pare_status read_plain_floats(const struct st_file *file, struct weight_store *w,
                                     const struct storage *s, struct error *err) {
    const void *bytes = NULL;
    bool sparse = s->encoding > ENCODING_ZEROS;
    pare_status status =
        sparse ? take_tensor(file, w->name, "values", ST_F32, 1, &s->n_stored, err, &bytes)
               : take_tensor(file, w->name, "", ST_F32, w->view.rank, w->view.dims, err, &bytes);
    const uint8_t *from = bytes;
    for (int64_t i = 0; i < w->view.n_elems && status == PARE_OK; i++) {
        w->data[i] = 0.0f;
        if (!is_stored(s, w, i))
            continue;
        memcpy(&w->data[i], from, sizeof(float)); /* a file's tensors need not be aligned */
        from += sizeof(float);
    }
    return status;
}

/* Coded floats, or indices into a codebook. */
static pare_status read_number_floats(const struct st_file *file, struct weight_store *w,
                                      const struct storage *s, struct error *err) {
    const uint32_t most = s->codebook_elems > 0 ? (uint32_t)s->codebook_elems - 1 : UINT32_MAX;
    const int64_t codebook_elems = s->codebook_elems;
    const void *codebook = NULL;
    struct row row;
    int64_t k = 0;
    pare_status status = PARE_OK;
    if (codebook_elems > 0)
        status = take_tensor(file, w->name, "codebook", ST_F32, 1, &codebook_elems, err, &codebook);
    if (status == PARE_OK)
        status = open_row(file, w->name, s->values_are_coded ? "coded" : "index",
                          s->values_are_coded, storage_index_bits(s->codebook_elems), err, &row);
    for (int64_t i = 0; i < w->view.n_elems && status == PARE_OK; i++) {
        uint32_t number = 0;
        w->data[i] = 0.0f;
        if (!is_stored(s, w, i))
            continue;
        status = next_in_row(&row, most, k++, s->n_stored, err, &number);
        if (codebook_elems > 0 && status == PARE_OK)
            memcpy(&w->data[i], (const uint8_t *)codebook + number * sizeof(float), sizeof(float));
        else
            w->data[i] = storage_to_float(number);
    }
    return status == PARE_OK ? close_row(&row, err) : status;
}

static pare_status read_floats(struct model *model, const struct st_file *file,
                               struct weight_store *w, const struct storage *s, struct error *err) {
    pare_status status = s->values_are_coded || s->codebook_elems > 0
                             ? read_number_floats(file, w, s, err)
                             : read_plain_floats(file, w, s, err);
    return status == PARE_OK ? model_set_weight(model, w->view.index, w->data, err) /* checks */
                             : status;
}

/* Codes (n_stored) as they lie in the file. */
static pare_status read_packed(const struct st_file *file, const struct weight_store *w,
                               const struct layout *layout, struct error *err, int16_t *codes) {
    const void *packed = NULL;
    int64_t bad = 0, n = layout->storage.n_stored;
    int64_t n_bytes = (int64_t)pack_n_bytes(layout->quant.bits, n);
    pare_status status = take_tensor(file, w->name, "packed", ST_U8, 1, &n_bytes, err, &packed);
    if (status == PARE_OK &&
        !pack_read_codes(packed, n, layout->quant.bits, layout->quant.qmax, codes, &bad))
        status = error_set(err, PARE_E_FORMAT,
                           "%s.packed: code %lld of %lld is out of range, or bits after "
                           "the last are not 0",
                           w->name, (long long)bad, (long long)n);
    return status;
}

static pare_status read_coded_codes(const struct st_file *file, const struct weight_store *w,
                                    const struct layout *layout, struct error *err,
                                    int16_t *codes) {
    const pare_quant *q = &layout->quant;
    const uint32_t most = q->bits == 1 ? 1 : 2 * (uint32_t)q->qmax;
    struct row row;
    pare_status status = open_row(file, w->name, "coded", true, 0, err, &row);
    for (int64_t k = 0; k < layout->storage.n_stored && status == PARE_OK; k++) {
        uint32_t number = 0;
        status = next_in_row(&row, most, k, layout->storage.n_stored, err, &number);
        if (status == PARE_OK)
            pack_from_unsigned(number, q->bits, q->qmax, &codes[k]);
    }
    return status == PARE_OK ? close_row(&row, err) : status;
}

/* Codes (n_elems), 0 where nothing is stored. */
static pare_status unpack_codes(const struct st_file *file, const struct weight_store *w,
                                const struct layout *layout, struct error *err, int16_t *codes) {
    int64_t n = layout->storage.n_stored;
    pare_status status = layout->storage.values_are_coded
                             ? read_coded_codes(file, w, layout, err, codes)
                             : read_packed(file, w, layout, err, codes);
    if (status != PARE_OK || layout->storage.encoding <= ENCODING_ZEROS)
        return status;
    for (int64_t i = w->view.n_elems - 1; i >= 0; i--) /* spread from the end, in place */
        codes[i] = w->mask[i] != 0 ? codes[--n] : 0;
    return PARE_OK;
}

static pare_status read_codes(struct model *model, const struct st_file *file,
                              struct weight_store *w, struct layout *layout, struct error *err) {
    const void *bytes = NULL;
    int64_t n_scales = layout->quant.n;
    int16_t *codes = alloc_array((size_t)w->view.n_elems, sizeof *codes);
    float *scale = alloc_array((size_t)n_scales, sizeof *scale);
    pare_status status = codes == NULL || scale == NULL
                             ? error_set(err, PARE_E_NOMEM, "%s: out of memory", w->name)
                             : unpack_codes(file, w, layout, err, codes);
    if (status == PARE_OK)
        status = take_tensor(file, w->name, "scale", ST_F32, 1, &n_scales, err, &bytes);
    if (status == PARE_OK) {
        memcpy(scale, bytes, (size_t)n_scales * sizeof *scale);
        layout->quant.scale = scale;
        status = model_set_weight_quant(model, w->view.index, &layout->quant, codes, err);
    }
    free(codes);
    free(scale);
    return status;
}

pare_status weight_read(struct model *model, const struct st_file *file, json_t *entry,
                        struct weight_store *w, struct error *err) {
    struct layout layout;
    struct storage *s = &layout.storage;
    pare_status status = read_layout(entry, w, err, &layout);
    if (status == PARE_OK)
        status = read_places(file, w, s, err);
    if (status == PARE_OK)
        status = layout.quant.bits == 0 ? read_floats(model, file, w, s, err)
                                        : read_codes(model, file, w, &layout, err);
    if (status != PARE_OK || s->encoding == ENCODING_DENSE)
        return status;
    if (s->encoding == ENCODING_ZEROS) {
        status = weight_make_mask_buffer(w, err);
        for (int64_t i = 0; i < w->view.n_elems && status == PARE_OK; i++)
            w->mask[i] = w->data[i] != 0.0f;
    }
    return status == PARE_OK ? model_set_mask(model, w->view.index, w->mask, err) : status;
}
