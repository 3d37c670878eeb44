/* SPDX-License-Identifier: MIT */
/* RigL: trains a sparse network from a random mask; every so often the weights of least magnitude
 * go, and as many come back where the gradient is largest. Evci, Gale, Menick, Castro & Elsen 2019
 * (arXiv 1911.11134), section 3. */
#include "lowest.h"
#include "pruner.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

enum { P_SPARSITY, P_DISTRIBUTION, P_FRACTION, P_UNTIL, P_INTERVAL, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    [P_SPARSITY] = {"sparsity", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, NULL,
                    "fraction of the selected weights that is 0 at any time; below 1"},
    [P_DISTRIBUTION] = {"distribution", PARE_PARAM_STRING, "", 0, 0, "uniform|erk", "erk",
                        "over the layers: all alike, or Erdos-Renyi-kernel: small layers denser"},
    [P_FRACTION] = {"fraction", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.3",
                    "of the kept weights, those exchanged at first; decays by a cosine"},
    [P_UNTIL] = {"until", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.75",
                 "when in the training the exchanges end"},
    [P_INTERVAL] = {"interval", PARE_PARAM_INT, "steps", 0, 1e6, NULL, "0",
                    "steps between two exchanges; 0: 100, or fewer in a short training"},
};

struct rigl {
    struct pruner pruner; /* first: see pruner.h */
    int is_erk;
    double fraction;
    struct schedule exchanges; /* when; its sparsities mean nothing */
    int64_t step;              /* the step under way */
    pare_rng rng;
    float *gradients; /* (n_elems) of the step under way, where an exchange follows */
    uint8_t *allowed; /* (n_elems) 0: pruned by an earlier step of the pipeline */
};

static void destroy(void *instance) {
    struct rigl *r = instance;
    if (r) {
        const pare_host *host = r->pruner.host;
        pruner_clear(&r->pruner);
        host->free(host, r->gradients);
        host->free(host, r->allowed);
        host->free(host, r);
    }
}

/* Of the first mask. */
static pare_status score(struct pruner *pruner, const pare_graph *graph,
                         const struct pruner_layer *layer, float *scores) {
    struct rigl *r = (struct rigl *)pruner;
    (void)graph;
    for (int64_t u = 0; u < layer->units.n; u++) {
        scores[u] = (float)(pruner->host->rng_next(&r->rng) >> 40); /* 24 bits: exact */
    }
    return PARE_OK;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    if (!(v[P_SPARSITY]->f < 1.0)) {
        return host->fail(host, PARE_E_RANGE, "sparsity: got %g, wanted 0 <= sparsity < 1",
                          v[P_SPARSITY]->f);
    }
    struct rigl *r = host->alloc(host, sizeof *r);
    if (!r) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *r = (struct rigl){.pruner = {.host = host, .score = score}};
    r->pruner.options.amount = (struct amount){AMOUNT_SPARSITY, v[P_SPARSITY]->f};
    r->is_erk = strcmp(v[P_DISTRIBUTION]->s, "erk") == 0;
    r->fraction = v[P_FRACTION]->f;
    r->exchanges = (struct schedule){
        .kind = SCHEDULE_LINEAR, .end = v[P_UNTIL]->f, .interval = v[P_INTERVAL]->i};
    host->rng_init(host, "first mask", &r->rng);
    *instance = r;
    return PARE_OK;
}

/* ---- how many of each layer ---- */

/* (sum of the dimensions) / (their product): what a layer's density is proportional to. */
static double erk_weight(const pare_weight *w) {
    double sum = 0.0;
    for (int32_t k = 0; k < w->rank; k++) {
        sum += (double)w->dims[k];
    }
    return sum / (double)w->n_elems;
}

/* Densities e * erk_weight, at most 1, that leave (1 - sparsity) of all weights: layers that would
 * be more than dense are made dense, and e is found again for the others. Mocanu et al. 2018,
 * eq. 3, with kernels as in section 3 of the paper. The rest of the rounding goes to no layer. */
static void erk_goals(struct rigl *r, const pare_graph *graph) {
    struct pruner *p = &r->pruner;
    const double kept = (1.0 - p->options.amount.value) * (double)p->n_elems;
    double e = 0.0;
    for (int32_t pass = 0; pass <= p->n_layers; pass++) {
        double dense = 0.0;
        double raw = 0.0;
        for (int32_t k = 0; k < p->n_layers; k++) {
            const pare_weight *w = graph->weights[p->layers[k].weight];
            const double part = erk_weight(w) * (double)w->n_elems;
            const int is_dense = e * erk_weight(w) >= 1.0;
            dense += is_dense ? (double)w->n_elems : 0.0;
            raw += is_dense ? 0.0 : part;
        }
        e = raw > 0.0 ? fmax(e, (kept - dense) / raw) : e;
    }
    for (int32_t k = 0; k < p->n_layers; k++) {
        const pare_weight *w = graph->weights[p->layers[k].weight];
        const double density = fmin(1.0, e * erk_weight(w));
        p->goals[k].total = w->n_elems - lowest_count(density, w->n_elems);
    }
}

