/* SPDX-License-Identifier: MIT */
/* The backward pass. Gradients of values live in counted buffers that move from node to node: an
 * addition hands its buffer to both inputs, a batch norm leaves it to the convolution before it,
 * which passes it through the batch norm as it reads it. Whoever writes to a shared buffer copies
 * it first. */
#include "train/network_private.h"

#include <string.h>

static pare_status no_memory(const struct network *net, struct error *err) {
    return error_set(err, PARE_E_NOMEM, "%s: out of memory for gradients; try a smaller batch",
                     net->graph->name);
}

/* ---- buffers ---- */

struct copy_run {
    const struct network *net;
    float *to;
    const float *from;
    int64_t n_elems; /* of one image */
    int32_t add;
};

static void copy_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk, (void)thread;
    const struct copy_run *r = arg;
    const int64_t at = first * r->n_elems;
    if (r->add) {
        r->net->k->accumulate(r->to + at, r->from + at, n * r->n_elems);
    } else {
        memcpy(r->to + at, r->from + at, (size_t)(n * r->n_elems) * sizeof(float));
    }
}

static void release(struct buffer *b) {
    b->refs--;
}

/* Makes *b this holder's own, by a copy if it is shared. */
static pare_status make_unique(struct network *net, int32_t node, struct buffer **b,
                               struct error *err) {
    if ((*b)->refs == 1) {
        return PARE_OK;
    }
    struct buffer *own = network_buffer(net, net->nodes[node].n_elems * net->max_batch);
    if (!own) {
        return no_memory(net, err);
    }
    struct copy_run r = {net, own->data, (*b)->data, net->nodes[node].n_elems, 0};
    network_chunks(net, copy_chunk, &r);
    release(*b);
    *b = own;
    return PARE_OK;
}

/* Adds the gradient `b` to what has come for `node` so far, and takes over the reference. */
static pare_status give(struct network *net, int32_t node, struct buffer *b, struct error *err) {
    struct node_state *s = &net->nodes[node];
    if (node == 0) { /* nobody wants the gradient of the images */
        release(b);
        return PARE_OK;
    }
    if (!s->grad) {
        s->grad = b;
        return PARE_OK;
    }
    const pare_status status = make_unique(net, node, &s->grad, err);
    if (status == PARE_OK) {
        struct copy_run r = {net, s->grad->data, b->data, s->n_elems, 1};
        network_chunks(net, copy_chunk, &r);
    }
    release(b);
    return status;
}

/* Where a node writes the gradient of `node`: its own buffer, to be added to if *accumulate. */
static pare_status target(struct network *net, int32_t node, struct error *err,
                          int32_t *accumulate) {
    struct node_state *s = &net->nodes[node];
    *accumulate = s->grad != NULL;
    if (s->grad) {
        return make_unique(net, node, &s->grad, err);
    }
    s->grad = network_buffer(net, s->n_elems * net->max_batch);
    return s->grad ? PARE_OK : no_memory(net, err);
}

/* ---- sums over chunks ---- */

/* Adds the partial weight gradients of all chunks into the first one's. */
struct reduce_run {
    const struct network *net;
    int64_t n_elems;
    int32_t n_chunks;
};

enum { REDUCE_BLOCK = 4096 };

static void reduce_body(void *arg, int64_t index, int32_t thread) {
    (void)thread;
    const struct reduce_run *r = arg;
    const int64_t at = index * REDUCE_BLOCK;
    const int64_t n = r->n_elems - at < REDUCE_BLOCK ? r->n_elems - at : REDUCE_BLOCK;
    float *sum = r->net->partial + at;
    for (int32_t c = 1; c < r->n_chunks; c++) {
        r->net->k->accumulate(sum, sum + c * r->n_elems, n);
    }
}

static void clear_sums(struct network *net, int64_t per_chunk) {
    memset(net->partial_sums, 0,
           (size_t)(per_chunk * network_n_chunks(net->n)) * sizeof *net->partial_sums);
}

