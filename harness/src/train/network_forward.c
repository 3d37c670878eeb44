/* SPDX-License-Identifier: MIT */
/* The forward pass, one node at a time. */
#include "train/network_private.h"

#include <math.h>
#include <string.h>

/* ---- values that convolutions may have to make first ---- */

static void load_value(const struct network *net, const pare_node *node, const struct source *x,
                       int64_t n, float *y) {
    net->k->load(y, x, n, kernel_period(node->dims[2]));
}

void network_run_relu(const struct network *net, const pare_node *node, int64_t first, int64_t n) {
    const pare_node *in = net->graph->nodes[node->inputs[0]];
    const struct node_state *state = &net->nodes[node->index];
    float *y = state->data + first * state->n_elems;
    const int64_t n_elems = n * state->n_elems;
    if (net->nodes[in->index].form == VALUE_PASSED) {
        const struct source s = network_source(net, in->inputs[0], first);
        const struct source t = network_source(net, in->inputs[1], first);
        net->k->add(y, &s, &t, 1, n_elems, kernel_period(node->dims[2]));
        return;
    }
    struct source x = network_source(net, in->index, first);
    x.relu = 1;
    load_value(net, node, &x, n_elems, y);
}

/* ---- convolution, linear ---- */

struct conv_run {
    struct network *net;
    const pare_node *node;
    struct conv conv;
    const float *bias;
    int32_t norm; /* batch norm to gather moments for, or -1 */
};

static void image_moments(const struct network *net, int32_t norm, int64_t image, const float *x,
                          float *work) {
    const struct node_state *s = &net->nodes[norm];
    const int32_t c = net->graph->nodes[norm]->dims[2];
    double *out = s->moments + image * 2 * c;
    net->k->moments(x, s->n_elems, c, kernel_period(c), work, out, out + c);
}

/* The values that image i is made of. */
static struct conv_ahead values_of(const struct network *net, const pare_node *in, int makes_input,
                                   const struct source *x, int64_t i) {
    const int64_t n = net->nodes[in->index].n_elems;
    struct conv_ahead ahead = {{x->x}, {n}};
    if (makes_input) {
        const pare_node *sum = net->graph->nodes[in->inputs[0]];
        ahead = (struct conv_ahead){
            {network_source(net, sum->inputs[0], i).x, network_source(net, sum->inputs[1], i).x},
            {n, n}};
    }
    return ahead;
}

static void conv_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk;
    const struct conv_run *r = arg;
    struct network *net = r->net;
    const struct node_state *s = &net->nodes[r->node->index];
    struct conv_scratch scratch = network_scratch(net, thread);
    const pare_node *in = net->graph->nodes[r->node->inputs[0]];
    const struct node_state *in_state = &net->nodes[in->index];
    const int makes_input = in_state->deferred && in_state->first_reader == r->node->index;
    for (int32_t i = first; i < first + n; i++) {
        if (makes_input) {
            network_run_relu(net, in, i, 1);
        }
        const struct source x = network_input(net, r->node, 0, i);
        scratch.ahead = (struct conv_ahead){{NULL}, {0}};
        if (i + 1 < first + n) {
            const struct source next = network_input(net, r->node, 0, i + 1);
            scratch.ahead = values_of(net, in, makes_input, &next, i + 1);
            scratch.ahead.at[2] = s->data + (i + 1) * s->n_elems; /* to be written */
            scratch.ahead.n[2] = s->n_elems;
        }
        float *y = s->data + i * s->n_elems;
        conv_forward(net->k, &r->conv, &x, net->packed, r->bias, &scratch, y);
        if (r->norm >= 0) { /* while y is in the cache */
            image_moments(net, r->norm, i, y, scratch.work);
        }
    }
}

/* The bias where vector loads may run past its end, or NULL. */
static const float *bias_with_slack(struct network *net, const pare_node *node) {
    const pare_weight *w = node->weights[PARE_ROLE_BIAS];
    if (w) {
        memcpy(net->bias, w->data, (size_t)w->n_elems * sizeof *net->bias);
    }
    return w ? net->bias : NULL;
}

static void run_conv(struct network *net, const pare_node *node, int32_t training) {
    struct conv_run r = {
        .net = net,
        .node = node,
        .conv = conv_of(net->graph, node, training),
        .bias = bias_with_slack(net, node),
        .norm = training ? net->nodes[node->index].moments_of : -1,
    };
    conv_pack_forward(net->k, &r.conv, network_weight(net, node, PARE_ROLE_WEIGHT), net->pool,
                      net->packed);
    network_chunks(net, conv_chunk, &r);
}

static void run_linear(struct network *net, const pare_node *node) {
    const struct linear l = {net->graph->nodes[node->inputs[0]]->dims[2], node->dims[2]};
    const struct source x = network_input(net, node, 0, 0);
    linear_pack_forward(&l, network_weight(net, node, PARE_ROLE_WEIGHT), net->pool, net->packed);
    linear_forward(net->k, &l, x.x, net->packed, bias_with_slack(net, node), net->n, net->pool,
                   net->nodes[node->index].data);
}

