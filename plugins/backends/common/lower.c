/* SPDX-License-Identifier: MIT */
/* The nodes are walked in order. Each makes its value by one step, which takes in a batch norm and
 * a relu that are the only readers of what is before them; steps that only convert are put where
 * the representations of two steps differ. */
#include "lower.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Every product and sum below and in the kernels is specified as rounded to float. */
_Static_assert(FLT_EVAL_METHOD == 0, "needs float arithmetic without excess precision");

/* A node gives at most a step of its own, a conversion of each input and two of its output. */
#define STEPS_PER_NODE 5

/* Multipliers and biases of this magnitude are refused, so that float(acc) * m + b stays in float's
 * range: |w| < 2^15, |a - z| < 2^16 and fewer than 2^31 terms keep |acc| below 2^62. */
#define MAX_FACTOR 0x1p64

/* A value's quantization, resolved; bits == 0: float. */
struct grid {
    int32_t bits;
    float scale;
    int32_t zero, qmin, qmax;
};

/* A conv2d, linear, add or batch norm with what is fused into it. */
struct chain {
    int32_t batch_norm, relu; /* nodes, -1: none */
    int32_t end;              /* the node whose value is stored */
};

struct builder {
    const pare_host *host;
    const pare_graph *graph;
    struct lower_plan *plan;
    int32_t capacity;   /* of steps and of values */
    struct grid *grids; /* (n_nodes) */
    int32_t *n_readers; /* (n_nodes) */
    int32_t *reader;    /* (n_nodes) the last one */
    int32_t *value_of;  /* (n_nodes) -1: fused away */
    int32_t *as_f32;    /* (capacity) by value: its dequantized copy, -1: none */
    int32_t *as_i16;    /* (capacity) by value: its copy in int16, -1: none */
    int32_t *order;     /* (capacity) scratch */
};

static void *alloc_zeroed(const pare_host *host, int64_t n, size_t size) {
    if (n < 0 || (uint64_t)n > SIZE_MAX / 2 / size) {
        return NULL;
    }
    size_t bytes = (size_t)n * size;
    void *ptr = host->alloc(host, bytes > 0 ? bytes : 1);
    if (ptr != NULL) {
        memset(ptr, 0, bytes);
    }
    return ptr;
}

static pare_status no_memory(const struct builder *b) {
    return b->host->fail(b->host, PARE_E_NOMEM, "out of memory while lowering %s", b->graph->name);
}

/* ---- quantization of values ---- */

static struct grid grid_of(const pare_quant *q) {
    struct grid grid = {0};
    if (q->bits != 0) {
        grid = (struct grid){q->bits, q->scale[0], q->zero_point != NULL ? q->zero_point[0] : 0,
                             q->qmin, q->qmax};
    }
    return grid;
}

static int grids_equal(const struct grid *a, const struct grid *b) {
    return a->bits != 0 && b->bits != 0 && (a->bits <= 8) == (b->bits <= 8) &&
           (a->bits == 1) == (b->bits == 1) && a->scale == b->scale && a->zero == b->zero &&
           a->qmin == b->qmin && a->qmax == b->qmax;
}

static enum lower_rep rep_of(const struct grid *grid) {
    return grid->bits == 0 ? LOWER_F32 : grid->bits <= 8 ? LOWER_I8 : LOWER_I16;
}

/* Operators whose output is exact on their input's grid: they keep it unless told otherwise. Signs
 * have no zero, which relu and the shortcut's new channels would need. */
static int keeps_grid(pare_op op, int32_t bits) {
    int needs_zero = op == PARE_OP_RELU || op == PARE_OP_SHORTCUT_A;
    return op == PARE_OP_MAX_POOL || op == PARE_OP_FLATTEN || op == PARE_OP_QUANTIZE ||
           (needs_zero && bits != 1);
}

static void resolve_grids(struct builder *b) {
    for (int32_t i = 0; i < b->graph->n_nodes; i++) {
        const pare_node *node = b->graph->nodes[i];
        b->grids[i] = grid_of(&node->activation);
        if (b->grids[i].bits == 0 && i > 0) {
            const struct grid *from = &b->grids[node->inputs[0]];
            b->grids[i] = keeps_grid(node->op, from->bits) ? *from : b->grids[i];
        }
    }
}

static void count_readers(struct builder *b) {
    for (int32_t i = 0; i < b->graph->n_nodes; i++) {
        const pare_node *node = b->graph->nodes[i];
        for (int32_t k = 0; k < node->n_inputs; k++) {
            b->n_readers[node->inputs[k]]++;
            b->reader[node->inputs[k]] = i;
        }
    }
}

/* ---- fusion ---- */

