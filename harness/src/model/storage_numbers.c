/* SPDX-License-Identifier: MIT */
/* Values, gaps and pairs as the numbers that files hold. */
#include "core/alloc.h"
#include "model/pack.h"
#include "model/storage.h"

#include <stdlib.h>
#include <string.h>

/* ---- floats ---- */

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

uint32_t storage_from_float(float value) {
    uint32_t bits = bits_of(value);
    return (bits << 1 & 0xff000000u) | bits >> 31 << 23 | (bits & 0x7fffffu);
}

float storage_to_float(uint32_t number) {
    uint32_t bits = (number >> 23 & 1) << 31 | number >> 24 << 23 | (number & 0x7fffffu);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Ascends with the value, -0 before 0. */
static uint32_t rank_of(float value) {
    uint32_t bits = bits_of(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static int by_rank(const void *a, const void *b) {
    uint32_t x = rank_of(*(const float *)a), y = rank_of(*(const float *)b);
    return x < y ? -1 : x > y;
}

int32_t storage_codebook(const pare_weight *w, const struct storage *s, float *codebook) {
    enum { SLOTS = 4 * MAX_CODEBOOK_ELEMS };
    int16_t slots[SLOTS] = {0}; /* 1 + index, by a hash of the value */
    int32_t n = 0;
    for (int64_t i = 0; i < w->n_elems; i++) {
        if (!storage_has(s, w, i))
            continue;
        uint32_t bits = bits_of(w->data[i]), at = (bits * 2654435761u) >> 20;
        while (slots[at] != 0 && bits_of(codebook[slots[at] - 1]) != bits)
            at = (at + 1) % SLOTS;
        if (slots[at] != 0)
            continue;
        if (n == MAX_CODEBOOK_ELEMS)
            return 0;
        codebook[n++] = w->data[i];
        slots[at] = (int16_t)n;
    }
    qsort(codebook, (size_t)n, sizeof *codebook, by_rank);
    return n;
}

int32_t storage_index_bits(int32_t codebook_elems) {
    int32_t bits = 0;
    while (1 << bits < codebook_elems)
        bits++;
    return bits;
}

static uint32_t index_of(float value, const float *codebook, int32_t n) {
    const float *at = bsearch(&value, codebook, (size_t)n, sizeof *codebook, by_rank);
    return (uint32_t)(at - codebook);
}

pare_status storage_numbers(const pare_weight *w, const struct storage *s, struct error *err,
                            uint32_t **out) {
    float codebook[MAX_CODEBOOK_ELEMS];
    int32_t n_codebook = s->codebook_elems > 0 ? storage_codebook(w, s, codebook) : 0;
    uint32_t *numbers = alloc_array((size_t)s->n_stored, sizeof *numbers);
    int64_t k = 0;
    if (numbers == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", w->name);
    for (int64_t i = 0; i < w->n_elems; i++)
        if (storage_has(s, w, i))
            numbers[k++] = w->quant.bits != 0
                               ? pack_to_unsigned(w->codes[i], w->quant.bits, w->quant.qmax)
                           : n_codebook > 0 ? index_of(w->data[i], codebook, n_codebook)
                                            : storage_from_float(w->data[i]);
    *out = numbers;
    return PARE_OK;
}

/* ---- which elements ---- */

int64_t storage_gaps(const uint8_t *mask, int64_t n_elems, int32_t gap_bits, uint32_t *numbers) {
    const int64_t filler = ((int64_t)1 << gap_bits) - 1;
    int64_t n = 0, gap = 0;
    for (int64_t i = 0; i < n_elems; i++) {
        if (mask[i] == 0) {
            gap++;
            continue;
        }
        for (; gap >= filler; gap -= filler, n++)
            if (numbers != NULL)
                numbers[n] = (uint32_t)filler;
        if (numbers != NULL)
            numbers[n] = (uint32_t)gap;
        n++;
        gap = 0;
    }
    return n;
}

enum { PATTERNS = 6, PATTERNS_PER_BYTE = 3 };

/* The two that are kept, as bits. */
static const uint8_t patterns[PATTERNS] = {0x3, 0x5, 0x9, 0x6, 0xa, 0xc};

static uint32_t pattern_of(const uint8_t *mask) {
    uint32_t bits = 0, p = 0;
    for (int k = 0; k < 4; k++)
        bits |= (uint32_t)(mask[k] != 0) << k;
    while (p + 1 < PATTERNS && patterns[p] != bits)
        p++;
    return p;
}

int64_t storage_pairs_bytes(int64_t n_elems) {
    return (n_elems / 4 + PATTERNS_PER_BYTE - 1) / PATTERNS_PER_BYTE;
}

void storage_write_pairs(const uint8_t *mask, int64_t n_elems, uint8_t *out) {
    for (int64_t i = 0, n = n_elems / 4; i < n; i += PATTERNS_PER_BYTE) {
        uint32_t byte = 0;
        for (int64_t k = i + PATTERNS_PER_BYTE - 1; k >= i; k--)
            byte = byte * PATTERNS + (k < n ? pattern_of(&mask[4 * k]) : 0);
        out[i / PATTERNS_PER_BYTE] = (uint8_t)byte;
    }
}

bool storage_read_pairs(const uint8_t *in, int64_t n_elems, uint8_t *mask) {
    for (int64_t i = 0, n = n_elems / 4; i < n; i += PATTERNS_PER_BYTE) {
        uint32_t byte = in[i / PATTERNS_PER_BYTE];
        for (int64_t k = i; k < i + PATTERNS_PER_BYTE && k < n; k++, byte /= PATTERNS)
            for (int e = 0; e < 4; e++)
                mask[4 * k + e] = patterns[byte % PATTERNS] >> e & 1;
        if (byte != 0)
            return false;
    }
    return true;
}
