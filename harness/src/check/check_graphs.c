/* SPDX-License-Identifier: MIT */
/* A backend on random graphs: against `ref`, bit for bit where both run on integers, within the
 * bound of bound.h elsewhere; and against itself, image by image. */
#include "check/backend_life.h"
#include "check/bound.h"
#include "core/alloc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT_GUARD = 16 };

int64_t count_graphs(struct check_case *c) {
    return c->subject->options->n_graphs;
}

/* One graph in four is a plain chain in fp32, which any backend takes. */
static void make_graph(struct maker *m, uint64_t seed, int64_t index) {
    if (index % 4 != 0) {
        maker_random_graph(m, seed);
        return;
    }
    uint64_t r = seed;
    maker_init(m, seed, 1, maker_between(&r, 1, 6), maker_between(&r, 1, 4));
    int32_t x = maker_simple(m, PARE_OP_FLATTEN, 0);
    for (int32_t k = maker_between(&r, 1, 3); k > 0; k--)
        x = maker_simple(m, PARE_OP_RELU, maker_linear(m, x, maker_between(&r, 1, 33), k % 2));
    maker_linear(m, x, maker_between(&r, 2, 12), 1);
}

/* A graph, images, and what a backend makes of them. */
struct duel {
    struct check_case *c;
    uint64_t seed; /* of the graph */
    struct maker *m;
    float *images;          /* (BACKEND_BATCH, inputs) */
    float *output, *wanted; /* (BACKEND_BATCH, classes) and room to be written wrongly */
    uint8_t *is_integer;    /* (n_nodes) by the reference */
    char execution[2][16];  /* of the reference, of the subject */
};

static void own(struct duel *d, const char *what) {
    case_fail(d->c, "pare check itself: %s", what);
}

static void note_kernels(struct duel *d, const pare_executable_info *info) {
    for (int32_t k = 0; k < info->n_kernels; k++)
        if (info->kernels[k]->node >= 0 && info->kernels[k]->node < d->m->graph.n_nodes &&
            info->kernels[k]->is_integer)
            d->is_integer[info->kernels[k]->node] = 1;
    snprintf(d->execution[0], sizeof d->execution[0], "%s", info->execution);
}

/* 0 after a verdict. */
static int run_reference(struct duel *d) {
    const struct subject *s = d->c->subject;
    struct subject reference = {.options = s->options, .entry = s->reference};
    struct watch_options options = live_options(d->c);
    struct compiled e = {.entry = s->reference};
    struct outcome out = {.status = PARE_OK};
    struct params *params = NULL;
    pare_status status = live_params(&reference, NULL, 0, &out.err, &params);
    if (status == PARE_OK)
        status = compiled_open(&e, params, &options, &d->m->graph, &out);
    if (status == PARE_OK) {
        note_kernels(d, e.info);
        status = compiled_run(&e, d->images, BACKEND_BATCH, d->wanted, &out);
    }
    compiled_close(&e, &out);
    params_destroy(params);
    if (status != PARE_OK)
        own(d, out.err.text);
    return status == PARE_OK;
}

/* A batch of one gives what the same image gives in a batch of five. */
static int agrees_with_itself(struct duel *d, struct compiled *e, struct outcome *out) {
    size_t n = (size_t)e->n_classes;
    float *single = alloc_array(n + OUTPUT_GUARD, sizeof *single);
    int ok = single != NULL;
    for (int32_t i = 0; ok && i < BACKEND_BATCH; i++) {
        if (compiled_run(e, d->images + (ptrdiff_t)i * e->n_inputs, 1, single, out)) {
            case_fail(d->c, "run on one image: %s", out->err.text);
            ok = 0;
        } else if (memcmp(single, d->output + (size_t)i * n, n * sizeof *single) != 0) {
            case_fail(d->c, "image %d alone gives another result than within a batch", i);
            ok = 0;
        }
    }
    free(single);
    return ok;
}

/* Telling of kernels changes nothing. */
static int agrees_when_profiled(struct duel *d, struct compiled *e, struct outcome *out) {
    pare_status status = compiled_profile(e, d->images, BACKEND_BATCH, d->output, out);
    if (status != PARE_OK)
        case_fail(d->c, "profile: %s", out->err.text);
    else if (out->is_own)
        own(d, "out of memory");
    else if (e->odd[0])
        case_fail(d->c, "%s", e->odd);
    return status == PARE_OK && !out->is_own && !e->odd[0];
}

