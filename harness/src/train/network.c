/* SPDX-License-Identifier: MIT */
/* Planning (which values are stored, and where) and the entry points. The passes themselves are in
 * network_forward.c and network_backward.c. */
#include "train/network.h"

#include "core/alloc.h"
#include "train/network_private.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- memory ---- */

static pare_status no_memory(const struct network *net, struct error *err) {
    return error_set(
        err, PARE_E_NOMEM,
        "%s: out of memory for a batch of %d images after %lld MiB; try a smaller batch",
        net->graph->name, net->max_batch, (long long)(net->bytes >> 20));
}

static void *counted_array(struct network *net, int64_t n, size_t size) {
    if (n < 0) {
        return NULL;
    }
    void *data = alloc_array((size_t)n, size);
    net->bytes += data ? n * (int64_t)size : 0;
    return data;
}

/* Large arrays are streamed through: huge pages, where the system gives them on request, save
 * misses of the address cache and let the prefetcher run on. */
static float *huge_floats(struct network *net, int64_t n) {
    const size_t page = (size_t)2 << 20;
    const size_t bytes = ((size_t)n * sizeof(float) + page - 1) / page * page;
    float *data = aligned_alloc(page, bytes);
    if (data) {
#if defined(MADV_HUGEPAGE)
        (void)madvise(data, bytes, MADV_HUGEPAGE); /* advice: a refusal changes nothing */
#endif
        memset(data, 0, bytes);
        net->bytes += (int64_t)bytes;
    }
    return data;
}

float *network_floats(struct network *net, int64_t n) {
    const int64_t large = (4 << 20) / (int64_t)sizeof(float);
    const int64_t most = PTRDIFF_MAX / 8;
    if (n >= large && n < most) {
        return huge_floats(net, n + KERNEL_SLACK);
    }
    return counted_array(net, n + KERNEL_SLACK, sizeof(float));
}

struct buffer *network_buffer(struct network *net, int64_t n_elems) {
    struct buffer *best = NULL;
    for (int32_t i = 0; i < net->n_buffers; i++) {
        struct buffer *b = &net->buffers[i];
        if (b->data && b->refs == 0 && b->n_elems >= n_elems &&
            (!best || b->n_elems < best->n_elems)) {
            best = b;
        }
    }
    if (!best) {
        if (net->n_buffers == net->buffers_cap) {
            return NULL;
        }
        best = &net->buffers[net->n_buffers];
        best->data = network_floats(net, n_elems);
        if (!best->data) {
            return NULL;
        }
        best->n_elems = n_elems;
        net->n_buffers++;
    }
    best->refs = 1;
    return best;
}

/* ---- reading values ---- */

/* Each thread has a range of chunks that it takes first, the same in every pass, so that it finds
 * what it wrote in its own cache; then it helps the others. */
enum { MAX_RANGES = 64 };

struct chunk_run {
    struct network *net;
    chunk_body body;
    void *arg;
    int32_t n_ranges;
    _Atomic int32_t next[MAX_RANGES]; /* first chunk of the range that nobody has taken */
};

static int32_t range_start(const struct chunk_run *run, int32_t range) {
    return (int32_t)((int64_t)network_n_chunks(run->net->n) * range / run->n_ranges);
}

static void run_range(struct chunk_run *run, int32_t range, int32_t thread) {
    const int32_t end = range_start(run, range + 1);
    for (;;) {
        const int32_t chunk = atomic_fetch_add_explicit(&run->next[range], 1, memory_order_relaxed);
        if (chunk >= end) {
            return;
        }
        const int32_t left = run->net->n - chunk * CHUNK;
        run->body(run->arg, chunk * CHUNK, left < CHUNK ? left : CHUNK, chunk, thread);
    }
}

static void chunk_task(void *arg, int64_t index, int32_t thread) {
    (void)index;
    struct chunk_run *run = arg;
    for (int32_t i = 0; i < run->n_ranges; i++) {
        run_range(run, (thread + i) % run->n_ranges, thread);
    }
}

