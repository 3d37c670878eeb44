/* SPDX-License-Identifier: MIT */
/* Status codes. 0 is success, negative is failure; the message that goes with a failure is given
 * to pare_host.fail (plugins) or to a struct error (inside the harness). */
#ifndef PARE_STATUS_H
#define PARE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pare_status {
#define PARE_STATUS(name, value, text) PARE_##name = (value),
#include <pare/status.inc>
#undef PARE_STATUS
} pare_status;

#ifdef __cplusplus
}
#endif
#endif
