/* SPDX-License-Identifier: MIT */
/* Which steps make planes: those for which that is estimated to be faster, with the copies into
 * and out of planes that it takes. */
#include "tiled.h"

#include <string.h>

/* Less than this share of weights that are 0 has never been worth it. */
#define LEAST_ZEROS 0.3
/* Estimates are some per cent off, so dense it stays unless the sparse one is this much better. */
#define GAIN 0.93
/* Each round tries every step once; it has rarely taken a third. */
#define MAX_ROUNDS 6

enum { READ_DENSE = 1, READ_IN_PLANES = 2, MADE_IN_PLANES = 4 };

struct chooser {
    const struct tiled_plan *plan;
    const struct tiled_planes_kernels *kernels;
    int64_t *n_taps;             /* by step: weights that are not 0 */
    uint8_t *can;                /* by step: can it make planes? */
    uint8_t *makes;              /* by step: does it? */
    uint8_t *use;                /* by value: READ_DENSE and so on */
    struct tiled_planes *planes; /* by value */
};

/* ---- what can be done ---- */

static int same_shape(const struct lower_step *s, const struct tiled_layout *l) {
    return s->in_h == l->h && s->in_w == l->w && s->in_c == l->c;
}

static int can_make_planes(const struct chooser *c, const struct lower_step *s) {
    const struct lower_value *values = c->plan->low.values;
    for (int32_t i = 0; i < s->n_inputs; i++) {
        if (values[s->in[i]].rep != LOWER_F32 || !same_shape(s, &c->plan->layouts[s->in[i]])) {
            return 0;
        }
    }
    if (values[s->out].rep != LOWER_F32 || values[s->out].place != LOWER_ARENA) {
        return 0;
    }
    switch (s->kind) {
    case LOWER_CONV2D:
        return s->arith == LOWER_F32 && s->groups == 1 && s->stride_w <= 2 && s->n_inputs == 1;
    case LOWER_MAX_POOL:
        return s->pad_h == 0 && s->pad_w == 0; /* padding is not 0 to a maximum */
    case LOWER_ADD:
    case LOWER_RELU:
    case LOWER_AFFINE:
    case LOWER_SHORTCUT_A:
        return 1;
    default:
        return 0;
    }
}

/* Returns whether any layer is worth a thought. */
static int survey(struct chooser *c) {
    const struct lower_plan *low = &c->plan->low;
    int any = 0;
    for (int32_t k = 0; k < low->n_steps; k++) {
        const struct lower_step *s = &low->steps[k];
        c->can[k] = (uint8_t)can_make_planes(c, s);
        if (c->can[k] && s->kind == LOWER_CONV2D) {
            int64_t n_weights = (int64_t)s->out_c * s->kernel_h * s->kernel_w * s->in_c;
            c->n_taps[k] = tiled_count_taps(s);
            any |= (double)c->n_taps[k] < (1.0 - LEAST_ZEROS) * (double)n_weights;
        }
    }
    return any;
}

/* ---- estimates ---- */

static double dense_ns(const struct chooser *c, const struct lower_step *s) {
    const struct tiled_costs *costs = &c->kernels->costs;
    int32_t lanes = c->kernels->grid_h * c->kernels->grid_w;
    double positions = (double)s->out_h * s->out_w;
    if (s->kind == LOWER_CONV2D) {
        double vectors = positions * ((s->out_c + lanes - 1) / lanes);
        double window = (double)s->kernel_h * s->kernel_w * s->in_c;
        return vectors * (window * (double)costs->dense_step + (double)costs->dense_end);
    }
    return positions * s->out_c / lanes * (double)costs->vector;
}

