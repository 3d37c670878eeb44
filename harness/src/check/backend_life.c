/* SPDX-License-Identifier: MIT */
#include "check/backend_life.h"

#include "core/alloc.h"
#include "core/rng.h"

#include <math.h>
#include <pare/ext/profile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT_GUARD = 16, GUARD_BYTE = 0x7f };

/* ---- calls ---- */

static pare_status told(struct compiled *e, pare_status status, const char *call,
                        struct outcome *out) {
    note_leave(e->note);
    if (status != PARE_OK)
        out->is_told = e->watch->told == status;
    e->watch->told = PARE_OK;
    return instance_status(e->watch->inst, status, call, &out->err);
}

#define CALL(e, out, name, call)                                                                   \
    (note_enter((e)->note, (e)->entry->owner, name), told(e, call, name, out))

static int is_name(const char *text) {
    return text && text[0];
}

/* Notes what is odd in what an executable says of itself. */
static void judge_info(struct compiled *e, const pare_graph *graph) {
    static const char *const executions[] = {"float", "integer", "mixed", "approximate"};
    const pare_executable_info *info = e->info;
    int is_known = 0;
    for (int k = 0; k < 4; k++)
        is_known |= info && is_name(info->execution) && strcmp(info->execution, executions[k]) == 0;
    if (!info)
        snprintf(e->odd, sizeof e->odd, "executable_info gives NULL");
    else if (!is_known)
        snprintf(e->odd, sizeof e->odd,
                 "execution is \"%.40s\", wanted float, integer, mixed or approximate",
                 is_name(info->execution) ? info->execution : "");
    else if (!is_name(info->isa))
        snprintf(e->odd, sizeof e->odd, "executable_info gives no isa");
    else if (info->n_kernels < 1 || !info->kernels || info->bytes_resident < 0 ||
             info->bytes_activations < 0)
        snprintf(e->odd, sizeof e->odd, "executable_info gives %d kernels, %lld and %lld bytes",
                 info->n_kernels, (long long)info->bytes_resident,
                 (long long)info->bytes_activations);
    for (int32_t k = 0; !e->odd[0] && k < info->n_kernels; k++) {
        const pare_kernel_info *kernel = info->kernels[k];
        if (!kernel || !is_name(kernel->kernel) || kernel->node < 0 ||
            kernel->node >= graph->n_nodes || kernel->macs < 0 || kernel->weight_bytes < 0)
            snprintf(e->odd, sizeof e->odd, "kernel %d of executable_info makes no sense", k);
    }
}

static pare_status compile(struct compiled *e, const pare_graph *graph, struct outcome *out) {
    const pare_backend *b = e->entry->backend;
    struct outcome first = {.status = PARE_OK};
    for (int32_t k = 0; k < graph->n_nodes && first.status == PARE_OK; k++)
        first.status = CALL(e, &first, "supports", b->supports(e->instance, graph, k));
    pare_compile_options options = {.struct_size = sizeof options, .max_batch = BACKEND_BATCH};
    void *executable = NULL;
    pare_status status =
        CALL(e, out, "compile", b->compile(e->instance, graph, &options, &executable));
    if (status != PARE_OK) {
        e->is_refused = status == PARE_E_UNSUPPORTED;
        return status;
    }
    e->executable = executable;
    if (first.status != PARE_OK)
        snprintf(e->odd, sizeof e->odd, "supports refuses what compile takes: %.160s",
                 first.err.text);
    status = CALL(e, out, "executable_info", b->executable_info(executable, &e->info));
    if (status == PARE_OK && !e->odd[0])
        judge_info(e, graph);
    return status;
}

pare_status compiled_open(struct compiled *e, const struct params *params,
                          const struct watch_options *options, const pare_graph *graph,
                          struct outcome *out) {
    const int32_t *d = graph->input_dims;
    e->n_inputs = d[0] * d[1] * d[2];
    e->n_classes = graph->n_classes;
    if (watch_open(e->entry, options, &out->err, &e->watch)) {
        out->is_own = 1;
        return PARE_E_LIMIT;
    }
    void *instance = NULL;
    pare_status status = CALL(
        e, out, "create",
        e->entry->backend->create(watch_host(e->watch), params_of_table(params, 0), &instance));
    if (status != PARE_OK)
        return status;
    e->instance = instance;
    e->is_created = 1;
    return compile(e, graph, out);
}

static void set_guard(const struct compiled *e, float *output, int32_t n) {
    memset(output, GUARD_BYTE, (size_t)(n * e->n_classes + OUTPUT_GUARD) * sizeof *output);
}

