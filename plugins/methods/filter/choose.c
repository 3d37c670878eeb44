/* SPDX-License-Identifier: MIT */
#include "choose.h"
#include "lowest.h"

#include <stdlib.h>
#include <string.h>

enum { N_BISECTIONS = 40 };

/* ---- order ---- */

struct ranked {
    int32_t family, class;
    double score;
};

static int by_score(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->family != y->family) {
        return x->family < y->family ? -1 : 1;
    }
    if (x->score != y->score) {
        return x->score < y->score ? -1 : 1;
    }
    return (x->class > y->class) - (x->class < y->class);
}

static pare_status rank_classes(struct choice *c, const double *score, int is_global) {
    const struct channels *ch = c->channels;
    const pare_host *host = ch->host;
    struct ranked *list = host->alloc(host, (size_t)ch->n_classes * sizeof *list);
    if (!list) {
        return host->fail(host, PARE_E_NOMEM, "no memory for a ranking of %d classes",
                          ch->n_classes);
    }
    for (int32_t k = 0; k < ch->n_classes; k++) {
        if (ch->may_go[k]) {
            list[c->n_order++] = (struct ranked){is_global ? 0 : ch->family[k], k, score[k]};
        }
    }
    qsort(list, (size_t)c->n_order, sizeof *list, by_score);
    for (int32_t i = 0, start = 0; i < c->n_order; i++) {
        start = list[i].family == list[start].family ? start : i;
        c->order[i] = list[i].class;
        c->place[list[i].class] = i - start;
    }
    for (int32_t i = c->n_order - 1, end = i; i >= 0; i--) {
        end = list[i].family == list[end].family ? end : i;
        c->size[list[i].class] = c->place[list[end].class] + 1;
    }
    host->free(host, list);
    return PARE_OK;
}

/* ---- what a choice costs ---- */

static void count_kept(struct choice *c, const pare_graph *graph) {
    const struct channels *ch = c->channels;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        c->kept[i] = 0;
        for (int64_t e = ch->first[i]; e < ch->first[i + 1]; e++) {
            c->kept[i] += ch->class_of[e] < 0 || !c->goes[ch->class_of[e]];
        }
    }
}

/* Of one layer with `outs` channels, each read from `ins`. */
static double layer_macs(const pare_node *node, double outs, double ins) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    const double taps = (double)(w->n_elems / (w->dims[0] * w->dims[w->rank - 1]));
    return outs * ins * taps * (double)node->dims[0] * (double)node->dims[1];
}

void choice_macs(const struct choice *c, const pare_graph *graph, double *before, double *after) {
    *before = *after = 0.0;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const pare_node *node = graph->nodes[i];
        if (!is_layer(node)) {
            continue;
        }
        const pare_node *in = graph->nodes[node->inputs[0]];
        const double per_group = (double)(in->dims[2] / node->groups);
        const int loses_groups = node->groups > 1 && in->dims[2] == node->groups;
        *before += layer_macs(node, node->dims[2], per_group);
        *after +=
            layer_macs(node, c->kept[i],
                       loses_groups ? 1.0 : (double)c->kept[in->index] / (double)node->groups);
    }
}

/* ---- one choice ---- */

/* Does this layer keep a number of channels that is not allowed? */
static int is_wrong(const struct choice *c, const pare_node *node, int32_t multiple) {
    const int32_t kept = c->kept[node->index];
    return is_layer(node) && kept != node->dims[2] && (kept == 0 || kept % multiple != 0);
}

/* The best of the classes that this node loses comes back. */
static void give_back(struct choice *c, const pare_graph *graph, int32_t node) {
    const struct channels *ch = c->channels;
    int32_t best = -1;
    for (int64_t e = ch->first[node]; e < ch->first[node + 1]; e++) {
        const int32_t k = ch->class_of[e];
        if (k >= 0 && c->goes[k] && (best < 0 || c->place[k] > c->place[best])) {
            best = k;
        }
    }
    c->goes[best] = 0; /* a node that has lost channels has lost classes */
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        for (int64_t e = ch->first[i]; e < ch->first[i + 1]; e++) {
            c->kept[i] += ch->class_of[e] == best;
        }
    }
}

