/* SPDX-License-Identifier: MIT */
/* From steps to XNNPACK's operators. */
#include "xnnpack_backend.h"

#include <math.h>
#include <string.h>

/* The bounds of a float result. */
static float least(const struct lower_step *s) {
    return s->relu ? 0.0f : -INFINITY;
}

static enum xnn_status conv2d_f32(const struct lower_step *s, xnn_operator_t *op) {
    const uint32_t top = (uint32_t)s->pad_h, left = (uint32_t)s->pad_w;
    return xnn_create_convolution2d_nhwc_f32(
        top, left, top, left, (uint32_t)s->kernel_h, (uint32_t)s->kernel_w, (uint32_t)s->stride_h,
        (uint32_t)s->stride_w, 1, 1, (uint32_t)s->groups, (size_t)(s->in_c / s->groups),
        (size_t)(s->out_c / s->groups), (size_t)s->in_c, (size_t)s->out_c, s->weight_f32,
        s->bias_f32, least(s), INFINITY, 0, op);
}

static enum xnn_status max_pool(const struct xnnpack_step *step, xnn_operator_t *op) {
    const struct lower_step *s = &step->low;
    const uint32_t top = (uint32_t)s->pad_h, left = (uint32_t)s->pad_w;
    const uint32_t h = (uint32_t)s->kernel_h, w = (uint32_t)s->kernel_w;
    const uint32_t stride_h = (uint32_t)s->stride_h, stride_w = (uint32_t)s->stride_w;
    const size_t c = (size_t)s->in_c;
    return s->arith == LOWER_F32
               ? xnn_create_max_pooling2d_nhwc_f32(top, left, top, left, h, w, stride_h, stride_w,
                                                   1, 1, c, c, c, least(s), INFINITY, 0, op)
               : xnn_create_max_pooling2d_nhwc_s8(top, left, top, left, h, w, stride_h, stride_w, 1,
                                                  1, c, c, c, INT8_MIN, INT8_MAX, 0, op);
}

static int is_global(const struct lower_step *s) {
    return s->kernel_h == s->in_h && s->kernel_w == s->in_w;
}

static enum xnn_status avg_pool(const struct xnnpack_step *step, xnn_operator_t *op) {
    const struct lower_step *s = &step->low;
    const struct lower_value *in = &step->in[0], *out = &step->out;
    const size_t c = (size_t)s->in_c;
    if (s->arith == LOWER_F32) {
        return is_global(s)
                   ? xnn_create_global_average_pooling_nwc_f32(c, c, c, least(s), INFINITY, 0, op)
                   : xnn_create_average_pooling2d_nhwc_f32(
                         0, 0, 0, 0, (uint32_t)s->kernel_h, (uint32_t)s->kernel_w,
                         (uint32_t)s->stride_h, (uint32_t)s->stride_w, c, c, c, least(s), INFINITY,
                         0, op);
    }
    return is_global(s) ? xnn_create_global_average_pooling_nwc_qs8(
                              c, c, c, (int8_t)in->zero, in->scale, (int8_t)out->zero, out->scale,
                              (int8_t)s->clamp_lo, (int8_t)s->clamp_hi, 0, op)
                        : xnn_status_unsupported_parameter;
}

static enum xnn_status add(const struct xnnpack_step *step, xnn_operator_t *op) {
    const struct lower_step *s = &step->low;
    const struct lower_value *a = &step->in[0], *b = &step->in[1], *out = &step->out;
    return s->arith == LOWER_F32
               ? xnn_create_add_nd_f32(least(s), INFINITY, 0, op)
               : xnn_create_add_nd_qs8((int8_t)a->zero, a->scale, (int8_t)b->zero, b->scale,
                                       (int8_t)out->zero, out->scale, (int8_t)s->clamp_lo,
                                       (int8_t)s->clamp_hi, 0, op);
}

static enum xnn_status quantize(const struct xnnpack_step *step, xnn_operator_t *op) {
    const struct lower_value *out = &step->out;
    const size_t c = (size_t)out->n_elems;
    return xnn_create_convert_nc_f32_qs8(c, c, c, out->scale, (int8_t)out->zero, (int8_t)out->qmin,
                                         (int8_t)out->qmax, 0, op);
}

/* Codes, their scales, and the bias as the library wants it: an int32 in units of the sum. */
struct quantized {
    int8_t *codes; /* (OC,KH,KW,IC/groups) */
    float *scale;  /* (OC) */
    int32_t *bias; /* (OC) */
    int64_t n_codes;
};

static void quantized_free(const pare_host *host, struct quantized *q) {
    host->free(host, q->codes);
    host->free(host, q->scale);
    host->free(host, q->bias);
}

