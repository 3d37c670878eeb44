/* SPDX-License-Identifier: MIT */
#include "greedy.h"
#include "factor.h"
#include "lowest.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* One thread's part: every n_strips-th channel. Channels are independent. */
struct strip {
    double *a;      /* (n,n): H^-1 of what is left, lower part; then H of what is kept */
    double *column; /* (n) */
    double *w;      /* (n) */
    int32_t *left;  /* (n) which weights are left */
    int32_t *free;  /* (n) of each group, how many may still be pruned */
    int failed;
};

struct search {
    const struct pruning *p;
    int32_t *order;        /* (n_rows, n) in which the weights of a channel go */
    float *cost;           /* (n_rows, n) of the weights in that order, never falling */
    const double *inverse; /* (n,n) H^-1 */
    int64_t n_strips;
    struct strip *strips;
};

/* ---- the order in which a channel loses its weights ---- */

/* Takes weight `at` out of those that are left: Gaussian elimination of its row and column, by
 * which the matrix shrinks in place. */
static void eliminate(struct strip *s, int64_t n, int64_t n_left, int64_t at) {
    const double pivot = s->a[at * n + at];
    for (int64_t i = 0; i < n_left; i++) {
        s->column[i] = i > at ? s->a[i * n + at] : s->a[at * n + i];
    }
    const double step = s->w[at] / pivot;
    for (int64_t i = 0; i < n_left; i++) {
        if (i == at) {
            continue;
        }
        const double *from = s->a + i * n;
        double *to = s->a + (i > at ? i - 1 : i) * n;
        const double factor = s->column[i] / pivot;
        const int64_t n_before = i > at ? at : i + 1;
        for (int64_t j = 0; j < n_before; j++) {
            to[j] = from[j] - factor * s->column[j];
        }
        for (int64_t j = at + 1; i > at && j <= i; j++) {
            to[j - 1] = from[j] - factor * s->column[j];
        }
        s->w[i] -= step * s->column[i];
    }
    memmove(s->w + at, s->w + at + 1, (size_t)(n_left - at - 1) * sizeof *s->w);
    memmove(s->left + at, s->left + at + 1, (size_t)(n_left - at - 1) * sizeof *s->left);
}

/* Groups follow each other along the input channels of each tap; the last of a tap may be smaller.
 */
static int64_t group_of(const struct pruning *p, int64_t weight) {
    const int64_t per_tap = (p->n_channels + p->m - 1) / p->m;
    return weight / p->n_channels * per_tap + weight % p->n_channels / p->m;
}

static void start_groups(const struct pruning *p, int32_t *free) {
    memset(free, 0, (size_t)p->n * sizeof *free);
    for (int64_t k = 0; k < p->n; k++) {
        free[group_of(p, k)]++;
    }
    for (int64_t k = 0; k < p->n; k++) {
        free[k] = free[k] > p->keep ? free[k] - (int32_t)p->keep : 0;
    }
}

/* The place of least score among those left, or -1; of equals the first. */
static int64_t cheapest(const struct pruning *p, const struct strip *s, int64_t n_left,
                        double *score) {
    int64_t best = -1;
    for (int64_t i = 0; i < n_left; i++) {
        const double cost = s->w[i] * s->w[i] / s->a[i * p->n + i];
        if ((best < 0 || cost < *score) && (p->m == 0 || s->free[group_of(p, s->left[i])] > 0)) {
            best = i;
            *score = cost;
        }
    }
    return best;
}

/* What is pruned already: the first such place, at no cost; -1: none is left. */
static int64_t pruned_before(const struct pruning *p, const struct strip *s, int64_t row,
                             int64_t n_left, int64_t from) {
    for (int64_t i = from; i < n_left; i++) {
        if (!p->mask[row * p->n + s->left[i]]) {
            return i;
        }
    }
    return -1;
}

