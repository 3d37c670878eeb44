/* SPDX-License-Identifier: MIT */
#include "train/batches.h"

#include "core/alloc.h"
#include "core/rng.h"

#include <stdlib.h>
#include <string.h>

enum { IMAGES_PER_TASK = 16 };

int64_t batches_per_epoch(int64_t n, int32_t batch) {
    const int64_t most = batch < 1 ? 1 : batch;
    return n < 1 ? 0 : (n + most - 1) / most;
}

pare_status batches_create(const struct dataset *ds, int32_t batch, int32_t shift, int32_t flip,
                           uint64_t seed, struct error *err, struct batches *out) {
    const int64_t n = ds->splits[SPLIT_TRAIN].n;
    const size_t image_elems = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    if (dataset_need_train(ds, "training", err) != PARE_OK) {
        return err->status;
    }
    if (n < 1 || n > UINT32_MAX) {
        return error_set(err, PARE_E_ARG, "%s: the training split has %lld images, wanted 1..%u",
                         ds->name, (long long)n, UINT32_MAX);
    }
    if (ds->dims[2] < 1 || ds->dims[2] > 3) {
        return error_set(err, PARE_E_ARG, "%s: images have %d channels, wanted 1..3", ds->name,
                         ds->dims[2]);
    }
    struct batches b = {.ds = ds, .seed = seed, .epoch = -1};
    b.steps_per_epoch = batches_per_epoch(n, batch);
    b.shift = shift >= 0 ? shift : ds->dims[2] == 3 ? 4 : 2;
    b.flip = flip >= 0 ? flip : ds->flip;
    b.order = alloc_array((size_t)n, sizeof *b.order);
    b.images = alloc_array((size_t)batch, image_elems * sizeof *b.images);
    b.labels = alloc_array((size_t)batch, 1);
    if (!b.order || !b.images || !b.labels) {
        batches_destroy(&b);
        return error_set(err, PARE_E_NOMEM, "%s: out of memory for batches of %d", ds->name, batch);
    }
    for (int32_t c = 0; c < ds->dims[2] && c < 3; c++) {
        for (int32_t pixel = 0; pixel < 256; pixel++) {
            b.table[c][pixel] = ((float)pixel / 255.0f - ds->mean[c]) / ds->stddev[c];
        }
    }
    *out = b;
    return PARE_OK;
}

void batches_destroy(struct batches *b) {
    free(b->order);
    free(b->images);
    free(b->labels);
    *b = (struct batches){NULL};
}

/* Pixel (y,x) of the result is pixel (y+dy, x+dx) of the image, or black outside; then mirrored. */
static void augment(const struct batches *b, const uint8_t *image, int64_t dy, int64_t dx, int flip,
                    float *to) {
    const int64_t h = b->ds->dims[0];
    const int64_t w = b->ds->dims[1];
    const int64_t channels = b->ds->dims[2];
    for (int64_t y = 0; y < h; y++) {
        const int64_t from_y = y + dy;
        for (int64_t x = 0; x < w; x++, to += channels) {
            const int64_t from_x = (flip ? w - 1 - x : x) + dx;
            const int inside = from_y >= 0 && from_y < h && from_x >= 0 && from_x < w;
            const uint8_t *pixel = image + (from_y * w + from_x) * channels;
            for (int64_t c = 0; c < channels; c++) {
                to[c] = b->table[c][inside ? pixel[c] : 0];
            }
        }
    }
}

struct load_run {
    struct batches *b;
    int64_t first; /* place in the epoch's order */
    int64_t epoch;
};

static void load_body(void *arg, int64_t index, int32_t thread) {
    (void)thread;
    const struct load_run *r = arg;
    const struct batches *b = r->b;
    const struct dataset_split *split = &b->ds->splits[SPLIT_TRAIN];
    const int64_t image_elems = (int64_t)b->ds->dims[0] * b->ds->dims[1] * b->ds->dims[2];
    const uint64_t range = 2 * (uint64_t)b->shift + 1;
    for (int64_t i = index * IMAGES_PER_TASK; i < b->n && i < (index + 1) * IMAGES_PER_TASK; i++) {
        const int64_t item = b->order[r->first + i];
        pare_rng rng;
        rng_init(&rng, b->seed, "augment",
                 (uint64_t)r->epoch * (uint64_t)split->n + (uint64_t)item);
        const int64_t dy = (int64_t)rng_below(&rng, range) - b->shift;
        const int64_t dx = (int64_t)rng_below(&rng, range) - b->shift;
        const int flip = b->flip && rng_below(&rng, 2) == 1;
        augment(b, split->images + item * image_elems, dy, dx, flip, b->images + i * image_elems);
        b->labels[i] = split->labels[item];
    }
}

void batches_load(struct batches *b, int64_t step, struct pool *pool) {
    const int64_t n = b->ds->splits[SPLIT_TRAIN].n;
    const int64_t epoch = step / b->steps_per_epoch;
    const int64_t at = step % b->steps_per_epoch;
    if (epoch != b->epoch) {
        for (int64_t i = 0; i < n; i++) {
            b->order[i] = (uint32_t)i;
        }
        pare_rng rng;
        rng_init(&rng, b->seed, "shuffle", (uint64_t)epoch);
        rng_shuffle(&rng, b->order, (uint32_t)n);
        b->epoch = epoch;
    }
    struct load_run r = {b, n * at / b->steps_per_epoch, epoch};
    b->n = (int32_t)(n * (at + 1) / b->steps_per_epoch - r.first);
    pool_run(pool, (b->n + IMAGES_PER_TASK - 1) / IMAGES_PER_TASK, load_body, &r);
}
