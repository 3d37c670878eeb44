/* SPDX-License-Identifier: MIT */
#include "scores.h"
#include "plan.h"

#include <math.h>
#include <string.h>

enum criterion criterion_parse(const char *name) {
    static const char *const names[] = {"l1",       "fpgm",  "taylor", "apoz",
                                        "bn_gamma", "hrank", "random"};
    int k = 0;
    while (k < CRITERION_RANDOM && strcmp(name, names[k]) != 0) {
        k++;
    }
    return (enum criterion)k;
}

static void add(struct scores *s, int32_t class, double value) {
    if (class >= 0) {
        s->sum[class] += value;
        s->count[class] += 1.0;
    }
}

/* ---- what is watched ---- */

/* Does a class that this node makes go through a relu? */
static int reaches_relu(const struct channels *ch, const pare_graph *graph, int32_t node) {
    const int32_t class = channels_class(ch, node, 0);
    for (int32_t i = 0; i < graph->n_nodes && class >= 0; i++) {
        for (int64_t c = 0; graph->nodes[i]->op == PARE_OP_RELU && c < graph->nodes[i]->dims[2];
             c++) {
            if (channels_class(ch, i, c) == class) {
                return 1;
            }
        }
    }
    return 0;
}

/* The gate of a layer stands behind its batch norm, where one alone reads it. */
static int is_gate(const pare_graph *graph, const pare_node *node) {
    if (node->op == PARE_OP_BATCH_NORM) {
        const pare_node *in = graph->nodes[node->inputs[0]];
        return is_layer(in) && in->n_consumers == 1;
    }
    const int32_t reader = is_layer(node) ? plan_sole_reader(graph, node->index) : -1;
    return is_layer(node) && (reader < 0 || graph->nodes[reader]->op != PARE_OP_BATCH_NORM);
}

static int is_watched(const struct scores *s, const pare_graph *graph, const pare_node *node) {
    switch (s->criterion) {
    case CRITERION_TAYLOR:
        return is_gate(graph, node);
    case CRITERION_APOZ:
        return node->op == PARE_OP_RELU;
    case CRITERION_HRANK:
        return node->rank == 3 &&
               (node->op == PARE_OP_RELU ||
                (is_layer(node) && !reaches_relu(s->channels, graph, node->index)));
    default:
        return 0;
    }
}

/* ---- life ---- */

static int make_room(struct scores *s, const pare_graph *graph) {
    const pare_host *host = s->channels->host;
    const size_t n_classes = (size_t)s->channels->n_classes;
    size_t most = 1;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const size_t pixels = (size_t)graph->nodes[i]->dims[0] * (size_t)graph->nodes[i]->dims[1];
        most = pixels > most ? pixels : most;
    }
    s->sum = host->alloc(host, n_classes * sizeof *s->sum);
    s->count = host->alloc(host, n_classes * sizeof *s->count);
    s->watches = host->alloc(host, (size_t)graph->n_nodes);
    int is_made = s->sum && s->count && s->watches;
    if (s->criterion == CRITERION_TAYLOR) {
        s->gate = host->alloc(host, (size_t)s->channels->n * sizeof *s->gate);
        is_made = is_made && s->gate;
    }
    if (s->criterion == CRITERION_HRANK) {
        s->matrix = host->alloc(host, most * sizeof *s->matrix);
        is_made = is_made && s->matrix;
    }
    return is_made;
}

pare_status scores_init(const struct channels *channels, const pare_graph *graph,
                        enum criterion criterion, struct scores *scores) {
    struct scores *s = scores;
    *s = (struct scores){.channels = channels, .criterion = criterion, .last_weight = -1};
    if (!make_room(s, graph)) {
        return channels->host->fail(channels->host, PARE_E_NOMEM,
                                    "no memory for scores of %d classes", channels->n_classes);
    }
    for (int32_t k = 0; k < channels->n_classes; k++) {
        s->sum[k] = s->count[k] = 0.0;
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        s->watches[i] = (uint8_t)is_watched(s, graph, graph->nodes[i]);
    }
    for (int64_t e = 0; s->gate && e < channels->n; e++) {
        s->gate[e] = 0.0;
    }
    return PARE_OK;
}

void scores_clear(struct scores *s) {
    if (s->channels) {
        const pare_host *host = s->channels->host;
        host->free(host, s->sum);
        host->free(host, s->count);
        host->free(host, s->watches);
        host->free(host, s->gate);
        host->free(host, s->matrix);
    }
    *s = (struct scores){0};
}

/* ---- values ---- */

