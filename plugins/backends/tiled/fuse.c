/* SPDX-License-Identifier: MIT */
/* Convolutions that do an add themselves, in registers. */
#include "tiled.h"

#include <string.h>

/* The step that is the only reader of value v; -1: there is another number of them. */
static int32_t only_reader(const struct lower_plan *low, int32_t v) {
    int32_t reader = -1;
    for (int32_t k = 0; k < low->n_steps; k++) {
        for (int32_t i = 0; i < low->steps[k].n_inputs; i++) {
            if (low->steps[k].in[i] == v && reader >= 0) {
                return -1;
            }
            reader = low->steps[k].in[i] == v ? k : reader;
        }
    }
    return reader;
}

/* Step k, a convolution, takes the place of the add at step j. */
static void fuse(struct tiled_plan *plan, int32_t k, int32_t j) {
    struct lower_plan *low = &plan->low;
    struct lower_step conv = low->steps[k];
    const struct lower_step *add = &low->steps[j];
    int32_t which = add->in[1] == conv.out;
    plan->fused[add->out] = (struct tiled_fused){
        .is_fused = 1,
        .middle = conv.out,
        .low = conv.clamp_lo,
        .high = conv.clamp_hi,
        .m_middle = add->multiplier[which],
        .m_other = add->multiplier[1 - which],
    };
    low->values[conv.out].is_stored = 0;
    conv.n_inputs = 2;
    conv.in[1] = add->in[1 - which];
    conv.out = add->out;
    conv.clamp_lo = add->clamp_lo;
    conv.clamp_hi = add->clamp_hi;
    memmove(&low->steps[k], &low->steps[k + 1], (size_t)(j - k - 1) * sizeof conv);
    low->steps[j - 1] = conv;
    memmove(&low->steps[j], &low->steps[j + 1], (size_t)(low->n_steps - j - 1) * sizeof conv);
    low->n_steps--;
}

void tiled_fuse_adds(struct tiled_plan *plan) {
    struct lower_plan *low = &plan->low;
    for (int32_t k = 0; k < low->n_steps; k++) {
        const struct lower_step *conv = &low->steps[k];
        int32_t j = only_reader(low, conv->out);
        if (conv->kind == LOWER_CONV2D && conv->arith == LOWER_I8 && conv->n_inputs == 1 &&
            j >= 0 && low->steps[j].kind == LOWER_ADD && low->steps[j].arith == LOWER_I8) {
            fuse(plan, k, j);
            k--; /* another step has come to this place */
        }
    }
}
