/* SPDX-License-Identifier: MIT */
/* What every AArch64 has. There is no instruction that adds products of int8 to an int32, so two
 * products are added in int16 (SMULL, SMLAL2) and pairs of those sums in int32 (SADALP). Weights
 * are at least -127, so that |2 a w| <= 2 * 128 * 127 < 2^15. */
#include "arm.h"

#define LEVEL neon
#define I8_CODES 16
#define I8_MOST 4, 3
#include "tiles.inc"

/* A part is the weights of one channel. */
#define W4_CODES 16
#define PART(LANE, K) (LANE)
#define PLACE(LANE, K) (K)
#define I8_AT(PART, VEC, V) (4 * (VEC) + (PART))
#define W4_AT(PART, VEC, V) (2 * (VEC) + (PART) / 2)
#define HAS_W1 0
#include "narrow.inc"

/* Volatile for the reason given at PRODUCT. */
#define LOW_PRODUCTS(TWO, A, W)                                                                    \
    __asm__ volatile("smull %0.8h, %1.8b, %2.8b" : "=w"(TWO) : "w"(A), "w"(W))
#define HIGH_PRODUCTS(TWO, A, W)                                                                   \
    __asm__ volatile("smlal2 %0.8h, %1.16b, %2.16b" : "+w"(TWO) : "w"(A), "w"(W))
#define PAIRS_ADD(ACC, TWO) __asm__ volatile("sadalp %0.4s, %1.8h" : "+w"(ACC) : "w"(TWO))

/* acc[p][c] += 16 codes of position p times those of channel c, in 4 partial sums. */
INLINE void multiply_16(struct chunk *chunk, const int8_t *weights, const int8x16_t *a, const int P,
                        const int V, const int BITS, int32x4_t acc[MAX_P][4 * MAX_V]) {
    int16x8_t two[MAX_P];
    begin_chunk(chunk, weights, V, BITS);
    UNROLL for (int c = 0; c < 4 * V; c++) {
        int8x16_t w = chunk_part(chunk, weights, c % 4, c / 4, V, BITS);
        UNROLL for (int p = 0; p < P; p++) {
            /* The sums of the channel before are ready by now. */
            if (c > 0) {
                PAIRS_ADD(acc[p][c - 1], two[p]);
            }
            LOW_PRODUCTS(two[p], a[p], w);
        }
        UNROLL for (int p = 0; p < P; p++) {
            HIGH_PRODUCTS(two[p], a[p], w);
        }
    }
    UNROLL for (int p = 0; p < P; p++) {
        PAIRS_ADD(acc[p][4 * V - 1], two[p]);
    }
}

INLINE void begin_sums(const int P, const int V, int32x4_t acc[MAX_P][4 * MAX_V]) {
    UNROLL for (int p = 0; p < P; p++) {
        UNROLL for (int c = 0; c < 4 * V; c++) {
            acc[p][c] = vdupq_n_s32(0);
        }
    }
}

INLINE void finish_sums(const struct tiled_tiles *t, char *y, const char *term, const int P,
                        const int V, int32x4_t acc[MAX_P][4 * MAX_V]) {
    int32x4_t sums[MAX_P][MAX_V];
    UNROLL for (int p = 0; p < P; p++) {
        UNROLL for (int v = 0; v < V; v++) {
            int32x4_t *four = &acc[p][4 * v];
            sums[p][v] = vpaddq_s32(vpaddq_s32(four[0], four[1]), vpaddq_s32(four[2], four[3]));
            sums[p][v] = vaddq_s32(sums[p][v], vld1q_s32(t->start + 4 * v));
        }
    }
    finish_i8(t, y, term, P, V, sums);
}

/* acc[p][c] holds 4 partial sums of position p and channel c. */
INLINE void i8_any_tile(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                        const int P, const int V, const int BITS) {
    struct chunk chunk = begin_chunks();
    int32x4_t acc[MAX_P][4 * MAX_V];
    begin_sums(P, V, acc);
    const int8_t *weights = (const int8_t *)t->weights;
    const int64_t n_bytes = (int64_t)t->k_steps * 16;
    const int8_t *from[MAX_P];
    UNROLL for (int p = 0; p < P; p++) {
        from[p] = (const int8_t *)x + p * t->x_step_bytes;
    }
    for (int32_t r = 0; r < t->n_runs; r++) {
        const int64_t end = t->run_bytes[r] + n_bytes;
        for (int64_t k = t->run_bytes[r]; k < end; k += 16, weights += chunk_bytes(BITS, V)) {
            int8x16_t a[MAX_P];
            UNROLL for (int p = 0; p < P; p++) {
                a[p] = vld1q_s8(from[p] + k);
            }
            multiply_16(&chunk, weights, a, P, V, BITS, acc);
        }
    }
    finish_sums(t, y, term, P, V, acc);
}

/* The same where a run is three positions of S bytes: no address is computed. */
INLINE void i8_any_tile3(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                         const int P, const int S, const int BITS) {
    enum { V = 2 };
    struct chunk chunk = begin_chunks();
    int32x4_t acc[MAX_P][4 * MAX_V];
    begin_sums(P, V, acc);
    const int8_t *weights = (const int8_t *)t->weights;
    for (int32_t r = 0; r < t->n_runs; r++) {
        const int8_t *from = (const int8_t *)x + t->run_bytes[r];
        for (int k = 0; k < 3 * S; k += 48, weights += 3 * chunk_bytes(BITS, V)) {
            UNROLL for (int i = 0; i < 3; i++) {
                int8x16_t a[MAX_P];
                UNROLL for (int p = 0; p < P; p++) {
                    a[p] = vld1q_s8(from + p * S + k + 16 * i);
                }
                multiply_16(&chunk, weights + i * chunk_bytes(BITS, V), a, P, V, BITS, acc);
            }
        }
    }
    finish_sums(t, y, term, P, V, acc);
}

/* One position of each block in turn. */
INLINE void i8_any_single(const struct tiled_tiles *t, const int BITS) {
    struct tiled_tiles block = *t;
    for (int b = 0; b < SINGLE_BLOCKS; b++) {
        i8_any_tile(&block, block.x, block.y, NULL, 1, 2, BITS);
        block.weights += t->block_bytes;
        block.start += 8;
        block.multiplier += 8;
        block.bias += 8;
        block.y += t->is_f32 ? 32 : 8;
    }
}

TABLE(f32)
TABLE3(f32, 7, 8, 64, 128, 256)
#define I8_TABLES(A)                                                                               \
    TABLE_I8(A)                                                                                    \
    TABLE3(A, 2, 3, 16, 32, 64)
#include "dispatch.inc"
#include "steps.inc"
