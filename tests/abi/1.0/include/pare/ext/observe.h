/* SPDX-License-Identifier: MIT */
/* Extension of backends: show the values between nodes. */
#ifndef PARE_EXT_OBSERVE_H
#define PARE_EXT_OBSERVE_H

#include <pare/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARE_BACKEND_OBSERVE "pare.backend.observe/1"

/* One stored value: exactly one of `real` and `codes` is not NULL. Values fused away are not shown.
 */
typedef pare_status (*pare_observer)(void *context, int32_t node, const float *real,
                                     const int16_t *codes, int64_t n_elems);

typedef struct pare_backend_observe {
    uint32_t struct_size;
    /* Like run, and calls `observer` for each value as it is made. [main] */
    pare_status (*run)(void *executable, const float *images, int32_t n, float *output,
                       pare_observer observer, void *context);
} pare_backend_observe;

#ifdef __cplusplus
}
#endif
#endif
