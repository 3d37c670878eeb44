/* SPDX-License-Identifier: MIT */
#include "check/watch.h"

#include "core/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Each block has a mapping of its own:
 *     header | pattern | the plugin's bytes | pattern up to a multiple of 64 | pages out of reach
 * so that an access far beyond its end, or after it was freed, is a crash, and a write close by is
 * found. */
enum { ALIGNMENT = 64, GUARD = 64, GUARD_BYTE = 0xa5, OUT_OF_REACH = 1 << 16 };

struct guarded {
    struct guarded *next;
    size_t bytes;
    size_t n_mapped; /* of which OUT_OF_REACH at the end */
};

static struct watch *watch_of(const pare_host *host) {
    return ((struct instance *)(uintptr_t)host)->user;
}

static void note(struct watch *w, char text[256], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void note(struct watch *w, char text[256], const char *format, ...) {
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&w->lock);
    if (!text[0])
        vsnprintf(text, 256, format, args);
    pthread_mutex_unlock(&w->lock);
    va_end(args);
}

/* ---- memory ---- */

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

static unsigned char *memory_of(struct guarded *block) {
    return (unsigned char *)block + block->n_mapped - OUT_OF_REACH -
           round_up(block->bytes, ALIGNMENT);
}

static int is_damaged(struct guarded *block) {
    const unsigned char *memory = memory_of(block);
    size_t after = round_up(block->bytes, ALIGNMENT) - block->bytes;
    for (size_t k = 1; k <= GUARD; k++)
        if (memory[-(ptrdiff_t)k] != GUARD_BYTE)
            return 1;
    for (size_t k = 0; k < after; k++)
        if (memory[block->bytes + k] != GUARD_BYTE)
            return 1;
    return 0;
}

/* NULL: out of memory. */
static struct guarded *map_block(size_t bytes, uint8_t fill) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t whole = round_up(bytes, ALIGNMENT);
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t within = round_up(sizeof(struct guarded) + GUARD + whole, page);
    char *base = mmap(NULL, within + OUT_OF_REACH, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    if (mprotect(base, within, PROT_READ | PROT_WRITE) != 0) {
        munmap(base, within + OUT_OF_REACH);
        return NULL;
    }
    struct guarded *block = (void *)base;
    *block = (struct guarded){.bytes = bytes, .n_mapped = within + OUT_OF_REACH};
    unsigned char *memory = memory_of(block);
    memset(memory - GUARD, GUARD_BYTE, GUARD);
    memset(memory, fill, bytes);
    memset(memory + bytes, GUARD_BYTE, whole - bytes);
    return block;
}

static void unmap_block(struct guarded *block) {
    munmap(block, block->n_mapped);
}

static void note_damage(struct watch *w, struct guarded *block) {
    if (is_damaged(block))
        note(w, w->misuse, "writes outside a block of %zu bytes", block->bytes);
}

static void *watch_alloc(const pare_host *host, size_t bytes) {
    struct watch *w = watch_of(host);
    int64_t k = atomic_fetch_add(&w->n_allocs, 1);
    if (atomic_load(&w->in_hot))
        note(w, w->violation, "run calls alloc, although it is [hot]");
    int64_t fail_at = w->options.fail_at;
    if (fail_at >= 0 && (k == fail_at || (w->options.fail_on && k > fail_at))) {
        atomic_fetch_add(&w->n_refused, 1);
        return NULL;
    }
    struct guarded *block = map_block(bytes, w->options.fill);
    if (!block)
        return NULL;
    pthread_mutex_lock(&w->lock);
    block->next = w->blocks;
    w->blocks = block;
    w->live_bytes += bytes;
    pthread_mutex_unlock(&w->lock);
    return memory_of(block);
}

static struct guarded *take_block(struct watch *w, const void *ptr) {
    pthread_mutex_lock(&w->lock);
    struct guarded **link = &w->blocks;
    while (*link && (const void *)memory_of(*link) != ptr)
        link = &(*link)->next;
    struct guarded *block = *link;
    if (block) {
        *link = block->next;
        w->live_bytes -= block->bytes;
    }
    pthread_mutex_unlock(&w->lock);
    return block;
}

static void watch_free(const pare_host *host, void *ptr) {
    struct watch *w = watch_of(host);
    if (!ptr)
        return;
    if (atomic_load(&w->in_hot))
        note(w, w->violation, "run calls free, although it is [hot]");
    struct guarded *block = take_block(w, ptr);
    if (!block) {
        note(w, w->misuse, "frees memory that it does not hold (freed twice, or not from alloc)");
        return;
    }
    note_damage(w, block);
    unmap_block(block);
}

/* ---- messages ---- */

static pare_status watch_fail(const pare_host *host, pare_status status, const char *format, ...) {
    struct watch *w = watch_of(host);
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&w->lock);
    w->told = status;
    pthread_mutex_unlock(&w->lock);
    return w->real.fail(host, status, "%s", text);
}

