/* SPDX-License-Identifier: MIT */
/* One resolved value: from what a user wrote, from text, or from its row's default. */
#ifndef PLUGIN_PARAM_VALUE_H
#define PLUGIN_PARAM_VALUE_H

#include "plugin/params.h"

/* Which parameter is being read, for its rules and for messages. */
struct param_place {
    const struct param_table *table;
    const pare_param_desc *row;
};

/* Fill a zeroed value (its name and type aside). What was allocated for it, also on failure, is
 * freed by param_value_clear. */
pare_status param_value_set_input(const struct param_place *at, const struct param_input *in,
                                  struct error *err, pare_param_value *value);
pare_status param_value_set_default(const struct param_place *at, struct error *err,
                                    pare_param_value *value);
void param_value_clear(pare_param_value *value);

#endif
