/* SPDX-License-Identifier: MIT */
/* From steps to oneDNN's primitives. Values lie in NHWC order, as the plan has them; the weights'
 * layout is the library's choice. */
#include "onednn.h"

#include <string.h>

/* The part of the engine that makes primitives. */
struct onednn_maker {
    struct pieced_maker *pieced;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

static void *keep(struct onednn_maker *maker, size_t bytes) {
    void *ptr = pieced_alloc(maker->pieced->host, (int64_t)bytes, 1);
    if (ptr != NULL) {
        maker->pieced->bytes_resident += (int64_t)bytes;
    }
    return ptr;
}

static const char *kernel_name(enum lower_kind kind) {
    static const char *const names[LOWER_N_KINDS] = {
        [LOWER_COPY] = "onednn_copy_f32",
        [LOWER_CONV2D] = "onednn_conv2d_f32",
        [LOWER_LINEAR] = "onednn_linear_f32",
        [LOWER_AFFINE] = "onednn_batch_norm_f32",
        [LOWER_RELU] = "onednn_relu_f32",
        [LOWER_ADD] = "onednn_add_f32",
        [LOWER_MAX_POOL] = "onednn_max_pool_f32",
        [LOWER_AVG_POOL] = "onednn_avg_pool_f32",
        [LOWER_SHORTCUT_A] = "onednn_shortcut_a_f32",
        [LOWER_SOFTMAX] = "onednn_softmax_f32",
    };
    return names[kind];
}

/* (N,C,H,W) in the order NHWC; for a linear layer (N,C). */
static dnnl_status_t value_desc(dnnl_memory_desc_t *desc, enum lower_kind kind, int32_t n,
                                int32_t h, int32_t w, int32_t c) {
    const dnnl_dims_t dims = {n, c, h, w};
    return kind == LOWER_LINEAR ? dnnl_memory_desc_init_by_tag(desc, 2, dims, dnnl_f32, dnnl_ab)
                                : dnnl_memory_desc_init_by_tag(desc, 4, dims, dnnl_f32, dnnl_nhwc);
}

/* As the plan has it, (OC,KH,KW,IC/groups), or with `any` as the library likes it. */
static dnnl_status_t weights_desc(dnnl_memory_desc_t *desc, const struct lower_step *s, int any) {
    const dnnl_dim_t out = s->out_c / s->groups;
    const dnnl_dim_t in = s->in_c / s->groups;
    const dnnl_dims_t linear = {s->out_c, s->in_c};
    const dnnl_dims_t whole = {s->out_c, s->in_c, s->kernel_h, s->kernel_w};
    const dnnl_dims_t grouped = {s->groups, out, in, s->kernel_h, s->kernel_w};
    if (s->kind == LOWER_LINEAR) {
        return dnnl_memory_desc_init_by_tag(desc, 2, linear, dnnl_f32,
                                            any ? dnnl_format_tag_any : dnnl_ab);
    }
    return s->groups == 1 ? dnnl_memory_desc_init_by_tag(desc, 4, whole, dnnl_f32,
                                                         any ? dnnl_format_tag_any : dnnl_ohwi)
                          : dnnl_memory_desc_init_by_tag(desc, 5, grouped, dnnl_f32,
                                                         any ? dnnl_format_tag_any : dnnl_gohwi);
}

/* Memory for scratch is ours, so that a run allocates none; a relu is done where the result is. */
static dnnl_status_t new_attr(int relu, dnnl_primitive_attr_t *out) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    }
    if (status == dnnl_success && relu) {
        status = dnnl_post_ops_create(&ops);
        if (status == dnnl_success) {
            status = dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
        }
        if (status == dnnl_success) {
            status = dnnl_primitive_attr_set_post_ops(*out, ops);
        }
        dnnl_post_ops_destroy(ops);
    }
    return status;
}