void network_chunks(struct network *net, chunk_body body, void *arg) {
    struct chunk_run run = {.net = net, .body = body, .arg = arg};
    run.n_ranges = net->n_threads < MAX_RANGES ? net->n_threads : MAX_RANGES;
    for (int32_t i = 0; i < run.n_ranges; i++) {
        atomic_init(&run.next[i], range_start(&run, i));
    }
    pool_run(net->pool, run.n_ranges, chunk_task, &run);
}

struct source network_source(const struct network *net, int32_t node, int64_t first) {
    const struct node_state *s = &net->nodes[node];
    struct source out = {NULL};
    if (s->form == VALUE_STORED) {
        out.x = s->data + first * s->n_elems;
        return out;
    }
    out.x = net->nodes[s->base].data + first * s->n_elems;
    out.relu = s->relu;
    const pare_node *n = net->graph->nodes[node];
    if (n->op == PARE_OP_RELU && n->inputs[0] != s->base) {
        s = &net->nodes[n->inputs[0]];
    }
    out.scale = s->scale;
    out.shift = s->shift;
    return out;
}

struct source network_input(const struct network *net, const pare_node *node, int32_t i,
                            int64_t first) {
    const float *replaced = net->nodes[node->index].replaced;
    if (i == 0 && replaced) {
        const int64_t n_elems = net->nodes[node->inputs[0]].n_elems;
        return (struct source){.x = replaced + first * n_elems};
    }
    return network_source(net, node->inputs[i], first);
}

const float *network_weight(const struct network *net, const pare_node *node, pare_role role) {
    const pare_weight *w = node->weights[role];
    if (!w) {
        return NULL;
    }
    const float *used = net->weights[w->index].used;
    return used ? used : w->data;
}

struct pool_shape network_pool_shape(const pare_graph *graph, const pare_node *node) {
    const int32_t *in = graph->nodes[node->inputs[0]]->dims;
    struct pool_shape p = {in[0],          in[1],          in[2],          node->dims[0],
                           node->dims[1],  node->kernel_h, node->kernel_w, node->stride_h,
                           node->stride_w, node->pad_h,    node->pad_w};
    if (node->op == PARE_OP_GLOBAL_AVG_POOL) {
        p.out_h = p.out_w = 1;
        p.kernel_h = p.stride_h = in[0];
        p.kernel_w = p.stride_w = in[1];
        p.pad_h = p.pad_w = 0;
    }
    return p;
}

/* ---- planning ---- */

/* Readers that take a value in the lazy form. */
static int reads_lazily(const struct network *net, const pare_node *reader) {
    return reader->op == PARE_OP_ADD ||
           (reader->op == PARE_OP_CONV2D && !net->nodes[reader->index].replaced);
}

static int all_read_lazily(const struct network *net, const pare_node *node, int relu_too) {
    int n = 0;
    for (int32_t i = node->index + 1; i < net->graph->n_nodes; i++) {
        const pare_node *reader = net->graph->nodes[i];
        for (int32_t j = 0; j < reader->n_inputs; j++) {
            if (reader->inputs[j] == node->index) {
                if (!reads_lazily(net, reader) && !(relu_too && reader->op == PARE_OP_RELU)) {
                    return 0;
                }
                n++;
            }
        }
    }
    return n > 0;
}

static const pare_node *only_reader(const struct network *net, const pare_node *node) {
    if (node->n_consumers == 1) {
        for (int32_t i = node->index + 1; i < net->graph->n_nodes; i++) {
            const pare_node *reader = net->graph->nodes[i];
            if (reader->inputs[0] == node->index ||
                (reader->n_inputs > 1 && reader->inputs[1] == node->index)) {
                return reader;
            }
        }
    }
    return NULL;
}