static enum xnn_status quantized_make(const pare_host *host, const struct xnnpack_step *step,
                                      struct quantized *q) {
    const struct lower_step *s = &step->low;
    q->n_codes = (int64_t)s->out_c * s->kernel_h * s->kernel_w * (s->in_c / s->groups);
    q->codes = pieced_alloc(host, q->n_codes, sizeof *q->codes);
    q->scale = pieced_alloc(host, s->out_c, sizeof *q->scale);
    q->bias = pieced_alloc(host, s->out_c, sizeof *q->bias);
    if (q->codes == NULL || q->scale == NULL || q->bias == NULL) {
        return xnn_status_out_of_memory;
    }
    for (int64_t k = 0; k < q->n_codes; k++) {
        q->codes[k] = (int8_t)s->weight_codes[k];
    }
    for (int32_t c = 0; c < s->out_c; c++) {
        const double bias = (double)s->bias_f32[c] / (double)s->multiplier[c];
        q->scale[c] =
            (float)((double)s->multiplier[c] * (double)step->out.scale / (double)step->in[0].scale);
        /* With a multiplier above 1 the bias would be coarser than a step of the output. */
        if (!(fabs(bias) < 0x1p30) || s->multiplier[c] > 1.0f) {
            return xnn_status_unsupported_parameter;
        }
        q->bias[c] = (int32_t)nearbyint(bias);
    }
    return xnn_status_success;
}

/* A linear layer is a convolution of one pixel: the library's own has no scale per channel. */
static enum xnn_status conv2d_i8(const pare_host *host, const struct xnnpack_step *step,
                                 xnn_operator_t *op) {
    const struct lower_step *s = &step->low;
    const uint32_t top = (uint32_t)s->pad_h, left = (uint32_t)s->pad_w;
    struct quantized q = {NULL, NULL, NULL, 0};
    enum xnn_status status = quantized_make(host, step, &q);
    if (status == xnn_status_success) {
        status = xnn_create_convolution2d_nhwc_qc8(
            top, left, top, left, (uint32_t)s->kernel_h, (uint32_t)s->kernel_w,
            (uint32_t)s->stride_h, (uint32_t)s->stride_w, 1, 1, (uint32_t)s->groups,
            (size_t)(s->in_c / s->groups), (size_t)(s->out_c / s->groups), (size_t)s->in_c,
            (size_t)s->out_c, (int8_t)step->in[0].zero, step->in[0].scale, q.scale, q.codes, q.bias,
            (int8_t)step->out.zero, step->out.scale, (int8_t)s->clamp_lo, (int8_t)s->clamp_hi, 0,
            op);
    }
    quantized_free(host, &q);
    return status;
}

static enum xnn_status make_operator(const pare_host *host, const struct xnnpack_step *step,
                                     xnn_operator_t *op) {
    const struct lower_step *s = &step->low;
    switch (s->kind) {
    case LOWER_CONV2D:
    case LOWER_LINEAR:
        if (s->arith != LOWER_F32) {
            return step->out.rep == LOWER_I8 ? conv2d_i8(host, step, op)
                                             : xnn_status_unsupported_parameter;
        }
        return s->kind == LOWER_CONV2D
                   ? conv2d_f32(s, op)
                   : xnn_create_fully_connected_nc_f32(
                         (size_t)s->in_c, (size_t)s->out_c, (size_t)s->in_c, (size_t)s->out_c,
                         s->weight_f32, s->bias_f32, least(s), INFINITY, 0, op);
    case LOWER_ADD:
        return add(step, op);
    case LOWER_MAX_POOL:
        return max_pool(step, op);
    case LOWER_AVG_POOL:
        return avg_pool(step, op);
    case LOWER_QUANTIZE:
        return quantize(step, op);
    default:
        return xnn_status_unsupported_parameter;
    }
}

