/* SPDX-License-Identifier: MIT */
/* Weights in the order in which the tiles read them. */
#include "tiled.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

void *tiled_keep(struct tiled_packer *packer, int64_t n, size_t size) {
    size_t bytes = (size_t)n * size;
    void *ptr = packer->host->alloc(packer->host, bytes > 0 ? bytes : 1);
    if (ptr != NULL) {
        memset(ptr, 0, bytes);
        packer->bytes_resident += (int64_t)bytes;
    }
    return ptr;
}

/* Input channels of a run times taps. */
static int64_t run_elems(const struct lower_step *s) {
    int64_t per_group = s->in_c / s->groups;
    return s->groups == 1 ? s->kernel_w * per_group : per_group;
}

/* Where element `at` of a run lies in it: pixels of bits are filled up to bytes. */
static int64_t run_place(const struct lower_step *s, const struct tiled_layout *in, int64_t at) {
    return in->is_bits ? at / s->in_c * in->pixel_bytes * 8 + at % s->in_c : at;
}

static int plan_runs(struct tiled_packer *packer, const struct lower_step *s,
                     struct tiled_product *p) {
    const struct tiled_layout *in = &packer->plan->layouts[s->in[0]];
    int32_t per_row = s->groups == 1 ? 1 : s->kernel_w;
    p->n_runs = s->kernel_h * per_row;
    int32_t codes = p->kind != NULL ? p->kind->codes : 1;
    p->k_steps = (int32_t)(run_place(s, in, run_elems(s) - 1) / codes) + 1;
    p->run_bytes = tiled_keep(packer, p->n_runs, sizeof *p->run_bytes);
    if (p->run_bytes == NULL) {
        return 0;
    }
    for (int32_t r = 0; r < p->n_runs; r++) {
        p->run_bytes[r] = r / per_row * in->row_bytes + (int64_t)(r % per_row) * in->pixel_bytes;
    }
    return 1;
}

/* Cuts each group's output channels into blocks of two vectors, and of one where that is enough. */
static int plan_blocks(struct tiled_packer *packer, const struct lower_step *s,
                       struct tiled_product *p, int64_t *weights_bytes, int32_t *n_params) {
    int32_t lanes = packer->kernels->lanes;
    int32_t per_group = s->out_c / s->groups;
    int64_t per_vector = p->n_runs * (int64_t)p->k_steps * p->kind->weight_bytes;
    int32_t in_bytes = s->in_c / s->groups * (int32_t)lower_rep_bytes(s->arith);
    p->n_blocks = s->groups * ((per_group + 2 * lanes - 1) / (2 * lanes));
    p->blocks = tiled_keep(packer, p->n_blocks, sizeof *p->blocks);
    if (p->blocks == NULL) {
        return 0;
    }
    *weights_bytes = 0;
    *n_params = 0;
    struct tiled_block *block = p->blocks;
    for (int32_t g = 0; g < s->groups; g++) {
        for (int32_t c = 0; c < per_group; c += 2 * lanes, block++) {
            int32_t n = per_group - c < 2 * lanes ? per_group - c : 2 * lanes;
            *block = (struct tiled_block){.first = g * per_group + c,
                                          .n = n,
                                          .vectors = n > lanes ? 2 : 1,
                                          .first_in_bytes = g * in_bytes,
                                          .weights_bytes = *weights_bytes,
                                          .params = *n_params};
            *weights_bytes += per_vector * block->vectors;
            *n_params += lanes * block->vectors;
        }
    }
    return 1;
}