static double chunk_sum(const struct network *net, const double *sums, int64_t per_chunk,
                        int64_t i) {
    double sum = 0.0;
    for (int32_t c = 0; c < network_n_chunks(net->n); c++) {
        sum += sums[c * per_chunk + i];
    }
    return sum;
}

static float *gradient_of(const struct network *net, const pare_node *node, pare_role role) {
    return net->weights[node->weights[role]->index].gradient;
}

/* ---- convolution ---- */

static struct norm_gradient norm_source(const struct network *net, int32_t norm, const float *g,
                                        int64_t first) {
    const struct node_state *s = &net->nodes[norm];
    const int32_t in = net->graph->nodes[norm]->inputs[0];
    return (struct norm_gradient){
        .g = g + first * s->n_elems,
        .x = network_source(net, in, first).x,
        .ca = s->ca,
        .cb = s->cb,
        .cc = s->cc,
        .scale = s->grad_relu ? s->scale : NULL,
        .shift = s->grad_relu ? s->shift : NULL,
    };
}

static void clear_norm_sums(const struct network *net, int32_t norm, int32_t chunk) {
    const int32_t c = net->graph->nodes[norm]->dims[2];
    memset(net->nodes[norm].sums + (int64_t)chunk * 2 * c, 0, 2 * (size_t)c * sizeof(double));
}

/* Image i's share of the sums that batch norm `norm` needs; g: the gradient of its value, (n,
 * dims). */
static void add_norm_sums(const struct network *net, int32_t norm, const float *g, int32_t i,
                          int32_t chunk, int32_t thread) {
    const struct node_state *s = &net->nodes[norm];
    const int32_t c = net->graph->nodes[norm]->dims[2];
    const struct norm_gradient source = norm_source(net, norm, g, i);
    net->k->gradient_sums(&source, s->centre, s->n_elems, c, kernel_period(c),
                          net->work + thread * net->work_elems, s->sums + (int64_t)chunk * 2 * c);
}

/* What follows a convolution's gradient of its input, when the convolution is the last to add to
 * it: masking by the ReLU that made the input, and the sums of the batch norms before that. Done
 * image by image, while the gradient is in the cache. */
struct epilogue {
    int32_t relu;     /* to be masked by, or -1 */
    int32_t norms[2]; /* or -1 */
};

static int is_lone_norm(const pare_node *node) {
    return node->op == PARE_OP_BATCH_NORM && node->n_consumers == 1;
}

static struct epilogue plan_epilogue(struct network *net, const pare_node *conv) {
    struct epilogue e = {-1, {-1, -1}};
    const pare_node *in = net->graph->nodes[conv->inputs[0]];
    if (in->op != PARE_OP_RELU || net->nodes[conv->index].replaced ||
        net->nodes[in->index].first_reader != conv->index) {
        return e;
    }
    const pare_node *before = net->graph->nodes[in->inputs[0]];
    if (is_lone_norm(before)) {
        net->nodes[before->index].grad_relu = 1; /* masked as it is read */
        e.norms[0] = before->index;
    } else {
        e.relu = in->index;
        net->nodes[in->index].grad_masked = 1;
        for (int32_t j = 0; before->op == PARE_OP_ADD && before->n_consumers == 1 && j < 2; j++) {
            const pare_node *side = net->graph->nodes[before->inputs[j]];
            e.norms[j] = is_lone_norm(side) ? side->index : -1;
        }
    }
    for (int32_t j = 0; j < 2; j++) {
        if (e.norms[j] >= 0) {
            net->nodes[e.norms[j]].sums_done = 1;
        }
    }
    return e;
}

static void mask_gradient(const struct network *net, int32_t relu, float *g, int64_t first,
                          int64_t n) {
    const struct node_state *s = &net->nodes[relu];
    const struct source y = network_source(net, relu, first);
    net->k->relu_mask(g + first * s->n_elems, &y, n * s->n_elems,
                      kernel_period(net->graph->nodes[relu]->dims[2]));
}

