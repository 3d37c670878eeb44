/* SPDX-License-Identifier: MIT */
/* A number that a method learns while the network trains: a step size, a clipping level. */
#ifndef METHODS_COMMON_LEARNED_H
#define METHODS_COMMON_LEARNED_H

struct learned {
    double value;
    double gradient; /* added up by backward passes, cleared by a step */
    double velocity;
};

struct learned learned_at(double value);

/* One step of SGD with Nesterov momentum 0.9, as the trainer takes for the weights:
 * v = 0.9 v + g; value -= lr (g + 0.9 v). Without weight decay. */
void learned_step(struct learned *learned, double lr);

/* The same for a number that must stay positive: a step never takes away more than half of it. */
void learned_step_positive(struct learned *learned, double lr);

#endif
