/* SPDX-License-Identifier: MIT */
/* What a method says it reads, writes and preserves, against what changes in a model. */
#include "check/case.h"
#include "check/life.h"
#include "check/live.h"
#include "core/alloc.h"
#include "core/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cases of one model. KEPT_*: an earlier step established this. */
enum effect_case {
    WRITES,
    WRITES_UNTRAINED,
    LEFT_OUT,
    READS,
    KEPT_MASK,
    KEPT_WEIGHT_QUANT,
    KEPT_ACTIVATION_QUANT,
    N_EFFECTS
};

static const char *const effect_names[N_EFFECTS] = {"what changes",
                                                    "what changes without training",
                                                    "a layer left out by the user",
                                                    "other images",
                                                    "after a pruner",
                                                    "after a quantizer of weights",
                                                    "after a quantizer of activations"};

static const char *aspect_name(uint32_t aspect) {
    static const char *const names[] = {"WEIGHTS",          "MASK",     "WEIGHT_QUANT",
                                        "ACTIVATION_QUANT", "TOPOLOGY", "ACTIVATIONS"};
    for (int k = 0; k < 6; k++)
        if (aspect == 1u << k)
            return names[k];
    return "?";
}

int64_t count_effects(struct check_case *c) {
    (void)c;
    return (int64_t)N_EFFECTS * LIFE_N_MODELS;
}

/* ---- differences ---- */

/* The first difference of each kind. */
struct difference {
    uint32_t aspects;
    char where[6][96]; /* by bit */
};

static void differs(struct difference *d, uint32_t aspect, const char *name) {
    int bit = __builtin_ctz(aspect);
    if (!(d->aspects & aspect))
        snprintf(d->where[bit], sizeof d->where[bit], "%s", name);
    d->aspects |= aspect;
}

static int same_quant(const pare_quant *a, const pare_quant *b) {
    if (a->bits != b->bits)
        return 0;
    if (a->bits == 0)
        return 1;
    if (a->qmin != b->qmin || a->qmax != b->qmax || a->axis != b->axis || a->n != b->n)
        return 0;
    for (int32_t k = 0; k < a->n; k++)
        if (a->scale[k] != b->scale[k] ||
            (a->zero_point ? a->zero_point[k] : 0) != (b->zero_point ? b->zero_point[k] : 0))
            return 0;
    return 1;
}

static int mask_at(const pare_weight *w, int64_t k) {
    return !w->mask || w->mask[k];
}

/* Values under the mask follow from it, and values of a quantized weight from its codes. */
static void compare_weight(const pare_weight *a, const pare_weight *b, struct difference *d) {
    for (int64_t k = 0; k < a->n_elems; k++) {
        if (mask_at(a, k) != mask_at(b, k))
            differs(d, PARE_MASK, b->name);
        else if (a->data[k] != b->data[k] && mask_at(b, k))
            differs(d, PARE_WEIGHTS, b->name);
    }
    int same_codes = a->quant.bits == 0 || b->quant.bits == 0 ||
                     memcmp(a->codes, b->codes, (size_t)a->n_elems * sizeof *a->codes) == 0;
    if (!same_quant(&a->quant, &b->quant) || !same_codes)
        differs(d, PARE_WEIGHT_QUANT, b->name);
}

static void compare_models(const struct model *a, const struct model *b, struct difference *d) {
    const pare_graph *g = &a->graph, *h = &b->graph;
    *d = (struct difference){0};
    int same_nodes = g->n_nodes == h->n_nodes;
    for (int32_t k = 0; same_nodes && k < g->n_nodes; k++) {
        const pare_node *x = g->nodes[k], *y = h->nodes[k];
        same_nodes = strcmp(x->name, y->name) == 0 && x->op == y->op &&
                     memcmp(x->dims, y->dims, sizeof x->dims) == 0;
    }
    if (!same_nodes || g->n_weights != h->n_weights)
        differs(d, PARE_TOPOLOGY, "the nodes");
    for (int32_t k = 0; k < h->n_weights; k++) {
        int32_t i = model_find_weight(a, h->weights[k]->name);
        if (i < 0 || g->weights[i]->n_elems != h->weights[k]->n_elems)
            differs(d, PARE_TOPOLOGY, h->weights[k]->name);
        else
            compare_weight(g->weights[i], h->weights[k], d);
    }
    for (int32_t k = 0; k < h->n_nodes; k++) {
        int32_t i = model_find_node(a, h->nodes[k]->name);
        if (i >= 0 && !same_quant(&g->nodes[i]->activation, &h->nodes[k]->activation))
            differs(d, PARE_ACTIVATION_QUANT, h->nodes[k]->name);
    }
}

/* ---- lives ---- */

struct effect {
    struct check_case *c;
    struct params *params;
    struct model *before, *after; /* after: what the life made of it */
    pare_status status;           /* of the life */
    struct error err;
    int is_own;
};

