/* SPDX-License-Identifier: MIT */
#include "train/conv.h"

#include "train/winograd.h"

#include <string.h>

enum { PACK_COLUMNS = 16 }; /* packed rows are padded to this many floats, the widest vector */

static int64_t padded(int64_t n) {
    return (n + PACK_COLUMNS - 1) / PACK_COLUMNS * PACK_COLUMNS;
}

static int32_t min32(int32_t a, int32_t b) {
    return a < b ? a : b;
}

static int32_t max32(int32_t a, int32_t b) {
    return a > b ? a : b;
}

struct conv conv_of(const pare_graph *graph, const pare_node *node, int fast) {
    const int32_t *in = graph->nodes[node->inputs[0]]->dims;
    struct conv c = {
        .in_h = in[0],
        .in_w = in[1],
        .in_c = in[2],
        .out_h = node->dims[0],
        .out_w = node->dims[1],
        .out_c = node->dims[2],
        .kernel_h = node->kernel_h,
        .kernel_w = node->kernel_w,
        .stride_h = node->stride_h,
        .stride_w = node->stride_w,
        .pad_h = node->pad_h,
        .pad_w = node->pad_w,
        .groups = node->groups,
    };
    c.winograd = fast && !node->weights[PARE_ROLE_BIAS] && winograd_applies(&c);
    return c;
}

/* ---- geometry ----
 * The gradient of image row iy = phase + stride * t takes kernel rows kh = first + stride * i and
 * output rows oy = base + t - i: a convolution of stride 1 for each phase. Read with i reversed,
 * the rows of the gradient go upwards: base + t - (taps - 1) + i'. */
struct phase {
    int32_t first, taps; /* kernel rows */
    int32_t start;       /* the first output row that t = 0 reads; may be negative */
    int32_t count;       /* how many t there are */
};

static struct phase phase_of(int32_t phase, int32_t kernel, int32_t stride, int32_t pad,
                             int32_t in) {
    struct phase p;
    p.first = (phase + pad) % stride;
    p.taps = p.first < kernel ? (kernel - p.first + stride - 1) / stride : 0;
    p.start = (phase + pad - p.first) / stride - (p.taps - 1);
    p.count = phase < in ? (in - phase + stride - 1) / stride : 0;
    return p;
}

/* Which output rows [*from, *to) any phase reads, those that exist included. */
static void gradient_range(int32_t kernel, int32_t stride, int32_t pad, int32_t in, int32_t out,
                           int32_t *from, int32_t *to) {
    *from = 0;
    *to = out;
    for (int32_t i = 0; i < stride; i++) {
        const struct phase p = phase_of(i, kernel, stride, pad, in);
        if (p.taps > 0 && p.count > 0) {
            *from = min32(*from, p.start);
            *to = max32(*to, p.start + p.count - 1 + p.taps);
        }
    }
}

static int32_t image_h(const struct conv *c) {
    return (c->out_h - 1) * c->stride_h + c->kernel_h;
}

static int32_t image_w(const struct conv *c) {
    return (c->out_w - 1) * c->stride_w + c->kernel_w;
}

int64_t conv_packed_elems(const struct conv *c) {
    if (c->winograd) { /* the points, and room to order the taps for them */
        return (16 + 9) * (int64_t)c->in_c * c->out_c + KERNEL_SLACK;
    }
    const int64_t in = c->in_c / c->groups;
    const int64_t out = c->out_c / c->groups;
    const int64_t taps = (int64_t)c->groups * c->kernel_h * c->kernel_w;
    const int64_t forward = taps * in * padded(out);
    const int64_t backward = taps * out * padded(in);
    return (forward > backward ? forward : backward) + KERNEL_SLACK;
}

int64_t conv_image_elems(const struct conv *c) {
    return (int64_t)image_h(c) * image_w(c) * c->in_c + KERNEL_SLACK;
}

