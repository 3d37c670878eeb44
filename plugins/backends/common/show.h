/* SPDX-License-Identifier: MIT */
/* What the extension "observe" (pare/ext/observe.h) needs in every backend: the values of a batch
 * gathered as floats or int16 codes, piece by piece, and handed to the observer. */
#ifndef BACKENDS_COMMON_SHOW_H
#define BACKENDS_COMMON_SHOW_H

#include "lower.h"

#include <pare/ext/observe.h>

struct show {
    const pare_host *host;
    const struct lower_plan *plan;
    int32_t n_samples;
    int32_t code_offset; /* of codes of 8 bits and less: in memory is code + code_offset, a byte */
    void **values;       /* (n_values) each (n_samples, n_elems), float or int16; NULL: none yet */
};

/* For n samples of a plan, which is borrowed until show_end. PARE_E_NOMEM. [main] */
pare_status show_begin(struct show *show, const pare_host *host, const struct lower_plan *plan,
                       int32_t n, int32_t code_offset);
void show_end(struct show *show); /* [main] */

/* Takes elements [at, at + n) of value v of all samples from memory, where they lie as the plan
 * says. Values that no node owns are left out. PARE_E_NOMEM. [main] */
pare_status show_gather(struct show *show, int32_t v, int64_t at, int64_t n, const void *from);

/* Hands value v to the observer and frees it; nothing happens if nothing was gathered. [main] */
pare_status show_hand_over(struct show *show, int32_t v, pare_observer observer, void *context);

#endif