/* The lowest share of each family goes (of all, if global); then layers that would be left with
 * nothing, or with no multiple, get the best back. */
static void take_share(struct choice *c, const pare_graph *graph, double share, int32_t multiple) {
    memset(c->goes, 0, (size_t)c->channels->n_classes);
    for (int32_t i = 0; i < c->n_order; i++) {
        const int32_t k = c->order[i];
        c->goes[k] = c->place[k] < lowest_count(share, c->size[k]);
    }
    count_kept(c, graph);
    int again = 1;
    while (again) { /* ends: each turn one class comes back */
        again = 0;
        for (int32_t i = 0; i < graph->n_nodes; i++) {
            while (is_wrong(c, graph->nodes[i], multiple)) {
                give_back(c, graph, i);
                again = 1;
            }
        }
    }
}

static double share_of_macs(struct choice *c, const pare_graph *graph, double share,
                            int32_t multiple) {
    double before, after;
    take_share(c, graph, share, multiple);
    choice_macs(c, graph, &before, &after);
    return before > 0.0 ? 1.0 - after / before : 0.0;
}

/* The smallest share that is enough, to one part in 2^40. */
static pare_status reach_macs(struct choice *c, const pare_graph *graph,
                              const struct amount_wanted *wanted) {
    const pare_host *host = c->channels->host;
    double low = 0.0, high = 1.0;
    const double most = share_of_macs(c, graph, high, wanted->multiple);
    if (most < wanted->macs) {
        return host->fail(host, PARE_E_RANGE,
                          "macs: got %g, but at most %.4f of the multiply-accumulates can go: "
                          "every layer keeps a channel%s, and layers left out keep all",
                          wanted->macs, most,
                          wanted->multiple > 1 ? " (here `multiple` of them)" : "");
    }
    for (int k = 0; k < N_BISECTIONS; k++) {
        const double middle = 0.5 * (low + high);
        if (share_of_macs(c, graph, middle, wanted->multiple) < wanted->macs) {
            low = middle;
        } else {
            high = middle;
        }
    }
    take_share(c, graph, high, wanted->multiple);
    return PARE_OK;
}

/* ---- the whole ---- */

static int make_room(struct choice *c, const pare_graph *graph) {
    const pare_host *host = c->channels->host;
    const size_t n = (size_t)c->channels->n_classes;
    c->order = host->alloc(host, n * sizeof *c->order);
    c->place = host->alloc(host, n * sizeof *c->place);
    c->size = host->alloc(host, n * sizeof *c->size);
    c->goes = host->alloc(host, n);
    c->kept = host->alloc(host, (size_t)graph->n_nodes * sizeof *c->kept);
    return c->order && c->place && c->size && c->goes && c->kept;
}

pare_status choice_make(const struct channels *channels, const pare_graph *graph,
                        const struct amount_wanted *wanted, const double *score,
                        struct choice *choice) {
    *choice = (struct choice){.channels = channels};
    if (!make_room(choice, graph)) {
        return channels->host->fail(channels->host, PARE_E_NOMEM,
                                    "no memory for a choice among %d classes", channels->n_classes);
    }
    const pare_status status = rank_classes(choice, score, wanted->is_global);
    if (status < 0) {
        return status;
    }
    if (wanted->macs >= 0.0) {
        return reach_macs(choice, graph, wanted);
    }
    take_share(choice, graph, wanted->fraction, wanted->multiple);
    return PARE_OK;
}

void choice_clear(struct choice *c) {
    if (c->channels) {
        const pare_host *host = c->channels->host;
        host->free(host, c->order);
        host->free(host, c->place);
        host->free(host, c->size);
        host->free(host, c->goes);
        host->free(host, c->kept);
    }
    *c = (struct choice){0};
}

void choice_count(const struct choice *c, int32_t *n_going, int32_t *n_candidates) {
    *n_candidates = c->n_order;
    *n_going = 0;
    for (int32_t i = 0; i < c->n_order; i++) {
        *n_going += c->goes[c->order[i]];
    }
}
