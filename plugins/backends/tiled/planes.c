/* SPDX-License-Identifier: MIT */
/* How values lie in planes: the pitch of their tiles, what of other tiles is around them, and the
 * seams that put it there. */
#include "tiled.h"

#include <string.h>

/* ---- pitches ---- */

/* Positions that a tile needs at least, of n that are cut into so many. */
static int32_t least_pitch(int32_t n, int32_t tiles) {
    return (n + tiles - 1) / tiles;
}

/* A step moves by whole tiles: its input's pitch is its stride times its output's. Makes the
 * smaller one larger; returns whether it did. */
static int match_pitch(int32_t *in, int32_t *out, int32_t stride) {
    int32_t least = *in / stride + (*in % stride != 0);
    if (*in == *out * stride) {
        return 0;
    }
    *out = *out > least ? *out : least;
    *in = *out * stride;
    return 1;
}

static int match_step(const struct lower_step *s, struct tiled_planes *planes) {
    struct tiled_planes *out = &planes[s->out];
    int moves = s->kind == LOWER_CONV2D || s->kind == LOWER_MAX_POOL || s->kind == LOWER_SHORTCUT_A;
    int changed = 0;
    for (int32_t i = 0; i < s->n_inputs; i++) {
        struct tiled_planes *in = &planes[s->in[i]];
        changed |= match_pitch(&in->pitch_h, &out->pitch_h, moves ? s->stride_h : 1);
        changed |= match_pitch(&in->pitch_w, &out->pitch_w, moves ? s->stride_w : 1);
    }
    return changed;
}

int tiled_find_pitches(const struct tiled_plan *plan, const struct tiled_planes_kernels *kernels,
                       const uint8_t *makes_planes, struct tiled_planes *planes) {
    const struct lower_plan *low = &plan->low;
    for (int32_t v = 0; v < low->n_values; v++) {
        const struct tiled_layout *l = &plan->layouts[v];
        planes[v] = (struct tiled_planes){.pitch_h = least_pitch(l->h, kernels->grid_h),
                                          .pitch_w = least_pitch(l->w, kernels->grid_w)};
    }
    /* Pitches only grow; those of a graph that cannot agree grow past the bound. */
    for (int changed = 1; changed;) {
        changed = 0;
        for (int32_t k = low->n_steps; k-- > 0;) {
            changed |= makes_planes[k] && match_step(&low->steps[k], planes);
        }
        for (int32_t v = 0; v < low->n_values; v++) {
            const struct tiled_layout *l = &plan->layouts[v];
            if (planes[v].pitch_h > 2 + 2 * least_pitch(l->h, kernels->grid_h) ||
                planes[v].pitch_w > 2 + 2 * least_pitch(l->w, kernels->grid_w)) {
                return 0;
            }
        }
    }
    return 1;
}

/* ---- what is around a tile ---- */

/* Windows begin `pad` before a tile; the last of `pitch` ends where it ends. */
static void widen(int32_t *before, int32_t *after, int32_t in_pitch, int32_t out_pitch,
                  int32_t stride, int32_t kernel, int32_t pad) {
    int32_t end = (out_pitch - 1) * stride - pad + kernel - in_pitch;
    *before = *before > pad ? *before : pad;
    *after = *after > end ? *after : end;
}

void tiled_widen_planes(const struct lower_step *s, const struct tiled_planes *out,
                        struct tiled_planes *in) {
    if (s->kind == LOWER_CONV2D || s->kind == LOWER_MAX_POOL) {
        widen(&in->before_h, &in->after_h, in->pitch_h, out->pitch_h, s->stride_h, s->kernel_h,
              s->pad_h);
        widen(&in->before_w, &in->after_w, in->pitch_w, out->pitch_w, s->stride_w, s->kernel_w,
              s->pad_w);
    }
}

int tiled_measure_planes(struct tiled_layout *l, const struct tiled_planes_kernels *kernels) {
    struct tiled_planes *p = &l->planes;
    int64_t height = (int64_t)p->before_h + p->pitch_h + p->after_h;
    int64_t width = (int64_t)p->before_w + p->pitch_w + p->after_w;
    l->elem_bytes = (int32_t)sizeof(float);
    l->pixel_bytes = (int64_t)kernels->grid_h * kernels->grid_w * l->elem_bytes;
    l->row_bytes = width * l->pixel_bytes;
    l->first_bytes = p->before_h * l->row_bytes + p->before_w * l->pixel_bytes;
    /* Taps and moves count bytes in 32 bits. */
    return !__builtin_mul_overflow(height, l->row_bytes, &p->plane_bytes) &&
           !__builtin_mul_overflow(p->plane_bytes, (int64_t)l->c, &l->sample_bytes) &&
           l->sample_bytes <= INT32_MAX;
}

