/* SPDX-License-Identifier: MIT */
#include "check/live.h"

#include "check/backend_life.h"
#include "check/life.h"
#include "core/alloc.h"
#include "core/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct watch_options live_options(const struct check_case *c) {
    return (struct watch_options){.seed = c->subject->options->seed, .fail_at = -1, .fill = 0xcd};
}

struct pool *live_pool(int32_t n_threads) {
    struct error ignored;
    struct pool *pool = NULL;
    return pool_create(n_threads, NULL, &ignored, &pool) == PARE_OK ? pool : NULL;
}

int live_n(const struct subject *s) {
    return s->entry->method ? LIFE_N_MODELS : BACKEND_LIFE_N_GRAPHS;
}

const char *live_name(const struct subject *s, int which) {
    return s->entry->method ? life_model_name(which) : backend_life_graph_name(which);
}

/* ---- parameters ---- */

/* Some value for a row that has no default. */
static void make_up(const pare_param_desc *row, char text[64]) {
    int is_bounded = !(row->min == 0 && row->max == 0);
    double middle = is_bounded ? row->min / 2 + row->max / 2 : 1;
    switch (row->type) {
    case PARE_PARAM_BOOL:
        snprintf(text, 64, "true");
        break;
    case PARE_PARAM_INT:
        snprintf(text, 64, "%lld", (long long)middle);
        break;
    case PARE_PARAM_FLOAT:
        snprintf(text, 64, "%.17g", middle);
        break;
    default:
        snprintf(text, 64, "%.*s", (int)(row->choices ? strcspn(row->choices, "|") : 1),
                 row->choices ? row->choices : "x");
    }
}

static const pare_param_desc *row_of(const struct param_table *table, uint32_t k) {
    return (const void *)((const char *)table->rows + (size_t)k * table->row_size);
}

static int is_given(const struct param_input *settings, size_t n, const char *name) {
    for (size_t k = 0; k < n; k++)
        if (strcmp(settings[k].name, name) == 0)
            return 1;
    return 0;
}

int live_has_param(const struct plugin_entry *entry, const char *name) {
    struct param_table table = registry_param_table(entry);
    for (uint32_t k = 0; k < table.n; k++)
        if (strcmp(row_of(&table, k)->name, name) == 0)
            return 1;
    return 0;
}

pare_status live_params(const struct subject *s, const struct param_input *settings, size_t n,
                        struct error *err, struct params **params) {
    struct param_table table = registry_param_table(s->entry);
    struct param_input *inputs = alloc_array(n + table.n, sizeof *inputs);
    char(*texts)[64] = alloc_array(table.n, sizeof *texts);
    pare_status status = PARE_E_NOMEM;
    if (inputs && texts) {
        size_t used = 0;
        for (size_t k = 0; k < n; k++) /* those of this table; what they point to is borrowed */
            if (live_has_param(s->entry, settings[k].name))
                inputs[used++] = settings[k];
        for (uint32_t k = 0; k < table.n; k++) {
            const pare_param_desc *row = row_of(&table, k);
            if (row->default_value || row->type == PARE_PARAM_STRINGS ||
                row->type == PARE_PARAM_NUMBERS || is_given(settings, n, row->name))
                continue;
            make_up(row, texts[k]);
            inputs[used++] = (struct param_input){.name = (char *)(uintptr_t)row->name,
                                                  .kind = INPUT_STRING,
                                                  .from_text = 1,
                                                  .string = texts[k]};
        }
        status = params_resolve(&table, 1, inputs, used, err, params);
    } else {
        error_set(err, status, "out of memory");
    }
    free(inputs);
    free(texts);
    return status;
}

/* ---- lives ---- */

static void live_method(struct check_case *c, int which, const struct params *params,
                        const struct watch_options *options, struct outcome *out) {
    struct model *model = NULL;
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    uint64_t seed = c->subject->options->seed;
    if (life_make_model(which, seed, &out->err, &model)) {
        out->is_own = 1;
        return;
    }
    struct life life = {.entry = c->subject->entry,
                        .params = params,
                        .options = *options,
                        .model = model,
                        .data_seed = seed,
                        .note = c->note};
    out->status = life_run(&life, &out->err);
    out->is_own = out->status == PARE_E_LIMIT && !life.is_told;
    out->is_told = life.is_told;
    out->n_allocs = life.n_allocs;
    out->n_refused = life.n_refused;
    out->leaked_bytes = life.leaked_bytes;
    memcpy(out->misuse, life.misuse, sizeof out->misuse);
    memcpy(out->violation, life.violation, sizeof out->violation);
    if (out->status == PARE_OK) {
        if (model_serialize(model, NULL, 0, &out->err, &data, &n_bytes))
            out->is_own = 1;
        else
            out->digest = hash_bytes(data, n_bytes, 0);
    }
    free(data);
    model_destroy(model);
}

void live(struct check_case *c, int which, const struct params *params,
          const struct watch_options *options, struct outcome *out) {
    const struct subject *s = c->subject;
    struct params *own = NULL;
    *out = (struct outcome){.status = PARE_OK};
    if (!params && live_params(s, s->options->settings, s->options->n_settings, &out->err, &own)) {
        out->status = out->err.status;
        out->is_own = 1;
        return;
    }
    if (s->entry->method)
        live_method(c, which, params ? params : own, options, out);
    else
        backend_life(c, which, params ? params : own, options, out);
    params_destroy(own);
}
