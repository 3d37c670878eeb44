/* SPDX-License-Identifier: MIT */
#include "lower.h"

static int lives_overlap(const struct lower_value *a, const struct lower_value *b) {
    return a->first_step <= b->last_step && b->first_step <= a->last_step;
}

/* The lowest offset at which `value` meets none of the `n_placed` values before it. Every candidate
 * is 0 or the end of a placed value; moving up on each conflict until none is left ends, because
 * the offset only grows and each placed value can push it once. */
static int64_t lowest_free(const struct lower_plan *plan, const int32_t *order, int32_t n_placed,
                           const struct lower_value *value) {
    int64_t offset = 0;
    int moved = 1;
    while (moved) {
        moved = 0;
        for (int32_t k = 0; k < n_placed; k++) {
            const struct lower_value *other = &plan->values[order[k]];
            int64_t end = other->offset_bytes + other->size_bytes;
            if (lives_overlap(value, other) && offset < end &&
                other->offset_bytes < offset + value->size_bytes) {
                offset = end;
                moved = 1;
            }
        }
    }
    return offset;
}

void lower_plan_arena(struct lower_plan *plan, int32_t *order) {
    int32_t n = 0;
    for (int32_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].place != LOWER_ARENA) {
            continue;
        }
        int32_t k = n++;
        for (; k > 0 && plan->values[order[k - 1]].size_bytes < plan->values[v].size_bytes; k--) {
            order[k] = order[k - 1];
        }
        order[k] = v;
    }
    plan->arena_bytes = 0;
    for (int32_t k = 0; k < n; k++) {
        struct lower_value *value = &plan->values[order[k]];
        value->offset_bytes = lowest_free(plan, order, k, value);
        int64_t end = value->offset_bytes + value->size_bytes;
        plan->arena_bytes = end > plan->arena_bytes ? end : plan->arena_bytes;
    }
}
