/* SPDX-License-Identifier: MIT */
/* Backward against central differences of forward, element by element.
 *
 * Quantizers round: their forward is a staircase, flat almost everywhere, and their backward is a
 * straight-through estimator (Bengio et al. 2013, arXiv 1308.3432), on purpose not its derivative.
 * Where forward turns out to be flat and backward is not, the verdict is "not applicable", in these
 * words, after two things that must hold of an estimator as well: it is linear in the gradient it
 * is given, and does not point against the slope over a distance of many steps. */
#include "check/case.h"
#include "check/life.h"
#include "check/live.h"
#include "core/alloc.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OF_WEIGHTS, OF_ACTIVATIONS, N_KINDS, MAX_PROBES = 48 };

/* Relative to the root mean square of the inputs: so small that smooth functions are straight, so
 * large that float rounding stays below the tolerance. */
static const double small_step = 4e-3, large_step = 0.5, far_step = 2;
static const double tolerance = 0.02;

int64_t count_gradients(struct check_case *c) {
    (void)c;
    return (int64_t)N_KINDS * LIFE_N_MODELS;
}

/* One forward and backward, of a weight or of the value that a node reads. */
struct pair {
    struct check_case *c;
    struct living *living;
    int is_weight;
    int32_t index;
    const char *name;
    int64_t n;
    float *x, *moved, *y, *z, *g, *gx, *g2, *gx2; /* (n) */
    double rms_x, rms_g;
    int adds; /* backward adds a term that does not depend on the gradient */
};

static const pare_graph *graph_of(const struct pair *p) {
    return &p->living->life->model->graph;
}

/* 0 after a verdict. */
static int forward(struct pair *p, const float *x, float *y) {
    const pare_method_train *t = p->living->train;
    struct error err;
    const char *call = p->is_weight ? "weight_forward" : "activation_forward";
    note_enter(p->c->note, p->living->life->entry->owner, call);
    pare_status status =
        p->is_weight ? t->weight_forward(p->living->self, graph_of(p), p->index, x, y)
                     : t->activation_forward(p->living->self, graph_of(p), p->index, x, y, p->n);
    if (life_status(p->living, status, call, &err))
        case_fail(p->c, "%s: %s", p->name, err.text);
    return status == PARE_OK;
}

static int backward(struct pair *p, const float *g, float *gx) {
    const pare_method_train *t = p->living->train;
    struct error err;
    const char *call = p->is_weight ? "weight_backward" : "activation_backward";
    note_enter(p->c->note, p->living->life->entry->owner, call);
    pare_status status =
        p->is_weight
            ? t->weight_backward(p->living->self, graph_of(p), p->index, p->x, g, gx)
            : t->activation_backward(p->living->self, graph_of(p), p->index, p->x, g, gx, p->n);
    if (life_status(p->living, status, call, &err))
        case_fail(p->c, "%s: %s", p->name, err.text);
    for (int64_t k = 0; status == PARE_OK && k < p->n; k++)
        if (!isfinite(gx[k])) {
            case_fail(p->c, "%s: element %lld of the gradient is %g", p->name, (long long)k,
                      (double)gx[k]);
            return 0;
        }
    return status == PARE_OK;
}

static double rms(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += (double)x[k] * (double)x[k];
    return n ? sqrt(sum / (double)n) : 0;
}

/* Central difference of sum g y, and of y[k] alone, with respect to x[k], over +-h. 0 after a
 * verdict. */
static int slope(struct pair *p, int64_t k, double h, double *out, double *own) {
    memcpy(p->moved, p->x, (size_t)p->n * sizeof *p->x);
    p->moved[k] = (float)((double)p->x[k] + h);
    double above = (double)p->moved[k];
    if (!forward(p, p->moved, p->y))
        return 0;
    p->moved[k] = (float)((double)p->x[k] - h);
    double width = above - (double)p->moved[k], sum = 0;
    if (!forward(p, p->moved, p->z))
        return 0;
    for (int64_t i = 0; i < p->n; i++)
        sum += (double)p->g[i] * ((double)p->y[i] - (double)p->z[i]);
    *out = sum / width;
    *own = ((double)p->y[k] - (double)p->z[k]) / width;
    return 1;
}

struct tally {
    int n_probes, n_match, n_wrong, n_straight, n_kinks, n_stairs;
    int64_t worst;
    double worst_slope, dot, norm_secant, norm_gradient;
};

