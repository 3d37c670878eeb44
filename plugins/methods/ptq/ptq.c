/* SPDX-License-Identifier: MIT */
/* Post-training quantization to 2..16 bits: batch norm is folded, activation ranges are observed on
 * calibration data, weights are rounded. Jacob et al. 2018 (arXiv 1712.05877); Krishnamoorthi 2018
 * (arXiv 1806.08342). */
#include "correct.h"
#include "equalize.h"
#include "instance.h"
#include "post.h"

#include <pare/ext/calibrate.h>
#include <string.h>

#define MAX_BITS 16

enum {
    P_BIAS_CORRECTION = POST_N_PARAMS,
    P_EQUALIZE,
    P_GROUP_SIZE,
    P_GROUP_BITS,
    P_TARGET,
    N_PARAMS
};

static const pare_param_desc params[N_PARAMS] = {
#define POST_WEIGHT_BITS "2..16"
#define POST_OBSERVER "auto"
#define POST_MORE_OBSERVERS "auto|"
#define POST_GRANULARITY "auto"
#define POST_MORE_GRANULARITIES "auto|group|"
#include "post_rows.inc"
    [P_BIAS_CORRECTION] = {"bias_correction", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                           "whether biases take back the mean shift that rounding weights causes"},
    [P_EQUALIZE] = {"equalize", PARE_PARAM_BOOL, "", 0, 0, NULL, "false",
                    "whether channels between two layers are scaled to the same range in both"},
    [P_GROUP_SIZE] = {"group_size", PARE_PARAM_INT, "weights", 2, 65536, NULL, "16",
                      "weight_granularity group: weights of a channel that share a factor"},
    [P_GROUP_BITS] = {"group_bits", PARE_PARAM_INT, "bits", 2, 8, NULL, "4",
                      "weight_granularity group: width of a group's factor; a stored code is code "
                      "times factor"},
    [P_TARGET] =
        {"target", PARE_PARAM_STRING, "", 0, 0, "any|x86|arm", "any",
         "what auto means: any minmax and channel, x86 mse and channel, arm mse and tensor"},
};

struct ptq {
    const pare_host *host;
    struct post post;
    int corrects_bias, equalizes;
    struct correction correction;
};

/* ---- parameters ---- */

static pare_status check_both(const pare_host *host, const struct post *post, int corrects_bias) {
    if (post->weight_bits == POST_FLOAT && post->activation_bits == POST_FLOAT) {
        return host->fail(
            host, PARE_E_ARG,
            "weight_bits and activation_bits are both 32: nothing would be quantized");
    }
    if (corrects_bias && post->weight_bits == POST_FLOAT) {
        return host->fail(host, PARE_E_ARG,
                          "bias_correction is true and weight_bits is 32: float weights shift "
                          "nothing, leave one of them out");
    }
    return PARE_OK;
}

/* What "auto" stands for, as PyTorch's default configurations for x86 and for QNNPACK have it. */
static void settle_auto(struct post *post, const pare_param_value *const *v) {
    const int has_target = strcmp(v[P_TARGET]->s, "any") != 0;
    if (has_target && strcmp(v[POST_P_OBSERVER]->s, "auto") == 0) {
        post->rule.observer = OBSERVER_MSE;
    }
    if (strcmp(v[P_TARGET]->s, "arm") == 0 && strcmp(v[POST_P_GRANULARITY]->s, "auto") == 0) {
        post->weight_rule.is_per_channel = 0;
    }
    if (strcmp(v[POST_P_GRANULARITY]->s, "group") == 0) {
        post->weight_rule.group_size = (int)v[P_GROUP_SIZE]->i;
        post->weight_rule.group_bits = (int)v[P_GROUP_BITS]->i;
    }
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    const int corrects_bias = v[P_BIAS_CORRECTION]->i != 0;
    struct post post;
    pare_status status = post_init(host, v, MAX_BITS, &post);
    if (status == PARE_OK) {
        status = check_both(host, &post, corrects_bias);
    }
    if (status < 0) {
        return status;
    }
    settle_auto(&post, v);
    const struct ptq made = {.host = host,
                             .post = post,
                             .corrects_bias = corrects_bias,
                             .equalizes = v[P_EQUALIZE]->i != 0};
    return instance_keep(host, &made, sizeof made, instance);
}

static void clear_seen(struct ptq *q) {
    correction_clear(&q->correction);
    post_clear(&q->post);
}

