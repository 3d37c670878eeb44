/* SPDX-License-Identifier: MIT */
#include "measure/counters.h"

#include "core/alloc.h"
#include "measure/counters_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EVENTS = 256, MAX_IN_GROUP = 32, REASON_BYTES = 224 };

static const char NOT_RUN[] = "not measured: its pass has not run";

enum event_kind { EVENT_ABSENT, EVENT_SOFT, EVENT_SDE, EVENT_PAPI };

struct event {
    char *name;
    enum event_kind kind;
    struct soft_counter soft;
    enum sde_counter sde;
    int64_t sde_at_start;
    size_t pass;
    int has_value;
    int64_t value;
    int64_t enabled_ns, running_ns; /* of the last run; 0 where nothing tells */
    char reason[REASON_BYTES];      /* why it is absent */
};

/* Events of one PAPI component that count together. */
struct group {
    char component[32];
    int handle;
    size_t pass;
    int running;
    size_t n_events;
    struct event *events[MAX_IN_GROUP];
};

struct counters {
    const struct papi_api *papi; /* NULL when PAPI cannot be used */
    char papi_why[REASON_BYTES];
    size_t n_events, n_groups, n_passes;
    struct event *events; /* (n_events) */
    struct group *groups; /* (n_groups) of at most n_events */
    int64_t sde[N_SDE];   /* what pare itself has counted */
    int running;
    size_t running_pass;
    char *status;
};

static const char *const sde_names[N_SDE] = {
    [SDE_MACS] = "MACS",
    [SDE_WEIGHT_BYTES] = "WEIGHT_BYTES",
    [SDE_KERNEL_CALLS] = "KERNEL_CALLS",
    [SDE_FALLBACK_OPS] = "FALLBACK_OPS",
};

const char *sde_name(enum sde_counter which) {
    return sde_names[which];
}

__attribute__((format(printf, 2, 3))) static void make_absent(struct event *event,
                                                              const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(event->reason, sizeof event->reason, format, args);
    va_end(args);
    event->has_value = 0;
}

/* ---- opening ---- */

/* "rapl" of "rapl:::PACKAGE_ENERGY"; names without a component are the processor's. */
static void component_of(const char *name, char component[32]) {
    const char *end = strstr(name, ":::");
    if (end == NULL)
        snprintf(component, 32, "%s", PAPI_CPU_COMPONENT);
    else
        snprintf(component, 32, "%.*s", (int)(end - name < 31 ? end - name : 31), name);
}

static struct group *last_group_of(struct counters *set, const char *component) {
    for (size_t g = set->n_groups; g-- > 0;) {
        if (strcmp(set->groups[g].component, component) == 0)
            return &set->groups[g];
    }
    return NULL;
}

/* 0 or a PAPI code. */
static int add_to_group(struct counters *set, struct group *group, struct event *event) {
    int code = set->papi->group_add(set->papi->context, group->handle, event->name);
    if (code != 0)
        return code;
    group->events[group->n_events++] = event;
    event->pass = group->pass;
    return 0;
}

/* Puts an event into its component's last group if it fits there, else into a new group, whose pass
 * comes after. PAPI decides what fits: that depends on the processor's counters. */
static void place_event(struct counters *set, struct event *event, const char *component) {
    struct group *last = last_group_of(set, component), *fresh;
    void *context = set->papi->context;
    int code;
    if (last != NULL && last->n_events < MAX_IN_GROUP && add_to_group(set, last, event) == 0)
        return;
    fresh = &set->groups[set->n_groups];
    memset(fresh, 0, sizeof *fresh);
    snprintf(fresh->component, sizeof fresh->component, "%s", component);
    fresh->pass = last != NULL ? last->pass + 1 : 0;
    code = set->papi->group_create(context, &fresh->handle);
    if (code == 0) {
        code = add_to_group(set, fresh, event);
        if (code == 0) {
            set->n_groups++;
            set->n_passes = fresh->pass + 1 > set->n_passes ? fresh->pass + 1 : set->n_passes;
            return;
        }
        set->papi->group_destroy(context, fresh->handle);
    }
    event->kind = EVENT_ABSENT;
    make_absent(event, "%s", set->papi->error_text(context, code));
}