static double planes_ns(const struct chooser *c, int32_t k) {
    const struct tiled_costs *costs = &c->kernels->costs;
    const struct lower_step *s = &c->plan->low.steps[k];
    const struct tiled_planes *out = &c->planes[s->out];
    double per_plane = (double)out->pitch_h * out->pitch_w;
    double moves = (double)tiled_count_moves(out) - per_plane;
    double ns = moves * s->out_c * (double)costs->move;
    if (s->kind != LOWER_CONV2D) {
        return ns + per_plane * s->out_c * (double)costs->vector;
    }
    int32_t n_passes;
    int32_t n_spots = tiled_cut_sparse(c->kernels, s, out, NULL, &n_passes);
    ns += (double)c->n_taps[k] *
          (per_plane * (double)costs->tap_vector + n_spots * (double)costs->tap);
    return ns + per_plane * s->out_c * n_passes * (double)costs->sparse_end;
}

/* Is value v read in another layout than it is made in? */
static int is_copied(const struct chooser *c, int32_t v) {
    return (c->use[v] & MADE_IN_PLANES) != 0 ? (c->use[v] & READ_DENSE) != 0
                                             : (c->use[v] & READ_IN_PLANES) != 0;
}

static void find_use(const struct chooser *c) {
    const struct lower_plan *low = &c->plan->low;
    memset(c->use, 0, (size_t)low->n_values);
    for (int32_t k = 0; k < low->n_steps; k++) {
        const struct lower_step *s = &low->steps[k];
        for (int32_t i = 0; i < s->n_inputs; i++) {
            c->use[s->in[i]] |= c->makes[k] ? READ_IN_PLANES : READ_DENSE;
        }
        c->use[s->out] |= c->makes[k] ? MADE_IN_PLANES : 0;
    }
}

/* Pitches, and what is around the tiles, as `makes` has it; 0 if that cannot be, or is too large.
 */
static int lay_out(const struct chooser *c) {
    const struct lower_plan *low = &c->plan->low;
    if (!tiled_find_pitches(c->plan, c->kernels, c->makes, c->planes)) {
        return 0;
    }
    for (int32_t k = 0; k < low->n_steps; k++) {
        const struct lower_step *s = &low->steps[k];
        for (int32_t i = 0; c->makes[k] && i < s->n_inputs; i++) {
            tiled_widen_planes(s, &c->planes[s->out], &c->planes[s->in[i]]);
        }
    }
    find_use(c);
    for (int32_t v = 0; v < low->n_values; v++) {
        struct tiled_layout l = c->plan->layouts[v];
        l.planes = c->planes[v];
        if ((c->use[v] & (READ_IN_PLANES | MADE_IN_PLANES)) != 0 &&
            !tiled_measure_planes(&l, c->kernels)) {
            return 0;
        }
    }
    return 1;
}

/* Of all steps as `makes` has it; a negative number if that cannot be. */
static double total_ns(const struct chooser *c) {
    const struct lower_plan *low = &c->plan->low;
    double ns = 0.0;
    if (!lay_out(c)) {
        return -1.0;
    }
    for (int32_t k = 0; k < low->n_steps; k++) {
        ns += c->makes[k] ? planes_ns(c, k) : dense_ns(c, &low->steps[k]);
    }
    for (int32_t v = 0; v < low->n_values; v++) {
        ns += is_copied(c, v)
                  ? (double)low->values[v].n_elems * (double)c->kernels->costs.planes_elem
                  : 0.0;
    }
    return ns;
}

/* ---- search ---- */

/* From all that can to those that pay, one step at a time: a step may follow its neighbours back.
 */
static void search(const struct chooser *c) {
    const size_t n = (size_t)c->plan->low.n_steps;
    memset(c->makes, 0, n);
    double dense = total_ns(c);
    memcpy(c->makes, c->can, n);
    double best = total_ns(c);
    for (int round = 0, changed = best >= 0.0; changed && round < MAX_ROUNDS; round++) {
        changed = 0;
        for (size_t k = 0; k < n; k++) {
            c->makes[k] = c->can[k] && !c->makes[k];
            double ns = total_ns(c);
            if (c->can[k] && ns >= 0.0 && ns < best) {
                best = ns;
                changed = 1;
            } else {
                c->makes[k] = c->can[k] && !c->makes[k];
            }
        }
    }
    if (best < 0.0 || best > GAIN * dense) {
        memset(c->makes, 0, n);
    }
}

