/* SPDX-License-Identifier: MIT */
#include "pruner.h"
#include "lowest.h"
#include "topk.h"

#include <string.h>

void pruner_clear(struct pruner *p) {
    const pare_host *host = p->host;
    host->free(host, p->layers);
    host->free(host, p->goals);
    host->free(host, p->masks);
    host->free(host, p->keep);
    host->free(host, p->scores);
    host->free(host, p->counts);
    host->free(host, p->items);
    host->free(host, p->saved_data);
    host->free(host, p->saved_masks);
}

/* ---- preparing ---- */

static pare_status find_layers(struct pruner *p, const pare_graph *graph,
                               const struct target *target) {
    const pare_host *host = p->host;
    p->layers = host->alloc(host, (size_t)target->n * sizeof *p->layers);
    if (!p->layers) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a list of %d layers", target->n);
    }
    for (p->n_layers = 0; p->n_layers < target->n; p->n_layers++) {
        struct pruner_layer *layer = &p->layers[p->n_layers];
        const pare_weight *w = graph->weights[target->weights[p->n_layers]];
        *layer = (struct pruner_layer){w->index, {0, 0, 0}, p->n_elems, p->n_units};
        const pare_status status = units_of(host, w, p->options.structure, &layer->units);
        if (status < 0) {
            return status;
        }
        p->n_elems += w->n_elems;
        p->n_units += layer->units.n;
    }
    return PARE_OK;
}

static pare_status make_room(struct pruner *p) {
    const pare_host *host = p->host;
    p->n_goals = p->options.is_global ? 1 : p->n_layers;
    p->goals = host->alloc(host, (size_t)p->n_goals * sizeof *p->goals);
    p->masks = host->alloc(host, (size_t)p->n_elems);
    p->keep = host->alloc(host, (size_t)p->n_units);
    p->scores = host->alloc(host, (size_t)p->n_units * sizeof *p->scores);
    int is_made = p->goals && p->masks && p->keep && p->scores;
    if (p->options.ties == TIES_PYTORCH) {
        p->items = host->alloc(host, (size_t)p->n_units * sizeof *p->items);
        is_made = is_made && p->items;
    } else {
        p->counts = host->alloc(host, LOWEST_N_COUNTS * sizeof *p->counts);
        is_made = is_made && p->counts;
    }
    return is_made ? PARE_OK
                   : host->fail(host, PARE_E_NOMEM, "no memory for masks of %lld weights",
                                (long long)p->n_elems);
}

/* Which units have anything left, over all layers. */
static void look(struct pruner *p, const pare_graph *graph) {
    for (int32_t k = 0; k < p->n_layers; k++) {
        const struct pruner_layer *layer = &p->layers[k];
        units_kept(&layer->units, graph->weights[layer->weight]->mask, p->keep + layer->first_unit);
    }
}

/* The layers that goal g spans: [*first, *end). */
static void span_of(const struct pruner *p, int32_t g, int32_t *first, int32_t *end) {
    *first = p->options.is_global ? 0 : g;
    *end = p->options.is_global ? p->n_layers : g + 1;
}

static int64_t n_units_of(const struct pruner *p, int32_t first, int32_t end) {
    const struct pruner_layer *last = &p->layers[end - 1];
    return last->first_unit + last->units.n - p->layers[first].first_unit;
}

static int64_t n_pruned(const uint8_t *keep, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += !keep[i];
    }
    return sum;
}

static pare_status set_goals(struct pruner *p, const pare_graph *graph) {
    const struct pruner_options *o = &p->options;
    pare_status status = pattern_map_check_graph(p->host, "amounts", &o->map, graph);
    look(p, graph);
    for (int32_t g = 0; g < p->n_goals && status == PARE_OK; g++) {
        int32_t first, end;
        span_of(p, g, &first, &end);
        const int64_t n = n_units_of(p, first, end);
        const char *layer = graph->nodes[graph->weights[p->layers[first].weight]->node]->name;
        const struct amount amount =
            o->is_global ? o->amount : amount_map_find(&o->map, layer, o->amount);
        struct pruner_goal *goal = &p->goals[g];
        status = amount_total(p->host, &amount, o->is_global ? "all layers" : layer, n,
                              n_pruned(p->keep + p->layers[first].first_unit, n), &goal->total);
        goal->sparsity =
            amount.kind == AMOUNT_SPARSITY ? amount.value : (double)goal->total / (double)n;
    }
    return status;
}