/* The only reader of `node`, if it is of kind `op`; -1 otherwise. */
static int32_t only_reader(const struct builder *b, int32_t node, pare_op op) {
    if (b->n_readers[node] != 1 || b->graph->nodes[b->reader[node]]->op != op) {
        return -1;
    }
    return b->reader[node];
}

static struct chain chain_from(const struct builder *b, int32_t node) {
    struct chain chain = {-1, -1, node};
    pare_op op = b->graph->nodes[node]->op;
    if ((op == PARE_OP_CONV2D || op == PARE_OP_LINEAR) && b->grids[node].bits == 0) {
        chain.batch_norm = only_reader(b, node, PARE_OP_BATCH_NORM);
        chain.end = chain.batch_norm >= 0 ? chain.batch_norm : node;
    }
    int32_t relu = only_reader(b, chain.end, PARE_OP_RELU);
    /* A value with a grid of its own is really stored, unless relu keeps that grid: the clamp at
     * the zero point commutes with the clamp to [qmin, qmax]. */
    if (relu >= 0 &&
        (b->grids[chain.end].bits == 0 || grids_equal(&b->grids[chain.end], &b->grids[relu]))) {
        chain.relu = relu;
        chain.end = relu;
    }
    return chain;
}

/* Does the value of `node` reach the output through nothing but flatten and softmax? */
static int is_output(const struct builder *b, int32_t node) {
    while (node != b->graph->n_nodes - 1) {
        int32_t next = only_reader(b, node, PARE_OP_FLATTEN);
        next = next >= 0 ? next : only_reader(b, node, PARE_OP_SOFTMAX);
        if (next < 0 || b->grids[next].bits != 0) {
            return 0;
        }
        node = next;
    }
    return 1;
}

/* The rule of <pare/backend.h>. A batch norm that was not folded into the weight stands between the
 * product and the quantized value, so such a layer runs in float. */
static int on_integers(const struct builder *b, const pare_node *node, const struct chain *chain) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    return w->quant.bits != 0 && b->grids[node->inputs[0]].bits != 0 && chain->batch_norm < 0 &&
           (b->grids[chain->end].bits != 0 || is_output(b, chain->end));
}

/* ---- values and steps ---- */

static int32_t add_value(struct builder *b, int32_t node, const struct grid *grid, int is_stored) {
    const int32_t *dims = b->graph->nodes[node]->dims;
    int32_t v = b->plan->n_values++;
    b->plan->values[v] = (struct lower_value){
        .node = node,
        .is_stored = is_stored,
        .rep = rep_of(grid),
        .n_elems = (int64_t)dims[0] * dims[1] * dims[2],
        .scale = grid->scale,
        .zero = grid->zero,
        .qmin = grid->qmin,
        .qmax = grid->qmax,
        .bits = grid->bits,
    };
    b->as_f32[v] = -1;
    b->as_i16[v] = -1;
    return v;
}

/* A step whose shapes are those of `node`; its output is value `out`. */
static struct lower_step *add_step(struct builder *b, enum lower_kind kind, int32_t node,
                                   int32_t in, int32_t out) {
    const pare_node *n = b->graph->nodes[node];
    const int32_t *to = n->dims;
    const int32_t *from = n->n_inputs > 0 ? b->graph->nodes[n->inputs[0]]->dims : to;
    int elementwise = kind <= LOWER_SIGN;
    struct lower_step *step = &b->plan->steps[b->plan->n_steps++];
    *step = (struct lower_step){
        .kind = kind,
        .node = node,
        .n_inputs = 1,
        .in = {in, -1},
        .out = out,
        .in_h = elementwise ? to[0] : from[0],
        .in_w = elementwise ? to[1] : from[1],
        .in_c = elementwise ? to[2] : from[2],
        .out_h = to[0],
        .out_w = to[1],
        .out_c = to[2],
        .kernel_h = 1,
        .kernel_w = 1,
        .stride_h = 1,
        .stride_w = 1,
        .groups = 1,
    };
    return step;
}

static void set_clamp(struct builder *b, struct lower_step *step, int relu) {
    const struct lower_value *out = &b->plan->values[step->out];
    step->relu = relu;
    step->clamp_lo = relu ? out->zero : out->qmin;
    step->clamp_hi = out->qmax;
}

static pare_status new_multipliers(struct builder *b, struct lower_step *step, int64_t n) {
    step->multiplier = alloc_zeroed(b->host, n, sizeof(float));
    return step->multiplier != NULL ? PARE_OK : no_memory(b);
}

static pare_status set_multiplier(struct builder *b, struct lower_step *step, int64_t k, double m) {
    if (!(m < MAX_FACTOR)) {
        return b->host->fail(b->host, PARE_E_NUMERIC,
                             "%s: multiplier %lld is %g, wanted less than 2^64: the scales of its "
                             "input, weight and output do not belong together",
                             b->graph->nodes[step->node]->name, (long long)k, m);
    }
    step->multiplier[k] = (float)m;
    return PARE_OK;
}

