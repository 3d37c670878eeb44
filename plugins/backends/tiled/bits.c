/* SPDX-License-Identifier: MIT */
/* Products of signs (XNOR-Net, arXiv 1603.05279, section 3.1): with a bit for each sign, 1 for +1,
 *     sum a w = n - 2 popcount(a ^ w)
 * over n pairs. A sum starts from n / 2, popcounts are taken away, and the multiplier is doubled:
 * float(2 h) * m and float(h) * 2 m are the same number. So n must be even. Padding adds nothing,
 * but its bits, which are 0, have been counted: what they add depends on the window's place and the
 * output channel only, and is in the start. */
#include "tiled.h"

#include <string.h>

/* Of one output: kernels may count in 16 bits. */
#define MAX_PAIRS 32768

/* ---- which values are bits ---- */

static int all_signs(const int16_t *codes, int64_t n) {
    for (int64_t k = 0; k < n; k++) {
        if (codes[k] != 1 && codes[k] != -1) {
            return 0;
        }
    }
    return 1;
}

/* Can step s read its first input as bits? */
static int reads_bits(const struct lower_step *s, const struct tiled_layout *l) {
    int product = s->kind == LOWER_CONV2D || s->kind == LOWER_LINEAR;
    if (!product || s->arith != LOWER_I8 || s->groups != 1 || s->in_c % 2 != 0 || s->in_h != l->h ||
        s->in_w != l->w || s->in_c != l->c) {
        return 0;
    }
    int64_t n = (int64_t)s->kernel_h * s->kernel_w * s->in_c;
    return n <= MAX_PAIRS && all_signs(s->weight_codes, s->out_c * n);
}

void tiled_choose_bits(struct tiled_plan *plan) {
    const struct lower_plan *low = &plan->low;
    for (int32_t k = 0; k < low->n_steps; k++) {
        int32_t v = low->steps[k].out;
        struct tiled_layout *l = &plan->layouts[v];
        l->is_bits = low->steps[k].kind == LOWER_SIGN && low->values[v].place == LOWER_ARENA;
        for (int32_t j = k + 1; l->is_bits && j < low->n_steps; j++) {
            const struct lower_step *s = &low->steps[j];
            int second = s->n_inputs > 1 && s->in[1] == v;
            l->is_bits = !second && (s->in[0] != v || reads_bits(s, l));
        }
    }
}

/* ---- where padding is ---- */

/* Of n windows in a row of `length` pixels, how many begin before it and end after it. */
static void count_outside(int32_t n, int32_t length, int32_t kernel, int32_t stride, int32_t pad,
                          int32_t *before, int32_t *after) {
    *before = 0;
    *after = 0;
    for (int32_t k = 0; k < n; k++) {
        int64_t first = (int64_t)k * stride - pad;
        *before += first < 0;
        *after += first + kernel > length;
    }
}

static void plan_starts(const struct lower_step *s, struct tiled_starts *starts) {
    count_outside(s->out_h, s->in_h, s->kernel_h, s->stride_h, s->pad_h, &starts->top,
                  &starts->bottom);
    count_outside(s->out_w, s->in_w, s->kernel_w, s->stride_w, s->pad_w, &starts->left,
                  &starts->right);
    int64_t rows = (int64_t)starts->top + 1 + starts->bottom;
    int64_t cols = (int64_t)starts->left + TILED_MAX_POSITIONS + starts->right;
    starts->n_rows = rows < s->out_h ? (int32_t)rows : s->out_h;
    starts->n_cols = cols < s->out_w ? (int32_t)cols : s->out_w;
}

/* Which output row, or column, entry `e` of n stands for: the first ones, and at the end the last
 * ones of `out`; `same` entries follow the first `before`. */
static int32_t entry_place(int32_t e, int32_t n, int32_t out, int32_t before, int32_t same) {
    return e < before + same ? e : e + out - n;
}

int32_t tiled_start_entry(int32_t place, int32_t n, int32_t out, int32_t before) {
    int32_t from_end = n - (out - place);
    return place < before ? place : from_end > before ? from_end : before;
}

/* Bits of output channel `channel` of the taps of a window that lie in the padding, and how many
 * signs do not. */
struct padding {
    int32_t popcount, n_valid;
};

static struct padding padding_of(const struct lower_step *s, int64_t channel, int32_t oy,
                                 int32_t ox) {
    struct padding padding = {0, 0};
    const int16_t *w = s->weight_codes + channel * s->kernel_h * s->kernel_w * s->in_c;
    for (int32_t i = 0; i < s->kernel_h; i++) {
        int64_t y = (int64_t)oy * s->stride_h - s->pad_h + i;
        for (int32_t j = 0; j < s->kernel_w; j++, w += s->in_c) {
            int64_t x = (int64_t)ox * s->stride_w - s->pad_w + j;
            int inside = y >= 0 && y < s->in_h && x >= 0 && x < s->in_w;
            padding.n_valid += inside ? s->in_c : 0;
            for (int32_t c = 0; !inside && c < s->in_c; c++) {
                padding.popcount += w[c] > 0;
            }
        }
    }
    return padding;
}

/* ---- packing ---- */

const struct tiled_product_kind *tiled_bits_kind(const struct tiled_kernels *kernels,
                                                 const struct lower_step *s,
                                                 const struct tiled_layout *in) {
    /* Where a run fills its steps there is nothing to mask. */
    int whole = s->kernel_w * in->pixel_bytes % 4 == 0;
    return kernels->kinds[whole ? TILED_B1 : TILED_B1_MASKED];
}

int tiled_pack_starts(struct tiled_packer *packer, const struct lower_step *s,
                      struct tiled_product *p, int32_t n_params) {
    struct tiled_starts *starts = &p->starts;
    plan_starts(s, starts);
    starts->n_params = n_params;
    int64_t n_places = (int64_t)starts->n_rows * starts->n_cols;
    p->start = tiled_keep(packer, n_places * n_params, sizeof(int32_t));
    if (p->start == NULL) {
        return 0;
    }
    int32_t *to = p->start;
    for (int64_t k = 0; k < n_places; k++, to += n_params) {
        int32_t oy =
            entry_place((int32_t)(k / starts->n_cols), starts->n_rows, s->out_h, starts->top, 1);
        int32_t ox = entry_place((int32_t)(k % starts->n_cols), starts->n_cols, s->out_w,
                                 starts->left, TILED_MAX_POSITIONS);
        for (int32_t b = 0; b < p->n_blocks; b++) {
            for (int32_t o = 0; o < p->blocks[b].n; o++) {
                struct padding padding = padding_of(s, p->blocks[b].first + o, oy, ox);
                to[p->blocks[b].params + o] = padding.n_valid / 2 + padding.popcount;
            }
        }
    }
    return 1;
}