int64_t conv_gradient_elems(const struct conv *c) {
    int32_t y0, y1, x0, x1;
    gradient_range(c->kernel_h, c->stride_h, c->pad_h, c->in_h, c->out_h, &y0, &y1);
    gradient_range(c->kernel_w, c->stride_w, c->pad_w, c->in_w, c->out_w, &x0, &x1);
    return (int64_t)(y1 - y0) * (x1 - x0) * c->out_c + KERNEL_SLACK;
}

int64_t conv_tile_elems(const struct conv *c) {
    return c->winograd ? winograd_tile_elems(c) : 0;
}

int64_t conv_sum_elems(const struct conv *c) {
    const int64_t taps = c->winograd ? 16 : (int64_t)c->kernel_h * c->kernel_w;
    return taps * c->out_c * (c->in_c / c->groups);
}

/* ---- packing ---- */

struct pack {
    const struct conv *c;
    const float *w;
    float *packed;
};

/* (groups, KH, KW, IC, padded OC): one index is PACK_COLUMNS output channels of one group. */
static void pack_forward_body(void *arg, int64_t index, int32_t thread) {
    (void)thread;
    const struct pack *p = arg;
    const struct conv *c = p->c;
    const int32_t in = c->in_c / c->groups;
    const int32_t out = c->out_c / c->groups;
    const int64_t depth = (int64_t)c->kernel_h * c->kernel_w * in;
    const int64_t row = padded(out);
    const int64_t blocks = row / PACK_COLUMNS;
    const int64_t group = index / blocks;
    const int64_t first = index % blocks * PACK_COLUMNS;
    float *to = p->packed + group * depth * row + first;
    const int64_t n = out - first < PACK_COLUMNS ? out - first : PACK_COLUMNS;
    const float *from = p->w + (group * out + first) * depth;
    for (int64_t k = 0; k < depth; k++) {
        for (int64_t o = 0; o < n; o++) {
            to[k * row + o] = from[o * depth + k];
        }
        for (int64_t o = n; o < PACK_COLUMNS; o++) {
            to[k * row + o] = 0.0f;
        }
    }
}

void conv_pack_forward(const struct kernels *k, const struct conv *c, const float *w,
                       struct pool *pool, float *packed) {
    float *taps = c->winograd ? packed + 16 * (int64_t)c->in_c * c->out_c : packed;
    struct pack p = {c, w, taps};
    pool_run(pool, c->groups * (padded(c->out_c / c->groups) / PACK_COLUMNS), pack_forward_body,
             &p);
    if (c->winograd) {
        winograd_pack_forward(k, c, taps, pool, packed);
    }
}

/* For each phase (groups, taps_h, taps_w, OC, padded IC), the taps reversed. */
void conv_pack_backward(const struct kernels *k, const struct conv *c, const float *w,
                        struct pool *pool, float *packed) {
    if (c->winograd) {
        winograd_pack_backward(k, c, w, pool, packed);
        return;
    }
    const int32_t in = c->in_c / c->groups;
    const int32_t out = c->out_c / c->groups;
    const int64_t row = padded(in);
    float *to = packed;
    for (int32_t phase = 0; phase < c->stride_h * c->stride_w; phase++) {
        const struct phase v =
            phase_of(phase / c->stride_w, c->kernel_h, c->stride_h, c->pad_h, c->in_h);
        const struct phase h =
            phase_of(phase % c->stride_w, c->kernel_w, c->stride_w, c->pad_w, c->in_w);
        const int64_t taps = (int64_t)c->groups * v.taps * h.taps;
        for (int64_t t = 0; t < taps; t++) {
            const int64_t group = t / (v.taps * h.taps);
            const int64_t kh = v.first + c->stride_h * (v.taps - 1 - t / h.taps % v.taps);
            const int64_t kw = h.first + c->stride_w * (h.taps - 1 - t % h.taps);
            for (int64_t o = 0; o < out; o++) {
                const float *from =
                    w + (((group * out + o) * c->kernel_h + kh) * c->kernel_w + kw) * in;
                memcpy(to, from, (size_t)in * sizeof *to);
                memset(to + in, 0, (size_t)(row - in) * sizeof *to);
                to += row;
            }
        }
    }
}

