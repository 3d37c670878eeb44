/* SPDX-License-Identifier: MIT */
#include "instance.h"

#include <string.h>

pare_status instance_keep(const pare_host *host, const void *made, size_t bytes, void **out) {
    void *kept = host->alloc(host, bytes);
    if (!kept) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    memcpy(kept, made, bytes);
    *out = kept;
    return PARE_OK;
}
