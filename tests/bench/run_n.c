/* SPDX-License-Identifier: MIT */
/* run_n MODEL BACKEND ISA PRECISION BATCH N: runs a model file N times on one thread, and nothing
 * that depends on time; for counting instructions (scripts/bench/arm_instructions.sh). ISA "best":
 * the best here. PRECISION is what `pare bench` takes: grids are chosen on the images that are run,
 * because instructions do not depend on them. With N of 0 it prints the kernels and their bytes. */
#include "core/alloc.h"
#include "core/pool.h"
#include "core/rng.h"
#include "experiment/deployment.h"
#include "experiment/precision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;

static void check(pare_status status) {
    if (status != PARE_OK) {
        fprintf(stderr, "run_n: %s\n", err.text);
        exit(1);
    }
}

/* As many images of noise as a batch takes, for running and for choosing grids. */
static struct dataset seeded_dataset(const pare_graph *g, int32_t batch) {
    const int32_t *d = g->input_dims;
    size_t pixels = (size_t)batch * (size_t)d[0] * (size_t)d[1] * (size_t)d[2];
    uint8_t *bytes = alloc_array(pixels + (size_t)batch, 1);
    pare_rng rng;
    if (d[2] > 3)
        check(error_set(&err, PARE_E_UNSUPPORTED, "images of %d channels, wanted 1..3", d[2]));
    if (!bytes)
        check(error_set(&err, PARE_E_NOMEM, "out of memory for images"));
    rng_init(&rng, 1, "run-n", 0);
    for (size_t i = 0; i < pixels; i++)
        bytes[i] = (uint8_t)rng_below(&rng, 256);
    memset(bytes + pixels, 0, (size_t)batch);
    struct dataset_split split = {batch, bytes, bytes + pixels};
    return (struct dataset){.name = "seeded",
                            .dims = {d[0], d[1], d[2]},
                            .n_classes = g->n_classes,
                            .mean = {0.5f, 0.5f, 0.5f},
                            .stddev = {0.25f, 0.25f, 0.25f},
                            .splits = {split, split, split},
                            .storage = bytes};
}

static float *all_images(const struct dataset *ds, int32_t batch) {
    size_t n = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    float *images = alloc_array((size_t)batch * n, sizeof *images);
    uint32_t *items = alloc_array((size_t)batch, sizeof *items);
    if (!images || !items)
        check(error_set(&err, PARE_E_NOMEM, "out of memory for images"));
    for (uint32_t i = 0; i < (uint32_t)batch; i++)
        items[i] = i;
    dataset_batch(ds, SPLIT_TEST, items, batch, images);
    free(items);
    return images;
}

int main(int argc, char **argv) {
    struct model *model;
    struct registry *reg;
    struct pool *pool;
    struct deployment *dep;
    int batch = argc == 7 ? atoi(argv[5]) : 0;
    int n = argc == 7 ? atoi(argv[6]) : 0;
    if (batch < 1 || n < 0 || argc != 7) {
        fprintf(stderr, "usage: run_n MODEL BACKEND ISA|best PRECISION BATCH N\n");
        return 2;
    }
    check(model_load(argv[1], &err, &model));
    check(registry_create(&err, &reg));
    check(registry_scan_default(reg, &err));
    const struct precision *precision = precision_find(argv[4], &err);
    if (!precision)
        check(err.status);
    struct dataset ds = seeded_dataset(&model->graph, batch);
    if (precision->bits)
        check(precision_apply(precision, model, &ds, batch, 1, reg, &err));
    check(pool_create(1, NULL, &err, &pool));
    const char *isa = strcmp(argv[3], "best") == 0 ? NULL : argv[3];
    check(deployment_create(&model->graph, reg, argv[2], isa, batch, pool, &err, &dep));
    float *images = all_images(&ds, batch);
    float *outputs = alloc_array((size_t)batch * (size_t)dep->n_outputs, sizeof *outputs);
    if (!outputs)
        check(error_set(&err, PARE_E_NOMEM, "out of memory for outputs"));
    const pare_backend *b = instance_entry(dep->inst)->backend;
    for (int i = 0; i < n; i++)
        check(instance_status(dep->inst, b->run(dep->executable, images, batch, outputs), "run",
                              &err));
    printf("%s %s\n", dep->info->isa, dep->info->execution);
    for (int32_t k = 0; n == 0 && k < dep->info->n_kernels; k++)
        printf("%s %lld\n", dep->info->kernels[k]->kernel,
               (long long)dep->info->kernels[k]->weight_bytes);
    free(outputs);
    free(images);
    free(ds.storage);
    deployment_destroy(dep);
    pool_destroy(pool);
    registry_destroy(reg);
    model_destroy(model);
    return 0;
}