static void run_epilogue(const struct network *net, const struct epilogue *e, float *g, int32_t i,
                         int32_t chunk, int32_t thread) {
    if (e->relu >= 0) {
        mask_gradient(net, e->relu, g, i, 1);
    }
    for (int32_t j = 0; j < 2; j++) {
        if (e->norms[j] >= 0) {
            add_norm_sums(net, e->norms[j], g, i, chunk, thread);
        }
    }
}

struct conv_run {
    struct network *net;
    const pare_node *node;
    struct conv conv;
    float *gx; /* (n, dims of the input) or NULL */
    int32_t gx_accumulate;
    int32_t has_bias;
    int64_t sum_elems;
    struct epilogue epilogue;
};

/* All that the gradients of image i are made of. */
static struct conv_ahead values_of(const struct conv_run *r, int64_t i) {
    const struct network *net = r->net;
    const struct node_state *s = &net->nodes[r->node->index];
    const int64_t in_elems = net->nodes[r->node->inputs[0]].n_elems;
    struct conv_ahead ahead = {
        {s->grad->data + i * s->n_elems, network_input(net, r->node, 0, i).x},
        {s->n_elems, in_elems},
    };
    if (s->grad_norm >= 0) {
        ahead.at[2] = norm_source(net, s->grad_norm, s->grad->data, i).x;
        ahead.n[2] = s->n_elems;
    }
    if (r->gx) { /* to be written, if not read */
        ahead.at[3] = r->gx + i * in_elems;
        ahead.n[3] = in_elems;
    }
    for (int32_t j = 0; j < 2; j++) {
        if (r->epilogue.norms[j] >= 0) {
            ahead.at[4 + j] = norm_source(net, r->epilogue.norms[j], r->gx, i).x;
            ahead.n[4 + j] = in_elems;
        }
    }
    return ahead;
}

static void conv_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    const struct conv_run *r = arg;
    struct network *net = r->net;
    const struct node_state *s = &net->nodes[r->node->index];
    struct conv_scratch scratch = network_scratch(net, thread);
    const int64_t in_elems = net->nodes[r->node->inputs[0]].n_elems;
    for (int32_t j = 0; j < 2; j++) {
        if (r->epilogue.norms[j] >= 0) {
            clear_norm_sums(net, r->epilogue.norms[j], chunk);
        }
    }
    for (int32_t i = first; i < first + n; i++) {
        const struct source x = network_input(net, r->node, 0, i);
        struct gradient_source gy = {NULL};
        if (s->grad_norm >= 0) {
            gy.norm = norm_source(net, s->grad_norm, s->grad->data, i);
        } else {
            gy.plain = s->grad->data + i * s->n_elems;
        }
        scratch.ahead = (struct conv_ahead){{NULL}, {0}};
        if (i + 1 < first + n) {
            scratch.ahead = values_of(r, i + 1);
        }
        const struct conv_gradients out = {
            .gw_sum = net->partial + chunk * r->sum_elems,
            .gx = r->gx ? r->gx + i * in_elems : NULL,
            .bias_sums = r->has_bias ? net->partial_sums + (int64_t)chunk * r->conv.out_c : NULL,
            .gw_accumulate = i > first,
            .gx_accumulate = r->gx_accumulate,
        };
        conv_backward(net->k, &r->conv, &x, &gy, net->packed, &scratch, &out);
        run_epilogue(net, &r->epilogue, r->gx, i, chunk, thread);
    }
}

