/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <math.h>
#include <string.h>

#define MOST_PASSES 10000

/* ---- the layers ---- */

static pare_status allocate(struct traces *t, int64_t largest) {
    t->weights = t->host->alloc(t->host, (size_t)t->n_elems * sizeof *t->weights);
    t->moved = t->host->alloc(t->host, (size_t)largest * sizeof *t->moved);
    t->signs = t->host->alloc(t->host, (size_t)largest * sizeof *t->signs);
    if (!t->weights || !t->moved || !t->signs) {
        return t->host->fail(t->host, PARE_E_NOMEM, "no memory for a copy of %lld weights",
                             (long long)t->n_elems);
    }
    return PARE_OK;
}

static int is_layer(const pare_host *host, const pare_graph *graph, const pare_weight *w) {
    return w->role == PARE_ROLE_WEIGHT && host->selected(host, graph, w->node);
}

/* Fills the list, in order; returns the size of the largest layer. */
static int64_t list_layers(struct traces *t, const pare_graph *graph) {
    int64_t largest = 0;
    for (int32_t k = 0; k < graph->n_weights; k++) {
        const pare_weight *w = graph->weights[k];
        if (!is_layer(t->host, graph, w)) {
            continue;
        }
        struct trace_layer *layer = &t->layers[t->n++];
        *layer = (struct trace_layer){.weight = k, .n_elems = w->n_elems, .first_elem = t->n_elems};
        for (int64_t i = 0; i < w->n_elems; i++) {
            layer->n_kept += !w->mask || w->mask[i];
        }
        t->n_elems += w->n_elems;
        largest = w->n_elems > largest ? w->n_elems : largest;
    }
    return largest;
}

/* Keeps the layer's weights; returns the sum of their squares. */
static double keep_weights(struct traces *t, const pare_graph *graph, struct trace_layer *layer,
                           double step) {
    const float *data = graph->weights[layer->weight]->data;
    double squares = 0.0;
    memcpy(t->weights + layer->first_elem, data, (size_t)layer->n_elems * sizeof *data);
    for (int64_t i = 0; i < layer->n_elems; i++) {
        squares += (double)data[i] * (double)data[i];
    }
    layer->e = squares > 0.0 ? step * sqrt(squares / (double)layer->n_kept) : step;
    return squares;
}

pare_status trace_init(const pare_host *host, const pare_graph *graph, int32_t n_samples,
                       double step, struct traces *t) {
    *t = (struct traces){.host = host, .n_samples = n_samples};
    t->layers = host->alloc(host, (size_t)graph->n_weights * sizeof *t->layers);
    if (!t->layers) {
        return host->fail(host, PARE_E_NOMEM, "no memory for %d layers", graph->n_weights);
    }
    const pare_status status = allocate(t, list_layers(t, graph));
    if (status < 0) {
        return status;
    }
    if ((int64_t)2 * t->n * n_samples > MOST_PASSES) {
        return host->fail(host, PARE_E_ARG,
                          "samples: %d for each of %d layers are %lld passes over the images, "
                          "wanted at most %d",
                          n_samples, t->n, (long long)2 * t->n * n_samples, MOST_PASSES);
    }
    double squares = 0.0;
    for (int32_t k = 0; k < t->n; k++) {
        squares += keep_weights(t, graph, &t->layers[k], step);
    }
    if (!(squares > 0.0)) {
        return host->fail(
            host, PARE_E_NUMERIC,
            "the weights of all selected layers are 0: there is nothing to choose by");
    }
    host->rng_init(host, "trace", &t->rng);
    return PARE_OK;
}

void trace_clear(struct traces *t) {
    if (t->host) {
        t->host->free(t->host, t->signs);
        t->host->free(t->host, t->moved);
        t->host->free(t->host, t->weights);
        t->host->free(t->host, t->layers);
    }
    *t = (struct traces){0};
}

/* ---- passes: above and below for each layer and sample ---- */

static struct trace_layer *layer_of(const struct traces *t, int64_t number) {
    return &t->layers[number / 2 % t->n];
}

static void draw_signs(struct traces *t, const pare_graph *graph, const struct trace_layer *layer) {
    const uint8_t *mask = graph->weights[layer->weight]->mask;
    for (int64_t i = 0; i < layer->n_elems; i++) {
        const int sign = t->host->rng_next(&t->rng) >> 63 ? 1 : -1;
        t->signs[i] = (int8_t)(mask && !mask[i] ? 0 : sign);
    }
}

/* The layer's weights become w + e v; e may be 0. */
static pare_status move(struct traces *t, const pare_graph *graph, const struct trace_layer *layer,
                        double e) {
    const float *from = t->weights + layer->first_elem;
    for (int64_t i = 0; i < layer->n_elems; i++) {
        t->moved[i] = (float)((double)from[i] + e * t->signs[i]);
    }
    return t->host->set_weight(t->host, graph, layer->weight, t->moved);
}

pare_status trace_begin(struct traces *t, const pare_graph *graph, int64_t number) {
    const struct trace_layer *layer = layer_of(t, number);
    const int is_above = number % 2 == 0;
    if (is_above) {
        draw_signs(t, graph, layer);
    }
    t->product = 0.0;
    t->n_images = 0;
    return move(t, graph, layer, is_above ? layer->e : -layer->e);
}

void trace_see(struct traces *t, int64_t number, int32_t weight, const float *gradient, int32_t n) {
    const struct trace_layer *layer = layer_of(t, number);
    if (layer->weight != weight) {
        return;
    }
    double product = 0.0;
    for (int64_t i = 0; i < layer->n_elems; i++) {
        product += (double)gradient[i] * t->signs[i];
    }
    t->product += (double)n * product;
    t->n_images += n;
}

pare_status trace_end(struct traces *t, const pare_graph *graph, int64_t number, int32_t *again) {
    struct trace_layer *layer = layer_of(t, number);
    const int is_above = number % 2 == 0;
    if (t->n_images == 0) {
        return t->host->fail(t->host, PARE_E_STATE,
                             "no gradients were seen: it needs at least one image");
    }
    const double product = t->product / (double)t->n_images / (2.0 * layer->e);
    layer->sum += is_above ? product : -product;
    t->is_done = number + 1 == (int64_t)2 * t->n * t->n_samples;
    *again = !t->is_done;
    return is_above ? PARE_OK : move(t, graph, layer, 0.0);
}

double trace_of(const struct traces *t, int32_t layer) {
    return fmax(t->layers[layer].sum / (double)t->n_samples, 0.0);
}
