/* SPDX-License-Identifier: MIT */
/* What the files of a method's life share. */
#ifndef CHECK_LIFE_STAGES_H
#define CHECK_LIFE_STAGES_H

#include "check/life.h"

/* Calls the plugin, noted, so that a crash can be told where. */
#define CALL(living, name, call)                                                                   \
    (note_enter((living)->life->note, (living)->life->entry->owner, name),                         \
     life_status(living, call, name, err))

/* A failure that is not the plugin's: PARE_E_LIMIT, with "pare check itself" before its text. */
pare_status life_own_failure(struct error *err);

static inline const pare_graph *life_graph(const struct living *living) {
    return &living->life->model->graph;
}

/* life_train.c: passes over gradients; training without its begin; its begin. */
pare_status life_gradients(struct living *living, struct error *err);
pare_status life_begin_training(struct living *living, struct error *err);
pare_status life_train(struct living *living, struct error *err);

#endif
