/* SPDX-License-Identifier: MIT */
#include "model/coded.h"

#include <string.h>

enum {
    HEAD_BYTES = 5, /* raw_bits, first (2), n_symbols - 1 (2); then the lengths, 4 bits each */
    MAX_RAW_BITS = 30,
    MAX_FIRST = 65535,
};

static int64_t head_bytes(int32_t n_symbols) {
    return HEAD_BYTES + (n_symbols + 1) / 2;
}

/* ---- choosing ---- */

static void find_range(const uint32_t *numbers, int64_t n, uint32_t *least, uint32_t *most) {
    *least = *most = numbers[0];
    for (int64_t i = 1; i < n; i++) {
        *least = numbers[i] < *least ? numbers[i] : *least;
        *most = numbers[i] > *most ? numbers[i] : *most;
    }
}

/* counts (plan->n_symbols) -> the rest of the plan. */
static void complete(const int64_t *counts, int64_t n, struct coded_plan *plan) {
    int64_t n_bits = n * plan->raw_bits;
    huffman_lengths(counts, plan->n_symbols, plan->lengths);
    for (int32_t i = 0; i < plan->n_symbols; i++)
        n_bits += counts[i] * plan->lengths[i];
    plan->n_bytes = head_bytes(plan->n_symbols) + (n_bits + 7) / 8;
}

void coded_choose(const uint32_t *numbers, int64_t n, struct coded_plan *plan) {
    int64_t counts[HUFFMAN_MAX_SYMBOLS];
    uint32_t least, most;
    find_range(numbers, n, &least, &most);
    plan->n_bytes = INT64_MAX;
    for (int32_t raw = 0; raw <= MAX_RAW_BITS; raw++) {
        struct coded_plan p = {.raw_bits = raw, .first = least >> raw};
        uint64_t n_symbols = (uint64_t)(most >> raw) - p.first + 1;
        if (n_symbols > HUFFMAN_MAX_SYMBOLS || p.first > MAX_FIRST)
            continue;
        p.n_symbols = (int32_t)n_symbols;
        memset(counts, 0, n_symbols * sizeof *counts);
        for (int64_t i = 0; i < n; i++)
            counts[(numbers[i] >> raw) - p.first]++;
        complete(counts, n, &p);
        if (p.n_bytes < plan->n_bytes)
            *plan = p;
        if (n_symbols == 1) /* more raw bits only cost more */
            break;
    }
}

/* ---- writing and reading ---- */

void coded_write(const struct coded_plan *plan, const uint32_t *numbers, int64_t n, uint8_t *out) {
    struct huffman_encoder encoder;
    struct bit_writer bits = {.out = out};
    const uint32_t raw_mask = (UINT32_C(1) << plan->raw_bits) - 1;
    huffman_encoder_init(plan->lengths, plan->n_symbols, &encoder);
    bits_put(&bits, (uint32_t)plan->raw_bits, 8);
    bits_put(&bits, plan->first, 16);
    bits_put(&bits, (uint32_t)plan->n_symbols - 1, 16);
    for (int32_t i = 0; i < plan->n_symbols; i++)
        bits_put(&bits, plan->lengths[i], 4);
    bits_flush(&bits);
    for (int64_t i = 0; i < n; i++) {
        uint32_t symbol = (numbers[i] >> plan->raw_bits) - plan->first;
        bits_put(&bits, encoder.codes[symbol], plan->lengths[symbol]);
        bits_put(&bits, numbers[i] & raw_mask, plan->raw_bits);
    }
    bits_flush(&bits);
}

static pare_status read_lengths(const uint8_t *data, size_t n_bytes, int32_t n_symbols,
                                const char *what, struct error *err, struct coded_reader *reader) {
    uint8_t lengths[HUFFMAN_MAX_SYMBOLS];
    if ((int64_t)n_bytes < head_bytes(n_symbols))
        return error_set(err, PARE_E_FORMAT, "%s: has %zu bytes, its table alone takes %lld", what,
                         n_bytes, (long long)head_bytes(n_symbols));
    for (int32_t i = 0; i < n_symbols; i++)
        lengths[i] = data[HEAD_BYTES + i / 2] >> (i % 2 * 4) & 15;
    if (n_symbols % 2 == 1 && data[HEAD_BYTES + n_symbols / 2] >> 4 != 0)
        return error_set(err, PARE_E_FORMAT, "%s: the table goes on after its last symbol", what);
    if (!huffman_decoder_init(lengths, n_symbols, &reader->huffman))
        return error_set(err, PARE_E_FORMAT,
                         "%s: the lengths of its %d symbols make no complete prefix code", what,
                         n_symbols);
    return PARE_OK;
}

pare_status coded_open(const uint8_t *data, size_t n_bytes, const char *what, struct error *err,
                       struct coded_reader *reader) {
    if (n_bytes < HEAD_BYTES)
        return error_set(err, PARE_E_FORMAT, "%s: has %zu bytes, wanted at least %d", what, n_bytes,
                         HEAD_BYTES);
    int32_t n_symbols = (data[3] | data[4] << 8) + 1;
    if (data[0] > MAX_RAW_BITS || n_symbols > HUFFMAN_MAX_SYMBOLS)
        return error_set(err, PARE_E_FORMAT,
                         "%s: has %d raw bits and %d symbols, wanted at most %d and %d", what,
                         data[0], n_symbols, MAX_RAW_BITS, HUFFMAN_MAX_SYMBOLS);
    *reader = (struct coded_reader){
        .raw_bits = data[0],
        .first = (uint32_t)(data[1] | data[2] << 8),
    };
    if (reader->first + (uint32_t)n_symbols - 1 > UINT32_MAX >> reader->raw_bits)
        return error_set(err, PARE_E_FORMAT, "%s: its numbers have more than 32 bits", what);
    pare_status status = read_lengths(data, n_bytes, n_symbols, what, err, reader);
    if (status == PARE_OK)
        reader->bits = (struct bit_reader){data + head_bytes(n_symbols), data + n_bytes, 0, 0};
    return status;
}

bool coded_next(struct coded_reader *reader, uint32_t *number) {
    int32_t symbol = 0;
    uint32_t low = 0;
    if (!huffman_next(&reader->huffman, &reader->bits, &symbol) ||
        !bits_get(&reader->bits, reader->raw_bits, &low))
        return false;
    *number = (reader->first + (uint32_t)symbol) << reader->raw_bits | low;
    return true;
}
