/* SPDX-License-Identifier: MIT */
#include "experiment/isolate.h"

#include "core/alloc.h"
#include "core/cgroup.h"
#include "core/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pare_status isolate_run_here(const struct trial_env *env, const struct trial *trial,
                             trial_emit emit, void *context, struct error *err) {
    struct trial_env with_pool = *env;
    with_pool.pool = NULL;
    if (pool_create(topology_n_cores(env->topo), env->topo, err, &with_pool.pool) != PARE_OK)
        return err->status;
    pare_status status = trial_run(&with_pool, trial, emit, context, err);
    pool_destroy(with_pool.pool);
    return status;
}

int64_t experiment_default_memory(void) {
    double machine = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double group = cgroup_memory_limit("");
    double least = group < machine ? group : machine;
    return least > 0 ? (int64_t)(0.75 * least) : 0;
}

/* ---- messages ---- */

enum { MESSAGE_STAGE, MESSAGE_ROW, MESSAGE_SAMPLES };

struct stage_message {
    int32_t stage, arm;
};

struct sample_message {
    char arm_id[17];
    int64_t query;
    double ns;
};
enum { MAX_SAMPLES = 16384 }; /* in one message */

/* ---- the child's side ---- */

struct sender {
    const struct trial_env *env;
    const struct trial *trial;
    const struct isolation *isolation;
    struct child *child;
    struct sample_message *samples; /* (MAX_SAMPLES), NULL: not wanted */
    size_t n_samples;
};

static pare_status send_samples(struct sender *s, struct error *err) {
    size_t n = s->n_samples;
    s->n_samples = 0;
    return n ? child_send(s->child, MESSAGE_SAMPLES, s->samples, n * sizeof *s->samples, err)
             : PARE_OK;
}

static void send_sample(void *arg, const char *arm_id, int64_t query, double ns) {
    struct sender *s = arg;
    struct sample_message *m = &s->samples[s->n_samples++];
    *m = (struct sample_message){.query = query, .ns = ns};
    snprintf(m->arm_id, sizeof m->arm_id, "%s", arm_id);
    struct error ignored; /* a connection that is gone is noticed with the row */
    if (s->n_samples == MAX_SAMPLES)
        send_samples(s, &ignored);
}

static pare_status send_stage(void *arg, enum trial_stage stage, int32_t arm, struct error *err) {
    struct sender *s = arg;
    struct stage_message m = {(int32_t)stage, arm};
    return child_send(s->child, MESSAGE_STAGE, &m, sizeof m, err);
}

static pare_status send_row(void *context, const struct record *rec, struct error *err) {
    struct sender *s = context;
    size_t n_bytes = 0;
    char *data = record_pack(rec, &n_bytes);
    if (!data)
        return error_set(err, PARE_E_NOMEM, "out of memory for a row");
    pare_status status = send_samples(s, err);
    if (status == PARE_OK)
        status = child_send(s->child, MESSAGE_ROW, data, n_bytes, err);
    free(data);
    return status;
}

static pare_status run_in_child(void *arg, struct child *child, struct error *err) {
    struct sender *s = arg;
    struct trial_env env = *s->env;
    s->child = child;
    dup2(STDERR_FILENO, STDOUT_FILENO); /* what a plugin prints is no result */
    if (s->isolation->detach)
        s->isolation->detach(s->isolation->detach_arg);
    env.stage = send_stage;
    env.stage_arg = s;
    if (env.sample) {
        s->samples = alloc_array(MAX_SAMPLES, sizeof *s->samples);
        if (!s->samples)
            return error_set(err, PARE_E_NOMEM, "out of memory for raw samples");
        env.sample = send_sample;
        env.sample_arg = s;
    }
    return isolate_run_here(&env, s->trial, send_row, s, err);
}

/* ---- the parent's side ---- */

struct receiver {
    const struct trial_env *env;
    const struct trial *trial; /* the arms that this child does */
    trial_emit emit;
    void *context;
    size_t n_rows;
    int is_built;
    int is_garbled; /* a message was wrong: the child's fault, and the child's end */
};

static pare_status bad_message(struct receiver *r, struct error *err, const char *what) {
    r->is_garbled = 1;
    return error_set(err, PARE_E_PLUGIN, "a trial's process sent a wrong message: %s", what);
}

static pare_status receive_stage(struct receiver *r, const void *data, size_t n_bytes,
                                 struct error *err) {
    const struct stage_message *m = data;
    if (n_bytes != sizeof *m || m->stage < TRIAL_BUILD || m->stage > TRIAL_TIMING || m->arm < -1 ||
        m->arm >= (int64_t)r->env->exp->n_arms)
        return bad_message(r, err, "no such stage");
    r->is_built |= m->stage != TRIAL_BUILD;
    return r->env->stage ? r->env->stage(r->env->stage_arg, (enum trial_stage)m->stage, m->arm, err)
                         : PARE_OK;
}