static void conv_gradients(struct network *net, const pare_node *node, float *gx,
                           int32_t gx_accumulate) {
    struct conv_run r = {
        .net = net,
        .node = node,
        .conv = conv_of(net->graph, node, 1),
        .gx = gx,
        .gx_accumulate = gx_accumulate,
        .has_bias = node->weights[PARE_ROLE_BIAS] != NULL,
        .epilogue = plan_epilogue(net, node),
    };
    r.sum_elems = conv_sum_elems(&r.conv);
    if (gx) {
        conv_pack_backward(net->k, &r.conv, network_weight(net, node, PARE_ROLE_WEIGHT), net->pool,
                           net->packed);
    }
    clear_sums(net, r.conv.out_c);
    network_chunks(net, conv_chunk, &r);
    struct reduce_run reduce = {net, r.sum_elems, network_n_chunks(net->n)};
    pool_run(net->pool, (r.sum_elems + REDUCE_BLOCK - 1) / REDUCE_BLOCK, reduce_body, &reduce);
    conv_finish_weights(net->k, &r.conv, net->partial, gradient_of(net, node, PARE_ROLE_WEIGHT));
    for (int32_t c = 0; r.has_bias && c < r.conv.out_c; c++) {
        gradient_of(net, node, PARE_ROLE_BIAS)[c] =
            (float)chunk_sum(net, net->partial_sums, r.conv.out_c, c);
    }
}

/* ---- linear ---- */

struct node_run {
    struct network *net;
    const pare_node *node;
    struct buffer *to;
    int32_t fresh; /* `to` holds nothing yet */
};

static void bias_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    const struct node_run *r = arg;
    struct network *net = r->net;
    const struct node_state *s = &net->nodes[r->node->index];
    const int32_t c = r->node->dims[2];
    net->k->channel_sums(s->grad->data + first * s->n_elems, n * s->n_elems, c, kernel_period(c),
                         net->work + thread * net->work_elems,
                         net->partial_sums + (int64_t)chunk * c);
}

static void linear_gradients(struct network *net, const pare_node *node, float *gx,
                             int32_t gx_accumulate) {
    const struct linear l = {net->graph->nodes[node->inputs[0]]->dims[2], node->dims[2]};
    const float *gy = net->nodes[node->index].grad->data;
    if (node->weights[PARE_ROLE_BIAS]) {
        struct node_run r = {.net = net, .node = node};
        clear_sums(net, l.out);
        network_chunks(net, bias_chunk, &r);
        for (int32_t c = 0; c < l.out; c++) {
            gradient_of(net, node, PARE_ROLE_BIAS)[c] =
                (float)chunk_sum(net, net->partial_sums, l.out, c);
        }
    }
    linear_backward_weight(net->k, &l, network_input(net, node, 0, 0).x, gy, net->n, net->pool,
                           gradient_of(net, node, PARE_ROLE_WEIGHT));
    if (gx) {
        linear_pack_backward(&l, network_weight(net, node, PARE_ROLE_WEIGHT), net->packed);
        linear_backward_input(net->k, &l, gy, net->packed, net->n, gx_accumulate, net->pool, gx);
    }
}

/* ---- both, with the hooks ---- */

static pare_status hook_failed(const pare_node *node, pare_status status, const char *what,
                               struct error *err) {
    return error_set(err, status, "%s: the method's %s failed", node->name, what);
}

static pare_status weight_hook(struct network *net, const pare_node *node, struct error *err) {
    const struct network_hooks *h = &net->hooks;
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    if (!net->weights[w->index].used || !h->weight_backward) {
        return PARE_OK;
    }
    float *g = net->weights[w->index].gradient;
    const pare_status status = h->weight_backward(h->context, w->index, w->data, g, g);
    return status == PARE_OK ? PARE_OK : hook_failed(node, status, "weight_backward", err);
}