/* -> signs of the value, float or codes. */
static int32_t emit_sign(struct builder *b, int32_t node, int32_t in) {
    int32_t v = add_value(b, node, &b->grids[node], 1);
    struct lower_step *step = add_step(b, LOWER_SIGN, node, in, v);
    step->arith = b->plan->values[in].rep;
    set_clamp(b, step, 0);
    return v;
}

/* codes -> codes of `grid`. */
static pare_status emit_requantize(struct builder *b, int32_t node, int32_t in,
                                   const struct grid *grid, int relu, int is_stored, int32_t *out) {
    int32_t v = add_value(b, node, grid, is_stored);
    struct lower_step *step = add_step(b, LOWER_REQUANTIZE, node, in, v);
    const struct lower_value *from = &b->plan->values[in];
    step->arith = from->rep == LOWER_I8 && rep_of(grid) == LOWER_I8 ? LOWER_I8 : LOWER_I16;
    set_clamp(b, step, relu);
    *out = v;
    pare_status status = new_multipliers(b, step, 1);
    return status != PARE_OK ? status
                             : set_multiplier(b, step, 0, (double)from->scale / grid->scale);
}

/* Value `v` in float; a copy is made once, where it is first needed. */
static int32_t in_f32(struct builder *b, int32_t v) {
    if (b->plan->values[v].rep != LOWER_F32 && b->as_f32[v] < 0) {
        int32_t node = b->plan->values[v].node;
        int32_t copy = add_value(b, node, &(struct grid){0}, 0);
        add_step(b, LOWER_DEQUANTIZE, node, v, copy);
        b->as_f32[v] = copy;
    }
    return b->plan->values[v].rep == LOWER_F32 ? v : b->as_f32[v];
}

/* Value `v` as int16 codes. */
static pare_status in_i16(struct builder *b, int32_t v, int32_t *out) {
    const struct lower_value *value = &b->plan->values[v];
    if (value->rep == LOWER_I8 && b->as_i16[v] < 0) {
        struct grid wide = {16, value->scale, value->zero, value->qmin, value->qmax};
        pare_status status = emit_requantize(b, value->node, v, &wide, 0, 0, &b->as_i16[v]);
        if (status != PARE_OK) {
            return status;
        }
    }
    *out = b->plan->values[v].rep == LOWER_I8 ? b->as_i16[v] : v;
    return PARE_OK;
}

/* Where a float step for node `node` stores: a value that finish_f32 then quantizes if it has to.
 */
static int32_t f32_out(struct builder *b, int32_t node) {
    return add_value(b, node, &(struct grid){0}, b->grids[node].bits == 0);
}

static void finish_f32(struct builder *b, int32_t node, int32_t value) {
    if (b->grids[node].bits == 1) {
        value = emit_sign(b, node, value);
    } else if (b->grids[node].bits != 0) {
        int32_t codes = add_value(b, node, &b->grids[node], 1);
        struct lower_step *step = add_step(b, LOWER_QUANTIZE, node, value, codes);
        set_clamp(b, step, 0);
        value = codes;
    }
    b->value_of[node] = value;
}

/* After a step that kept its input's grid: to the node's own grid, if that differs. */
static pare_status finish_codes(struct builder *b, int32_t node, int32_t value) {
    if (b->plan->values[value].is_stored) {
        b->value_of[node] = value;
        return PARE_OK;
    }
    return emit_requantize(b, node, value, &b->grids[node], 0, 1, &b->value_of[node]);
}

/* ---- conv2d and linear ---- */

static struct lower_step *add_product(struct builder *b, const pare_node *node, int32_t in,
                                      int32_t out) {
    int conv = node->op == PARE_OP_CONV2D;
    struct lower_step *step = add_step(b, conv ? LOWER_CONV2D : LOWER_LINEAR, node->index, in, out);
    if (conv) {
        step->kernel_h = node->kernel_h;
        step->kernel_w = node->kernel_w;
        step->stride_h = node->stride_h;
        step->stride_w = node->stride_w;
        step->pad_h = node->pad_h;
        step->pad_w = node->pad_w;
        step->groups = node->groups;
    }
    int64_t n_weights = node->weights[PARE_ROLE_WEIGHT]->n_elems;
    step->macs = n_weights * step->out_h * step->out_w;
    return step;
}

static pare_status check_finite(const struct builder *b, const pare_node *node, double x,
                                const char *what, int64_t k) {
    return isfinite(x) ? PARE_OK
                       : b->host->fail(b->host, PARE_E_NUMERIC,
                                       "%s: %s %lld is %g, wanted a finite "
                                       "number",
                                       node->name, what, (long long)k, x);
}

