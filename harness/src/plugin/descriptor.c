/* SPDX-License-Identifier: MIT */
#include "plugin/descriptor.h"
#include "plugin/names.h"
#include "plugin/params.h"

#include <pare/ext/calibrate.h>
#include <pare/ext/gradients.h>
#include <pare/ext/norm.h>
#include <pare/ext/train.h>
#include <stdio.h>
#include <string.h>

#define MAX_DESCRIPTORS 64u

/* Where a struct ended in ABI 1.0; written with its last field of that version, so that it stays
 * true when the struct grows. */
#define END_OF(type, field) ((uint32_t)(offsetof(type, field) + sizeof(((const type *)0)->field)))

struct size_rule {
    const char *name;
    uint32_t theirs, ours, minimum;
    int says_own_size; /* may be longer than ours when the plugin's minor is newer */
};

static pare_status check_size(const struct size_rule *rule, const pare_plugin *plugin,
                              struct error *err) {
    if (rule->theirs < rule->minimum) {
        return error_set(err, PARE_E_ABI,
                         "%s has %u bytes, ABI %d.0 has at least %u: rebuild it with these headers",
                         rule->name, rule->theirs, PARE_ABI_MAJOR, rule->minimum);
    }
    int newer = plugin->abi_minor > PARE_ABI_MINOR && rule->says_own_size;
    if (rule->theirs > rule->ours && !newer) {
        return error_set(
            err, PARE_E_ABI,
            "%s has %u bytes, here it has %u: the plugin was built against a newer pare "
            "(its ABI %u.%u, here %d.%d); update pare or rebuild the plugin",
            rule->name, rule->theirs, rule->ours, plugin->abi_major, plugin->abi_minor,
            PARE_ABI_MAJOR, PARE_ABI_MINOR);
    }
    return PARE_OK;
}

static pare_status check_sizes(const pare_plugin *p, struct error *err) {
    const struct size_rule rules[] = {
        {"pare_plugin", p->struct_size, sizeof(pare_plugin), END_OF(pare_plugin, backends), 1},
        {"pare_host", p->host_size, sizeof(pare_host), END_OF(pare_host, get_extension), 1},
        {"pare_graph", p->graph_size, sizeof(pare_graph), END_OF(pare_graph, weights), 1},
        {"pare_node", p->node_size, sizeof(pare_node), END_OF(pare_node, activation), 1},
        {"pare_weight", p->weight_size, sizeof(pare_weight), END_OF(pare_weight, codes), 1},
        {"pare_quant", p->quant_size, sizeof(pare_quant), sizeof(pare_quant), 0},
        {"pare_param_desc", p->param_desc_size, sizeof(pare_param_desc),
         END_OF(pare_param_desc, doc), 1},
        {"pare_param_value", p->param_value_size, sizeof(pare_param_value),
         END_OF(pare_param_value, numbers), 0},
    };
    for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
        pare_status status = check_size(&rules[k], p, err);
        if (status < 0) {
            return status;
        }
    }
    return PARE_OK;
}

static int is_empty(const char *text) {
    return !text || !text[0];
}

/* What methods and backends have in common. */
struct common {
    const char *kind;
    const char *id, *version, *doc, *reference;
    const pare_param_desc *params;
    uint32_t n_params;
};

static pare_status check_common(const pare_plugin *plugin, const struct common *c,
                                struct error *err) {
    if (!name_is_snake_case(c->id)) {
        return error_set(err, PARE_E_ABI,
                         "id of a %s is \"%s\", wanted 1..%d of a-z, 0-9 and '_', a letter first",
                         c->kind, c->id ? c->id : "(null)", NAME_MAX_CHARS);
    }
    if (is_empty(c->version) || is_empty(c->doc) || !c->reference) {
        return error_set(err, PARE_E_ABI, "%s %s: %s", c->kind, c->id,
                         is_empty(c->version) ? "has no version"
                         : is_empty(c->doc)   ? "has no doc"
                                              : "reference is NULL, wanted at least \"\"");
    }
    char owner[64];
    snprintf(owner, sizeof owner, "%s %s", c->kind, c->id);
    struct param_table table = {c->params, c->n_params, plugin->param_desc_size, owner};
    return param_table_check(&table, err);
}

static pare_status lacks(struct error *err, const char *kind, const char *id,
                         const char *const *names, const int *present, size_t n) {
    for (size_t k = 0; k < n; k++) {
        if (!present[k]) {
            return error_set(err, PARE_E_ABI, "%s %s: required function %s is NULL", kind, id,
                             names[k]);
        }
    }
    return PARE_OK;
}

