/* SPDX-License-Identifier: MIT */
/* Weights with a width for each layer, chosen by how much the loss bends there. HAWQ-V2: Dong et
 * al. 2020 (arXiv 1911.03852). What is then done with the widths is that of ptq. */
#include "choose.h"
#include "grid.h"
#include "instance.h"
#include "post.h"
#include "trace.h"

#include <math.h>
#include <pare/ext/calibrate.h>
#include <string.h>

#define MAX_BITS 16

enum { P_WIDTHS = POST_N_PARAMS, P_MEAN_BITS, P_COST, P_SAMPLES, P_STEP, N_PARAMS };

static const pare_param_desc params[N_PARAMS] = {
#define POST_WEIGHT_BITS "0: chosen by layer; anything else is refused"
#define POST_OBSERVER "mse"
#define POST_WEIGHT_OBSERVER "mse"
#include "post_rows.inc"
    [P_WIDTHS] = {"widths", PARE_PARAM_NUMBERS, "bits", 2, MAX_BITS, NULL, NULL,
                  "widths to choose from; none given: 2, 3, 4, 6 and 8"},
    [P_MEAN_BITS] = {"mean_bits", PARE_PARAM_FLOAT, "bits", 2, MAX_BITS, NULL, "4",
                     "budget: mean width of the selected layers' weights"},
    [P_COST] = {"cost", PARE_PARAM_STRING, "", 0, 0, "bytes|macs", "bytes",
                "what the mean is over: weights, for the file, or multiplications, for the time"},
    [P_SAMPLES] = {"samples", PARE_PARAM_INT, "", 1, 1000, NULL, "4",
                   "random vectors of the estimate of each layer's trace"},
    [P_STEP] = {"step", PARE_PARAM_FLOAT, "fraction", 1e-6, 1, NULL, "0.01",
                "length of a difference of gradients, in root mean squares of the weights"},
};

struct mixed {
    const pare_host *host;
    struct post post;
    int32_t n_widths;
    int widths[CHOOSE_MAX_WIDTHS];
    double mean_bits, step;
    int is_of_macs;
    int32_t n_samples;
    int64_t pass;
    struct traces traces;
};

/* ---- parameters ---- */

static pare_status check_whole(const pare_host *host, const pare_param_value *v) {
    for (int32_t k = 0; k < v->n; k++) {
        const double width = v->numbers[k];
        for (int32_t i = 0; i < k; i++) {
            if (v->numbers[i] == width) {
                return host->fail(host, PARE_E_ARG, "widths: %g stands there twice", width);
            }
        }
        if (width != floor(width)) {
            return host->fail(host, PARE_E_ARG, "widths: got %g, wanted whole numbers", width);
        }
    }
    return PARE_OK;
}

static pare_status read_widths(const pare_host *host, const pare_param_value *v, struct mixed *m) {
    static const int usual[] = {2, 3, 4, 6, 8};
    const pare_status status = check_whole(host, v);
    m->n_widths = v->n > 0 ? v->n : (int32_t)(sizeof usual / sizeof usual[0]);
    for (int32_t k = 0; status == PARE_OK && k < m->n_widths; k++) {
        m->widths[k] = v->n > 0 ? (int)v->numbers[k] : usual[k];
    }
    return status;
}

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    const pare_param_value *const *v = given->values;
    struct mixed read = {.host = host};
    pare_status status = post_init(host, v, MAX_BITS, &read.post);
    if (status == PARE_OK && v[POST_P_WEIGHT_BITS]->i != 0) {
        status = host->fail(host, PARE_E_ARG,
                            "weight_bits: got %lld, but widths are chosen here: give mean_bits and "
                            "widths, or layer_bits for layers that are to have a certain one",
                            (long long)v[POST_P_WEIGHT_BITS]->i);
    }
    if (status == PARE_OK) {
        status = read_widths(host, v[P_WIDTHS], &read);
    }
    if (status < 0) {
        return status;
    }
    read.mean_bits = v[P_MEAN_BITS]->f;
    read.is_of_macs = strcmp(v[P_COST]->s, "macs") == 0;
    read.n_samples = (int32_t)v[P_SAMPLES]->i;
    read.step = v[P_STEP]->f;
    return instance_keep(host, &read, sizeof read, instance);
}