static const char *kernel_name(const struct lower_step *s) {
    static const char *const names[LOWER_N_KINDS][2] = {
        [LOWER_COPY] = {"xnnpack_copy_f32", ""},
        [LOWER_QUANTIZE] = {"xnnpack_quantize_i8", "xnnpack_quantize_i8"},
        [LOWER_DEQUANTIZE] = {"xnnpack_dequantize_i8", "xnnpack_dequantize_i8"},
        [LOWER_REQUANTIZE] = {"", "xnnpack_requantize_i8"},
        [LOWER_SIGN] = {"xnnpack_sign_f32", "xnnpack_sign_i8"},
        [LOWER_CONV2D] = {"xnnpack_conv2d_f32", "xnnpack_conv2d_i8"},
        [LOWER_LINEAR] = {"xnnpack_linear_f32", "xnnpack_linear_i8"},
        [LOWER_AFFINE] = {"xnnpack_batch_norm_f32", ""},
        [LOWER_RELU] = {"xnnpack_relu_f32", ""},
        [LOWER_ADD] = {"xnnpack_add_f32", "xnnpack_add_i8"},
        [LOWER_MAX_POOL] = {"xnnpack_max_pool_f32", "xnnpack_max_pool_i8"},
        [LOWER_AVG_POOL] = {"xnnpack_avg_pool_f32", "xnnpack_avg_pool_i8"},
        [LOWER_SHORTCUT_A] = {"xnnpack_shortcut_a_f32", "xnnpack_shortcut_a_i8"},
        [LOWER_SOFTMAX] = {"xnnpack_softmax_f32", ""},
    };
    return names[s->kind][s->arith != LOWER_F32];
}

static int is_plain(const struct xnnpack_step *step) {
    switch (step->low.kind) {
    case LOWER_LINEAR:
        return step->low.arith == LOWER_I8 && step->out.rep == LOWER_F32;
    case LOWER_CONV2D:
    case LOWER_ADD:
    case LOWER_MAX_POOL:
    case LOWER_AVG_POOL:
    case LOWER_QUANTIZE:
        return 0;
    default:
        return 1;
    }
}

/* What the plain steps keep of the plan. */
static enum xnn_status keep_plain(struct pieced_maker *maker, struct xnnpack_step *step) {
    const struct lower_step *s = &step->low;
    const pare_host *host = maker->host;
    const size_t bytes = (size_t)s->out_c * sizeof(float);
    const int64_t n_codes = s->kind == LOWER_LINEAR ? (int64_t)s->out_c * s->in_c : 0;
    if (s->kind == LOWER_REQUANTIZE) {
        step->multiplier = s->multiplier[0];
    }
    if (s->kind != LOWER_LINEAR && s->kind != LOWER_AFFINE) {
        return xnn_status_success;
    }
    step->gain = pieced_alloc(host, s->out_c, sizeof *step->gain);
    step->shift = pieced_alloc(host, s->out_c, sizeof *step->shift);
    step->codes = pieced_alloc(host, n_codes, sizeof *step->codes);
    if (step->gain == NULL || step->shift == NULL || step->codes == NULL) {
        return xnn_status_out_of_memory;
    }
    memcpy(step->gain, s->multiplier, bytes);
    memcpy(step->shift, s->bias_f32, bytes);
    for (int64_t k = 0; k < n_codes; k++) {
        step->codes[k] = (int8_t)s->weight_codes[k];
    }
    maker->bytes_resident += (int64_t)(2 * bytes) + n_codes;
    return xnn_status_success;
}

/* The library does not tell how much it keeps: the weights themselves, once for each lane. */
static int64_t weight_bytes(const struct lower_step *s) {
    if (s->weight_f32 == NULL && s->weight_codes == NULL) {
        return 0;
    }
    const int64_t n = (int64_t)s->out_c * s->kernel_h * s->kernel_w * (s->in_c / s->groups);
    return n * (s->arith == LOWER_F32 ? 4 : 1) + 4 * (int64_t)s->out_c;
}

/* Set up for a place in the arena that is as good as any, so that what depends on shapes is
 * allocated here and not in the first run. */
static enum xnn_status make_lane(struct pieced_maker *maker, struct xnnpack_step *step, int32_t l) {
    enum xnn_status status = make_operator(maker->host, step, &step->operators[l]);
    if (status != xnn_status_success) {
        return status;
    }
    const int64_t bytes = (step->in[0].size_bytes > step->out.size_bytes ? step->in[0].size_bytes
                                                                         : step->out.size_bytes) +
                          XNN_EXTRA_BYTES;
    void *place = pieced_alloc(maker->host, bytes, 1);
    if (place == NULL) {
        return xnn_status_out_of_memory;
    }
    const void *const x[PARE_MAX_INPUTS] = {place, place};
    status = xnnpack_set_up(step, step->operators[l], maker->plan->max_batch, x, place);
    maker->host->free(maker->host, place);
    maker->bytes_resident += weight_bytes(&step->low);
    return status;
}

static enum xnn_status make_lanes(struct pieced_maker *maker, struct xnnpack_step *step) {
    enum xnn_status status = xnn_status_success;
    step->operators = pieced_alloc(maker->host, maker->n_lanes, sizeof *step->operators);
    step->last = pieced_alloc(maker->host, maker->n_lanes, sizeof *step->last);
    if (step->operators == NULL || step->last == NULL) {
        return xnn_status_out_of_memory;
    }
    for (int32_t l = 0; l < maker->n_lanes && status == xnn_status_success; l++) {
        status = make_lane(maker, step, l);
    }
    return status;
}