union operation {
    dnnl_convolution_desc_t convolution;
    dnnl_inner_product_desc_t product;
    dnnl_pooling_desc_t pooling;
    dnnl_binary_desc_t binary;
};

static dnnl_status_t describe(const struct onednn_step *step, union operation *op) {
    const struct lower_step *s = &step->low;
    const dnnl_dims_t strides = {s->stride_h, s->stride_w};
    const dnnl_dims_t kernel = {s->kernel_h, s->kernel_w};
    const dnnl_dims_t pad = {s->pad_h, s->pad_w};
    const dnnl_dims_t channels = {s->out_c};
    const dnnl_prop_kind_t inference = dnnl_forward_inference;
    dnnl_memory_desc_t weights, bias;
    dnnl_status_t status = dnnl_success;
    switch (s->kind) {
    case LOWER_CONV2D:
    case LOWER_LINEAR:
        status = weights_desc(&weights, s, 1);
        if (status == dnnl_success) {
            status = dnnl_memory_desc_init_by_tag(&bias, 1, channels, dnnl_f32, dnnl_a);
        }
        if (status != dnnl_success) {
            return status;
        }
        /* Never Winograd's algorithm: its rounding errors exceed the bound that backends keep. */
        return s->kind == LOWER_LINEAR
                   ? dnnl_inner_product_forward_desc_init(&op->product, inference, &step->in[0],
                                                          &weights, &bias, &step->out)
                   : dnnl_convolution_forward_desc_init(
                         &op->convolution, inference, dnnl_convolution_direct, &step->in[0],
                         &weights, &bias, &step->out, strides, pad, pad);
    case LOWER_ADD:
        return dnnl_binary_desc_init(&op->binary, dnnl_binary_add, &step->in[0], &step->in[1],
                                     &step->out);
    case LOWER_MAX_POOL:
    case LOWER_AVG_POOL:
        return dnnl_pooling_forward_desc_init(
            &op->pooling, inference,
            s->kind == LOWER_MAX_POOL ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding,
            &step->in[0], &step->out, strides, kernel, pad, pad);
    default:
        return dnnl_unimplemented;
    }
}

/* Weights into the layout that the primitive asked for. */
static dnnl_status_t pack_weights(struct onednn_maker *maker, struct onednn_step *step,
                                  const_dnnl_primitive_desc_t desc) {
    dnnl_memory_desc_t plain;
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t reorder_desc = NULL;
    dnnl_primitive_t reorder = NULL;
    const dnnl_memory_desc_t *packed = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    dnnl_status_t status = weights_desc(&plain, &step->low, 0);
    if (status != dnnl_success || packed == NULL) {
        return dnnl_invalid_arguments;
    }
    step->weights_data = keep(maker, dnnl_memory_desc_get_size(packed));
    if (step->weights_data == NULL) {
        return dnnl_out_of_memory;
    }
    status = dnnl_memory_create(&from, &plain, maker->engine, step->low.weight_f32);
    if (status == dnnl_success) {
        status = dnnl_memory_create(&step->weights, packed, maker->engine, step->weights_data);
    }
    if (status == dnnl_success) {
        status = dnnl_reorder_primitive_desc_create(&reorder_desc, &plain, maker->engine, packed,
                                                    maker->engine, NULL);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_create(&reorder, reorder_desc);
    }
    if (status == dnnl_success) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, step->weights}};
        status = dnnl_primitive_execute(reorder, maker->stream, 2, args);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(maker->stream);
    }
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(reorder_desc);
    dnnl_memory_destroy(from);
    return status;
}

static dnnl_status_t pack_bias(struct onednn_maker *maker, struct onednn_step *step) {
    const dnnl_dims_t channels = {step->low.out_c};
    const size_t bytes = (size_t)step->low.out_c * sizeof(float);
    dnnl_memory_desc_t desc;
    step->bias_data = keep(maker, bytes);
    if (step->bias_data == NULL) {
        return dnnl_out_of_memory;
    }
    memcpy(step->bias_data, step->low.bias_f32, bytes);
    dnnl_status_t status = dnnl_memory_desc_init_by_tag(&desc, 1, channels, dnnl_f32, dnnl_a);
    return status != dnnl_success
               ? status
               : dnnl_memory_create(&step->bias, &desc, maker->engine, step->bias_data);
}

