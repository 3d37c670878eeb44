/* SPDX-License-Identifier: MIT */
#include "core/alloc.h"
#include "model/coded.h"
#include "model/model_file.h"
#include "model/pack.h"
#include "model/weight_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const encoding_names[] = ENCODING_NAMES;

static pare_status add_tensor(struct st_writer *writer, const pare_weight *w, const char *suffix,
                              enum st_dtype dtype, int64_t n, struct error *err, void **data) {
    char full[MAX_TENSOR_NAME_BYTES];
    snprintf(full, sizeof full, "%s.%s", w->name, suffix);
    return st_add(writer, full, dtype, 1, &n, err, data);
}

static pare_status add_coded(struct st_writer *writer, const pare_weight *w, const char *suffix,
                             const uint32_t *numbers, int64_t n, struct error *err) {
    struct coded_plan plan;
    void *data = NULL;
    coded_choose(numbers, n, &plan);
    pare_status status = add_tensor(writer, w, suffix, ST_U8, plan.n_bytes, err, &data);
    if (status == PARE_OK)
        coded_write(&plan, numbers, n, data);
    return status;
}

static pare_status add_plain(struct st_writer *writer, const pare_weight *w, const char *suffix,
                             const uint32_t *numbers, int64_t n, int32_t bits, struct error *err) {
    void *data = NULL;
    pare_status status = add_tensor(writer, w, suffix, ST_U8, (n * bits + 7) / 8, err, &data);
    struct bit_writer out = {.out = data};
    for (int64_t i = 0; i < n && status == PARE_OK; i++)
        bits_put(&out, numbers[i], bits);
    if (status == PARE_OK)
        bits_flush(&out);
    return status;
}

/* ---- which elements ---- */