pare_status pruner_prepare(struct pruner *p, const pare_graph *graph) {
    struct target target;
    pare_status status = target_init(p->host, graph, &target);
    if (status < 0) {
        return status;
    }
    status = find_layers(p, graph, &target);
    target_clear(&target);
    if (status == PARE_OK) {
        status = make_room(p);
    }
    return status == PARE_OK ? set_goals(p, graph) : status;
}

/* ---- choosing ---- */

/* Lists the kept units of one layer in PyTorch's order, in which weights of a convolution are
 * (OC,IC,KH,KW). */
static int64_t list_units(const struct pruner *p, const pare_weight *w,
                          const struct pruner_layer *layer, struct scored *items) {
    const int is_permuted = p->options.structure == STRUCTURE_WEIGHT && w->rank == 4;
    const int64_t n_in = is_permuted ? w->dims[3] : 1;
    const int64_t n_taps = is_permuted ? w->dims[1] * w->dims[2] : 1;
    int64_t n = 0;
    for (int64_t outer = 0; outer < layer->units.n / (n_in * n_taps); outer++) {
        for (int64_t in = 0; in < n_in; in++) {
            for (int64_t tap = 0; tap < n_taps; tap++) {
                const int64_t unit = layer->first_unit + (outer * n_taps + tap) * n_in + in;
                if (p->keep[unit]) {
                    items[n++] = (struct scored){p->scores[unit], unit};
                }
            }
        }
    }
    return n;
}

/* As torch.nn.utils.prune: single weights are the k lowest, but of slices the highest are kept. */
static void drop_as_pytorch(struct pruner *p, const pare_graph *graph, int32_t first, int32_t end,
                            int64_t k) {
    int64_t n = 0;
    for (int32_t i = first; i < end; i++) {
        n += list_units(p, graph->weights[p->layers[i].weight], &p->layers[i], p->items + n);
    }
    if (p->options.structure == STRUCTURE_WEIGHT) {
        topk_smallest(p->items, n, k);
        for (int64_t i = 0; i < k; i++) {
            p->keep[p->items[i].place] = 0;
        }
    } else {
        topk_largest(p->items, n, n - k);
        for (int64_t i = n - k; i < n; i++) {
            p->keep[p->items[i].place] = 0;
        }
    }
}

static void drop(struct pruner *p, const pare_graph *graph, int32_t g, int64_t step, int is_last) {
    int32_t first, end;
    span_of(p, g, &first, &end);
    const int64_t n = n_units_of(p, first, end);
    uint8_t *keep = p->keep + p->layers[first].first_unit;
    const struct pruner_goal *goal = &p->goals[g];
    int64_t total = goal->total;
    if (!is_last) {
        struct schedule schedule = p->options.schedule;
        schedule.final = goal->sparsity;
        schedule.initial = schedule.initial < goal->sparsity ? schedule.initial : goal->sparsity;
        const int64_t now = lowest_count(schedule_at(&schedule, step), n);
        total = now < total ? now : total;
    }
    const int64_t k = total - n_pruned(keep, n);
    if (k > 0 && p->options.ties == TIES_PYTORCH) {
        drop_as_pytorch(p, graph, first, end, k);
    } else if (k > 0) {
        lowest_drop(p->scores + p->layers[first].first_unit, n, k, p->counts, keep);
    }
}

/* ---- masks ---- */

static pare_status set_mask(struct pruner *p, const pare_graph *graph,
                            const struct pruner_layer *layer) {
    const pare_weight *w = graph->weights[layer->weight];
    uint8_t *mask = p->masks + layer->first_elem;
    const size_t n = (size_t)w->n_elems;
    if (w->mask) {
        memcpy(mask, w->mask, n);
    } else {
        memset(mask, 1, n);
    }
    units_clear(&layer->units, p->keep + layer->first_unit, mask);
    if (!w->mask && !memchr(mask, 0, n)) {
        return PARE_OK; /* dense, and stays so */
    }
    if (!memchr(mask, 1, n) && !p->options.allow_empty) {
        return p->host->fail(p->host, PARE_E_RANGE,
                             "%s: all its %lld elements would be pruned, which cuts the network; "
                             "prune less, exclude the layer, or set allow_empty = true",
                             w->name, (long long)w->n_elems);
    }
    return p->host->set_mask(p->host, graph, layer->weight, mask);
}

