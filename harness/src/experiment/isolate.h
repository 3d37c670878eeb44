/* SPDX-License-Identifier: MIT */
/* Trials in child processes: a plugin that crashes, hangs or exits costs its trial only. */
#ifndef EXPERIMENT_ISOLATE_H
#define EXPERIMENT_ISOLATE_H

#include "experiment/trial.h"

struct isolation {
    double trial_s;       /* for a child, as a rule a whole trial; 0: no limit */
    double stall_s;       /* for one call into a plugin, or one step of training; 0: no limit */
    int64_t memory_bytes; /* that a trial may use; 0: no limit */
    /* In the child, before anything else: closes what is the parent's alone. */
    void (*detach)(void *arg);
    void *detach_arg;
};

/* trial_run with a pool of its own on all cores (env->pool is not looked at). [main] */
pare_status isolate_run_here(const struct trial_env *env, const struct trial *trial,
                             trial_emit emit, void *context, struct error *err);

/* The same in a child. `emit`, env->sample and env->stage are called in this process. Where the
 * child dies while it builds the model, or has no time left, all arms fail; where it dies on an
 * arm, that arm fails and another child does the rest. A row of such an arm says how it died, and
 * in which call. [main] */
pare_status isolate_run(const struct trial_env *env, const struct trial *trial,
                        const struct isolation *isolation, trial_emit emit, void *context,
                        struct error *err);

#endif