/* From the gradient of what the method put in place of the input to that of the input itself. */
static pare_status activation_hook(struct network *net, const pare_node *node, struct buffer **g,
                                   struct error *err) {
    const struct network_hooks *h = &net->hooks;
    const struct node_state *in = &net->nodes[node->inputs[0]];
    if (!h->activation_backward) {
        return PARE_OK;
    }
    struct buffer *gx = network_buffer(net, in->n_elems * net->max_batch);
    if (!gx) {
        return no_memory(net, err);
    }
    const pare_status status = h->activation_backward(h->context, node->index, in->data, (*g)->data,
                                                      gx->data, net->n * in->n_elems);
    release(*g);
    *g = gx;
    return status == PARE_OK ? PARE_OK : hook_failed(node, status, "activation_backward", err);
}

static pare_status weighted_backward(struct network *net, const pare_node *node,
                                     struct error *err) {
    void (*gradients)(struct network *, const pare_node *, float *, int32_t) =
        node->op == PARE_OP_CONV2D ? conv_gradients : linear_gradients;
    const int32_t in = node->inputs[0];
    pare_status status = PARE_OK;
    const struct network_hooks *h = &net->hooks;
    const int32_t is_unused =
        in == 0 && (!net->nodes[node->index].replaced ||
                    (h->wants_image_gradient && !h->wants_image_gradient(h->context, node->index)));
    if (is_unused) {
        gradients(net, node, NULL, 0);
    } else if (net->nodes[node->index].replaced) {
        /* Also for the images: the method may learn from this gradient. */
        struct buffer *g = network_buffer(net, net->nodes[in].n_elems * net->max_batch);
        if (!g) {
            return no_memory(net, err);
        }
        gradients(net, node, g->data, 0);
        status = activation_hook(net, node, &g, err);
        if (status == PARE_OK) {
            status = give(net, in, g, err);
        } else {
            release(g);
        }
    } else {
        int32_t accumulate;
        status = target(net, in, err, &accumulate);
        if (status == PARE_OK) {
            gradients(net, node, net->nodes[in].grad->data, accumulate);
        }
    }
    return status == PARE_OK ? weight_hook(net, node, err) : status;
}

/* ---- batch norm ---- */

static void norm_sums_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    const struct node_run *r = arg;
    const struct network *net = r->net;
    const int32_t norm = r->node->index;
    clear_norm_sums(net, norm, chunk);
    for (int32_t i = first; i < first + n; i++) {
        add_norm_sums(net, norm, net->nodes[norm].grad->data, i, chunk, thread);
    }
}

/* Ioffe & Szegedy 2015 (arXiv 1502.03167), the gradients of section 3, as coefficients of g and x:
 *     gx = gamma/std (g - sum g / m - (x - mean) sum(g (x - mean)) / (m var)). */
static void norm_coefficients(struct network *net, const pare_node *node) {
    struct node_state *s = &net->nodes[node->index];
    const int32_t c = node->dims[2];
    const double count = (double)(s->n_elems / c) * net->n;
    float *g_gamma = gradient_of(net, node, PARE_ROLE_GAMMA);
    float *g_beta = gradient_of(net, node, PARE_ROLE_BETA);
    for (int32_t ch = 0; ch < c; ch++) {
        const double sum = chunk_sum(net, s->sums, 2 * c, ch);
        const double dot = chunk_sum(net, s->sums, 2 * c, c + ch);
        const double inv_std = (double)s->inv_std[ch];
        g_gamma[ch] = (float)(dot * inv_std);
        g_beta[ch] = (float)sum;
        const double a = (double)node->weights[PARE_ROLE_GAMMA]->data[ch] * inv_std;
        double b = -a * inv_std * inv_std * dot / count;
        double c0 = -a * sum / count - b * (double)s->centre[ch];
        if (net->norm_frozen) { /* statistics that do not depend on x: only the factor stays */
            b = 0.0;
            c0 = 0.0;
        }
        for (int32_t i = ch; i < kernel_period(c); i += c) {
            s->ca[i] = (float)a;
            s->cb[i] = (float)b;
            s->cc[i] = (float)c0;
        }
    }
}

