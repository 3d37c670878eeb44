/* SPDX-License-Identifier: MIT */
/* A backend: compiles a graph for a machine and runs it.
 *
 * Which arithmetic: a conv2d or linear node is executed on integers when its weight, its input
 * value and its output value are quantized (the graph's last node needs no quantized output: it
 * gives float logits). Everything between such nodes whose values are quantized stays on integers
 * too. All other nodes run in float, on data as they are, and values are quantized and dequantized
 * at the border. The integer arithmetic is specified to the bit in plugins/backends/README.md, and
 * every backend's integer results are equal. */
#ifndef PARE_BACKEND_H
#define PARE_BACKEND_H

#include <pare/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pare_probe {
    uint32_t struct_size;
    int32_t score;    /* > 0: usable here, higher is preferred by backend "auto"; 0: not usable */
    char reason[192]; /* why not, when the score is 0 */
    char isa[64];     /* what it would use here: "avx512-vnni", "neon-dotprod", "portable" */
} pare_probe;

typedef struct pare_compile_options {
    uint32_t struct_size;
    int32_t max_batch; /* the largest n that run will be given, >= 1 */
    const char *isa;   /* force this level, NULL: the best; one that the CPU lacks is refused */
} pare_compile_options;

/* What was chosen for one node; none for the input and what is fused into another's kernel. */
typedef struct pare_kernel_info {
    uint32_t struct_size;
    int32_t node;       /* index into the graph */
    const char *kernel; /* "ref_conv2d_i8" */
    int32_t is_integer;
    int32_t is_fallback;  /* 1: a slower general path stands in for a missing kernel */
    int64_t macs;         /* multiply-accumulates executed per sample */
    int64_t weight_bytes; /* bytes of packed weights read per run */
} pare_kernel_info;

typedef struct pare_executable_info {
    uint32_t struct_size;
    const char *isa;
    /* "float", "integer", "mixed" (some nodes each), or "approximate": integers, but not those of
     * the specification. */
    const char *execution;
    int64_t bytes_resident;    /* packed weights and tables */
    int64_t bytes_activations; /* the arena, for max_batch */
    int32_t n_kernels;
    const pare_kernel_info *const *kernels; /* (n_kernels), in execution order */
} pare_executable_info;

struct pare_backend {
    uint32_t struct_size;
    const char *id; /* "ref": lower_snake_case, unique among backends */
    const char *version;
    const char *doc;
    const char *reference;
    const pare_param_desc *params; /* (n_params) */
    uint32_t n_params;

    /* probe: can it run on this machine, and how well? Cheap. create: as of a method. [main] */
    pare_status (*probe)(const pare_host *host, pare_probe *probe);
    pare_status (*create)(const pare_host *host, const pare_params *params, void **instance);
    void (*destroy)(void *instance); /* after all its executables; NULL is fine. [main] */

    /* PARE_OK, or PARE_E_UNSUPPORTED after host->fail(which node, as it is, and why). [main] */
    pare_status (*supports)(void *instance, const pare_graph *graph, int32_t node);

    /* Packs weights and plans memory; the graph is borrowed for the call only. [main] */
    pare_status (*compile)(void *instance, const pare_graph *graph,
                           const pare_compile_options *options, void **executable);
    void (*executable_destroy)(void *executable); /* NULL is fine. [main] */
    /* What was compiled; *info lives as long as the executable. [main] */
    pare_status (*executable_info)(void *executable, const pare_executable_info **info);

    /* images (n,H,W,C) fp32 -> output (n,n_classes) fp32; 1 <= n <= max_batch. [main] [hot] */
    pare_status (*run)(void *executable, const float *images, int32_t n, float *output);

    /* As of a method: the function, or what it returns, may be NULL. [any] */
    const void *(*get_extension)(const char *id);
};

#ifdef __cplusplus
}
#endif
#endif
