/* SPDX-License-Identifier: MIT */
/* Every tile kernel of every level on memory that ends right at a protected page: its input (with
 * the bytes that a value's memory has behind it), weights, starts, multipliers, biases, the other
 * term of an add, and its output. Values are small integers, so that floats are exact, too. That a
 * byte too few ends the program is tested as well. */
#include "guard_page.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __x86_64__
#include "x86.h"
static const struct tiled_backend *const levels = &x86_levels;
#endif
#ifdef __aarch64__
#include "arm.h"
static const struct tiled_backend *const levels = &arm_levels;
#endif

#if defined __x86_64__ || defined __aarch64__

enum { MAX_RUNS = 3, ROOM = 1 << 16, BETWEEN = 8 };

static const char *const kind_names[TILED_N_KINDS] = {
    [TILED_F32] = "f32",
    [TILED_I8] = "i8",
    [TILED_I8_W4] = "i8w4",
    [TILED_I8_W2] = "i8w2",
    [TILED_I8_W1] = "i8w1",
    [TILED_B1] = "b1",
    [TILED_B1_MASKED] = "b1 masked",
};

/* What a kernel is given. */
enum output { TO_F32, TO_CODES, TO_SUMS, N_OUTPUTS };
struct work {
    const struct tiled_kernels *kernels;
    const char *isa;
    enum tiled_kind index;
    const struct tiled_product_kind *kind;
    int32_t vectors, positions, n; /* n: output channels */
    int32_t n_runs, elems;         /* of a run */
    int32_t n_blocks;              /* > 1: kind->single */
    enum output output;
    int64_t gap;     /* bytes between positions' outputs */
    int32_t too_few; /* bytes of the weights that lie on the protected page */
};

/* One guarded piece of memory for each role. */
static struct {
    char *x, *weights, *start, *multiplier, *bias, *y, *other;
} end; /* where they end */

static uint64_t seed = 1;
static int32_t between(int32_t lo, int32_t hi) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return lo + (int32_t)((seed >> 33) % (uint64_t)(hi - lo + 1));
}

static int is_signs(const struct work *w) {
    return w->index == TILED_B1 || w->index == TILED_B1_MASKED;
}
static int32_t elem_bytes(const struct work *w) {
    return w->index == TILED_F32 ? 4 : 1;
}
static int64_t run_bytes(const struct work *w) {
    return is_signs(w) ? (w->elems + 7) / 8 : (int64_t)w->elems * elem_bytes(w);
}
static int32_t k_steps(const struct work *w) {
    return (w->elems + w->kind->codes - 1) / w->kind->codes;
}
static int32_t n_channels(const struct work *w) { /* with those that fill vectors */
    return w->kernels->lanes * w->vectors * w->n_blocks;
}

/* ---- inputs ---- */

/* Bytes from one position to the next, and from one run to the next: a run is three positions. */
static int64_t x_step(const struct work *w) {
    return run_bytes(w) % 3 == 0 && !is_signs(w) ? run_bytes(w) / 3 : run_bytes(w);
}
static int64_t x_row(const struct work *w) {
    return (w->positions - 1) * x_step(w) + run_bytes(w);
}
static int64_t x_total(const struct work *w) {
    return w->n_runs * x_row(w);
}
static const char *x_begin(const struct work *w) {
    return end.x - (w->index == TILED_F32 ? 0 : TILED_SLACK_BYTES) - x_total(w);
}

static void fill_x(const struct work *w) {
    char *x = (char *)(uintptr_t)x_begin(w);
    for (int64_t k = 0; k < end.x - x; k++) {
        x[k] = (char)between(-128, 127);
    }
    for (int64_t k = 0; w->index == TILED_F32 && k < x_total(w) / 4; k++) {
        ((float *)(void *)x)[k] = (float)between(-50, 50);
    }
}

/* The real value of element k of a run that begins at `from`. */
static int32_t input_at(const struct work *w, const char *from, int32_t k) {
    if (is_signs(w)) {
        return ((const uint8_t *)from)[k / 8] >> k % 8 & 1 ? 1 : -1;
    }
    if (w->index == TILED_F32) {
        return (int32_t)((const float *)(const void *)from)[k];
    }
    int32_t stored = levels->code_offset > 0 ? (int32_t)((const uint8_t *)from)[k]
                                             : (int32_t)((const int8_t *)from)[k];
    return stored - levels->code_offset;
}

/* ---- weights ---- */

