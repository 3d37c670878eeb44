/* SPDX-License-Identifier: MIT */
/* Matrix products of int8 (SMMLA): 2 positions by 8 codes times 8 codes by 2 channels. From
 * ARMv8.6, an option before. */
#include "arm.h"

#define LEVEL neon_i8mm
#define I8_CODES 8
#define I8_MOST 8, 8
#include "tiles.inc"

/* A part is the weights of 8 codes by 2 channels. */
#define W4_CODES 8
#define PART(LANE, K) ((K) / 8 * 2 + (LANE) / 2)
#define PLACE(LANE, K) (8 * ((LANE) % 2) + (K) % 8)
#define I8_AT(PART, VEC, V) (((PART) / 2 * (V) + (VEC)) * 2 + (PART) % 2)
#define W4_AT(PART, VEC, V) ((PART) / 2 * (V) + (VEC))
#define HAS_W1 1
#include "narrow.inc"

/* Half the positions, rounded up. */
#define PAIRS ((P + 1) / 2)

INLINE int8x16_t low_halves(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
INLINE int8x16_t high_halves(int8x16_t a, int8x16_t b) {
    return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

/* acc[i][c] += positions 2 i and 2 i + 1 times channels 2 c and 2 c + 1, for 8 codes, the first or
 * the second half of a chunk. */
#define I8_HALF(HALF)                                                                              \
    UNROLL for (int c = 0; c < 2 * V; c++) {                                                       \
        int8x16_t w = chunk_part(&chunk, weights, 2 * (HALF) + c % 2, c / 2, V, BITS);             \
        UNROLL for (int i = 0; i < PAIRS; i++) {                                                   \
            PRODUCT("smmla", acc[i][c], a[i], "16b", w, "16b");                                    \
        }                                                                                          \
    }

INLINE void begin_pairs(const struct tiled_tiles *t, const int P, const int V,
                        int32x4_t acc[MAX_P / 2][2 * MAX_V]) {
    UNROLL for (int c = 0; c < 2 * V; c++) {
        int64x2_t two = vld1q_dup_s64((const int64_t *)(const void *)(t->start + 2 * c));
        UNROLL for (int i = 0; i < PAIRS; i++) {
            acc[i][c] = vreinterpretq_s32_s64(two);
        }
    }
}

/* From 2 by 2 sums to positions. */
INLINE void finish_pairs(const struct tiled_tiles *t, char *y, const char *term, const int P,
                         const int V, int32x4_t acc[MAX_P / 2][2 * MAX_V]) {
    int32x4_t sums[MAX_P + 1][MAX_V];
    UNROLL for (int p = 0; p < P; p++) {
        UNROLL for (int v = 0; v < V; v++) {
            int64x2_t first = vreinterpretq_s64_s32(acc[p / 2][2 * v]);
            int64x2_t second = vreinterpretq_s64_s32(acc[p / 2][2 * v + 1]);
            sums[p][v] = vreinterpretq_s32_s64(p % 2 == 0 ? vzip1q_s64(first, second)
                                                          : vzip2q_s64(first, second));
        }
    }
    finish_i8(t, y, term, P, V, sums);
}

INLINE void i8_any_tile(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                        const int P, const int V, const int BITS) {
    struct chunk chunk = begin_chunks();
    int32x4_t acc[MAX_P / 2][2 * MAX_V];
    begin_pairs(t, P, V, acc);
    const int8_t *weights = (const int8_t *)t->weights;
    const int32_t n_halves = t->k_steps * (step_codes(BITS) / 8);
    const int64_t n_bytes = n_halves / 2 * 16;
    const int tail = n_halves % 2;
    const int8_t *from[MAX_P + 1];
    UNROLL for (int p = 0; p < 2 * PAIRS; p++) {
        /* An odd last position is taken twice, and stored once. */
        from[p] = (const int8_t *)x + (p < P ? p : P - 1) * t->x_step_bytes;
    }
    for (int32_t r = 0; r < t->n_runs; r++) {
        int64_t k = t->run_bytes[r];
        const int64_t end = k + n_bytes;
        for (; k < end; k += 16, weights += chunk_bytes(BITS, V)) {
            int8x16_t a[MAX_P / 2];
            int8x16_t later[MAX_P / 2];
            UNROLL for (int i = 0; i < PAIRS; i++) {
                int8x16_t even = vld1q_s8(from[2 * i] + k);
                int8x16_t odd = vld1q_s8(from[2 * i + 1] + k);
                a[i] = low_halves(even, odd);
                later[i] = high_halves(even, odd);
            }
            begin_chunk(&chunk, weights, V, BITS);
            I8_HALF(0)
            UNROLL for (int i = 0; i < PAIRS; i++) {
                a[i] = later[i];
            }
            I8_HALF(1)
        }
        if (BITS >= 4 && tail > 0) {
            int8x16_t a[MAX_P / 2];
            UNROLL for (int i = 0; i < PAIRS; i++) {
                a[i] = vcombine_s8(vld1_s8(from[2 * i] + k), vld1_s8(from[2 * i + 1] + k));
            }
            I8_HALF(0)
            weights += chunk_bytes(BITS, V) / 2;
        }
    }
    finish_pairs(t, y, term, P, V, acc);
}

/* The same where a run is three positions of S bytes; see f32_tile3. */
INLINE void i8_any_tile3(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                         const int P, const int S, const int BITS) {
    enum { V = 2 };
    struct chunk chunk = begin_chunks();
    int32x4_t acc[MAX_P / 2][2 * MAX_V];
    begin_pairs(t, P, V, acc);
    const int8_t *run = (const int8_t *)t->weights;
    const int64_t n = S / 16;
    for (int32_t r = 0; r < t->n_runs; r++, run += 3 * n * chunk_bytes(BITS, V)) {
        const int8_t *from = (const int8_t *)x + t->run_bytes[r];
        for (int64_t k = 0; k < n; k++) {
            int8x16_t at[MAX_P + 3];
            UNROLL for (int p = 0; p < P + 2; p++) {
                at[p] = vld1q_s8(from + p * S + 16 * k);
            }
            at[P + 2] = at[P + 1]; /* an odd last position is a pair with itself */
            UNROLL for (int tap = 0; tap < 3; tap++) {
                const int8_t *weights = run + (tap * n + k) * chunk_bytes(BITS, V);
                int8x16_t a[MAX_P / 2];
                begin_chunk(&chunk, weights, V, BITS);
                UNROLL for (int i = 0; i < PAIRS; i++) {
                    a[i] = low_halves(at[2 * i + tap], at[2 * i + 1 + tap]);
                }
                I8_HALF(0)
                UNROLL for (int i = 0; i < PAIRS; i++) {
                    a[i] = high_halves(at[2 * i + tap], at[2 * i + 1 + tap]);
                }
                I8_HALF(1)
            }
        }
    }
    finish_pairs(t, y, term, P, V, acc);
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
    TABLE(A)                                                                                       \
    TABLE3(A, 7, 8, 16, 32, 64)
#include "dispatch.inc"
#include "steps.inc"