/* Compares element k. Where half the distance gives another slope, there is a kink or a step
 * between, and nothing is said. */
static int probe(struct pair *p, int64_t k, struct tally *t) {
    double whole, half, secant, far, own, own_far, ignored, gradient = (double)p->gx[k];
    double noise = 1e-3 * p->rms_g;
    if (!slope(p, k, small_step * p->rms_x, &whole, &ignored) ||
        !slope(p, k, small_step / 2 * p->rms_x, &half, &own) ||
        !slope(p, k, large_step * p->rms_x, &secant, &ignored) ||
        !slope(p, k, far_step * p->rms_x, &far, &own_far))
        return 0;
    double size = fmax(fabs(whole), fabs(half));
    int n_match = t->n_match;
    t->n_probes++;
    t->dot += secant * gradient;
    t->norm_secant += secant * secant;
    t->norm_gradient += gradient * gradient;
    if (fabs(whole - half) > tolerance * size + noise) {
        t->n_kinks++;
    } else if (fabs(half - gradient) <= tolerance * fmax(size, fabs(gradient)) + noise) {
        t->n_match++;
    } else if (size <= noise) {
        t->n_straight++;
    } else if (t->n_wrong++ == 0) {
        t->worst = k;
        t->worst_slope = half;
    }
    /* A step of a staircase: nearly flat here, and steep over a distance. */
    t->n_stairs += t->n_match == n_match && fabs(own) < 0.15 * fabs(own_far);
    if (t->n_straight == 1 && size <= noise && t->n_wrong == 0) {
        t->worst = k;
        t->worst_slope = half;
    }
    return 1;
}

/* backward is linear in the gradient, but for a term that does not depend on it (a decay of masked
 * weights, say), which is taken out of gx: backward(-4 g) = -4 backward(g), but for rounding. */
static int is_linear(struct pair *p) {
    memset(p->g2, 0, (size_t)p->n * sizeof *p->g2);
    if (!backward(p, p->g2, p->gx2))
        return 0;
    for (int64_t k = 0; k < p->n; k++) {
        p->adds |= p->gx2[k] != 0;
        p->gx[k] -= p->gx2[k];
        p->g2[k] = -4.0f * p->g[k];
    }
    if (!backward(p, p->g2, p->z))
        return 0;
    for (int64_t k = 0; k < p->n; k++) {
        double wanted = -4 * (double)p->gx[k], got = (double)p->z[k] - (double)p->gx2[k];
        if (fabs(got - wanted) > 1e-4 * (fabs(wanted) + p->rms_g)) {
            case_fail(p->c,
                      "%s: the gradient given times -4 does not give that result times -4 (element "
                      "%lld: %g, and %g)",
                      p->name, (long long)k, (double)p->gx[k], got);
            return 0;
        }
    }
    return 1;
}

/* Is it the derivative of forward? */
static void judge(struct pair *p, const struct tally *t) {
    int n = t->n_probes - t->n_kinks;
    int is_staircase = 2 * t->n_kinks > t->n_probes || 5 * t->n_stairs >= 2 * t->n_probes ||
                       (t->n_straight > 0 && 4 * t->n_straight >= n);
    double cosine = t->dot / sqrt(t->norm_secant * t->norm_gradient + 1e-300);
    if (is_staircase) {
        if (t->norm_secant > 0 && cosine <= 0)
            case_fail(p->c,
                      "%s: forward is a staircase, and backward points against its slope over half "
                      "a standard deviation (cosine %.2f)",
                      p->name, cosine);
        else
            case_skip(p->c,
                      "%s: not a derivative: straight-through (forward is a staircase at %d of %d "
                      "elements, flat where backward is not at %d); it is linear in the "
                      "gradient%s, and its cosine with the slope over half a standard deviation is "
                      "%.2f",
                      p->name, t->n_stairs, t->n_probes, t->n_straight,
                      p->adds ? " but for a term of its own" : "", cosine);
        return;
    }
    if (t->n_wrong + t->n_straight > 0)
        case_fail(p->c,
                  "%s: element %lld: backward gives %g, differences of forward %g (%d of %d "
                  "elements differ by more than %.0f %%)",
                  p->name, (long long)t->worst, (double)p->gx[t->worst], t->worst_slope,
                  t->n_wrong + t->n_straight, n, 100 * tolerance);
}