static void destroy(void *instance) {
    struct mixed *m = instance;
    if (m) {
        trace_clear(&m->traces);
        post_clear(&m->post);
        m->host->free(m->host, m);
    }
}

/* ---- values, and gradients ---- */

static pare_status calibrate_begin(void *instance, const pare_graph *graph) {
    struct mixed *m = instance;
    post_clear(&m->post);
    const pare_status status = post_fold(&m->post, graph);
    return status == PARE_OK ? post_plan(&m->post, graph) : status;
}

static pare_status calibrate_observe(void *instance, const pare_graph *graph, int32_t node,
                                     const float *value, int32_t n) {
    struct mixed *m = instance;
    return post_observe(&m->post, graph, node, value, n);
}

static pare_status calibrate_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct mixed *m = instance;
    (void)graph;
    return post_end(&m->post, 0, again);
}

static const pare_method_calibrate calibrate = {
    .struct_size = sizeof calibrate,
    .begin = calibrate_begin,
    .observe = calibrate_observe,
    .end = calibrate_end,
};

static pare_status gradients_begin(void *instance, const pare_graph *graph, int64_t number,
                                   pare_gradient_pass *pass) {
    struct mixed *m = instance;
    pare_status status = PARE_OK;
    pass->frozen_norm = 1; /* what could not be folded counts as it will be deployed */
    m->pass = number;
    if (number == 0) {
        trace_clear(&m->traces);
        status = trace_init(m->host, graph, m->n_samples, m->step, &m->traces);
    }
    return status == PARE_OK ? trace_begin(&m->traces, graph, number) : status;
}

static pare_status gradients_observe(void *instance, const pare_graph *graph, int32_t weight,
                                     const float *gradient, int32_t n) {
    struct mixed *m = instance;
    (void)graph;
    trace_see(&m->traces, m->pass, weight, gradient, n);
    return PARE_OK;
}

static pare_status gradients_end(void *instance, const pare_graph *graph, int32_t *again) {
    struct mixed *m = instance;
    return trace_end(&m->traces, graph, m->pass, again);
}

static const pare_method_gradients gradients = {
    .struct_size = sizeof gradients,
    .begin = gradients_begin,
    .observe = gradients_observe,
    .end = gradients_end,
};

/* ---- widths ---- */

/* |Q(W) - W|^2 */
static double rounding_error(const pare_weight *w, const struct weight_rule *rule) {
    const int64_t n_scales = rule->is_per_channel ? w->dims[0] : 1;
    const int64_t n = w->n_elems / n_scales;
    const int32_t qmax = (1 << (rule->bits - 1)) - 1;
    double sum = 0.0;
    for (int64_t c = 0; c < n_scales; c++) {
        const float *data = w->data + c * n;
        const struct grid grid = {weight_scale_of(data, n, rule->bits, rule->is_mse), 0, -qmax,
                                  qmax};
        for (int64_t i = 0; i < n; i++) {
            sum += grid_error(&grid, (double)data[i]);
        }
    }
    return sum;
}

/* How often each weight is multiplied for one image, or 1. */
static int64_t uses(const struct mixed *m, const pare_node *layer) {
    return m->is_of_macs && layer->op == PARE_OP_CONV2D ? (int64_t)layer->dims[0] * layer->dims[1]
                                                        : 1;
}

