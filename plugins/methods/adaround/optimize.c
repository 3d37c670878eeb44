/* SPDX-License-Identifier: MIT */
#include "optimize.h"
#include "dense.h"
#include "soft_round.h"

#include <math.h>
#include <string.h>

/* Rows and channels of one call on a thread; the split does not depend on their number. */
enum { ROW_BAND = 16, CHANNEL_BAND = 4 };

struct search {
    const pare_host *host;
    const struct optimize_task *task;
    const struct optimize_rule *rule;
    int64_t n_batch;           /* rows of a step */
    struct soft_weight *soft;  /* (n_channels, n) */
    float *v, *first, *second; /* (n_channels, n) what is learned, and Adam's moments */
    float *sigmoid;            /* (n_channels, n) of v */
    float *gradient;           /* (n_channels, n) with respect to the weights */
    float *turned;             /* (n, n_channels) the weights of this step */
    float *x;                  /* (n_batch, n) */
    float *error;              /* (n_batch, n_channels): of the output; its gradient */
    int64_t *images;           /* (batch) of this step */
    uint64_t noise;            /* of this step */
    /* of this step */
    float strength, beta, step_size, second_factor;
};

/* ---- one step ---- */

/* Numbers of a place, without a state: splitmix64. */
static uint64_t scramble(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A row of the step: as it is now, or, value by value, as it was in the float network. Wei et al.
 * 2022 (arXiv 2203.05740), section 3.3. */
static void gather(const struct search *s, int64_t row) {
    const struct optimize_task *t = s->task;
    const int64_t from = s->images[row / t->n_taken] * t->n_taken + row % t->n_taken;
    float *to = s->x + row * t->n;
    memcpy(to, t->x + from * t->n, (size_t)t->n * sizeof *to);
    if (!t->float_x) {
        return;
    }
    const float *other = t->float_x + from * t->n;
    const uint16_t limit = (uint16_t)(s->rule->drop * 65535.0);
    uint64_t bits = 0;
    for (int64_t i = 0; i < t->n; i++, bits >>= 16) {
        if (i % 4 == 0) {
            bits = scramble(s->noise + (uint64_t)(row * t->n + i));
        }
        to[i] = (uint16_t)bits < limit ? other[i] : to[i];
    }
}

static void multiply(const struct search *s, const float *x, int64_t n_rows, float *y) {
    const struct optimize_task *t = s->task;
    const struct dense product = {.a = x,
                                  .b = s->turned,
                                  .c = y,
                                  .n_i = n_rows,
                                  .n_j = t->n_channels,
                                  .n_t = t->n,
                                  .a_i = t->n,
                                  .a_t = 1,
                                  .b_t = t->n_channels,
                                  .c_i = t->n_channels};
    dense_multiply(&product);
}

/* y, what the layer computes: becomes the error, behind the relu where there is one. */
static void subtract(const struct optimize_task *t, const float *wanted, float *y) {
    for (int64_t c = 0; c < t->n_channels; c++) {
        const float bias = t->bias ? t->bias[c] : 0.0f;
        float got = y[c] + bias, want = wanted[c] + bias;
        if (t->has_relu) {
            const int is_off = got <= 0.0f;
            want = want > 0.0f ? want : 0.0f;
            y[c] = is_off ? 0.0f : got - want;
        } else {
            y[c] = got - want;
        }
    }
}

static void forward_band(void *arg, int64_t band) {
    const struct search *s = arg;
    const struct optimize_task *t = s->task;
    const int64_t first = band * ROW_BAND;
    const int64_t n = s->n_batch - first < ROW_BAND ? s->n_batch - first : ROW_BAND;
    for (int64_t r = first; r < first + n; r++) {
        gather(s, r);
    }
    multiply(s, s->x + first * t->n, n, s->error + first * t->n_channels);
    for (int64_t r = first; r < first + n; r++) {
        const int64_t from = s->images[r / t->n_taken] * t->n_taken + r % t->n_taken;
        subtract(t, t->wanted + from * t->n_channels, s->error + r * t->n_channels);
    }
}

static int is_pruned(const struct optimize_task *t, int64_t at) {
    return t->mask && !t->mask[at];
}

/* Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1, and the weights of the next step. */
static void learn(const struct search *s, int64_t channel) {
    const struct optimize_task *t = s->task;
    const float factor = 2.0f / (float)s->n_batch;
    for (int64_t i = 0; i < t->n; i++) {
        const int64_t at = channel * t->n + i;
        if (is_pruned(t, at)) {
            continue;
        }
        const float g = soft_gradient(&s->soft[at], s->sigmoid[at], factor * s->gradient[at],
                                      s->strength, s->beta);
        s->first[at] = 0.9f * s->first[at] + 0.1f * g;
        s->second[at] = 0.999f * s->second[at] + 0.001f * g * g;
        s->v[at] -= s->step_size * s->first[at] / (sqrtf(s->second[at]) * s->second_factor + 1e-8f);
        s->sigmoid[at] = soft_sigmoid(s->v[at]);
        s->turned[i * t->n_channels + channel] = soft_value(&s->soft[at], s->sigmoid[at]);
    }
}

static void learn_band(void *arg, int64_t band) {
    const struct search *s = arg;
    const struct optimize_task *t = s->task;
    const int64_t first = band * CHANNEL_BAND;
    const int64_t left = t->n_channels - first;
    const struct dense product = {.a = s->error + first,
                                  .b = s->x,
                                  .c = s->gradient + first * t->n,
                                  .n_i = left < CHANNEL_BAND ? left : CHANNEL_BAND,
                                  .n_j = t->n,
                                  .n_t = s->n_batch,
                                  .a_i = 1,
                                  .a_t = t->n_channels,
                                  .b_t = t->n,
                                  .c_i = t->n};
    dense_multiply(&product);
    for (int64_t c = first; c < first + product.n_i; c++) {
        learn(s, c);
    }
}

/* beta falls from 20 to 2 after the warm-up. */
static void plan_step(struct search *s, int64_t step, pare_rng *rng) {
    const struct optimize_task *t = s->task;
    const double part = (double)step / (double)s->rule->iterations;
    const double warmup = s->rule->warmup;
    s->strength = part < warmup ? 0.0f : (float)s->rule->strength;
    s->beta = part < warmup ? 20.0f : (float)(20.0 - 18.0 * (part - warmup) / (1.0 - warmup));
    s->step_size = (float)(s->rule->lr / (1.0 - pow(0.9, (double)step + 1.0)));
    s->second_factor = (float)(1.0 / sqrt(1.0 - pow(0.999, (double)step + 1.0)));
    const uint64_t n_images = (uint64_t)(t->n_rows / t->n_taken);
    for (int64_t k = 0; k < s->n_batch / t->n_taken; k++) {
        s->images[k] = (int64_t)(s->host->rng_next(rng) % n_images);
    }
    s->noise = s->host->rng_next(rng);
}

/* ---- before and after ---- */

static void start(struct search *s) {
    const struct optimize_task *t = s->task;
    for (int64_t c = 0; c < t->n_channels; c++) {
        for (int64_t i = 0; i < t->n; i++) {
            const int64_t at = c * t->n + i;
            s->v[at] = soft_start(t->w[at], t->scale[c], &s->soft[at], (float)t->qmax);
            s->sigmoid[at] = soft_sigmoid(s->v[at]);
            s->first[at] = 0.0f;
            s->second[at] = 0.0f;
            s->turned[i * t->n_channels + c] =
                is_pruned(t, at) ? 0.0f : soft_value(&s->soft[at], s->sigmoid[at]);
        }
    }
}

/* The mean squared error of all samples with the codes as they are. */
static double error_of(struct search *s) {
    const struct optimize_task *t = s->task;
    double sum = 0.0;
    for (int64_t i = 0; i < t->n * t->n_channels; i++) {
        const int64_t c = i / t->n;
        s->turned[i % t->n * t->n_channels + c] = t->scale[c] * (float)t->codes[i];
    }
    for (int64_t at = 0; at < t->n_rows; at += s->n_batch) {
        const int64_t n = t->n_rows - at < s->n_batch ? t->n_rows - at : s->n_batch;
        multiply(s, t->x + at * t->n, n, s->error);
        for (int64_t r = 0; r < n; r++) {
            const float *wanted = t->wanted + (at + r) * t->n_channels;
            for (int64_t c = 0; c < t->n_channels; c++) {
                const double bias = t->bias ? (double)t->bias[c] : 0.0;
                double got = (double)s->error[r * t->n_channels + c] + bias;
                double want = (double)wanted[c] + bias;
                got = t->has_relu ? fmax(got, 0.0) : got;
                want = t->has_relu ? fmax(want, 0.0) : want;
                sum += (got - want) * (got - want);
            }
        }
    }
    return sum / (double)t->n_rows;
}

static void nearest_codes(const struct optimize_task *t) {
    for (int64_t i = 0; i < t->n * t->n_channels; i++) {
        const double code = rint((double)t->w[i] / (double)t->scale[i / t->n]);
        t->codes[i] = (int16_t)(is_pruned(t, i) ? 0 : fmin(fmax(code, -t->qmax), t->qmax));
    }
}

static void learned_codes(const struct search *s) {
    const struct optimize_task *t = s->task;
    for (int64_t i = 0; i < t->n * t->n_channels; i++) {
        t->codes[i] = is_pruned(t, i) ? 0 : soft_code(&s->soft[i], s->v[i]);
    }
}

static void run(struct search *s, pare_rng *rng, struct optimize_result *result) {
    const struct optimize_task *t = s->task;
    nearest_codes(t);
    result->nearest = error_of(s);
    start(s);
    for (int64_t step = 0; step < s->rule->iterations; step++) {
        plan_step(s, step, rng);
        s->host->parallel_for(s->host, (s->n_batch + ROW_BAND - 1) / ROW_BAND, forward_band, s);
        s->host->parallel_for(s->host, (t->n_channels + CHANNEL_BAND - 1) / CHANNEL_BAND,
                              learn_band, s);
    }
    learned_codes(s);
    result->learned = error_of(s);
    if (result->learned > result->nearest) {
        nearest_codes(t);
    }
}

/* One block for all floats. */
static float *reserve(struct search *s) {
    const struct optimize_task *t = s->task;
    const size_t n_weights = (size_t)(t->n * t->n_channels);
    const size_t n_x = (size_t)(s->n_batch * t->n) + DENSE_SLACK;
    const size_t n_error = (size_t)(s->n_batch * t->n_channels);
    const size_t n_turned = n_weights + DENSE_SLACK;
    const size_t n = 5 * n_weights + n_turned + n_x + n_error;
    float *all = s->host->alloc(s->host, n * sizeof *all);
    if (all) {
        memset(all, 0, n * sizeof *all);
        s->turned = all;
        s->x = s->turned + n_turned;
        s->v = s->x + n_x;
        s->first = s->v + n_weights;
        s->second = s->first + n_weights;
        s->sigmoid = s->second + n_weights;
        s->gradient = s->sigmoid + n_weights;
        s->error = s->gradient + n_weights;
    }
    return all;
}

pare_status optimize_codes(const pare_host *host, const struct optimize_task *task,
                           const struct optimize_rule *rule, pare_rng *rng,
                           struct optimize_result *result) {
    struct search s = {.host = host, .task = task, .rule = rule};
    const int64_t n_images = task->n_rows / task->n_taken;
    s.n_batch = (rule->batch < n_images ? rule->batch : n_images) * task->n_taken;
    float *all = reserve(&s);
    s.soft = host->alloc(host, (size_t)(task->n * task->n_channels) * sizeof *s.soft);
    s.images = host->alloc(host, (size_t)rule->batch * sizeof *s.images);
    pare_status status = PARE_OK;
    if (all && s.soft && s.images) {
        run(&s, rng, result);
    } else {
        status = host->fail(host, PARE_E_NOMEM, "no memory to learn %lld weights",
                            (long long)(task->n * task->n_channels));
    }
    host->free(host, s.images);
    host->free(host, s.soft);
    host->free(host, all);
    return status;
}