/* The arm that is expected, and no other. */
static pare_status receive_row(struct receiver *r, const void *data, size_t n_bytes,
                               struct error *err) {
    struct record rec;
    char arm_id[17];
    if (r->n_rows == r->trial->n_arms)
        return bad_message(r, err, "a row more than there are arms");
    if (record_unpack(data, n_bytes, err, &rec) != PARE_OK)
        return err->status == PARE_E_FORMAT ? bad_message(r, err, err->text) : err->status;
    trial_make_arm_id(r->trial->id, &r->env->exp->arms[r->trial->arms[r->n_rows]], arm_id);
    pare_status status = strcmp(record_get(&rec, COL_arm_id), arm_id) == 0
                             ? PARE_OK
                             : bad_message(r, err, "a row of another arm");
    if (status == PARE_OK)
        status = r->emit(r->context, &rec, err);
    r->n_rows++;
    record_clear(&rec);
    return status;
}

static pare_status receive_samples(struct receiver *r, const void *data, size_t n_bytes,
                                   struct error *err) {
    const struct sample_message *m = data;
    if (n_bytes % sizeof *m != 0 || !r->env->sample)
        return bad_message(r, err, "no raw samples");
    for (size_t k = 0; k < n_bytes / sizeof *m; k++) {
        if (!memchr(m[k].arm_id, '\0', sizeof m[k].arm_id))
            return bad_message(r, err, "no arm of a raw sample");
        r->env->sample(r->env->sample_arg, m[k].arm_id, m[k].query, m[k].ns);
    }
    return PARE_OK;
}

static pare_status receive(void *arg, int32_t kind, const void *data, size_t n_bytes,
                           struct error *err) {
    switch (kind) {
    case MESSAGE_STAGE:
        return receive_stage(arg, data, n_bytes, err);
    case MESSAGE_ROW:
        return receive_row(arg, data, n_bytes, err);
    case MESSAGE_SAMPLES:
        return receive_samples(arg, data, n_bytes, err);
    default:
        return bad_message(arg, err, "of an unknown kind");
    }
}

/* What the user can do about it. */
static void add_advice(enum child_end end, struct error *why) {
    const char *advice = end == CHILD_TIMEOUT   ? "a longer --trial-timeout allows more"
                         : end == CHILD_STALLED ? "a longer --call-timeout allows more"
                         : end == CHILD_MEMORY  ? "a larger --trial-memory allows more"
                                                : NULL;
    if (advice)
        error_set(why, why->status, "%s; %s", why->text, advice);
}

/* One child for the arms in `rest`, which then holds those it left undone; *n_lost of these fail
 * with *why, which says what became of the child. err is for what ends the run. */
static pare_status run_child(const struct trial_env *env, const struct isolation *isolation,
                             trial_emit emit, void *context, struct trial *rest, size_t *n_lost,
                             struct error *why, struct error *err) {
    const struct child_options options = {.timeout_s = isolation->trial_s,
                                          .stall_s = isolation->stall_s,
                                          .memory_bytes = isolation->memory_bytes,
                                          .note = registry_note(env->reg)};
    struct sender sender = {.env = env, .trial = rest, .isolation = isolation};
    struct receiver receiver = {.env = env, .trial = rest, .emit = emit, .context = context};
    enum child_end end;
    pare_status status = child_run(&options, run_in_child, &sender, receive, &receiver, why, &end);
    rest->arms += receiver.n_rows;
    rest->n_arms -= receiver.n_rows;
    /* An arm that kills its process is one thing, no time left for the trial another. */
    int is_one = receiver.is_built && end != CHILD_TIMEOUT && rest->n_arms > 0;
    *n_lost = is_one ? 1 : rest->n_arms;
    if (status == PARE_OK && rest->n_arms > 0)
        error_set(why, PARE_E_PLUGIN, "the trial's process ended without this row");
    int is_ours = end == CHILD_REFUSED && !receiver.is_garbled;
    int is_checkpoint = end == CHILD_RETURNED && rest->n_arms == 0;
    if (status != PARE_OK && (is_ours || is_checkpoint)) {
        *err = *why;
        return status;
    }
    add_advice(end, why);
    if (status != PARE_OK && rest->n_arms == 0) /* the rows stand; a checkpoint may be missing */
        fprintf(stderr, "pare: note: the trial's process, after its last row: %s\n", why->text);
    return PARE_OK;
}

pare_status isolate_run(const struct trial_env *env, const struct trial *trial,
                        const struct isolation *isolation, trial_emit emit, void *context,
                        struct error *err) {
    struct trial rest = *trial;
    while (rest.n_arms > 0) {
        size_t n_lost;
        struct error why;
        if (run_child(env, isolation, emit, context, &rest, &n_lost, &why, err) != PARE_OK)
            return err->status;
        if (trial_fail(env, &rest, n_lost, &why, emit, context, err) != PARE_OK)
            return err->status;
        rest.arms += n_lost;
        rest.n_arms -= n_lost;
    }
    return PARE_OK;
}