static dnnl_status_t make_primitive(struct onednn_maker *maker, struct onednn_step *step) {
    const struct lower_step *s = &step->low;
    const int32_t n = maker->pieced->plan->max_batch;
    union operation op;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = value_desc(&step->out, s->kind, n, s->out_h, s->out_w, s->out_c);
    for (int32_t k = 0; k < s->n_inputs && status == dnnl_success; k++) {
        status = value_desc(&step->in[k], s->kind, n, s->in_h, s->in_w, s->in_c);
    }
    if (status == dnnl_success) {
        status = describe(step, &op);
    }
    if (status == dnnl_success) {
        status = new_attr(s->relu, &attr);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(&desc, &op, attr, maker->engine, NULL);
    }
    if (status == dnnl_success) {
        const dnnl_memory_desc_t *scratch =
            dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
        step->scratch_bytes = scratch != NULL ? dnnl_memory_desc_get_size(scratch) : 0;
        status = dnnl_primitive_create(&step->primitive, desc);
    }
    if (status == dnnl_success && s->weight_f32 != NULL) {
        status = pack_weights(maker, step, desc);
    }
    if (status == dnnl_success && s->weight_f32 != NULL) {
        status = pack_bias(maker, step);
    }
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_attr_destroy(attr);
    return status;
}

static int pack_affine(struct onednn_maker *maker, struct onednn_step *step) {
    const size_t bytes = (size_t)step->low.out_c * sizeof(float);
    step->gain = keep(maker, bytes);
    step->shift = keep(maker, bytes);
    if (step->gain == NULL || step->shift == NULL) {
        return 0;
    }
    memcpy(step->gain, step->low.multiplier, bytes);
    memcpy(step->shift, step->low.bias_f32, bytes);
    return 1;
}

pare_status onednn_prepare(struct pieced_maker *pieced, dnnl_engine_t engine, dnnl_stream_t stream,
                           const struct lower_step *low, const char *name,
                           struct onednn_step *step) {
    const pare_host *host = pieced->host;
    struct onednn_maker maker = {pieced, engine, stream};
    dnnl_status_t status = dnnl_success;
    step->low = *low;
    step->kernel = kernel_name(low->kind);
    switch (low->kind) {
    case LOWER_CONV2D:
    case LOWER_LINEAR:
    case LOWER_ADD:
    case LOWER_MAX_POOL:
    case LOWER_AVG_POOL:
        status = make_primitive(&maker, step);
        break;
    case LOWER_AFFINE:
        status = pack_affine(&maker, step) ? dnnl_success : dnnl_out_of_memory;
        break;
    default:
        break;
    }
    /* The plan's own copies are freed after packing. */
    step->low.weight_f32 = NULL;
    step->low.bias_f32 = NULL;
    step->low.multiplier = NULL;
    if (status == dnnl_out_of_memory) {
        return host->fail(host, PARE_E_NOMEM, "%s: out of memory for packed weights", name);
    }
    return status == dnnl_success
               ? PARE_OK
               : host->fail(host, PARE_E_UNSUPPORTED,
                            "%s: oneDNN has no %s of this shape (its status is %d); use backend "
                            "\"auto\"",
                            name, step->kernel, (int)status);
}

void onednn_step_free(const pare_host *host, struct onednn_step *step) {
    dnnl_primitive_destroy(step->primitive);
    dnnl_memory_destroy(step->weights);
    dnnl_memory_destroy(step->bias);
    host->free(host, step->weights_data);
    host->free(host, step->bias_data);
    host->free(host, step->gain);
    host->free(host, step->shift);
}
