/* SPDX-License-Identifier: MIT */
/* The plugin ABI: what a shared object exports, and what the host gives it.
 *
 * A plugin exports one function, `pare_plugin_entry`, which returns static data. Scanning a folder
 * of plugins runs nothing else. A plugin links to nothing of pare: all it needs it calls through
 * the pare_host it is handed. Structs grow only at their end, within one major version; a field
 * that came later than 1.0 is read through PARE_HAS. Anything optional is an extension, asked for
 * by id.
 *
 * Memory that crosses the border comes from pare_host.alloc; whoever created an object destroys it;
 * inputs are borrowed for the call. A failure is a negative status after pare_host.fail(message). A
 * plugin never calls abort, exit, or stdio.
 *
 * Thread marks: [main] called on one thread at a time per instance; [any] from any thread;
 * [hot] no allocation, lock, log or I/O. */
#ifndef PARE_PLUGIN_H
#define PARE_PLUGIN_H

#include <pare/graph.h>
#include <pare/param.h>
#include <pare/status.h>
#include <pare/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARE_ABI_MAJOR 1
#define PARE_ABI_MINOR 0
#define PARE_PLUGIN_MAGIC 0x45524150u /* "PARE" in memory on a little-endian machine */

/* True if `field` lies within the struct that `ptr` points to, by that struct's own size. */
#define PARE_HAS(ptr, type, field)                                                                 \
    ((ptr)->struct_size >= offsetof(type, field) + sizeof(((const type *)0)->field))

#if defined(_WIN32)
#define PARE_EXPORT __declspec(dllexport)
#else
#define PARE_EXPORT __attribute__((visibility("default")))
#endif

typedef enum pare_log_level {
    PARE_LOG_DEBUG = 0,
    PARE_LOG_INFO = 1,
    PARE_LOG_WARN = 2
} pare_log_level;

/* A seeded generator (xoshiro256**); plain data, copy it freely. */
typedef struct pare_rng {
    uint64_t s[4];
} pare_rng;

typedef struct pare_host pare_host;

/* The host's side. One table belongs to one plugin instance (pass it back as the first argument);
 * it lives as long as the instance. */
struct pare_host {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    const char *version; /* of pare, "0.1.0" */

    /* Memory, at least 64-byte aligned, not cleared; NULL when exhausted (then return
     * PARE_E_NOMEM). What an instance has not freed when it is destroyed is reported as a leak.
     * [any] */
    void *(*alloc)(const pare_host *host, size_t bytes);
    void (*free)(const pare_host *host, void *ptr); /* NULL is fine. [any] */

    /* Notes why a call fails and returns `status`, so that `return host->fail(host, PARE_E_RANGE,
     * "bits is %d, wanted 2..8", bits);` is the whole of it. The message says what, where, got,
     * wanted. [any] */
    pare_status (*fail)(const pare_host *host, pare_status status, const char *format, ...)
#if defined(__GNUC__)
        __attribute__((format(printf, 3, 4)))
#endif
        ;

    /* For people, on stderr, one line; PARE_LOG_DEBUG only where $PARE_DEBUG is set. [any] */
    void (*log)(const pare_host *host, pare_log_level level, const char *format, ...)
#if defined(__GNUC__)
        __attribute__((format(printf, 3, 4)))
#endif
        ;

    /* Threads: runs body(arg, i) for every i in [0, n), on the harness's pool, and returns when all
     * are done. The split into indices is the caller's, so that results do not depend on the number
     * of threads. Not nested. [main] */
    int32_t (*n_threads)(const pare_host *host);
    void (*parallel_for)(const pare_host *host, int64_t n, void (*body)(void *arg, int64_t index),
                         void *arg);

    /* Randomness: a generator that depends only on the trial's seed, the instance and `stream`.
     * [any] */
    void (*rng_init)(const pare_host *host, const char *stream, pare_rng *rng);
    uint64_t (*rng_next)(pare_rng *rng); /* [any] [hot] */

    /* Changing a graph; each checks its arguments and what must hold afterwards. [main]
     * set_weight: new fp32 values, (weight's dims), all finite; under a mask, masked elements
     * become 0; drops the weight's quantization. set_mask: 1 keep, 0 prune, (weight's dims), NULL
     * removes the mask; masked elements and codes become 0. set_weight_quant: grid and codes
     * (dims); data becomes scale * code; masked elements must have code 0. `codes` NULL: codes are
     * rne(data / scale) clamped to [qmin, qmax]. set_activation_quant: of the value node `node`
     * makes; bits == 0 removes it. fold_batch_norm: every batch norm that is the only reader of a
     * conv2d or linear is multiplied into its weight and bias and removed; masks survive, quantized
     * weights keep their codes (the scale takes the factor, a negative factor flips the channel's
     * codes). Invalidates every pointer and index into the graph. */
    pare_status (*set_weight)(const pare_host *host, const pare_graph *graph, int32_t weight,
                              const float *data);
    pare_status (*set_mask)(const pare_host *host, const pare_graph *graph, int32_t weight,
                            const uint8_t *mask);
    pare_status (*set_weight_quant)(const pare_host *host, const pare_graph *graph, int32_t weight,
                                    const pare_quant *quant, const int16_t *codes);
    pare_status (*set_activation_quant)(const pare_host *host, const pare_graph *graph,
                                        int32_t node, const pare_quant *quant);
    pare_status (*fold_batch_norm)(const pare_host *host, const pare_graph *graph);

    /* `where` of the pipeline step (its include and exclude patterns): 1 if the method is to treat
     * node `node`, 0 if not. Only conv2d and linear nodes are ever selected. [any] */
    int32_t (*selected)(const pare_host *host, const pare_graph *graph, int32_t node);

    /* A host ability beyond this table by id, or NULL. [any] */
    const void *(*get_extension)(const pare_host *host, const char *id);
};

typedef struct pare_method pare_method;   /* <pare/method.h> */
typedef struct pare_backend pare_backend; /* <pare/backend.h> */

/* What pare_plugin_entry returns: static data. Sizes are those the plugin was compiled with; the
 * host compares each with its own and refuses, by name, what cannot work. */
typedef struct pare_plugin {
    uint32_t magic; /* PARE_PLUGIN_MAGIC */
    uint16_t abi_major, abi_minor;
    uint32_t struct_size; /* sizeof(pare_plugin) */
    uint32_t host_size, graph_size, node_size, weight_size, quant_size;
    uint32_t param_desc_size, param_value_size;
    const char *name;    /* "ptq" */
    const char *version; /* "1.0.0" */
    const char *license; /* "MIT" */
    uint32_t n_methods;
    const pare_method *const *methods; /* (n_methods) */
    uint32_t n_backends;
    const pare_backend *const *backends; /* (n_backends) */
} pare_plugin;

/* Fills the first fields of a pare_plugin:
 *     static const pare_plugin plugin = { PARE_PLUGIN_HEADER, .name = "mine", ... }; */
#define PARE_PLUGIN_HEADER                                                                         \
    PARE_PLUGIN_MAGIC, PARE_ABI_MAJOR, PARE_ABI_MINOR, (uint32_t)sizeof(pare_plugin),              \
        (uint32_t)sizeof(pare_host), (uint32_t)sizeof(pare_graph), (uint32_t)sizeof(pare_node),    \
        (uint32_t)sizeof(pare_weight), (uint32_t)sizeof(pare_quant),                               \
        (uint32_t)sizeof(pare_param_desc), (uint32_t)sizeof(pare_param_value)

/* The one symbol a plugin exports. */
PARE_EXPORT const pare_plugin *pare_plugin_entry(void);

#ifdef __cplusplus
}
#endif
#endif