/* Channel o of a block: its weights, start, multiplier and bias. */
static void pack_channel(const struct tiled_packer *packer, const struct lower_step *s,
                         struct tiled_product *p, const struct tiled_block *block, int32_t o) {
    const struct tiled_product_kind *kind = p->kind;
    const int32_t lanes = packer->kernels->lanes;
    const int64_t channel = block->first + o;
    const struct tiled_layout *in = &packer->plan->layouts[s->in[0]];
    const int64_t elems = run_elems(s);
    int64_t sum = 0;
    for (int64_t k = 0; k < p->n_runs * elems; k++) {
        int64_t at = run_place(s, in, k % elems);
        int64_t step = k / elems * p->k_steps + at / kind->codes;
        int64_t from = channel * p->n_runs * elems + k;
        char *to = (char *)p->weights + block->weights_bytes +
                   (step * block->vectors + o / lanes) * kind->weight_bytes;
        kind->put(to, o % lanes, (int32_t)(at % kind->codes), s, from);
        sum += s->weight_codes != NULL ? s->weight_codes[from] : 0;
    }
    p->bias[block->params + o] = s->bias_f32[channel];
    if (in->is_bits) {
        p->multiplier[block->params + o] = 2 * s->multiplier[channel];
    } else if (s->arith == LOWER_I8) {
        int32_t zero = packer->plan->low.values[s->in[0]].zero + packer->code_offset;
        /* The accumulator wraps, so this may: the exact sum fits. */
        p->start[block->params + o] = (int32_t)(uint32_t)(uint64_t)(-zero * sum * kind->scale);
        p->multiplier[block->params + o] = s->multiplier[channel] / (float)kind->scale;
    }
}

/* int16 codes as they come: (OC, runs, elements of a run). */
static int pack_i16(struct tiled_packer *packer, const struct lower_step *s,
                    struct tiled_product *p, int64_t *weight_bytes) {
    int64_t n = s->out_c * p->n_runs * run_elems(s);
    p->weights = tiled_keep(packer, n, sizeof(int16_t));
    p->multiplier = tiled_keep(packer, s->out_c, sizeof(float));
    p->bias = tiled_keep(packer, s->out_c, sizeof(float));
    if (p->weights == NULL || p->multiplier == NULL || p->bias == NULL) {
        return 0;
    }
    memcpy(p->weights, s->weight_codes, (size_t)n * sizeof(int16_t));
    memcpy(p->multiplier, s->multiplier, (size_t)s->out_c * sizeof(float));
    memcpy(p->bias, s->bias_f32, (size_t)s->out_c * sizeof(float));
    *weight_bytes = n * (int64_t)sizeof(int16_t);
    return 1;
}

/* Can sums of a channel's weights times `scale` be told from what they are modulo 2^32, and its
 * multiplier be divided by it without a rounding? Then float(scale acc) * (m / scale) is
 * float(acc) * m to the bit. */
static int scale_fits(const struct tiled_packer *packer, const struct lower_step *s,
                      int32_t scale) {
    const struct lower_value *in = &packer->plan->low.values[s->in[0]];
    const int64_t above = in->qmax - in->zero;
    const int64_t below = in->zero - in->qmin;
    const int64_t most = above > below ? above : below;
    const int64_t n = s->kernel_h * (int64_t)s->kernel_w * (s->in_c / s->groups);
    for (int64_t c = 0; c < s->out_c; c++) {
        int64_t sum = 0;
        for (int64_t k = 0; k < n; k++) {
            sum += abs(s->weight_codes[c * n + k]);
        }
        if (most * sum > INT32_MAX / scale || s->multiplier[c] / (float)scale < FLT_MIN) {
            return 0;
        }
    }
    return 1;
}

/* Quantizers make no -8 of 4 bits; a graph that holds one is widened, because scaled to -128 two of
 * its products may not fit an int16 (arm/level_neon.c). */
static int codes_fit(const struct lower_step *s, int32_t bits) {
    const int64_t n = s->out_c * s->kernel_h * (int64_t)s->kernel_w * (s->in_c / s->groups);
    const int32_t limit = (1 << (bits - 1)) - 1;
    for (int64_t k = 0; k < n; k++) {
        int32_t w = s->weight_codes[k];
        if (bits == 1 ? w != 1 && w != -1 : abs(w) > limit) {
            return 0;
        }
    }
    return 1;
}

/* Does rounding runs up to whole steps add no more than an eighth to them? To a run of weights of 1
 * bit nothing can be added, because none of them is 0. */
static int steps_fit(const struct tiled_packer *packer, const struct lower_step *s,
                     const struct tiled_product_kind *kind) {
    const int64_t elems = run_elems(s);
    const int64_t i8_codes = packer->kernels->kinds[TILED_I8]->codes;
    const int64_t i8_read = (elems + i8_codes - 1) / i8_codes * i8_codes;
    const int64_t read = (elems + kind->codes - 1) / kind->codes * kind->codes;
    return kind->bits == 1 ? read == elems : read <= i8_read + i8_read / 8;
}

