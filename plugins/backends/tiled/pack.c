/* SPDX-License-Identifier: MIT */
/* Weights in the order in which the tiles read them. */
#include "tiled.h"

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

/* Input channels of a run times taps: elements that lie side by side in the input. */
static int64_t run_elems(const struct lower_step *s) {
    int64_t per_group = s->in_c / s->groups;
    return s->groups == 1 ? s->kernel_w * per_group : per_group;
}

/* Codes, or floats, of one step. */
static int64_t step_codes(const struct tiled_packer *packer, const struct lower_step *s) {
    return s->arith == LOWER_I8 ? packer->kernels->codes_per_step : 1;
}

static int plan_runs(struct tiled_packer *packer, const struct lower_step *s,
                     struct tiled_product *p) {
    const struct tiled_layout *in = &packer->plan->layouts[s->in[0]];
    int32_t per_row = s->groups == 1 ? 1 : s->kernel_w;
    int64_t elems = run_elems(s);
    p->n_runs = s->kernel_h * per_row;
    int64_t codes = step_codes(packer, s);
    p->k_steps = (int32_t)((elems + codes - 1) / codes);
    p->run_bytes = tiled_keep(packer, p->n_runs, sizeof *p->run_bytes);
    if (p->run_bytes == NULL) {
        return 0;
    }
    for (int32_t r = 0; r < p->n_runs; r++) {
        p->run_bytes[r] =
            r / per_row * in->row_bytes + (int64_t)(r % per_row) * s->in_c * in->elem_bytes;
    }
    return 1;
}

/* Bytes of one step's weights for one vector of output channels. */
static int64_t step_bytes(const struct tiled_packer *packer, const struct lower_step *s) {
    int64_t elem = s->arith != LOWER_I8 ? 4 : packer->kernels->is_pairs ? 2 : 1;
    return packer->kernels->lanes * step_codes(packer, s) * elem;
}

/* Cuts each group's output channels into blocks of two vectors, and of one where that is enough. */
static int plan_blocks(struct tiled_packer *packer, const struct lower_step *s,
                       struct tiled_product *p, int64_t *weights_bytes, int32_t *n_params) {
    int32_t lanes = packer->kernels->lanes;
    int32_t per_group = s->out_c / s->groups;
    int64_t per_vector = p->n_runs * (int64_t)p->k_steps * step_bytes(packer, s);
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

/* Puts one code where the level's dot product meets its input: `k` is its place in the step. */
static void put_code(char *step, const struct tiled_kernels *kernels, int32_t lane, int64_t k,
                     int16_t code) {
    if (kernels->is_pairs) {
        ((int16_t *)(void *)step)[(k % 2 * kernels->lanes + lane) * 2 + k / 2] = code;
    } else {
        ((int8_t *)step)[lane * kernels->codes_per_step + k] = (int8_t)code;
    }
}

/* Channel o of a block: its weights, start, multiplier and bias. */
static void pack_channel(const struct tiled_packer *packer, const struct lower_step *s,
                         struct tiled_product *p, const struct tiled_block *block, int32_t o) {
    int32_t lanes = packer->kernels->lanes;
    int64_t bytes = step_bytes(packer, s);
    int64_t channel = block->first + o;
    int64_t elems = run_elems(s);
    int64_t codes = step_codes(packer, s);
    int64_t sum = 0;
    for (int64_t k = 0; k < p->n_runs * elems; k++) {
        int64_t at = k % elems;
        int64_t step = k / elems * p->k_steps + at / codes;
        char *to =
            (char *)p->weights + block->weights_bytes + (step * block->vectors + o / lanes) * bytes;
        int64_t from = channel * p->n_runs * elems + k;
        if (s->arith == LOWER_I8) {
            put_code(to, packer->kernels, o % lanes, at % codes, s->weight_codes[from]);
            sum += s->weight_codes[from];
        } else {
            ((float *)(void *)to)[o % lanes] = s->weight_f32[from];
        }
    }
    p->bias[block->params + o] = s->bias_f32[channel];
    if (s->arith == LOWER_I8) {
        const struct lower_value *in = &packer->plan->low.values[s->in[0]];
        /* The accumulator wraps, so this may: the exact sum fits. */
        p->start[block->params + o] =
            (int32_t)(uint32_t)(uint64_t)(-(in->zero + packer->code_offset) * sum);
        p->multiplier[block->params + o] = s->multiplier[channel];
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

int tiled_pack_product(struct tiled_packer *packer, struct tiled_step *step,
                       int64_t *weight_bytes) {
    const struct lower_step *s = &step->low;
    struct tiled_product *p = &step->product;
    int32_t n_params;
    if (!plan_runs(packer, s, p)) {
        return 0;
    }
    if (s->arith == LOWER_I16) {
        return pack_i16(packer, s, p, weight_bytes);
    }
    if (!plan_blocks(packer, s, p, weight_bytes, &n_params)) {
        return 0;
    }
    p->weights = tiled_keep(packer, *weight_bytes, 1);
    p->bias = tiled_keep(packer, n_params, sizeof(float));
    int done = p->weights != NULL && p->bias != NULL;
    if (s->arith == LOWER_I8) {
        p->start = tiled_keep(packer, n_params, sizeof(int32_t));
        p->multiplier = tiled_keep(packer, n_params, sizeof(float));
        done = done && p->start != NULL && p->multiplier != NULL;
    }
    for (int32_t b = 0; done && b < p->n_blocks; b++) {
        for (int32_t o = 0; o < p->blocks[b].n; o++) {
            pack_channel(packer, s, p, &p->blocks[b], o);
        }
    }
    for (int32_t vectors = 1; vectors <= 2; vectors++) {
        p->split[vectors] = tiled_split_positions(
            s->out_w, packer->kernels->max_positions[s->arith == LOWER_I8][vectors]);
    }
    return done;
}