static pare_status check_own_size(const char *kind, uint32_t k, uint32_t theirs, uint32_t minimum,
                                  struct error *err) {
    if (theirs < minimum) {
        return error_set(err, PARE_E_ABI, "%s %u: its struct_size is %u, wanted at least %u", kind,
                         k, theirs, minimum);
    }
    return PARE_OK;
}

/* Sets of pare_aspect; a newer minor may know more of them. */
static pare_status check_aspects(const pare_plugin *plugin, const pare_method *m,
                                 struct error *err) {
    enum { ALL = 2 * PARE_ACTIVATIONS - 1 };
    static const char *const names[] = {"reads", "writes", "preserves"};
    const uint32_t sets[] = {m->reads, m->writes, m->preserves};
    for (int k = 0; k < 3 && plugin->abi_minor <= PARE_ABI_MINOR; k++) {
        if (sets[k] & ~(uint32_t)ALL) {
            return error_set(err, PARE_E_ABI,
                             "method %s: %s is 0x%x, a set of pare_aspect is 0..0x%x", m->id,
                             names[k], sets[k], ALL);
        }
    }
    return PARE_OK;
}

static pare_status check_method(const pare_plugin *plugin, uint32_t k, struct error *err) {
    const pare_method *m = plugin->methods ? plugin->methods[k] : NULL;
    if (!m) {
        return error_set(err, PARE_E_ABI, "method %u is NULL", k);
    }
    pare_status status =
        check_own_size("method", k, m->struct_size, END_OF(pare_method, get_extension), err);
    if (status < 0) {
        return status;
    }
    struct common c = {.kind = "method",
                       .id = m->id,
                       .version = m->version,
                       .doc = m->doc,
                       .reference = m->reference,
                       .params = m->params,
                       .n_params = m->n_params};
    status = check_common(plugin, &c, err);
    if (status < 0) {
        return status;
    }
    status = check_aspects(plugin, m, err);
    if (status < 0) {
        return status;
    }
    const char *const names[] = {"create", "destroy"};
    const int present[] = {m->create != NULL, m->destroy != NULL};
    return lacks(err, "method", m->id, names, present, 2);
}

static pare_status check_backend(const pare_plugin *plugin, uint32_t k, struct error *err) {
    const pare_backend *b = plugin->backends ? plugin->backends[k] : NULL;
    if (!b) {
        return error_set(err, PARE_E_ABI, "backend %u is NULL", k);
    }
    pare_status status =
        check_own_size("backend", k, b->struct_size, END_OF(pare_backend, get_extension), err);
    if (status < 0) {
        return status;
    }
    struct common c = {.kind = "backend",
                       .id = b->id,
                       .version = b->version,
                       .doc = b->doc,
                       .reference = b->reference,
                       .params = b->params,
                       .n_params = b->n_params};
    status = check_common(plugin, &c, err);
    if (status < 0) {
        return status;
    }
    if (strcmp(b->id, "auto") == 0) {
        return error_set(err, PARE_E_ABI,
                         "id of a backend is \"auto\", which stands for the best one");
    }
    const char *const names[] = {"probe",           "create",  "destroy",
                                 "supports",        "compile", "executable_destroy",
                                 "executable_info", "run"};
    const int present[] = {b->probe != NULL,           b->create != NULL,
                           b->destroy != NULL,         b->supports != NULL,
                           b->compile != NULL,         b->executable_destroy != NULL,
                           b->executable_info != NULL, b->run != NULL};
    return lacks(err, "backend", b->id, names, present, sizeof present / sizeof present[0]);
}

