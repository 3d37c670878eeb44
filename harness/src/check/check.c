/* SPDX-License-Identifier: MIT */
#include "check/check.h"

#include "check/case.h"
#include "check/live.h"
#include "core/file.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_LABEL, MESSAGE_REPORT, MESSAGE_COUNT };

/* Enough for the largest models of the checks many times over. */
#define MEMORY_BYTES ((int64_t)1 << 31)

const char *check_verdict_name(enum check_verdict verdict) {
    static const char *const names[] = {"pass", "fail", "not applicable"};
    return names[verdict];
}

int64_t count_one(struct check_case *c) {
    (void)c;
    return 1;
}

/* What a method or backend is, and then does; what depends on much comes last. */
static const struct check checks[] = {
    {"load", "the loader takes it, twice, and its table stays the same", 1, 0, 0, 0, count_one,
     check_load},
    {"exports", "the one symbol, and no call that ends the process or prints", 1, 0, 0, 0,
     count_one, check_exports},
    {"life", "from create to destroy on small models", 0, 1, 1, 0, count_lives, check_life},
    {"memory", "host memory: nothing left, nothing written outside", 0, 1, 1, 0, count_lives,
     check_memory},
    {"threads", "functions that are [main] are called there, and [hot] ones keep to it", 0, 1, 1, 0,
     count_lives, check_threads},
    {"output", "nothing is printed", 0, 1, 1, 0, count_lives, check_output},
    {"repeat", "one seed, one result: whatever the threads, the memory and other instances", 0, 1,
     1, 0, count_repeats, check_repeat},
    {"loops", "many lives leave no memory, file or thread behind", 0, 1, 1, 0, count_lives,
     check_loops},
    {"params", "every parameter at its limits, beyond them, and with nonsense", 0, 1, 1, 1,
     count_params, check_params},
    {"alloc", "every allocation failing in turn", 0, 1, 1, 0, count_allocs, check_alloc},
    {"effects", "what it declares to read, write and preserve, against what changed", 0, 1, 0, 0,
     count_effects, check_effects},
    {"gradient", "backward against differences of forward", 0, 1, 0, 0, count_gradients,
     check_gradient},
    {"graphs", "results on random graphs against the backend ref", 0, 0, 1, 0, count_graphs,
     check_graphs},
    {0},
};

const struct check *check_table(void) {
    return checks;
}

/* ---- in the child ---- */

void case_label(struct check_case *c, const char *format, ...) {
    char text[160] = "";
    struct error ignored;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    child_send(c->child, MESSAGE_LABEL, text, sizeof text, &ignored);
}

static void say(struct check_case *c, enum check_verdict verdict, const char *format,
                va_list args) {
    if (c->report.verdict == CHECK_FAIL)
        return;
    c->report.verdict = (int32_t)verdict;
    vsnprintf(c->report.text, sizeof c->report.text, format, args);
}

void case_fail(struct check_case *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(c, CHECK_FAIL, format, args);
    va_end(args);
}

void case_skip(struct check_case *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(c, CHECK_NOT_APPLICABLE, format, args);
    va_end(args);
}

void case_remark(struct check_case *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(c, CHECK_PASS, format, args);
    va_end(args);
}

struct counted {
    int64_t n, memo[4];
};

struct work {
    const struct check *check;
    struct check_case c;
    int is_count;
};

/* What plugins print is no part of pare's own output. */
static void silence(void) {
    int null = getenv("PARE_DEBUG") ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
}

static pare_status work_body(void *arg, struct child *child, struct error *err) {
    struct work *work = arg;
    work->c.child = child;
    silence();
    if (!work->is_count) {
        work->check->run(&work->c);
        return child_send(child, MESSAGE_REPORT, &work->c.report, sizeof work->c.report, err);
    }
    struct counted counted = {.n = work->check->count(&work->c)};
    memcpy(counted.memo, work->c.memo, sizeof counted.memo);
    if (counted.n < 0)
        return child_send(child, MESSAGE_REPORT, &work->c.report, sizeof work->c.report, err);
    return child_send(child, MESSAGE_COUNT, &counted, sizeof counted, err);
}

/* ---- in the parent ---- */

struct answer {
    char label[160];
    struct report report;
    struct counted counted;
    int is_reported, is_counted;
};

static pare_status receive(void *arg, int32_t kind, const void *data, size_t n_bytes,
                           struct error *err) {
    struct answer *answer = arg;
    void *to = kind == MESSAGE_LABEL    ? (void *)answer->label
               : kind == MESSAGE_REPORT ? (void *)&answer->report
                                        : (void *)&answer->counted;
    size_t size = kind == MESSAGE_LABEL    ? sizeof answer->label
                  : kind == MESSAGE_REPORT ? sizeof answer->report
                                           : sizeof answer->counted;
    if (n_bytes != size || kind > MESSAGE_COUNT)
        return error_set(err, PARE_E_PLUGIN, "broke the connection of its own process");
    memcpy(to, data, size);
    answer->label[sizeof answer->label - 1] = '\0';
    answer->report.text[sizeof answer->report.text - 1] = '\0';
    answer->is_reported |= kind == MESSAGE_REPORT;
    answer->is_counted |= kind == MESSAGE_COUNT;
    return PARE_OK;
}

