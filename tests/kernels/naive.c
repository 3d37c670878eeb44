/* SPDX-License-Identifier: MIT */
#include "naive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ctx {
    const pare_graph *g;
    struct naive_value *v;
    const struct naive_value *given; /* NULL, or what is read where it is made */
    int simulated;
};

/* The value that a reader of node i reads. */
static const struct naive_value *input_of(const struct ctx *c, int32_t i) {
    return c->given && c->given[i].made ? &c->given[i] : &c->v[i];
}

static int64_t elems(const pare_node *n) {
    return (int64_t)n->dims[0] * n->dims[1] * n->dims[2];
}

static int32_t zero_of(const pare_quant *q) {
    return q->zero_point ? q->zero_point[0] : 0;
}

/* The node that is the only reader of node i and is of kind op; NULL otherwise. */
static const pare_node *sole(const pare_graph *g, int32_t i, pare_op op) {
    const pare_node *found = NULL;
    int count = 0;
    for (int32_t k = 0; k < g->n_nodes; k++) {
        for (int32_t j = 0; j < g->nodes[k]->n_inputs; j++) {
            if (g->nodes[k]->inputs[j] == i) {
                found = g->nodes[k];
                count++;
            }
        }
    }
    return count == 1 && found->op == op ? found : NULL;
}

/* A node's quantization, inherited through the operators that move values; signs only by those that
 * need no zero. */
static pare_quant quant_of(const pare_graph *g, int32_t i) {
    const pare_node *n = g->nodes[i];
    int moves_signs =
        n->op == PARE_OP_MAX_POOL || n->op == PARE_OP_FLATTEN || n->op == PARE_OP_QUANTIZE;
    int moves = moves_signs || n->op == PARE_OP_RELU || n->op == PARE_OP_SHORTCUT_A;
    if (n->activation.bits != 0 || !moves) {
        return n->activation;
    }
    pare_quant from = quant_of(g, n->inputs[0]);
    return from.bits == 1 && !moves_signs ? (pare_quant){0} : from;
}

static float *floats(int64_t n) {
    return calloc((size_t)n, sizeof(float));
}

