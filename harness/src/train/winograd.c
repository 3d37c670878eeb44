/* SPDX-License-Identifier: MIT */
#include "train/winograd.h"

/* Tiles are worked on in bands of rows, so that the points of one band stay in the cache; both
 * bounds were measured. */
enum { BAND_FLOATS = 16 * 1024, BLOCK = 16 };

int winograd_applies(const struct conv *c) {
    return c->kernel_h == 3 && c->kernel_w == 3 && c->stride_h == 1 && c->stride_w == 1 &&
           c->groups == 1 && c->pad_h <= 2 && c->pad_w <= 2 && c->in_c % BLOCK == 0 &&
           c->out_c % BLOCK == 0 && c->in_h % 2 == 0 && c->in_w % 2 == 0 && c->out_h % 2 == 0 &&
           c->out_w % 2 == 0;
}

static int32_t band_rows(int32_t h, int32_t w, int32_t channels) {
    const int64_t rows = BAND_FLOATS / (16 * (int64_t)(w / 2) * channels);
    return rows < 1 ? 1 : rows > h / 2 ? h / 2 : (int32_t)rows;
}

/* The distance between the planes of points. A power of two would put all sixteen into the same
 * sets of the cache; a line more spreads them. */
static ptrdiff_t plane_elems(int32_t n_tiles, int32_t channels) {
    return (ptrdiff_t)n_tiles * channels + 16;
}

static int32_t most_channels(int32_t a, int32_t b) {
    return a > b ? a : b;
}

/* Room for the points of two bands, of whichever of the passes has more. */
int64_t winograd_tile_elems(const struct conv *c) {
    const int32_t channels = most_channels(c->in_c, c->out_c);
    const int64_t forward = (int64_t)band_rows(c->out_h, c->out_w, channels) * (c->out_w / 2);
    const int64_t backward = (int64_t)band_rows(c->in_h, c->in_w, channels) * (c->in_w / 2);
    const int64_t n_tiles = forward > backward ? forward : backward;
    return 2 * 16 * (n_tiles * channels + 16) + KERNEL_SLACK;
}

/* ---- weights ---- */

struct pack {
    const struct kernels *k;
    const struct conv *c;
    const float *from;
    float *to;
};

static void pack_forward_body(void *arg, int64_t index, int32_t thread) {
    (void)thread;
    const struct pack *p = arg;
    const int64_t plane = (int64_t)p->c->in_c * p->c->out_c;
    const int64_t at = index * BLOCK * p->c->out_c;
    p->k->winograd_weight(p->from + at, plane, BLOCK * (int64_t)p->c->out_c, 0, p->to + at, plane);
}

void winograd_pack_forward(const struct kernels *k, const struct conv *c, const float *taps,
                           struct pool *pool, float *packed) {
    struct pack p = {k, c, taps, packed};
    pool_run(pool, c->in_c / BLOCK, pack_forward_body, &p);
}

static void pack_backward_body(void *arg, int64_t index, int32_t thread) {
    (void)thread;
    const struct pack *p = arg;
    const int64_t in = p->c->in_c;
    for (int64_t oc = index * BLOCK; oc < (index + 1) * BLOCK; oc++) {
        p->k->winograd_weight(p->from + oc * 9 * in, in, in, 1, p->to + oc * in, in * p->c->out_c);
    }
}

void winograd_pack_backward(const struct kernels *k, const struct conv *c, const float *w,
                            struct pool *pool, float *packed) {
    struct pack p = {k, c, w, packed};
    pool_run(pool, c->out_c / BLOCK, pack_backward_body, &p);
}

void winograd_finish_weights(const struct kernels *k, const struct conv *c, const float *gw_sum,
                             float *gw) {
    const int64_t in = c->in_c;
    for (int64_t oc = 0; oc < c->out_c; oc++) {
        k->winograd_weight_back(gw_sum + oc * in, in * c->out_c, in, gw + oc * 9 * in, in);
    }
}

/* ---- passes ---- */

enum { LINE_FLOATS = 16 };

/* The share of it that goes with rows [from, to) of all `whole`. */
static void fetch_ahead(const struct conv_ahead *ahead, int64_t from, int64_t to, int64_t whole) {
    for (int i = 0; i < 6; i++) {
        const int64_t end = ahead->n[i] * to / whole;
        for (int64_t e = ahead->n[i] * from / whole; ahead->at[i] && e < end; e += LINE_FLOATS) {
            __builtin_prefetch(ahead->at[i] + e, 0, 2);
        }
    }
}

