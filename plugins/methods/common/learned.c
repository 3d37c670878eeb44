/* SPDX-License-Identifier: MIT */
#include "learned.h"

static const double MOMENTUM = 0.9;

struct learned learned_at(double value) {
    return (struct learned){.value = value};
}

void learned_step(struct learned *learned, double lr) {
    learned->velocity = MOMENTUM * learned->velocity + learned->gradient;
    learned->value -= lr * (learned->gradient + MOMENTUM * learned->velocity);
    learned->gradient = 0.0;
}

void learned_step_positive(struct learned *learned, double lr) {
    const double least = 0.5 * learned->value;
    learned_step(learned, lr);
    if (learned->value < least) { /* a NaN stays one, and is noticed */
        learned->value = least;
        learned->velocity = 0.0;
    }
}