/* 0 after a verdict. */
static int run_subject(struct duel *d) {
    const struct subject *s = d->c->subject;
    struct watch_options options = live_options(d->c);
    struct compiled e = {.entry = s->entry, .note = d->c->note};
    struct outcome out = {.status = PARE_OK};
    struct params *params = NULL;
    int ok = 0;
    options.pool = live_pool(2);
    struct maker *m = alloc_array(1, sizeof *m); /* one of its own, taken away after compiling */
    pare_status status =
        m ? live_params(s, s->options->settings, s->options->n_settings, &out.err, &params)
          : error_set(&out.err, PARE_E_NOMEM, "out of memory");
    if (status == PARE_OK) {
        make_graph(m, d->seed, d->c->index);
        status = compiled_open(&e, params, &options, &m->graph, &out);
        backend_life_spoil(m);
        maker_free(m);
    }
    free(m);
    if (status != PARE_OK && e.is_refused && out.is_told)
        case_skip(d->c, "refused: %s", out.err.text);
    else if (status != PARE_OK)
        case_fail(d->c, "%s", out.err.text);
    else if (e.odd[0])
        case_fail(d->c, "%s", e.odd);
    else if (compiled_run(&e, d->images, BACKEND_BATCH, d->output, &out))
        case_fail(d->c, "run: %s", out.err.text);
    else
        ok = agrees_with_itself(d, &e, &out) && agrees_when_profiled(d, &e, &out);
    if (ok)
        snprintf(d->execution[1], sizeof d->execution[1], "%s", e.info->execution);
    compiled_close(&e, &out);
    if (ok && out.misuse[0]) {
        case_fail(d->c, "%s", out.misuse);
        ok = 0;
    }
    params_destroy(params);
    pool_destroy(options.pool);
    return ok;
}

static void compare(struct duel *d) {
    const pare_graph *graph = &d->m->graph;
    struct error err;
    int32_t classes = graph->n_classes;
    ptrdiff_t per_image =
        (ptrdiff_t)graph->input_dims[0] * graph->input_dims[1] * graph->input_dims[2];
    int is_exact = strcmp(d->execution[0], "integer") == 0;
    if (strcmp(d->execution[1], "approximate") == 0) {
        case_remark(d->c, "approximate, by its own word: not compared with ref");
        return;
    }
    double *slack = alloc_array((size_t)classes, sizeof *slack);
    if (is_exact && strcmp(d->execution[1], "integer") != 0) {
        case_fail(d->c, "ref runs this graph on integers, and its execution is \"%s\"",
                  d->execution[1]);
        free(slack);
        return;
    }
    for (int32_t i = 0; slack && i < BACKEND_BATCH; i++) {
        if (!is_exact &&
            bound_outputs(graph, d->is_integer, d->images + i * per_image, &err, slack))
            own(d, err.text);
        for (int32_t k = 0; k < classes; k++) {
            float got = d->output[i * classes + k], wanted = d->wanted[i * classes + k];
            if (memcmp(&got, &wanted, sizeof got) == 0 ||
                (!is_exact && fabs((double)got - (double)wanted) <= slack[k]))
                continue;
            case_fail(d->c, "%s: image %d, output %d is %.9g, ref gives %.9g, %s %.3g",
                      d->execution[0], i, k, (double)got, (double)wanted,
                      is_exact ? "and integers must agree to the bit: off by"
                               : "and they may differ by",
                      is_exact ? fabs((double)got - (double)wanted) : slack[k]);
            free(slack);
            return;
        }
    }
    free(slack);
}

static void fight(struct duel *d) {
    const struct subject *s = d->c->subject;
    int is_reference = strcmp(s->entry->backend->id, "ref") == 0;
    const int32_t *dims = d->m->graph.input_dims;
    size_t n_inputs = (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2];
    size_t n_outputs = (size_t)BACKEND_BATCH * (size_t)d->m->graph.n_classes + OUTPUT_GUARD;
    d->images = alloc_array(BACKEND_BATCH * n_inputs, sizeof *d->images);
    d->output = alloc_array(n_outputs, sizeof *d->output);
    d->wanted = alloc_array(n_outputs, sizeof *d->wanted);
    d->is_integer = alloc_array((size_t)d->m->graph.n_nodes, 1);
    if (!d->images || !d->output || !d->wanted || !d->is_integer) {
        own(d, "out of memory");
        return;
    }
    for (size_t k = 0; k < BACKEND_BATCH * n_inputs; k++)
        d->images[k] = maker_normal(&d->m->random);
    if (!is_reference && !s->reference)
        own(d, "the backend ref, which others are compared with, is not found");
    else if (!run_subject(d))
        return;
    else if (is_reference)
        case_remark(d->c, "it is the reference: compared with itself only, image by image");
    else if (run_reference(d))
        compare(d);
}

void check_graphs(struct check_case *c) {
    uint64_t seed = c->subject->options->seed * 1000003 + (uint64_t)c->index;
    struct duel d = {.c = c, .seed = seed, .m = alloc_array(1, sizeof *d.m)};
    pare_probe probe = {.struct_size = sizeof probe};
    struct error err;
    case_label(c, "graph %lld", (long long)c->index);
    if (registry_probe(c->subject->entry, &err, &probe) || probe.score <= 0) {
        case_skip(c, "not usable on this machine: %s", probe.reason);
    } else if (!d.m) {
        own(&d, "out of memory");
    } else {
        make_graph(d.m, seed, c->index);
        fight(&d);
        maker_free(d.m);
    }
    free(d.m);
    free(d.images);
    free(d.output);
    free(d.wanted);
    free(d.is_integer);
}
