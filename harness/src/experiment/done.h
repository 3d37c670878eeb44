/* SPDX-License-Identifier: MIT */
/* Which arms a file of records has already: what --resume leaves out. */
#ifndef EXPERIMENT_DONE_H
#define EXPERIMENT_DONE_H

#include "core/error.h"
#include "measure/latency.h"

struct done; /* a set of arm ids */

/* Those with status ok, timed at least as thoroughly as `profile`. A file that is not there has
 * none. The errors of record_read. */
pare_status done_read(const char *path, enum latency_profile profile, struct error *err,
                      struct done **out);
void done_destroy(struct done *done);

/* 0 for a NULL set. */
int done_has(const struct done *done, const char *arm_id);

#endif
