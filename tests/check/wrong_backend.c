/* SPDX-License-Identifier: MIT */
/* A backend of fp32 chains of flatten, linear and relu that is right as it stands
 * (VARIANT_BACKEND_GOOD), and one mistake per variant. */
#include <pare/backend.h>
#include <pare/ext/profile.h>

#include <string.h>

#define MAX_LAYERS 32

struct layer {
    pare_op op;
    int32_t n_in, n_out;
    const float *weight, *bias; /* (n_out,n_in), (n_out) */
};

struct executable {
    const pare_host *host;
    int32_t n_layers, widest;
    float *memory; /* weights and biases, then two buffers of (widest) */
    float *buffers[2];
    struct layer layers[MAX_LAYERS];
    pare_kernel_info kernel;
    const pare_kernel_info *kernels[1];
    pare_executable_info info;
};

static pare_status probe(const pare_host *host, pare_probe *out) {
    (void)host;
    out->score = 1;
    memcpy(out->isa, "portable", sizeof "portable");
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *params, void **instance) {
    (void)params;
    *instance = (void *)(uintptr_t)host;
    return PARE_OK;
}

static void destroy(void *instance) {
    (void)instance;
}

static pare_status supports(void *instance, const pare_graph *graph, int32_t node) {
    const pare_host *host = instance;
    const pare_node *n = graph->nodes[node];
    int is_known = n->op == PARE_OP_INPUT || n->op == PARE_OP_FLATTEN || n->op == PARE_OP_RELU ||
                   n->op == PARE_OP_LINEAR;
#ifdef VARIANT_BACKEND_CONTRADICTS
    is_known = is_known && n->op != PARE_OP_LINEAR;
#endif
    if (is_known && n->activation.bits == 0 && (node == 0 || n->inputs[0] == node - 1)) {
        return PARE_OK;
    }
    return host->fail(host, PARE_E_UNSUPPORTED, "%s: not a chain of fp32 layers", n->name);
}

static void executable_destroy(void *executable) {
    struct executable *e = executable;
    if (e) {
        e->host->free(e->host, e->memory);
        e->host->free(e->host, e);
    }
}

static int is_chain(const pare_graph *graph) {
    for (int32_t k = 0; k < graph->n_nodes; k++) {
        const pare_node *n = graph->nodes[k];
        int is_known = n->op == PARE_OP_INPUT || n->op == PARE_OP_FLATTEN ||
                       n->op == PARE_OP_RELU || n->op == PARE_OP_LINEAR;
        if (!is_known || n->activation.bits != 0 || (k > 0 && n->inputs[0] != k - 1)) {
            return 0;
        }
    }
    return graph->n_nodes <= MAX_LAYERS;
}

/* Copies weights and biases; without them, a bias is 0. */
static void fill(struct executable *e, const pare_graph *graph) {
    float *at = e->memory;
    for (int32_t k = 0; k < graph->n_nodes; k++) {
        const pare_node *node = graph->nodes[k];
        const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
        const pare_weight *b = node->weights[PARE_ROLE_BIAS];
        int32_t n_out = node->dims[0] * node->dims[1] * node->dims[2];
        struct layer layer = {node->op, w ? (int32_t)w->dims[1] : n_out, n_out, at, NULL};
        if (w) {
            memcpy(at, w->data, (size_t)w->n_elems * sizeof *at);
#ifdef VARIANT_BACKEND_BORROWS
            layer.weight = w->data;
#endif
            at += w->n_elems;
        }
        layer.bias = at;
        memset(at, 0, (size_t)n_out * sizeof *at);
#ifdef VARIANT_BACKEND_NO_BIAS
        b = NULL;
#endif
        if (b) {
            memcpy(at, b->data, (size_t)n_out * sizeof *at);
        }
        at += n_out;
        e->layers[e->n_layers++] = layer;
    }
    e->buffers[0] = at;
    e->buffers[1] = at + e->widest;
}