static void open_papi_event(struct counters *set, struct event *event) {
    char component[32], why[160];
    component_of(event->name, component);
    if (set->papi == NULL) {
        make_absent(event, "%s", set->papi_why);
        return;
    }
    if (!set->papi->component(set->papi->context, component, why, sizeof why)) {
        if (strcmp(component, PAPI_CPU_COMPONENT) == 0)
            make_absent(event, "no hardware counters here (%s)", why);
        else
            make_absent(event, "%s", why);
        return;
    }
    event->kind = EVENT_PAPI;
    place_event(set, event, component);
}

/* pare's own events, through PAPI where that works; where it does not, pare's own count is the
 * value: it is the same number that PAPI would read. Events that are not exported are never handed
 * to PAPI, which takes any name and counts nothing. */
static void open_sde_event(struct counters *set, struct event *event) {
    const char *name = event->name + strlen("sde:::pare::");
    char why[160];
    int which = 0;
    while (which < N_SDE && (strncmp(event->name, "sde:::pare::", strlen("sde:::pare::")) != 0 ||
                             strcmp(name, sde_names[which]) != 0))
        which++;
    if (which == N_SDE) {
        make_absent(event, "no such event: sde:::pare:: has MACS, WEIGHT_BYTES, KERNEL_CALLS and "
                           "FALLBACK_OPS");
        return;
    }
    event->sde = (enum sde_counter)which;
    event->kind = EVENT_SDE;
    if (set->papi != NULL && set->papi->component(set->papi->context, "sde", why, sizeof why)) {
        place_event(set, event, "sde");
        if (event->kind == EVENT_ABSENT)
            event->kind = EVENT_SDE;
    }
}

static void open_event(struct counters *set, struct event *event) {
    enum soft_event soft = soft_find(event->name);
    char why[160];
    for (struct event *other = set->events; other < event; other++) {
        if (strcmp(other->name, event->name) == 0) {
            make_absent(event, "listed twice");
            return;
        }
    }
    make_absent(event, "%s", NOT_RUN);
    if (soft != SOFT_NONE) {
        if (soft_open(&event->soft, soft, 1, why, sizeof why))
            event->kind = EVENT_SOFT;
        else
            make_absent(event, "%s", why);
    } else if (strncmp(event->name, "sde:::", strlen("sde:::")) == 0) {
        open_sde_event(set, event);
    } else {
        open_papi_event(set, event);
    }
}

int papi_start(const struct papi_api *papi, char version[32], char *why, size_t why_size) {
    if (papi != NULL)
        return papi->init(papi->context, version, why, why_size);
    version[0] = '\0';
    snprintf(why, why_size, "pare was built without PAPI");
    return 0;
}

pare_status counters_open_by(const struct papi_api *papi, const char *const *events,
                             size_t n_events, struct error *err, struct counters **out) {
    struct counters *set;
    char version[32];
    if (n_events > MAX_EVENTS)
        return error_set(err, PARE_E_LIMIT, "counters: %zu events, wanted at most %d", n_events,
                         (int)MAX_EVENTS);
    set = alloc_array(1, sizeof *set);
    if (set == NULL)
        return error_set(err, PARE_E_NOMEM, "counters: out of memory");
    set->n_passes = 1;
    set->events = alloc_array(n_events, sizeof *set->events);
    set->groups = alloc_array(n_events, sizeof *set->groups);
    if (set->events == NULL || set->groups == NULL)
        goto no_memory;
    if (papi_start(papi, version, set->papi_why, sizeof set->papi_why))
        set->papi = papi;
    for (size_t k = 0; k < n_events; k++) {
        set->events[k].name = alloc_printf("%s", events[k]);
        if (set->events[k].name == NULL)
            goto no_memory;
        set->n_events = k + 1;
        open_event(set, &set->events[k]);
    }
    *out = set;
    return PARE_OK;
no_memory:
    counters_close(set);
    return error_set(err, PARE_E_NOMEM, "counters: out of memory");
}

