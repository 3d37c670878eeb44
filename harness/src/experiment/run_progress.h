/* SPDX-License-Identifier: MIT */
/* How far a run has come, on stderr: on a terminal one line that is redrawn (trials, time left, the
 * best so far, the current step), otherwise a plain line per trial. */
#ifndef EXPERIMENT_RUN_PROGRESS_H
#define EXPERIMENT_RUN_PROGRESS_H

#include "experiment/trial.h"

struct run_progress {
    int quiet, is_tty;
    size_t n_total;             /* trials that have something to do, as far as is known */
    size_t n_begun;             /* the current one among them */
    int64_t start_ns, trial_ns; /* of the run, of the current trial */
    double best_top1; /* of the compressed models; of the untouched one, while it is alone */
    char best[64];    /* its pipeline; "": none yet */
    int best_is_compressed;
    char trial[200]; /* "[3/12] ptq(bits=8), seed 1" */
};

void run_progress_begin(struct run_progress *p, int quiet);
/* A trial begins; p->trial is then what other lines on its work begin with. */
void run_progress_trial(struct run_progress *p, const struct trial *trial);
void run_progress_stage(const struct run_progress *p, enum trial_stage stage,
                        const struct arm_spec *arm /* NULL: none */);
void run_progress_row(struct run_progress *p, const struct record *rec);
void run_progress_end(const struct run_progress *p);

#endif
