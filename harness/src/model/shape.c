/* SPDX-License-Identifier: MIT */
/* Shapes of values and weights, and every limit on them. */
#include "model/model_private.h"

#include <string.h>

static const char *const op_names[] = {
    "input",    "conv2d",          "linear",  "batch_norm", "relu",    "add",     "max_pool",
    "avg_pool", "global_avg_pool", "flatten", "shortcut_a", "softmax", "quantize"};

const char *op_name(pare_op op) {
    size_t n = sizeof op_names / sizeof *op_names;
    return (size_t)op < n ? op_names[op] : "unknown";
}

int64_t shape_n_elems(const int64_t dims[PARE_MAX_RANK]) {
    int64_t n = 1;
    for (int i = 0; i < PARE_MAX_RANK; i++) {
        if (dims[i] < 1 || dims[i] > MAX_ELEMS / n)
            return -1;
        n *= dims[i];
    }
    return n;
}

/* ---- fields of a spec ---- */

/* Which fields an op takes: any other must be 0, so that a slip is not silently ignored. */
static bool takes_kernel(pare_op op) {
    return op == PARE_OP_CONV2D || op == PARE_OP_MAX_POOL || op == PARE_OP_AVG_POOL;
}

static bool takes_stride(pare_op op) {
    return takes_kernel(op) || op == PARE_OP_SHORTCUT_A;
}

static bool takes_pad(pare_op op) {
    return op == PARE_OP_CONV2D || op == PARE_OP_MAX_POOL;
}

static bool takes_channels(pare_op op) {
    return op_has_weights(op) || op == PARE_OP_SHORTCUT_A;
}

/* One integer field: `allowed` says whether the op has it; then it must be in [min, MAX_DIM]. */
static pare_status check_field(const struct node_spec *spec, const char *field, int32_t value,
                               bool allowed, int32_t min, struct error *err) {
    if (!allowed && value != 0)
        return error_set(err, PARE_E_ARG, "%s: %s is %d, but %s takes none; leave it 0", spec->name,
                         field, value, op_name(spec->op));
    if (allowed && (value < min || value > MAX_DIM))
        return error_set(err, PARE_E_RANGE, "%s: %s is %d, wanted %d..%d", spec->name, field, value,
                         min, MAX_DIM);
    return PARE_OK;
}

static pare_status check_fields(const struct node_spec *s, struct error *err) {
    const struct {
        const char *name;
        int32_t value;
        bool allowed;
        int32_t min;
    } fields[] = {
        {"out_channels", s->out_channels, takes_channels(s->op), 1},
        {"kernel_h", s->kernel_h, takes_kernel(s->op), 1},
        {"kernel_w", s->kernel_w, takes_kernel(s->op), 1},
        {"stride_h", s->stride_h, takes_stride(s->op), 0},
        {"stride_w", s->stride_w, takes_stride(s->op), 0},
        {"pad_h", s->pad_h, takes_pad(s->op), 0},
        {"pad_w", s->pad_w, takes_pad(s->op), 0},
        {"groups", s->groups, s->op == PARE_OP_CONV2D, 0},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        pare_status status =
            check_field(s, fields[i].name, fields[i].value, fields[i].allowed, fields[i].min, err);
        if (status != PARE_OK)
            return status;
    }
    if (s->bias != 0 && (s->bias != 1 || !op_has_weights(s->op)))
        return error_set(err, PARE_E_ARG, "%s: bias is %d, wanted 0, or 1 on conv2d and linear",
                         s->name, s->bias);
    if (s->op == PARE_OP_BATCH_NORM ? !(s->eps >= 0.0f && s->eps <= 1.0f) : s->eps != 0.0f)
        return error_set(err, PARE_E_RANGE, "%s: eps is %g, wanted 0..1 and only on batch_norm",
                         s->name, (double)s->eps);
    return PARE_OK;
}

/* ---- shapes of values ---- */

static pare_status check_value(const pare_node *node, struct error *err) {
    int64_t n = (int64_t)node->dims[0] * node->dims[1]; /* each at most MAX_DIM */
    if (n > MAX_ELEMS || n * node->dims[2] > MAX_ELEMS)
        return error_set(err, PARE_E_LIMIT,
                         "%s: its value has %dx%dx%d elements, at most %d are allowed", node->name,
                         node->dims[0], node->dims[1], node->dims[2], MAX_ELEMS);
    return PARE_OK;
}

static pare_status wrong_rank(const pare_node *node, const pare_node *in, struct error *err) {
    const char *hint = node->op == PARE_OP_LINEAR ? "; put a flatten between" : "";
    return error_set(err, PARE_E_ARG, "%s: %s needs an input of rank %s, but %s has rank %d%s",
                     node->name, op_name(node->op), in->rank == 3 ? "1 (N,C)" : "3 (N,H,W,C)",
                     in->name, in->rank, hint);
}

