// SPDX-License-Identifier: MIT
// A backend outside the project, in C++: fp32 networks that are a chain of flatten, linear and relu.
#include <pare/backend.h>

#include <algorithm>
#include <cstring>

namespace {

constexpr int32_t max_layers = 32;

struct Layer {
    pare_op op;
    int32_t n_in, n_out;
    float *weight; // (n_out,n_in), then the bias (n_out), in one block
};

struct Executable {
    const pare_host *host;
    int32_t n_layers, widest;
    float *buffers; // two of (widest), which take turns
    Layer layers[max_layers];
    pare_kernel_info kernels[max_layers];
    const pare_kernel_info *kernel_list[max_layers];
    pare_executable_info info;
};

pare_status probe(const pare_host *, pare_probe *out) {
    out->score = 1;
    std::strcpy(out->isa, "portable");
    return PARE_OK;
}

pare_status create(const pare_host *host, const pare_params *, void **instance) {
    *instance = const_cast<pare_host *>(host);
    return PARE_OK;
}

void destroy(void *) {}

pare_status supports(void *instance, const pare_graph *graph, int32_t node) {
    const auto *host = static_cast<const pare_host *>(instance);
    const pare_node *n = graph->nodes[node];
    bool known = n->op == PARE_OP_INPUT || n->op == PARE_OP_FLATTEN || n->op == PARE_OP_LINEAR ||
                 n->op == PARE_OP_RELU;
    bool chained = node == 0 || n->inputs[0] == node - 1;
    if (known && chained && n->activation.bits == 0) {
        return PARE_OK;
    }
    return host->fail(host, PARE_E_UNSUPPORTED,
                      "%s: only chains of fp32 flatten, linear and relu run here", n->name);
}

void executable_destroy(void *executable) {
    auto *e = static_cast<Executable *>(executable);
    if (!e) {
        return;
    }
    for (int32_t k = 0; k < e->n_layers; k++) {
        e->host->free(e->host, e->layers[k].weight);
    }
    e->host->free(e->host, e->buffers);
    e->host->free(e->host, e);
}

pare_status add_layer(Executable *e, const pare_node *node) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT], *b = node->weights[PARE_ROLE_BIAS];
    Layer layer = {node->op, 0, node->dims[0] * node->dims[1] * node->dims[2], nullptr};
    layer.n_in = layer.n_out;
    int64_t n = w ? w->n_elems : 0;
    if (w) {
        layer.n_in = static_cast<int32_t>(w->dims[1]);
        size_t bytes = static_cast<size_t>(n + layer.n_out) * sizeof(float);
        layer.weight = static_cast<float *>(e->host->alloc(e->host, bytes));
        if (!layer.weight) {
            return e->host->fail(e->host, PARE_E_NOMEM, "%s: no memory", node->name);
        }
        std::copy(w->data, w->data + n, layer.weight);
        std::fill(layer.weight + n, layer.weight + n + layer.n_out, 0.0f);
        if (b) {
            std::copy(b->data, b->data + layer.n_out, layer.weight + n);
        }
        e->info.bytes_resident += static_cast<int64_t>(bytes);
    }
    int32_t k = e->n_layers++;
    e->layers[k] = layer;
    e->widest = std::max(e->widest, layer.n_out);
    e->kernels[k] = {sizeof(pare_kernel_info), node->index, w ? "dense_linear" : "dense_copy", 0,
                     0,  n, n * static_cast<int64_t>(sizeof(float))};
    e->kernel_list[k] = &e->kernels[k];
    return PARE_OK;
}

pare_status fill(Executable *e, const pare_graph *graph) {
    for (int32_t k = 0; k < graph->n_nodes; k++) {
        pare_status status = supports(const_cast<pare_host *>(e->host), graph, k);
        status = status < 0 ? status : add_layer(e, graph->nodes[k]);
        if (status < 0) {
            return status;
        }
    }
    size_t bytes = 2 * static_cast<size_t>(e->widest) * sizeof(float);
    e->buffers = static_cast<float *>(e->host->alloc(e->host, bytes));
    if (!e->buffers) {
        return e->host->fail(e->host, PARE_E_NOMEM, "no memory for values");
    }
    e->info.struct_size = sizeof e->info;
    e->info.isa = "portable";
    e->info.execution = "float";
    e->info.bytes_activations = static_cast<int64_t>(bytes);
    e->info.n_kernels = e->n_layers;
    e->info.kernels = e->kernel_list;
    return PARE_OK;
}

pare_status compile(void *instance, const pare_graph *graph, const pare_compile_options *options,
                    void **executable) {
    const auto *host = static_cast<const pare_host *>(instance);
    if (graph->n_nodes > max_layers || (options->isa && std::strcmp(options->isa, "portable"))) {
        return host->fail(host, PARE_E_UNSUPPORTED, "%d nodes, wanted at most %d, isa portable",
                          graph->n_nodes, max_layers);
    }
    auto *e = static_cast<Executable *>(host->alloc(host, sizeof(Executable)));
    if (!e) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an executable");
    }
    *e = Executable();
    e->host = host;
    pare_status status = fill(e, graph);
    if (status < 0) {
        executable_destroy(e);
        return status;
    }
    *executable = e;
    return PARE_OK;
}

pare_status executable_info(void *executable, const pare_executable_info **info) {
    *info = &static_cast<Executable *>(executable)->info;
    return PARE_OK;
}

void run_layer(const Layer &l, const float *x, float *y) { // x (n_in), y (n_out)
    for (int32_t o = 0; o < l.n_out; o++) {
        float sum = l.weight ? l.weight[static_cast<ptrdiff_t>(l.n_out) * l.n_in + o] : x[o];
        for (int32_t i = 0; l.weight && i < l.n_in; i++) {
            sum += l.weight[static_cast<ptrdiff_t>(o) * l.n_in + i] * x[i];
        }
        y[o] = l.op == PARE_OP_RELU && sum < 0 ? 0 : sum;
    }
}

pare_status run(void *executable, const float *images, int32_t n, float *output) {
    auto *e = static_cast<Executable *>(executable);
    const Layer &first = e->layers[0], &last = e->layers[e->n_layers - 1];
    for (int32_t s = 0; s < n; s++) {
        const float *x = images + static_cast<ptrdiff_t>(s) * first.n_in;
        for (int32_t k = 0; k < e->n_layers; k++) {
            float *y = e->buffers + (k % 2) * static_cast<ptrdiff_t>(e->widest);
            run_layer(e->layers[k], x, y);
            x = y;
        }
        std::copy(x, x + last.n_out, output + static_cast<ptrdiff_t>(s) * last.n_out);
    }
    return PARE_OK;
}

const pare_backend backend = {
    sizeof(pare_backend), "oot_dense", "1.0.0", "fp32 chains of flatten, linear and relu", "",
    nullptr, 0, probe, create, destroy, supports, compile, executable_destroy, executable_info, run,
    nullptr,
};
const pare_backend *const backends[] = {&backend};

const pare_plugin plugin = {PARE_PLUGIN_HEADER, "dense", "1.0.0", "MIT", 0, nullptr, 1, backends};

} // namespace

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