/* Costs and scores of a layer; *all adds up what its weights would cost at 1 bit. */
static void weigh(const struct mixed *m, const pare_graph *graph, int32_t layer,
                  struct choice *choice, int64_t *all) {
    const struct trace_layer *seen = &m->traces.layers[layer];
    const pare_weight *w = graph->weights[seen->weight];
    const pare_node *node = graph->nodes[w->node];
    const int64_t per_bit = w->n_elems * uses(m, node);
    const double n = seen->n_kept > 0 ? (double)seen->n_kept : 1.0;
    const int is_given = pattern_map_find(&m->post.layer_bits, node->name) != NULL;
    struct weight_rule rule = post_weight_rule(&m->post, node);
    choice->n = is_given ? 1 : m->n_widths;
    for (int32_t k = 0; k < choice->n; k++) {
        rule.bits = is_given ? rule.bits : m->widths[k];
        choice->cost[k] = per_bit * rule.bits;
        choice->score[k] = trace_of(&m->traces, layer) / n * rounding_error(w, &rule);
    }
    *all += per_bit;
}

static int width_of(const struct mixed *m, const pare_graph *graph, int32_t layer,
                    const struct choice *choice) {
    const pare_node *node = graph->nodes[graph->weights[m->traces.layers[layer].weight]->node];
    const int is_given = pattern_map_find(&m->post.layer_bits, node->name) != NULL;
    return is_given ? post_weight_rule(&m->post, node).bits : m->widths[choice->taken];
}

static pare_status round_weights(const struct mixed *m, const pare_graph *graph,
                                 const struct choice *choices) {
    pare_status status = PARE_OK;
    for (int32_t k = 0; k < m->traces.n && status == PARE_OK; k++) {
        const pare_weight *w = graph->weights[m->traces.layers[k].weight];
        const pare_node *node = graph->nodes[w->node];
        struct weight_rule rule = post_weight_rule(&m->post, node);
        rule.bits = width_of(m, graph, k, &choices[k]);
        m->host->log(m->host, PARE_LOG_DEBUG, "%s: trace %.4g, %d bits", node->name,
                     trace_of(&m->traces, k), rule.bits);
        status = weight_quantize(m->host, graph, w, &rule);
    }
    return status;
}

static pare_status choose_and_round(const struct mixed *m, const pare_graph *graph) {
    const int32_t n = m->traces.n;
    struct choice *choices = m->host->alloc(m->host, (size_t)n * sizeof *choices);
    if (!choices) {
        return m->host->fail(m->host, PARE_E_NOMEM, "no memory for widths of %d layers", n);
    }
    int64_t all = 0;
    for (int32_t k = 0; k < n; k++) {
        weigh(m, graph, k, &choices[k], &all);
    }
    pare_status status = choose(m->host, choices, n, (int64_t)(m->mean_bits * (double)all));
    if (status == PARE_OK) {
        status = round_weights(m, graph, choices);
    }
    m->host->free(m->host, choices);
    return status;
}

static pare_status apply(void *instance, const pare_graph *graph) {
    struct mixed *m = instance;
    if (!m->post.is_ready || !m->traces.is_done) {
        return m->host->fail(m->host, PARE_E_STATE,
                             "apply before all values and gradients were seen");
    }
    const pare_status status = post_set_values(&m->post, graph);
    return status == PARE_OK ? choose_and_round(m, graph) : status;
}

static const void *get_extension(const char *id) {
    return strcmp(id, PARE_METHOD_CALIBRATE) == 0   ? (const void *)&calibrate
           : strcmp(id, PARE_METHOD_GRADIENTS) == 0 ? (const void *)&gradients
                                                    : NULL;
}

static const pare_method mixed_bits = {
    .struct_size = sizeof mixed_bits,
    .id = "mixed_bits",
    .version = "1.0.0",
    .doc = "quantizes after training with a width for each layer, chosen by the Hessian's trace "
           "under a budget of bytes or multiplications (HAWQ-V2)",
    .reference = "Dong et al. 2020, arXiv 1911.03852",
    .params = params,
    .n_params = N_PARAMS,
    POST_ASPECTS,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};

static const pare_method *const methods[] = {&mixed_bits};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "mixed_bits", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,       .methods = methods,
};

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