pare_status counters_open(const char *const *events, size_t n_events, struct error *err,
                          struct counters **out) {
    return counters_open_by(papi_real(), events, n_events, err, out);
}

void counters_close(struct counters *set) {
    long long values[MAX_IN_GROUP];
    if (set == NULL)
        return;
    for (size_t g = 0; g < set->n_groups; g++) {
        if (set->groups[g].running)
            set->papi->group_stop(set->papi->context, set->groups[g].handle, values);
        set->papi->group_destroy(set->papi->context, set->groups[g].handle);
    }
    for (size_t k = 0; k < set->n_events; k++) {
        soft_close(&set->events[k].soft);
        free(set->events[k].name);
    }
    free(set->events);
    free(set->groups);
    free(set->status);
    free(set);
}

size_t counters_n_passes(const struct counters *set) {
    return set->n_passes;
}

/* ---- counting ---- */

static void fail_group(struct counters *set, struct group *group, const char *what, int code) {
    for (size_t i = 0; i < group->n_events; i++)
        make_absent(group->events[i], "%s: %s", what,
                    set->papi->error_text(set->papi->context, code));
}

/* PAPI counts the calling thread. A figure that leaves out the other threads would be wrong by as
 * much as they did, so there is none. */
static int counts_one_thread(struct counters *set, struct group *group) {
    int n = set->papi->n_threads(set->papi->context);
    if (strcmp(group->component, PAPI_CPU_COMPONENT) != 0 || n <= 1)
        return 1;
    for (size_t i = 0; i < group->n_events; i++)
        make_absent(group->events[i],
                    "counts one thread, and this process has %d: measure it with 1 thread", n);
    return 0;
}

static void start_group(struct counters *set, struct group *group) {
    int code;
    if (!counts_one_thread(set, group))
        return;
    code = set->papi->group_start(set->papi->context, group->handle);
    group->running = code == 0;
    if (code != 0)
        fail_group(set, group, "could not start", code);
}

static void start_own(struct counters *set, struct event *event) {
    char why[160];
    if (event->kind == EVENT_SDE)
        event->sde_at_start = set->sde[event->sde];
    if (event->kind == EVENT_SOFT &&
        !soft_read(&event->soft, &event->soft.at_start, why, sizeof why)) {
        event->kind = EVENT_ABSENT;
        make_absent(event, "%s", why);
    }
}

static pare_status check_pass(const struct counters *set, size_t pass, struct error *err) {
    if (pass < set->n_passes)
        return PARE_OK;
    return error_set(err, PARE_E_ARG, "counters: pass %zu, there are %zu", pass, set->n_passes);
}

pare_status counters_start(struct counters *set, size_t pass, struct error *err) {
    pare_status status = check_pass(set, pass, err);
    if (status != PARE_OK)
        return status;
    if (set->running)
        return error_set(err, PARE_E_STATE, "counters: pass %zu started while %zu runs", pass,
                         set->running_pass);
    set->running = 1;
    set->running_pass = pass;
    for (size_t g = 0; g < set->n_groups; g++) {
        if (set->groups[g].pass == pass)
            start_group(set, &set->groups[g]);
    }
    /* Inside of PAPI: its start may fault and switch, while reading these costs it only a few
     * hundred instructions. */
    for (size_t k = 0; k < set->n_events; k++) {
        if (set->events[k].pass == pass)
            start_own(set, &set->events[k]);
    }
    return PARE_OK;
}

static void stop_own(struct counters *set, struct event *event) {
    struct soft_reading now;
    char why[160];
    if (event->kind == EVENT_SDE) {
        event->value = set->sde[event->sde] - event->sde_at_start;
        event->has_value = 1;
    }
    if (event->kind != EVENT_SOFT)
        return;
    if (soft_read(&event->soft, &now, why, sizeof why)) {
        event->value = now.value - event->soft.at_start.value;
        event->enabled_ns = now.enabled_ns - event->soft.at_start.enabled_ns;
        event->running_ns = now.running_ns - event->soft.at_start.running_ns;
        event->has_value = 1;
    } else {
        make_absent(event, "%s", why);
    }
}