static int32_t first_reader(const pare_graph *graph, int32_t node) {
    for (int32_t i = node + 1; i < graph->n_nodes; i++) {
        for (int32_t j = 0; j < graph->nodes[i]->n_inputs; j++) {
            if (graph->nodes[i]->inputs[j] == node) {
                return i;
            }
        }
    }
    return 0;
}

/* Evaluation reuses buffers as soon as the ReLU has run, so only training may wait. */
static void plan_deferred(struct network *net, const pare_node *node) {
    struct node_state *s = &net->nodes[node->index];
    const pare_node *reader = net->graph->nodes[s->first_reader];
    s->deferred = net->train && !net->observed && !s->quantized && s->form == VALUE_STORED &&
                  node->op == PARE_OP_RELU && reader->op == PARE_OP_CONV2D &&
                  !net->nodes[reader->index].replaced &&
                  net->nodes[node->inputs[0]].form == VALUE_PASSED;
}

static void plan_form(struct network *net, const pare_node *node) {
    struct node_state *s = &net->nodes[node->index];
    s->form = VALUE_STORED;
    s->relu = 0;
    s->quantized = node->activation.bits != 0;
    if (net->observed || s->quantized) {
        return;
    }
    if (node->op == PARE_OP_ADD) {
        const pare_node *reader = only_reader(net, node);
        s->form = reader && reader->op == PARE_OP_RELU ? VALUE_PASSED : VALUE_STORED;
    } else if (node->op == PARE_OP_BATCH_NORM && all_read_lazily(net, node, 1)) {
        s->form = VALUE_LAZY;
        s->base = node->inputs[0];
    } else if (node->op == PARE_OP_RELU && all_read_lazily(net, node, 0)) {
        const struct node_state *in = &net->nodes[node->inputs[0]];
        if (in->form != VALUE_PASSED) {
            s->form = VALUE_LAZY;
            s->base = in->form == VALUE_LAZY ? in->base : node->inputs[0];
            s->relu = 1;
        }
    }
}

static void touch(struct network *net, int32_t node, int32_t at) {
    struct node_state *s = &net->nodes[node];
    if (s->form == VALUE_STORED) {
        s->last_use = at;
    } else if (s->form == VALUE_LAZY) {
        net->nodes[s->base].last_use = at;
    } else {
        touch(net, net->graph->nodes[node]->inputs[0], at);
        touch(net, net->graph->nodes[node]->inputs[1], at);
    }
}

/* Storage for every stored value. In evaluation mode a value's buffer is free again once its last
 * reader has run. */
static pare_status plan_storage(struct network *net, struct error *err) {
    const pare_graph *graph = net->graph;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        net->nodes[i].last_use = i;
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        for (int32_t j = 0; net->nodes[i].form == VALUE_STORED && j < graph->nodes[i]->n_inputs;
             j++) {
            touch(net, graph->nodes[i]->inputs[j], i);
        }
    }
    net->nodes[graph->n_nodes - 1].last_use = graph->n_nodes;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        struct node_state *s = &net->nodes[i];
        if (s->form != VALUE_STORED) {
            continue;
        }
        s->own = network_buffer(net, s->n_elems * net->max_batch);
        if (!s->own) {
            return no_memory(net, err);
        }
        s->data = s->own->data;
        for (int32_t j = 0; j <= i && !net->train; j++) {
            if (net->nodes[j].own && net->nodes[j].last_use == i) {
                net->nodes[j].own->refs = 0;
                net->nodes[j].own = NULL;
            }
        }
    }
    return PARE_OK;
}

/* A method may have changed which values are quantized since the last pass. */
static int plan_holds(const struct network *net, int32_t observed) {
    for (int32_t i = 0; i < net->graph->n_nodes; i++) {
        if (net->nodes[i].quantized != (net->graph->nodes[i]->activation.bits != 0)) {
            return 0;
        }
    }
    return net->planned && net->observed == observed;
}