/* Weights as they are, or widened to 8 bits. */
static const struct tiled_product_kind *whole_kind(const struct tiled_packer *packer,
                                                   const struct lower_step *s) {
    return packer->kernels->kinds[s->arith == LOWER_F32 ? TILED_F32 : TILED_I8];
}

/* The kind for few output channels, NULL: there is none, or it does not do. It reads two elements
 * of a float run at once, and what lies behind a run may be no number. */
static const struct tiled_product_kind *half_kind(const struct tiled_packer *packer,
                                                  const struct tiled_step *step) {
    const struct lower_step *s = &step->low;
    const int is_f32 = s->arith == LOWER_F32;
    const struct tiled_product_kind *kind =
        packer->kernels->kinds[is_f32 ? TILED_F32_HALF : TILED_I8_HALF];
    if (kind == NULL || s->arith == LOWER_I16 || s->kind != LOWER_CONV2D || s->groups != 1 ||
        s->out_c > packer->kernels->lanes / 2 || step->fused.is_fused) {
        return NULL;
    }
    const int fits = is_f32 ? run_elems(s) % kind->codes == 0 : steps_fit(packer, s, kind);
    return fits ? kind : NULL;
}

/* The narrowest kind that can hold the weights; NULL: the 16-bit path. */
static const struct tiled_product_kind *find_kind(const struct tiled_packer *packer,
                                                  const struct lower_step *s, int32_t bits) {
    static const enum tiled_kind narrow[] = {TILED_I8_W1, TILED_I8_W2, TILED_I8_W4};
    const struct tiled_product_kind *const *kinds = packer->kernels->kinds;
    if (s->arith == LOWER_F32) {
        return kinds[TILED_F32];
    }
    if (s->arith == LOWER_I16) {
        return NULL;
    }
    for (size_t k = 0; k < sizeof narrow / sizeof *narrow; k++) {
        const struct tiled_product_kind *kind = kinds[narrow[k]];
        if (kind != NULL && kind->bits >= bits && codes_fit(s, kind->bits) &&
            steps_fit(packer, s, kind) && scale_fits(packer, s, kind->scale)) {
            return kind;
        }
    }
    return kinds[TILED_I8];
}

int tiled_pack_product(struct tiled_packer *packer, struct tiled_step *step, int32_t bits,
                       int64_t *weight_bytes) {
    const struct lower_step *s = &step->low;
    struct tiled_product *p = &step->product;
    int32_t n_params;
    const struct tiled_layout *in = &packer->plan->layouts[s->in[0]];
    p->kind = in->is_bits ? tiled_bits_kind(packer->kernels, s, in) : find_kind(packer, s, bits);
    const struct tiled_product_kind *half = half_kind(packer, step);
    p->kind = half != NULL && p->kind == whole_kind(packer, s) ? half : p->kind;
    if (!plan_runs(packer, s, p)) {
        return 0;
    }
    if (p->kind == NULL) {
        return pack_i16(packer, s, p, weight_bytes);
    }
    if (!plan_blocks(packer, s, p, weight_bytes, &n_params)) {
        return 0;
    }
    p->weights = tiled_keep(packer, *weight_bytes, 1);
    p->bias = tiled_keep(packer, n_params, sizeof(float));
    int done = p->weights != NULL && p->bias != NULL;
    if (in->is_bits) {
        done = done && tiled_pack_starts(packer, s, p, n_params);
    } else if (s->arith == LOWER_I8) {
        p->start = tiled_keep(packer, n_params, sizeof(int32_t));
        done = done && p->start != NULL;
    }
    if (s->arith == LOWER_I8) {
        p->multiplier = tiled_keep(packer, n_params, sizeof(float));
        done = done && p->multiplier != NULL;
    }
    for (int32_t b = 0; done && b < p->n_blocks; b++) {
        for (int32_t o = 0; o < p->blocks[b].n; o++) {
            pack_channel(packer, s, p, &p->blocks[b], o);
        }
    }
    for (int32_t vectors = 1; vectors <= 2; vectors++) {
        p->split[vectors] = tiled_split_positions(s->out_w, p->kind->max_positions[vectors]);
    }
    return done;
}