/* ---- what was chosen ---- */

/* Gives value v the layout that it has in planes. */
static int set_planes(const pare_host *host, struct tiled_plan *plan,
                      const struct tiled_planes_kernels *kernels, int32_t v,
                      const struct tiled_planes *planes) {
    struct tiled_layout *l = &plan->layouts[v];
    l->planes = *planes;
    return tiled_measure_planes(l, kernels) && tiled_make_seams(host, kernels, l);
}

/* Makes step *k read a copy of its input i, which is `twin` of that value. */
static int read_copy(const pare_host *host, struct chooser *c, struct tiled_plan *plan, int32_t *k,
                     int32_t i, int32_t *twin) {
    const struct lower_step *s = &plan->low.steps[*k];
    const int32_t v = s->in[i];
    if (twin[v] == 0) {
        twin[v] = tiled_insert_copy(plan, *k, v, s->node);
        memmove(&c->makes[*k + 1], &c->makes[*k], (size_t)(plan->low.n_steps - 1 - *k));
        (*k)++;
        if (c->makes[*k] && !set_planes(host, plan, c->kernels, twin[v], &c->planes[v])) {
            return 0;
        }
    }
    plan->low.steps[*k].in[i] = twin[v];
    return 1;
}

static int apply(const pare_host *host, struct chooser *c, struct tiled_plan *plan, int32_t *twin) {
    int done = lay_out(c);
    for (int32_t k = 0; done && k < plan->low.n_steps; k++) {
        int32_t out = plan->low.steps[k].out;
        for (int32_t i = 0; done && i < plan->low.steps[k].n_inputs; i++) {
            int is_in_planes = plan->layouts[plan->low.steps[k].in[i]].planes.pitch_h > 0;
            if (is_in_planes != c->makes[k]) {
                done = read_copy(host, c, plan, &k, i, twin);
            }
        }
        if (done && c->makes[k]) {
            done = set_planes(host, plan, c->kernels, out, &c->planes[out]);
        }
    }
    return done;
}

int tiled_choose_planes(const pare_host *host, struct tiled_plan *plan,
                        const struct tiled_planes_kernels *kernels, enum tiled_sparsity sparsity) {
    const int64_t n_steps = plan->low.n_steps;
    const int64_t n_values = plan->low.n_values;
    if (sparsity == TILED_SPARSE_NEVER || kernels == NULL) {
        return 1;
    }
    struct chooser c = {.plan = plan, .kernels = kernels};
    c.n_taps = tiled_alloc_zeroed(host, n_steps, sizeof *c.n_taps);
    c.can = tiled_alloc_zeroed(host, n_steps, 1);
    c.makes = tiled_alloc_zeroed(host, TILED_STEPS_PER_STEP * n_steps, 1);
    c.use = tiled_alloc_zeroed(host, n_values, 1);
    c.planes = tiled_alloc_zeroed(host, n_values, sizeof *c.planes);
    int32_t *twin = tiled_alloc_zeroed(host, n_values + 3 * n_steps, sizeof *twin);
    int done = c.n_taps != NULL && c.can != NULL && c.makes != NULL && c.use != NULL &&
               c.planes != NULL && twin != NULL;
    int any = done && survey(&c);
    if (done && sparsity == TILED_SPARSE_ALWAYS) {
        memcpy(c.makes, c.can, (size_t)n_steps);
    } else if (any) {
        search(&c);
    }
    if (done && memchr(c.makes, 1, (size_t)n_steps) != NULL && lay_out(&c)) {
        done = apply(host, &c, plan, twin);
    }
    void *const all[] = {c.n_taps, c.can, c.makes, c.use, c.planes, twin};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        host->free(host, all[k]);
    }
    return done;
}