pare_status xnnpack_make(struct pieced_maker *maker, int32_t index, const char *node,
                         struct xnnpack_step *step) {
    const struct lower_plan *plan = maker->plan;
    step->low = plan->steps[index];
    step->kernel = kernel_name(&step->low);
    step->out = plan->values[step->low.out];
    for (int32_t k = 0; k < step->low.n_inputs; k++) {
        step->in[k] = plan->values[step->low.in[k]];
    }
    step->is_plain = is_plain(step);
    enum xnn_status status = step->is_plain ? keep_plain(maker, step) : make_lanes(maker, step);
    step->low.weight_f32 = step->low.bias_f32 = step->low.multiplier = NULL;
    step->low.weight_codes = NULL;
    if (status == xnn_status_out_of_memory) {
        return maker->host->fail(maker->host, PARE_E_NOMEM, "%s: out of memory", node);
    }
    return status == xnn_status_success
               ? PARE_OK
               : maker->host->fail(maker->host, PARE_E_UNSUPPORTED,
                                   "%s: XNNPACK has no %s of this shape and scale (its status is "
                                   "%d); use backend \"auto\"",
                                   node, step->kernel, (int)status);
}

void xnnpack_step_free(const pare_host *host, struct xnnpack_step *step, int32_t n_lanes) {
    for (int32_t l = 0; step->operators != NULL && l < n_lanes; l++) {
        if (step->operators[l] != NULL) {
            xnn_delete_operator(step->operators[l]);
        }
    }
    host->free(host, step->operators);
    host->free(host, step->last);
    host->free(host, step->codes);
    host->free(host, step->gain);
    host->free(host, step->shift);
}

/* ---- where values are ---- */

static enum xnn_status set_up_f32(const struct xnnpack_step *step, xnn_operator_t op, size_t n,
                                  const void *const *x, void *y) {
    const struct lower_step *s = &step->low;
    const size_t h = (size_t)s->in_h, w = (size_t)s->in_w;
    const size_t n_elems = n * (size_t)step->out.n_elems;
    switch (s->kind) {
    case LOWER_CONV2D:
        return xnn_setup_convolution2d_nhwc_f32(op, n, h, w, x[0], y, NULL);
    case LOWER_LINEAR:
        return xnn_setup_fully_connected_nc_f32(op, n, x[0], y, NULL);
    case LOWER_ADD:
        return xnn_setup_add_nd_f32(op, 1, &n_elems, 1, &n_elems, x[0], x[1], y, NULL);
    case LOWER_MAX_POOL:
        return xnn_setup_max_pooling2d_nhwc_f32(op, n, h, w, x[0], y, NULL);
    default: /* LOWER_AVG_POOL */
        return is_global(s) ? xnn_setup_global_average_pooling_nwc_f32(op, n, h * w, x[0], y, NULL)
                            : xnn_setup_average_pooling2d_nhwc_f32(op, n, h, w, x[0], y, NULL);
    }
}

static enum xnn_status set_up_i8(const struct xnnpack_step *step, xnn_operator_t op, size_t n,
                                 const void *const *x, void *y) {
    const struct lower_step *s = &step->low;
    const size_t h = (size_t)s->in_h, w = (size_t)s->in_w;
    const size_t n_elems = n * (size_t)step->out.n_elems;
    switch (s->kind) {
    case LOWER_CONV2D:
    case LOWER_LINEAR:
        return xnn_setup_convolution2d_nhwc_qc8(op, n, h, w, x[0], y, NULL);
    case LOWER_ADD:
        return xnn_setup_add_nd_qs8(op, 1, &n_elems, 1, &n_elems, x[0], x[1], y, NULL);
    case LOWER_MAX_POOL:
        return xnn_setup_max_pooling2d_nhwc_s8(op, n, h, w, x[0], y, NULL);
    case LOWER_QUANTIZE:
        return xnn_setup_convert_nc_f32_qs8(op, n, x[0], y, NULL);
    default: /* LOWER_AVG_POOL */
        return xnn_setup_global_average_pooling_nwc_qs8(op, n, h * w, x[0], y, NULL);
    }
}

enum xnn_status xnnpack_set_up(const struct xnnpack_step *step, xnn_operator_t op, int32_t n,
                               const void *const *x, void *y) {
    return step->low.kind != LOWER_QUANTIZE && step->low.arith == LOWER_F32
               ? set_up_f32(step, op, (size_t)n, x, y)
               : set_up_i8(step, op, (size_t)n, x, y);
}