static pare_status add_gaps(struct st_writer *writer, const pare_weight *w, const struct storage *s,
                            struct error *err) {
    int64_t n = storage_gaps(w->mask, w->n_elems, s->gap_bits, NULL);
    uint32_t *numbers = alloc_array((size_t)n, sizeof *numbers);
    if (numbers == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", w->name);
    storage_gaps(w->mask, w->n_elems, s->gap_bits, numbers);
    pare_status status = s->gaps_are_coded
                             ? add_coded(writer, w, "gaps", numbers, n, err)
                             : add_plain(writer, w, "gaps", numbers, n, s->gap_bits, err);
    free(numbers);
    return status;
}

static pare_status add_places(struct st_writer *writer, const pare_weight *w,
                              const struct storage *s, struct error *err) {
    void *data = NULL;
    pare_status status = PARE_OK;
    if (s->encoding == ENCODING_RELATIVE)
        return add_gaps(writer, w, s, err);
    if (s->encoding == ENCODING_BITMAP) {
        status = add_tensor(writer, w, "mask", ST_U8, (w->n_elems + 7) / 8, err, &data);
        if (status == PARE_OK)
            pack_mask(w->mask, w->n_elems, data);
    }
    if (s->encoding == ENCODING_PAIRS) {
        int64_t n = storage_pairs_bytes(w->n_elems);
        status = add_tensor(writer, w, "pairs", ST_U8, n, err, &data);
        if (status == PARE_OK)
            storage_write_pairs(w->mask, w->n_elems, data);
    }
    return status;
}

/* ---- values ---- */

static pare_status add_floats(struct st_writer *writer, const pare_weight *w,
                              const struct storage *s, struct error *err) {
    void *place = NULL;
    pare_status status = s->encoding > ENCODING_ZEROS
                             ? add_tensor(writer, w, "values", ST_F32, s->n_stored, err, &place)
                             : st_add(writer, w->name, ST_F32, w->rank, w->dims, err, &place);
    float *values = place;
    for (int64_t i = 0; i < w->n_elems && status == PARE_OK; i++)
        if (storage_has(s, w, i))
            *values++ = s->encoding == ENCODING_ZEROS && w->mask[i] == 0 ? 0.0f : w->data[i];
    return status;
}

pare_status weight_write_plain(struct st_writer *writer, const pare_weight *w, struct error *err) {
    const struct storage dense = {.encoding = ENCODING_DENSE, .n_stored = w->n_elems};
    return add_floats(writer, w, &dense, err);
}

static pare_status add_packed(struct st_writer *writer, const pare_weight *w,
                              const struct storage *s, struct error *err) {
    void *packed = NULL;
    int16_t *codes = alloc_array((size_t)s->n_stored, sizeof *codes);
    if (codes == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", w->name);
    int64_t k = 0;
    for (int64_t i = 0; i < w->n_elems; i++)
        if (storage_has(s, w, i))
            codes[k++] = w->codes[i];
    int64_t n_bytes = (int64_t)pack_n_bytes(w->quant.bits, s->n_stored);
    pare_status status = add_tensor(writer, w, "packed", ST_U8, n_bytes, err, &packed);
    if (status == PARE_OK)
        pack_codes(codes, s->n_stored, w->quant.bits, w->quant.qmax, packed);
    free(codes);
    return status;
}

static pare_status add_codebook(struct st_writer *writer, const pare_weight *w,
                                const struct storage *s, struct error *err) {
    void *data = NULL;
    pare_status status = add_tensor(writer, w, "codebook", ST_F32, s->codebook_elems, err, &data);
    if (status == PARE_OK)
        storage_codebook(w, s, data);
    return status;
}

/* Coded, or as indices into a codebook. */
static pare_status add_numbers(struct st_writer *writer, const pare_weight *w,
                               const struct storage *s, struct error *err) {
    uint32_t *numbers = NULL;
    pare_status status = storage_numbers(w, s, err, &numbers);
    if (status == PARE_OK)
        status = s->values_are_coded ? add_coded(writer, w, "coded", numbers, s->n_stored, err)
                                     : add_plain(writer, w, "index", numbers, s->n_stored,
                                                 storage_index_bits(s->codebook_elems), err);
    free(numbers);
    return status;
}

pare_status weight_write(struct st_writer *writer, const pare_weight *w, const struct storage *s,
                         struct error *err) {
    void *scale = NULL;
    pare_status status = add_places(writer, w, s, err);
    if (status == PARE_OK && s->codebook_elems > 0)
        status = add_codebook(writer, w, s, err);
    if (status == PARE_OK)
        status = s->values_are_coded || s->codebook_elems > 0 ? add_numbers(writer, w, s, err)
                 : w->quant.bits == 0                         ? add_floats(writer, w, s, err)
                                                              : add_packed(writer, w, s, err);
    if (status != PARE_OK || w->quant.bits == 0)
        return status;
    status = add_tensor(writer, w, "scale", ST_F32, w->quant.n, err, &scale);
    if (status == PARE_OK)
        memcpy(scale, w->quant.scale, (size_t)w->quant.n * sizeof(float));
    return status;
}

/* ---- as JSON ---- */

static void put(json_t *object, const char *key, json_t *value, int *failed) {
    *failed |= json_object_set_new(object, key, value) != 0;
}

json_t *weight_entry(const pare_weight *w, const struct storage *s, int *failed) {
    if (w->mask == NULL && w->quant.bits == 0 && !storage_is_special(s))
        return NULL;
    json_t *entry = json_object();
    put(entry, "encoding", json_string(encoding_names[s->encoding]), failed);
    if (s->encoding == ENCODING_RELATIVE) {
        put(entry, "kept", json_integer(s->n_stored), failed);
        put(entry, "gap_bits", json_integer(s->gap_bits), failed);
    }
    if (s->gaps_are_coded)
        put(entry, "gaps", json_string("huffman"), failed);
    if (s->codebook_elems > 0)
        put(entry, "codebook", json_integer(s->codebook_elems), failed);
    if (s->values_are_coded)
        put(entry, "values", json_string("huffman"), failed);
    if (w->quant.bits == 0)
        return entry;
    put(entry, "bits", json_integer(w->quant.bits), failed);
    put(entry, "qmax", json_integer(w->quant.qmax), failed);
    put(entry, "axis", json_integer(w->quant.axis), failed);
    return entry;
}
