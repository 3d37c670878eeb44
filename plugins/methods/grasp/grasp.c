/* SPDX-License-Identifier: MIT */
/* GraSP: prunes the weights whose removal reduces the gradient's norm least. Wang, Zhang & Grosse
 * 2020 (arXiv 2002.07376), eq. 8: S(-w) = -w (H g), H the Hessian and g the gradient of the loss at
 * w; the highest S go. H g comes from gradients on either side of w:
 *     H g = (g(w + e g) - g(w - e g)) / (2 e) + O(e^2),   e = step |w| / |g|. */
#include "gradsum.h"
#include "instance.h"
#include "snapshot.h"

#include <math.h>
#include <pare/ext/gradients.h>
#include <string.h>

static const pare_param_desc params[] = {
#define AMOUNT_SCOPE "global"
#include "amount_rows.inc"
    {"temperature", PARE_PARAM_FLOAT, "", 1e-3, 1e6, NULL, "200",
     "of the softmax whose loss is differentiated"},
    {"step", PARE_PARAM_FLOAT, "", 1e-7, 1, NULL, "5e-6",
     "length of the difference, as a fraction of the weights' norm"},
};

enum pass { PASS_GRADIENT, PASS_ABOVE, PASS_BELOW };

struct grasp {
    struct pruner pruner; /* first: see pruner.h */
    double temperature, step;
    enum pass pass;
    struct snapshot weights; /* w */
    struct gradsum seen;     /* of the current pass */
    double *gradient;        /* (n_elems) g */
    double *product;         /* (n_elems) g(w + e g), and then H g */
    double e;
    int is_ready;
};

static void destroy(void *instance) {
    struct grasp *s = instance;
    if (s) {
        const pare_host *host = s->pruner.host;
        pruner_clear(&s->pruner);
        snapshot_clear(&s->weights);
        host->free(host, s->seen.sum);
        host->free(host, s->gradient);
        host->free(host, s->product);
        host->free(host, s);
    }
}

/* The lowest go: w (H g) is the negative of S. */
static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    const struct grasp *s = (const struct grasp *)pruner;
    const pare_weight *w = graph->weights[layer->weight];
    for (int64_t i = 0; i < w->n_elems; i++) {
        scores[i] = (float)((double)w->data[i] * s->product[layer->first_elem + i]);
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct grasp s = {.pruner = {.host = host, .score = score}};
    const pare_status status = pruner_options_read(host, given, &s.pruner.options);
    if (status < 0) {
        return status;
    }
    s.temperature = param_named(given, "temperature")->f;
    s.step = param_named(given, "step")->f;
    return instance_keep(host, &s, sizeof s, instance);
}

static pare_status start(struct grasp *s, const pare_graph *graph) {
    const pare_host *host = s->pruner.host;
    pare_status status = pruner_prepare(&s->pruner, graph);
    if (status == PARE_OK) {
        status = gradsum_make(&s->pruner, &s->seen);
    }
    if (status == PARE_OK) {
        status = snapshot_take(host, graph, &s->weights);
    }
    if (status < 0) {
        return status;
    }
    const size_t n_bytes = (size_t)s->pruner.n_elems * sizeof(double);
    s->gradient = host->alloc(host, n_bytes);
    s->product = host->alloc(host, n_bytes);
    return s->gradient && s->product
               ? PARE_OK
               : host->fail(host, PARE_E_NOMEM, "no memory for gradients of %lld weights",
                            (long long)s->pruner.n_elems);
}

static pare_status pass_begin(void *instance, const pare_graph *graph, int64_t number,
                              pare_gradient_pass *pass) {
    struct grasp *s = instance;
    pass->temperature = s->temperature;
    s->pass = (enum pass)number;
    if (s->pass == PASS_GRADIENT) {
        return start(s, graph);
    }
    gradsum_clear(&s->pruner, &s->seen);
    return PARE_OK;
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t weight,
                           const float *gradient, int32_t n) {
    struct grasp *s = instance;
    (void)graph;
    gradsum_add(&s->pruner, &s->seen, weight, gradient, n);
    return PARE_OK;
}