/* Output length of a window of `kernel` over `in` pixels with padding; in error for node->name. */
static pare_status slide(const pare_node *node, char axis, int32_t in, int32_t kernel,
                         int32_t stride, int32_t pad, struct error *err, int32_t *out) {
    int64_t padded = (int64_t)in + 2 * (int64_t)pad;
    if (kernel > padded)
        return error_set(err, PARE_E_ARG,
                         "%s: kernel_%c is %d, but its padded input is only %d long", node->name,
                         axis, kernel, (int)padded);
    if (node->op == PARE_OP_MAX_POOL && pad >= kernel)
        return error_set(err, PARE_E_ARG, "%s: pad_%c is %d, wanted less than the kernel's %d",
                         node->name, axis, pad, kernel);
    int64_t n = (padded - kernel) / stride + 1;
    if (n > MAX_DIM)
        return error_set(err, PARE_E_LIMIT,
                         "%s: its value would be %d long, at most %d are allowed", node->name,
                         (int)n, MAX_DIM);
    *out = (int32_t)n;
    return PARE_OK;
}

static pare_status infer_window(pare_node *node, const pare_node *in, struct error *err) {
    pare_status status = slide(node, 'h', in->dims[0], node->kernel_h, node->stride_h, node->pad_h,
                               err, &node->dims[0]);
    if (status == PARE_OK)
        status = slide(node, 'w', in->dims[1], node->kernel_w, node->stride_w, node->pad_w, err,
                       &node->dims[1]);
    return status;
}

static pare_status infer_conv2d(const struct node_spec *spec, pare_node *node, const pare_node *in,
                                struct error *err) {
    node->groups = spec->groups == 0 ? 1 : spec->groups;
    if (in->dims[2] % node->groups != 0 || spec->out_channels % node->groups != 0)
        return error_set(err, PARE_E_ARG,
                         "%s: groups is %d, which does not divide %d input and %d output channels",
                         node->name, node->groups, in->dims[2], spec->out_channels);
    node->dims[2] = spec->out_channels;
    return infer_window(node, in, err);
}

static pare_status infer_shortcut(const struct node_spec *spec, pare_node *node,
                                  const pare_node *in, struct error *err) {
    if (spec->out_channels < in->dims[2])
        return error_set(err, PARE_E_ARG, "%s: out_channels is %d, wanted at least the input's %d",
                         node->name, spec->out_channels, in->dims[2]);
    node->dims[0] = (in->dims[0] - 1) / node->stride_h + 1;
    node->dims[1] = (in->dims[1] - 1) / node->stride_w + 1;
    node->dims[2] = spec->out_channels;
    return PARE_OK;
}

static pare_status check_same_shape(const pare_node *node, const pare_node *a, const pare_node *b,
                                    struct error *err) {
    if (a->rank == b->rank && memcmp(a->dims, b->dims, sizeof a->dims) == 0)
        return PARE_OK;
    return error_set(err, PARE_E_ARG,
                     "%s: adds %s of (%d,%d,%d) and %s of (%d,%d,%d), wanted one shape", node->name,
                     a->name, a->dims[0], a->dims[1], a->dims[2], b->name, b->dims[0], b->dims[1],
                     b->dims[2]);
}

static void make_flat(pare_node *node, int32_t channels) {
    node->rank = 1;
    node->dims[0] = node->dims[1] = 1;
    node->dims[2] = channels;
}

static int32_t wanted_rank(pare_op op) {
    switch (op) {
    case PARE_OP_CONV2D:
    case PARE_OP_MAX_POOL:
    case PARE_OP_AVG_POOL:
    case PARE_OP_GLOBAL_AVG_POOL:
    case PARE_OP_FLATTEN:
    case PARE_OP_SHORTCUT_A:
        return 3;
    case PARE_OP_LINEAR:
    case PARE_OP_SOFTMAX:
        return 1;
    default:
        return 0; /* any */
    }
}

/* node->rank and dims start as those of input 0. */
static pare_status infer_dims(const struct model *model, const struct node_spec *spec,
                              struct error *err, pare_node *node) {
    const pare_node *in = model->priv->nodes[spec->inputs[0]];
    if (wanted_rank(spec->op) != 0 && wanted_rank(spec->op) != in->rank)
        return wrong_rank(node, in, err);
    switch (spec->op) {
    case PARE_OP_CONV2D:
        return infer_conv2d(spec, node, in, err);
    case PARE_OP_MAX_POOL:
    case PARE_OP_AVG_POOL:
        return infer_window(node, in, err);
    case PARE_OP_SHORTCUT_A:
        return infer_shortcut(spec, node, in, err);
    case PARE_OP_ADD:
        return check_same_shape(node, in, model->priv->nodes[spec->inputs[1]], err);
    case PARE_OP_LINEAR:
        make_flat(node, spec->out_channels);
        return PARE_OK;
    case PARE_OP_GLOBAL_AVG_POOL:
        make_flat(node, in->dims[2]);
        return PARE_OK;
    case PARE_OP_FLATTEN: /* checked: at most MAX_ELEMS */
        make_flat(node, in->dims[0] * in->dims[1] * in->dims[2]);
        return PARE_OK;
    default:
        return PARE_OK;
    }
}

