/* SPDX-License-Identifier: MIT */
#include "scores_file.h"

#include <pare/ext/tensors.h>

pare_status scores_file_read(const pare_host *host, const char *what, const char *path,
                             const pare_weight *weight, float *data) {
    const pare_host_tensors *tensors = host->get_extension(host, PARE_HOST_TENSORS);
    if (!tensors) {
        return host->fail(host, PARE_E_UNSUPPORTED, "%s: this pare reads no tensors for plugins",
                          what);
    }
    return tensors->read(host, path, weight->name, weight->rank, weight->dims, data);
}