static pare_status plan(struct network *net, int32_t observed, struct error *err) {
    if (plan_holds(net, observed)) {
        return PARE_OK;
    }
    net->planned = 0;
    net->observed = observed;
    for (int32_t i = 0; i < net->graph->n_nodes; i++) {
        struct node_state *s = &net->nodes[i];
        s->data = NULL;
        s->own = NULL;
        s->grad = NULL;
        s->moments_of = -1;
    }
    for (int32_t i = 0; i < net->n_buffers; i++) {
        net->buffers[i].refs = 0;
    }
    for (int32_t i = 0; i < net->graph->n_nodes; i++) {
        const pare_node *node = net->graph->nodes[i];
        net->nodes[i].first_reader = first_reader(net->graph, i);
        plan_form(net, node);
        plan_deferred(net, node);
        if (node->op == PARE_OP_BATCH_NORM &&
            net->graph->nodes[node->inputs[0]]->op == PARE_OP_CONV2D) {
            net->nodes[node->inputs[0]].moments_of = i;
        }
    }
    const pare_status status = plan_storage(net, err);
    net->planned = status == PARE_OK;
    return status;
}

static pare_status create_norm(struct network *net, const pare_node *node, struct error *err) {
    struct node_state *s = &net->nodes[node->index];
    const int32_t c = node->dims[2];
    const int32_t period = kernel_period(c);
    float *coefficients = network_floats(net, 7 * (int64_t)period);
    if (!coefficients) {
        return no_memory(net, err);
    }
    s->scale = coefficients;
    s->shift = s->scale + period;
    s->centre = s->shift + period;
    s->ca = s->centre + period;
    s->cb = s->ca + period;
    s->cc = s->cb + period;
    s->inv_std = s->cc + period;
    if (net->train) {
        s->moments = counted_array(net, 2 * (int64_t)net->max_batch * c, sizeof(double));
        s->sums =
            counted_array(net, 2 * (int64_t)network_n_chunks(net->max_batch) * c, sizeof(double));
    }
    return net->train && (!s->moments || !s->sums) ? no_memory(net, err) : PARE_OK;
}

static int64_t max64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Notes how much scratch the node needs in *packed and the network's maxima. */
static void measure_node(struct network *net, const pare_node *node, int64_t *packed) {
    const int32_t *in = net->graph->nodes[node->inputs[0]]->dims;
    net->channels = max64(net->channels, max64(node->dims[2], in[2]));
    if (node->op == PARE_OP_CONV2D) {
        /* A training network also evaluates, without Winograd's algorithm. */
        const struct conv plain = conv_of(net->graph, node, 0);
        const struct conv c = conv_of(net->graph, node, net->train);
        *packed = max64(*packed, max64(conv_packed_elems(&plain), conv_packed_elems(&c)));
        net->image_elems = max64(net->image_elems, conv_image_elems(&c));
        net->gradient_elems = max64(net->gradient_elems, conv_gradient_elems(&c));
        net->tile_elems = max64(net->tile_elems, conv_tile_elems(&c));
        net->partial_elems = max64(net->partial_elems, conv_sum_elems(&c));
    } else if (node->op == PARE_OP_LINEAR) {
        const struct linear l = {in[2], node->dims[2]};
        *packed = max64(*packed, linear_packed_elems(&l));
    }
}

static pare_status create_hooks(struct network *net, const pare_node *node, struct error *err) {
    const struct network_hooks *h = &net->hooks;
    if (node->op != PARE_OP_CONV2D && node->op != PARE_OP_LINEAR) {
        return PARE_OK;
    }
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    if (h->wants_weight && h->weight_forward && h->wants_weight(h->context, w->index)) {
        net->weights[w->index].used = network_floats(net, w->n_elems);
        if (!net->weights[w->index].used) {
            return no_memory(net, err);
        }
    }
    if (h->wants_activation && h->activation_forward &&
        h->wants_activation(h->context, node->index)) {
        float *y = network_floats(net, net->nodes[node->inputs[0]].n_elems * net->max_batch);
        net->nodes[node->index].replaced = y;
        return y ? PARE_OK : no_memory(net, err);
    }
    return PARE_OK;
}

