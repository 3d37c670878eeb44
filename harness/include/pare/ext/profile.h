/* SPDX-License-Identifier: MIT */
/* Extension of backends: tell when each kernel is done, so that the host can time layers. */
#ifndef PARE_EXT_PROFILE_H
#define PARE_EXT_PROFILE_H

#include <pare/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARE_BACKEND_PROFILE "pare.backend.profile/1"

/* `kernel`: an index into pare_executable_info.kernels, or -1. [hot] */
typedef void (*pare_kernel_done)(void *context, int32_t kernel);

typedef struct pare_backend_profile {
    uint32_t struct_size;
    /* Like run, with the same kernels and the same output to the bit. `done(context, k)` says that
     * everything since the begin, or since the last `done`, was work of kernel k (an index into
     * pare_executable_info.kernels; -1: of none, such as checks of the images). It is called on the
     * caller's thread when all threads have done their part, for every kernel, and again for each
     * piece of a batch that is computed in pieces. Where `run` gives threads images of their own,
     * threads share each kernel here, or one does all. [main] [hot] */
    pare_status (*run)(void *executable, const float *images, int32_t n, float *output,
                       pare_kernel_done done, void *context);
} pare_backend_profile;

#ifdef __cplusplus
}
#endif
#endif