pare_status pruner_choose(struct pruner *p, const pare_graph *graph, int64_t step, int is_last) {
    pare_status status = PARE_OK;
    look(p, graph);
    for (int32_t k = 0; k < p->n_layers && status == PARE_OK; k++) {
        status = p->score(p, graph, &p->layers[k], p->scores + p->layers[k].first_unit);
    }
    for (int32_t g = 0; g < p->n_goals && status == PARE_OK; g++) {
        drop(p, graph, g, step, is_last);
    }
    return status;
}

pare_status pruner_set_masks(struct pruner *p, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < p->n_layers && status == PARE_OK; k++) {
        status = set_mask(p, graph, &p->layers[k]);
    }
    return status;
}

pare_status pruner_prune(struct pruner *p, const pare_graph *graph, int64_t step, int is_last) {
    pare_status status = pruner_choose(p, graph, step, is_last);
    if (status == PARE_OK) {
        status = pruner_set_masks(p, graph);
    }
    p->is_done = is_last && status == PARE_OK;
    return status;
}

const struct pruner_layer *pruner_layer_of(const struct pruner *p, int32_t weight) {
    for (int32_t k = 0; k < p->n_layers; k++) {
        if (p->layers[k].weight == weight) {
            return &p->layers[k];
        }
    }
    return NULL;
}

/* ---- before and after a training ---- */

/* Keeps the weights as they were before apply: a schedule starts from them. */
static pare_status save(struct pruner *p, const pare_graph *graph) {
    const pare_host *host = p->host;
    p->saved_data = host->alloc(host, (size_t)p->n_elems * sizeof *p->saved_data);
    p->saved_masks = host->alloc(host, (size_t)p->n_elems);
    if (!p->saved_data || !p->saved_masks) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a copy of %lld weights",
                          (long long)p->n_elems);
    }
    for (int32_t k = 0; k < p->n_layers; k++) {
        const pare_weight *w = graph->weights[p->layers[k].weight];
        const int64_t at = p->layers[k].first_elem;
        memcpy(p->saved_data + at, w->data, (size_t)w->n_elems * sizeof *w->data);
        if (w->mask) {
            memcpy(p->saved_masks + at, w->mask, (size_t)w->n_elems);
        } else {
            memset(p->saved_masks + at, 1, (size_t)w->n_elems);
        }
    }
    return PARE_OK;
}

static pare_status restore(struct pruner *p, const pare_graph *graph) {
    const pare_host *host = p->host;
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < p->n_layers && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[p->layers[k].weight];
        const uint8_t *mask = p->saved_masks + p->layers[k].first_elem;
        const int was_dense = !memchr(mask, 0, (size_t)w->n_elems);
        status = host->set_mask(host, graph, w->index, was_dense ? NULL : mask);
        if (status == PARE_OK) {
            status =
                host->set_weight(host, graph, w->index, p->saved_data + p->layers[k].first_elem);
        }
    }
    return status;
}

pare_status pruner_apply(void *instance, const pare_graph *graph) {
    struct pruner *p = instance;
    pare_status status = pruner_prepare(p, graph);
    if (status == PARE_OK && p->options.schedule.kind != SCHEDULE_ONCE) {
        status = save(p, graph);
    }
    return status == PARE_OK ? pruner_prune(p, graph, 0, 1) : status;
}

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct pruner *p = instance;
    if (p->options.schedule.kind == SCHEDULE_ONCE) {
        return PARE_OK; /* the host keeps the masks while it trains */
    }
    if (!p->saved_data) {
        return p->host->fail(p->host, PARE_E_STATE, "training begins before apply");
    }
    const pare_status status = restore(p, graph);
    p->host->free(p->host, p->saved_data);
    p->host->free(p->host, p->saved_masks);
    p->saved_data = NULL;
    p->saved_masks = NULL;
    p->is_done = 0;
    schedule_start(&p->options.schedule, plan->n_steps);
    return status;
}

static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct pruner *p = instance;
    if (p->is_done || !schedule_is_due(&p->options.schedule, step->step)) {
        return PARE_OK;
    }
    return pruner_prune(p, graph, step->step, step->step >= p->options.schedule.last);
}

static pare_status train_end(void *instance, const pare_graph *graph) {
    struct pruner *p = instance;
    return p->is_done ? PARE_OK : pruner_prune(p, graph, 0, 1);
}

const pare_method_train pruner_train = {
    .struct_size = sizeof pruner_train,
    .begin = train_begin,
    .after_step = after_step,
    .end = train_end,
};
