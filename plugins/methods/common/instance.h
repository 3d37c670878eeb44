/* SPDX-License-Identifier: MIT */
/* The end of a method's `create`. */
#ifndef METHOD_INSTANCE_H
#define METHOD_INSTANCE_H

#include <pare/plugin.h>

/* Keeps `bytes` of what `made` points to in host memory, as *out; for destroy to free. PARE_E_NOMEM
 * with a message. [main] */
pare_status instance_keep(const pare_host *host, const void *made, size_t bytes, void **out);

#endif