static void norm_load_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk, (void)thread;
    const struct node_run *r = arg;
    const struct network *net = r->net;
    const struct node_state *s = &net->nodes[r->node->index];
    const struct norm_gradient g = norm_source(net, r->node->index, s->grad->data, first);
    net->k->load_gradient(r->to->data + first * s->n_elems, &g, n * s->n_elems,
                          kernel_period(r->node->dims[2]));
}

/* Leaves s->grad to the convolution before it, or passes it on. */
static pare_status norm_backward(struct network *net, const pare_node *node, struct error *err) {
    struct node_state *s = &net->nodes[node->index];
    const pare_node *in = net->graph->nodes[node->inputs[0]];
    struct node_run r = {.net = net, .node = node};
    if (!s->sums_done) {
        network_chunks(net, norm_sums_chunk, &r);
    }
    norm_coefficients(net, node);
    if (in->op == PARE_OP_CONV2D && in->n_consumers == 1) {
        net->nodes[in->index].grad = s->grad;
        net->nodes[in->index].grad_norm = node->index;
        s->grad = NULL;
        return PARE_OK;
    }
    r.to = network_buffer(net, s->n_elems * net->max_batch);
    if (!r.to) {
        return no_memory(net, err);
    }
    network_chunks(net, norm_load_chunk, &r);
    return give(net, in->index, r.to, err);
}

/* ---- the rest ---- */

static void relu_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk, (void)thread;
    const struct node_run *r = arg;
    const int32_t node = r->node->index;
    mask_gradient(r->net, node, r->net->nodes[node].grad->data, first, n);
}

static pare_status relu_backward(struct network *net, const pare_node *node, struct error *err) {
    struct node_state *s = &net->nodes[node->index];
    const pare_node *in = net->graph->nodes[node->inputs[0]];
    if (in->op == PARE_OP_BATCH_NORM && in->n_consumers == 1) {
        net->nodes[in->index].grad_relu = 1; /* its passes mask as they read */
    } else if (!s->grad_masked) {
        const pare_status status = make_unique(net, node->index, &s->grad, err);
        if (status != PARE_OK) {
            return status;
        }
        struct node_run r = {.net = net, .node = node};
        network_chunks(net, relu_chunk, &r);
    }
    struct buffer *g = s->grad;
    s->grad = NULL;
    return give(net, in->index, g, err);
}

static pare_status add_backward(struct network *net, const pare_node *node, struct error *err) {
    struct buffer *g = net->nodes[node->index].grad;
    net->nodes[node->index].grad = NULL;
    g->refs++;
    const pare_status status = give(net, node->inputs[0], g, err);
    if (status != PARE_OK) {
        release(g);
        return status;
    }
    return give(net, node->inputs[1], g, err);
}

static void shortcut_back(const pare_graph *graph, const pare_node *node, const float *gy,
                          float *gx) {
    const int32_t *in = graph->nodes[node->inputs[0]]->dims;
    const int32_t before = (node->dims[2] - in[2]) / 2;
    for (int32_t oy = 0; oy < node->dims[0]; oy++) {
        for (int32_t ox = 0; ox < node->dims[1]; ox++, gy += node->dims[2]) {
            float *to =
                gx + ((int64_t)oy * node->stride_h * in[1] + (int64_t)ox * node->stride_w) * in[2];
            for (int32_t c = 0; c < in[2]; c++) {
                to[c] += gy[before + c];
            }
        }
    }
}

static void softmax_back(const float *y, const float *gy, int32_t c, float *gx) {
    double dot = 0.0;
    for (int32_t i = 0; i < c; i++) {
        dot += (double)y[i] * (double)gy[i];
    }
    for (int32_t i = 0; i < c; i++) {
        gx[i] += (float)((double)y[i] * ((double)gy[i] - dot));
    }
}

