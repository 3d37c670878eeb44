/* SPDX-License-Identifier: MIT */
/* What a plugin can change of a whole process behind everybody's back: how numbers are printed, and
 * the current folder. How they are rounded is each thread's own: core/rounding.h. */
#ifndef CORE_SURROUNDINGS_H
#define CORE_SURROUNDINGS_H

#include "core/error.h"

struct surroundings {
    int folder_fd; /* -1: not known */
};

/* Remembers the current folder. Numbers are printed with a decimal point. [main] */
void surroundings_take(struct surroundings *before);

/* Puts all of it back, and forgets `before`. PARE_E_PLUGIN if what was changed may have changed
 * figures: not the folder. [main] */
pare_status surroundings_restore(struct surroundings *before, struct error *err);

#endif
