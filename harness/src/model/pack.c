/* SPDX-License-Identifier: MIT */
#include "model/pack.h"

#include <string.h>

size_t pack_n_bytes(int32_t bits, int64_t n) {
    if (bits == 2)
        return (size_t)((n + 4) / 5);
    return (size_t)((n * bits + 7) / 8);
}

uint32_t pack_to_unsigned(int16_t code, int32_t bits, int32_t qmax) {
    return bits == 1 ? (uint32_t)(code > 0) : (uint32_t)(code + qmax);
}

bool pack_from_unsigned(uint32_t u, int32_t bits, int32_t qmax, int16_t *code) {
    if (bits == 1)
        *code = u == 0 ? -1 : 1;
    else if (u <= 2 * (uint32_t)qmax)
        *code = (int16_t)((int32_t)u - qmax);
    else
        return false;
    return true;
}

/* ---- ternary: u0 + 3 u1 + 9 u2 + 27 u3 + 81 u4 in a byte ---- */

static void pack_ternary(const int16_t *codes, int64_t n, uint8_t *out) {
    for (int64_t i = 0; i < n; i += 5) {
        uint32_t byte = 0;
        for (int64_t k = i + 4; k >= i; k--)
            byte = byte * 3 + (k < n ? pack_to_unsigned(codes[k], 2, 1) : 0);
        out[i / 5] = (uint8_t)byte;
    }
}

static bool read_ternary(const uint8_t *in, int64_t n, int16_t *codes, int64_t *bad) {
    for (int64_t i = 0; i < n; i += 5) {
        uint32_t byte = in[i / 5];
        int64_t k = i;
        for (; k < i + 5 && k < n; k++, byte /= 3)
            codes[k] = (int16_t)((int32_t)(byte % 3) - 1);
        if (byte != 0) {
            *bad = k < i + 5 ? n : i;
            return false;
        }
    }
    return true;
}

/* ---- other widths: code i in bits [i*b, (i+1)*b) of the file, least significant first ---- */

void pack_codes(const int16_t *codes, int64_t n, int32_t bits, int32_t qmax, uint8_t *out) {
    uint32_t pending = 0;
    int32_t n_pending = 0;
    if (bits == 2) {
        pack_ternary(codes, n, out);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        pending |= pack_to_unsigned(codes[i], bits, qmax) << n_pending; /* < 8 + 16 bits */
        for (n_pending += bits; n_pending >= 8; n_pending -= 8, pending >>= 8)
            *out++ = (uint8_t)pending;
    }
    if (n_pending > 0)
        *out = (uint8_t)pending;
}

bool pack_read_codes(const uint8_t *in, int64_t n, int32_t bits, int32_t qmax, int16_t *codes,
                     int64_t *bad) {
    uint32_t pending = 0;
    int32_t n_pending = 0;
    if (bits == 2)
        return read_ternary(in, n, codes, bad);
    for (int64_t i = 0; i < n; i++) {
        for (; n_pending < bits; n_pending += 8)
            pending |= (uint32_t)*in++ << n_pending;
        if (!pack_from_unsigned(pending & ((1u << bits) - 1), bits, qmax, &codes[i])) {
            *bad = i;
            return false;
        }
        pending >>= bits;
        n_pending -= bits;
    }
    *bad = n;
    return pending == 0;
}

void pack_mask(const uint8_t *mask, int64_t n, uint8_t *out) {
    memset(out, 0, (size_t)((n + 7) / 8));
    for (int64_t i = 0; i < n; i++)
        out[i / 8] = (uint8_t)(out[i / 8] | (mask[i] != 0) << (i % 8));
}

bool pack_read_mask(const uint8_t *in, int64_t n, uint8_t *mask) {
    for (int64_t i = 0; i < n; i++)
        mask[i] = (in[i / 8] >> (i % 8)) & 1;
    return n % 8 == 0 || in[n / 8] >> (n % 8) == 0;
}
