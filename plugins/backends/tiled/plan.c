/* SPDX-License-Identifier: MIT */
/* Where values lie: which of them get a border, so that convolutions read their padding like
 * anything else, and which are copied because no border can be given to them. */
#include "tiled.h"

#include <string.h>

void *tiled_alloc_zeroed(const pare_host *host, int64_t n, size_t size) {
    size_t bytes = (size_t)n * size;
    void *ptr = host->alloc(host, bytes > 0 ? bytes : 1);
    if (ptr != NULL) {
        memset(ptr, 0, bytes);
    }
    return ptr;
}

struct tiled_split tiled_split_positions(int32_t n, int32_t most) {
    struct tiled_split split = {{0, 0}, {0, 0}};
    int32_t n_tiles = (n + most - 1) / most;
    int32_t shorter = n / n_tiles;
    int32_t n_longer = n % n_tiles;
    int k = 0;
    if (n_longer > 0) {
        split.positions[k] = shorter + 1;
        split.n_tiles[k++] = n_longer;
    }
    split.positions[k] = shorter;
    split.n_tiles[k] = n_tiles - n_longer;
    return split;
}

static int is_in_planes(const struct tiled_layout *l) {
    return l->planes.pitch_h > 0;
}

/* A convolution with padding wants a border in its input. */
static int wants_border(const struct lower_step *s) {
    return s->kind == LOWER_CONV2D && (s->pad_h > 0 || s->pad_w > 0);
}

/* Does it read the value as it was made, or flattened? */
static int reads_shape(const struct lower_step *s, int32_t input, const struct tiled_layout *l) {
    if (s->kind == LOWER_CONV2D && input == 1) { /* a fused add's other term */
        return s->out_h == l->h && s->out_w == l->w && s->out_c == l->c;
    }
    return s->in_h == l->h && s->in_w == l->w && s->in_c == l->c;
}

/* ---- borders ---- */

/* Only values in the arena that nobody reads flattened can have one. */
static void find_dense(const struct tiled_plan *plan, uint8_t *dense /* (n_values) */) {
    for (int32_t v = 0; v < plan->low.n_values; v++) {
        dense[v] = plan->low.values[v].place != LOWER_ARENA;
    }
    for (int32_t k = 0; k < plan->low.n_steps; k++) {
        const struct lower_step *s = &plan->low.steps[k];
        for (int32_t i = 0; i < s->n_inputs; i++) {
            dense[s->in[i]] |= !reads_shape(s, i, &plan->layouts[s->in[i]]);
        }
    }
}

static void widen_border(struct tiled_layout *l, const struct lower_step *s) {
    l->border_h = l->border_h > s->pad_h ? l->border_h : s->pad_h;
    l->border_w = l->border_w > s->pad_w ? l->border_w : s->pad_w;
}

static void set_shape(struct tiled_layout *l, int32_t h, int32_t w, int32_t c) {
    l->h = h;
    l->w = w;
    l->c = c;
}

int32_t tiled_insert_copy(struct tiled_plan *plan, int32_t k, int32_t v, int32_t node) {
    struct lower_plan *low = &plan->low;
    const struct tiled_layout *l = &plan->layouts[v];
    int32_t to = low->n_values++;
    low->values[to] = low->values[v];
    low->values[to].place = LOWER_ARENA;
    low->values[to].is_stored = 0;
    set_shape(&plan->layouts[to], l->h, l->w, l->c);
    memmove(&low->steps[k + 1], &low->steps[k], (size_t)(low->n_steps - k) * sizeof *low->steps);
    low->n_steps++;
    low->steps[k] = (struct lower_step){
        .kind = LOWER_COPY,
        .arith = low->values[v].rep,
        .node = node,
        .n_inputs = 1,
        .in = {v, -1},
        .out = to,
        .in_h = l->h,
        .in_w = l->w,
        .in_c = l->c,
        .out_h = l->h,
        .out_w = l->w,
        .out_c = l->c,
    };
    return to;
}

