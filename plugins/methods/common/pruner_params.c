/* SPDX-License-Identifier: MIT */
#include "pruner_params.h"

#include <string.h>

const pare_param_value *param_named(const pare_params *params, const char *name) {
    for (uint32_t k = 0; k < params->n; k++) {
        if (strcmp(params->values[k]->name, name) == 0) {
            return params->values[k];
        }
    }
    return NULL;
}

static int is_given(const pare_param_value *value) {
    return value && value->f != -1.0;
}

static pare_status check_amount(const pare_host *host, const pare_param_value *value) {
    if (is_given(value) && value->f < 0.0) {
        return host->fail(host, PARE_E_RANGE, "%s: got %g, wanted 0 or more", value->name,
                          value->f);
    }
    return PARE_OK;
}

static pare_status read_amount(const pare_host *host, const pare_params *params,
                               struct pruner_options *o) {
    static const char *const names[] = {"sparsity", "amount", "count"};
    static const enum amount_kind kinds[] = {AMOUNT_SPARSITY, AMOUNT_FRACTION, AMOUNT_COUNT};
    const char *given = NULL;
    for (int k = 0; k < 3; k++) {
        const pare_param_value *value = param_named(params, names[k]);
        const pare_status status = check_amount(host, value);
        if (status < 0 || !is_given(value)) {
            if (status < 0) {
                return status;
            }
            continue;
        }
        if (given) {
            return host->fail(host, PARE_E_ARG, "%s and %s: both are given, wanted one of them",
                              given, names[k]);
        }
        given = names[k];
        o->amount = (struct amount){kinds[k], value->f};
    }
    const pare_param_value *amounts = param_named(params, "amounts");
    o->map = (struct pattern_map){amounts->n, amounts->strings};
    if (!given && amounts->n == 0) {
        return host->fail(host, PARE_E_ARG,
                          "sparsity: not given, and neither are amount, count or amounts; give one "
                          "of them");
    }
    if (o->amount.kind == AMOUNT_SPARSITY && !(o->amount.value < 1.0)) {
        return host->fail(host, PARE_E_RANGE, "sparsity: got %g, wanted 0 <= sparsity < 1",
                          o->amount.value);
    }
    return amount_map_check(host, &o->map);
}

static pare_status check_list(const pare_host *host, const struct pruner_options *o, int32_t n_to) {
    const struct schedule *s = &o->schedule;
    if (s->kind != SCHEDULE_LIST) {
        return s->n_list || n_to
                   ? host->fail(host, PARE_E_ARG,
                                "list_at, list_sparsity: only with schedule = \"list\"")
                   : PARE_OK;
    }
    if (s->n_list == 0 || s->n_list != n_to) {
        return host->fail(host, PARE_E_ARG,
                          "list_at, list_sparsity: got %d and %d numbers, wanted as many, and at "
                          "least one",
                          s->n_list, n_to);
    }
    for (int32_t k = 1; k < n_to; k++) {
        if (s->list_at[k] < s->list_at[k - 1] || s->list_to[k] < s->list_to[k - 1]) {
            return host->fail(host, PARE_E_ARG,
                              "list_at, list_sparsity: entry %d is less than the one before it",
                              k + 1);
        }
    }
    if (o->amount.kind != AMOUNT_SPARSITY || s->list_to[n_to - 1] != s->final || o->map.n > 0) {
        return host->fail(host, PARE_E_ARG,
                          "list_sparsity: ends with %g, wanted sparsity to be given and equal to "
                          "that, and no amounts",
                          s->list_to[n_to - 1]);
    }
    return PARE_OK;
}

static pare_status read_schedule(const pare_host *host, const pare_params *params,
                                 struct pruner_options *o) {
    const pare_param_value *kind = param_named(params, "schedule");
    if (!kind) {
        return PARE_OK;
    }
    const pare_param_value *at = param_named(params, "list_at");
    const pare_param_value *to = param_named(params, "list_sparsity");
    struct schedule *s = &o->schedule;
    *s = (struct schedule){
        .kind = (enum schedule_kind)schedule_parse(kind->s),
        .initial = param_named(params, "initial_sparsity")->f,
        .final = o->amount.kind == AMOUNT_SPARSITY ? o->amount.value : 1.0,
        .begin = param_named(params, "begin")->f,
        .end = param_named(params, "end")->f,
        .interval = param_named(params, "interval")->i,
        .rounds = param_named(params, "rounds")->i,
        .n_list = at->n,
        .list_at = at->numbers,
        .list_to = to->numbers,
    };
    if (s->initial > s->final) {
        return host->fail(host, PARE_E_RANGE,
                          "initial_sparsity: got %g, wanted at most sparsity, which is %g",
                          s->initial, s->final);
    }
    if (s->begin > s->end) {
        return host->fail(host, PARE_E_RANGE, "begin: got %g, wanted at most end, which is %g",
                          s->begin, s->end);
    }
    return check_list(host, o, to->n);
}

pare_status pruner_options_read(const pare_host *host, const pare_params *params,
                                struct pruner_options *options) {
    struct pruner_options o = {.schedule = {.kind = SCHEDULE_ONCE}};
    const pare_param_value *structure = param_named(params, "structure");
    const pare_param_value *ties = param_named(params, "ties");
    o.is_global = strcmp(param_named(params, "scope")->s, "global") == 0;
    o.allow_empty = param_named(params, "allow_empty")->i != 0;
    o.structure = structure ? (enum structure)structure_parse(structure->s) : STRUCTURE_WEIGHT;
    o.ties = ties && strcmp(ties->s, "pytorch") == 0 ? TIES_PYTORCH : TIES_FIRST;
    pare_status status = read_amount(host, params, &o);
    if (status == PARE_OK && o.is_global && o.map.n > 0) {
        status = host->fail(host, PARE_E_ARG,
                            "amounts: they are per layer, and scope is \"global\"; wanted "
                            "scope = \"local\"");
    }
    if (status == PARE_OK) {
        status = read_schedule(host, params, &o);
    }
    if (status == PARE_OK) {
        *options = o;
    }
    return status;
}