/* ---- padded copies ---- */

/* Rows [y0, y1) and columns [x0, x1) of an (h,w,ch) image, zeros where there is none. */
struct frame {
    int32_t h, w, ch;
    int32_t y0, y1, x0, x1;
};

/* The part of row y that lies in the image: elements [*from, *to) of the copy's row. */
static int32_t frame_row(const struct frame *f, int32_t y, float *row, int64_t *from, int64_t *to) {
    const int64_t width = (int64_t)(f->x1 - f->x0) * f->ch;
    const int32_t left = max32(0, f->x0);
    const int32_t right = min32(f->w, f->x1);
    if (y < 0 || y >= f->h || right <= left) {
        memset(row, 0, (size_t)width * sizeof *row);
        return 0;
    }
    *from = (int64_t)(left - f->x0) * f->ch;
    *to = (int64_t)(right - f->x0) * f->ch;
    memset(row, 0, (size_t)*from * sizeof *row);
    memset(row + *to, 0, (size_t)(width - *to) * sizeof *row);
    return 1;
}

static void copy_image(const struct kernels *k, const struct frame *f, const struct source *x,
                       float *image) {
    const int32_t period = kernel_period(f->ch);
    const int64_t width = (int64_t)(f->x1 - f->x0) * f->ch;
    int64_t from, to;
    for (int32_t y = f->y0; y < f->y1; y++, image += width) {
        if (frame_row(f, y, image, &from, &to)) {
            struct source part = *x;
            part.x += ((int64_t)y * f->w + max32(0, f->x0)) * f->ch;
            k->load(image + from, &part, to - from, period);
        }
    }
    memset(image, 0, KERNEL_SLACK * sizeof *image);
}

static void copy_gradient(const struct kernels *k, const struct frame *f,
                          const struct gradient_source *g, float *gradient) {
    const int32_t period = kernel_period(f->ch);
    const int64_t width = (int64_t)(f->x1 - f->x0) * f->ch;
    int64_t from, to;
    for (int32_t y = f->y0; y < f->y1; y++, gradient += width) {
        if (!frame_row(f, y, gradient, &from, &to)) {
            continue;
        }
        const int64_t at = ((int64_t)y * f->w + max32(0, f->x0)) * f->ch;
        if (g->plain) {
            memcpy(gradient + from, g->plain + at, (size_t)(to - from) * sizeof *gradient);
        } else {
            struct norm_gradient part = g->norm;
            part.g += at;
            part.x += at;
            k->load_gradient(gradient + from, &part, to - from, period);
        }
    }
    memset(gradient, 0, KERNEL_SLACK * sizeof *gradient);
}

static struct frame image_frame(const struct conv *c) {
    return (struct frame){.h = c->in_h,
                          .w = c->in_w,
                          .ch = c->in_c,
                          .y0 = -c->pad_h,
                          .y1 = image_h(c) - c->pad_h,
                          .x0 = -c->pad_w,
                          .x1 = image_w(c) - c->pad_w};
}

/* ---- passes ---- */