/* A step before step k that copies its input, in the shape that it is read in. */
static void add_copy(struct tiled_plan *plan, int32_t k, uint8_t *dense) {
    const struct lower_step *conv = &plan->low.steps[k];
    struct tiled_layout *from = &plan->layouts[conv->in[0]];
    struct tiled_layout shape = *from;
    set_shape(from, conv->in_h, conv->in_w, conv->in_c);
    int32_t to = tiled_insert_copy(plan, k, conv->in[0], conv->node);
    set_shape(from, shape.h, shape.w, shape.c);
    dense[to] = 0;
    plan->low.steps[k + 1].in[0] = to;
}

static void give_borders(struct tiled_plan *plan, uint8_t *dense) {
    for (int32_t k = 0; k < plan->low.n_steps; k++) {
        if (!wants_border(&plan->low.steps[k]) ||
            is_in_planes(&plan->layouts[plan->low.steps[k].in[0]])) {
            continue;
        }
        if (dense[plan->low.steps[k].in[0]]) {
            add_copy(plan, k, dense);
            k++;
        }
        widen_border(&plan->layouts[plan->low.steps[k].in[0]], &plan->low.steps[k]);
    }
}

static int measure_batch(struct lower_value *value, const struct tiled_layout *l,
                         int32_t max_batch) {
    int64_t bytes;
    if (__builtin_mul_overflow(l->sample_bytes, (int64_t)max_batch, &bytes) ||
        bytes > INT64_MAX / 8 - TILED_SLACK_BYTES) {
        return 0;
    }
    value->size_bytes = (bytes + TILED_SLACK_BYTES + 63) / 64 * 64;
    return 1;
}

/* Strides and bytes of a value; 0 if they overflow. */
static int measure(struct lower_value *value, struct tiled_layout *l, int32_t max_batch) {
    if (is_in_planes(l)) {
        return measure_batch(value, l, max_batch);
    }
    l->elem_bytes = (int32_t)lower_rep_bytes(value->rep);
    int64_t width = l->w + 2 * (int64_t)l->border_w;
    int64_t height = l->h + 2 * (int64_t)l->border_h;
    l->pixel_bytes = l->is_bits ? (l->c + 7) / 8 : (int64_t)l->c * l->elem_bytes;
    if (__builtin_mul_overflow(width, l->pixel_bytes, &l->row_bytes) ||
        __builtin_mul_overflow(height, l->row_bytes, &l->sample_bytes) ||
        l->sample_bytes > INT64_MAX / 8 - TILED_SLACK_BYTES) {
        return 0;
    }
    l->first_bytes = l->border_h * l->row_bytes + l->border_w * l->pixel_bytes;
    if (value->place == LOWER_ARENA) {
        l->sample_bytes = (l->sample_bytes + 63) / 64 * 64;
    }
    return measure_batch(value, l, max_batch);
}

/* ---- memory ---- */

static pare_status plan_memory(const pare_host *host, const pare_graph *graph,
                               struct tiled_plan *plan, int32_t *order) {
    struct lower_plan *low = &plan->low;
    for (int32_t k = 0; k < low->n_steps; k++) {
        low->values[low->steps[k].out].first_step = k;
        low->values[low->steps[k].out].last_step = k;
        for (int32_t i = 0; i < low->steps[k].n_inputs; i++) {
            low->values[low->steps[k].in[i]].last_step = k;
        }
    }
    int64_t total = 0;
    for (int32_t v = 0; v < low->n_values; v++) {
        if (!measure(&low->values[v], &plan->layouts[v], low->max_batch) ||
            __builtin_add_overflow(total, low->values[v].size_bytes, &total)) {
            return host->fail(host, PARE_E_LIMIT,
                              "%s: activations for a batch of %d do not fit into memory",
                              graph->name, low->max_batch);
        }
    }
    for (int32_t v = 0; v < low->n_values; v++) {
        if (plan->fused[v].is_fused) {
            low->values[plan->fused[v].middle].size_bytes = 0;
        }
    }
    lower_plan_arena(low, order);
    return PARE_OK;
}