static void image_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk;
    const struct node_run *r = arg;
    const struct network *net = r->net;
    const pare_node *node = r->node;
    const struct node_state *s = &net->nodes[node->index];
    const int64_t in_elems = net->nodes[node->inputs[0]].n_elems;
    const struct pool_shape p = network_pool_shape(net->graph, node);
    for (int32_t i = first; i < first + n; i++) {
        const float *gy = s->grad->data + i * s->n_elems;
        float *gx = r->to->data + i * in_elems;
        if (r->fresh) {
            memset(gx, 0, (size_t)in_elems * sizeof *gx);
        }
        if (node->op == PARE_OP_MAX_POOL) {
            net->k->max_pool_back(&p, network_source(net, node->inputs[0], i).x,
                                  s->data + i * s->n_elems, gy, gx,
                                  net->work + thread * net->work_elems);
        } else if (node->op == PARE_OP_SHORTCUT_A) {
            shortcut_back(net->graph, node, gy, gx);
        } else if (node->op == PARE_OP_SOFTMAX) {
            softmax_back(s->data + i * s->n_elems, gy, node->dims[2], gx);
        } else {
            net->k->avg_pool_back(&p, gy, gx);
        }
    }
}

static pare_status image_backward(struct network *net, const pare_node *node, struct error *err) {
    const int32_t in = node->inputs[0];
    if (in == 0) {
        return PARE_OK;
    }
    int32_t accumulate;
    const pare_status status = target(net, in, err, &accumulate);
    if (status == PARE_OK) {
        struct node_run r = {net, node, net->nodes[in].grad, !accumulate};
        network_chunks(net, image_chunk, &r);
    }
    return status;
}

static pare_status node_backward(struct network *net, const pare_node *node, struct error *err) {
    struct node_state *s = &net->nodes[node->index];
    switch (node->op) {
    case PARE_OP_INPUT:
        return PARE_OK;
    case PARE_OP_CONV2D:
    case PARE_OP_LINEAR:
        return weighted_backward(net, node, err);
    case PARE_OP_BATCH_NORM:
        return norm_backward(net, node, err);
    case PARE_OP_RELU:
        return relu_backward(net, node, err);
    case PARE_OP_ADD:
        return add_backward(net, node, err);
    case PARE_OP_FLATTEN:
    case PARE_OP_QUANTIZE: {
        struct buffer *g = s->grad;
        s->grad = NULL;
        return give(net, node->inputs[0], g, err);
    }
    default:
        return image_backward(net, node, err);
    }
}

pare_status network_backward(struct network *net, const float *grad_logits, struct error *err) {
    const pare_graph *graph = net->graph;
    if (!net->forward) {
        return error_set(err, PARE_E_STATE, "%s: network_backward needs network_forward before it",
                         graph->name);
    }
    net->forward = 0;
    int32_t last = graph->n_nodes - 1;
    last -= graph->nodes[last]->op == PARE_OP_SOFTMAX;
    struct node_state *out = &net->nodes[last];
    out->grad = network_buffer(net, out->n_elems * net->max_batch);
    pare_status status = out->grad ? PARE_OK : no_memory(net, err);
    if (status == PARE_OK) {
        memcpy(out->grad->data, grad_logits, (size_t)(net->n * out->n_elems) * sizeof(float));
    }
    for (int32_t i = last; i > 0 && status == PARE_OK; i--) {
        struct node_state *s = &net->nodes[i];
        if (s->grad) {
            status = node_backward(net, graph->nodes[i], err);
        }
        if (s->grad) { /* not handed on */
            release(s->grad);
            s->grad = NULL;
        }
        s->grad_norm = -1;
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) { /* after a failure, what is left */
        if (net->nodes[i].grad) {
            release(net->nodes[i].grad);
        }
        net->nodes[i].grad = NULL;
        net->nodes[i].grad_norm = -1;
        net->nodes[i].grad_relu = 0;
        net->nodes[i].grad_masked = 0;
        net->nodes[i].sums_done = 0;
    }
    return status;
}