static void look_at_guard(const struct compiled *e, const float *output, int32_t n,
                          const char *call) {
    const unsigned char *guard = (const unsigned char *)(output + (ptrdiff_t)n * e->n_classes);
    for (size_t k = 0; k < OUTPUT_GUARD * sizeof *output; k++)
        if (guard[k] != GUARD_BYTE && !e->watch->misuse[0])
            snprintf(e->watch->misuse, sizeof e->watch->misuse,
                     "%s writes beyond its output of %d x %d", call, n, e->n_classes);
}

pare_status compiled_run(struct compiled *e, const float *images, int32_t n, float *output,
                         struct outcome *out) {
    set_guard(e, output, n);
    atomic_store(&e->watch->in_hot, 1);
    pare_status status =
        CALL(e, out, "run", e->entry->backend->run(e->executable, images, n, output));
    atomic_store(&e->watch->in_hot, 0);
    look_at_guard(e, output, n, "run");
    return status;
}

/* What a backend tells of its kernels. */
struct told_kernels {
    int32_t n, wrong; /* one that there is not, else 0 */
    uint8_t *is_done; /* (n) */
};

static void kernel_done(void *context, int32_t kernel) {
    struct told_kernels *t = context;
    if (kernel < -1 || kernel >= t->n)
        t->wrong = kernel;
    else if (kernel >= 0)
        t->is_done[kernel] = 1;
}

static void judge_profile(struct compiled *e, const struct told_kernels *t, int is_same) {
    const uint8_t *missing = memchr(t->is_done, 0, (size_t)t->n);
    if (t->wrong)
        snprintf(e->odd, sizeof e->odd, "profile tells of kernel %d, of 0..%d", t->wrong, t->n - 1);
    else if (missing)
        snprintf(e->odd, sizeof e->odd, "profile does not tell that kernel %d (%.80s) is done",
                 (int)(missing - t->is_done), e->info->kernels[missing - t->is_done]->kernel);
    else if (!is_same)
        snprintf(e->odd, sizeof e->odd, "profile gives another result than run");
}

pare_status compiled_profile(struct compiled *e, const float *images, int32_t n,
                             const float *wanted, struct outcome *out) {
    const pare_backend *b = e->entry->backend;
    const pare_backend_profile *ext =
        b->get_extension ? b->get_extension(PARE_BACKEND_PROFILE) : NULL;
    if (!ext)
        return PARE_OK;
    if (!PARE_HAS(ext, pare_backend_profile, run) || !ext->run) {
        snprintf(e->odd, sizeof e->odd, "extension %s has no run", PARE_BACKEND_PROFILE);
        return PARE_OK;
    }
    struct told_kernels heard = {.n = e->info->n_kernels};
    size_t n_outputs = (size_t)(n * e->n_classes);
    float *output = alloc_array(n_outputs + OUTPUT_GUARD, sizeof *output);
    heard.is_done = alloc_array((size_t)heard.n, 1);
    pare_status status = PARE_OK;
    out->is_own = !output || !heard.is_done;
    if (!out->is_own) {
        set_guard(e, output, n);
        atomic_store(&e->watch->in_hot, 1);
        status = CALL(e, out, "profile",
                      ext->run(e->executable, images, n, output, kernel_done, &heard));
        atomic_store(&e->watch->in_hot, 0);
        look_at_guard(e, output, n, "profile");
        if (status == PARE_OK)
            judge_profile(e, &heard, memcmp(output, wanted, n_outputs * sizeof *output) == 0);
    }
    free(output);
    free(heard.is_done);
    return status;
}

void compiled_close(struct compiled *e, struct outcome *out) {
    struct watch *w = e->watch;
    if (!w)
        return;
    note_enter(e->note, e->entry->owner, "executable_destroy");
    if (e->is_created)
        e->entry->backend->executable_destroy(e->executable);
    note_enter(e->note, e->entry->owner, "destroy");
    if (e->is_created)
        e->entry->backend->destroy(e->instance);
    note_leave(e->note);
    watch_check_blocks(w);
    out->n_allocs = atomic_load(&w->n_allocs);
    out->n_refused = atomic_load(&w->n_refused);
    out->leaked_bytes = w->live_bytes;
    memcpy(out->misuse, w->misuse, sizeof out->misuse);
    memcpy(out->violation, w->violation, sizeof out->violation);
    watch_close(w);
    e->watch = NULL;
}

/* ---- graphs ---- */

const char *backend_life_graph_name(int which) {
    static const char *const names[] = {"linear layers, fp32", "convolutions, fp32",
                                        "convolutions, 8 bits"};
    return names[which];
}

static void make_linears(struct maker *m, uint64_t seed) {
    maker_init(m, seed, 2, 3, 2);
    int32_t x = maker_linear(m, maker_simple(m, PARE_OP_FLATTEN, 0), 9, 1);
    maker_linear(m, maker_simple(m, PARE_OP_RELU, x), 5, 1);
}