static pare_status create_gradients(struct network *net, struct error *err) {
    for (int32_t i = 0; i < net->graph->n_weights; i++) {
        const pare_weight *w = net->graph->weights[i];
        if (w->role != PARE_ROLE_MEAN && w->role != PARE_ROLE_VAR) {
            net->weights[i].gradient = network_floats(net, w->n_elems);
            if (!net->weights[i].gradient) {
                return no_memory(net, err);
            }
        }
    }
    const int32_t chunks = network_n_chunks(net->max_batch);
    net->gradient = network_floats(net, net->gradient_elems * net->n_threads);
    net->partial = network_floats(net, net->partial_elems * chunks);
    net->partial_sums = counted_array(net, net->channels * chunks, sizeof(double));
    return net->gradient && net->partial && net->partial_sums ? PARE_OK : no_memory(net, err);
}

static pare_status create_parts(struct network *net, struct error *err) {
    const pare_graph *graph = net->graph;
    int64_t packed = 1;
    net->channels = 1;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const pare_node *node = graph->nodes[i];
        net->nodes[i].n_elems = (int64_t)node->dims[0] * node->dims[1] * node->dims[2];
        net->nodes[i].grad_norm = -1;
        pare_status status = create_hooks(net, node, err);
        if (status == PARE_OK && node->op == PARE_OP_BATCH_NORM) {
            status = create_norm(net, node, err);
        }
        if (status != PARE_OK) {
            return status;
        }
        if (i > 0) {
            measure_node(net, node, &packed);
        }
    }
    /* Rows of a thread's scratch start on a cache line of their own. */
    net->image_elems = (net->image_elems + 31) / 16 * 16;
    net->gradient_elems = (net->gradient_elems + 31) / 16 * 16;
    net->tile_elems = (net->tile_elems + 31) / 16 * 16;
    net->work_elems = 2 * kernel_period((int32_t)net->channels) + 64;
    net->packed = network_floats(net, packed);
    net->bias = network_floats(net, net->channels);
    net->image = network_floats(net, net->image_elems * net->n_threads);
    net->tiles = network_floats(net, net->tile_elems * net->n_threads);
    net->work = network_floats(net, net->work_elems * net->n_threads);
    if (!net->packed || !net->bias || !net->image || !net->tiles || !net->work) {
        return no_memory(net, err);
    }
    return net->train ? create_gradients(net, err) : PARE_OK;
}

pare_status network_create(struct model *model, int32_t max_batch, int train,
                           const struct network_hooks *hooks, struct pool *pool, struct error *err,
                           struct network **out) {
    const pare_graph *graph = &model->graph;
    if (max_batch < 1) {
        return error_set(err, PARE_E_RANGE, "%s: batch is %d, wanted at least 1", graph->name,
                         max_batch);
    }
    if (graph->n_nodes < 2) {
        return error_set(err, PARE_E_ARG, "%s: the graph has no nodes behind its input",
                         graph->name);
    }
    struct network *net = alloc_array(1, sizeof *net);
    if (!net) {
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", graph->name);
    }
    net->model = model;
    net->graph = graph;
    net->k = kernels_best();
    net->pool = pool;
    net->n_threads = pool ? pool_n_threads(pool) : 1;
    net->max_batch = max_batch;
    net->train = train != 0;
    net->norm_momentum = 0.1f;
    if (hooks) {
        net->hooks = *hooks;
    }
    net->nodes = counted_array(net, graph->n_nodes, sizeof *net->nodes);
    net->weights = counted_array(net, graph->n_weights, sizeof *net->weights);
    net->buffers_cap = 4 * graph->n_nodes + 8;
    net->buffers = counted_array(net, net->buffers_cap, sizeof *net->buffers);
    pare_status status =
        net->nodes && net->weights && net->buffers ? create_parts(net, err) : no_memory(net, err);
    if (status == PARE_OK) {
        status = plan(net, 0, err);
    }
    if (status != PARE_OK) {
        network_destroy(net);
        return status;
    }
    *out = net;
    return PARE_OK;
}

