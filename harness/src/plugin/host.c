/* SPDX-License-Identifier: MIT */
#include "plugin/host.h"
#include "core/alloc.h"
#include "core/file.h"
#include "core/rng.h"
#include "core/rounding.h"
#include "model/model.h"

#include <pare/ext/topology.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_ALIGNMENT 64u

struct block {
    struct block *next;
    size_t bytes;
};

static struct instance *instance_of(const pare_host *host) {
    return (struct instance *)(uintptr_t)host;
}

/* ---- messages ---- */

/* One write per line, so that lines of several threads do not mix. */
static void print_line(const struct instance *inst, const char *level, const char *text) {
    struct error line; /* error_set keeps it one line, whatever the plugin wrote */
    error_set(&line, PARE_OK, "pare: %s: %s%s", inst->entry->owner, level, text);
    fprintf(stderr, "%s\n", line.text);
}

static pare_status host_fail(const pare_host *host, pare_status status, const char *format, ...) {
    struct instance *inst = instance_of(host);
    char text[sizeof inst->failure.text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&inst->lock);
    error_set(&inst->failure, status, "%s", text);
    pthread_mutex_unlock(&inst->lock);
    return status;
}

static void host_log(const pare_host *host, pare_log_level level, const char *format, ...) {
    if (level <= PARE_LOG_DEBUG && !getenv("PARE_DEBUG")) {
        return;
    }
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_line(instance_of(host), level >= PARE_LOG_WARN ? "warning: " : "", text);
}

/* ---- memory ---- */

_Static_assert(sizeof(struct block) <= HOST_ALIGNMENT, "the header must fit before the memory");

static void *host_alloc(const pare_host *host, size_t bytes) {
    struct instance *inst = instance_of(host);
    if (bytes > SIZE_MAX - 2 * HOST_ALIGNMENT) {
        return NULL;
    }
    size_t whole = (bytes + 2 * HOST_ALIGNMENT - 1) / HOST_ALIGNMENT * HOST_ALIGNMENT;
    struct block *block = aligned_alloc(HOST_ALIGNMENT, whole);
    if (!block) {
        note_refusal(inst->entry->note);
        return NULL;
    }
    block->bytes = bytes;
    pthread_mutex_lock(&inst->lock);
    block->next = inst->blocks;
    inst->blocks = block;
    inst->bytes += bytes;
    pthread_mutex_unlock(&inst->lock);
    return (char *)block + HOST_ALIGNMENT;
}

/* The list is walked rather than a header trusted: memory that is not ours, or freed already, is
 * then noticed without being touched. Blocks are few, and mostly freed last in, first out. */
static void host_free(const pare_host *host, void *ptr) {
    struct instance *inst = instance_of(host);
    if (!ptr) {
        return;
    }
    pthread_mutex_lock(&inst->lock);
    struct block **link = &inst->blocks;
    while (*link && (char *)*link + HOST_ALIGNMENT != (char *)ptr) {
        link = &(*link)->next;
    }
    struct block *block = *link;
    if (block) {
        *link = block->next;
        inst->bytes -= block->bytes;
    }
    pthread_mutex_unlock(&inst->lock);
    if (block) {
        free(block);
    } else {
        print_line(
            inst, "warning: ",
            "frees memory that it does not hold (freed twice, or not from host->alloc); ignored");
    }
}

/* ---- threads and randomness ---- */

struct parallel_call {
    void (*body)(void *arg, int64_t index);
    void *arg;
};

static void run_index(void *arg, int64_t index, int32_t thread) {
    const struct parallel_call *call = arg;
    (void)thread;
    call->body(call->arg, index);
}

static int32_t host_n_threads(const pare_host *host) {
    const struct instance *inst = instance_of(host);
    return inst->pool ? pool_n_threads(inst->pool) : 1;
}