/* ---- batch norm ---- */

struct node_run {
    struct network *net;
    const pare_node *node;
};

static void moments_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk;
    const struct node_run *r = arg;
    struct network *net = r->net;
    for (int32_t i = first; i < first + n; i++) {
        const struct source x = network_source(net, r->node->inputs[0], i);
        image_moments(net, r->node->index, i, x.x, net->work + thread * net->work_elems);
    }
}

/* y = scale*x + shift for channel ch. */
static void set_affine(struct network *net, const pare_node *node, int32_t ch, double mean,
                       double var) {
    struct node_state *s = &net->nodes[node->index];
    const int32_t c = node->dims[2];
    const double inv_std = 1.0 / sqrt(var + (double)node->eps);
    const double gamma = (double)node->weights[PARE_ROLE_GAMMA]->data[ch];
    const double beta = (double)node->weights[PARE_ROLE_BETA]->data[ch];
    for (int32_t i = ch; i < kernel_period(c); i += c) {
        s->centre[i] = (float)mean;
        s->inv_std[i] = (float)inv_std;
        s->scale[i] = (float)(gamma * inv_std);
        s->shift[i] = (float)(beta - gamma * inv_std * mean);
    }
}

/* Means and squared distances of images join as in Chan, Golub & LeVeque 1983, eq. 2.1, images in
 * order. */
static void join_moments(const struct network *net, const pare_node *node, int32_t ch, double *mean,
                         double *m2) {
    const struct node_state *s = &net->nodes[node->index];
    const int32_t c = node->dims[2];
    const double positions = (double)(s->n_elems / c);
    *mean = 0.0;
    *m2 = 0.0;
    for (int32_t i = 0; i < net->n; i++) {
        *mean += s->moments[(int64_t)i * 2 * c + ch] / (double)net->n;
    }
    for (int32_t i = 0; i < net->n; i++) {
        const double d = s->moments[(int64_t)i * 2 * c + ch] - *mean;
        *m2 += s->moments[(int64_t)i * 2 * c + c + ch] + positions * d * d;
    }
}

static pare_status batch_statistics(struct network *net, const pare_node *node, struct error *err) {
    const struct node_state *s = &net->nodes[node->index];
    const int32_t c = node->dims[2];
    const double count = (double)(s->n_elems / c) * net->n;
    if (count < 2.0) {
        return error_set(
            err, PARE_E_ARG,
            "%s: one value per channel has no variance to train with; use a larger batch",
            node->name);
    }
    if (net->nodes[node->inputs[0]].moments_of != node->index) {
        struct node_run r = {net, node};
        network_chunks(net, moments_chunk, &r);
    }
    float *running_mean = model_weight_data(net->model, node->weights[PARE_ROLE_MEAN]->index);
    float *running_var = model_weight_data(net->model, node->weights[PARE_ROLE_VAR]->index);
    for (int32_t ch = 0; ch < c; ch++) {
        double mean, m2;
        join_moments(net, node, ch, &mean, &m2);
        set_affine(net, node, ch, mean, m2 / count);
        const float share = net->norm_momentum;
        running_mean[ch] = (1.0f - share) * running_mean[ch] + share * (float)mean;
        running_var[ch] = (1.0f - share) * running_var[ch] + share * (float)(m2 / (count - 1.0));
    }
    return PARE_OK;
}

static pare_status run_statistics(struct network *net, const pare_node *node, int32_t training,
                                  struct error *err) {
    if (training && !net->norm_frozen) {
        return batch_statistics(net, node, err);
    }
    for (int32_t ch = 0; ch < node->dims[2]; ch++) {
        set_affine(net, node, ch, (double)node->weights[PARE_ROLE_MEAN]->data[ch],
                   (double)node->weights[PARE_ROLE_VAR]->data[ch]);
    }
    return PARE_OK;
}

/* ---- the rest, image by image ---- */

static void shortcut_image(const pare_graph *graph, const pare_node *node, const float *x,
                           float *y) {
    const int32_t *in = graph->nodes[node->inputs[0]]->dims;
    const int32_t out_c = node->dims[2];
    const int32_t before = (out_c - in[2]) / 2;
    for (int32_t oy = 0; oy < node->dims[0]; oy++) {
        for (int32_t ox = 0; ox < node->dims[1]; ox++, y += out_c) {
            const float *from =
                x + ((int64_t)oy * node->stride_h * in[1] + (int64_t)ox * node->stride_w) * in[2];
            memset(y, 0, (size_t)out_c * sizeof *y);
            memcpy(y + before, from, (size_t)in[2] * sizeof *y);
        }
    }
}

static void softmax_row(const float *x, int32_t c, float *y) {
    float max = x[0];
    for (int32_t i = 1; i < c; i++) {
        max = x[i] > max ? x[i] : max;
    }
    double sum = 0.0;
    for (int32_t i = 0; i < c; i++) {
        y[i] = expf(x[i] - max);
        sum += (double)y[i];
    }
    for (int32_t i = 0; i < c; i++) {
        y[i] = (float)((double)y[i] / sum);
    }
}

