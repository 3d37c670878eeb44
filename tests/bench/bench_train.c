/* SPDX-License-Identifier: MIT */
/* Trains a network on random images through train_run, in blocks of steps on command:
 *     bench_train resnet20|lenet5|lenet300 THREADS [BATCH]
 * reads numbers of steps from standard input, one per line, runs that many, and answers with the
 * seconds they took. At the end of input it prints the peak of its memory. Everything a training
 * step does is in the time: drawing and augmenting the images, both passes, the optimizer. */
#include "core/progress.h"
#include "core/topology.h"
#include "model_fixtures.h"
#include "train/kernel.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_IMAGES = 2560 };

struct blocks {
    long left;
    int64_t start_ns;
};

/* Waits for the next command; 0 at the end of input. */
static int next_block(struct blocks *b) {
    char line[64];
    if (!fgets(line, sizeof line, stdin)) {
        return 0;
    }
    b->left = strtol(line, NULL, 10);
    b->start_ns = clock_ns();
    return b->left > 0;
}

static pare_status after_step(void *context, int64_t step, double lr) {
    (void)step, (void)lr;
    struct blocks *b = context;
    if (--b->left > 0) {
        return PARE_OK;
    }
    printf("%.9f\n", (double)(clock_ns() - b->start_ns) * 1e-9);
    fflush(stdout);
    return next_block(b) ? PARE_OK : PARE_E_INTERRUPTED;
}

/* VmHWM in MiB. */
static double peak_memory(void) {
    double kib = 0.0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kib = strtod(line + 6, NULL);
        }
    }
    if (f) {
        fclose(f);
    }
    return kib / 1024.0;
}

static struct model *make_model(const char *name) {
    return strcmp(name, "resnet20") == 0   ? make_resnet(3, 'A', 32, 3)
           : strcmp(name, "lenet5") == 0   ? make_lenet5()
           : strcmp(name, "lenet300") == 0 ? make_lenet300()
                                           : NULL;
}

int main(int argc, char **argv) {
    struct model *model = argc > 2 ? make_model(argv[1]) : NULL;
    struct error err;
    struct pool *pool = NULL;
    struct topology *topo = NULL;
    struct train_options options;
    struct train_result result;
    struct blocks blocks = {0};
    const struct train_hooks hooks = {.context = &blocks, .after_step = after_step};
    if (!model) {
        fprintf(stderr, "usage: bench_train resnet20|lenet5|lenet300 THREADS [BATCH]\n");
        return 2;
    }
    model_init_weights(model, 1);
    const int32_t *dims = model->graph.input_dims;
    const int64_t n_bytes = (int64_t)N_IMAGES * dims[0] * dims[1] * dims[2];
    uint8_t *images = malloc((size_t)n_bytes);
    uint8_t *labels = malloc(N_IMAGES);
    if (!images || !labels || topology_create(&err, &topo) != PARE_OK ||
        pool_create((int32_t)strtol(argv[2], NULL, 10), topo, &err, &pool) != PARE_OK) {
        fprintf(stderr, "bench_train: cannot start\n");
        return 1;
    }
    for (int64_t i = 0; i < n_bytes; i++) {
        images[i] = (uint8_t)((i * 2654435761u) >> 13);
    }
    for (int32_t i = 0; i < N_IMAGES; i++) {
        labels[i] = (uint8_t)(i * 7 % 10);
    }
    struct dataset ds = {.name = "random",
                         .dims = {dims[0], dims[1], dims[2]},
                         .n_classes = 10,
                         .mean = {0.5f, 0.5f, 0.5f},
                         .stddev = {0.25f, 0.25f, 0.25f},
                         .flip = dims[2] == 3,
                         .splits = {{N_IMAGES, images, labels}}};
    train_defaults(&options);
    options.epochs = 1e5;
    options.lr = 1e-3;
    options.batch = argc > 3 ? (int32_t)strtol(argv[3], NULL, 10) : 128;
    fprintf(stderr, "bench_train: %s, %s\n", kernels_best()->name, pool_binding(pool));
    int status = 0;
    if (next_block(&blocks) &&
        train_run(model, &ds, &options, &hooks, pool, NULL, &err, &result) != PARE_E_INTERRUPTED) {
        fprintf(stderr, "bench_train: %s\n", err.text);
        status = 1;
    }
    printf("peak %.1f MiB\n", peak_memory());
    pool_destroy(pool);
    topology_destroy(topo);
    model_destroy(model);
    free(images);
    free(labels);
    return status;
}
