/* SPDX-License-Identifier: MIT */
/* The checked changes. Each validates everything first, so that a failure leaves the model as it
 * was, and then writes into buffers that keep their place. */
#include "core/alloc.h"
#include "model/model_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_status check_weight_index(const struct model *model, int32_t weight,
                                      struct error *err) {
    if (weight < 0 || weight >= model->graph.n_weights)
        return error_set(err, PARE_E_ARG, "%s: weight is %d, wanted 0..%d", model->graph.name,
                         weight, model->graph.n_weights - 1);
    return PARE_OK;
}

static void drop_quant(struct weight_store *weight) {
    weight->view.quant = (pare_quant){0};
    weight->view.codes = NULL;
}

/* ---- buffers ---- */

pare_status weight_make_mask_buffer(struct weight_store *weight, struct error *err) {
    if (weight->mask == NULL)
        weight->mask = alloc_array((size_t)weight->view.n_elems, sizeof *weight->mask);
    if (weight->mask == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: no memory for a mask", weight->name);
    return PARE_OK;
}

pare_status weight_make_quant_buffers(struct weight_store *weight, struct error *err) {
    if (weight->codes == NULL)
        weight->codes = alloc_array((size_t)weight->view.n_elems, sizeof *weight->codes);
    if (weight->scale == NULL)
        weight->scale = alloc_array((size_t)weight->view.dims[0], sizeof *weight->scale);
    if (weight->codes == NULL || weight->scale == NULL)
        return error_set(err, PARE_E_NOMEM, "%s: no memory for codes", weight->name);
    return PARE_OK;
}

void weight_put_quant(struct weight_store *weight, const pare_quant *quant) {
    size_t n = (size_t)quant->n;
    memmove(weight->scale, quant->scale, n * sizeof *weight->scale);
    weight->view.quant = *quant;
    weight->view.quant.scale = weight->scale;
    weight->view.quant.zero_point = NULL;
    weight->view.codes = weight->codes;
    int64_t per_scale = weight->view.n_elems / quant->n;
    for (int64_t i = 0; i < weight->view.n_elems; i++)
        weight->data[i] = weight_scale(&weight->view.quant, i, per_scale) * (float)weight->codes[i];
}

/* ---- weights ---- */

pare_status model_set_weight(struct model *model, int32_t weight, const float *data,
                             struct error *err) {
    pare_status status = check_weight_index(model, weight, err);
    if (status != PARE_OK)
        return status;
    struct weight_store *w = weight_at(model, weight);
    if (data == NULL)
        return error_set(err, PARE_E_ARG, "%s: there is no data", w->name);
    for (int64_t i = 0; i < w->view.n_elems; i++) {
        if (!isfinite(data[i]))
            return error_set(err, PARE_E_NUMERIC, "%s[%lld]: value is %g, wanted a finite number",
                             w->name, (long long)i, (double)data[i]);
        if (w->view.role == PARE_ROLE_VAR && data[i] < 0.0f)
            return error_set(err, PARE_E_RANGE, "%s[%lld]: variance is %g, wanted >= 0", w->name,
                             (long long)i, (double)data[i]);
    }
    const uint8_t *mask = w->view.mask;
    for (int64_t i = 0; i < w->view.n_elems; i++)
        w->data[i] = mask != NULL && mask[i] == 0 ? 0.0f : data[i];
    drop_quant(w);
    return PARE_OK;
}

float *model_weight_data(struct model *model, int32_t weight) {
    return weight_at(model, weight)->data;
}

static pare_status check_mask(const struct weight_store *w, const uint8_t *mask,
                              struct error *err) {
    if (w->view.role == PARE_ROLE_MEAN || w->view.role == PARE_ROLE_VAR)
        return error_set(err, PARE_E_UNSUPPORTED,
                         "%s: running statistics are not learned and take no mask", w->name);
    for (int64_t i = 0; i < w->view.n_elems; i++) {
        if (mask[i] > 1)
            return error_set(err, PARE_E_RANGE,
                             "%s[%lld]: mask is %d, wanted 0 (pruned) or 1 (kept)", w->name,
                             (long long)i, mask[i]);
        if (mask[i] == 0 && w->view.quant.bits == 1)
            return error_set(err, PARE_E_UNSUPPORTED,
                             "%s[%lld]: binary weights have no code 0 to prune to; "
                             "set new fp32 values first, or use ternary",
                             w->name, (long long)i);
    }
    return PARE_OK;
}

pare_status model_set_mask(struct model *model, int32_t weight, const uint8_t *mask,
                           struct error *err) {
    pare_status status = check_weight_index(model, weight, err);
    if (status != PARE_OK)
        return status;
    struct weight_store *w = weight_at(model, weight);
    if (mask == NULL) {
        w->view.mask = NULL;
        return PARE_OK;
    }
    status = check_mask(w, mask, err);
    if (status == PARE_OK)
        status = weight_make_mask_buffer(w, err);
    if (status != PARE_OK)
        return status;
    for (int64_t i = 0; i < w->view.n_elems; i++) {
        w->mask[i] = mask[i];
        if (mask[i] != 0)
            continue;
        w->data[i] = 0.0f;
        if (w->view.codes != NULL)
            w->codes[i] = 0;
    }
    w->view.mask = w->mask;
    return PARE_OK;
}

/* Nearest code, ties to even, clamped; by sign for binary, where 0 counts as positive. The quotient
 * is a float division; it may be infinite, which the clamp takes care of. */
static int16_t nearest_code(float value, float scale, const pare_quant *quant) {
    if (quant->bits == 1)
        return value < 0.0f ? -1 : 1;
    float code = nearbyintf(value / scale);
    code = fminf(fmaxf(code, (float)quant->qmin), (float)quant->qmax);
    return (int16_t)code;
}

static pare_status check_quantizable(const struct weight_store *w, const pare_quant *quant,
                                     struct error *err) {
    if (quant == NULL)
        return error_set(err, PARE_E_ARG,
                         "%s: there is no quantization; set fp32 values to remove one", w->name);
    if (w->view.role != PARE_ROLE_WEIGHT)
        return error_set(
            err, PARE_E_UNSUPPORTED,
            "%s: only weights of conv2d and linear are quantized; a bias follows from the "
            "scales of weight and input",
            w->name);
    pare_status status = quant_check_weight(quant, &w->view, w->name, err);
    if (status == PARE_OK && quant->bits == 1 && w->view.mask != NULL)
        for (int64_t i = 0; i < w->view.n_elems; i++)
            if (w->view.mask[i] == 0)
                return error_set(
                    err, PARE_E_UNSUPPORTED,
                    "%s[%lld]: pruned, and binary weights have no code 0; remove the mask "
                    "or use ternary",
                    w->name, (long long)i);
    return status;
}

pare_status model_set_weight_quant(struct model *model, int32_t weight, const pare_quant *quant,
                                   const int16_t *codes, struct error *err) {
    pare_status status = check_weight_index(model, weight, err);
    if (status != PARE_OK)
        return status;
    struct weight_store *w = weight_at(model, weight);
    status = check_quantizable(w, quant, err);
    if (status == PARE_OK && codes != NULL)
        status = quant_check_codes(quant, codes, w->view.mask, w->view.n_elems, w->name, err);
    if (status == PARE_OK)
        status = weight_make_quant_buffers(w, err);
    if (status != PARE_OK)
        return status;
    int64_t per_scale = w->view.n_elems / quant->n;
    for (int64_t i = 0; i < w->view.n_elems; i++)
        w->codes[i] = codes != NULL
                          ? codes[i]
                          : nearest_code(w->data[i], weight_scale(quant, i, per_scale), quant);
    weight_put_quant(w, quant);
    return PARE_OK;
}

/* ---- activations ---- */

static const pare_node *only_reader(const struct model *model, const pare_node *node) {
    if (node->n_consumers != 1)
        return NULL;
    for (int32_t i = node->index + 1; i < model->graph.n_nodes; i++)
        for (int32_t k = 0; k < model->graph.nodes[i]->n_inputs; k++)
            if (model->graph.nodes[i]->inputs[k] == node->index)
                return model->graph.nodes[i];
    return NULL;
}

/* Is the value of `node` one that is stored when the graph runs on integers? */
static pare_status check_stored(const struct model *model, const pare_node *node,
                                struct error *err) {
    if (!model->priv->is_finished)
        return error_set(err, PARE_E_STATE,
                         "%s: the model is not finished, its readers are not known", node->name);
    if (node->index == model->graph.n_nodes - 1)
        return error_set(err, PARE_E_UNSUPPORTED,
                         "%s: the last node gives float logits, its value is not quantized",
                         node->name);
    const pare_node *reader = only_reader(model, node);
    bool fuses =
        op_has_weights(node->op) || node->op == PARE_OP_ADD || node->op == PARE_OP_BATCH_NORM;
    if (fuses && reader != NULL && reader->op == PARE_OP_RELU)
        return error_set(err, PARE_E_UNSUPPORTED,
                         "%s: feeds only the relu %s and is never stored; quantize %s instead",
                         node->name, reader->name, reader->name);
    return PARE_OK;
}

pare_status model_set_activation_quant(struct model *model, int32_t node, const pare_quant *quant,
                                       struct error *err) {
    if (node < 0 || node >= model->graph.n_nodes)
        return error_set(err, PARE_E_ARG, "%s: node is %d, wanted 0..%d", model->graph.name, node,
                         model->graph.n_nodes - 1);
    struct node_store *n = node_at(model, node);
    if (quant == NULL || quant->bits == 0) {
        n->view.activation = (pare_quant){0};
        return PARE_OK;
    }
    pare_status status = check_stored(model, &n->view, err);
    if (status == PARE_OK)
        status = quant_check_signs(quant, &n->view, err);
    if (status == PARE_OK)
        status = quant_check_activation(quant, n->name, err);
    if (status != PARE_OK)
        return status;
    n->activation_scale = quant->scale[0];
    n->activation_zero_point = quant->zero_point == NULL ? 0 : quant->zero_point[0];
    n->view.activation = *quant;
    n->view.activation.scale = &n->activation_scale;
    n->view.activation.zero_point = &n->activation_zero_point;
    return PARE_OK;
}
