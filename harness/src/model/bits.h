/* SPDX-License-Identifier: MIT */
/* Numbers of any width in a row of bytes: bit i of the row is bit i mod 8 (0: the least
 * significant) of byte i div 8; a number begins with its least significant bit. */
#ifndef MODEL_BITS_H
#define MODEL_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bit_writer {
    uint8_t *out; /* the next byte */
    uint64_t pending;
    int32_t n_pending;
};

/* n in 0..32; the bits of `value` above n are 0. */
static inline void bits_put(struct bit_writer *w, uint32_t value, int32_t n) {
    w->pending |= (uint64_t)value << w->n_pending;
    for (w->n_pending += n; w->n_pending >= 8; w->n_pending -= 8) {
        *w->out++ = (uint8_t)w->pending;
        w->pending >>= 8;
    }
}

/* The last, unfinished byte, its other bits 0. */
static inline void bits_flush(struct bit_writer *w) {
    if (w->n_pending > 0)
        *w->out++ = (uint8_t)w->pending;
    w->pending = 0;
    w->n_pending = 0;
}

struct bit_reader {
    const uint8_t *in, *end;
    uint64_t pending;
    int32_t n_pending;
};

/* n in 0..32. False: fewer are left. */
static inline bool bits_get(struct bit_reader *r, int32_t n, uint32_t *value) {
    for (; r->n_pending < n; r->n_pending += 8) {
        if (r->in == r->end)
            return false;
        r->pending |= (uint64_t)*r->in++ << r->n_pending;
    }
    *value = (uint32_t)(r->pending & ((UINT64_C(1) << n) - 1));
    r->pending >>= n;
    r->n_pending -= n;
    return true;
}

/* Is nothing left but the unused bits of the last byte, all of them 0? */
static inline bool bits_at_end(const struct bit_reader *r) {
    return r->in == r->end && r->n_pending < 8 && r->pending == 0;
}

#endif