static void stop_group(struct counters *set, struct group *group) {
    long long values[MAX_IN_GROUP] = {0};
    int code = set->papi->group_stop(set->papi->context, group->handle, values);
    group->running = 0;
    if (code != 0) {
        fail_group(set, group, "could not be read", code);
        return;
    }
    for (size_t i = 0; i < group->n_events; i++) {
        struct event *event = group->events[i];
        /* What PAPI says of pare's own events must be what pare counted (stop_own was first). */
        if (event->kind == EVENT_SDE && values[i] != event->value) {
            make_absent(event, "PAPI read %lld, pare counted %lld", values[i],
                        (long long)event->value);
            continue;
        }
        event->value = values[i];
        event->has_value = 1;
    }
}

pare_status counters_stop(struct counters *set, size_t pass, struct error *err) {
    pare_status status = check_pass(set, pass, err);
    if (status != PARE_OK)
        return status;
    if (!set->running || set->running_pass != pass)
        return error_set(err, PARE_E_STATE, "counters: pass %zu stopped, but it does not run",
                         pass);
    for (size_t k = 0; k < set->n_events; k++) {
        if (set->events[k].pass == pass)
            stop_own(set, &set->events[k]);
    }
    for (size_t g = 0; g < set->n_groups; g++) {
        if (set->groups[g].pass == pass && set->groups[g].running)
            stop_group(set, &set->groups[g]);
    }
    set->running = 0;
    return PARE_OK;
}

void counters_sde_add(struct counters *set, enum sde_counter which, int64_t amount) {
    if (set == NULL)
        return;
    set->sde[which] += amount;
    if (set->papi != NULL)
        set->papi->sde_add(set->papi->context, which, amount);
}

/* ---- results ---- */

int counters_value(const struct counters *set, size_t k, int64_t *value, const char **reason) {
    const struct event *event = &set->events[k];
    if (event->has_value)
        *value = event->value;
    else
        *reason = event->reason;
    return event->has_value;
}

int counters_value_of(const struct counters *set, const char *event, int64_t *value) {
    const char *reason;
    for (size_t k = 0; k < set->n_events; k++) {
        if (strcmp(set->events[k].name, event) == 0)
            return counters_value(set, k, value, &reason);
    }
    return 0;
}

/* Events of one run are enabled together, so the longest stands for all. */
int counters_times(const struct counters *set, int64_t *enabled_ns, int64_t *running_ns) {
    int known = 0;
    *enabled_ns = *running_ns = 0;
    for (size_t k = 0; k < set->n_events; k++) {
        const struct event *event = &set->events[k];
        if (!event->has_value || event->enabled_ns <= *enabled_ns)
            continue;
        *enabled_ns = event->enabled_ns;
        *running_ns = event->running_ns;
        known = 1;
    }
    return known;
}

/* "A, B: reason": the events without a value that share event k's reason, if k is the first of
 * them. */
static void print_absent(FILE *out, const struct counters *set, size_t k, int is_first) {
    const char *reason = set->events[k].reason;
    for (size_t j = 0; j < k; j++) {
        if (!set->events[j].has_value && strcmp(set->events[j].reason, reason) == 0)
            return;
    }
    fprintf(out, "%s%s", is_first ? "" : "; ", set->events[k].name);
    for (size_t j = k + 1; j < set->n_events; j++) {
        if (!set->events[j].has_value && strcmp(set->events[j].reason, reason) == 0)
            fprintf(out, ", %s", set->events[j].name);
    }
    fprintf(out, ": %s", reason);
}

const char *counters_status(struct counters *set) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL)
        return "out of memory";
    for (size_t k = 0; k < set->n_events; k++) {
        if (!set->events[k].has_value)
            print_absent(out, set, k, ftell(out) == 0);
    }
    if (fclose(out) != 0) {
        free(text);
        return "out of memory";
    }
    free(set->status);
    set->status = text;
    return n_bytes > 0 ? text : "ok";
}
