/* SPDX-License-Identifier: MIT */
/* What a method costs:
 *     bench_methods resnet20|lenet5|lenet300 THREADS ROUNDS METHOD [name=value]...
 * on 7680 random images. Of a method that trains: epochs of a plain training and of the method,
 * turn by turn, in batches of 128; the seconds and the processor's seconds of each, and the ratio
 * of their medians. The method's share holds everything its step does: hooks, the calibration at
 * the end (64 images), verification. Of one that does not: the seconds of its step, with 512
 * calibration images unless said otherwise. */
#include "core/progress.h"
#include "core/topology.h"
#include "experiment/pipeline.h"
#include "model_fixtures.h"
#include "train/train.h"

#include <time.h>

enum { N_IMAGES = 7680, MAX_ROUNDS = 101, MAX_INPUTS = 16 };

struct bench {
    struct dataset ds;
    struct pool *pool;
    struct registry *reg;
    struct pipeline *pipeline;
    int trains; /* the method does */
    struct model *(*make)(void);
};

static struct model *make_resnet20(void) {
    return make_resnet(3, 'A', 32, 3);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int stop(const struct error *err) {
    fprintf(stderr, "bench_methods: %s\n", err->text);
    return 1;
}

static struct dataset random_images(const int32_t dims[3]) {
    const size_t n = (size_t)N_IMAGES * (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2];
    uint8_t *images = malloc(n), *labels = malloc(N_IMAGES);
    for (size_t i = 0; images && i < n; i++) {
        images[i] = (uint8_t)((uint32_t)i * 2654435761u >> 13);
    }
    for (uint32_t i = 0; labels && i < N_IMAGES; i++) {
        labels[i] = (uint8_t)(i * 7 % 10);
    }
    return (struct dataset){.name = "random",
                            .dims = {dims[0], dims[1], dims[2]},
                            .n_classes = 10,
                            .mean = {0.5f, 0.5f, 0.5f},
                            .stddev = {0.25f, 0.25f, 0.25f},
                            .splits = {{images && labels ? N_IMAGES : 0, images, labels}}};
}

/* One epoch, plain or with the method: its seconds and the processor's. */
static pare_status epoch(struct bench *b, int is_method, struct error *err, double seconds[2]) {
    struct model *model = b->make();
    model_init_weights(model, 1);
    const int64_t start_ns = clock_ns();
    const double start = cpu_seconds();
    pare_status status;
    if (is_method) {
        const struct pipeline_env env = {
            .ds = &b->ds, .seed = 1, .pool = b->pool, .base_sha256 = ""};
        status = pipeline_apply(b->pipeline, &env, model, err, NULL);
    } else {
        struct train_options options;
        struct train_result result;
        train_defaults(&options);
        options.epochs = 1.0;
        options.lr = 1e-3;
        status = train_run(model, &b->ds, &options, NULL, b->pool, NULL, err, &result);
    }
    seconds[0] = (double)(clock_ns() - start_ns) * 1e-9;
    seconds[1] = cpu_seconds() - start;
    model_destroy(model);
    return status;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

static int run_rounds(struct bench *b, int rounds) {
    double times[4][MAX_ROUNDS]; /* plain, method: seconds; then the processor's */
    struct error err;
    for (int r = 0; r < rounds; r++) {
        for (int k = 0; k < 2; k++) { /* who begins changes */
            double seconds[2] = {0.0, 0.0};
            const int is_method = k ^ (r & 1);
            if (!is_method && !b->trains) {
                continue;
            }
            if (epoch(b, is_method, &err, seconds) != PARE_OK) {
                return stop(&err);
            }
            times[is_method][r] = seconds[0];
            times[2 + is_method][r] = seconds[1];
        }
    }
    for (int k = 0; k < 2 && !b->trains; k++) {
        printf("%-9s  method %.3f s\n", k ? "processor" : "clock",
               median(times[2 * k + 1], rounds));
    }
    for (int k = 0; k < 2 && b->trains; k++) {
        const double plain = median(times[2 * k], rounds),
                     method = median(times[2 * k + 1], rounds);
        printf("%-9s  plain %.3f s  method %.3f s  ratio %.3f\n", k ? "processor" : "clock", plain,
               method, method / plain);
    }
    return 0;
}

/* Loads the method's plugin, and looks whether it trains. */
static pare_status load(struct bench *b, const char *id, struct error *err) {
    char path[1024];
    const struct plugin_entry *entry = NULL;
    snprintf(path, sizeof path, "%s/plugins/%s.so", BENCH_BINARY_DIR, id);
    pare_status status = registry_create(err, &b->reg);
    if (status == PARE_OK) {
        status = registry_load(b->reg, path, err);
    }
    if (status == PARE_OK) {
        status = registry_find_method(b->reg, id, err, &entry);
    }
    if (status == PARE_OK) {
        const pare_method *method = entry->method;
        b->trains = method->get_extension && method->get_extension(PARE_METHOD_TRAIN) != NULL;
    }
    return status;
}

static pare_status resolve(struct bench *b, char **args, int n_args, struct error *err) {
    struct param_input inputs[MAX_INPUTS] = {
        {.name = "epochs", .kind = INPUT_STRING, .from_text = 1, .string = "1"},
        {.name = "lr", .kind = INPUT_STRING, .from_text = 1, .string = "0.001"},
        {.name = "calibration_samples", .kind = INPUT_STRING, .from_text = 1, .string = "64"},
    };
    pare_status status = load(b, args[0], err);
    size_t n = b->trains ? 3 : 0;
    for (int k = 1; k < n_args && n < MAX_INPUTS; k++) {
        char *equals = strchr(args[k], '=');
        if (!equals) {
            return error_set(err, PARE_E_ARG, "%s: wanted name=value", args[k]);
        }
        *equals = '\0';
        inputs[n++] = (struct param_input){
            .name = args[k], .kind = INPUT_STRING, .from_text = 1, .string = equals + 1};
    }
    struct step_spec step = {args[0], n, inputs};
    const struct pipeline_spec spec = {1, &step, 0};
    return status == PARE_OK ? pipeline_resolve(&spec, b->reg, err, &b->pipeline) : status;
}

int main(int argc, char **argv) {
    struct bench b = {.pool = NULL};
    struct topology *topo = NULL;
    struct error err;
    if (argc > 4) {
        b.make = strcmp(argv[1], "resnet20") == 0   ? make_resnet20
                 : strcmp(argv[1], "lenet5") == 0   ? make_lenet5
                 : strcmp(argv[1], "lenet300") == 0 ? make_lenet300
                                                    : NULL;
    }
    const long rounds = argc > 4 ? strtol(argv[3], NULL, 10) : 0;
    if (!b.make || rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_methods resnet20|lenet5|lenet300 THREADS ROUNDS METHOD "
                        "[name=value]...\n");
        return 2;
    }
    struct model *model = b.make();
    b.ds = random_images(model->graph.input_dims);
    model_destroy(model);
    int result;
    if (topology_create(&err, &topo) != PARE_OK ||
        pool_create((int32_t)strtol(argv[2], NULL, 10), topo, &err, &b.pool) != PARE_OK ||
        resolve(&b, argv + 4, argc - 4, &err) != PARE_OK) {
        result = stop(&err);
    } else {
        result = run_rounds(&b, (int)rounds);
    }
    pipeline_destroy(b.pipeline);
    registry_destroy(b.reg);
    pool_destroy(b.pool);
    topology_destroy(topo);
    free((void *)(uintptr_t)b.ds.splits[SPLIT_TRAIN].images);
    free((void *)(uintptr_t)b.ds.splits[SPLIT_TRAIN].labels);
    return result;
}
