/* SPDX-License-Identifier: MIT */
/* Rows of parameter tables that pruning methods share, and reading them. */
#ifndef METHODS_COMMON_PRUNER_PARAMS_H
#define METHODS_COMMON_PRUNER_PARAMS_H

#include "amount.h"
#include "schedule.h"
#include "units.h"

enum ties { TIES_FIRST, TIES_PYTORCH };

/* The rows themselves: amount_rows.inc and schedule_rows.inc, to be included in a table. A method
 * with rows "structure" and "ties" writes those itself. */

struct pruner_options {
    struct amount amount;
    struct pattern_map map;
    int is_global, allow_empty;
    enum structure structure; /* WEIGHT without a row "structure" */
    enum ties ties;           /* FIRST without a row "ties" */
    struct schedule schedule; /* ONCE without the schedule's rows */
};

/* The value of a row by name, or NULL if the table has no such row. */
const pare_param_value *param_named(const pare_params *params, const char *name);

/* Reads whichever of the rows the method's table has. Values that do not go together are said
 * through host->fail. What it points to is owned by `params`. */
pare_status pruner_options_read(const pare_host *host, const pare_params *params,
                                struct pruner_options *options);

#endif
