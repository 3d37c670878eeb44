/* SPDX-License-Identifier: MIT */
/* One plugin, right as it stands (VARIANT_GOOD), and one mistake per variant. */
#include <fenv.h>
#include <pare/backend.h>
#include <pare/ext/calibrate.h>
#include <pare/ext/gradients.h>
#include <pare/ext/norm.h>
#include <pare/method.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* What a newer pare's header might have; a plugin built with it has larger structs. */
struct newer_node {
    pare_node node;
    int64_t more[4];
};

static pare_status create(const pare_host *host, const pare_params *params, void **instance) {
    (void)host;
    (void)params;
    *instance = NULL;
    return PARE_OK;
}

static void destroy(void *instance) {
    (void)instance;
}

static pare_status apply(void *instance, const pare_graph *graph) {
    (void)instance;
    (void)graph;
    return PARE_OK;
}

#ifndef VARIANT_NO_EXTENSIONS
static const pare_method_calibrate half = {.struct_size = sizeof half};
static const pare_method_gradients half_gradients = {.struct_size = sizeof half_gradients};

static const pare_method_norm half_norm = {.struct_size = sizeof half_norm};

static const void *get_extension(const char *id) {
    const void *const tables[] = {&half, &half_gradients, &half_norm};
#ifdef VARIANT_HALF_EXTENSION
    return strcmp(id, PARE_METHOD_CALIBRATE) == 0 ? tables[0] : NULL;
#elif defined(VARIANT_HALF_GRADIENTS)
    return strcmp(id, PARE_METHOD_GRADIENTS) == 0 ? tables[1] : NULL;
#elif defined(VARIANT_HALF_NORM)
    return strcmp(id, PARE_METHOD_NORM) == 0 ? tables[2] : NULL;
#else
    (void)tables;
    (void)id;
    return NULL;
#endif
}
#endif

static const pare_param_desc params[] = {
#ifdef VARIANT_BAD_DEFAULT
    {"level", PARE_PARAM_INT, "", 1, 5, NULL, "9", "a level"},
#elif defined(VARIANT_TWICE_IN_TABLE)
    {"level", PARE_PARAM_INT, "", 1, 5, NULL, "3", "a level"},
    {"level", PARE_PARAM_FLOAT, "", 0, 1, NULL, "0", "a level"},
#elif defined(VARIANT_FRACTIONAL_BOUNDS)
    {"level", PARE_PARAM_INT, "", 0.5, 5, NULL, "3", "a level"},
#elif defined(VARIANT_BAD_CHOICES)
    {"level", PARE_PARAM_STRING, "", 0, 0, "low||high", "low", "a level"},
#else
    {"level", PARE_PARAM_INT, "", 1, 5, NULL, "3", "a level"},
#endif
};

static const pare_method method = {
#ifdef VARIANT_SHORT_METHOD
    .struct_size = sizeof method - 8,
#else
    .struct_size = sizeof method,
#endif
#ifdef VARIANT_BAD_ID
    .id = "Good-One",
#elif defined(VARIANT_LONG_ID)
    .id = "a_name_of_more_than_thirty_one_characters",
#elif defined(VARIANT_GOOD) || defined(VARIANT_DUPLICATE)
    .id = "good",
#else
    .id = "other",
#endif
    .version = "1.0.0",
#ifndef VARIANT_NO_DOC
    .doc = "does nothing",
#endif
    .reference = "",
    .params = params,
#ifdef VARIANT_LYING_COUNT
    .n_params = 50000000,
#else
    .n_params = sizeof params / sizeof params[0],
#endif
#ifdef VARIANT_NEW_ASPECT
    .writes = PARE_MASK | 1u << 17,
#endif
#ifndef VARIANT_NO_CREATE
    .create = create,
#endif
    .destroy = destroy,
    .apply = apply,
#ifndef VARIANT_NO_EXTENSIONS
    .get_extension = get_extension,
#endif
};

/* A backend that can create an instance but has no run. */
static const pare_backend backend = {
    .struct_size = sizeof backend,
#ifdef VARIANT_AUTO_BACKEND
    .id = "auto",
#else
    .id = "no_run",
#endif
    .version = "1.0.0",
    .doc = "does nothing",
    .reference = "",
    .create = create,
    .destroy = destroy,
};

static const pare_method *const methods[] = {&method, &method};
static const pare_backend *const backends[] = {&backend};

static pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "wrong",    .version = "1.0.0",   .license = "MIT",
    .n_methods = 1,     .methods = methods, .backends = backends,
};

static void spoil(void) {
#ifdef VARIANT_WRONG_MAGIC
    plugin.magic = 0x12345678u;
#elif defined(VARIANT_WRONG_MAJOR)
    plugin.abi_major = PARE_ABI_MAJOR + 1;
#elif defined(VARIANT_NEWER_MINOR)
    plugin.abi_minor = PARE_ABI_MINOR + 1;
    plugin.node_size = sizeof(struct newer_node);
#elif defined(VARIANT_NEWER_QUANT)
    plugin.abi_minor = PARE_ABI_MINOR + 1;
    plugin.quant_size += 8;
#elif defined(VARIANT_LARGE_NODE)
    plugin.node_size = sizeof(struct newer_node);
#elif defined(VARIANT_SMALL_HOST)
    plugin.host_size -= 8;
#elif defined(VARIANT_OTHER_QUANT)
    plugin.quant_size -= 8;
#elif defined(VARIANT_NO_LICENSE)
    plugin.license = "";
#elif defined(VARIANT_EMPTY)
    plugin.n_methods = 0;
#elif defined(VARIANT_NO_RUN) || defined(VARIANT_AUTO_BACKEND)
    plugin.n_backends = 1;
#elif defined(VARIANT_TWICE_IN_FILE)
    plugin.n_methods = 2;
#endif
}

#ifdef VARIANT_MISSING_LIBRARY
/* Resolved by no library: RTLD_NOW finds out. */
extern int a_function_that_no_library_has(void);
int (*volatile unresolved)(void) = a_function_that_no_library_has;
#endif

#ifdef VARIANT_CRASHING_CONSTRUCTOR
__attribute__((constructor)) static void crash(void) {
    raise(SIGSEGV);
}
#endif

#ifdef VARIANT_ROUNDS_UP /* as what GCC links for -Ofast flushes denormals to zero */
__attribute__((constructor)) static void round_up(void) {
    fesetround(FE_UPWARD);
}
#endif

#ifdef VARIANT_NO_SYMBOL
PARE_EXPORT const pare_plugin *another_name(void);
const pare_plugin *another_name(void) {
    spoil();
    return &plugin;
}
#else
const pare_plugin *pare_plugin_entry(void) {
    spoil();
#ifdef VARIANT_CRASHING_ENTRY
    raise(SIGBUS);
#elif defined(VARIANT_EXITING_ENTRY)
    exit(0);
#endif
#ifdef VARIANT_NULL_ENTRY
    return plugin.magic == 0 ? &plugin : NULL;
#else
    return &plugin;
#endif
}
#endif