/* Householder vector of column `col` from row `k` on, applied to the columns behind it. */
static void reflect(double *a, int32_t rows, int32_t cols, int32_t k) {
    double norm = 0.0;
    for (int32_t r = k; r < rows; r++) {
        norm += a[r * cols + k] * a[r * cols + k];
    }
    const double alpha = a[k * cols + k] > 0.0 ? -sqrt(norm) : sqrt(norm);
    const double square = 2.0 * (norm - alpha * a[k * cols + k]); /* of the vector */
    a[k * cols + k] -= alpha;
    for (int32_t c = k + 1; c < cols && square > 0.0; c++) {
        double dot = 0.0;
        for (int32_t r = k; r < rows; r++) {
            dot += a[r * cols + k] * a[r * cols + c];
        }
        for (int32_t r = k; r < rows; r++) {
            a[r * cols + c] -= 2.0 * dot / square * a[r * cols + k];
        }
    }
}

/* The column of largest norm below row k comes to place k; returns that norm. */
static double pivot(double *a, int32_t rows, int32_t cols, int32_t k) {
    double most = -1.0;
    int32_t at = k;
    for (int32_t c = k; c < cols; c++) {
        double norm = 0.0;
        for (int32_t r = k; r < rows; r++) {
            norm += a[r * cols + c] * a[r * cols + c];
        }
        if (norm > most) {
            most = norm;
            at = c;
        }
    }
    for (int32_t r = 0; r < rows && at != k; r++) {
        const double kept = a[r * cols + k];
        a[r * cols + k] = a[r * cols + at];
        a[r * cols + at] = kept;
    }
    return sqrt(most);
}

int32_t matrix_rank(double *matrix, int32_t rows, int32_t cols) {
    const int32_t most = rows < cols ? rows : cols;
    const double part = 0x1p-23 * (double)(rows > cols ? rows : cols);
    double largest = 0.0;
    int32_t rank = 0;
    while (rank < most) {
        const double norm = pivot(matrix, rows, cols, rank);
        largest = rank == 0 ? norm : largest;
        if (!(norm > largest * part)) {
            break;
        }
        reflect(matrix, rows, cols, rank++);
    }
    return rank;
}

/* value (n,H,W,C): how many of the pixels are 0, as a share. */
static double share_of_zeros(const float *value, int64_t n_pixels, int64_t stride) {
    int64_t zeros = 0;
    for (int64_t p = 0; p < n_pixels; p++) {
        zeros += value[p * stride] == 0.0f;
    }
    return (double)zeros / (double)n_pixels;
}

void scores_see_value(struct scores *s, const pare_graph *graph, int32_t node, const float *value,
                      int32_t n) {
    const pare_node *v = graph->nodes[node];
    if (s->criterion == CRITERION_TAYLOR || !s->watches[node]) {
        return;
    }
    const int64_t n_pixels = (int64_t)v->dims[0] * v->dims[1], channels = v->dims[2];
    for (int64_t c = 0; c < channels; c++) {
        const int32_t class = channels_class(s->channels, node, c);
        for (int32_t i = 0; i < n && class >= 0 && s->channels->may_go[class]; i++) {
            const float *map = value + (int64_t)i * n_pixels * channels + c;
            if (s->criterion == CRITERION_APOZ) {
                add(s, class, -share_of_zeros(map, n_pixels, channels));
                continue;
            }
            for (int64_t p = 0; p < n_pixels; p++) {
                s->matrix[p] = (double)map[p * channels];
            }
            const int32_t most = v->dims[0] < v->dims[1] ? v->dims[0] : v->dims[1];
            add(s, class, (double)matrix_rank(s->matrix, v->dims[0], v->dims[1]) / (double)most);
        }
    }
}

/* ---- gradients ---- */

void scores_end_gradients(struct scores *s) {
    const struct channels *ch = s->channels;
    if (s->criterion != CRITERION_TAYLOR || s->last_weight < 0) {
        return;
    }
    for (int32_t i = 0; ch->first[i] < ch->n; i++) {
        for (int64_t e = ch->first[i]; e < ch->first[i + 1] && s->watches[i]; e++) {
            add(s, ch->class_of[e], s->gate[e] * s->gate[e]);
            s->gate[e] = 0.0;
        }
    }
    s->last_weight = -1;
}

/* With a gate z = 1 on the layer's value, or on its batch norm's, dL/dz = sum of g w over what is
 * multiplied by it: the filter and its bias, or gamma and beta. */