void conv_forward(const struct kernels *k, const struct conv *c, const struct source *x,
                  const float *packed, const float *bias, const struct conv_scratch *scratch,
                  float *y) {
    const struct frame f = image_frame(c);
    float *image = scratch->image;
    copy_image(k, &f, x, image);
    if (c->winograd) {
        const struct winograd_pass pass = {
            .x = image,
            .pitch = (ptrdiff_t)image_w(c) * c->in_c,
            .in_c = c->in_c,
            .packed = packed,
            .y = y,
            .out_h = c->out_h,
            .out_w = c->out_w,
            .out_c = c->out_c,
            .ahead_parts = 1,
        };
        winograd_convolve(k, &pass, scratch);
        return;
    }
    const int32_t in = c->in_c / c->groups;
    const int32_t out = c->out_c / c->groups;
    const int64_t row = padded(out);
    const ptrdiff_t pitch = (ptrdiff_t)image_w(c) * c->in_c;
    struct gemm g = {
        .n_r = c->out_h,
        .n_m = c->out_w,
        .n_n = out,
        .a_r = c->stride_h * pitch,
        .a_m = (ptrdiff_t)c->stride_w * c->in_c,
        .a_k = 1,
        .b_k = row,
        .c_r = (ptrdiff_t)c->out_w * c->out_c,
        .c_m = c->out_c,
    };
    if (c->groups == 1) { /* (kw, ic) is one run of floats in the padded image */
        g.a = image;
        g.b = packed;
        g.c = y;
        g.bias = bias;
        g.n_j = c->kernel_h;
        g.n_k = c->kernel_w * in;
        g.a_j = pitch;
        g.b_j = g.n_k * row;
        k->gemm(&g);
        return;
    }
    g.n_j = c->kernel_w;
    g.n_k = in;
    g.a_j = c->in_c;
    g.b_j = in * row;
    for (int32_t group = 0; group < c->groups; group++) {
        for (int32_t kh = 0; kh < c->kernel_h; kh++) {
            g.a = image + kh * pitch + (ptrdiff_t)group * in;
            g.b = packed + ((int64_t)group * c->kernel_h + kh) * c->kernel_w * in * row;
            g.c = y + (ptrdiff_t)group * out;
            g.bias = bias && kh == 0 ? bias + (ptrdiff_t)group * out : NULL;
            g.accumulate = kh > 0;
            k->gemm(&g);
        }
    }
}

static void weight_gradient(const struct kernels *k, const struct conv *c, const float *image,
                            const float *gradient, ptrdiff_t gradient_pitch,
                            const struct conv_gradients *o) {
    const int32_t in = c->in_c / c->groups;
    const int32_t out = c->out_c / c->groups;
    const ptrdiff_t pitch = (ptrdiff_t)image_w(c) * c->in_c;
    struct gemm g = {
        .n_m = out,
        .n_j = c->out_h,
        .n_k = c->out_w,
        .accumulate = o->gw_accumulate,
        .a_m = 1,
        .a_j = gradient_pitch,
        .a_k = c->out_c,
        .b_j = c->stride_h * pitch,
        .b_k = (ptrdiff_t)c->stride_w * c->in_c,
        .c_m = (ptrdiff_t)c->kernel_h * c->kernel_w * in,
    };
    if (c->groups == 1) {
        g.a = gradient;
        g.b = image;
        g.c = o->gw_sum;
        g.n_r = c->kernel_h;
        g.n_n = c->kernel_w * in;
        g.b_r = pitch;
        g.c_r = g.n_n;
        k->gemm(&g);
        return;
    }
    g.n_r = c->kernel_w;
    g.n_n = in;
    g.b_r = c->in_c;
    g.c_r = in;
    for (int32_t group = 0; group < c->groups; group++) {
        for (int32_t kh = 0; kh < c->kernel_h; kh++) {
            g.a = gradient + (ptrdiff_t)group * out;
            g.b = image + kh * pitch + (ptrdiff_t)group * in;
            g.c = o->gw_sum + (ptrdiff_t)group * out * g.c_m + (ptrdiff_t)kh * c->kernel_w * in;
            k->gemm(&g);
        }
    }
}

/* One phase: `gradient` points at output pixel (0,0) in the padded copy. Returns the packed weights
 * of the next phase. */