/* Weights become w + factor g; what is masked stays 0. */
static pare_status move_weights(struct grasp *s, const pare_graph *graph, double factor) {
    const pare_host *host = s->pruner.host;
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < s->pruner.n_layers && status == PARE_OK; k++) {
        const struct pruner_layer *layer = &s->pruner.layers[k];
        const pare_weight *w = graph->weights[layer->weight];
        const float *from = snapshot_of(&s->weights, graph, layer->weight);
        float *moved = host->alloc(host, (size_t)w->n_elems * sizeof *moved);
        if (!moved) {
            return host->fail(host, PARE_E_NOMEM, "no memory for %lld weights",
                              (long long)w->n_elems);
        }
        for (int64_t i = 0; i < w->n_elems; i++) {
            moved[i] = (float)((double)from[i] + factor * s->gradient[layer->first_elem + i]);
        }
        status = host->set_weight(host, graph, layer->weight, moved);
        host->free(host, moved);
    }
    return status;
}

/* Notes g, of the weights that are there, and the length of the difference. */
static pare_status keep_gradient(struct grasp *s, const pare_graph *graph) {
    double weights = 0.0;
    double gradients = 0.0;
    for (int32_t k = 0; k < s->pruner.n_layers; k++) {
        const struct pruner_layer *layer = &s->pruner.layers[k];
        const pare_weight *w = graph->weights[layer->weight];
        for (int64_t i = 0; i < w->n_elems; i++) {
            const double g = w->mask && !w->mask[i] ? 0.0 : gradsum_at(&s->seen, layer, i);
            s->gradient[layer->first_elem + i] = g;
            gradients += g * g;
            weights += (double)w->data[i] * (double)w->data[i];
        }
    }
    if (!(gradients > 0.0 && weights > 0.0)) {
        return s->pruner.host->fail(s->pruner.host, PARE_E_NUMERIC,
                                    "the gradient or the weights are all 0: there is nothing to "
                                    "rank by");
    }
    s->e = s->step * sqrt(weights / gradients);
    return PARE_OK;
}

static pare_status pass_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct grasp *s = instance;
    pare_status status = PARE_OK;
    *again = s->pass != PASS_BELOW;
    if (s->pass == PASS_GRADIENT) {
        status = keep_gradient(s, graph);
        return status == PARE_OK ? move_weights(s, graph, s->e) : status;
    }
    for (int64_t i = 0; i < s->pruner.n_elems; i++) {
        const double g = s->seen.sum[i] / (double)s->seen.n_images;
        s->product[i] = s->pass == PASS_ABOVE ? g : (s->product[i] - g) / (2.0 * s->e);
    }
    if (s->pass == PASS_ABOVE) {
        return move_weights(s, graph, -s->e);
    }
    s->is_ready = 1;
    return snapshot_restore(&s->weights, graph);
}

static const pare_method_gradients gradients = {
    .struct_size = sizeof gradients,
    .begin = pass_begin,
    .observe = observe,
    .end = pass_end,
};

static pare_status apply(void *instance, const pare_graph *graph) {
    struct grasp *s = instance;
    if (!s->is_ready) {
        return s->pruner.host->fail(s->pruner.host, PARE_E_STATE,
                                    "apply before all gradients were seen");
    }
    return pruner_prune(&s->pruner, graph, 0, 1);
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_GRADIENTS) == 0 ? (const void *)&gradients
           : strcmp(id, PARE_METHOD_TRAIN) == 0   ? (const void *)&pruner_train
                                                  : NULL;
}

static const pare_method grasp = {
    .struct_size = sizeof grasp,
    .id = "grasp",
    .version = "1.0.0",
    .doc = "prunes the weights whose removal weakens the flow of gradients least, before training",
    .reference = "Wang et al. 2020, arXiv 2002.07376, eq. 8",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&grasp};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "grasp", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,  .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