static void make_convolutions(struct maker *m, uint64_t seed, int32_t bits) {
    maker_init(m, seed, 8, 8, 3);
    int32_t conv1 = maker_conv(m, 0, 8, 3, 1, 1, 1, 1);
    int32_t x = bits ? conv1 : maker_batch_norm(m, conv1);
    int32_t relu1 = maker_simple(m, PARE_OP_RELU, x);
    int32_t conv2 = maker_conv(m, relu1, 8, 3, 1, 1, 2, 1);
    int32_t relu2 = maker_simple(m, PARE_OP_RELU, maker_add(m, conv2, relu1));
    int32_t pool = maker_pool(m, PARE_OP_MAX_POOL, relu2, 2, 2, 0);
    int32_t mean = maker_simple(m, PARE_OP_GLOBAL_AVG_POOL, pool);
    int32_t fc = maker_linear(m, mean, 5, 1);
    int32_t values[] = {0, relu1, conv2, relu2, mean};
    int32_t layers[] = {conv1, conv2, fc};
    for (int k = 0; bits && k < 5; k++)
        maker_quantize_somehow(m, values[k], bits, 4.0f);
    for (int k = 0; bits && k < 3; k++)
        maker_quantize_weight(m, layers[k], bits);
}

void backend_life_spoil(struct maker *m) {
    for (int32_t k = 0; k < m->graph.n_weights; k++) {
        pare_weight *w = (pare_weight *)(uintptr_t)m->weights[k];
        for (int64_t i = 0; i < w->n_elems; i++)
            ((float *)(uintptr_t)w->data)[i] = NAN;
        for (int64_t i = 0; w->codes && i < w->n_elems; i++)
            ((int16_t *)(uintptr_t)w->codes)[i] = 0x55;
        w->n_elems = 0;
    }
    for (int32_t k = 0; k < m->graph.n_nodes; k++)
        maker_node(m, k)->dims[2] = 0;
    m->graph.n_nodes = 0;
}

static pare_status run_both(struct compiled *e, uint64_t seed, struct outcome *out) {
    size_t n = (size_t)BACKEND_BATCH * (size_t)e->n_inputs;
    float *images = alloc_array(n, sizeof *images);
    float *output =
        alloc_array((size_t)(BACKEND_BATCH * e->n_classes + OUTPUT_GUARD), sizeof *output);
    pare_status status = PARE_OK;
    for (size_t k = 0; images && k < n; k++)
        images[k] = maker_normal(&seed);
    if (!images || !output)
        out->is_own = 1;
    for (int32_t batch = BACKEND_BATCH; status == PARE_OK && !out->is_own && batch >= 1;
         batch -= BACKEND_BATCH - 1) {
        status = compiled_run(e, images, batch, output, out);
        size_t bytes = (size_t)(batch * e->n_classes) * sizeof *output;
        out->digest = hash_bytes(output, bytes, out->digest);
    }
    free(images);
    free(output);
    return status;
}

/* On this machine, says the backend. */
static int is_usable(struct check_case *c, struct outcome *out) {
    pare_probe probe = {.struct_size = sizeof probe};
    note_enter(c->note, c->subject->entry->owner, "probe");
    out->status = registry_probe(c->subject->entry, &out->err, &probe);
    note_leave(c->note);
    if (out->status != PARE_OK || probe.score > 0)
        return out->status == PARE_OK;
    out->status = PARE_E_UNSUPPORTED;
    out->is_told = probe.reason[0] != '\0';
    error_set(&out->err, PARE_E_UNSUPPORTED, "not usable on this machine: %s",
              out->is_told ? probe.reason : "probe gives no reason");
    return 0;
}

void backend_life(struct check_case *c, int which, const struct params *params,
                  const struct watch_options *options, struct outcome *out) {
    uint64_t seed = c->subject->options->seed;
    struct compiled e = {.entry = c->subject->entry, .note = c->note};
    struct maker *m = alloc_array(1, sizeof *m);
    if (!m || !is_usable(c, out)) {
        out->is_own = !m;
        free(m);
        return;
    }
    if (which == 0)
        make_linears(m, seed);
    else
        make_convolutions(m, seed, which == 1 ? 0 : 8);
    out->status = compiled_open(&e, params, options, &m->graph, out);
    backend_life_spoil(m);
    maker_free(m);
    free(m);
    if (out->status == PARE_OK)
        out->status = run_both(&e, seed, out);
    if (out->status == PARE_OK && e.odd[0]) {
        out->status = PARE_E_PLUGIN;
        out->is_told = 1;
        error_set(&out->err, PARE_E_PLUGIN, "%s: %s", e.entry->owner, e.odd);
    }
    compiled_close(&e, out);
}