static const float *phase_gradient(const struct kernels *k, const struct conv *c,
                                   const struct phase *v, const struct phase *h,
                                   const float *gradient, ptrdiff_t pitch, const float *packed,
                                   float *gx, int32_t accumulate) {
    const int32_t in = c->in_c / c->groups;
    const int32_t out = c->out_c / c->groups;
    const int64_t row = padded(in);
    const int64_t group_elems = (int64_t)v->taps * h->taps * out * row;
    const int whole = c->groups == 1;
    struct gemm g = {
        .n_r = v->count,
        .n_m = h->count,
        .n_n = in,
        .n_j = whole ? v->taps : h->taps,
        .n_k = whole ? h->taps * out : out,
        .a_r = pitch,
        .a_m = c->out_c,
        .a_j = whole ? pitch : c->out_c,
        .a_k = 1,
        .b_j = (whole ? h->taps : 1) * out * row,
        .b_k = row,
        .c_r = (ptrdiff_t)c->stride_h * c->in_w * c->in_c,
        .c_m = (ptrdiff_t)c->stride_w * c->in_c,
    };
    const int32_t none = v->taps * h->taps == 0; /* such pixels were read by no output */
    const int32_t calls = whole || none ? 1 : v->taps;
    for (int32_t group = 0; group < c->groups; group++) {
        for (int32_t i = 0; i < calls; i++) {
            g.a = gradient;
            if (none) {
                g.n_j = 0;
            } else {
                g.a += (v->start + i) * pitch + (ptrdiff_t)h->start * c->out_c +
                       (ptrdiff_t)group * out;
            }
            g.b = packed + group * group_elems + i * h->taps * out * row;
            g.c = gx + (ptrdiff_t)group * in;
            g.accumulate = accumulate || i > 0;
            k->gemm(&g);
        }
    }
    return packed + c->groups * group_elems;
}

void conv_backward(const struct kernels *k, const struct conv *c, const struct source *x,
                   const struct gradient_source *gy, const float *packed,
                   const struct conv_scratch *scratch, const struct conv_gradients *out) {
    float *image = scratch->image;
    float *gradient = scratch->gradient;
    struct frame f = {.h = c->out_h, .w = c->out_w, .ch = c->out_c};
    gradient_range(c->kernel_h, c->stride_h, c->pad_h, c->in_h, c->out_h, &f.y0, &f.y1);
    gradient_range(c->kernel_w, c->stride_w, c->pad_w, c->in_w, c->out_w, &f.x0, &f.x1);
    copy_gradient(k, &f, gy, gradient);
    const ptrdiff_t pitch = (ptrdiff_t)(f.x1 - f.x0) * c->out_c;
    const float *origin = gradient - f.y0 * pitch - (ptrdiff_t)f.x0 * c->out_c;
    if (out->bias_sums) {
        for (int32_t y = 0; y < c->out_h; y++) {
            k->channel_sums(origin + y * pitch, (int64_t)c->out_w * c->out_c, c->out_c,
                            kernel_period(c->out_c), scratch->work, out->bias_sums);
        }
    }
    const struct frame image_f = image_frame(c);
    copy_image(k, &image_f, x, image);
    if (c->winograd) {
        winograd_backward(k, c, image, origin, pitch, packed, scratch, out);
        return;
    }
    weight_gradient(k, c, image, origin, pitch, out);
    if (!out->gx) {
        return;
    }
    for (int32_t py = 0; py < c->stride_h; py++) {
        const struct phase v = phase_of(py, c->kernel_h, c->stride_h, c->pad_h, c->in_h);
        for (int32_t px = 0; px < c->stride_w; px++) {
            const struct phase h = phase_of(px, c->kernel_w, c->stride_w, c->pad_w, c->in_w);
            float *gx = out->gx + ((ptrdiff_t)py * c->in_w + px) * c->in_c;
            packed = phase_gradient(k, c, &v, &h, origin, pitch, packed, gx, out->gx_accumulate);
        }
    }
}

void conv_finish_weights(const struct kernels *k, const struct conv *c, const float *gw_sum,
                         float *gw) {
    if (c->winograd) {
        winograd_finish_weights(k, c, gw_sum, gw);
    } else {
        memcpy(gw, gw_sum, (size_t)conv_sum_elems(c) * sizeof *gw);
    }
}

/* ---- linear ---- */

