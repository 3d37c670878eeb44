/* SPDX-License-Identifier: MIT */
/* A knapsack with one item of each class, by dynamic programming over the cost spent. */
#include "choose.h"

#include <math.h>
#include <string.h>

#define MOST_STEPS 131072

struct table {
    int64_t unit;    /* of cost */
    int32_t n_steps; /* the budget in units */
    double *least;   /* (n_steps + 1) score with exactly that many units spent; INFINITY: none */
    double *next;    /* (n_steps + 1) */
    uint8_t *took;   /* (n, n_steps + 1) the width with which a layer came to that cost */
};

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t unit_of(const struct choice *choices, int32_t n, int64_t budget) {
    int64_t unit = 0;
    for (int32_t k = 0; k < n; k++) {
        for (int32_t i = 0; i < choices[k].n; i++) {
            unit = common_divisor(choices[k].cost[i], unit);
        }
    }
    const int64_t least = (budget - 1) / MOST_STEPS + 1;
    return unit > least ? unit : least;
}

/* In units, rounded up; more than all of them: cannot be paid. */
static int32_t steps_of(const struct table *t, int64_t cost) {
    const int64_t steps = (cost - 1) / t->unit + 1;
    return steps > t->n_steps ? t->n_steps + 1 : (int32_t)steps;
}

static void add_layer(struct table *t, const struct choice *choice, uint8_t *took) {
    for (int32_t spent = 0; spent <= t->n_steps; spent++) {
        t->next[spent] = INFINITY;
    }
    for (int32_t k = 0; k < choice->n; k++) {
        const int32_t steps = steps_of(t, choice->cost[k]);
        for (int32_t spent = steps; spent <= t->n_steps; spent++) {
            const double score = t->least[spent - steps] + choice->score[k];
            if (score < t->next[spent]) {
                t->next[spent] = score;
                took[spent] = (uint8_t)k;
            }
        }
    }
    double *least = t->least;
    t->least = t->next;
    t->next = least;
}

static pare_status refuse(const pare_host *host, const struct choice *choices, int32_t n,
                          int64_t budget) {
    int64_t cheapest = 0;
    for (int32_t k = 0; k < n; k++) {
        int64_t least = choices[k].cost[0];
        for (int32_t i = 1; i < choices[k].n; i++) {
            least = choices[k].cost[i] < least ? choices[k].cost[i] : least;
        }
        cheapest += least;
    }
    return host->fail(host, PARE_E_RANGE,
                      "the budget is %lld bits, the narrowest widths take %lld: raise it or give "
                      "narrower widths",
                      (long long)budget, (long long)cheapest);
}

/* From the best end back to the choices that led there. */
static pare_status follow(const pare_host *host, const struct table *t, struct choice *choices,
                          int32_t n, int64_t budget) {
    int32_t best = 0;
    for (int32_t spent = 1; spent <= t->n_steps; spent++) {
        best = t->least[spent] < t->least[best] ? spent : best;
    }
    if (!isfinite(t->least[best])) {
        return refuse(host, choices, n, budget);
    }
    for (int32_t k = n - 1; k >= 0; k--) {
        choices[k].taken = t->took[(size_t)k * ((size_t)t->n_steps + 1) + (size_t)best];
        best -= steps_of(t, choices[k].cost[choices[k].taken]);
    }
    return PARE_OK;
}

pare_status choose(const pare_host *host, struct choice *choices, int32_t n, int64_t budget) {
    struct table t = {.unit = unit_of(choices, n, budget)};
    t.n_steps = (int32_t)(budget / t.unit);
    const size_t row = (size_t)t.n_steps + 1;
    t.least = host->alloc(host, row * sizeof *t.least);
    t.next = host->alloc(host, row * sizeof *t.next);
    t.took = host->alloc(host, (size_t)n * row * sizeof *t.took);
    pare_status status;
    if (t.least && t.next && t.took) {
        memset(t.took, 0, (size_t)n * row * sizeof *t.took);
        for (size_t spent = 0; spent < row; spent++) {
            t.least[spent] = spent == 0 ? 0.0 : INFINITY;
        }
        for (int32_t k = 0; k < n; k++) {
            add_layer(&t, &choices[k], t.took + (size_t)k * row);
        }
        status = follow(host, &t, choices, n, budget);
    } else {
        status = host->fail(host, PARE_E_NOMEM, "no memory for widths of %d layers", n);
    }
    host->free(host, t.took);
    host->free(host, t.next);
    host->free(host, t.least);
    return status;
}