/* Gain and shift of a batch norm's channel. */
static void batch_norm_affine(const pare_node *bn, int64_t c, double *gain, double *shift) {
    double var = (double)bn->weights[PARE_ROLE_VAR]->data[c];
    double mean = (double)bn->weights[PARE_ROLE_MEAN]->data[c];
    *gain = (double)bn->weights[PARE_ROLE_GAMMA]->data[c] / sqrt(var + (double)bn->eps);
    *shift = (double)bn->weights[PARE_ROLE_BETA]->data[c] - mean * *gain;
}

/* Weights and biases in float, a batch norm multiplied in (in double, then rounded once). */
static pare_status fill_f32(struct builder *b, struct lower_step *step, const pare_node *node,
                            int32_t batch_norm) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    const pare_weight *bias = node->weights[PARE_ROLE_BIAS];
    int64_t per_channel = w->n_elems / step->out_c;
    step->weight_f32 = alloc_zeroed(b->host, w->n_elems, sizeof(float));
    step->bias_f32 = alloc_zeroed(b->host, step->out_c, sizeof(float));
    if (step->weight_f32 == NULL || step->bias_f32 == NULL) {
        return no_memory(b);
    }
    for (int64_t c = 0; c < step->out_c; c++) {
        double gain = 1.0;
        double shift = 0.0;
        if (batch_norm >= 0) {
            batch_norm_affine(b->graph->nodes[batch_norm], c, &gain, &shift);
        }
        double x = (bias != NULL ? (double)bias->data[c] : 0.0) * gain + shift;
        step->bias_f32[c] = (float)x;
        pare_status status = check_finite(b, node, (double)step->bias_f32[c], "bias", c);
        for (int64_t k = c * per_channel; status == PARE_OK && k < (c + 1) * per_channel; k++) {
            step->weight_f32[k] = (float)((double)w->data[k] * gain);
            status = check_finite(b, node, (double)step->weight_f32[k], "weight", k);
        }
        if (status != PARE_OK) {
            return status;
        }
    }
    return PARE_OK;
}

static pare_status emit_product_f32(struct builder *b, const pare_node *node,
                                    const struct chain *chain) {
    int32_t in = in_f32(b, b->value_of[node->inputs[0]]);
    int32_t out = f32_out(b, chain->end);
    struct lower_step *step = add_product(b, node, in, out);
    step->relu = chain->relu >= 0;
    pare_status status = fill_f32(b, step, node, chain->batch_norm);
    if (status == PARE_OK) {
        finish_f32(b, chain->end, out);
    }
    return status;
}

static pare_status check_weight_quant(const struct builder *b, const pare_node *node) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    const pare_quant *q = &w->quant;
    const pare_host *host = b->host;
    int per_channel = q->axis == 0 && q->n == node->dims[2];
    if (q->bits < 1 || q->bits > 16 || w->codes == NULL || q->scale == NULL ||
        !(per_channel || q->n == 1)) {
        return host->fail(host, PARE_E_UNSUPPORTED,
                          "%s: weight has %d bits and %d scales along axis %d, wanted 1..16 bits, "
                          "codes, and one scale or one per output channel",
                          node->name, q->bits, q->n, q->axis);
    }
    for (int32_t c = 0; c < q->n; c++) {
        if (!isfinite(q->scale[c]) || !(q->scale[c] > 0.0f)) {
            return host->fail(host, PARE_E_NUMERIC, "%s: weight scale %d is %g, wanted one above 0",
                              node->name, c, (double)q->scale[c]);
        }
        if (q->zero_point != NULL && q->zero_point[c] != 0) {
            return host->fail(host, PARE_E_UNSUPPORTED,
                              "%s: weight zero point %d is %d: integer execution takes symmetric "
                              "weights only (zero point 0)",
                              node->name, c, q->zero_point[c]);
        }
    }
    int32_t limit = q->bits <= 8 ? 127 : 32767;
    for (int64_t k = 0; k < w->n_elems; k++) {
        if (w->codes[k] < -limit || w->codes[k] > limit) {
            return host->fail(host, PARE_E_RANGE, "%s: weight code %lld is %d, wanted %d..%d",
                              node->name, (long long)k, w->codes[k], -limit, limit);
        }
    }
    return PARE_OK;
}

