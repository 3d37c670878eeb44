/* SPDX-License-Identifier: MIT */
/* Sparse convolutions between planes: how a tile is cut into spots, and the weights that are not 0.
 */
#include "tiled.h"

#include <string.h>

/* What a pass may touch of the input, so that it stays in the first-level cache beside what is
 * made of it. */
#define PASS_BYTES 32768

static int32_t least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* Cuts n_rows rows of a tile from `row` on; returns the number of spots. */
static int32_t cut_rows(const struct tiled_planes *out, int32_t row, int32_t n_rows, int32_t most,
                        struct tiled_spot *spots) {
    struct tiled_split split =
        tiled_split_positions(out->pitch_w, least(most / n_rows, TILED_SPOT_COLS));
    int32_t n = 0;
    int32_t col = 0;
    for (int k = 0; k < 2; k++) {
        for (int32_t tile = 0; tile < split.n_tiles[k]; tile++, n++) {
            if (spots != NULL) {
                spots[n] = (struct tiled_spot){row, col, n_rows, split.positions[k]};
            }
            col += split.positions[k];
        }
    }
    return n;
}

/* In spots of n_rows rows, then of fewer. */
static int32_t cut_by(const struct tiled_planes *out, int32_t n_rows, int32_t most,
                      struct tiled_spot *spots) {
    int32_t n = 0;
    for (int32_t row = 0; row < out->pitch_h; row += n_rows) {
        while (out->pitch_h - row < n_rows) {
            n_rows /= 2;
        }
        n += cut_rows(out, row, n_rows, most, spots != NULL ? spots + n : NULL);
    }
    return n;
}

/* For spots of n_rows rows. */
static int32_t count_passes(const struct tiled_planes_kernels *kernels, const struct lower_step *s,
                            const struct tiled_planes *out, int32_t n_rows) {
    int32_t rows = least(n_rows, out->pitch_h);
    int32_t cols = least(least(kernels->max_positions / n_rows, TILED_SPOT_COLS), out->pitch_w);
    int64_t vectors = ((rows - 1) * (int64_t)s->stride_h + s->kernel_h) *
                      ((cols - 1) * (int64_t)s->stride_w + s->kernel_w);
    int64_t bytes = vectors * kernels->grid_h * kernels->grid_w * (int64_t)sizeof(float);
    int64_t channels = bytes < PASS_BYTES ? PASS_BYTES / bytes : 1;
    return (int32_t)((s->in_c + channels - 1) / channels);
}

int32_t tiled_cut_sparse(const struct tiled_planes_kernels *kernels, const struct lower_step *s,
                         const struct tiled_planes *out, struct tiled_spot *spots,
                         int32_t *n_passes) {
    int32_t best = 1;
    for (int32_t rows = 2; rows <= 4; rows *= 2) {
        if (cut_by(out, rows, kernels->max_positions, NULL) <
            cut_by(out, best, kernels->max_positions, NULL)) {
            best = rows;
        }
    }
    *n_passes = count_passes(kernels, s, out, best);
    return cut_by(out, best, kernels->max_positions, spots);
}

/* Input channels [*first, *end) of pass k of n. */
static void pass_channels(const struct lower_step *s, int32_t k, int32_t n, int32_t *first,
                          int32_t *end) {
    *first = (int32_t)((int64_t)s->in_c * k / n);
    *end = (int32_t)((int64_t)s->in_c * (k + 1) / n);
}

/* The taps of one output channel in one pass; returns how many. */
static int64_t put_taps(const struct lower_step *s, const struct tiled_layout *in, int64_t channel,
                        int32_t first, int32_t end, struct tiled_tap *taps) {
    const float *w = s->weight_f32 + channel * s->kernel_h * s->kernel_w * s->in_c;
    int64_t n = 0;
    for (int32_t c = first; c < end; c++) {
        for (int64_t k = 0; k < (int64_t)s->kernel_h * s->kernel_w; k++) {
            float weight = w[k * s->in_c + c];
            if (weight != 0.0f) {
                int64_t at = c * in->planes.plane_bytes + k / s->kernel_w * in->row_bytes +
                             k % s->kernel_w * in->pixel_bytes;
                taps[n++] = (struct tiled_tap){(int32_t)at, weight};
            }
        }
    }
    return n;
}

int64_t tiled_count_taps(const struct lower_step *s) {
    int64_t n = 0;
    for (int64_t k = 0; k < (int64_t)s->out_c * s->kernel_h * s->kernel_w * s->in_c; k++) {
        n += s->weight_f32[k] != 0.0f;
    }
    return n;
}

int tiled_pack_sparse(struct tiled_packer *packer, struct tiled_step *step, int64_t *weight_bytes) {
    const struct lower_step *s = &step->low;
    struct tiled_sparse *p = &step->sparse;
    const struct tiled_planes_kernels *kernels = packer->kernels->planes;
    const struct tiled_planes *out = &packer->plan->layouts[s->out].planes;
    const struct tiled_layout *in = &packer->plan->layouts[s->in[0]];
    p->n_spots = tiled_cut_sparse(kernels, s, out, NULL, &p->n_passes);
    p->n_taps = tiled_count_taps(s);
    int64_t n_lists = (int64_t)p->n_passes * s->out_c;
    p->spots = tiled_keep(packer, p->n_spots, sizeof *p->spots);
    p->first = tiled_keep(packer, n_lists + 1, sizeof *p->first);
    p->taps = tiled_keep(packer, p->n_taps, sizeof *p->taps);
    p->bias = tiled_keep(packer, s->out_c, sizeof *p->bias);
    if (p->spots == NULL || p->first == NULL || p->taps == NULL || p->bias == NULL) {
        return 0;
    }
    tiled_cut_sparse(kernels, s, out, p->spots, &p->n_passes);
    memcpy(p->bias, s->bias_f32, (size_t)s->out_c * sizeof *p->bias);
    for (int64_t k = 0; k < n_lists; k++) {
        int32_t first, end;
        pass_channels(s, (int32_t)(k / s->out_c), p->n_passes, &first, &end);
        p->first[k + 1] =
            p->first[k] + put_taps(s, in, k % s->out_c, first, end, p->taps + p->first[k]);
    }
    *weight_bytes = p->n_taps * (int64_t)sizeof *p->taps;
    return 1;
}