static void destroy(void *instance) {
    struct ptq *q = instance;
    if (q) {
        clear_seen(q);
        q->host->free(q->host, q);
    }
}

/* ---- calibration ---- */

static pare_status equalize_pairs(const struct ptq *q, const pare_graph *graph) {
    int32_t n_pairs = 0;
    const pare_status status = equalize(q->host, graph, &n_pairs);
    if (status == PARE_OK && n_pairs == 0) {
        q->host->log(q->host, PARE_LOG_WARN,
                     "equalize: %s has no two selected layers with only relu, pools and flatten "
                     "between them: nothing is changed",
                     graph->name);
    }
    return status;
}

/* Folds batch norm, then plans on the graph as it is after that. */
static pare_status prepare(struct ptq *q, const pare_graph *graph) {
    pare_status status = post_fold(&q->post, graph);
    if (status == PARE_OK && q->equalizes) {
        status = equalize_pairs(q, graph);
    }
    if (status == PARE_OK) {
        status = post_plan(&q->post, graph);
    }
    if (status == PARE_OK && q->corrects_bias) {
        status = correction_init(q->host, graph, &q->correction);
    }
    return status;
}

static pare_status calibrate_begin(void *instance, const pare_graph *graph) {
    struct ptq *q = instance;
    clear_seen(q);
    return prepare(q, graph);
}

static pare_status observe(void *instance, const pare_graph *graph, int32_t node,
                           const float *value, int32_t n) {
    struct ptq *q = instance;
    const int is_first = q->post.pass == 0;
    const pare_status status = post_observe(&q->post, graph, node, value, n);
    if (status == PARE_OK && q->corrects_bias && is_first && n > 0) {
        correction_see(&q->correction, graph, node, value, n);
    }
    return status;
}

static pare_status calibrate_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct ptq *q = instance;
    (void)graph;
    return post_end(&q->post, q->corrects_bias, again);
}

static const pare_method_calibrate calibrate = {
    .struct_size = sizeof calibrate,
    .begin = calibrate_begin,
    .observe = observe,
    .end = calibrate_end,
};

/* ---- weights ---- */

static pare_status quantize_weight(const struct ptq *q, const pare_graph *graph,
                                   const pare_weight *w) {
    const struct weight_rule rule = post_weight_rule(&q->post, graph->nodes[w->node]);
    return weight_quantize(q->host, graph, w, &rule);
}

/* The weight as it was is needed once more after it has been rounded. */
static pare_status quantize_corrected(struct ptq *q, const pare_graph *graph,
                                      const pare_weight *w) {
    const pare_host *host = q->host;
    const size_t bytes = (size_t)w->n_elems * sizeof(float);
    float *before = host->alloc(host, bytes);
    if (!before) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for a copy", w->name);
    }
    memcpy(before, w->data, bytes);
    pare_status status = quantize_weight(q, graph, w);
    if (status == PARE_OK) {
        status = correction_apply(&q->correction, NULL, graph, w, before);
    }
    host->free(host, before);
    return status;
}

static pare_status quantize_weights(struct ptq *q, const pare_graph *graph) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < graph->n_weights && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[k];
        if (w->role == PARE_ROLE_WEIGHT && q->host->selected(q->host, graph, w->node)) {
            status =
                q->corrects_bias ? quantize_corrected(q, graph, w) : quantize_weight(q, graph, w);
        }
    }
    return status;
}

/* Without calibration (weights only) batch norm is folded here. */
static pare_status apply(void *instance, const pare_graph *graph) {
    struct ptq *q = instance;
    pare_status status = q->post.is_ready ? PARE_OK : prepare(q, graph);
    if (status == PARE_OK) {
        status = post_set_values(&q->post, graph);
    }
    if (status == PARE_OK && q->post.weight_bits != POST_FLOAT) {
        status = quantize_weights(q, graph);
    }
    return status;
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_CALIBRATE) == 0 ? &calibrate : NULL;
}

static const pare_method ptq = {
    .struct_size = sizeof ptq,
    .id = "ptq",
    .version = "1.0.0",
    .doc = "post-training quantization of weights and activations to 2..16 bits",
    .reference = "Jacob et al. 2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv 1806.08342",
    .params = params,
    .n_params = N_PARAMS,
    POST_ASPECTS,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&ptq};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "ptq",  .version = "1.0.0",
    .license = "MIT",   .n_methods = 1, .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