static int64_t clamp64(int64_t x, int64_t lo, int64_t hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

/* Round half to even, without the library's rounding mode. */
static int64_t round_even(double x) {
    double below = floor(x);
    double rest = x - below; /* exact */
    int64_t whole = (int64_t)below;
    if (rest > 0.5 || (rest == 0.5 && (whole & 1) != 0)) {
        whole++;
    }
    return whole;
}

static int64_t requant(float product, const pare_quant *q, int relu) {
    double p = (double)product;
    p = p > 1e9 ? 1e9 : p < -1e9 ? -1e9 : p;
    int64_t z = zero_of(q);
    return clamp64(z + round_even(p), relu ? z : q->qmin, q->qmax);
}

int64_t naive_quantize(float x, const pare_quant *q) {
    if (q->bits == 1) {
        return x >= 0.0f ? 1 : -1;
    }
    return requant(x / q->scale[0], q, 0);
}

/* Takes real and slack (NULL: exact). */
static void set_real(struct ctx *c, int32_t node, float *real, float *slack) {
    struct naive_value *v = &c->v[node];
    pare_quant q = quant_of(c->g, node);
    v->made = 1;
    v->n = elems(c->g->nodes[node]);
    v->real = real;
    v->slack = slack;
    if (q.bits == 0) {
        return;
    }
    if (c->simulated) {
        for (int64_t k = 0; k < v->n; k++) {
            int64_t code = naive_quantize(real[k], &q);
            real[k] = (float)(code - zero_of(&q)) * q.scale[0];
        }
        return;
    }
    v->quant = q;
    v->codes = calloc((size_t)v->n, sizeof *v->codes);
    for (int64_t k = 0; k < v->n; k++) {
        v->codes[k] = naive_quantize(real[k], &q);
    }
    v->before = real;
    v->real = NULL;
}

static int64_t *set_codes(struct ctx *c, int32_t node, const pare_quant *q) {
    struct naive_value *v = &c->v[node];
    v->made = 1;
    v->n = elems(c->g->nodes[node]);
    v->quant = *q;
    v->codes = calloc((size_t)v->n, sizeof *v->codes);
    return v->codes;
}

/* A value in float: as it is, or dequantized. Freed by the caller. */
static float *as_real(const struct ctx *c, int32_t node) {
    const struct naive_value *v = input_of(c, node);
    float *x = floats(v->n);
    for (int64_t k = 0; k < v->n; k++) {
        x[k] =
            v->codes ? (float)(v->codes[k] - zero_of(&v->quant)) * v->quant.scale[0] : v->real[k];
    }
    return x;
}

/* Where output element (y, x, oc) of a conv reads for tap (i, j, ic); -1 in the padding. */
static int64_t at(const pare_node *n, const pare_node *in, int y, int x, int oc, int i, int j,
                  int ic) {
    if (n->op == PARE_OP_LINEAR) {
        return ic;
    }
    int row = y * n->stride_h - n->pad_h + i;
    int col = x * n->stride_w - n->pad_w + j;
    int per_group = in->dims[2] / n->groups;
    int group = oc / (n->dims[2] / n->groups);
    if (row < 0 || col < 0 || row >= in->dims[0] || col >= in->dims[1]) {
        return -1;
    }
    return ((int64_t)row * in->dims[1] + col) * in->dims[2] + group * per_group + ic;
}

static void product(struct ctx *c, const pare_node *n) {
    const pare_graph *g = c->g;
    const pare_node *in = g->nodes[n->inputs[0]];
    const pare_weight *w = n->weights[PARE_ROLE_WEIGHT];
    const pare_weight *bias = n->weights[PARE_ROLE_BIAS];
    const pare_node *bn = n->activation.bits == 0 ? sole(g, n->index, PARE_OP_BATCH_NORM) : NULL;
    const pare_node *end = bn ? bn : n;
    const pare_node *relu = sole(g, end->index, PARE_OP_RELU);
    if (relu && end->activation.bits != 0 && relu->activation.bits != 0) {
        relu = NULL; /* stored before and after (the tests do not make these grids equal) */
    }
    end = relu ? relu : end;
    pare_quant q = relu && relu->activation.bits == 0 ? n->activation : end->activation;
    const struct naive_value *x = input_of(c, n->inputs[0]);
    const pare_node *reach = end;
    while (reach) {
        if (reach->index == g->n_nodes - 1) {
            break;
        }
        const pare_node *next = sole(g, reach->index, PARE_OP_FLATTEN);
        next = next ? next : sole(g, reach->index, PARE_OP_SOFTMAX);
        reach = next && next->activation.bits == 0 ? next : NULL;
    }
    int integer =
        !c->simulated && w->quant.bits != 0 && x->codes != NULL && !bn && (q.bits != 0 || reach);
    int kh = n->op == PARE_OP_LINEAR ? 1 : n->kernel_h;
    int kw = n->op == PARE_OP_LINEAR ? 1 : n->kernel_w;
    int ics = n->op == PARE_OP_LINEAR ? in->dims[2] : in->dims[2] / n->groups;
    int oh = n->dims[0];
    int ow = n->dims[1];
    int ocs = n->dims[2];
    float *xr = as_real(c, n->inputs[0]);
    float *real = floats(elems(n));
    float *slack = integer ? NULL : floats(elems(n));
    int64_t *codes = integer && q.bits != 0 ? set_codes(c, end->index, &q) : NULL;
    for (int y = 0; y < oh; y++) {
        for (int xx = 0; xx < ow; xx++) {
            for (int oc = 0; oc < ocs; oc++) {
                int64_t o = ((int64_t)y * ow + xx) * ocs + oc;
                double gain = 1.0;
                double shift = 0.0;
                if (bn) {
                    gain = (double)bn->weights[PARE_ROLE_GAMMA]->data[oc] /
                           sqrt((double)bn->weights[PARE_ROLE_VAR]->data[oc] + (double)bn->eps);
                    shift = (double)bn->weights[PARE_ROLE_BETA]->data[oc] -
                            (double)bn->weights[PARE_ROLE_MEAN]->data[oc] * gain;
                }
                double sw = integer ? (double)w->quant.scale[w->quant.n == 1 ? 0 : oc] : 1.0;
                double sa = integer ? (double)x->quant.scale[0] : 1.0;
                double b = bias ? (double)bias->data[oc] : 0.0;
                int64_t acc = 0;
                float sum = (float)(b * gain + shift);
                long double wide = (long double)sum;
                double magnitude = fabs((double)sum);
                for (int i = 0; i < kh; i++) {
                    for (int j = 0; j < kw; j++) {
                        for (int ic = 0; ic < ics; ic++) {
                            int64_t from = at(n, in, y, xx, oc, i, j, ic);
                            int64_t wi = (((int64_t)oc * kh + i) * kw + j) * ics + ic;
                            if (from < 0) {
                                continue;
                            }
                            if (integer) {
                                acc += (x->codes[from] - zero_of(&x->quant)) * w->codes[wi];
                                continue;
                            }
                            float weight = (float)((double)w->data[wi] * gain);
                            float term = xr[from] * weight;
                            sum = sum + term;
                            magnitude += fabs((double)xr[from] * (double)weight);
                            wide += (long double)xr[from] * (long double)weight;
                        }
                    }
                }
                double so = codes ? (double)q.scale[0] : 1.0;
                float scaled = (float)acc * (float)(sa * sw / so);
                float biased = scaled + (float)(b / so);
                if (codes) {
                    codes[o] = requant(biased, &q, relu != NULL);
                    continue;
                }
                if (slack) {
                    int n_terms = kh * kw * ics;
                    slack[o] = (float)(2.0 * (n_terms + 2) * 0x1p-24 * magnitude);
                }
                real[o] = integer ? biased : c->simulated ? (float)wide : sum;
                real[o] = relu && real[o] < 0.0f ? 0.0f : real[o];
            }
        }
    }
    free(xr);
    if (codes) {
        free(real);
    } else {
        set_real(c, end->index, real, slack);
    }
}

static void add(struct ctx *c, const pare_node *n) {
    const pare_node *relu = sole(c->g, n->index, PARE_OP_RELU);
    relu = n->activation.bits != 0 && relu && relu->activation.bits != 0 ? NULL : relu;
    const pare_node *end = relu ? relu : n;
    pare_quant q = end->activation.bits ? end->activation : n->activation;
    const struct naive_value *a = input_of(c, n->inputs[0]);
    const struct naive_value *b = input_of(c, n->inputs[1]);
    if (a->codes && b->codes && q.bits) {
        int64_t *codes = set_codes(c, end->index, &q);
        float ma = (float)((double)a->quant.scale[0] / (double)q.scale[0]);
        float mb = (float)((double)b->quant.scale[0] / (double)q.scale[0]);
        for (int64_t k = 0; k < a->n; k++) {
            float pa = (float)(a->codes[k] - zero_of(&a->quant)) * ma;
            float pb = (float)(b->codes[k] - zero_of(&b->quant)) * mb;
            codes[k] = requant(pa + pb, &q, relu != NULL);
        }
        return;
    }
    float *x = as_real(c, n->inputs[0]);
    float *y = as_real(c, n->inputs[1]);
    for (int64_t k = 0; k < a->n; k++) {
        x[k] = x[k] + y[k];
        x[k] = relu && x[k] < 0.0f ? 0.0f : x[k];
    }
    free(y);
    set_real(c, end->index, x, NULL);
}

/* max, average, global average, shortcut: one output element from a window of its channel. */
static void window(struct ctx *c, const pare_node *n) {
    const pare_node *in = c->g->nodes[n->inputs[0]];
    const struct naive_value *x = input_of(c, n->inputs[0]);
    int average = n->op == PARE_OP_AVG_POOL || n->op == PARE_OP_GLOBAL_AVG_POOL;
    int global = n->op == PARE_OP_GLOBAL_AVG_POOL;
    int shortcut = n->op == PARE_OP_SHORTCUT_A;
    int kh = global ? in->dims[0] : shortcut ? 1 : n->kernel_h;
    int kw = global ? in->dims[1] : shortcut ? 1 : n->kernel_w;
    int before = shortcut ? (n->dims[2] - in->dims[2]) / 2 : 0;
    pare_quant q = quant_of(c->g, n->index);
    int integer = x->codes && q.bits;
    float *xr = as_real(c, n->inputs[0]);
    float *real = floats(elems(n));
    int64_t *codes = integer ? set_codes(c, n->index, &q) : NULL;
    for (int64_t o = 0; o < elems(n); o++) {
        int ch = (int)(o % n->dims[2]) - before;
        int ox = (int)(o / n->dims[2] % n->dims[1]);
        int oy = (int)(o / n->dims[2] / n->dims[1]);
        float fsum = 0.0f;
        float fmax = -INFINITY;
        int64_t isum = 0;
        int64_t imax = INT64_MIN;
        for (int i = 0; i < kh; i++) {
            for (int j = 0; j < kw; j++) {
                int row = (global ? 0 : oy * n->stride_h - n->pad_h) + i;
                int col = (global ? 0 : ox * n->stride_w - n->pad_w) + j;
                if (ch < 0 || ch >= in->dims[2] || row < 0 || col < 0 || row >= in->dims[0] ||
                    col >= in->dims[1]) {
                    continue;
                }
                int64_t k = ((int64_t)row * in->dims[1] + col) * in->dims[2] + ch;
                fsum += xr[k];
                fmax = xr[k] > fmax ? xr[k] : fmax;
                int64_t code = x->codes ? x->codes[k] - zero_of(&x->quant) : 0;
                isum += code;
                imax = code > imax ? code : imax;
            }
        }
        int padding = ch < 0 || ch >= in->dims[2];
        if (integer) {
            double s = (double)x->quant.scale[0] / (double)q.scale[0];
            double n_window = (double)(kh * kw);
            float m = average ? (float)((double)x->quant.scale[0] / (n_window * (double)q.scale[0]))
                              : (float)s;
            int64_t acc = average ? isum : padding ? 0 : imax;
            codes[o] = requant((float)acc * m, &q, 0);
        } else {
            real[o] = average ? fsum / (float)(kh * kw) : padding ? 0.0f : fmax;
        }
    }
    free(xr);
    if (integer) {
        free(real);
    } else {
        set_real(c, n->index, real, NULL);
    }
}

/* relu, flatten, batch norm and softmax that stand alone. */
static void pointwise(struct ctx *c, const pare_node *n) {
    const struct naive_value *x = input_of(c, n->inputs[0]);
    pare_quant q = quant_of(c->g, n->index);
    int moves = n->op == PARE_OP_RELU || n->op == PARE_OP_FLATTEN || n->op == PARE_OP_QUANTIZE;
    if (moves && x->codes && q.bits) {
        int64_t *codes = set_codes(c, n->index, &q);
        float m = (float)((double)x->quant.scale[0] / (double)q.scale[0]);
        for (int64_t k = 0; k < x->n; k++) {
            int64_t code = x->codes[k] - zero_of(&x->quant);
            codes[k] = q.bits == 1 ? (code >= 0 ? 1 : -1)
                                   : requant((float)code * m, &q, n->op == PARE_OP_RELU);
        }
        return;
    }
    const pare_node *end = n;
    float *y = as_real(c, n->inputs[0]);
    if (n->op == PARE_OP_RELU) {
        for (int64_t k = 0; k < x->n; k++) {
            y[k] = y[k] < 0.0f ? 0.0f : y[k];
        }
    } else if (n->op == PARE_OP_SOFTMAX) {
        double sum = 0.0;
        float top = -INFINITY;
        for (int64_t k = 0; k < x->n; k++) {
            top = fmaxf(top, y[k]);
        }
        for (int64_t k = 0; k < x->n; k++) {
            sum += exp((double)y[k] - (double)top);
        }
        for (int64_t k = 0; k < x->n; k++) {
            y[k] = (float)(exp((double)y[k] - (double)top) / sum);
        }
    } else if (n->op == PARE_OP_BATCH_NORM) {
        const pare_node *relu = sole(c->g, n->index, PARE_OP_RELU);
        end = relu ? relu : n;
        for (int64_t k = 0; k < x->n; k++) {
            int64_t ch = k % n->dims[2];
            double gain = (double)n->weights[PARE_ROLE_GAMMA]->data[ch] /
                          sqrt((double)n->weights[PARE_ROLE_VAR]->data[ch] + (double)n->eps);
            double shift = (double)n->weights[PARE_ROLE_BETA]->data[ch] -
                           (double)n->weights[PARE_ROLE_MEAN]->data[ch] * gain;
            float scaled = y[k] * (float)gain;
            y[k] = scaled + (float)shift;
            y[k] = relu && y[k] < 0.0f ? 0.0f : y[k];
        }
    }
    set_real(c, end->index, y, NULL);
}

static void run(struct ctx *c, const float *image, float *output) {
    const pare_graph *g = c->g;
    memset(c->v, 0, (size_t)g->n_nodes * sizeof *c->v);
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const pare_node *n = g->nodes[i];
        int ready = !c->v[i].made;
        for (int32_t k = 0; k < n->n_inputs; k++) {
            ready &= input_of(c, n->inputs[k])->made;
        }
        if (!ready) {
            continue;
        }
        if (n->op == PARE_OP_INPUT) {
            float *copy = floats(elems(n));
            memcpy(copy, image, (size_t)elems(n) * sizeof *copy);
            set_real(c, 0, copy, NULL);
        } else if (n->op == PARE_OP_CONV2D || n->op == PARE_OP_LINEAR) {
            product(c, n);
        } else if (n->op == PARE_OP_ADD) {
            add(c, n);
        } else if (n->op == PARE_OP_MAX_POOL || n->op == PARE_OP_AVG_POOL ||
                   n->op == PARE_OP_GLOBAL_AVG_POOL || n->op == PARE_OP_SHORTCUT_A) {
            window(c, n);
        } else {
            pointwise(c, n);
        }
    }
    if (output == NULL) {
        return;
    }
    float *last = as_real(c, g->n_nodes - 1);
    memcpy(output, last, (size_t)elems(g->nodes[g->n_nodes - 1]) * sizeof *last);
    free(last);
}

void naive_run(const pare_graph *graph, const float *image, struct naive_value *values,
               float *output) {
    run(&(struct ctx){.g = graph, .v = values, .simulated = 0}, image, output);
}

void naive_run_on(const pare_graph *graph, const float *image, const struct naive_value *given,
                  struct naive_value *values) {
    run(&(struct ctx){.g = graph, .v = values, .given = given}, image, NULL);
}

void naive_simulate(const pare_graph *graph, const float *image, struct naive_value *values,
                    float *output) {
    run(&(struct ctx){.g = graph, .v = values, .simulated = 1}, image, output);
}

void naive_free(const pare_graph *graph, struct naive_value *values) {
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        free(values[i].real);
        free(values[i].codes);
        free(values[i].slack);
        free(values[i].before);
    }
}
