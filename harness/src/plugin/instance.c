/* SPDX-License-Identifier: MIT */
#include "core/file.h"
#include "core/rounding.h"
#include "model/model.h"
#include "plugin/host.h"
#include "plugin/registry.h"

#include <string.h>

static pare_status call_create(struct instance *inst, const pare_params *params,
                               struct error *err) {
    const struct plugin_entry *entry = inst->entry;
    void *self = NULL;
    pare_status status = PARE_OK;
    if (entry->method) {
        instance_enter(inst, "get_extension");
        status = registry_check_extensions(entry, err);
        note_leave(entry->note);
        if (status < 0) {
            return status;
        }
        instance_enter(inst, "create");
        status = entry->method->create(&inst->host, params, &self);
    } else {
        instance_enter(inst, "create");
        status = entry->backend->create(&inst->host, params, &self);
    }
    status = instance_status(inst, status, "create", err);
    if (status == PARE_OK) {
        inst->self = self;
    }
    return status;
}

pare_status instance_create(const struct plugin_entry *entry, const struct params *params,
                            size_t params_table, const struct instance_env *env, struct error *err,
                            struct instance **out) {
    const pare_params *values = params_of_table(params, params_table);
    uint32_t n_rows = registry_param_table(entry).n;
    if (!values || values->n != n_rows) {
        return error_set(err, PARE_E_ARG, "%s: given %u parameters of table %zu, its own has %u",
                         entry->owner, values ? values->n : 0, params_table, n_rows);
    }
    struct instance *inst = NULL;
    pare_status status = host_open(entry, env, err, &inst);
    if (status < 0) {
        return status;
    }
    status = call_create(inst, values, err);
    if (status < 0) {
        host_close(inst, NULL);
        return status;
    }
    *out = inst;
    return PARE_OK;
}

void instance_destroy(struct instance *inst, size_t *leaked_bytes) {
    if (inst) {
        instance_enter(inst, "destroy");
        if (inst->entry->method) {
            inst->entry->method->destroy(inst->self);
        } else {
            inst->entry->backend->destroy(inst->self);
        }
        note_leave(inst->entry->note);
        rounding_restore(inst->rounding);
    }
    host_close(inst, leaked_bytes);
}

void *instance_self(struct instance *inst) {
    return inst->self;
}

const pare_host *instance_host(struct instance *inst) {
    return &inst->host;
}

const struct plugin_entry *instance_entry(const struct instance *inst) {
    return inst->entry;
}

static int is_failure(pare_status status) {
    switch (status) {
#define PARE_STATUS(name, value, text) case PARE_##name:
#include <pare/status.inc>
#undef PARE_STATUS
        return status < 0;
    }
    return 0;
}

void instance_enter(struct instance *inst, const char *call) {
    note_enter(inst->entry->note, inst->entry->owner, call);
}

pare_status instance_status(struct instance *inst, pare_status status, const char *call,
                            struct error *err) {
    note_leave(inst->entry->note);
    if (rounding_mode() != inst->rounding) {
        rounding_restore(inst->rounding);
        return error_set(err, PARE_E_PLUGIN, "%s: %s " ROUNDING_CHANGED, inst->entry->owner, call);
    }
    /* The way of timed calls, without lock or copy: what the call's threads said was said before it
     * returned. */
    if (status == PARE_OK && inst->failure.status == PARE_OK) {
        return PARE_OK;
    }
    pthread_mutex_lock(&inst->lock);
    struct error said = inst->failure;
    inst->failure.status = PARE_OK;
    pthread_mutex_unlock(&inst->lock);
    if (status == PARE_OK) {
        return PARE_OK;
    }
    const char *owner = inst->entry->owner;
    if (!is_failure(status)) {
        return error_set(err, PARE_E_PLUGIN, "%s: %s returned %d, which is no status", owner, call,
                         (int)status);
    }
    /* Another status: the message is a leftover of a failure that was dealt with. */
    if (said.status == status) {
        return error_set(err, status, "%s: %s", owner, said.text);
    }
    return error_set(err, status, "%s: %s failed: %s (it gave no message)", owner, call,
                     status_text(status));
}

/* ---- patterns ---- */

static int is_layer(const pare_node *node) {
    return node->op == PARE_OP_CONV2D || node->op == PARE_OP_LINEAR;
}

static pare_status check_pattern(const struct instance *inst, const pare_graph *graph,
                                 const char *what, const char *pattern, struct error *err) {
    const char *names[64];
    size_t n = 0;
    for (int32_t k = 0; k < graph->n_nodes; k++) {
        if (!is_layer(graph->nodes[k])) {
            continue;
        }
        if (pattern_match(pattern, graph->nodes[k]->name)) {
            return PARE_OK;
        }
        if (n < sizeof names / sizeof names[0]) {
            names[n++] = graph->nodes[k]->name;
        }
    }
    const char *near = nearest_name(pattern, names, n);
    return error_set(err, PARE_E_NOT_FOUND, "%s: %s \"%s\" matches no conv2d or linear of %s%s%s%s",
                     inst->entry->owner, what, pattern, graph->name,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

pare_status instance_check_patterns(struct instance *inst, const pare_graph *graph,
                                    struct error *err) {
    pare_status status = PARE_OK;
    for (size_t k = 0; k < inst->n_include && status == PARE_OK; k++) {
        status = check_pattern(inst, graph, "include", inst->include[k], err);
    }
    for (size_t k = 0; k < inst->n_exclude && status == PARE_OK; k++) {
        status = check_pattern(inst, graph, "exclude", inst->exclude[k], err);
    }
    if (status < 0) {
        return status;
    }
    for (int32_t k = 0; k < graph->n_nodes; k++) {
        if (host_selects(inst, graph->nodes[k])) {
            return PARE_OK;
        }
    }
    return error_set(err, PARE_E_NOT_FOUND, "%s: include and exclude together leave no layer of %s",
                     inst->entry->owner, graph->name);
}