/* Fills order and cost of a channel; what no group lets go has no end of a cost. */
static void trace(const struct search *search, struct strip *s, int64_t row) {
    const struct pruning *p = search->p;
    const int64_t n = p->n;
    int32_t *order = search->order + row * n;
    float *cost = search->cost + row * n;
    memcpy(s->a, search->inverse, (size_t)(n * n) * sizeof *s->a);
    for (int64_t i = 0; i < n; i++) {
        s->left[i] = (int32_t)i;
        s->w[i] = (double)p->w[row * n + i];
    }
    if (p->m > 0) {
        start_groups(p, s->free);
    }
    double highest = 0.0;
    int64_t gone = 0, first = 0; /* places before `first` were not pruned before */
    for (; gone < n; gone++) {
        const int64_t n_left = n - gone;
        double score = -1.0;
        int64_t at = first >= 0 ? pruned_before(p, s, row, n_left, first) : -1;
        first = at;
        if (at < 0) {
            at = cheapest(p, s, n_left, &score);
        }
        if (at < 0) {
            break;
        }
        highest = fmax(highest, score);
        order[gone] = s->left[at];
        cost[gone] = score < 0.0 ? -1.0f : (float)highest;
        if (p->m > 0) {
            s->free[group_of(p, s->left[at])]--;
        }
        eliminate(s, n, n_left, at);
    }
    for (int64_t i = 0; i < n - gone; i++) {
        order[gone + i] = s->left[i];
        cost[gone + i] = INFINITY;
    }
}

/* ---- the best values of what is kept ---- */

/* With the weights in `gone` at 0 the error is least at
 *     w_kept + H_kept,kept^-1 H_kept,gone w_gone */
static void refit(const struct search *search, struct strip *s, int64_t row, int64_t n_gone) {
    const struct pruning *p = search->p;
    const int64_t n = p->n;
    const int32_t *gone = search->order + row * n;
    const int32_t *kept = gone + n_gone;
    const int64_t n_kept = n - n_gone;
    float *w = p->w + row * n;
    for (int64_t i = 0; i < n_kept; i++) {
        for (int64_t j = 0; j <= i; j++) {
            s->a[i * n_kept + j] = p->h[kept[i] * n + kept[j]];
        }
        s->w[i] = 0.0;
        for (int64_t j = 0; j < n_gone; j++) {
            s->w[i] += p->h[kept[i] * n + gone[j]] * (double)w[gone[j]];
        }
    }
    if (factor_cholesky(s->a, n_kept) != 0) {
        s->failed = 1;
        return;
    }
    factor_solve(s->a, n_kept, s->w);
    for (int64_t i = 0; i < n_kept; i++) {
        w[kept[i]] = (float)((double)w[kept[i]] + s->w[i]);
    }
    for (int64_t j = 0; j < n_gone; j++) {
        w[gone[j]] = 0.0f;
        p->mask[row * n + gone[j]] = 0;
    }
}

/* ---- all channels ---- */

static void trace_strip(void *arg, int64_t index) {
    const struct search *search = arg;
    for (int64_t row = index; row < search->p->n_rows; row += search->n_strips) {
        trace(search, &search->strips[index], row);
    }
}

/* keep[]: 0 for what goes, which of a channel are its first ones. */
struct choice {
    const struct search *search;
    const uint8_t *keep; /* (n_rows, n), in order */
};

static void refit_strip(void *arg, int64_t index) {
    const struct choice *choice = arg;
    const struct search *search = choice->search;
    const int64_t n = search->p->n;
    for (int64_t row = index; row < search->p->n_rows; row += search->n_strips) {
        int64_t n_gone = 0;
        while (n_gone < n && !choice->keep[row * n + n_gone]) {
            n_gone++;
        }
        refit(search, &search->strips[index], row, n_gone);
    }
}

/* Costs never fall within a channel, so the lowest of all channels are the first of each. */
static void choose(const struct search *search, int64_t *counts, uint8_t *keep) {
    const struct pruning *p = search->p;
    const int64_t n = p->n * p->n_rows;
    memset(keep, 1, (size_t)n);
    if (p->m == 0) {
        lowest_drop(search->cost, n, p->n_pruned, counts, keep);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        keep[i] = (uint8_t)(search->cost[i] > FLT_MAX);
    }
}