static pare_status compile(void *instance, const pare_graph *graph,
                           const pare_compile_options *options, void **executable) {
    const pare_host *host = instance;
    size_t n = 0;
    (void)options;
    if (!is_chain(graph)) {
        return host->fail(host, PARE_E_UNSUPPORTED, "not a chain of fp32 layers");
    }
    struct executable *e = host->alloc(host, sizeof *e);
    if (!e) {
        return host->fail(host, PARE_E_NOMEM, "no memory");
    }
    *e = (struct executable){.host = host};
    for (int32_t k = 0; k < graph->n_nodes; k++) {
        const pare_node *node = graph->nodes[k];
        const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
        int32_t n_out = node->dims[0] * node->dims[1] * node->dims[2];
        e->widest = n_out > e->widest ? n_out : e->widest;
        n += (size_t)n_out + (w ? (size_t)w->n_elems : 0);
    }
    e->memory = host->alloc(host, (n + 2 * (size_t)e->widest) * sizeof *e->memory);
    if (!e->memory) {
        executable_destroy(e);
        return host->fail(host, PARE_E_NOMEM, "no memory");
    }
    fill(e, graph);
    e->kernel = (pare_kernel_info){.struct_size = sizeof e->kernel, .kernel = "wrong_linear"};
    e->kernels[0] = &e->kernel;
    e->info = (pare_executable_info){.struct_size = sizeof e->info,
                                     .isa = "portable",
#ifdef VARIANT_BACKEND_ODD_INFO
                                     .execution = "fast",
#else
                                     .execution = "float",
#endif
                                     .n_kernels = 1,
                                     .kernels = e->kernels};
    *executable = e;
    return PARE_OK;
}

static pare_status executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

static void run_layer(const struct layer *l, const float *x, float *y) { /* x (n_in), y (n_out) */
    for (ptrdiff_t o = 0; o < l->n_out; o++) {
        float sum = l->op == PARE_OP_LINEAR ? l->bias[o] : x[o];
        for (ptrdiff_t i = 0; l->op == PARE_OP_LINEAR && i < l->n_in; i++) {
            sum += l->weight[o * l->n_in + i] * x[i];
        }
        y[o] = l->op == PARE_OP_RELU && sum < 0.0f ? 0.0f : sum;
    }
}

static pare_status run(void *executable, const float *images, int32_t n, float *output) {
    struct executable *e = executable;
    const struct layer *last = &e->layers[e->n_layers - 1];
#ifdef VARIANT_BACKEND_ALLOC_IN_RUN
    e->host->free(e->host, e->host->alloc(e->host, 64));
#endif
    for (ptrdiff_t s = 0; s < n; s++) {
        const float *x = images + s * e->layers[0].n_in;
        for (int32_t k = 0; k < e->n_layers; k++) {
            run_layer(&e->layers[k], x, e->buffers[k % 2]);
            x = e->buffers[k % 2];
        }
        for (ptrdiff_t o = 0; o < last->n_out; o++) {
            output[s * last->n_out + o] = x[o];
#ifdef VARIANT_BACKEND_BLEEDS
            output[s * last->n_out + o] += s > 0 ? 1e-3f * output[o] : 0.0f;
#endif
        }
    }
#ifdef VARIANT_BACKEND_BEYOND
    output[(ptrdiff_t)n * last->n_out] = 0.0f;
#endif
    return PARE_OK;
}

/* All layers are one kernel here. */
static pare_status profile_run(void *executable, const float *images, int32_t n, float *output,
                               pare_kernel_done done, void *context) {
    pare_status status = run(executable, images, n, output);
#ifdef VARIANT_BACKEND_PROFILE_DIFFERS
    output[0] += 1.0f;
#endif
#ifdef VARIANT_BACKEND_PROFILE_INVENTS
    done(context, 1);
#endif
#ifdef VARIANT_BACKEND_PROFILE_FORGETS
    done(context, -1);
#else
    done(context, 0);
#endif
    return status;
}

static const void *get_extension(const char *id) {
    static const pare_backend_profile profile = {sizeof profile, profile_run};
    return strcmp(id, PARE_BACKEND_PROFILE) == 0 ? &profile : NULL;
}

static const pare_backend backend = {
    .struct_size = sizeof backend,
    .id = "wrong_chain",
    .version = "1.0.0",
    .doc = "runs chains, rightly or wrongly",
    .reference = "",
    .probe = probe,
    .create = create,
    .destroy = destroy,
    .supports = supports,
    .compile = compile,
    .executable_destroy = executable_destroy,
    .executable_info = executable_info,
    .run = run,
    .get_extension = get_extension,
};
static const pare_backend *const backends[] = {&backend};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "wrong", .version = "1.0.0",
    .license = "MIT",   .n_backends = 1, .backends = backends,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