/* ---- seams ---- */

static int32_t floor_div(int32_t a, int32_t b) {
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* Where the vector at place (r, c) of a plane comes from: the tile's own place, whose lanes are
 * `lanes`. Returns whether it is that place as it is. */
static int find_lanes(const struct tiled_planes_kernels *kernels, const struct tiled_layout *l,
                      int32_t r, int32_t c, int32_t lanes[TILED_MAX_LANES]) {
    const struct tiled_planes *p = &l->planes;
    int same = 1;
    memset(lanes, 0, TILED_MAX_LANES * sizeof *lanes);
    for (int32_t k = 0; k < kernels->grid_h * kernels->grid_w; k++) {
        int32_t y = k / kernels->grid_w * p->pitch_h + r;
        int32_t x = k % kernels->grid_w * p->pitch_w + c;
        int inside = y >= 0 && y < l->h && x >= 0 && x < l->w;
        lanes[k] = inside ? y / p->pitch_h * kernels->grid_w + x / p->pitch_w : -1;
        same &= lanes[k] == k;
    }
    return same;
}

static int is_own_place(const struct tiled_planes *p, int32_t r, int32_t c) {
    return r >= 0 && r < p->pitch_h && c >= 0 && c < p->pitch_w;
}

int64_t tiled_count_moves(const struct tiled_planes *p) {
    return ((int64_t)p->before_h + p->pitch_h + p->after_h) *
           ((int64_t)p->before_w + p->pitch_w + p->after_w);
}

static int32_t place_bytes(const struct tiled_layout *l, int32_t r, int32_t c) {
    return (int32_t)(l->first_bytes + r * l->row_bytes + c * l->pixel_bytes);
}

/* The seam of these lanes from `begin` on; one more if there is none. */
static struct tiled_seam *find_seam(struct tiled_planes *p, int32_t begin,
                                    const int32_t lanes[TILED_MAX_LANES]) {
    for (int32_t k = begin; k < p->n_seams; k++) {
        if (memcmp(p->seams[k].lanes, lanes, sizeof p->seams[k].lanes) == 0) {
            return &p->seams[k];
        }
    }
    struct tiled_seam *seam = &p->seams[p->n_seams++];
    memset(seam, 0, sizeof *seam);
    memcpy(seam->lanes, lanes, sizeof seam->lanes);
    return seam;
}

/* Visits the own places (own = 1) or those around them, and counts moves (pass 0) or stores them
 * (pass 1) in the seams from `begin` on. */
static void visit(const struct tiled_planes_kernels *kernels, struct tiled_layout *l, int own,
                  int32_t begin, int store) {
    struct tiled_planes *p = &l->planes;
    for (int32_t r = -p->before_h; r < p->pitch_h + p->after_h; r++) {
        for (int32_t c = -p->before_w; c < p->pitch_w + p->after_w; c++) {
            int32_t lanes[TILED_MAX_LANES];
            if (is_own_place(p, r, c) != own ||
                (find_lanes(kernels, l, r, c, lanes) && is_own_place(p, r, c))) {
                continue;
            }
            struct tiled_seam *seam = find_seam(p, begin, lanes);
            if (store) {
                int32_t from_r = r - floor_div(r, p->pitch_h) * p->pitch_h;
                int32_t from_c = c - floor_div(c, p->pitch_w) * p->pitch_w;
                p->moves[seam->first + seam->n] =
                    (struct tiled_move){place_bytes(l, r, c), place_bytes(l, from_r, from_c)};
            }
            seam->n++;
        }
    }
}

int tiled_make_seams(const pare_host *host, const struct tiled_planes_kernels *kernels,
                     struct tiled_layout *l) {
    struct tiled_planes *p = &l->planes;
    size_t most = (size_t)tiled_count_moves(p);
    p->seams = host->alloc(host, most * sizeof *p->seams);
    p->moves = host->alloc(host, most * sizeof *p->moves);
    if (p->seams == NULL || p->moves == NULL) {
        return 0;
    }
    /* First own places lose what is outside the image, then the others are made of them. */
    visit(kernels, l, 1, 0, 0);
    int32_t n_own = p->n_seams;
    visit(kernels, l, 0, n_own, 0);
    for (int32_t k = 0; k < p->n_seams; k++) {
        p->seams[k].first = p->n_moves;
        p->n_moves += p->seams[k].n;
        p->seams[k].n = 0;
    }
    visit(kernels, l, 1, 0, 1);
    visit(kernels, l, 0, n_own, 1);
    return 1;
}