static int invert(const struct pruning *p, double *inverse) {
    const int64_t n = p->n;
    memcpy(inverse, p->h, (size_t)(n * n) * sizeof *inverse);
    if (factor_cholesky(inverse, n) != 0) {
        return -1;
    }
    factor_finish_inverse(inverse, n);
    return 0;
}

/* ---- memory ---- */

struct memory {
    const pare_host *host;
    struct search search;
    double *inverse;
    uint8_t *keep;
    int64_t *counts;
};

static void release(struct memory *m) {
    for (int64_t k = 0; m->search.strips && k < m->search.n_strips; k++) {
        m->host->free(m->host, m->search.strips[k].a);
        m->host->free(m->host, m->search.strips[k].left);
    }
    m->host->free(m->host, m->search.strips);
    m->host->free(m->host, m->search.order);
    m->host->free(m->host, m->search.cost);
    m->host->free(m->host, m->inverse);
    m->host->free(m->host, m->keep);
    m->host->free(m->host, m->counts);
}

static int make_strip(const pare_host *host, int64_t n, struct strip *s) {
    s->a = host->alloc(host, (size_t)(n * n + 2 * n) * sizeof *s->a);
    s->left = host->alloc(host, 2 * (size_t)n * sizeof *s->left);
    if (s->a && s->left) {
        s->column = s->a + n * n;
        s->w = s->column + n;
        s->free = s->left + n;
    }
    return s->a && s->left;
}

static int reserve(const pare_host *host, const struct pruning *p, struct memory *m) {
    const size_t n = (size_t)p->n, n_all = n * (size_t)p->n_rows;
    const int64_t n_threads = host->n_threads(host);
    *m = (struct memory){.host = host, .search = {.p = p}};
    m->search.n_strips = p->n_rows < n_threads ? p->n_rows : n_threads;
    const size_t n_strips = (size_t)m->search.n_strips;
    m->search.strips = host->alloc(host, n_strips * sizeof *m->search.strips);
    if (m->search.strips) {
        memset(m->search.strips, 0, n_strips * sizeof *m->search.strips);
    }
    m->search.order = host->alloc(host, n_all * sizeof *m->search.order);
    m->search.cost = host->alloc(host, n_all * sizeof *m->search.cost);
    m->inverse = host->alloc(host, n * n * sizeof *m->inverse);
    m->keep = host->alloc(host, n_all);
    m->counts = host->alloc(host, LOWEST_N_COUNTS * sizeof *m->counts);
    m->search.inverse = m->inverse;
    int ok =
        m->search.strips && m->search.order && m->search.cost && m->inverse && m->keep && m->counts;
    for (size_t k = 0; k < n_strips && ok; k++) {
        ok = make_strip(host, p->n, &m->search.strips[k]);
    }
    return ok;
}

pare_status greedy_prune(const pare_host *host, const struct pruning *pruning, const char *layer) {
    struct memory m;
    int is_positive = 1;
    pare_status status = PARE_OK;
    if (!reserve(host, pruning, &m)) {
        status = host->fail(host, PARE_E_NOMEM, "%s: no memory to choose among %lld weights", layer,
                            (long long)(pruning->n * pruning->n_rows));
        goto cleanup;
    }
    is_positive = invert(pruning, m.inverse) == 0;
    if (is_positive) {
        const struct choice choice = {&m.search, m.keep};
        host->parallel_for(host, m.search.n_strips, trace_strip, &m.search);
        choose(&m.search, m.counts, m.keep);
        host->parallel_for(host, m.search.n_strips, refit_strip, (void *)(uintptr_t)&choice);
        for (int64_t k = 0; k < m.search.n_strips; k++) {
            is_positive &= !m.search.strips[k].failed;
        }
    }
    if (!is_positive) {
        status = host->fail(host, PARE_E_NUMERIC,
                            "%s: its second derivatives are not positive definite in fp64; try a "
                            "larger damping",
                            layer);
    }
cleanup:
    release(&m);
    return status;
}