static void host_parallel_for(const pare_host *host, int64_t n, void (*body)(void *, int64_t),
                              void *arg) {
    struct parallel_call call = {body, arg};
    if (n > 0) {
        pool_run(instance_of(host)->pool, n, run_index, &call);
    }
}

/* The plugin's id is part of the stream's name, so that two methods with one stream name do not
 * draw the same numbers. */
static void host_rng_init(const pare_host *host, const char *stream, pare_rng *rng) {
    const struct instance *inst = instance_of(host);
    char name[128];
    snprintf(name, sizeof name, "%.40s/%.80s", inst->entry->owner, stream);
    rng_init(rng, inst->seed, name, inst->index);
}

/* ---- graph ---- */

/* Keeps the message of a failed change as the instance's own. */
static pare_status keep(const pare_host *host, pare_status status, const struct error *err) {
    return status < 0 ? host_fail(host, status, "%s", err->text) : PARE_OK;
}

static pare_status host_set_weight(const pare_host *host, const pare_graph *graph, int32_t weight,
                                   const float *data) {
    struct error err;
    return keep(host, model_set_weight(model_of(graph), weight, data, &err), &err);
}

static pare_status host_set_mask(const pare_host *host, const pare_graph *graph, int32_t weight,
                                 const uint8_t *mask) {
    struct error err;
    return keep(host, model_set_mask(model_of(graph), weight, mask, &err), &err);
}

static pare_status host_set_weight_quant(const pare_host *host, const pare_graph *graph,
                                         int32_t weight, const pare_quant *quant,
                                         const int16_t *codes) {
    struct error err;
    return keep(host, model_set_weight_quant(model_of(graph), weight, quant, codes, &err), &err);
}

static pare_status host_set_activation_quant(const pare_host *host, const pare_graph *graph,
                                             int32_t node, const pare_quant *quant) {
    struct error err;
    return keep(host, model_set_activation_quant(model_of(graph), node, quant, &err), &err);
}

static pare_status host_fold_batch_norm(const pare_host *host, const pare_graph *graph) {
    struct error err;
    return keep(host, model_fold_batch_norm(model_of(graph), &err), &err);
}

static int matches_any(char *const *patterns, size_t n, const char *name) {
    for (size_t k = 0; k < n; k++) {
        if (pattern_match(patterns[k], name)) {
            return 1;
        }
    }
    return 0;
}

int host_selects(const struct instance *inst, const pare_node *node) {
    if (node->op != PARE_OP_CONV2D && node->op != PARE_OP_LINEAR) {
        return 0;
    }
    int included = inst->n_include == 0 || matches_any(inst->include, inst->n_include, node->name);
    return included && !matches_any(inst->exclude, inst->n_exclude, node->name);
}

static int32_t host_selected(const pare_host *host, const pare_graph *graph, int32_t node) {
    if (node < 0 || node >= graph->n_nodes) {
        return 0;
    }
    return host_selects(instance_of(host), graph->nodes[node]);
}

/* ---- extensions ---- */

static pare_status host_insert_quantize(const pare_host *host, const pare_graph *graph,
                                        int32_t node, int32_t slot, int32_t *quantize) {
    struct error err;
    return keep(host, model_insert_quantize(model_of(graph), node, slot, &err, quantize), &err);
}

static pare_status host_remove_relu(const pare_host *host, const pare_graph *graph, int32_t node) {
    struct error err;
    return keep(host, model_remove_relu(model_of(graph), node, &err), &err);
}

static pare_status host_channel_classes(const pare_host *host, const pare_graph *graph, int64_t n,
                                        int32_t *class_of) {
    struct error err;
    return keep(host, model_channel_classes(model_of(graph), n, &err, class_of), &err);
}

static pare_status host_remove_channels(const pare_host *host, const pare_graph *graph,
                                        int32_t n_cuts, const int32_t *nodes,
                                        const uint8_t *const *kept) {
    struct error err;
    return keep(host, model_remove_channels(model_of(graph), n_cuts, nodes, kept, &err), &err);
}

