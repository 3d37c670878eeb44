/* SPDX-License-Identifier: MIT */
/* Times each kernel of the x86 backend, one thread, on the layers of ResNet20 and LeNet-5, and
 * prints its multiply-accumulates per second and their share of the level's measured peak:
 *     bench_x86 [level [runs [percent]]]
 * With a percentage so much of each float weight but the last is 0, at random, and only the float
 * networks run: dense, then with sparse convolutions where those are estimated to be faster, and
 * everywhere.
 * In the binary ResNet20 inner layers multiply signs by signs; their share is of the int8 peak.
 * The shortest of many runs counts; the weights and the values are random. */
#include "check/graph_maker.h"
#include "host_table.h"
#include "measure/machine_internal.h"
#include "x86.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int is_sign(const struct maker *m, int32_t i) {
    return m->nodes[i]->op == PARE_OP_QUANTIZE;
}

/* Everything but signs, and the weights that meet them, on 8 bits, with scales that use the codes'
 * range. */
static void quantize_all(struct maker *m) {
    for (int32_t i = 0; i < m->graph.n_nodes - 1; i++) {
        if (!is_sign(m, i)) {
            maker_quantize_value(m, i, 8, 0.05f, 3);
        }
    }
    for (int32_t i = 0; i < m->graph.n_nodes; i++) {
        if (m->nodes[i]->weights[PARE_ROLE_WEIGHT] == NULL) {
            continue;
        }
        if (is_sign(m, m->nodes[i]->inputs[0])) {
            maker_binary_weight(m, i);
        } else {
            maker_quantize_weight(m, i, 8);
        }
    }
}

static int32_t relu(struct maker *m, int32_t x) {
    return maker_simple(m, PARE_OP_RELU, x);
}

static int32_t make_block(struct maker *m, int32_t x, int32_t channels, int32_t stride, int signs) {
    int32_t skip = stride == 2 ? maker_shortcut(m, x, channels, 2) : x;
    int32_t y = maker_conv(m, signs ? maker_sign(m, x, 1.0f) : x, channels, 3, stride, 1, 1, 1);
    y = signs ? maker_sign(m, y, 1.0f) : relu(m, y);
    y = maker_add(m, maker_conv(m, y, channels, 3, 1, 1, 1, 1), skip);
    return signs ? y : relu(m, y);
}

static void make_resnet20(struct maker *m, int signs) {
    maker_init(m, 1, 32, 32, 3);
    int32_t x = maker_conv(m, 0, 16, 3, 1, 1, 1, 1);
    x = signs ? x : relu(m, x);
    for (int32_t block = 0; block < 9; block++) {
        x = make_block(m, x, 16 << block / 3, block % 3 == 0 && block > 0 ? 2 : 1, signs);
    }
    maker_linear(m, maker_simple(m, PARE_OP_GLOBAL_AVG_POOL, x), 10, 1);
}

static void make_lenet5(struct maker *m) {
    maker_init(m, 1, 28, 28, 1);
    int32_t x = maker_pool(m, PARE_OP_MAX_POOL, maker_conv(m, 0, 20, 5, 1, 0, 1, 1), 2, 2, 0);
    x = maker_pool(m, PARE_OP_MAX_POOL, maker_conv(m, x, 50, 5, 1, 0, 1, 1), 2, 2, 0);
    x = relu(m, maker_linear(m, maker_simple(m, PARE_OP_FLATTEN, x), 500, 1));
    maker_linear(m, x, 10, 1);
}

static void prune(struct maker *m, int32_t percent) {
    for (int32_t i = 0; i + 1 < m->graph.n_nodes; i++) {
        if (m->nodes[i]->weights[PARE_ROLE_WEIGHT] != NULL) {
            maker_prune(m, i, percent, 0);
        }
    }
}

/* The peak loop with the level's instructions. */
static double peak_gmacs(const char *isa, int integer) {
    static const char *const loops[][3] = {
        {"sse", "sse2", "sse2"},
        {"avx2", "avx2-fma", "avx2"},
        {"avx512", "avx512f", "avx512bw"},
        {"avx-vnni", "avx2-fma", "avxvnni"},
        {"avx512-vnni", "avx512f", "avx512vnni"},
    };
    size_t n;
    const struct peak_kernel *kernels = peak_kernels(&n);
    for (size_t l = 0; l < sizeof loops / sizeof *loops; l++) {
        for (size_t k = 0; strcmp(loops[l][0], isa) == 0 && k < n; k++) {
            if (strcmp(kernels[k].isa, loops[l][1 + integer]) == 0 &&
                kernels[k].integer == integer) {
                return peak_measure(&kernels[k], 5000000, 5) / 1e9;
            }
        }
    }
    return 0.0;
}

