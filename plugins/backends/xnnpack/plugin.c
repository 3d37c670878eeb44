/* SPDX-License-Identifier: MIT */
#include "xnnpack_backend.h"

static const pare_backend *const backends[] = {&xnnpack_backend};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "xnnpack", .version = "1.0.0",
    .license = "MIT",   .n_backends = 1,   .backends = backends,
};

PARE_EXPORT const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