static void effect_run(struct effect *e, uint64_t data_seed, int skips_training,
                       const char *exclude) {
    const struct subject *s = e->c->subject;
    struct life life = {.entry = s->entry,
                        .params = e->params,
                        .options = live_options(e->c),
                        .data_seed = data_seed,
                        .skips_training = skips_training,
                        .note = e->c->note};
    life.options.exclude = &exclude;
    life.options.n_exclude = exclude ? 1 : 0;
    model_destroy(e->after);
    e->after = NULL;
    if (model_copy(e->before, &e->err, &e->after)) {
        e->is_own = 1;
        return;
    }
    life.model = e->after;
    e->status = life_run(&life, &e->err);
    /* A refusal without a message is the matter of `life`; here it is a refusal. */
}

/* 0 after a verdict. */
static int has_ended(struct effect *e) {
    if (e->is_own)
        case_fail(e->c, "pare check itself: %s", e->err.text);
    else if (e->status != PARE_OK)
        case_skip(e->c, "not brought to its end: %s", e->err.text);
    return e->status == PARE_OK && !e->is_own;
}

/* ---- cases ---- */

/* Training moves weights and running statistics by itself. */
static void judge_writes(struct effect *e, int skips_training) {
    const pare_method *m = e->c->subject->entry->method;
    struct difference d;
    uint32_t of_training = skips_training ? 0 : PARE_WEIGHTS;
    effect_run(e, 1, skips_training, NULL);
    if (!has_ended(e))
        return;
    compare_models(e->before, e->after, &d);
    uint32_t allowed = m->writes | of_training;
    if (m->writes & PARE_WEIGHT_QUANT) /* the values follow */
        allowed |= PARE_WEIGHTS;
    for (uint32_t bit = 1; bit <= PARE_TOPOLOGY; bit <<= 1)
        if (d.aspects & ~allowed & bit)
            case_fail(e->c, "changes %s (first: %s), which is not among its `writes`",
                      aspect_name(bit), d.where[__builtin_ctz(bit)]);
    if (m->writes && !d.aspects)
        case_remark(e->c, "changed nothing, with these parameters");
}

/* With its first layer left out: neither pruned nor quantized. Its values may change with the
 * topology (batch norm folded in) and by training. */
static void judge_left_out(struct effect *e) {
    const char *layer = NULL;
    struct difference d;
    for (int32_t k = 0; !layer && k < e->before->graph.n_nodes; k++)
        if (e->before->graph.nodes[k]->weights[PARE_ROLE_WEIGHT])
            layer = e->before->graph.nodes[k]->name;
    effect_run(e, 1, 1, layer);
    if (!has_ended(e))
        return;
    int32_t i = model_find_node(e->before, layer), k = model_find_node(e->after, layer);
    compare_models(e->before, e->after, &d);
    if (k < 0) {
        case_fail(e->c, "%s is gone, although the user left it out", layer);
        return;
    }
    const pare_weight *was = e->before->graph.nodes[i]->weights[PARE_ROLE_WEIGHT];
    const pare_weight *is = e->after->graph.nodes[k]->weights[PARE_ROLE_WEIGHT];
    int is_moved = (d.aspects & PARE_TOPOLOGY) != 0;
    if (was->n_elems != is->n_elems) {
        case_remark(e->c, "its shape follows that of its neighbours");
        return;
    }
    d = (struct difference){0};
    compare_weight(was, is, &d);
    if (d.aspects & ~(is_moved ? (uint32_t)PARE_WEIGHTS : 0u))
        case_fail(e->c, "%s is changed, although the user left its layer out (ask host->selected)",
                  is->name);
}

/* Calibrated on other images, with another result: it reads activations. */
static void judge_reads(struct effect *e) {
    const pare_method *m = e->c->subject->entry->method;
    struct model *first = NULL;
    struct difference d;
    if (m->get_extension && m->get_extension(PARE_METHOD_GRADIENTS)) {
        case_skip(e->c, "it sees gradients, which depend on the images, too");
        return;
    }
    effect_run(e, 1, 1, NULL);
    if (!has_ended(e))
        return;
    first = e->after;
    e->after = NULL;
    effect_run(e, 2, 1, NULL);
    if (has_ended(e)) {
        compare_models(first, e->after, &d);
        if (d.aspects && !(m->reads & PARE_ACTIVATIONS))
            case_fail(e->c,
                      "the result depends on activations (%s), and ACTIVATIONS is not among its "
                      "`reads`",
                      d.where[__builtin_ctz(d.aspects)]);
    }
    model_destroy(first);
}

/* ---- earlier steps ---- */

