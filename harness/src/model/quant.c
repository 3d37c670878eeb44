/* SPDX-License-Identifier: MIT */
/* What makes a quantization valid. */
#include "model/model_private.h"

#include <math.h>

static pare_status check_scales(const pare_quant *q, const char *where, struct error *err) {
    double largest = fmax(fabs((double)q->qmin), fabs((double)q->qmax));
    if (q->scale == NULL)
        return error_set(err, PARE_E_ARG, "%s: there are no scales, wanted %d", where, q->n);
    for (int32_t i = 0; i < q->n; i++) {
        if (!isfinite(q->scale[i]) || !(q->scale[i] > 0.0f))
            return error_set(err, PARE_E_NUMERIC, "%s: scale %d is %g, wanted finite and > 0",
                             where, i, (double)q->scale[i]);
        if (!isfinite((float)(q->scale[i] * (float)largest)))
            return error_set(err, PARE_E_NUMERIC,
                             "%s: scale %d is %g, too large for codes up to %g", where, i,
                             (double)q->scale[i], largest);
    }
    return PARE_OK;
}

static pare_status check_weight_range(const pare_quant *q, const char *where, struct error *err) {
    int32_t largest = q->bits == 1 ? 1 : (1 << (q->bits - 1)) - 1;
    if (q->bits == 1 && (q->qmin != -1 || q->qmax != 1))
        return error_set(err, PARE_E_RANGE, "%s: codes of 1 bit are in [%d,%d], wanted [-1,1]",
                         where, q->qmin, q->qmax);
    if (q->qmax < 1 || q->qmax > largest || q->qmin != -q->qmax)
        return error_set(err, PARE_E_RANGE,
                         "%s: codes of %d bits are in [%d,%d], wanted [-m,m] with m in 1..%d",
                         where, q->bits, q->qmin, q->qmax, largest);
    return PARE_OK;
}

static pare_status check_bits(const pare_quant *q, const char *where, struct error *err) {
    if (q->bits < 1 || q->bits > 16)
        return error_set(err, PARE_E_RANGE, "%s: bits is %d, wanted 1..16", where, q->bits);
    return PARE_OK;
}

pare_status quant_check_weight(const pare_quant *q, const pare_weight *weight, const char *where,
                               struct error *err) {
    pare_status status = check_bits(q, where, err);
    if (status == PARE_OK)
        status = check_weight_range(q, where, err);
    if (status != PARE_OK)
        return status;
    if (q->axis != -1 && q->axis != 0)
        return error_set(err, PARE_E_RANGE,
                         "%s: axis is %d, wanted -1 (one scale) or 0 (one per output)", where,
                         q->axis);
    int64_t n = q->axis == 0 ? weight->dims[0] : 1;
    if (q->n != n)
        return error_set(err, PARE_E_ARG, "%s: %d scales with axis %d, wanted %lld", where, q->n,
                         q->axis, (long long)n);
    for (int32_t i = 0; q->zero_point != NULL && i < q->n; i++)
        if (q->zero_point[i] != 0)
            return error_set(err, PARE_E_UNSUPPORTED,
                             "%s: zero point %d is %d; weights are symmetric, wanted 0", where, i,
                             q->zero_point[i]);
    return check_scales(q, where, err);
}

pare_status quant_check_codes(const pare_quant *q, const int16_t *codes, const uint8_t *mask,
                              int64_t n_elems, const char *where, struct error *err) {
    for (int64_t i = 0; i < n_elems; i++) {
        if (codes[i] < q->qmin || codes[i] > q->qmax)
            return error_set(err, PARE_E_RANGE, "%s[%lld]: code is %d, wanted %d..%d", where,
                             (long long)i, codes[i], q->qmin, q->qmax);
        if (q->bits == 1 && codes[i] == 0)
            return error_set(err, PARE_E_RANGE, "%s[%lld]: code is 0, wanted -1 or 1", where,
                             (long long)i);
        if (mask != NULL && mask[i] == 0 && codes[i] != 0)
            return error_set(err, PARE_E_ARG,
                             "%s[%lld]: code is %d where the mask prunes, wanted 0", where,
                             (long long)i, codes[i]);
    }
    return PARE_OK;
}

pare_status quant_check_signs(const pare_quant *q, const pare_node *node, struct error *err) {
    if (q->bits != 1 || node->op == PARE_OP_QUANTIZE)
        return PARE_OK;
    return error_set(err, PARE_E_UNSUPPORTED,
                     "%s: only the value of a quantize node can have 1 bit; put one between this "
                     "node and its reader",
                     node->name);
}

pare_status quant_check_activation(const pare_quant *q, const char *where, struct error *err) {
    pare_status status = check_bits(q, where, err);
    if (status != PARE_OK)
        return status;
    if (q->bits == 1 && (q->qmin != -1 || q->qmax != 1))
        return error_set(err, PARE_E_RANGE,
                         "%s: codes of 1 bit are in [%d,%d], wanted [-1,1]: they are signs", where,
                         q->qmin, q->qmax);
    int32_t low = q->bits <= 8 ? INT8_MIN : INT16_MIN;
    int32_t high = q->bits <= 8 ? INT8_MAX : INT16_MAX;
    if (q->qmin < low || q->qmax > high || q->qmin >= q->qmax ||
        (q->bits > 1 && q->qmax - q->qmin >= (int32_t)1 << q->bits))
        return error_set(
            err, PARE_E_RANGE,
            "%s: codes of %d bits are in [%d,%d], wanted at most %d values within %d..%d", where,
            q->bits, q->qmin, q->qmax, 1 << q->bits, low, high);
    if (q->axis != -1 || q->n != 1)
        return error_set(err, PARE_E_UNSUPPORTED,
                         "%s: axis is %d with %d scales; values have one scale, wanted -1 and 1",
                         where, q->axis, q->n);
    int32_t zero = q->zero_point == NULL ? 0 : q->zero_point[0];
    if (zero < q->qmin || zero > q->qmax)
        return error_set(err, PARE_E_RANGE, "%s: zero point is %d, wanted %d..%d", where, zero,
                         q->qmin, q->qmax);
    if (q->bits == 1 && zero != 0)
        return error_set(err, PARE_E_RANGE, "%s: zero point is %d with 1 bit, wanted 0", where,
                         zero);
    return check_scales(q, where, err);
}
