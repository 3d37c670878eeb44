/* SPDX-License-Identifier: MIT */
/* A backend as its author wrote it for ABI 1.0, not to be changed: fp32 networks of linear and
 * relu. */

/* 1. Include what you implement. */
#include <pare/backend.h>

#include <string.h>

#define MAX_NODES 64

/* 2. Say what an executable holds: everything that run() needs, because the graph is only borrowed
 * while compiling, and run() must neither allocate nor log. */
struct layer {
    pare_op op;
    int32_t input, n_in, n_out;
    float *weight; /* (n_out,n_in); starts the block of memory in which bias and value lie, too */
    float *bias;   /* (n_out) */
    float *value;  /* (max_batch,n_out) */
};

struct executable {
    const pare_host *host;
    int32_t n_layers;
    struct layer layers[MAX_NODES];
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

/* 4. Instances: with no parameters and no state of its own, the host is the instance. */
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
    if (n->activation.bits != 0) {
        return host->fail(host, PARE_E_UNSUPPORTED, "%s: quantized value, only fp32 runs here",
                          n->name);
    }
    if (n->op != PARE_OP_INPUT && n->op != PARE_OP_FLATTEN && n->op != PARE_OP_LINEAR &&
        n->op != PARE_OP_RELU) {
        return host->fail(host, PARE_E_UNSUPPORTED,
                          "%s: operator %d, only flatten, linear and relu run here", n->name,
                          n->op);
    }
    return PARE_OK;
}

static void executable_destroy(void *executable) {
    struct executable *e = executable;
    for (int32_t k = 0; e && k < e->n_layers; k++) {
        e->host->free(e->host, e->layers[k].weight);
    }
    if (e) {
        e->host->free(e->host, e);
    }
}

/* 6. Prepare one node: copy (or pack) its weights, make room for its value, name its kernel. */
static pare_status prepare(struct executable *e, const pare_node *node, int32_t max_batch) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT], *b = node->weights[PARE_ROLE_BIAS];
    int32_t n_out = node->dims[0] * node->dims[1] * node->dims[2];
    int64_t n_weight = w ? w->n_elems : 0;
    int64_t n_elems = n_weight + n_out + (int64_t)max_batch * n_out;
    float *memory = e->host->alloc(e->host, (size_t)n_elems * sizeof *memory);
    if (!memory) {
        return e->host->fail(e->host, PARE_E_NOMEM, "%s: no memory for %lld numbers", node->name,
                             (long long)n_elems);
    }
    memset(memory, 0, (size_t)n_elems * sizeof *memory);
    struct layer l = {.op = node->op, .input = node->inputs[0], .n_out = n_out};
    l.n_in = w ? (int32_t)w->dims[1] : n_out;
    l.weight = memory;
    l.bias = l.weight + n_weight;
    l.value = l.bias + n_out;
    if (w) {
        memcpy(l.weight, w->data, (size_t)n_weight * sizeof *memory);
    }
    if (b) {
        memcpy(l.bias, b->data, (size_t)n_out * sizeof *memory);
    }
    e->layers[e->n_layers] = l;
    e->kernel_list[e->n_layers] = &e->kernels[e->n_layers];
    e->kernels[e->n_layers++] =
        (pare_kernel_info){.struct_size = sizeof(pare_kernel_info),
                           .node = node->index,
                           .kernel = w ? "abi_1_0_linear" : "template_elementwise",
                           .macs = n_weight,
                           .weight_bytes = n_weight * (int64_t)sizeof *memory};
    e->info.bytes_resident += (n_weight + n_out) * (int64_t)sizeof *memory;
    e->info.bytes_activations += (int64_t)max_batch * n_out * (int64_t)sizeof *memory;
    return PARE_OK;
}

/* 7. Compile the graph; the nodes come in an order in which they can be executed. */
static pare_status compile(void *instance, const pare_graph *graph,
                           const pare_compile_options *options, void **executable) {
    const pare_host *host = instance;
    pare_status status = PARE_OK;
    if (graph->n_nodes > MAX_NODES || (options->isa && strcmp(options->isa, "portable") != 0)) {
        return host->fail(host, PARE_E_UNSUPPORTED, "%d nodes, isa %s; wanted at most %d, portable",
                          graph->n_nodes, options->isa ? options->isa : "any", MAX_NODES);
    }
    struct executable *e = host->alloc(host, sizeof *e);
    if (!e) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an executable");
    }
    *e = (struct executable){.host = host};
    for (int32_t k = 0; k < graph->n_nodes && status == PARE_OK; k++) {
        status = supports(instance, graph, k);
        status = status < 0 ? status : prepare(e, graph->nodes[k], options->max_batch);
    }
    if (status < 0) {
        executable_destroy(e);
        return status;
    }
    e->info.struct_size = sizeof e->info;
    e->info.isa = "portable";
    e->info.execution = "float";
    e->info.n_kernels = e->n_layers;
    e->info.kernels = e->kernel_list;
    *executable = e;
    return PARE_OK;
}

static pare_status executable_info(void *executable, const pare_executable_info **info) {
    *info = &((struct executable *)executable)->info;
    return PARE_OK;
}

/* 8. Run: no allocation, no log, and one sample's result does not depend on the others. */
static void run_layer(const struct layer *l, const float *x, float *y) { /* x (n_in), y (n_out) */
    for (int32_t o = 0; o < l->n_out; o++) {
        float sum = l->op == PARE_OP_LINEAR ? l->bias[o] : x[o];
        for (int32_t i = 0; l->op == PARE_OP_LINEAR && i < l->n_in; i++) {
            sum += l->weight[(ptrdiff_t)o * l->n_in + i] * x[i];
        }
        y[o] = l->op == PARE_OP_RELU && sum < 0.0f ? 0.0f : sum;
    }
}

static pare_status run(void *executable, const float *images, int32_t n, float *output) {
    struct executable *e = executable;
    for (int32_t k = 0; k < e->n_layers; k++) {
        struct layer *l = &e->layers[k];
        const float *x = k == 0 ? images : e->layers[l->input].value;
        for (ptrdiff_t s = 0; s < n; s++) {
            run_layer(l, x + s * l->n_in, l->value + s * l->n_out);
        }
    }
    const struct layer *last = &e->layers[e->n_layers - 1];
    memcpy(output, last->value, (size_t)n * (size_t)last->n_out * sizeof *output);
    return PARE_OK;
}

static const void *get_extension(const char *id) {
    (void)id;
    return NULL;
}

/* 9. Describe the backend and export the one symbol. */
static const pare_backend backend = {
    .struct_size = sizeof backend,
    .id = "abi_1_0_float",
    .version = "1.0.0",
    .doc = "fp32 networks of flatten, linear and relu, written to be read",
    .reference = "the template of plugins/README.md",
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
    PARE_PLUGIN_HEADER, .name = "abi_1_0_backend", .version = "1.0.0",
    .license = "MIT",   .n_backends = 1,           .backends = backends,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
