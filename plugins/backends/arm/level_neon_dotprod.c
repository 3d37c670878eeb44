/* SPDX-License-Identifier: MIT */
/* Dot products of 4 int8 (SDOT), from ARMv8.2. */
#include "arm.h"

#define LEVEL neon_dotprod
#define I8_CODES 4
#define I8_MOST 8, 8
#include "tiles.inc"

/* acc[p][v] += the dot product of 4 codes of position p with those of 4 channels. */
#define I8_LANE(LANE)                                                                              \
    {                                                                                              \
        int8x16_t w[MAX_V];                                                                        \
        UNROLL for (int v = 0; v < V; v++) {                                                       \
            w[v] = vld1q_s8(weights + ((LANE)*V + v) * 16);                                        \
        }                                                                                          \
        UNROLL for (int p = 0; p < P; p++) {                                                       \
            UNROLL for (int v = 0; v < V; v++) {                                                   \
                PRODUCT("sdot", acc[p][v], w[v], "16b", a[p], "4b[" #LANE "]");                    \
            }                                                                                      \
        }                                                                                          \
    }

INLINE void i8_tile(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                    const int P, const int V) {
    int32x4_t acc[MAX_P][MAX_V];
    UNROLL for (int v = 0; v < V; v++) {
        UNROLL for (int p = 0; p < P; p++) {
            acc[p][v] = vld1q_s32(t->start + 4 * v);
        }
    }
    const int8_t *weights = (const int8_t *)t->weights;
    const int64_t n_bytes = t->k_steps / 4 * 16;
    const int tail = t->k_steps % 4;
    const int8_t *from[MAX_P];
    UNROLL for (int p = 0; p < P; p++) {
        from[p] = (const int8_t *)x + p * t->x_step_bytes;
    }
    for (int32_t r = 0; r < t->n_runs; r++) {
        int8x16_t a[MAX_P];
        int64_t k = t->run_bytes[r];
        const int64_t end = k + n_bytes;
        for (; k < end; k += 16, weights += 64 * V) {
            UNROLL for (int p = 0; p < P; p++) {
                a[p] = vld1q_s8(from[p] + k);
            }
            I8_LANE(0)
            I8_LANE(1)
            I8_LANE(2)
            I8_LANE(3)
        }
        if (tail == 0) {
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
        weights += tail * 16 * V;
    }
    finish_i8(t, y, term, P, V, acc);
}

/* The same where a run is three positions of S bytes; see f32_tile3. */
INLINE void i8_tile3(const struct tiled_tiles *t, const char *x, char *y, const char *term,
                     const int P, const int S) {
    enum { V = 2 };
    int32x4_t acc[MAX_P][MAX_V];
    UNROLL for (int v = 0; v < V; v++) {
        UNROLL for (int p = 0; p < P; p++) {
            acc[p][v] = vld1q_s32(t->start + 4 * v);
        }
    }
    const int8_t *run = (const int8_t *)t->weights;
    for (int32_t r = 0; r < t->n_runs; r++, run += 3 * S * 4 * V) {
        const int8_t *from = (const int8_t *)x + t->run_bytes[r];
        for (int k = 0; k < S; k += 16) {
            int8x16_t at[MAX_P + 2];
            UNROLL for (int p = 0; p < P + 2; p++) {
                at[p] = vld1q_s8(from + p * S + k);
            }
            UNROLL for (int tap = 0; tap < 3; tap++) {
                const int8_t *weights = run + (tap * S + k) * 4 * V;
                const int8x16_t *a = at + tap;
                I8_LANE(0)
                I8_LANE(1)
                I8_LANE(2)
                I8_LANE(3)
            }
        }
    }
    finish_i8(t, y, term, P, V, acc);
}

INLINE int8x16_t load_i8(const char *x) {
    return vld1q_s8((const int8_t *)x);
}

/* One position; see f32_single. */
static void i8_single(const struct tiled_tiles *t) {
    int32x4_t acc[SINGLE_BLOCKS][MAX_V];
    const char *weights[SINGLE_BLOCKS];
    UNROLL for (int b = 0; b < SINGLE_BLOCKS; b++) {
        weights[b] = t->weights + b * t->block_bytes;
        acc[b][0] = vld1q_s32(t->start + 8 * b);
        acc[b][1] = vld1q_s32(t->start + 8 * b + 4);
    }
    const char *x = t->x;
    int32_t k = 0;
    for (; k + 4 <= t->k_steps; k += 4, x += 16) {
        int8x16_t a = load_i8(x);
        SINGLE_LANE("sdot", int8x16_t, load_i8, "16b", "4b", 0)
        SINGLE_LANE("sdot", int8x16_t, load_i8, "16b", "4b", 1)
        SINGLE_LANE("sdot", int8x16_t, load_i8, "16b", "4b", 2)
        SINGLE_LANE("sdot", int8x16_t, load_i8, "16b", "4b", 3)
        UNROLL for (int b = 0; b < SINGLE_BLOCKS; b++) {
            weights[b] += 128;
        }
    }
    for (; k < t->k_steps; k++, x += 4) {
        int8x16_t a = load_i8(x);
        SINGLE_LANE("sdot", int8x16_t, load_i8, "16b", "4b", 0)
        UNROLL for (int b = 0; b < SINGLE_BLOCKS; b++) {
            weights[b] += 32;
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
TABLE(i8)
TABLE3(i8, 7, 8, 16, 32, 64)
#include "dispatch.inc"
#include "steps.inc"