static int copy_lowered(const pare_host *host, const pare_graph *graph, struct tiled_plan *plan) {
    const struct lower_plan *from = plan->lowered;
    int64_t n_values = (int64_t)from->n_values + TILED_STEPS_PER_STEP * (int64_t)from->n_steps;
    plan->low = *from;
    plan->low.steps = tiled_alloc_zeroed(host, TILED_STEPS_PER_STEP * (int64_t)from->n_steps,
                                         sizeof *from->steps);
    plan->low.values = tiled_alloc_zeroed(host, n_values, sizeof *from->values);
    plan->layouts = tiled_alloc_zeroed(host, n_values, sizeof *plan->layouts);
    plan->fused = tiled_alloc_zeroed(host, n_values, sizeof *plan->fused);
    if (plan->low.steps == NULL || plan->low.values == NULL || plan->layouts == NULL ||
        plan->fused == NULL) {
        return 0;
    }
    memcpy(plan->low.steps, from->steps, (size_t)from->n_steps * sizeof *from->steps);
    memcpy(plan->low.values, from->values, (size_t)from->n_values * sizeof *from->values);
    const int32_t *d = graph->nodes[0]->dims;
    for (int32_t v = 0; v < from->n_values; v++) {
        set_shape(&plan->layouts[v], d[0], d[1], d[2]); /* the images; others follow */
    }
    for (int32_t k = 0; k < from->n_steps; k++) {
        const struct lower_step *s = &from->steps[k];
        set_shape(&plan->layouts[s->out], s->out_h, s->out_w, s->out_c);
    }
    return 1;
}

pare_status tiled_plan_graph(const pare_host *host, const pare_graph *graph, int32_t max_batch,
                             const struct tiled_kernels *kernels, enum tiled_sparsity sparsity,
                             struct tiled_plan *plan) {
    pare_status status = lower_graph(host, graph, max_batch, &plan->lowered);
    if (status != PARE_OK) {
        return status;
    }
    int64_t n_values =
        (int64_t)plan->lowered->n_values + TILED_STEPS_PER_STEP * (int64_t)plan->lowered->n_steps;
    uint8_t *dense = tiled_alloc_zeroed(host, n_values, sizeof *dense);
    int32_t *order = tiled_alloc_zeroed(host, n_values, sizeof *order);
    if (dense == NULL || order == NULL || !copy_lowered(host, graph, plan)) {
        status = host->fail(host, PARE_E_NOMEM, "out of memory while planning %s", graph->name);
        goto cleanup;
    }
    tiled_fuse_adds(plan);
    if (kernels->kinds[TILED_B1] != NULL) {
        tiled_choose_bits(plan);
    }
    if (!tiled_choose_planes(host, plan, kernels->planes, sparsity)) {
        status = host->fail(host, PARE_E_NOMEM, "out of memory for the planes of %s", graph->name);
        goto cleanup;
    }
    find_dense(plan, dense);
    give_borders(plan, dense);
    status = plan_memory(host, graph, plan, order);
cleanup:
    host->free(host, dense);
    host->free(host, order);
    return status;
}

void tiled_plan_destroy(const pare_host *host, struct tiled_plan *plan) {
    for (int32_t v = 0; plan->layouts != NULL && v < plan->low.n_values; v++) {
        host->free(host, plan->layouts[v].planes.seams);
        host->free(host, plan->layouts[v].planes.moves);
    }
    lower_destroy(host, plan->lowered);
    host->free(host, plan->low.steps);
    host->free(host, plan->low.values);
    host->free(host, plan->layouts);
    host->free(host, plan->fused);
}