static struct conv linear_as_conv(const struct linear *l) {
    return (struct conv){.in_h = 1,
                         .in_w = 1,
                         .in_c = l->in,
                         .out_h = 1,
                         .out_w = 1,
                         .out_c = l->out,
                         .kernel_h = 1,
                         .kernel_w = 1,
                         .stride_h = 1,
                         .stride_w = 1,
                         .groups = 1};
}

int64_t linear_packed_elems(const struct linear *l) {
    const struct conv c = linear_as_conv(l);
    return conv_packed_elems(&c);
}

void linear_pack_forward(const struct linear *l, const float *w, struct pool *pool, float *packed) {
    const struct conv c = linear_as_conv(l);
    conv_pack_forward(NULL, &c, w, pool, packed);
}

void linear_pack_backward(const struct linear *l, const float *w, float *packed) {
    const struct conv c = linear_as_conv(l);
    conv_pack_backward(NULL, &c, w, NULL, packed);
}

/* A product cut into blocks of rows and columns. */
enum { ROW_BLOCK = 48, COLUMN_BLOCK = 96 };

struct blocks {
    const struct kernels *k;
    const struct gemm *whole;
    int64_t n_columns;
};

static void block_body(void *arg, int64_t index, int32_t thread) {
    (void)thread;
    const struct blocks *b = arg;
    struct gemm g = *b->whole;
    const int32_t m = (int32_t)(index / b->n_columns) * ROW_BLOCK;
    const int32_t n = (int32_t)(index % b->n_columns) * COLUMN_BLOCK;
    g.a += m * g.a_m;
    g.b += n;
    g.c += m * g.c_m + n;
    g.bias = g.bias ? g.bias + n : NULL;
    g.n_m = min32(g.n_m - m, ROW_BLOCK);
    g.n_n = min32(g.n_n - n, COLUMN_BLOCK);
    b->k->gemm(&g);
}

static void run_blocks(const struct kernels *k, const struct gemm *g, struct pool *pool) {
    struct blocks b = {k, g, (g->n_n + COLUMN_BLOCK - 1) / COLUMN_BLOCK};
    const int64_t n_rows = (g->n_m + ROW_BLOCK - 1) / ROW_BLOCK;
    pool_run(pool, n_rows * b.n_columns, block_body, &b);
}

void linear_forward(const struct kernels *k, const struct linear *l, const float *x,
                    const float *packed, const float *bias, int32_t n, struct pool *pool,
                    float *y) {
    const struct gemm g = {.a = x,
                           .b = packed,
                           .c = y,
                           .bias = bias,
                           .n_r = 1,
                           .n_m = n,
                           .n_n = l->out,
                           .n_j = 1,
                           .n_k = l->in,
                           .a_m = l->in,
                           .a_k = 1,
                           .b_k = padded(l->out),
                           .c_m = l->out};
    run_blocks(k, &g, pool);
}

void linear_backward_input(const struct kernels *k, const struct linear *l, const float *gy,
                           const float *packed, int32_t n, int32_t accumulate, struct pool *pool,
                           float *gx) {
    const struct gemm g = {.a = gy,
                           .b = packed,
                           .c = gx,
                           .n_r = 1,
                           .n_m = n,
                           .n_n = l->in,
                           .n_j = 1,
                           .n_k = l->out,
                           .accumulate = accumulate,
                           .a_m = l->out,
                           .a_k = 1,
                           .b_k = padded(l->in),
                           .c_m = l->in};
    run_blocks(k, &g, pool);
}

void linear_backward_weight(const struct kernels *k, const struct linear *l, const float *x,
                            const float *gy, int32_t n, struct pool *pool, float *gw) {
    const struct gemm g = {.a = gy,
                           .b = x,
                           .c = gw,
                           .n_r = 1,
                           .n_m = l->out,
                           .n_n = l->in,
                           .n_j = 1,
                           .n_k = n,
                           .a_m = 1,
                           .a_k = l->out,
                           .b_k = l->in,
                           .c_m = l->in};
    run_blocks(k, &g, pool);
}