void winograd_convolve(const struct kernels *k, const struct winograd_pass *p,
                       const struct conv_scratch *scratch) {
    float *tiles = scratch->tiles;
    const int32_t n_w = p->out_w / 2;
    const int32_t rows = band_rows(p->out_h, p->out_w, most_channels(p->in_c, p->out_c));
    float *points = tiles + 16 * plane_elems(rows * n_w, p->in_c);
    for (int32_t row = 0; row < p->out_h / 2; row += rows) {
        const int32_t n_h = p->out_h / 2 - row < rows ? p->out_h / 2 - row : rows;
        const int32_t n = n_h * n_w;
        const struct gemm g = {
            .a = tiles,
            .b = p->packed,
            .c = points,
            .n_r = 16,
            .n_m = n,
            .n_n = p->out_c,
            .n_j = 1,
            .n_k = p->in_c,
            .a_r = plane_elems(n, p->in_c),
            .a_m = p->in_c,
            .a_k = 1,
            .b_r = (ptrdiff_t)p->in_c * p->out_c,
            .b_k = p->out_c,
            .c_r = plane_elems(n, p->out_c),
            .c_m = p->out_c,
        };
        const ptrdiff_t y_pitch = (ptrdiff_t)p->out_w * p->out_c;
        const int32_t done = p->ahead_part * (p->out_h / 2) + row;
        fetch_ahead(&scratch->ahead, done, done + n_h, p->ahead_parts * (p->out_h / 2));
        k->winograd_input(p->x + 2 * row * p->pitch, p->pitch, n_h, n_w, p->in_c, tiles, g.a_r);
        k->gemm(&g);
        k->winograd_output(points, g.c_r, n_h, n_w, p->out_c, p->add, p->y + 2 * row * y_pitch,
                           y_pitch);
    }
}

static void weight_gradient(const struct kernels *k, const struct conv *c, const float *image,
                            const float *gradient, ptrdiff_t gradient_pitch,
                            const struct conv_scratch *scratch, const struct conv_gradients *out) {
    float *tiles = scratch->tiles;
    const int32_t n_w = c->out_w / 2;
    const int32_t rows = band_rows(c->out_h, c->out_w, most_channels(c->in_c, c->out_c));
    const ptrdiff_t pitch = (ptrdiff_t)(c->out_w + 2) * c->in_c;
    float *points = tiles + 16 * plane_elems(rows * n_w, c->in_c);
    for (int32_t row = 0; row < c->out_h / 2; row += rows) {
        const int32_t n_h = c->out_h / 2 - row < rows ? c->out_h / 2 - row : rows;
        const int32_t n = n_h * n_w;
        const struct gemm g = {
            .a = points,
            .b = tiles,
            .c = out->gw_sum,
            .n_r = 16,
            .n_m = c->out_c,
            .n_n = c->in_c,
            .n_j = 1,
            .n_k = n,
            .accumulate = out->gw_accumulate || row > 0,
            .a_r = plane_elems(n, c->out_c),
            .a_m = 1,
            .a_k = c->out_c,
            .b_r = plane_elems(n, c->in_c),
            .b_k = c->in_c,
            .c_r = (ptrdiff_t)c->in_c * c->out_c,
            .c_m = c->in_c,
        };
        fetch_ahead(&scratch->ahead, row, row + n_h, (out->gx ? 2 : 1) * (c->out_h / 2));
        k->winograd_input(image + 2 * row * pitch, pitch, n_h, n_w, c->in_c, tiles, g.b_r);
        k->winograd_gradient(gradient + 2 * row * gradient_pitch, gradient_pitch, n_h, n_w,
                             c->out_c, points, g.a_r);
        k->gemm(&g);
    }
}

void winograd_backward(const struct kernels *k, const struct conv *c, const float *image,
                       const float *gradient, ptrdiff_t gradient_pitch, const float *packed,
                       const struct conv_scratch *scratch, const struct conv_gradients *out) {
    weight_gradient(k, c, image, gradient, gradient_pitch, scratch, out);
    if (out->gx) {
        /* Input pixel (0,0) is read with the outputs from pad - 2 on. */
        const struct winograd_pass p = {
            .x = gradient + (c->pad_h - 2) * gradient_pitch + (ptrdiff_t)(c->pad_w - 2) * c->out_c,
            .pitch = gradient_pitch,
            .in_c = c->out_c,
            .packed = packed,
            .y = out->gx,
            .out_h = c->in_h,
            .out_w = c->in_w,
            .out_c = c->in_c,
            .add = out->gx_accumulate,
            .ahead_part = 1,
            .ahead_parts = 2,
        };
        winograd_convolve(k, &p, scratch);
    }
}