/* Codes, multipliers and biases, which are in units of the output; `out_scale` is 0 for logits. */
static pare_status fill_int(struct builder *b, struct lower_step *step, const pare_node *node,
                            double in_scale, double out_scale) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    const pare_weight *bias = node->weights[PARE_ROLE_BIAS];
    double out_unit = out_scale > 0.0 ? out_scale : 1.0;
    step->weight_codes = alloc_zeroed(b->host, w->n_elems, sizeof(int16_t));
    step->bias_f32 = alloc_zeroed(b->host, step->out_c, sizeof(float));
    if (step->weight_codes == NULL || step->bias_f32 == NULL) {
        return no_memory(b);
    }
    memcpy(step->weight_codes, w->codes, (size_t)w->n_elems * sizeof(int16_t));
    pare_status status = new_multipliers(b, step, step->out_c);
    for (int64_t c = 0; status == PARE_OK && c < step->out_c; c++) {
        double unit = in_scale * (double)w->quant.scale[w->quant.n == 1 ? 0 : c];
        double shift = bias != NULL ? (double)bias->data[c] / out_unit : 0.0;
        status = set_multiplier(b, step, c, unit / out_unit);
        if (status == PARE_OK && !(fabs(shift) < MAX_FACTOR)) {
            status = b->host->fail(b->host, PARE_E_NUMERIC,
                                   "%s: bias %lld is %g, wanted less than 2^64 units of %g, the "
                                   "scale of its output",
                                   node->name, (long long)c, (double)bias->data[c], out_unit);
        }
        step->bias_f32[c] = (float)shift;
    }
    return status;
}

/* Can the sum of a channel of `w` (OC,...), or any part of it, leave int32 for some input? */
static int may_overflow(const pare_weight *w, const struct lower_value *in) {
    int64_t up = (int64_t)in->qmax - in->zero;
    int64_t down = (int64_t)in->zero - in->qmin;
    int64_t largest = up > down ? up : down;
    int64_t per_channel = w->n_elems / w->dims[0];
    for (int64_t c = 0; c < w->dims[0]; c++) {
        int64_t bound = 0;
        for (int64_t k = 0; k < per_channel && bound <= INT32_MAX; k++) {
            int64_t code = w->codes[c * per_channel + k];
            bound += largest * (code < 0 ? -code : code);
        }
        if (bound > INT32_MAX) {
            return 1;
        }
    }
    return 0;
}

static pare_status emit_product_int(struct builder *b, const pare_node *node,
                                    const struct chain *chain) {
    pare_status status = check_weight_quant(b, node);
    if (status != PARE_OK) {
        return status;
    }
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    const struct grid *grid = &b->grids[chain->end];
    int32_t in = b->value_of[node->inputs[0]];
    int narrow =
        b->plan->values[in].rep == LOWER_I8 && w->quant.bits <= 8 && rep_of(grid) != LOWER_I16;
    int is_fallback = narrow && may_overflow(w, &b->plan->values[in]);
    if (!narrow || is_fallback) {
        status = in_i16(b, in, &in);
        if (status != PARE_OK) {
            return status;
        }
    }
    int32_t out = add_value(b, chain->end, grid, 1);
    struct lower_step *step = add_product(b, node, in, out);
    step->arith = narrow && !is_fallback ? LOWER_I8 : LOWER_I16;
    step->is_fallback = is_fallback;
    set_clamp(b, step, chain->relu >= 0);
    b->value_of[chain->end] = out;
    return fill_int(b, step, node, (double)b->plan->values[in].scale, (double)grid->scale);
}

/* ---- the other operators ---- */

static pare_status emit_batch_norm(struct builder *b, const pare_node *node) {
    struct chain chain = chain_from(b, node->index);
    int32_t in = in_f32(b, b->value_of[node->inputs[0]]);
    int32_t out = f32_out(b, chain.end);
    struct lower_step *step = add_step(b, LOWER_AFFINE, node->index, in, out);
    step->relu = chain.relu >= 0;
    step->bias_f32 = alloc_zeroed(b->host, step->out_c, sizeof(float));
    pare_status status =
        step->bias_f32 != NULL ? new_multipliers(b, step, step->out_c) : no_memory(b);
    for (int64_t c = 0; status == PARE_OK && c < step->out_c; c++) {
        double gain;
        double shift;
        batch_norm_affine(node, c, &gain, &shift);
        step->multiplier[c] = (float)gain;
        step->bias_f32[c] = (float)shift;
        status = check_finite(b, node, (double)step->multiplier[c], "gain of channel", c);
        if (status == PARE_OK) {
            status = check_finite(b, node, (double)step->bias_f32[c], "shift of channel", c);
        }
    }
    if (status == PARE_OK) {
        finish_f32(b, chain.end, out);
    }
    return status;
}