static int32_t random_weight(const struct work *w) {
    int32_t bits = w->kind->bits;
    int32_t most = bits >= 8 ? 127 : (1 << (bits - 1)) - 1;
    return bits == 1 ? 2 * between(0, 1) - 1 : between(-most, most);
}

/* Codes are (channel, run, element); packs them and returns where they begin. */
static const char *pack(const struct work *w, int16_t *codes, float *reals) {
    const int32_t lanes = w->kernels->lanes;
    const int64_t block = (int64_t)w->n_runs * k_steps(w) * w->vectors * w->kind->weight_bytes;
    struct lower_step s = {.weight_codes = codes, .weight_f32 = reals};
    char *packed = end.weights - block * w->n_blocks;
    memset(packed, 0, (size_t)(block * w->n_blocks));
    for (int32_t c = 0; c < w->n * w->n_blocks; c++) {
        for (int32_t k = 0; k < w->n_runs * w->elems; k++) {
            int32_t at = k % w->elems;
            int64_t from = (int64_t)c * w->n_runs * w->elems + k;
            int64_t step = (int64_t)(k / w->elems) * k_steps(w) + at / w->kind->codes;
            int32_t vector = c % (lanes * w->vectors) / lanes;
            codes[from] = (int16_t)random_weight(w);
            reals[from] = (float)codes[from];
            w->kind->put(packed + c / (lanes * w->vectors) * block +
                             (step * w->vectors + vector) * w->kind->weight_bytes,
                         c % lanes, at % w->kind->codes, &s, from);
        }
    }
    if (w->too_few > 0) {
        memmove(packed + w->too_few, packed, (size_t)(block * w->n_blocks - w->too_few));
    }
    return packed + w->too_few;
}

/* ---- a call ---- */

struct expected {
    float multiplier, bias, m_middle, m_other;
    int32_t zero, low, high; /* of the output, as codes */
    int32_t middle_low, middle_high, other_zero;
};

static int32_t clamp_round(float x, int32_t low, int32_t high, int32_t zero) {
    return (int32_t)fminf(fmaxf(rintf(x), (float)(low - zero)), (float)(high - zero)) + zero;
}

/* The parameters of all channels, those that fill vectors included. */
static void fill_params(const struct work *w, const struct expected *e, const int16_t *codes,
                        struct tiled_tiles *t) {
    const int32_t n = n_channels(w);
    int32_t *start = (int32_t *)(void *)end.start - n;
    float *multiplier = (float *)(void *)end.multiplier - n;
    float *bias = (float *)(void *)end.bias - n;
    const int32_t each = w->n_runs * w->elems;
    for (int32_t c = 0; c < n; c++) {
        int64_t sum = 0;
        for (int32_t k = 0; k < each && c < w->n * w->n_blocks; k++) {
            sum += codes[(int64_t)c * each + k];
        }
        start[c] = is_signs(w) ? each / 2 : (int32_t)(-levels->code_offset * sum * w->kind->scale);
        multiplier[c] = is_signs(w) ? 2 * e->multiplier : e->multiplier / (float)w->kind->scale;
        bias[c] = w->index == TILED_F32 ? (float)(c % 7) : e->bias * (float)(c % 7);
    }
    t->start = start;
    t->multiplier = multiplier;
    t->bias = bias;
}

static int64_t out_bytes(const struct work *w) { /* of a channel */
    return w->output == TO_F32 ? 4 : 1;
}
static int64_t y_step(const struct work *w) {
    return w->n * w->n_blocks * out_bytes(w) + w->gap;
}
static int64_t y_total(const struct work *w) {
    return (w->positions - 1) * y_step(w) + w->n * w->n_blocks * out_bytes(w);
}

static void set_output(const struct work *w, const struct expected *e, struct tiled_tiles *t) {
    const int64_t others = (int64_t)w->positions * w->n;
    t->y = end.y - y_total(w);
    t->y_step_bytes = y_step(w);
    t->n = w->n_blocks > 1 ? n_channels(w) / w->n_blocks : w->n;
    t->is_f32 = w->output == TO_F32;
    t->zero = e->zero + levels->code_offset;
    t->stored_low = e->low + levels->code_offset;
    t->stored_high = e->high + levels->code_offset;
    t->high = (float)(e->high - e->zero);
    if (w->output == TO_SUMS) {
        char *other = end.other - TILED_SLACK_BYTES - others;
        for (int64_t k = 0; k < others; k++) {
            other[k] = (char)between(-128, 127);
        }
        t->other = other;
        t->other_step_bytes = w->n;
        t->other_zero = e->other_zero + levels->code_offset;
        t->middle_low = (float)e->middle_low;
        t->middle_high = (float)e->middle_high;
        t->m_middle = e->m_middle;
        t->m_other = e->m_other;
    }
}