static pare_status check_inputs(const struct model *model, const struct node_spec *spec,
                                int32_t n_inputs, struct error *err) {
    for (int32_t i = 0; i < n_inputs; i++) {
        int32_t in = spec->inputs[i];
        if (in < 0 || in >= model->graph.n_nodes)
            return error_set(err, PARE_E_RANGE,
                             "%s: input %d is node %d, wanted an earlier node, 0..%d", spec->name,
                             i, in, model->graph.n_nodes - 1);
        if (model->priv->nodes[in]->op == PARE_OP_SOFTMAX)
            return error_set(err, PARE_E_ARG,
                             "%s: reads the softmax %s, which must be the last node", spec->name,
                             model->priv->nodes[in]->name);
    }
    return PARE_OK;
}

pare_status shape_infer(const struct model *model, const struct node_spec *spec, struct error *err,
                        pare_node *node) {
    if ((int)spec->op <= PARE_OP_INPUT || (int)spec->op > PARE_OP_QUANTIZE)
        return error_set(err, PARE_E_ARG, "%s: op is %d, wanted conv2d .. quantize, %d..%d",
                         spec->name, (int)spec->op, PARE_OP_CONV2D, PARE_OP_QUANTIZE);
    int32_t n_inputs = spec->op == PARE_OP_ADD ? 2 : 1;
    pare_status status = check_inputs(model, spec, n_inputs, err);
    if (status == PARE_OK)
        status = check_fields(spec, err);
    if (status != PARE_OK)
        return status;
    const pare_node *in = model->priv->nodes[spec->inputs[0]];
    pare_node n = {.struct_size = sizeof n,
                   .op = spec->op,
                   .name = spec->name,
                   .n_inputs = n_inputs,
                   .rank = in->rank,
                   .groups = 1,
                   .inputs = {spec->inputs[0]}};
    n.inputs[1] = n_inputs == 2 ? spec->inputs[1] : 0;
    memcpy(n.dims, in->dims, sizeof n.dims);
    n.kernel_h = spec->kernel_h;
    n.kernel_w = spec->kernel_w;
    n.stride_h = takes_stride(spec->op) && spec->stride_h == 0 ? 1 : spec->stride_h;
    n.stride_w = takes_stride(spec->op) && spec->stride_w == 0 ? 1 : spec->stride_w;
    n.pad_h = spec->pad_h;
    n.pad_w = spec->pad_w;
    if (spec->op == PARE_OP_BATCH_NORM)
        n.eps = spec->eps == 0.0f ? 1e-5f : spec->eps;
    status = infer_dims(model, spec, err, &n);
    if (status == PARE_OK)
        status = check_value(&n, err);
    if (status == PARE_OK)
        *node = n;
    return status;
}

/* ---- weights ---- */

static void plan(struct weight_plan *p, pare_role role, const char *suffix, int64_t length,
                 float fill) {
    *p = (struct weight_plan){
        .role = role, .suffix = suffix, .rank = 1, .dims = {length, 1, 1, 1}, .fill = fill};
}

int32_t shape_plan_weights(const pare_node *node, int32_t in_channels, bool bias,
                           struct weight_plan plans[PARE_N_ROLES]) {
    int32_t out = node->dims[2];
    if (node->op == PARE_OP_BATCH_NORM) {
        plan(&plans[0], PARE_ROLE_GAMMA, "weight", out, 1.0f);
        plan(&plans[1], PARE_ROLE_BETA, "bias", out, 0.0f);
        plan(&plans[2], PARE_ROLE_MEAN, "running_mean", out, 0.0f);
        plan(&plans[3], PARE_ROLE_VAR, "running_var", out, 1.0f);
        return 4;
    }
    if (!op_has_weights(node->op))
        return 0;
    plan(&plans[0], PARE_ROLE_WEIGHT, "weight", out, 0.0f);
    plan(&plans[1], PARE_ROLE_BIAS, "bias", out, 0.0f);
    plans[0].rank = node->op == PARE_OP_CONV2D ? 4 : 2;
    if (node->op == PARE_OP_CONV2D) {
        plans[0].dims[1] = node->kernel_h;
        plans[0].dims[2] = node->kernel_w;
        plans[0].dims[3] = in_channels / node->groups;
    } else {
        plans[0].dims[1] = in_channels;
    }
    return bias ? 2 : 1;
}
