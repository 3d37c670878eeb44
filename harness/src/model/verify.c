/* SPDX-License-Identifier: MIT */
/* What must hold of any model, whoever changed it. */
#include "model/model_private.h"

#include <math.h>

static pare_status check_values(const pare_weight *w, struct error *err) {
    for (int64_t i = 0; i < w->n_elems; i++) {
        if (!isfinite(w->data[i]))
            return error_set(err, PARE_E_NUMERIC, "%s[%lld]: value is %g, wanted a finite number",
                             w->name, (long long)i, (double)w->data[i]);
        if (w->role == PARE_ROLE_VAR && w->data[i] < 0.0f)
            return error_set(err, PARE_E_RANGE, "%s[%lld]: variance is %g, wanted >= 0", w->name,
                             (long long)i, (double)w->data[i]);
        if (w->mask != NULL && w->mask[i] > 1)
            return error_set(err, PARE_E_RANGE, "%s[%lld]: mask is %d, wanted 0 or 1", w->name,
                             (long long)i, w->mask[i]);
        if (w->mask != NULL && w->mask[i] == 0 && w->data[i] != 0.0f)
            return error_set(err, PARE_E_STATE, "%s[%lld]: pruned, but its value is %g, wanted 0",
                             w->name, (long long)i, (double)w->data[i]);
    }
    return PARE_OK;
}

static pare_status check_quant(const pare_weight *w, struct error *err) {
    if (w->quant.bits == 0)
        return PARE_OK;
    pare_status status = quant_check_weight(&w->quant, w, w->name, err);
    if (status == PARE_OK)
        status = quant_check_codes(&w->quant, w->codes, w->mask, w->n_elems, w->name, err);
    if (status != PARE_OK)
        return status;
    int64_t per_scale = w->n_elems / w->quant.n;
    for (int64_t i = 0; i < w->n_elems; i++) {
        float wanted = weight_scale(&w->quant, i, per_scale) * (float)w->codes[i];
        if (w->data[i] != wanted)
            return error_set(err, PARE_E_STATE,
                             "%s[%lld]: value is %.9g, wanted scale * code = %.9g", w->name,
                             (long long)i, (double)w->data[i], (double)wanted);
    }
    return PARE_OK;
}

pare_status model_verify(const struct model *model, struct error *err) {
    const pare_graph *g = &model->graph;
    pare_status status = PARE_OK;
    for (int32_t i = 0; i < g->n_weights && status == PARE_OK; i++) {
        status = check_values(g->weights[i], err);
        if (status == PARE_OK)
            status = check_quant(g->weights[i], err);
    }
    for (int32_t i = 0; i < g->n_nodes && status == PARE_OK; i++) {
        if (g->nodes[i]->activation.bits == 0)
            continue;
        status = quant_check_signs(&g->nodes[i]->activation, g->nodes[i], err);
        if (status == PARE_OK)
            status = quant_check_activation(&g->nodes[i]->activation, g->nodes[i]->name, err);
    }
    return status;
}
