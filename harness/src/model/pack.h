/* SPDX-License-Identifier: MIT */
/* Codes and masks as the bits that files hold. README.md of this folder has the layout. */
#ifndef MODEL_PACK_H
#define MODEL_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that n codes of `bits` take: 5 codes per byte for 2 bits (ternary), n * bits bits
 * otherwise. */
size_t pack_n_bytes(int32_t bits, int64_t n);

/* One code without its sign: 0 .. 2 qmax, or for binary 0 (-1) and 1 (+1). And back; false: there
 * is no such code. */
uint32_t pack_to_unsigned(int16_t code, int32_t bits, int32_t qmax);
bool pack_from_unsigned(uint32_t u, int32_t bits, int32_t qmax, int16_t *code);

/* codes (n), each in [-qmax, qmax] -> out (pack_n_bytes). */
void pack_codes(const int16_t *codes, int64_t n, int32_t bits, int32_t qmax, uint8_t *out);

/* The other way. False, with *bad the index, at the first code that is out of range; *bad == n: the
 * unused bits at the end are not 0. */
bool pack_read_codes(const uint8_t *in, int64_t n, int32_t bits, int32_t qmax, int16_t *codes,
                     int64_t *bad);

/* mask (n) of 0 and 1 -> bits, least significant first, (n + 7) / 8 bytes, and back (false: unused
 * bits at the end are not 0). */
void pack_mask(const uint8_t *mask, int64_t n, uint8_t *out);
bool pack_read_mask(const uint8_t *in, int64_t n, uint8_t *mask);

#endif