static pare_status quantize_weights(struct model *model, struct error *err) {
    for (int32_t k = 0; k < model->graph.n_weights; k++) {
        const pare_weight *w = model->graph.weights[k];
        const float scale = 1.0f / 64;
        const pare_quant quant = {
            .bits = 8, .qmin = -127, .qmax = 127, .axis = -1, .n = 1, .scale = &scale};
        if (w->role == PARE_ROLE_WEIGHT && model_set_weight_quant(model, k, &quant, NULL, err))
            return err->status;
    }
    return PARE_OK;
}

/* Where the model takes one. */
static pare_status quantize_activations(struct model *model) {
    struct error ignored;
    for (int32_t k = 0; k < model->graph.n_nodes; k++) {
        const float scale = 1.0f / 16;
        const int32_t zero = 0;
        const pare_quant quant = {.bits = 8,
                                  .qmin = -128,
                                  .qmax = 127,
                                  .axis = -1,
                                  .n = 1,
                                  .scale = &scale,
                                  .zero_point = &zero};
        model_set_activation_quant(model, k, &quant, &ignored);
    }
    return PARE_OK;
}

/* Pruned weights that are not 0 any more, quantized ones on another grid. A mask may grow. */
static void judge_weight_kept(struct effect *e, uint32_t aspect, const pare_weight *was,
                              const pare_weight *is) {
    for (int64_t k = 0; aspect == PARE_MASK && k < was->n_elems; k++)
        if (!mask_at(was, k) && is->data[k] != 0) {
            case_fail(e->c,
                      "%s: element %lld was pruned before and is %g now, although MASK is "
                      "among its `preserves`",
                      is->name, (long long)k, (double)is->data[k]);
            return;
        }
    if (aspect == PARE_WEIGHT_QUANT && !same_quant(&was->quant, &is->quant))
        case_fail(e->c,
                  "%s was quantized before and is no more as it was, although WEIGHT_QUANT is "
                  "among its `preserves`",
                  is->name);
}

static void judge_kept(struct effect *e, uint32_t aspect) {
    const pare_method *m = e->c->subject->entry->method;
    if (!(m->preserves & aspect)) {
        case_skip(e->c, "%s is not among its `preserves`", aspect_name(aspect));
        return;
    }
    pare_status status = aspect == PARE_MASK           ? life_prune_half(e->before, 1, &e->err)
                         : aspect == PARE_WEIGHT_QUANT ? quantize_weights(e->before, &e->err)
                                                       : quantize_activations(e->before);
    e->is_own = status != PARE_OK;
    if (!e->is_own)
        effect_run(e, 1, 0, NULL);
    if (!has_ended(e)) /* a refusal keeps everything, too */
        return;
    const pare_graph *g = &e->before->graph, *h = &e->after->graph;
    int is_folded = g->n_nodes != h->n_nodes; /* scales take the factors of batch norm */
    for (int32_t k = 0; k < h->n_weights; k++) {
        int32_t i = model_find_weight(e->before, h->weights[k]->name);
        if (i >= 0 && g->weights[i]->n_elems == h->weights[k]->n_elems &&
            !(is_folded && aspect == PARE_WEIGHT_QUANT))
            judge_weight_kept(e, aspect, g->weights[i], h->weights[k]);
    }
    for (int32_t k = 0; aspect == PARE_ACTIVATION_QUANT && k < h->n_nodes; k++) {
        int32_t i = model_find_node(e->before, h->nodes[k]->name);
        if (i >= 0 && g->nodes[i]->activation.bits &&
            !same_quant(&g->nodes[i]->activation, &h->nodes[k]->activation))
            case_fail(e->c,
                      "the value of %s was quantized before and is no more as it was, although "
                      "ACTIVATION_QUANT is among its `preserves`",
                      h->nodes[k]->name);
    }
}

void check_effects(struct check_case *c) {
    const struct check_options *o = c->subject->options;
    int which = (int)(c->index / N_EFFECTS), how = (int)(c->index % N_EFFECTS);
    struct effect e = {.c = c, .status = PARE_OK};
    case_label(c, "%s, %s", life_model_name(which), effect_names[how]);
    e.is_own = live_params(c->subject, o->settings, o->n_settings, &e.err, &e.params) ||
               life_make_model(which, o->seed, &e.err, &e.before);
    if (e.is_own)
        has_ended(&e);
    else if (how == WRITES || how == WRITES_UNTRAINED)
        judge_writes(&e, how == WRITES_UNTRAINED);
    else if (how == LEFT_OUT)
        judge_left_out(&e);
    else if (how == READS)
        judge_reads(&e);
    else
        judge_kept(&e, how == KEPT_MASK           ? PARE_MASK
                       : how == KEPT_WEIGHT_QUANT ? PARE_WEIGHT_QUANT
                                                  : PARE_ACTIVATION_QUANT);
    params_destroy(e.params);
    model_destroy(e.before);
    model_destroy(e.after);
}