void network_destroy(struct network *net) {
    if (!net) {
        return;
    }
    for (int32_t i = 0; net->nodes && i < net->graph->n_nodes; i++) {
        free(net->nodes[i].scale);
        free(net->nodes[i].moments);
        free(net->nodes[i].sums);
        free(net->nodes[i].replaced);
    }
    for (int32_t i = 0; net->weights && i < net->graph->n_weights; i++) {
        free(net->weights[i].used);
        free(net->weights[i].gradient);
    }
    for (int32_t i = 0; i < net->n_buffers; i++) {
        free(net->buffers[i].data);
    }
    free(net->nodes);
    free(net->weights);
    free(net->buffers);
    free(net->image);
    free(net->gradient);
    free(net->tiles);
    free(net->work);
    free(net->packed);
    free(net->bias);
    free(net->partial);
    free(net->partial_sums);
    free(net);
}

void network_freeze_norm(struct network *net, int frozen) {
    net->norm_frozen = frozen != 0;
}

void network_set_norm_momentum(struct network *net, float momentum) {
    net->norm_momentum = momentum;
}

int64_t network_bytes(const struct network *net) {
    return net->bytes;
}

const float *network_gradient(const struct network *net, int32_t weight) {
    return weight >= 0 && weight < net->graph->n_weights ? net->weights[weight].gradient : NULL;
}

/* ---- entry points ---- */

static pare_status run(struct network *net, const float *images, int32_t n, int32_t training,
                       network_visitor visit, void *context, struct error *err,
                       const float **logits) {
    const pare_graph *graph = net->graph;
    net->forward = 0;
    if (n < 1 || n > net->max_batch) {
        return error_set(err, PARE_E_RANGE, "%s: batch is %d, wanted 1..%d", graph->name, n,
                         net->max_batch);
    }
    pare_status status = plan(net, visit != NULL, err);
    net->n = n;
    if (status == PARE_OK) {
        memcpy(net->nodes[0].data, images, (size_t)(n * net->nodes[0].n_elems) * sizeof *images);
    }
    const int32_t softmax = training && graph->nodes[graph->n_nodes - 1]->op == PARE_OP_SOFTMAX;
    const int32_t last = graph->n_nodes - 1 - softmax;
    for (int32_t i = 0; i <= last && status == PARE_OK; i++) {
        status = network_run_node(net, graph->nodes[i], training, err);
        if (status == PARE_OK && visit) {
            status = visit(context, i, net->nodes[i].data, n);
            if (status != PARE_OK) {
                error_set(err, status, "%s: observing the value of %s failed", graph->name,
                          graph->nodes[i]->name);
            }
        }
    }
    if (status == PARE_OK) {
        net->forward = training;
        *logits = net->nodes[last].data;
    }
    return status;
}

pare_status network_infer(struct network *net, const float *images, int32_t n, struct error *err,
                          const float **logits) {
    return run(net, images, n, 0, NULL, NULL, err, logits);
}

pare_status network_infer_observed(struct network *net, const float *images, int32_t n,
                                   network_visitor visit, void *context, struct error *err,
                                   const float **logits) {
    return run(net, images, n, 0, visit, context, err, logits);
}

pare_status network_forward(struct network *net, const float *images, int32_t n, struct error *err,
                            const float **logits) {
    if (!net->train) {
        return error_set(err, PARE_E_STATE, "%s: network_forward needs a network made for training",
                         net->graph->name);
    }
    return run(net, images, n, 1, NULL, NULL, err, logits);
}