static void print_step(const struct tiled_step *step, int64_t ns, double peak) {
    const struct lower_step *s = &step->low;
    double gmacs = ns > 0 ? (double)s->macs / (double)ns : 0.0;
    printf("  %-24s %3dx%-3d %4d -> %-4d %dx%d/%d %9lld ns", step->kernel, s->out_h, s->out_w,
           s->in_c, s->out_c, s->kernel_h, s->kernel_w, s->stride_h, (long long)ns);
    if (s->macs > 0) {
        printf(" %7.1f GMAC/s", gmacs);
        if (peak > 0.0) {
            printf(" %5.1f %%", 100.0 * gmacs / peak);
        }
    }
    printf("\n");
}

static void bench(const struct maker *m, const char *name, const char *isa, int runs, double peak,
                  const char *sparse) {
    const pare_param_value value = {.name = "sparse", .type = PARE_PARAM_STRING, .s = sparse};
    const pare_param_value *const values[] = {&value};
    const pare_params params = {sizeof params, 1, values};
    struct test_host host;
    void *instance;
    void *exe;
    int32_t n_steps;
    const int32_t *d = m->graph.input_dims;
    float *images = malloc((size_t)d[0] * (size_t)d[1] * (size_t)d[2] * sizeof(float));
    float output[64];
    uint64_t random = 5;
    test_host_init(&host);
    pare_compile_options options = {sizeof options, 1, isa};
    if (images == NULL || x86_backend.create(&host.host, &params, &instance) != PARE_OK ||
        x86_backend.compile(instance, &m->graph, &options, &exe) != PARE_OK) {
        fprintf(stderr, "bench_x86: %s: %s\n", isa, host.text);
        exit(2);
    }
    for (int32_t k = 0; k < d[0] * d[1] * d[2]; k++) {
        images[k] = maker_normal(&random);
    }
    const struct tiled_step *steps = tiled_steps(exe, &n_steps);
    int64_t *best = calloc((size_t)n_steps + 1, sizeof *best);
    for (int run = 0; best != NULL && run < runs; run++) {
        for (int32_t s = 0; s <= n_steps; s++) {
            int64_t start = now_ns();
            if (s < n_steps) {
                tiled_run_step(exe, s, images, output);
            } else {
                x86_backend.run(exe, images, 1, output);
            }
            int64_t ns = now_ns() - start;
            best[s] = run == 0 || ns < best[s] ? ns : best[s];
        }
    }
    printf("%s %s, sparse %s, peak %.1f GMAC/s\n", name, isa, sparse, peak);
    int64_t macs = 0;
    int64_t sum = 0;
    for (int32_t s = 0; best != NULL && s < n_steps; s++) {
        print_step(&steps[s], best[s], peak);
        macs += steps[s].low.macs;
        sum += best[s];
    }
    printf("  all: %lld ns (steps alone: %lld ns), %.1f GMAC/s\n", (long long)best[n_steps],
           (long long)sum, (double)macs / (double)best[n_steps]);
    free(best);
    free(images);
    x86_backend.executable_destroy(exe);
    x86_backend.destroy(instance);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int resnet, integer, signs;
    } networks[] = {
        {"resnet20 fp32", 1, 0, 0}, {"lenet5 fp32", 0, 0, 0},     {"resnet20 int8", 1, 1, 0},
        {"lenet5 int8", 0, 1, 0},   {"resnet20 binary", 1, 1, 1},
    };
    const char *only = argc > 1 ? argv[1] : NULL;
    int runs = argc > 2 ? atoi(argv[2]) : 300;
    int32_t percent = argc > 3 ? atoi(argv[3]) : -1;
    const struct tiled_level *levels = x86_levels.levels;
    for (int32_t k = 0; k < x86_levels.n_levels; k++) {
        if ((x86_cpu_features() & levels[k].needs) != levels[k].needs ||
            (only != NULL && strcmp(only, levels[k].isa) != 0)) {
            continue;
        }
        for (size_t n = 0; n < sizeof networks / sizeof *networks; n++) {
            struct maker m;
            if (networks[n].resnet) {
                make_resnet20(&m, networks[n].signs);
            } else {
                make_lenet5(&m);
            }
            if (networks[n].integer) {
                quantize_all(&m);
            }
            double peak = peak_gmacs(levels[k].isa, networks[n].integer);
            if (percent >= 0 && !networks[n].integer) {
                prune(&m, percent);
                bench(&m, networks[n].name, levels[k].isa, runs, peak, "never");
                bench(&m, networks[n].name, levels[k].isa, runs, peak, "auto");
                bench(&m, networks[n].name, levels[k].isa, runs, peak, "always");
            } else if (percent < 0) {
                bench(&m, networks[n].name, levels[k].isa, runs, peak, "never");
            }
            maker_free(&m);
        }
    }
    return 0;
}
