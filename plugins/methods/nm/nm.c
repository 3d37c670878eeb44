/* SPDX-License-Identifier: MIT */
/* N:M sparsity: of each m weights that follow each other along the input channels the n largest are
 * kept. Mishra et al. 2021 (arXiv 2104.08378); trained from dense weights by SR-STE, Zhou et al.
 * 2021 (arXiv 2102.04010). */
#include "target.h"

#include <math.h>
#include <pare/ext/train.h>
#include <string.h>

enum { P_N, P_M, P_SRSTE, P_DECAY, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
    [P_N] = {"n", PARE_PARAM_INT, "", 1, 64, NULL, "2", "weights kept of each group"},
    [P_M] = {"m", PARE_PARAM_INT, "", 2, 64, NULL, "4", "weights in a group"},
    [P_SRSTE] = {"srste", PARE_PARAM_BOOL, "", 0, 0, NULL, "true",
                 "true: training may exchange them; false: it keeps the first choice"},
    [P_DECAY] = {"decay", PARE_PARAM_FLOAT, "", 0, 1, NULL, "0.0002",
                 "srste: pull of the weights that are out towards 0"},
};

struct nm {
    const pare_host *host;
    int64_t n, m;
    int is_srste;
    double decay;
    struct target target;
    int64_t most_elems; /* of the largest selected weight */
    uint8_t *mask;      /* (most_elems) */
    float *decayed;     /* (most_elems) */
    float **dense;      /* (target.n) values before apply, for a training; NULL without srste */
};

static void free_dense(struct nm *s) {
    for (int32_t k = 0; s->dense && k < s->target.n; k++) {
        s->host->free(s->host, s->dense[k]);
    }
    s->host->free(s->host, s->dense);
    s->dense = NULL;
}

static void destroy(void *instance) {
    struct nm *s = instance;
    if (s) {
        const pare_host *host = s->host;
        free_dense(s);
        target_clear(&s->target);
        host->free(host, s->mask);
        host->free(host, s->decayed);
        host->free(host, s);
    }
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    if (v[P_N]->i > v[P_M]->i) {
        return host->fail(host, PARE_E_RANGE, "n: got %lld, wanted at most m, which is %lld",
                          (long long)v[P_N]->i, (long long)v[P_M]->i);
    }
    struct nm *s = host->alloc(host, sizeof *s);
    if (!s) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *s = (struct nm){.host = host,
                     .n = v[P_N]->i,
                     .m = v[P_M]->i,
                     .is_srste = v[P_SRSTE]->i != 0,
                     .decay = v[P_DECAY]->f};
    *instance = s;
    return PARE_OK;
}

/* ---- masks ---- */

/* One group of `size` <= m: the n largest stay; of equal ones the later. */
static void mask_group(const struct nm *s, const float *w, int64_t size, uint8_t *mask) {
    memset(mask, 1, (size_t)size);
    for (int64_t gone = 0; gone < size - s->n; gone++) {
        int64_t least = -1;
        for (int64_t i = 0; i < size; i++) {
            if (mask[i] && (least < 0 || fabsf(w[i]) < fabsf(w[least]))) {
                least = i;
            }
        }
        mask[least] = 0;
    }
}

/* w, mask (dims): groups lie along the last axis, the input channels; what is left over at its end
 * is a smaller group. */
static void mask_groups(const struct nm *s, const pare_weight *weight, const float *w,
                        uint8_t *mask) {
    const int64_t length = weight->dims[weight->rank - 1];
    for (int64_t row = 0; row < weight->n_elems; row += length) {
        for (int64_t at = 0; at < length; at += s->m) {
            const int64_t size = length - at < s->m ? length - at : s->m;
            mask_group(s, w + row + at, size, mask + row + at);
        }
    }
}

static pare_status set_masks(struct nm *s, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < s->target.n && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[s->target.weights[k]];
        mask_groups(s, w, w->data, s->mask);
        for (int64_t i = 0; w->mask && i < w->n_elems; i++) {
            s->mask[i] &= w->mask[i];
        }
        if (w->mask || memchr(s->mask, 0, (size_t)w->n_elems)) {
            status = s->host->set_mask(s->host, graph, w->index, s->mask);
        }
    }
    return status;
}

/* ---- before training ---- */

static pare_status prepare(struct nm *s, const pare_graph *graph) {
    const pare_status status = target_init(s->host, graph, &s->target);
    if (status < 0) {
        return status;
    }
    for (int32_t k = 0; k < s->target.n; k++) {
        const int64_t n = graph->weights[s->target.weights[k]]->n_elems;
        s->most_elems = n > s->most_elems ? n : s->most_elems;
    }
    s->mask = s->host->alloc(s->host, (size_t)s->most_elems);
    s->decayed = s->host->alloc(s->host, (size_t)s->most_elems * sizeof *s->decayed);
    return s->mask && s->decayed
               ? PARE_OK
               : s->host->fail(s->host, PARE_E_NOMEM, "no memory for a mask of %lld weights",
                               (long long)s->most_elems);
}

