/* SPDX-License-Identifier: MIT */
/* Folding batch norm into the convolution or linear layer before it (Jacob et al. 2018, arXiv
 * 1712.05877, section 3.2): with f = gamma / sqrt(var + eps),
 *     gamma (w x + b - mean) / sqrt(var + eps) + beta = (f w) x + (b - mean) f + beta.
 * All work is done on a copy that replaces the model only when everything has succeeded. */
#include "core/alloc.h"
#include "model/model_private.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one layer ---- */

/* A channel's scale takes |f|, a negative f flips its codes. A product that vanishes in float
 * leaves codes 0 under the old scale; binary codes cannot be 0, so theirs is the smallest normal
 * scale. */
static void fold_codes(struct weight_store *w, int64_t c, int64_t per_channel, float old_scale,
                       double f) {
    int16_t *codes = w->codes + c * per_channel;
    float scale = (float)((double)old_scale * fabs(f));
    int sign = f < 0.0 ? -1 : 1;
    if (scale == 0.0f && w->view.quant.bits == 1)
        scale = FLT_MIN;
    if (scale == 0.0f) {
        scale = old_scale;
        sign = 0;
    }
    for (int64_t i = 0; i < per_channel; i++)
        codes[i] = (int16_t)(sign * codes[i]);
    w->scale[c] = scale;
}

static pare_status fold_quantized(struct weight_store *w, const double *factors,
                                  struct error *err) {
    int64_t n_channels = w->view.dims[0];
    pare_quant quant = w->view.quant;
    for (int64_t c = n_channels - 1; c >= 0; c--) /* downwards: scale[0] may serve all channels */
        fold_codes(w, c, w->view.n_elems / n_channels, w->scale[quant.n == 1 ? 0 : c], factors[c]);
    quant.axis = 0;
    quant.n = (int32_t)n_channels;
    pare_status status = quant_check_weight(&quant, &w->view, w->name, err);
    if (status == PARE_OK)
        weight_put_quant(w, &quant);
    return status;
}

static pare_status fold_floats(struct weight_store *w, const double *factors, struct error *err) {
    int64_t per_channel = w->view.n_elems / w->view.dims[0];
    for (int64_t i = 0; i < w->view.n_elems; i++) {
        float value = (float)((double)w->data[i] * factors[i / per_channel]);
        if (!isfinite(value))
            return error_set(err, PARE_E_NUMERIC,
                             "%s[%lld]: value %g times batch norm's factor %g is not finite",
                             w->name, (long long)i, (double)w->data[i], factors[i / per_channel]);
        w->data[i] = w->view.mask != NULL && w->view.mask[i] == 0 ? 0.0f : value;
    }
    return PARE_OK;
}

/* A bias stays pruned only in channels that the batch norm prunes as a whole (gamma and beta). */
static pare_status fold_bias_mask(struct weight_store *bias, const pare_node *bn,
                                  struct error *err) {
    const uint8_t *gamma = bn->weights[PARE_ROLE_GAMMA]->mask;
    const uint8_t *beta = bn->weights[PARE_ROLE_BETA]->mask;
    bias->view.mask = NULL;
    if (gamma == NULL || beta == NULL)
        return PARE_OK;
    pare_status status = weight_make_mask_buffer(bias, err);
    if (status != PARE_OK)
        return status;
    for (int64_t c = 0; c < bias->view.n_elems; c++)
        bias->mask[c] = gamma[c] | beta[c];
    bias->view.mask = bias->mask;
    return PARE_OK;
}

