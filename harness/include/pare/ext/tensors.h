/* SPDX-License-Identifier: MIT */
/* Extension of the host: reading tensors that a user gives a method, from safetensors files. */
#ifndef PARE_EXT_TENSORS_H
#define PARE_EXT_TENSORS_H

#include <pare/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A plugin opens no files: it is given a path by a parameter, and asks the host, which checks
 * everything about the file. A relative path is one from the folder that pare runs in. */
#define PARE_HOST_TENSORS "pare.host.tensors/1"

typedef struct pare_host_tensors {
    uint32_t struct_size;

    /* Reads the tensor `name` (F32, or U8, which is converted) of the file at `path` into data
     * (n_elems) fp32. It must have that rank and those dims, and finite values. Fails with the
     * message said, as host->fail does: PARE_E_NOT_FOUND (no such file or tensor), PARE_E_ARG
     * (another shape), PARE_E_NUMERIC, PARE_E_FORMAT. [main] */
    pare_status (*read)(const pare_host *host, const char *path, const char *name, int32_t rank,
                        const int64_t *dims, float *data);
} pare_host_tensors;

#ifdef __cplusplus
}
#endif
#endif
