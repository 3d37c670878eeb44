/* SPDX-License-Identifier: MIT */
#include "soft_round.h"

#include <math.h>

static const float ZETA = 1.1f, GAMMA = -0.1f; /* the paper's stretch of the sigmoid */

float soft_sigmoid(float v) {
    return 1.0f / (1.0f + expf(-v));
}

static float stretched(float sigmoid) {
    return (ZETA - GAMMA) * sigmoid + GAMMA;
}

float soft_h(float sigmoid) {
    const float h = stretched(sigmoid);
    return h < 0.0f ? 0.0f : h > 1.0f ? 1.0f : h;
}

float soft_start(float w0, float scale, struct soft_weight *weight, float qmax) {
    const float code = w0 / scale;
    *weight = (struct soft_weight){floorf(code), scale, qmax};
    const float rest = code - weight->floor;
    return -logf((ZETA - GAMMA) / (rest - GAMMA) - 1.0f);
}

static float clip(float code, float qmax) {
    return code < -qmax ? -qmax : code > qmax ? qmax : code;
}

float soft_value(const struct soft_weight *weight, float sigmoid) {
    return weight->scale * clip(weight->floor + soft_h(sigmoid), weight->qmax);
}

int16_t soft_code(const struct soft_weight *weight, float v) {
    return (int16_t)clip(weight->floor + (v >= 0.0f ? 1.0f : 0.0f), weight->qmax);
}

float soft_gradient(const struct soft_weight *weight, float sigmoid, float g, float strength,
                    float beta) {
    const float h = stretched(sigmoid);
    if (!(h > 0.0f && h < 1.0f)) {
        return 0.0f;
    }
    const float code = weight->floor + h;
    float by_h = fabsf(code) < weight->qmax ? g * weight->scale : 0.0f;
    if (strength > 0.0f) {
        const float side = 2.0f * h - 1.0f;
        by_h -= copysignf(2.0f * strength * beta * powf(fabsf(side), beta - 1.0f), side);
    }
    return by_h * (ZETA - GAMMA) * sigmoid * (1.0f - sigmoid);
}