void scores_see_gradient(struct scores *s, const pare_graph *graph, int32_t weight,
                         const float *gradient) {
    const pare_weight *w = graph->weights[weight];
    if (s->criterion != CRITERION_TAYLOR) {
        return;
    }
    if (weight <= s->last_weight) { /* the next batch begins */
        scores_end_gradients(s);
    }
    s->last_weight = weight;
    const int64_t per_channel = w->n_elems / w->dims[0];
    double *gate = s->gate + s->channels->first[w->node];
    for (int64_t i = 0; i < w->n_elems && s->watches[w->node]; i++) {
        gate[i / per_channel] += (double)gradient[i] * (double)w->data[i];
    }
}

/* ---- weights ---- */

static double filter_norm(const float *filter, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += fabs((double)filter[i]);
    }
    return sum;
}

static double distance(const float *a, const float *b, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sqrt(sum);
}

static double weight_score(const struct scores *s, const pare_weight *w, int64_t c) {
    const int64_t n = w->n_elems / w->dims[0];
    double sum = 0.0;
    if (s->criterion == CRITERION_L1) {
        return filter_norm(w->data + c * n, n);
    }
    for (int64_t k = 0; k < w->dims[0]; k++) {
        sum += distance(w->data + c * n, w->data + k * n, n);
    }
    return sum;
}

static void score_weights(struct scores *s, const pare_node *node, int as_share) {
    const pare_weight *w = node->weights[PARE_ROLE_WEIGHT];
    double mean = 0.0;
    for (int64_t c = 0; as_share && c < w->dims[0]; c++) {
        mean += weight_score(s, w, c) / (double)w->dims[0];
    }
    for (int64_t c = 0; c < w->dims[0]; c++) {
        const double value = weight_score(s, w, c);
        add(s, channels_class(s->channels, node->index, c),
            as_share && mean > 0.0 ? value / mean : value);
    }
}

static void score_gammas(struct scores *s, const pare_node *node) {
    const pare_weight *gamma = node->weights[PARE_ROLE_GAMMA];
    for (int64_t c = 0; c < gamma->dims[0]; c++) {
        add(s, channels_class(s->channels, node->index, c), fabs((double)gamma->data[c]));
    }
}

static void score_at_random(struct scores *s) {
    const pare_host *host = s->channels->host;
    pare_rng rng;
    host->rng_init(host, "channels", &rng);
    for (int32_t k = 0; k < s->channels->n_classes; k++) {
        add(s, k, (double)(host->rng_next(&rng) >> 11)); /* 53 bits: exact */
    }
}

/* ---- the whole ---- */

/* A layer that makes a channel of the class, or NULL. */
static const pare_node *maker_of(const struct scores *s, const pare_graph *graph, int32_t class) {
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        for (int64_t c = 0; is_layer(graph->nodes[i]) && c < graph->nodes[i]->dims[2]; c++) {
            if (channels_class(s->channels, i, c) == class) {
                return graph->nodes[i];
            }
        }
    }
    return NULL;
}

static pare_status lacks(const struct scores *s, const pare_node *maker) {
    static const char *const needs[] = {[CRITERION_APOZ] = "apoz counts the zeros behind a relu",
                                        [CRITERION_BN_GAMMA] = "bn_gamma reads a batch norm",
                                        [CRITERION_HRANK] = "hrank takes the rank of feature maps",
                                        [CRITERION_TAYLOR] =
                                            "taylor needs gradients, which none were shown of",
                                        [CRITERION_RANDOM] = "random"};
    return s->channels->host->fail(s->channels->host, PARE_E_UNSUPPORTED,
                                   "%s: %s, and here is none; exclude the layer, or take another "
                                   "criterion",
                                   maker->name, needs[s->criterion]);
}

pare_status scores_finish(struct scores *s, const pare_graph *graph, int as_share, double *score) {
    const struct channels *ch = s->channels;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const pare_node *node = graph->nodes[i];
        if (is_layer(node) && (s->criterion == CRITERION_L1 || s->criterion == CRITERION_FPGM)) {
            score_weights(s, node, as_share);
        } else if (node->op == PARE_OP_BATCH_NORM && s->criterion == CRITERION_BN_GAMMA) {
            score_gammas(s, node);
        }
    }
    if (s->criterion == CRITERION_RANDOM) {
        score_at_random(s);
    }
    for (int32_t k = 0; k < ch->n_classes; k++) {
        const pare_node *maker = ch->may_go[k] && s->count[k] == 0.0 ? maker_of(s, graph, k) : NULL;
        if (maker) {
            return lacks(s, maker);
        }
        score[k] = ch->may_go[k] && s->count[k] > 0.0 ? s->sum[k] / s->count[k] : 0.0;
    }
    return PARE_OK;
}