pare_status descriptor_check(const pare_plugin *plugin, struct error *err) {
    if (!plugin) {
        return error_set(err, PARE_E_ABI, "pare_plugin_entry returned NULL");
    }
    if (plugin->magic != PARE_PLUGIN_MAGIC) {
        return error_set(err, PARE_E_ABI,
                         "magic is 0x%08x, wanted 0x%08x: start its pare_plugin with "
                         "PARE_PLUGIN_HEADER",
                         plugin->magic, PARE_PLUGIN_MAGIC);
    }
    if (plugin->abi_major != PARE_ABI_MAJOR) {
        return error_set(err, PARE_E_ABI,
                         "is for plugin ABI %u.%u, this pare has %d.%d: rebuild it",
                         plugin->abi_major, plugin->abi_minor, PARE_ABI_MAJOR, PARE_ABI_MINOR);
    }
    pare_status status = check_sizes(plugin, err);
    if (status < 0) {
        return status;
    }
    if (is_empty(plugin->name) || is_empty(plugin->version) || is_empty(plugin->license)) {
        return error_set(err, PARE_E_ABI, "has no %s",
                         is_empty(plugin->name)      ? "name"
                         : is_empty(plugin->version) ? "version"
                                                     : "license");
    }
    uint32_t n_methods = plugin->n_methods;
    uint32_t n_backends = plugin->n_backends;
    if (n_methods > MAX_DESCRIPTORS || n_backends > MAX_DESCRIPTORS ||
        n_methods + n_backends == 0) {
        return error_set(err, PARE_E_ABI, "has %u methods and %u backends, wanted 1..%u of them",
                         n_methods, n_backends, MAX_DESCRIPTORS);
    }
    for (uint32_t k = 0; k < n_methods && status == PARE_OK; k++) {
        status = check_method(plugin, k, err);
    }
    for (uint32_t k = 0; k < n_backends && status == PARE_OK; k++) {
        status = check_backend(plugin, k, err);
    }
    return status;
}

static pare_status check_gradients(const pare_method_gradients *ext, struct error *err) {
    if (ext && ext->struct_size < END_OF(pare_method_gradients, end)) {
        return error_set(err, PARE_E_ABI, "extension %s has %u bytes, wanted at least %u",
                         PARE_METHOD_GRADIENTS, ext->struct_size,
                         END_OF(pare_method_gradients, end));
    }
    if (ext && (!ext->begin || !ext->observe || !ext->end)) {
        return error_set(err, PARE_E_ABI, "extension %s: begin, observe or end is NULL",
                         PARE_METHOD_GRADIENTS);
    }
    return PARE_OK;
}

static pare_status check_norm(const pare_method_norm *ext, struct error *err) {
    if (ext && (ext->struct_size < END_OF(pare_method_norm, n_batches) || !ext->n_batches)) {
        return error_set(err, PARE_E_ABI, "extension %s has %u bytes, wanted at least %u, with %s",
                         PARE_METHOD_NORM, ext->struct_size, END_OF(pare_method_norm, n_batches),
                         "n_batches not NULL");
    }
    return PARE_OK;
}

static pare_status check_calibrate(const pare_method *method, const char *id, struct error *err) {
    const pare_method_calibrate *calibrate =
        method->get_extension ? method->get_extension(id) : NULL;
    if (calibrate && calibrate->struct_size < END_OF(pare_method_calibrate, end)) {
        return error_set(err, PARE_E_ABI, "extension %s has %u bytes, wanted at least %u", id,
                         calibrate->struct_size, END_OF(pare_method_calibrate, end));
    }
    if (calibrate && (!calibrate->begin || !calibrate->observe || !calibrate->end)) {
        return error_set(err, PARE_E_ABI, "extension %s: begin, observe or end is NULL", id);
    }
    return PARE_OK;
}

pare_status descriptor_check_extensions(const pare_method *method, struct error *err) {
    const pare_method_train *train =
        method->get_extension ? method->get_extension(PARE_METHOD_TRAIN) : NULL;
    if (check_calibrate(method, PARE_METHOD_CALIBRATE, err) != PARE_OK ||
        check_calibrate(method, PARE_METHOD_CALIBRATE_AFTER, err) != PARE_OK) {
        return err->status;
    }
    if (train && train->struct_size < END_OF(pare_method_train, end)) {
        return error_set(err, PARE_E_ABI, "extension %s has %u bytes, wanted at least %u",
                         PARE_METHOD_TRAIN, train->struct_size, END_OF(pare_method_train, end));
    }
    if (train && !train->begin) {
        return error_set(err, PARE_E_ABI, "extension %s: begin is NULL", PARE_METHOD_TRAIN);
    }
    if (train && (!train->weight_forward != !train->weight_backward ||
                  !train->activation_forward != !train->activation_backward)) {
        return error_set(
            err, PARE_E_ABI,
            "extension %s: forward without backward, or backward without forward: give "
            "both or neither",
            PARE_METHOD_TRAIN);
    }
    if (!method->apply && !train) {
        return error_set(err, PARE_E_ABI, "has neither apply nor extension %s: it can do nothing",
                         PARE_METHOD_TRAIN);
    }
    if (method->get_extension &&
        check_norm(method->get_extension(PARE_METHOD_NORM), err) != PARE_OK) {
        return err->status;
    }
    return check_gradients(
        method->get_extension ? method->get_extension(PARE_METHOD_GRADIENTS) : NULL, err);
}