/* Runs one case, or its count, in a child. A child that dies has failed. */
static void run_child(const struct subject *s, const struct check *check, int64_t index,
                      const int64_t memo[4], struct answer *answer, enum child_end *end) {
    struct error err = {PARE_OK, ""};
    struct note *note = NULL;
    *answer = (struct answer){.label = ""};
    note_create(&err, &note);
    struct work work = {check, {.subject = s, .index = index, .note = note}, index < 0};
    if (memo)
        memcpy(work.c.memo, memo, sizeof work.c.memo);
    struct child_options options = {
        .timeout_s = s->options->timeout_s, .memory_bytes = MEMORY_BYTES, .note = note};
    fflush(NULL);
    pare_status status = child_run(&options, work_body, &work, receive, answer, &err, end);
    note_destroy(note);
    int is_told = answer->is_reported || answer->is_counted;
    if (status == PARE_OK && is_told && (uint32_t)answer->report.verdict <= CHECK_NOT_APPLICABLE)
        return;
    answer->report.verdict = CHECK_FAIL;
    answer->is_reported = 1;
    snprintf(answer->report.text, sizeof answer->report.text, "%.600s",
             err.text[0] ? err.text : "its process said nothing");
}

struct tally {
    struct check_row row;
    char reason[1024];
    int64_t n_passed, n_slow, n_skipped;
};

/* "alloc 3: crashed": the first of its kind is kept. */
static void add_answer(struct tally *t, const struct check *check, int64_t index,
                       const struct answer *answer, enum child_end end) {
    const struct report *r = &answer->report;
    int is_failure = r->verdict == CHECK_FAIL;
    int is_slow = check->slow_is_no_failure && is_failure && end == CHILD_TIMEOUT;
    int is_first = is_failure && !is_slow && t->row.n_failed == 0;
    t->row.n_cases++;
    t->n_slow += is_slow;
    t->n_passed += r->verdict == CHECK_PASS;
    t->n_skipped += r->verdict == CHECK_NOT_APPLICABLE;
    if (is_first)
        t->row.failed_case = index;
    t->row.n_failed += is_failure && !is_slow;
    if (r->text[0] && (is_first || (!t->reason[0] && !t->row.n_failed)))
        snprintf(t->reason, sizeof t->reason, "%s%s%s", answer->label, answer->label[0] ? ": " : "",
                 r->text);
}

static pare_status finish(struct tally *t, check_sink sink, void *arg, struct error *err,
                          int *n_failed) {
    struct check_row *row = &t->row;
    size_t used = strlen(t->reason);
    row->verdict = row->n_failed                 ? CHECK_FAIL
                   : t->n_passed + t->n_slow > 0 ? CHECK_PASS
                                                 : CHECK_NOT_APPLICABLE;
    if (row->n_failed > 1 || (row->n_failed && row->n_cases > 1))
        snprintf(t->reason + used, sizeof t->reason - used, " (%lld of %lld cases fail)",
                 (long long)row->n_failed, (long long)row->n_cases);
    else if (t->n_passed > 0 && t->n_skipped > 0)
        snprintf(t->reason + used, sizeof t->reason - used, " (%lld of %lld cases not applicable)",
                 (long long)t->n_skipped, (long long)row->n_cases);
    else if (t->n_slow)
        snprintf(t->reason + used, sizeof t->reason - used, " (%lld of %lld cases not finished)",
                 (long long)t->n_slow, (long long)row->n_cases);
    row->reason = t->reason;
    *n_failed += row->verdict == CHECK_FAIL;
    return sink(arg, row, err);
}

static pare_status run_check(const struct subject *s, const struct check *check, check_sink sink,
                             void *arg, struct error *err, int *n_failed) {
    struct answer answer;
    enum child_end end;
    int64_t only = s->entry || !check->of_plugin ? s->options->only_case : -1;
    struct tally t = {.row = {.subject = s->entry ? s->entry->owner : "plugin",
                              .check = check->name,
                              .doc = check->doc,
                              .failed_case = -1}};
    run_child(s, check, -1, NULL, &answer, &end);
    if (!answer.is_counted) { /* it failed before there was a first case */
        add_answer(&t, check, -1, &answer, end);
        return finish(&t, sink, arg, err, n_failed);
    }
    struct counted counted = answer.counted;
    int64_t n = counted.n;
    if (only >= n)
        return error_set(err, PARE_E_RANGE, "--case is %lld, check %s of %s has %lld cases, from 0",
                         (long long)only, check->name, t.row.subject, (long long)n);
    for (int64_t k = only < 0 ? 0 : only; k < (only < 0 ? n : only + 1); k++) {
        run_child(s, check, k, counted.memo, &answer, &end);
        add_answer(&t, check, k, &answer, end);
    }
    return finish(&t, sink, arg, err, n_failed);
}