static void one_image(const struct network *net, const pare_node *node, int64_t i, float *y) {
    const struct source x = network_source(net, node->inputs[0], i);
    const struct pool_shape p = network_pool_shape(net->graph, node);
    switch (node->op) {
    case PARE_OP_MAX_POOL:
        net->k->max_pool(&p, x.x, y);
        break;
    case PARE_OP_AVG_POOL:
    case PARE_OP_GLOBAL_AVG_POOL:
        net->k->avg_pool(&p, x.x, y);
        break;
    case PARE_OP_SHORTCUT_A:
        shortcut_image(net->graph, node, x.x, y);
        break;
    case PARE_OP_SOFTMAX:
        softmax_row(x.x, node->dims[2], y);
        break;
    default:
        break;
    }
}

static void value_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk, (void)thread;
    const struct node_run *r = arg;
    const struct network *net = r->net;
    const pare_node *node = r->node;
    const struct node_state *s = &net->nodes[node->index];
    const int64_t n_elems = n * s->n_elems;
    float *y = s->data + first * s->n_elems;
    struct source x = network_source(net, node->inputs[0], first);
    switch (node->op) {
    case PARE_OP_BATCH_NORM:
        x.scale = s->scale;
        x.shift = s->shift;
        load_value(net, node, &x, n_elems, y);
        break;
    case PARE_OP_RELU:
        network_run_relu(net, node, first, n);
        break;
    case PARE_OP_ADD: {
        const struct source t = network_source(net, node->inputs[1], first);
        net->k->add(y, &x, &t, 0, n_elems, kernel_period(node->dims[2]));
        break;
    }
    case PARE_OP_FLATTEN:
    case PARE_OP_QUANTIZE:
        memcpy(y, x.x, (size_t)n_elems * sizeof *y);
        break;
    default:
        for (int32_t i = 0; i < n; i++) {
            one_image(net, node, first + i, y + i * s->n_elems);
        }
    }
}

/* ---- fake quantization ---- */

/* Signs; a NaN is -1. */
static void binarize(float *x, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i++) {
        x[i] = x[i] >= 0.0f ? scale : -scale;
    }
}

static void quantize_chunk(void *arg, int32_t first, int32_t n, int32_t chunk, int32_t thread) {
    (void)chunk, (void)thread;
    const struct node_run *r = arg;
    const struct node_state *s = &r->net->nodes[r->node->index];
    const pare_quant *q = &r->node->activation;
    const struct quant_params p = {
        .scale = q->scale[0],
        .zero_point = q->zero_point ? (float)q->zero_point[0] : 0.0f,
        .qmin = (float)q->qmin,
        .qmax = (float)q->qmax,
    };
    float *x = s->data + first * s->n_elems;
    if (q->bits == 1) {
        binarize(x, n * s->n_elems, p.scale);
    } else {
        r->net->k->quantize(x, n * s->n_elems, &p);
    }
}

/* ---- hooks ---- */

static pare_status hook_failed(const pare_node *node, pare_status status, const char *what,
                               struct error *err) {
    return error_set(err, status, "%s: the method's %s failed", node->name, what);
}

static pare_status run_hooks(struct network *net, const pare_node *node, struct error *err) {
    const struct network_hooks *h = &net->hooks;
    const struct node_state *s = &net->nodes[node->index];
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    float *used = net->weights[w->index].used;
    if (used) {
        const pare_status status = h->weight_forward(h->context, w->index, w->data, used);
        if (status != PARE_OK) {
            return hook_failed(node, status, "weight_forward", err);
        }
    }
    if (s->replaced) {
        const struct node_state *in = &net->nodes[node->inputs[0]];
        const pare_status status = h->activation_forward(h->context, node->index, in->data,
                                                         s->replaced, net->n * in->n_elems);
        if (status != PARE_OK) {
            return hook_failed(node, status, "activation_forward", err);
        }
    }
    return PARE_OK;
}

pare_status network_run_node(struct network *net, const pare_node *node, int32_t training,
                             struct error *err) {
    const struct node_state *s = &net->nodes[node->index];
    struct node_run r = {net, node};
    pare_status status = PARE_OK;
    if (node->op == PARE_OP_CONV2D || node->op == PARE_OP_LINEAR) {
        status = run_hooks(net, node, err);
        if (status == PARE_OK && node->op == PARE_OP_CONV2D) {
            run_conv(net, node, training);
        } else if (status == PARE_OK) {
            run_linear(net, node);
        }
    } else {
        if (node->op == PARE_OP_BATCH_NORM) {
            status = run_statistics(net, node, training, err);
        }
        if (status == PARE_OK && node->op != PARE_OP_INPUT && s->form == VALUE_STORED &&
            !s->deferred) {
            network_chunks(net, value_chunk, &r);
        }
    }
    if (status == PARE_OK && !training && node->activation.bits != 0) {
        network_chunks(net, quantize_chunk, &r);
    }
    return status;
}