static pare_status emit_add(struct builder *b, const pare_node *node) {
    struct chain chain = chain_from(b, node->index);
    const struct grid *left = &b->grids[node->inputs[0]];
    const struct grid *right = &b->grids[node->inputs[1]];
    const struct grid *grid = &b->grids[chain.end];
    int32_t in[2] = {b->value_of[node->inputs[0]], b->value_of[node->inputs[1]]};
    int integer = left->bits != 0 && right->bits != 0 && grid->bits != 0;
    if (!integer) {
        in[0] = in_f32(b, in[0]);
        in[1] = in_f32(b, in[1]);
    }
    int32_t out = integer ? add_value(b, chain.end, grid, 1) : f32_out(b, chain.end);
    struct lower_step *step = add_step(b, LOWER_ADD, node->index, in[0], out);
    step->n_inputs = 2;
    step->in[1] = in[1];
    step->relu = chain.relu >= 0;
    if (!integer) {
        finish_f32(b, chain.end, out);
        return PARE_OK;
    }
    step->arith = left->bits <= 8 && right->bits <= 8 && grid->bits <= 8 ? LOWER_I8 : LOWER_I16;
    set_clamp(b, step, chain.relu >= 0);
    b->value_of[chain.end] = out;
    pare_status status = new_multipliers(b, step, 2);
    for (int k = 0; status == PARE_OK && k < 2; k++) {
        status =
            set_multiplier(b, step, k, (double)b->plan->values[in[k]].scale / (double)grid->scale);
    }
    return status;
}

static pare_status emit_relu(struct builder *b, const pare_node *node) {
    int32_t in = b->value_of[node->inputs[0]];
    if (b->plan->values[in].rep != LOWER_F32 && b->grids[node->index].bits != 0) {
        return emit_requantize(b, node->index, in, &b->grids[node->index], 1, 1,
                               &b->value_of[node->index]);
    }
    int32_t out = f32_out(b, node->index);
    struct lower_step *step = add_step(b, LOWER_RELU, node->index, in_f32(b, in), out);
    step->relu = 1;
    finish_f32(b, node->index, out);
    return PARE_OK;
}

static void set_window(struct lower_step *step, const pare_node *node) {
    if (node->op == PARE_OP_GLOBAL_AVG_POOL) {
        step->kernel_h = step->in_h;
        step->kernel_w = step->in_w;
        return;
    }
    step->stride_h = node->stride_h;
    step->stride_w = node->stride_w;
    if (node->op != PARE_OP_SHORTCUT_A) {
        step->kernel_h = node->kernel_h;
        step->kernel_w = node->kernel_w;
        step->pad_h = node->pad_h;
        step->pad_w = node->pad_w;
    }
}

/* Max pooling and the shortcut move values and make none: on codes if the input is codes. */
static pare_status emit_move(struct builder *b, const pare_node *node, enum lower_kind kind) {
    int32_t in = b->value_of[node->inputs[0]];
    struct grid from = b->grids[node->inputs[0]];
    int integer = b->plan->values[in].rep != LOWER_F32 && b->grids[node->index].bits != 0;
    int same = grids_equal(&from, &b->grids[node->index]);
    if (kind == LOWER_SHORTCUT_A && from.bits == 1) {
        from.bits = 2; /* signs with zeros between */
    }
    in = integer ? in : in_f32(b, in);
    int32_t out = integer ? add_value(b, node->index, &from, same) : f32_out(b, node->index);
    struct lower_step *step = add_step(b, kind, node->index, in, out);
    step->arith = b->plan->values[in].rep;
    set_window(step, node);
    if (integer) {
        return finish_codes(b, node->index, out);
    }
    finish_f32(b, node->index, out);
    return PARE_OK;
}

static pare_status emit_avg_pool(struct builder *b, const pare_node *node) {
    int32_t in = b->value_of[node->inputs[0]];
    const struct grid *grid = &b->grids[node->index];
    int integer = b->plan->values[in].rep != LOWER_F32 && grid->bits != 0;
    int32_t out = integer ? add_value(b, node->index, grid, 1) : f32_out(b, node->index);
    in = integer ? in : in_f32(b, in);
    struct lower_step *step = add_step(b, LOWER_AVG_POOL, node->index, in, out);
    set_window(step, node);
    if (!integer) {
        finish_f32(b, node->index, out);
        return PARE_OK;
    }
    const struct lower_value *from = &b->plan->values[in];
    step->arith = from->rep == LOWER_I8 && grid->bits <= 8 ? LOWER_I8 : LOWER_I16;
    set_clamp(b, step, 0);
    b->value_of[node->index] = out;
    double n = (double)step->kernel_h * (double)step->kernel_w;
    pare_status status = new_multipliers(b, step, 1);
    return status != PARE_OK
               ? status
               : set_multiplier(b, step, 0, (double)from->scale / (n * (double)grid->scale));
}

/* Flatten, quantize: the same numbers in the same order: no step, unless another grid is asked for.
 */
