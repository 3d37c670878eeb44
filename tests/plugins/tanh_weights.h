/* SPDX-License-Identifier: MIT */
/* DoReFa's weights (Zhou et al. 2016, eq. 9), of `dorefa` and `pact` alike. */
#ifndef TESTS_PLUGINS_TANH_WEIGHTS_H
#define TESTS_PLUGINS_TANH_WEIGHTS_H

#include "lowbit_fixtures.h"

static inline double tanh_scale(const float *w) {
    double largest = 0.0;
    for (int i = 0; i < W1; i++) {
        largest = fmax(largest, fabs(tanh((double)w[i])));
    }
    return largest;
}

/* 2 quantize_k(tanh(w) / (2 max |tanh w|) + 1/2) - 1, times the maximum; and the gradient against
 * differences of the same with each element's rounding error held. */
static inline void check_tanh_weights(const char *plugin, int bits) {
    char settings[64];
    snprintf(settings, sizeof settings, "weight_bits=%d first_last_bits=0", bits);
    struct trainer t = trainer_start(plugin, settings);
    float used[W1], g[W1], gw[W1];
    trainer_begin(&t, 10);
    fill("g", W1, 1.0f, g);
    weights_of(&t, t.weight1, used);
    weights_back(&t, t.weight1, g, gw);
    const float *w = weight_data(&t, t.weight1);
    const double m = tanh_scale(w), n = pow(2.0, bits) - 1.0, h = 1e-5;
    for (int i = 0; i < W1; i++) {
        const double x = tanh((double)w[i]) / (2.0 * m) + 0.5;
        assert_close((double)used[i], m * (2.0 * rint(n * x) / n - 1.0), 1e-6);
        const double up = tanh((double)w[i] + h) / (2.0 * m) + 0.5;
        const double down = tanh((double)w[i] - h) / (2.0 * m) + 0.5;
        const double error = rint(n * x) / n - x;
        const double wanted =
            (double)g[i] * m * (2.0 * (up + error) - 2.0 * (down + error)) / (2.0 * h);
        assert_close((double)gw[i], wanted, 1e-5);
    }
    trainer_finish(&t);
}

static inline void check_tanh_zeros(const char *plugin) {
    struct trainer t = trainer_start(plugin, "weight_bits=2 first_last_bits=0");
    struct error err = {PARE_OK, ""};
    uint8_t mask[W1];
    float used[W1];
    for (int i = 0; i < W1; i++) {
        mask[i] = i % 3 == 0;
    }
    must(model_set_mask(t.model, t.weight1, mask, &err), &err);
    trainer_begin(&t, 10);
    weights_of(&t, t.weight1, used);
    for (int i = 0; i < W1; i++) {
        assert_true((used[i] == 0.0f) == !mask[i]);
    }
    trainer_finish(&t);
}

#endif
