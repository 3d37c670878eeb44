/* SPDX-License-Identifier: MIT */
/* dump_outputs MODEL DATASET N BACKEND FOLDER [ISA]: what a deployed model makes of the first N
 * test images (0: all), as the harness runs it: images.f32 (n,H,W,C), outputs.f32 (n,classes) and
 * labels.u8 (n) in FOLDER. For integer_checkpoint.py and backends_agree.py. */
#include "core/alloc.h"
#include "core/pool.h"
#include "experiment/deployment.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH 64

static struct error err;

static void check(pare_status status) {
    if (status != PARE_OK) {
        fprintf(stderr, "dump_outputs: %s\n", err.text);
        exit(1);
    }
}

static void dump(const char *folder, const char *name, const void *data, size_t n, size_t size) {
    char *path = alloc_printf("%s/%s", folder, name);
    FILE *file = path ? fopen(path, "wb") : NULL;
    if (!file || fwrite(data, size, n, file) != n || fclose(file) != 0) {
        fprintf(stderr, "dump_outputs: cannot write %s/%s\n", folder, name);
        exit(1);
    }
    free(path);
}

static void dump_images(const struct dataset *ds, const char *folder) {
    const struct dataset_split *test = &ds->splits[SPLIT_TEST];
    size_t pixels = (size_t)ds->dims[0] * (size_t)ds->dims[1] * (size_t)ds->dims[2];
    float *images = alloc_array((size_t)test->n * pixels, sizeof *images);
    if (!images)
        check(error_set(&err, PARE_E_NOMEM, "out of memory for the images"));
    dataset_span(ds, SPLIT_TEST, 0, test->n, images);
    dump(folder, "images.f32", images, (size_t)test->n * pixels, sizeof *images);
    dump(folder, "labels.u8", test->labels, (size_t)test->n, 1);
    free(images);
}

int main(int argc, char **argv) {
    struct dataset_options options = {0};
    struct dataset *ds;
    struct model *model;
    struct registry *reg;
    struct pool *pool;
    struct deployment *dep;
    if (argc < 6 || argc > 7 || sscanf(argv[3], "%lld", (long long *)&options.max_test) != 1) {
        fprintf(stderr, "usage: dump_outputs MODEL DATASET N BACKEND FOLDER [ISA]\n");
        return 2;
    }
    check(dataset_open(argv[2], &options, &err, &ds));
    check(model_load(argv[1], &err, &model));
    check(registry_create(&err, &reg));
    check(registry_scan_default(reg, &err));
    check(pool_create(1, NULL, &err, &pool));
    check(deployment_create(&model->graph, reg, argv[4], argc > 6 ? argv[6] : NULL, BATCH, pool,
                            &err, &dep));
    size_t n = (size_t)ds->splits[SPLIT_TEST].n * (size_t)ds->n_classes;
    float *outputs = alloc_array(n, sizeof *outputs);
    if (!outputs || dep->n_outputs != ds->n_classes)
        check(error_set(&err, PARE_E_ARG, "%s does not fit dataset %s", argv[1], argv[2]));
    check(experiment_infer_split(dep->inst, dep->executable, dep->max_batch, ds, SPLIT_TEST, &err,
                                 outputs));
    dump_images(ds, argv[5]);
    dump(argv[5], "outputs.f32", outputs, n, sizeof *outputs);
    printf("%s\n", dep->info->execution);
    free(outputs);
    deployment_destroy(dep);
    pool_destroy(pool);
    registry_destroy(reg);
    model_destroy(model);
    dataset_close(ds);
    return 0;
}
