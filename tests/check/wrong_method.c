/* SPDX-License-Identifier: MIT */
/* A method that is right as it stands (VARIANT_GOOD), and one mistake per variant. It prunes
 * weights below a fraction of the root mean square of their layer; in training it uses w |w| for w.
 */
#include <pare/ext/train.h>
#include <pare/method.h>

#include <fenv.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { P_FRACTION, P_LEVEL, P_NAME };

static const pare_param_desc params[] = {
    [P_FRACTION] = {"fraction", PARE_PARAM_FLOAT, "fraction", 0, 1, NULL, "0.5", "what is small"},
    [P_LEVEL] = {"level", PARE_PARAM_INT, "", 0, 1000, NULL, "3", "has no effect"},
    [P_NAME] = {"name", PARE_PARAM_STRING, "", 0, 0, NULL, "none", "has no effect"},
};

struct wrong {
    const pare_host *host;
    double fraction;
    char *extra; /* (16) */
    int64_t levels[8];
};

static pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    struct wrong *t = host->alloc(host, sizeof *t);
#ifndef VARIANT_UNCHECKED_ALLOC
    if (!t) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
#endif
#ifndef VARIANT_USES_GARBAGE
    memset(t, 0, sizeof *t);
#endif
#ifdef VARIANT_ROUNDS_UP
    fesetround(FE_UPWARD);
#endif
#ifdef VARIANT_FLUSHES /* without a call that could be seen from outside */
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(UINT64_C(1) << 24));
#endif
#endif
#ifdef VARIANT_SETS_LOCALE
    setlocale(LC_ALL, "");
#endif
    t->host = host;
    t->fraction = given->values[P_FRACTION]->f;
    t->extra = host->alloc(host, 16);
    if (!t->extra) {
#ifndef VARIANT_LEAK_ON_FAILURE
        host->free(host, t);
#endif
#ifdef VARIANT_WRONG_STATUS
        return host->fail(host, PARE_E_IO, "no memory for more");
#else
        return host->fail(host, PARE_E_NOMEM, "no memory for more");
#endif
    }
#ifdef VARIANT_OVERRUN
    t->extra[16] = 1;
#endif
#ifdef VARIANT_LYING_TABLE /* the table says 0..1000, there is room for 8 */
    t->levels[given->values[P_LEVEL]->i] = 1;
#endif
#ifdef VARIANT_NO_MESSAGE
    if (given->values[P_LEVEL]->i == 1000) {
        host->free(host, t->extra);
        host->free(host, t);
        return PARE_E_RANGE;
    }
#endif
    *instance = t;
    return PARE_OK;
}

static void destroy(void *instance) {
    struct wrong *t = instance;
    if (!t) {
        return;
    }
#ifndef VARIANT_LEAK
    t->host->free(t->host, t->extra);
#endif
#ifdef VARIANT_FREED_TWICE
    t->host->free(t->host, t->extra);
#endif
    t->host->free(t->host, t);
}

#ifdef VARIANT_LEAVES_THREADS
static void *wait_forever(void *arg) {
    for (;;) {
        pause();
    }
    return arg;
}
#endif

static double limit_of(const struct wrong *t, const pare_weight *w) {
    double sum = 0;
    for (int64_t k = 0; k < w->n_elems; k++) {
        sum += (double)w->data[k] * (double)w->data[k];
    }
    double limit = t->fraction * sqrt(sum / (double)w->n_elems);
#ifdef VARIANT_USES_GARBAGE
    limit *= t->levels[0] & 1 ? 0.5 : 1.0;
#endif
#ifdef VARIANT_GLOBAL_STATE
    static int n_calls;
    limit /= ++n_calls;
#endif
    return limit;
}

struct pruning {
    const struct wrong *t;
    const pare_graph *graph;
    const pare_weight *w;
    uint8_t *mask;
    double limit;
    int64_t n_done;
};

static void prune_one(void *arg, int64_t k) {
    struct pruning *p = arg;
    double limit = p->limit;
#ifdef VARIANT_ORDER /* of who comes first */
    limit *= p->n_done++ < 10 ? 2 : 1;
#endif
#ifdef VARIANT_FORGETS_MASK /* and moves what was pruned */
    p->mask[k] = fabs((double)p->w->data[k] + 0.25) >= limit;
#else
    p->mask[k] = fabs((double)p->w->data[k]) >= limit && (!p->w->mask || p->w->mask[k]);
#endif
#ifdef VARIANT_MAIN_IN_POOL
    if (k == 0) {
        p->t->host->set_mask(p->t->host, p->graph, p->w->index, p->mask);
    }
#endif
}

static pare_status prune(struct wrong *t, const pare_graph *graph, const pare_weight *w) {
    const pare_host *host = t->host;
    uint8_t *mask = host->alloc(host, (size_t)w->n_elems); /* (dims) */
    if (!mask) {
        return host->fail(host, PARE_E_NOMEM, "%s: no memory for a mask", w->name);
    }
    memset(mask, 1, (size_t)w->n_elems);
    struct pruning pruning = {t, graph, w, mask, limit_of(t, w), 0};
    host->parallel_for(host, w->n_elems, prune_one, &pruning);
    pare_status status = PARE_OK;
#ifdef VARIANT_FORGETS_MASK
    status = host->set_mask(host, graph, w->index, NULL);
    float *data = status ? NULL : host->alloc(host, (size_t)w->n_elems * sizeof *data);
    for (int64_t k = 0; data && k < w->n_elems; k++) {
        data[k] = w->data[k] + 0.25f;
    }
    status = data ? host->set_weight(host, graph, w->index, data) : PARE_OK;
    host->free(host, data);
#endif
    status = status ? status : host->set_mask(host, graph, w->index, mask);
    host->free(host, mask);
    return status;
}