/* Forward at the same place twice: a difference of it means nothing otherwise. */
static int is_function(struct pair *p) {
    if (!forward(p, p->x, p->y) || !forward(p, p->x, p->y) || !forward(p, p->x, p->z))
        return 0;
    if (memcmp(p->y, p->z, (size_t)p->n * sizeof *p->y) != 0) {
        case_skip(p->c, "%s: forward gives another result each time: no differences can be taken",
                  p->name);
        return 0;
    }
    return 1;
}

static void check_pair(struct pair *p) {
    struct tally t = {.worst = 0};
    p->rms_x = rms(p->x, p->n);
    p->rms_g = rms(p->g, p->n);
    if (p->rms_x == 0)
        p->rms_x = 1;
    if (!is_function(p) || !backward(p, p->g, p->gx) || !is_linear(p))
        return;
    int64_t every = p->n > MAX_PROBES ? p->n / MAX_PROBES : 1;
    for (int64_t k = every / 2; k < p->n; k += every)
        if (!probe(p, k, &t))
            return;
    judge(p, &t);
}

/* ---- which pairs ---- */

static int has_arrays(struct pair *p, float *memory[8]) {
    float **all[8] = {&p->x, &p->moved, &p->y, &p->z, &p->g, &p->gx, &p->g2, &p->gx2};
    int ok = 1;
    for (int k = 0; k < 8; k++) {
        *all[k] = memory[k] = alloc_array((size_t)p->n, sizeof(float));
        ok &= memory[k] != NULL;
    }
    return ok;
}

static void fill(struct pair *p, const float *data) {
    pare_rng rng;
    rng_init(&rng, 1, p->name, (uint64_t)p->is_weight);
    for (int64_t k = 0; k < p->n; k++) {
        p->x[k] = data ? data[k] : 3 * rng_float(&rng) - 1;
        p->g[k] = 2 * rng_float(&rng) - 1;
    }
}

static void check_one(struct check_case *c, struct living *living, const pare_node *node,
                      int is_weight) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    const pare_graph *graph = &living->life->model->graph;
    const int32_t *d = graph->nodes[node->inputs[0]]->dims;
    float *memory[8] = {NULL};
    struct pair p = {.c = c,
                     .living = living,
                     .is_weight = is_weight,
                     .index = is_weight ? w->index : node->index,
                     .name = is_weight ? w->name : node->name,
                     .n = is_weight ? w->n_elems : (int64_t)LIFE_BATCH * d[0] * d[1] * d[2]};
    if (has_arrays(&p, memory)) {
        fill(&p, is_weight ? w->data : NULL);
        check_pair(&p);
    } else {
        case_fail(c, "pare check itself: out of memory");
    }
    for (int k = 0; k < 8; k++)
        free(memory[k]);
}

static void check_all(struct check_case *c, struct living *living, int is_weight) {
    const pare_graph *graph = &living->life->model->graph;
    const pare_method_train *t = living->train;
    if (!t || (is_weight ? !t->weight_forward : !t->activation_forward)) {
        case_skip(c, "it has no forward and backward of %s", is_weight ? "weights" : "activations");
        return;
    }
    for (int32_t k = 0; k < graph->n_nodes; k++)
        if (host_selects(living->watch->inst, graph->nodes[k]) && c->report.verdict != CHECK_FAIL)
            check_one(c, living, graph->nodes[k], is_weight);
}

void check_gradient(struct check_case *c) {
    const struct check_options *o = c->subject->options;
    int which = (int)(c->index / N_KINDS), kind = (int)(c->index % N_KINDS);
    struct error err = {PARE_OK, ""};
    struct params *params = NULL;
    struct model *model = NULL;
    struct living living;
    case_label(c, "%s, %s", life_model_name(which), kind == OF_WEIGHTS ? "weights" : "activations");
    if (live_params(c->subject, o->settings, o->n_settings, &err, &params) ||
        life_make_model(which, o->seed, &err, &model)) {
        case_fail(c, "pare check itself: %s", err.text);
        params_destroy(params);
        return;
    }
    struct life life = {.entry = c->subject->entry,
                        .params = params,
                        .options = live_options(c),
                        .model = model,
                        .data_seed = o->seed,
                        .note = c->note};
    if (life_begin(&life, &err, &living)) {
        case_skip(c, "not brought to its training: %s", err.text);
    } else {
        check_all(c, &living, kind == OF_WEIGHTS);
        life_end(&living);
    }
    params_destroy(params);
    model_destroy(model);
}