/* All checks that suit the subject; one that does not live is not asked more. */
static pare_status run_checks(const struct subject *s, check_sink sink, void *arg,
                              struct error *err, int *n_failed) {
    pare_status status = PARE_OK;
    const char *only = s->options->only;
    int before = *n_failed;
    for (const struct check *check = checks; check->name && status == PARE_OK; check++) {
        int suits = s->entry->method ? check->of_methods : check->of_backends;
        if (suits && (!only || strcmp(only, check->name) == 0))
            status = run_check(s, check, sink, arg, err, n_failed);
        if (strcmp(check->name, "life") == 0 && *n_failed > before)
            break;
    }
    return status;
}

/* The file itself. `load` is always asked: what fails there is not taken into this process. */
static pare_status check_file(const struct subject *file, check_sink sink, void *arg,
                              struct error *err, int *n_failed, int *load_failed) {
    const char *only = file->options->only;
    pare_status status = PARE_OK;
    for (const struct check *check = checks; check->of_plugin && status == PARE_OK; check++) {
        if (check == checks || !only || strcmp(only, check->name) == 0)
            status = run_check(file, check, sink, arg, err, n_failed);
        if (check == checks)
            *load_failed = *n_failed > 0;
        if (*load_failed)
            break;
    }
    return status;
}

static const struct plugin_entry *find_reference(const struct check_options *options,
                                                 const struct plugin_entry *entry) {
    struct error ignored;
    const struct plugin_entry *reference = NULL;
    if (!entry->backend || strcmp(entry->backend->id, "ref") == 0 || !options->others)
        return NULL;
    return registry_find_backend(options->others, "ref", &ignored, &reference) == PARE_OK
               ? reference
               : NULL;
}

static int is_wanted(const struct check_options *o, const struct plugin_entry *entry) {
    if (!o->method && !o->backend)
        return 1;
    return entry->method ? o->method && strcmp(o->method, entry->method->id) == 0
                         : o->backend && strcmp(o->backend, entry->backend->id) == 0;
}

/* Every setting must be a parameter of something that is checked. */
static pare_status check_settings(const struct check_options *options, const struct registry *reg,
                                  struct error *err) {
    for (size_t i = 0; i < options->n_settings; i++) {
        int is_known = 0;
        for (size_t k = 0; k < registry_n_entries(reg); k++)
            is_known |= is_wanted(options, registry_entry(reg, k)) &&
                        live_has_param(registry_entry(reg, k), options->settings[i].name);
        if (!is_known)
            return error_set(err, PARE_E_NOT_FOUND, "%s has no parameter \"%s\"", options->path,
                             options->settings[i].name);
    }
    return PARE_OK;
}

static pare_status check_entries(const struct check_options *options, struct registry *reg,
                                 check_sink sink, void *arg, struct error *err, int *n_failed) {
    int n_wanted = 0;
    pare_status status = PARE_OK;
    for (size_t k = 0; k < registry_n_entries(reg) && status == PARE_OK; k++) {
        const struct plugin_entry *entry = registry_entry(reg, k);
        struct subject s = {options, entry, find_reference(options, entry)};
        if (!is_wanted(options, entry))
            continue;
        n_wanted++;
        status = run_checks(&s, sink, arg, err, n_failed);
    }
    if (status == PARE_OK && n_wanted == 0)
        return error_set(err, PARE_E_NOT_FOUND, "%s has no %s \"%s\"", options->path,
                         options->method ? "method" : "backend",
                         options->method ? options->method : options->backend);
    return status;
}

static int is_of_file(const char *only) {
    for (const struct check *check = checks; only && check->of_plugin; check++)
        if (strcmp(only, check->name) == 0)
            return 1;
    return 0;
}

static pare_status check_name(const char *only, struct error *err) {
    const char *names[sizeof checks / sizeof checks[0]];
    size_t n = 0;
    for (const struct check *check = checks; check->name; check++) {
        if (strcmp(only, check->name) == 0)
            return PARE_OK;
        names[n++] = check->name;
    }
    const char *near = nearest_name(only, names, n);
    return error_set(err, PARE_E_NOT_FOUND, "unknown check \"%s\"%s%s%s", only,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

pare_status check_plugin(const struct check_options *options, check_sink sink, void *arg,
                         struct error *err, int *n_failed) {
    struct subject file = {options, NULL, NULL};
    struct registry *reg = NULL;
    int load_failed = 0;
    *n_failed = 0;
    if (!file_exists(options->path))
        return error_set(err, PARE_E_NOT_FOUND, "%s: there is no such file", options->path);
    if (options->only && check_name(options->only, err))
        return err->status;
    if (check_file(&file, sink, arg, err, n_failed, &load_failed))
        return err->status;
    if (load_failed || is_of_file(options->only))
        return PARE_OK;
    if (registry_create(err, &reg))
        return err->status;
    pare_status status = registry_load(reg, options->path, err);
    if (status == PARE_OK)
        status = check_settings(options, reg, err);
    if (status == PARE_OK)
        status = check_entries(options, reg, sink, arg, err, n_failed);
    registry_destroy(reg);
    return status;
}