static pare_status apply(void *instance, const pare_graph *graph) {
    struct wrong *t = instance;
#ifdef VARIANT_HANGS
    for (volatile int on = 1; on;) {
    }
#endif
#ifdef VARIANT_PRINTS
    if (write(STDOUT_FILENO, "hello\n", 6) != 6) {
        return PARE_E_IO;
    }
#endif
#ifdef VARIANT_MALLOC_LEAK
    void *volatile lost = malloc(100);
    (void)lost;
#endif
#ifdef VARIANT_LEAVES_THREADS
    pthread_t thread;
    pthread_create(&thread, NULL, wait_forever, NULL);
#endif
#ifdef VARIANT_OPEN_FILES
    if (dup(STDOUT_FILENO) < 0) {
        return t->host->fail(t->host, PARE_E_IO, "no file left");
    }
#endif
    for (int32_t k = 0; k < graph->n_weights; k++) {
        const pare_weight *w = graph->weights[k];
        int is_ours = w->role == PARE_ROLE_WEIGHT;
#ifndef VARIANT_IGNORES_SELECTED
        is_ours = is_ours && t->host->selected(t->host, graph, w->node);
#endif
        pare_status status = is_ours ? prune(t, graph, w) : PARE_OK;
        if (status < 0) {
            return status;
        }
    }
    return PARE_OK;
}

/* ---- training ---- */

static pare_status begin(void *instance, const pare_graph *graph, const pare_train_plan *plan) {
    (void)instance;
    (void)graph;
    (void)plan;
    return PARE_OK;
}

static pare_status forward(void *instance, const pare_graph *graph, int32_t weight, const float *w,
                           float *used) {
    (void)instance;
    for (int64_t k = 0; k < graph->weights[weight]->n_elems; k++) {
#ifdef VARIANT_BACKWARDS_STAIRCASE
        used[k] = 0.1f * rintf(w[k] * 10.0f);
#else
        used[k] = w[k] * fabsf(w[k]);
#endif
    }
    return PARE_OK;
}

static pare_status backward(void *instance, const pare_graph *graph, int32_t weight, const float *w,
                            const float *grad_used, float *grad_w) {
    (void)instance;
    for (int64_t k = 0; k < graph->weights[weight]->n_elems; k++) {
#ifdef VARIANT_WRONG_GRADIENT
        grad_w[k] = fabsf(w[k]) * grad_used[k];
#elif defined(VARIANT_BACKWARDS_STAIRCASE)
        grad_w[k] = -grad_used[k] + 0.0f * w[k];
#elif defined(VARIANT_NOT_LINEAR)
        grad_w[k] = 2.0f * fabsf(w[k]) * fabsf(grad_used[k]);
#else
        grad_w[k] = 2.0f * fabsf(w[k]) * grad_used[k];
#endif
    }
    return PARE_OK;
}

static const pare_method_train train = {.struct_size = sizeof train,
                                        .begin = begin,
                                        .weight_forward = forward,
#ifndef VARIANT_HALF_A_PAIR
                                        .weight_backward = backward
#endif
};

static const void *get_extension(const char *id) {
    (void)backward;
    return strcmp(id, PARE_METHOD_TRAIN) == 0 ? &train : NULL;
}

static const pare_method method = {
    .struct_size = sizeof method,
    .id = "wrong",
    .version = "1.0.0",
    .doc = "prunes, rightly or wrongly",
    .reference = "",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .reads = PARE_WEIGHTS | PARE_MASK,
#ifdef VARIANT_UNDECLARED_WRITE
    .writes = PARE_WEIGHTS,
#else
    .writes = PARE_WEIGHTS | PARE_MASK,
#endif
    .preserves = PARE_MASK,
    .create = create,
    .destroy = destroy,
    .apply = apply,
    .get_extension = get_extension,
};
static const pare_method *const methods[] = {&method};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "wrong", .version = "1.0.0",
    .license = "MIT",   .n_methods = 1,  .methods = methods,
};

#ifdef VARIANT_CRASHES_ON_LOAD
__attribute__((constructor)) static void crash(void) {
    raise(SIGSEGV);
}
#endif
#ifdef VARIANT_EXTRA_EXPORT
PARE_EXPORT int helper_of_mine(void);
int helper_of_mine(void) {
    return 1;
}
#endif

const pare_plugin *pare_plugin_entry(void) {
#ifdef VARIANT_CRASHES_IN_ENTRY
    return (const pare_plugin *)(uintptr_t)8; /* read by the host */
#endif
#ifdef VARIANT_CALLS_EXIT
    if (getenv("NO_SUCH_VARIABLE_IS_SET")) {
        exit(1);
    }
#endif
    return &plugin;
}