static pare_status fold_bias(struct node_store *node, const pare_node *bn, const double *factors,
                             struct error *err) {
    const float *mean = bn->weights[PARE_ROLE_MEAN]->data;
    const float *beta = bn->weights[PARE_ROLE_BETA]->data;
    struct weight_store *bias = NULL;
    if (node->view.weights[PARE_ROLE_BIAS] == NULL) {
        int64_t dims[PARE_MAX_RANK] = {node->view.dims[2], 1, 1, 1};
        pare_status status = weight_create(node->name, "bias", PARE_ROLE_BIAS, 1, dims, err, &bias);
        if (status != PARE_OK)
            return status;
        node->view.weights[PARE_ROLE_BIAS] = &bias->view;
    }
    bias = weight_of(node->view.weights[PARE_ROLE_BIAS]);
    for (int64_t c = 0; c < bias->view.n_elems; c++) {
        float value =
            (float)(((double)bias->data[c] - (double)mean[c]) * factors[c] + (double)beta[c]);
        if (!isfinite(value))
            return error_set(err, PARE_E_NUMERIC, "%s[%lld]: folding %s makes it not finite",
                             bias->name, (long long)c, bn->name);
        bias->data[c] = value;
    }
    return fold_bias_mask(bias, bn, err);
}

static pare_status fold_into(struct node_store *node, const pare_node *bn, struct error *err) {
    if (node->view.activation.bits != 0)
        return error_set(
            err, PARE_E_STATE,
            "%s: its value is quantized, but folding %s removes that value; quantize after "
            "folding",
            node->name, bn->name);
    struct weight_store *w = weight_of(node->view.weights[PARE_ROLE_WEIGHT]);
    double *factors = alloc_array((size_t)w->view.dims[0], sizeof *factors);
    if (factors == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", node->name);
    for (int64_t c = 0; c < w->view.dims[0]; c++)
        factors[c] = (double)bn->weights[PARE_ROLE_GAMMA]->data[c] /
                     sqrt((double)bn->weights[PARE_ROLE_VAR]->data[c] + (double)bn->eps);
    pare_status status =
        w->view.quant.bits != 0 ? fold_quantized(w, factors, err) : fold_floats(w, factors, err);
    if (status == PARE_OK)
        status = fold_bias(node, bn, factors, err);
    free(factors);
    return status;
}

/* ---- the graph ---- */

/* The value of the batch norm is now that of the layer before it. */
static void take_activation(struct node_store *node, const pare_node *bn) {
    if (bn->activation.bits == 0)
        return;
    node->activation_scale = bn->activation.scale[0];
    node->activation_zero_point = bn->activation.zero_point[0];
    node->view.activation = bn->activation;
    node->view.activation.scale = &node->activation_scale;
    node->view.activation.zero_point = &node->activation_zero_point;
}

/* The list of weights again, in the order of nodes and roles. */
static void relist_weights(struct model *model) {
    int32_t n = 0;
    for (int32_t i = 0; i < model->graph.n_nodes; i++)
        for (int role = 0; role < PARE_N_ROLES; role++)
            if (model->graph.nodes[i]->weights[role] != NULL)
                model->priv->weights[n++] = model->graph.nodes[i]->weights[role];
    model->graph.n_weights = n;
}

static pare_status fold_all(struct model *copy, struct error *err) {
    int32_t i = 1;
    while (i < copy->graph.n_nodes) {
        const pare_node *bn = copy->graph.nodes[i];
        struct node_store *before = node_at(copy, bn->inputs[0]);
        if (bn->op != PARE_OP_BATCH_NORM || !op_has_weights(before->view.op) ||
            before->view.n_consumers != 1) {
            i++;
            continue;
        }
        pare_status status = fold_into(before, bn, err);
        if (status == PARE_OK)
            take_activation(before, bn);
        /* Even after a failure, so that a bias just made is owned by the list. */
        model_remove_node(copy, i);
        relist_weights(copy);
        model_renew_view(copy);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

pare_status model_fold_batch_norm(struct model *model, struct error *err) {
    struct model *copy = NULL;
    if (!model->priv->is_finished)
        return error_set(err, PARE_E_STATE, "%s: the model is not finished, nothing can be folded",
                         model->graph.name);
    pare_status status = model_copy(model, err, &copy);
    if (status != PARE_OK)
        return status;
    status = fold_all(copy, err);
    if (status == PARE_OK) {
        struct model old = *model;
        *model = *copy;
        *copy = old;
    }
    model_destroy(copy);
    return status;
}