static int32_t stored_code(const char *at) {
    return (levels->code_offset > 0 ? (int32_t) * (const uint8_t *)at
                                    : (int32_t) * (const int8_t *)at) -
           levels->code_offset;
}

static void check_one(const struct work *w, const struct expected *e, const struct tiled_tiles *t,
                      int32_t position, int32_t c, int64_t acc) {
    const char *y = t->y + position * t->y_step_bytes + c * out_bytes(w);
    float got;
    float product = (float)acc * e->multiplier;
    float wanted = w->index == TILED_F32 ? (float)acc + t->bias[c] : product + t->bias[c];
    if (w->output == TO_F32) {
        memcpy(&got, y, sizeof got);
    } else {
        if (w->output == TO_SUMS) {
            int32_t own = clamp_round(wanted, e->middle_low, e->middle_high, 0);
            int32_t other = stored_code(t->other + position * t->other_step_bytes + c);
            float left = (float)own * e->m_middle;
            float right = (float)(other - e->other_zero) * e->m_other;
            wanted = left + right;
        }
        wanted = (float)clamp_round(wanted, e->low, e->high, e->zero);
        got = (float)stored_code(y);
    }
    if (memcmp(&got, &wanted, sizeof got) != 0) {
        fail_msg("%s, %s, %d vectors, %d positions, %d blocks, %d channels, %d runs of %d, output "
                 "%d: position %d channel %d is %.9g, wanted %.9g",
                 w->isa, kind_names[w->index], w->vectors, w->positions, w->n_blocks, w->n,
                 w->n_runs, w->elems, (int)w->output, position, c, (double)got, (double)wanted);
    }
}

static void check_gaps(const struct work *w, const struct tiled_tiles *t) {
    for (int32_t p = 0; p + 1 < w->positions; p++) {
        const char *after = t->y + (p + 1) * t->y_step_bytes - w->gap;
        for (int64_t k = 0; k < w->gap; k++) {
            assert_int_equal(after[k], 0x55);
        }
    }
    for (int64_t k = 1; k <= BETWEEN; k++) {
        assert_int_equal(t->y[-k], 0x55);
    }
}

static void check(const struct work *w) {
    const struct expected e = {.multiplier = 0.0078125f * 3,
                               .bias = 0.3f,
                               .m_middle = 0.71f,
                               .m_other = 0.43f,
                               .zero = -5,
                               .low = -100,
                               .high = 117,
                               .middle_low = -60,
                               .middle_high = 80,
                               .other_zero = 9};
    const int32_t each = w->n_runs * w->elems;
    int16_t *codes = calloc((size_t)n_channels(w) * (size_t)each, sizeof *codes);
    float *reals = calloc((size_t)n_channels(w) * (size_t)each, sizeof *reals);
    int64_t runs[MAX_RUNS];
    assert_true(codes != NULL && reals != NULL);
    struct tiled_tiles t = {.x = x_begin(w),
                            .x_step_bytes = x_step(w),
                            .n_tiles = 1,
                            .n_rows = 1,
                            .n_runs = w->n_runs,
                            .k_steps = k_steps(w),
                            .run_bytes = runs};
    for (int32_t r = 0; r < w->n_runs; r++) {
        runs[r] = r * x_row(w);
    }
    fill_x(w);
    t.weights = pack(w, codes, reals);
    t.block_bytes = (int64_t)w->n_runs * t.k_steps * w->vectors * w->kind->weight_bytes;
    fill_params(w, &e, codes, &t);
    memset(end.y - y_total(w) - BETWEEN, 0x55, (size_t)(y_total(w) + BETWEEN));
    set_output(w, &e, &t);
    tiled_tile_kernel kernel = w->n_blocks > 1 ? w->kind->single(w->n_blocks)
                                               : w->kind->tile(&t, w->vectors, w->positions);
    assert_non_null(kernel);
    kernel(&t);
    for (int32_t p = 0; p < w->positions; p++) {
        for (int32_t c = 0; c < w->n * w->n_blocks; c++) {
            int64_t acc = 0;
            for (int32_t k = 0; k < each; k++) {
                const char *from = t.x + p * t.x_step_bytes + runs[k / w->elems];
                acc += (int64_t)input_at(w, from, k % w->elems) * codes[(int64_t)c * each + k];
            }
            check_one(w, &e, &t, p, c, acc);
        }
    }
    check_gaps(w, &t);
    free(codes);
    free(reals);
}

/* ---- the table ---- */