static const pare_host_topology host_topology = {
    .struct_size = sizeof(pare_host_topology),
    .insert_quantize = host_insert_quantize,
    .remove_relu = host_remove_relu,
    .channel_classes = host_channel_classes,
    .remove_channels = host_remove_channels,
};

static const void *host_get_extension(const pare_host *host, const char *id) {
    (void)host;
    if (strcmp(id, PARE_HOST_TENSORS) == 0) {
        return &host_tensors;
    }
    return strcmp(id, PARE_HOST_TOPOLOGY) == 0 ? &host_topology : NULL;
}

static const pare_host host_table = {
    .struct_size = sizeof(pare_host),
    .abi_major = PARE_ABI_MAJOR,
    .abi_minor = PARE_ABI_MINOR,
    .version = PARE_VERSION,
    .alloc = host_alloc,
    .free = host_free,
    .fail = host_fail,
    .log = host_log,
    .n_threads = host_n_threads,
    .parallel_for = host_parallel_for,
    .rng_init = host_rng_init,
    .rng_next = rng_next,
    .set_weight = host_set_weight,
    .set_mask = host_set_mask,
    .set_weight_quant = host_set_weight_quant,
    .set_activation_quant = host_set_activation_quant,
    .fold_batch_norm = host_fold_batch_norm,
    .selected = host_selected,
    .get_extension = host_get_extension,
};

/* ---- life ---- */

static char **copy_patterns(const char *const *patterns, size_t n) {
    char **copies = alloc_array(n, sizeof *copies);
    for (size_t k = 0; copies && k < n; k++) {
        copies[k] = alloc_printf("%s", patterns[k]);
    }
    return copies;
}

static int all_copied(char *const *copies, size_t n) {
    int ok = copies != NULL;
    for (size_t k = 0; ok && k < n; k++) {
        ok = copies[k] != NULL;
    }
    return ok;
}

static void free_patterns(char **patterns, size_t n) {
    for (size_t k = 0; patterns && k < n; k++) {
        free(patterns[k]);
    }
    free(patterns);
}

pare_status host_open(const struct plugin_entry *entry, const struct instance_env *env,
                      struct error *err, struct instance **out) {
    struct instance *inst = alloc_array(1, sizeof *inst);
    if (!inst) {
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", entry->owner);
    }
    inst->host = host_table;
    inst->entry = entry;
    inst->pool = env->pool;
    inst->rounding = rounding_mode();
    inst->seed = env->seed;
    inst->index = env->instance;
    inst->n_include = env->n_include;
    inst->n_exclude = env->n_exclude;
    inst->include = copy_patterns(env->include, env->n_include);
    inst->exclude = copy_patterns(env->exclude, env->n_exclude);
    pthread_mutex_init(&inst->lock, NULL);
    if (!all_copied(inst->include, inst->n_include) ||
        !all_copied(inst->exclude, inst->n_exclude)) {
        host_close(inst, NULL);
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", entry->owner);
    }
    *out = inst;
    return PARE_OK;
}

void host_close(struct instance *inst, size_t *leaked_bytes) {
    if (leaked_bytes) {
        *leaked_bytes = inst ? inst->bytes : 0;
    }
    if (!inst) {
        return;
    }
    size_t n_blocks = 0;
    while (inst->blocks) {
        struct block *block = inst->blocks;
        inst->blocks = block->next;
        free(block);
        n_blocks++;
    }
    if (n_blocks > 0) {
        char text[128];
        snprintf(text, sizeof text, "has not freed %zu bytes in %zu blocks of host memory",
                 inst->bytes, n_blocks);
        print_line(inst, "warning: ", text);
    }
    free_patterns(inst->include, inst->n_include);
    free_patterns(inst->exclude, inst->n_exclude);
    pthread_mutex_destroy(&inst->lock);
    free(inst);
}
