/* SPDX-License-Identifier: MIT */
/* Numbers for each element of a weight, from a file that the user names. */
#ifndef METHODS_COMMON_SCORES_FILE_H
#define METHODS_COMMON_SCORES_FILE_H

#include <pare/plugin.h>

/* Reads the tensor named as the weight, which must have its shape, into data (n_elems). A host that
 * reads no files is PARE_E_UNSUPPORTED. `what` begins messages: the parameter. */
pare_status scores_file_read(const pare_host *host, const char *what, const char *path,
                             const pare_weight *weight, float *data);

#endif