static pare_status keep_dense(struct nm *s, const pare_graph *graph) {
    const pare_host *host = s->host;
    s->dense = host->alloc(host, (size_t)s->target.n * sizeof *s->dense);
    for (int32_t k = 0; s->dense && k < s->target.n; k++) {
        s->dense[k] = NULL;
    }
    for (int32_t k = 0; s->dense && k < s->target.n; k++) {
        const pare_weight *w = graph->weights[s->target.weights[k]];
        const size_t n_bytes = (size_t)w->n_elems * sizeof *w->data;
        s->dense[k] = host->alloc(host, n_bytes);
        if (!s->dense[k]) {
            free_dense(s);
            break;
        }
        memcpy(s->dense[k], w->data, n_bytes);
    }
    return s->dense ? PARE_OK
                    : host->fail(host, PARE_E_NOMEM, "no memory for a copy of the weights");
}

/* Masks at once, because no training may follow; if one does, SR-STE starts from dense weights. */
static pare_status apply(void *instance, const pare_graph *graph) {
    struct nm *s = instance;
    pare_status status = prepare(s, graph);
    if (status < 0) {
        return status;
    }
    int has_masks = 0; /* of earlier steps, which stay while training */
    for (int32_t k = 0; k < s->target.n; k++) {
        has_masks |= graph->weights[s->target.weights[k]]->mask != NULL;
    }
    if (s->is_srste && has_masks) {
        s->host->log(s->host, PARE_LOG_INFO,
                     "weights are masked already: srste = false, training keeps the choice");
        s->is_srste = 0;
    }
    if (s->is_srste) {
        status = keep_dense(s, graph);
    }
    return status == PARE_OK ? set_masks(s, graph) : status;
}

/* ---- training ---- */

static pare_status train_begin(void *instance, const pare_graph *graph,
                               const pare_train_plan *plan) {
    struct nm *s = instance;
    pare_status status = PARE_OK;
    (void)plan;
    for (int32_t k = 0; s->dense && k < s->target.n && status == PARE_OK; k++) {
        const int32_t weight = s->target.weights[k];
        status = s->host->set_mask(s->host, graph, weight, NULL);
        if (status == PARE_OK) {
            status = s->host->set_weight(s->host, graph, weight, s->dense[k]);
        }
    }
    free_dense(s);
    return status;
}

/* used = the largest n of m of w; without srste the graph's own masks do that. */
static pare_status weight_forward(void *instance, const pare_graph *graph, int32_t weight,
                                  const float *w, float *used) {
    struct nm *s = instance;
    const pare_weight *view = graph->weights[weight];
    if (s->is_srste) {
        mask_groups(s, view, w, s->mask);
    }
    for (int64_t i = 0; i < view->n_elems; i++) {
        used[i] = !s->is_srste || s->mask[i] ? w[i] : 0.0f;
    }
    return PARE_OK;
}

/* Straight through the mask. */
static pare_status weight_backward(void *instance, const pare_graph *graph, int32_t weight,
                                   const float *w, const float *grad_used, float *grad_w) {
    (void)instance;
    (void)w;
    memmove(grad_w, grad_used, (size_t)graph->weights[weight]->n_elems * sizeof *grad_w);
    return PARE_OK;
}

/* The rest of SR-STE's step: what is out moves by -lr decay w. */
static pare_status after_step(void *instance, const pare_graph *graph,
                              const pare_train_step *step) {
    struct nm *s = instance;
    pare_status status = PARE_OK;
    const float left = (float)(1.0 - step->lr * s->decay);
    for (int32_t k = 0; s->is_srste && k < s->target.n && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[s->target.weights[k]];
        mask_groups(s, w, w->data, s->mask);
        for (int64_t i = 0; i < w->n_elems; i++) {
            s->decayed[i] = s->mask[i] ? w->data[i] : left * w->data[i];
        }
        status = s->host->set_weight(s->host, graph, w->index, s->decayed);
    }
    return status;
}

static pare_status train_end(void *instance, const pare_graph *graph) {
    struct nm *s = instance;
    return s->is_srste ? set_masks(s, graph) : PARE_OK;
}

static const pare_method_train train = {
    .struct_size = sizeof train,
    .begin = train_begin,
    .weight_forward = weight_forward,
    .weight_backward = weight_backward,
    .after_step = after_step,
    .end = train_end,
};

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method nm = {
    .struct_size = sizeof nm,
    .id = "nm",
    .version = "1.0.0",
    .doc = "keeps the n largest of each m weights along the input channels",
    .reference = "Mishra et al. 2021, arXiv 2104.08378; Zhou et al. 2021, arXiv 2102.04010",
    .params = params,
    .n_params = N_PARAMS,
    .reads = PARE_WEIGHTS | PARE_MASK,
    .writes = PARE_WEIGHTS | PARE_MASK,
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&nm};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "nm",   .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