static pare_status apply(void *instance, const pare_graph *graph) {
    struct rigl *r = instance;
    struct pruner *p = &r->pruner;
    const pare_host *host = p->host;
    pare_status status = pruner_prepare(p, graph);
    if (status < 0) {
        return status;
    }
    r->gradients = host->alloc(host, (size_t)p->n_elems * sizeof *r->gradients);
    r->allowed = host->alloc(host, (size_t)p->n_elems);
    if (!r->gradients || !r->allowed) {
        return host->fail(host, PARE_E_NOMEM, "no memory for gradients of %lld weights",
                          (long long)p->n_elems);
    }
    for (int32_t k = 0; k < p->n_layers; k++) {
        const pare_weight *w = graph->weights[p->layers[k].weight];
        units_kept(&p->layers[k].units, w->mask, r->allowed + p->layers[k].first_elem);
    }
    if (r->is_erk) {
        erk_goals(r, graph);
    }
    return pruner_prune(p, graph, 0, 1);
}

/* ---- training ---- */

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct rigl *r = instance;
    (void)graph;
    schedule_start(&r->exchanges, plan->n_steps);
    r->step = 0;
    return PARE_OK;
}

/* Not at once: the first weights have to be trained before any is judged. */
static int exchanges_now(const struct rigl *r) {
    return r->step > 0 && schedule_is_due(&r->exchanges, r->step);
}

static pare_status weight_forward(void *instance, const pare_graph *graph, int32_t weight,
                                  const float *w, float *used) {
    (void)instance;
    memcpy(used, w, (size_t)graph->weights[weight]->n_elems * sizeof *used);
    return PARE_OK;
}

static pare_status weight_backward(void *instance, const pare_graph *graph, int32_t weight,
                                   const float *w, const float *grad_used, float *grad_w) {
    struct rigl *r = instance;
    (void)w;
    const size_t n_bytes = (size_t)graph->weights[weight]->n_elems * sizeof *grad_w;
    const struct pruner_layer *layer = pruner_layer_of(&r->pruner, weight);
    if (layer && exchanges_now(r)) { /* of pruned weights too */
        memcpy(r->gradients + layer->first_elem, grad_used, n_bytes);
    }
    memmove(grad_w, grad_used, n_bytes);
    return PARE_OK;
}

/* Of the k kept weights a fraction goes, the smallest; then as many come, where the gradient is
 * largest, out of all that are not kept then. A weight that goes and comes at once keeps its value;
 * the others come as 0, without momentum. */
static pare_status exchange(struct rigl *r, const pare_graph *graph,
                            const struct pruner_layer *layer, double fraction) {
    struct pruner *p = &r->pruner;
    const pare_weight *w = graph->weights[layer->weight];
    const float *gradient = r->gradients + layer->first_elem;
    uint8_t *mask = p->masks + layer->first_elem;
    uint8_t *out = p->keep + layer->first_elem; /* what may come, and in the end what did not */
    float *rank = p->scores + layer->first_elem;
    int64_t n_kept = 0;
    int64_t n_may_come = 0;
    for (int64_t i = 0; i < w->n_elems; i++) {
        mask[i] = !w->mask || w->mask[i];
        rank[i] = fabsf(w->data[i]);
        n_kept += mask[i];
    }
    const int64_t n = lowest_count(fraction, n_kept);
    lowest_drop(rank, w->n_elems, n, p->counts, mask);
    for (int64_t i = 0; i < w->n_elems; i++) {
        out[i] = !mask[i] && r->allowed[layer->first_elem + i];
        rank[i] = -fabsf(gradient[i]);
        n_may_come += out[i];
    }
    lowest_drop(rank, w->n_elems, n < n_may_come ? n : n_may_come, p->counts, out);
    for (int64_t i = 0; i < w->n_elems; i++) {
        mask[i] |= !out[i] && r->allowed[layer->first_elem + i];
    }
    return p->host->set_mask(p->host, graph, layer->weight, mask);
}

/* The fraction f/2 (1 + cos(pi t / T)): section 3, "update schedule". */
static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct rigl *r = instance;
    pare_status status = PARE_OK;
    if (exchanges_now(r)) {
        const double done = (double)r->step / (double)r->exchanges.last;
        const double fraction = 0.5 * r->fraction * (1.0 + cos(PI * done));
        for (int32_t k = 0; k < r->pruner.n_layers && status == PARE_OK; k++) {
            status = exchange(r, graph, &r->pruner.layers[k], fraction);
        }
    }
    r->step = step->step + 1;
    return status;
}

static const pare_method_train train = {
    .struct_size = sizeof train,
    .begin = train_begin,
    .weight_forward = weight_forward,
    .weight_backward = weight_backward,
    .after_step = after_step,
};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method rigl = {
    .struct_size = sizeof rigl,
    .id = "rigl",
    .version = "1.0.0",
    .doc = "trains with a sparse mask that moves: small weights go, large gradients bring others",
    .reference = "Evci et al. 2019, arXiv 1911.11134, section 3",
    .params = params,
    .n_params = N_PARAMS,
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK, /* of earlier steps: those weights never come back */
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&rigl};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "rigl", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