/* What a plugin logs is nothing to judge, but where. */
static void watch_log(const pare_host *host, pare_log_level level, const char *format, ...) {
    struct watch *w = watch_of(host);
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args); /* a wrong format crashes here */
    va_end(args);
    (void)level;
    if (atomic_load(&w->in_hot))
        note(w, w->violation, "run calls log, although it is [hot]: \"%.100s\"", text);
}

/* ---- threads ---- */

/* 1 if a [main] function may be called now. A pool's threads are told by the work that is under
 * way, too: the caller of parallel_for is one of them. */
static int is_main(struct watch *w, const char *call) {
    if (!atomic_load(&w->in_parallel) && pthread_equal(pthread_self(), w->main))
        return 1;
    note(w, w->violation, "calls %s from a pool thread, although it is [main]", call);
    return 0;
}

static void watch_parallel_for(const pare_host *host, int64_t n, void (*body)(void *, int64_t),
                               void *arg) {
    struct watch *w = watch_of(host);
    int is_allowed = is_main(w, "parallel_for");
    if (is_allowed && !w->options.backwards) {
        atomic_store(&w->in_parallel, 1);
        w->real.parallel_for(host, n, body, arg);
        atomic_store(&w->in_parallel, 0);
        return;
    }
    if (is_allowed)
        atomic_store(&w->in_parallel, 1);
    for (int64_t k = n; k-- > 0;)
        body(arg, k);
    if (is_allowed)
        atomic_store(&w->in_parallel, 0);
}

static pare_status refuse(const pare_host *host, const char *call) {
    return watch_fail(host, PARE_E_STATE, "%s is called from a pool thread", call);
}

/* ---- changes to the graph: on the main thread only ---- */

static pare_status watch_set_weight(const pare_host *host, const pare_graph *graph, int32_t weight,
                                    const float *data) {
    struct watch *w = watch_of(host);
    return is_main(w, "set_weight") ? w->real.set_weight(host, graph, weight, data)
                                    : refuse(host, "set_weight");
}

static pare_status watch_set_mask(const pare_host *host, const pare_graph *graph, int32_t weight,
                                  const uint8_t *mask) {
    struct watch *w = watch_of(host);
    return is_main(w, "set_mask") ? w->real.set_mask(host, graph, weight, mask)
                                  : refuse(host, "set_mask");
}

static pare_status watch_set_weight_quant(const pare_host *host, const pare_graph *graph,
                                          int32_t weight, const pare_quant *quant,
                                          const int16_t *codes) {
    struct watch *w = watch_of(host);
    return is_main(w, "set_weight_quant")
               ? w->real.set_weight_quant(host, graph, weight, quant, codes)
               : refuse(host, "set_weight_quant");
}

static pare_status watch_set_activation_quant(const pare_host *host, const pare_graph *graph,
                                              int32_t node, const pare_quant *quant) {
    struct watch *w = watch_of(host);
    return is_main(w, "set_activation_quant")
               ? w->real.set_activation_quant(host, graph, node, quant)
               : refuse(host, "set_activation_quant");
}

static pare_status watch_fold_batch_norm(const pare_host *host, const pare_graph *graph) {
    struct watch *w = watch_of(host);
    return is_main(w, "fold_batch_norm") ? w->real.fold_batch_norm(host, graph)
                                         : refuse(host, "fold_batch_norm");
}

/* ---- life ---- */

pare_status watch_open(const struct plugin_entry *entry, const struct watch_options *options,
                       struct error *err, struct watch **out) {
    struct instance_env env = {.pool = options->pool,
                               .seed = options->seed,
                               .instance = options->instance,
                               .exclude = options->exclude,
                               .n_exclude = options->n_exclude};
    struct watch *w = alloc_array(1, sizeof *w);
    if (!w)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    if (host_open(entry, &env, err, &w->inst)) {
        free(w);
        return err->status;
    }
    pare_host *host = &w->inst->host;
    w->inst->user = w;
    w->real = *host;
    w->options = *options;
    w->main = pthread_self();
    pthread_mutex_init(&w->lock, NULL);
    host->alloc = watch_alloc;
    host->free = watch_free;
    host->fail = watch_fail;
    host->log = watch_log;
    host->parallel_for = watch_parallel_for;
    host->set_weight = watch_set_weight;
    host->set_mask = watch_set_mask;
    host->set_weight_quant = watch_set_weight_quant;
    host->set_activation_quant = watch_set_activation_quant;
    host->fold_batch_norm = watch_fold_batch_norm;
    *out = w;
    return PARE_OK;
}

void watch_check_blocks(struct watch *w) {
    for (struct guarded *block = w->blocks; block; block = block->next)
        note_damage(w, block);
}

void watch_close(struct watch *w) {
    if (!w)
        return;
    while (w->blocks) {
        struct guarded *block = w->blocks;
        w->blocks = block->next;
        unmap_block(block);
    }
    host_close(w->inst, NULL);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
