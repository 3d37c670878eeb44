/* SPDX-License-Identifier: MIT */
/* write_model FOLDER: a model in which every way to store a weight occurs, as
 * FOLDER/model.safetensors, and the fp32 values of its weights as FOLDER/dump/<name>.f32 for the
 * independent reader. */
#include "../unit/model_fixtures.h"
#include "core/file.h"
#include "core/rng.h"

static struct error err;

static void check(pare_status status) {
    if (status == PARE_OK)
        return;
    fprintf(stderr, "write_model: %s\n", err.text);
    exit(1);
}

/* Which elements of weight k are kept: about one in 5, in 9 or in 40, or two of each four. */
static void make_mask(int32_t k, int64_t n, pare_rng *rng, uint8_t *mask) {
    static const uint64_t every[] = {1, 5, 9, 40};
    for (int64_t e = 0; e < n; e++) {
        int keep = k % 5 == 4 ? (e + e / 4) % 4 < 2 : rng_below(rng, every[k % 5]) == 0;
        mask[e] = (uint8_t)keep;
    }
}

/* Shares values where k is a multiple of 3: what a codebook is for. */
static void share_values(struct model *m, int32_t weight, int32_t k) {
    const int64_t n = m->graph.weights[weight]->n_elems;
    float *data = model_weight_data(m, weight);
    for (int64_t e = 0; e < n && k % 3 == 0; e++)
        data[e] = (float)(1 + e * e % 7) * 0.125f;
}

/* Weight k gets k mod 17 bits (0: float), one scale or many, and a mask in four of five cases. */
static void store_variously(struct model *m) {
    pare_rng rng;
    rng_init(&rng, 1, "write_model", 0);
    int32_t k = 0;
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        if (w->role != PARE_ROLE_WEIGHT)
            continue;
        int32_t bits = k % 17, qmax = bits < 2 ? 1 : (1 << (bits - 1)) - 1;
        uint8_t *mask = malloc((size_t)w->n_elems);
        make_mask(k, w->n_elems, &rng, mask);
        share_values(m, i, k);
        if (k % 5 != 0 && bits != 1)
            check(model_set_mask(m, i, mask, &err));
        free(mask);
        int32_t n = k % 2 == 0 ? (int32_t)w->dims[0] : 1;
        float scale[64];
        for (int32_t c = 0; c < n; c++)
            scale[c] = (0.1f + rng_float(&rng)) / (float)qmax;
        pare_quant q = {bits, -qmax, qmax, n == 1 ? -1 : 0, n, scale, NULL};
        if (bits > 0)
            check(model_set_weight_quant(m, i, &q, NULL, &err));
        k++;
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: write_model FOLDER\n");
        return 2;
    }
    struct model *m = make_resnet(3, 'B', 8, 3);
    model_init_weights(m, 1);
    store_variously(m);
    char path[4096];
    snprintf(path, sizeof path, "%s/dump", argv[1]);
    check(file_make_dirs(path, &err));
    for (int32_t i = 0; i < m->graph.n_weights; i++) {
        const pare_weight *w = m->graph.weights[i];
        snprintf(path, sizeof path, "%s/dump/%s.f32", argv[1], w->name);
        check(file_write(path, w->data, (size_t)w->n_elems * sizeof(float), &err));
    }
    snprintf(path, sizeof path, "%s/model.safetensors", argv[1]);
    check(model_save(m, path, NULL, 0, &err));
    model_destroy(m);
    return 0;
}
