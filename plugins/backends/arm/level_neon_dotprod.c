/* SPDX-License-Identifier: MIT */
/* Dot products of 4 int8 (SDOT), from ARMv8.2. */
#include "arm.h"

#define LEVEL neon_dotprod
#define I8_CODES 4
#define I8_MOST 8, 8
#include "tiles.inc"

/* A part is the weights of 4 codes. */
#define W4_CODES 8
#define PART(LANE, K) ((K) / 4)
#define PLACE(LANE, K) (4 * (LANE) + (K) % 4)
#define I8_AT(PART, VEC, V) ((PART) * (V) + (VEC))
#define W4_AT(PART, VEC, V) ((PART) / 2 * (V) + (VEC))
#define HAS_W1 1
#include "narrow.inc"

/* acc[p][v] += the dot product of 4 codes of position p with those of 4 channels. */
#define I8_LANE(LANE)                                                                              \
    {                                                                                              \
        int8x16_t w[MAX_V];                                                                        \
        UNROLL for (int v = 0; v < V; v++) {                                                       \
            w[v] = chunk_part(&chunk, weights, LANE, v, V, BITS);                                  \
        }                                                                                          \
        UNROLL for (int p = 0; p < P; p++) {                                                       \
            UNROLL for (int v = 0; v < V; v++) {                                                   \
                PRODUCT("sdot", acc[p][v], w[v], "16b", a[p], "4b[" #LANE "]");                    \
            }                                                                                      \
        }                                                                                          \
    }

INLINE void i8_any_tile(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                        const int P, const int V, const int BITS) {
    struct chunk chunk = begin_chunks();
    int32x4_t acc[MAX_P][MAX_V];
    UNROLL for (int v = 0; v < V; v++) {
        UNROLL for (int p = 0; p < P; p++) {
            acc[p][v] = vld1q_s32(t->start + 4 * v);
        }
    }
    const int8_t *weights = (const int8_t *)t->weights;
    const int32_t n_lanes = t->k_steps * (step_codes(BITS) / 4);
    const int64_t n_bytes = n_lanes / 4 * 16;
    const int tail = n_lanes % 4;
    const int8_t *from[MAX_P];
    UNROLL for (int p = 0; p < P; p++) {
        from[p] = (const int8_t *)x + p * t->x_step_bytes;
    }
    for (int32_t r = 0; r < t->n_runs; r++) {
        int8x16_t a[MAX_P];
        int64_t k = t->run_bytes[r];
        const int64_t end = k + n_bytes;
        for (; k < end; k += 16, weights += chunk_bytes(BITS, V)) {
            UNROLL for (int p = 0; p < P; p++) {
                a[p] = vld1q_s8(from[p] + k);
            }
            begin_chunk(&chunk, weights, V, BITS);
            I8_LANE(0)
            I8_LANE(1)
            I8_LANE(2)
            I8_LANE(3)
        }
        if (BITS < 4 || tail == 0) {
            continue;
        }
        /* Up to 12 bytes past the run are read, and not used. */
        UNROLL for (int p = 0; p < P; p++) {
            a[p] = vld1q_s8(from[p] + k);
        }
        I8_LANE(0)
        if (tail > 1) {
            I8_LANE(1)
        }
        if (tail > 2) {
            I8_LANE(2)
        }
        weights += tail * 2 * BITS * V;
    }
    finish_i8(t, y, term, P, V, acc);
}

/* The same where a run is three positions of S bytes; see f32_tile3. */
INLINE void i8_any_tile3(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                         const int P, const int S, const int BITS) {
    enum { V = 2 };
    struct chunk chunk = begin_chunks();
    int32x4_t acc[MAX_P][MAX_V];
    UNROLL for (int v = 0; v < V; v++) {
        UNROLL for (int p = 0; p < P; p++) {
            acc[p][v] = vld1q_s32(t->start + 4 * v);
        }
    }
    const int8_t *run = (const int8_t *)t->weights;
    const int64_t n = S / 16;
    for (int32_t r = 0; r < t->n_runs; r++, run += 3 * n * chunk_bytes(BITS, V)) {
        const int8_t *from = (const int8_t *)x + t->run_bytes[r];
        for (int64_t k = 0; k < n; k++) {
            int8x16_t at[MAX_P + 2];
            UNROLL for (int p = 0; p < P + 2; p++) {
                at[p] = vld1q_s8(from + p * S + 16 * k);
            }
            UNROLL for (int tap = 0; tap < 3; tap++) {
                const int8_t *weights = run + (tap * n + k) * chunk_bytes(BITS, V);
                const int8x16_t *a = at + tap;
                begin_chunk(&chunk, weights, V, BITS);
                I8_LANE(0)
                I8_LANE(1)
                I8_LANE(2)
                I8_LANE(3)
            }
        }
    }
    finish_i8(t, y, term, P, V, acc);
}

/* One position; see f32_single. */
#define I8_OF_BLOCK(B, VEC, LANE) chunk_part(&chunk[B], weights[B], LANE, VEC, 2, BITS)
INLINE void i8_any_single(const struct tiled_tiles *t, const int BITS) {
    int32x4_t acc[SINGLE_BLOCKS][MAX_V];
    const int8_t *weights[SINGLE_BLOCKS];
    struct chunk chunk[SINGLE_BLOCKS];
    UNROLL for (int b = 0; b < SINGLE_BLOCKS; b++) {
        chunk[b] = begin_chunks();
        weights[b] = (const int8_t *)t->weights + b * t->block_bytes;
        acc[b][0] = vld1q_s32(t->start + 8 * b);
        acc[b][1] = vld1q_s32(t->start + 8 * b + 4);
    }
    const int8_t *x = (const int8_t *)t->x;
    const int32_t n_lanes = t->k_steps * (step_codes(BITS) / 4);
    for (int32_t k = 0; k < n_lanes / 4; k++, x += 16) {
        int8x16_t a = vld1q_s8(x);
        UNROLL for (int b = 0; b < SINGLE_BLOCKS; b++) {
            begin_chunk(&chunk[b], weights[b], 2, BITS);
        }
        SINGLE_LANE("sdot", int8x16_t, I8_OF_BLOCK, "16b", "4b", 0)
        SINGLE_LANE("sdot", int8x16_t, I8_OF_BLOCK, "16b", "4b", 1)
        SINGLE_LANE("sdot", int8x16_t, I8_OF_BLOCK, "16b", "4b", 2)
        SINGLE_LANE("sdot", int8x16_t, I8_OF_BLOCK, "16b", "4b", 3)
        UNROLL for (int b = 0; b < SINGLE_BLOCKS; b++) {
            weights[b] += chunk_bytes(BITS, 2);
        }
    }
    const int tail = n_lanes % 4;
    if (BITS >= 4 && tail > 0) {
        /* Up to 12 bytes past the run are read, and not used. */
        int8x16_t a = vld1q_s8(x);
        SINGLE_LANE("sdot", int8x16_t, I8_OF_BLOCK, "16b", "4b", 0)
        if (tail > 1) {
            SINGLE_LANE("sdot", int8x16_t, I8_OF_BLOCK, "16b", "4b", 1)
        }
        if (tail > 2) {
            SINGLE_LANE("sdot", int8x16_t, I8_OF_BLOCK, "16b", "4b", 2)
        }
    }
    struct tiled_tiles block = *t;
    UNROLL for (int b = 0; b < SINGLE_BLOCKS; b++) {
        const int elem_bytes = t->is_f32 ? 4 : 1;
        finish_i8(&block, t->y + b * 8 * elem_bytes, NULL, 1, 2, &acc[b]);
        block.multiplier += 8;
        block.bias += 8;
    }
}

TABLE(f32)
TABLE3(f32, 7, 8, 64, 128, 256)
#define I8_TABLES(A)                                                                               \
    TABLE(A)                                                                                       \
    TABLE3(A, 7, 8, 16, 32, 64)
#include "dispatch.inc"
#include "steps.inc"
