/* SPDX-License-Identifier: MIT */
/* A backend to copy: fp32 chains of flatten, linear and relu. Follow the numbered steps. */

/* 1. Include what you implement. */
#include <pare/backend.h>
#include <string.h>
enum { MAX_NODES = 64, MAX_WIDTH = 4096 }; /* of what it takes */

/* 2. Say what an executable holds: all that run() needs, which neither allocates nor logs. */
struct layer {
    pare_op op;
    int32_t n_in, n_out;
    float *weight; /* (n_out,n_in), then the bias (n_out); NULL but for linear */
};
struct executable {
    const pare_host *host;
    struct layer layers[MAX_NODES];
    float values[2][MAX_WIDTH]; /* what the layers make, in turn */
    pare_kernel_info kernels[MAX_NODES];
    const pare_kernel_info *kernel_list[MAX_NODES];
    pare_executable_info info;
};

/* 3. Tell how well it suits this machine; "auto" takes the highest score, 0 means not at all. */
static pare_status probe(const pare_host *host, pare_probe *out) {
    (void)host;
    out->score = 1;
    memcpy(out->isa, "portable", sizeof "portable");
    return PARE_OK;
}

/* 4. Make instances: with no parameters and no state of its own, the host is the instance. */
static pare_status create(const pare_host *host, const pare_params *params, void **instance) {
    (void)params;
    *instance = (void *)(uintptr_t)host;
    return PARE_OK;
}

static void destroy(void *instance) {
    (void)instance;
}

/* 5. Refuse what you cannot run, node by node, and say why. */
static pare_status supports(void *instance, const pare_graph *graph, int32_t node) {
    const pare_host *host = instance;
    const pare_node *n = graph->nodes[node];
    int known =
        node == 0 || n->op == PARE_OP_FLATTEN || n->op == PARE_OP_LINEAR || n->op == PARE_OP_RELU;
    int fits = node < MAX_NODES && (int64_t)n->dims[0] * n->dims[1] * n->dims[2] <= MAX_WIDTH;
    if (known && fits && n->activation.bits == 0 && (node == 0 || n->inputs[0] == node - 1))
        return PARE_OK;
    return host->fail(host, PARE_E_UNSUPPORTED, "%s: not in a small chain of fp32 layers", n->name);
}

static void executable_destroy(void *executable) {
    struct executable *e = executable;
    for (int32_t k = 0; e && k < MAX_NODES; k++)
        e->host->free(e->host, e->layers[k].weight);
    if (e)
        e->host->free(e->host, e);
}

/* 6. Prepare a node: copy (or pack) its weights, name its kernel. */
static pare_status prepare(struct executable *e, const pare_node *node) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT], *b = node->weights[PARE_ROLE_BIAS];
    int32_t k = node->index, n_out = node->dims[0] * node->dims[1] * node->dims[2];
    size_t n_weight = w ? (size_t)w->n_elems : 0, n = w ? n_weight + (size_t)n_out : 0;
    int64_t bytes = (int64_t)(n * sizeof(float));
    const char *name = w ? "template_linear" : "template_elementwise";
    e->layers[k] = (struct layer){node->op, w ? (int32_t)w->dims[1] : n_out, n_out, NULL};
    e->kernels[k] = (pare_kernel_info){sizeof *e->kernels, k, name, 0, 0, (int64_t)n_weight, bytes};
    e->kernel_list[k] = &e->kernels[k];
    e->info.bytes_resident += bytes;
    float *copy = w ? e->layers[k].weight = e->host->alloc(e->host, n * sizeof *copy) : NULL;
    if (w && !copy)
        return e->host->fail(e->host, PARE_E_NOMEM, "%s: no memory", node->name);
    for (size_t i = 0; i < n; i++)
        copy[i] = i < n_weight ? w->data[i] : b ? b->data[i - n_weight] : 0.0f;
    return PARE_OK;
}

/* 7. Compile the graph, which is only borrowed; its nodes come in an order of execution. */
static pare_status compile(void *instance, const pare_graph *graph,
                           const pare_compile_options *options, void **executable) {
    const pare_host *host = instance;
    pare_status status = PARE_OK;
    if (options->isa && strcmp(options->isa, "portable") != 0)
        return host->fail(host, PARE_E_UNSUPPORTED, "isa is %s, wanted portable", options->isa);
    struct executable *e = host->alloc(host, sizeof *e);
    if (!e)
        return host->fail(host, PARE_E_NOMEM, "no memory for an executable");
    *e = (struct executable){.host = host};
    e->info = (pare_executable_info){sizeof e->info,   "portable",     "float",       0,
                                     sizeof e->values, graph->n_nodes, e->kernel_list};
    for (int32_t k = 0; k < graph->n_nodes && status == PARE_OK; k++) {
        status = supports(instance, graph, k);
        status = status < 0 ? status : prepare(e, graph->nodes[k]);
    }
    if (status < 0) {
        executable_destroy(e);
        return status;
    }
    *executable = e;
    return PARE_OK;
}

static pare_status executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

/* 8. Run: no allocation, no log, and one sample's result does not depend on the others. */
static pare_status run(void *executable, const float *images, int32_t n, float *output) {
    struct executable *e = executable;
    int32_t n_layers = e->info.n_kernels, n_classes = e->layers[n_layers - 1].n_out;
    for (ptrdiff_t s = 0; s < n; s++) {
        const float *x = images + s * e->layers[0].n_in; /* (n_in) of the layer at hand */
        for (int32_t k = 0; k < n_layers; k++) {
            const struct layer *l = &e->layers[k];
            float *y = e->values[k % 2]; /* (n_out) */
            for (ptrdiff_t o = 0; o < l->n_out; o++) {
                y[o] = l->weight ? l->weight[(ptrdiff_t)l->n_out * l->n_in + o] : x[o];
                for (ptrdiff_t i = 0; l->weight && i < l->n_in; i++)
                    y[o] += l->weight[o * l->n_in + i] * x[i];
                y[o] = l->op == PARE_OP_RELU && y[o] < 0.0f ? 0.0f : y[o];
            }
            x = y;
        }
        memcpy(output + s * n_classes, x, (size_t)n_classes * sizeof *output);
    }
    return PARE_OK;
}

/* 9. Describe the backend (no parameters, no extensions) and export the one symbol. */
/* clang-format off */
static const pare_backend backend = {
    sizeof backend, "template_float", "1.0.0", "fp32 chains, written to be read",
    "the template of plugins/README.md", NULL, 0, probe, create, destroy, supports, compile,
    executable_destroy, executable_info, run, NULL,
};
static const pare_backend *const backends[] = {&backend};
static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, "template_backend", "1.0.0", "MIT", 0, NULL, 1, backends,
};
/* clang-format on */

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