static pare_status emit_same(struct builder *b, const pare_node *node) {
    int32_t in = b->value_of[node->inputs[0]];
    int32_t i = node->index;
    if (b->plan->values[in].rep == LOWER_F32) {
        finish_f32(b, i, in);
        return PARE_OK;
    }
    if (grids_equal(&b->grids[node->inputs[0]], &b->grids[i])) {
        b->value_of[i] = in;
        return PARE_OK;
    }
    if (b->grids[i].bits == 1) {
        b->value_of[i] = emit_sign(b, i, in);
        return PARE_OK;
    }
    return emit_requantize(b, i, in, &b->grids[i], 0, 1, &b->value_of[i]);
}

static pare_status emit_node(struct builder *b, const pare_node *node) {
    int32_t i = node->index;
    switch (node->op) {
    case PARE_OP_INPUT: {
        int32_t images = add_value(b, 0, &(struct grid){0}, b->grids[0].bits == 0);
        b->plan->values[images].place = LOWER_IMAGES;
        b->plan->values[images].first_step = -1;
        finish_f32(b, 0, images);
        return PARE_OK;
    }
    case PARE_OP_CONV2D:
    case PARE_OP_LINEAR: {
        struct chain chain = chain_from(b, i);
        return on_integers(b, node, &chain) ? emit_product_int(b, node, &chain)
                                            : emit_product_f32(b, node, &chain);
    }
    case PARE_OP_BATCH_NORM:
        return emit_batch_norm(b, node);
    case PARE_OP_RELU:
        return emit_relu(b, node);
    case PARE_OP_ADD:
        return emit_add(b, node);
    case PARE_OP_MAX_POOL:
        return emit_move(b, node, LOWER_MAX_POOL);
    case PARE_OP_SHORTCUT_A:
        return emit_move(b, node, LOWER_SHORTCUT_A);
    case PARE_OP_AVG_POOL:
    case PARE_OP_GLOBAL_AVG_POOL:
        return emit_avg_pool(b, node);
    case PARE_OP_FLATTEN:
    case PARE_OP_QUANTIZE:
        return emit_same(b, node);
    case PARE_OP_SOFTMAX: {
        int32_t out = f32_out(b, i);
        int32_t in = in_f32(b, b->value_of[node->inputs[0]]);
        add_step(b, LOWER_SOFTMAX, i, in, out);
        finish_f32(b, i, out);
        return PARE_OK;
    }
    }
    return b->host->fail(b->host, PARE_E_UNSUPPORTED, "%s: operator %d is not known", node->name,
                         (int)node->op);
}

/* ---- the whole ---- */

/* The last value, in float, must lie where the caller wants it. */
static void place_output(struct builder *b) {
    int32_t last = in_f32(b, b->value_of[b->graph->n_nodes - 1]);
    if (b->plan->values[last].place == LOWER_IMAGES) {
        int32_t copy = add_value(b, b->graph->n_nodes - 1, &(struct grid){0}, 0);
        add_step(b, LOWER_COPY, b->graph->n_nodes - 1, last, copy);
        last = copy;
    }
    b->plan->values[last].place = LOWER_OUTPUT;
}

static pare_status plan_memory(struct builder *b) {
    struct lower_plan *plan = b->plan;
    for (int32_t s = 0; s < plan->n_steps; s++) {
        plan->values[plan->steps[s].out].first_step = s;
        plan->values[plan->steps[s].out].last_step = s;
        for (int32_t k = 0; k < plan->steps[s].n_inputs; k++) {
            plan->values[plan->steps[s].in[k]].last_step = s;
        }
    }
    int64_t total = 0;
    for (int32_t v = 0; v < plan->n_values; v++) {
        struct lower_value *value = &plan->values[v];
        /* n_elems < 2^31, max_batch < 2^31 and 4 bytes: no overflow of one; checked for the sum. */
        int64_t bytes = value->n_elems * plan->max_batch;
        if (bytes > INT64_MAX / 8 - total) {
            return b->host->fail(b->host, PARE_E_LIMIT,
                                 "%s: activations for a batch of %d do not "
                                 "fit into memory",
                                 b->graph->name, plan->max_batch);
        }
        value->size_bytes = (bytes * lower_rep_bytes(value->rep) + 63) / 64 * 64;
        total += bytes;
    }
    lower_plan_arena(plan, b->order);
    return PARE_OK;
}

static const char *execution_of(const struct lower_plan *plan) {
    int n_float = 0;
    int n_integer = 0;
    for (int32_t s = 0; s < plan->n_steps; s++) {
        const struct lower_step *step = &plan->steps[s];
        if (step->kind >= LOWER_CONV2D && step->kind != LOWER_SOFTMAX) {
            n_float += step->arith == LOWER_F32;
            n_integer += step->arith != LOWER_F32;
        }
    }
    return n_integer == 0 ? "float" : n_float == 0 ? "integer" : "mixed";
}