/* Runs of one element, of whole steps and not, of three positions that have kernels of their own.
 */
static void check_runs(struct work w) {
    static const int32_t lengths[] = {1, 2, 5, 17, 33, 48, 64, 99, 128};
    const enum output first = TO_F32;
    const enum output last = w.index == TILED_F32 ? TO_F32 : w.n_blocks > 1 ? TO_CODES : TO_SUMS;
    int needs_whole = w.index == TILED_I8_W1 || w.index == TILED_B1;
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        w.elems = lengths[k];
        if ((needs_whole && w.elems % w.kind->codes != 0) || (is_signs(&w) && w.elems % 2 != 0)) {
            continue;
        }
        w.n_runs = w.n_blocks > 1 ? 1 : 1 + (w.positions + (int32_t)k) % MAX_RUNS;
        w.output = (enum output)between((int32_t)first, (int32_t)last);
        w.gap = between(0, 1) * BETWEEN;
        check(&w);
    }
}

static void check_kernels(const struct tiled_kernels *kernels, const char *isa) {
    for (int index = 0; index < TILED_N_KINDS; index++) {
        /* Halves of vectors lay their parameters out otherwise; test_tiled_shapes.c has them. */
        int is_half = index == TILED_F32_HALF || index == TILED_I8_HALF;
        const struct tiled_product_kind *kind = is_half ? NULL : kernels->kinds[index];
        struct work w = {.kernels = kernels,
                         .isa = isa,
                         .index = (enum tiled_kind)index,
                         .kind = kind,
                         .n_blocks = 1};
        for (w.vectors = 1; kind != NULL && w.vectors <= 2; w.vectors++) {
            for (w.positions = 1; w.positions <= kind->max_positions[w.vectors]; w.positions++) {
                w.n = w.vectors * kernels->lanes;
                check_runs(w);
                w.n = (w.vectors - 1) * kernels->lanes + between(1, kernels->lanes - 1);
                check_runs(w);
            }
        }
        for (w.n_blocks = 2; kind != NULL && w.n_blocks <= 4; w.n_blocks *= 2) {
            w.vectors = 2;
            w.positions = 1;
            w.n = 2 * kernels->lanes;
            if (kind->single(w.n_blocks) != NULL) {
                check_runs(w);
            }
        }
    }
}

static void map_memory(void) {
    char **const ends[] = {&end.x,    &end.weights, &end.start, &end.multiplier,
                           &end.bias, &end.y,       &end.other};
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
        char *block = *ends[k] != NULL ? *ends[k] - ROOM : guard_page_alloc(ROOM);
        assert_non_null(block);
        *ends[k] = block + ROOM;
    }
}

static void test_kernels(void **state) {
    (void)state;
    const uint32_t features = levels->cpu_features();
    map_memory();
    for (int32_t k = 0; k < levels->n_levels; k++) {
        const struct tiled_level *level = &levels->levels[k];
        if ((features & level->needs) != level->needs) {
            continue;
        }
        check_kernels(level->kernels, level->isa);
        if (level->variant != NULL && level->variant != level->kernels &&
            (features & level->variant_needs) == level->variant_needs) {
            check_kernels(level->variant, level->isa);
        }
    }
}

/* Does a call end the program? */
static int crashes(const struct work *w) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        close(STDOUT_FILENO);
        close(STDERR_FILENO);
        check(w);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

/* The page does what the tests above count on: weights of which one byte is on it, or an input with
 * nothing behind it where steps are longer than the run. */
static void test_crash(void **state) {
    (void)state;
    map_memory();
    const struct tiled_kernels *kernels = levels->levels[0].kernels;
    struct work w = {.kernels = kernels,
                     .isa = levels->levels[0].isa,
                     .index = TILED_I8_W2,
                     .kind = kernels->kinds[TILED_I8_W2],
                     .vectors = 2,
                     .positions = 2,
                     .n = 2 * kernels->lanes,
                     .n_blocks = 1,
                     .n_runs = 2,
                     .elems = 32,
                     .output = TO_CODES};
    assert_false(crashes(&w));
    w.too_few = 1;
    assert_true(crashes(&w));
    w.too_few = 0;
    w.elems = 17;
    assert_false(crashes(&w));
    char *real_end = end.x;
    end.x += TILED_SLACK_BYTES;
    assert_true(crashes(&w));
    end.x = real_end;
    end.y++;
    assert_true(crashes(&w));
    end.y--;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels),
                                       cmocka_unit_test(test_crash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    return 0; /* there are no such kernels for this processor */
}
#endif