static pare_status builder_init(struct builder *b) {
    int64_t n = b->graph->n_nodes;
    b->capacity = (int32_t)(STEPS_PER_NODE * n);
    b->grids = alloc_zeroed(b->host, n, sizeof *b->grids);
    b->n_readers = alloc_zeroed(b->host, n, sizeof(int32_t));
    b->reader = alloc_zeroed(b->host, n, sizeof(int32_t));
    b->value_of = alloc_zeroed(b->host, n, sizeof(int32_t));
    b->as_f32 = alloc_zeroed(b->host, b->capacity, sizeof(int32_t));
    b->as_i16 = alloc_zeroed(b->host, b->capacity, sizeof(int32_t));
    b->order = alloc_zeroed(b->host, b->capacity, sizeof(int32_t));
    b->plan = alloc_zeroed(b->host, 1, sizeof *b->plan);
    if (b->plan != NULL) {
        b->plan->steps = alloc_zeroed(b->host, b->capacity, sizeof *b->plan->steps);
        b->plan->values = alloc_zeroed(b->host, b->capacity, sizeof *b->plan->values);
    }
    if (b->grids == NULL || b->n_readers == NULL || b->reader == NULL || b->value_of == NULL ||
        b->as_f32 == NULL || b->as_i16 == NULL || b->order == NULL || b->plan == NULL ||
        b->plan->steps == NULL || b->plan->values == NULL) {
        return no_memory(b);
    }
    for (int64_t i = 0; i < n; i++) {
        b->value_of[i] = -1;
    }
    return PARE_OK;
}

static void builder_free(struct builder *b) {
    void *const parts[] = {b->grids,  b->n_readers, b->reader, b->value_of,
                           b->as_f32, b->as_i16,    b->order};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        b->host->free(b->host, parts[k]);
    }
}

static pare_status lower_nodes(struct builder *b) {
    count_readers(b);
    resolve_grids(b);
    for (int32_t i = 0; i < b->graph->n_nodes; i++) {
        const pare_node *node = b->graph->nodes[i];
        int fused = 0;
        for (int32_t k = 0; k < node->n_inputs; k++) {
            fused |= b->value_of[node->inputs[k]] < 0;
        }
        /* Already done with the node before it, or made by a fused node that stored this value. */
        if (fused || b->value_of[i] >= 0) {
            continue;
        }
        pare_status status = emit_node(b, node);
        if (status != PARE_OK) {
            return status;
        }
    }
    place_output(b);
    return plan_memory(b);
}

pare_status lower_graph(const pare_host *host, const pare_graph *graph, int32_t max_batch,
                        struct lower_plan **out) {
    if (graph->n_nodes < 1 || graph->n_nodes > 1 << 20 || max_batch < 1) {
        return host->fail(host, PARE_E_RANGE, "%s: %d nodes and a batch of %d, wanted 1 or more",
                          graph->name, graph->n_nodes, max_batch);
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        pare_status status = lower_check_node(host, graph, i);
        if (status != PARE_OK) {
            return status;
        }
    }
    const int32_t *d = graph->nodes[graph->n_nodes - 1]->dims;
    if ((int64_t)d[0] * d[1] * d[2] != graph->n_classes) {
        return host->fail(host, PARE_E_ARG, "%s: the last node makes (%d,%d,%d), wanted %d classes",
                          graph->name, d[0], d[1], d[2], graph->n_classes);
    }
    struct builder b = {.host = host, .graph = graph};
    pare_status status = builder_init(&b);
    if (status != PARE_OK) {
        goto cleanup;
    }
    b.plan->max_batch = max_batch;
    status = lower_nodes(&b);
    if (status == PARE_OK) {
        b.plan->execution = execution_of(b.plan);
        *out = b.plan;
        b.plan = NULL;
    }
cleanup:
    builder_free(&b);
    lower_destroy(host, b.plan);
    return status;
}

void lower_drop_weights(const pare_host *host, struct lower_plan *plan) {
    for (int32_t s = 0; s < plan->n_steps; s++) {
        struct lower_step *step = &plan->steps[s];
        host->free(host, step->weight_f32);
        host->free(host, step->weight_codes);
        host->free(host, step->bias_f32);
        host->free(host, step->multiplier);
        step->weight_f32 = NULL;
        step->weight_codes = NULL;
        step->bias_f32 = NULL;
        step->multiplier = NULL;
    }
}

void lower_destroy(const pare_host *host, struct lower_plan *plan) {
    if (plan == NULL) {
        return;
    }
    if (plan->steps != NULL) {
        lower_drop_weights(host, plan);
    }
    host->free(host, plan->steps);
    host->free(host, plan->values);
    host->free(host, plan);
}
