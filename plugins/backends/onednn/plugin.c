/* SPDX-License-Identifier: MIT */
#include "onednn.h"

static const pare_backend *const backends[] = {&onednn_backend};

static const pare_plugin plugin = {
    PARE_PLUGIN_HEADER, .name = "onednn", .version = "1.0.0",
    .license = "MIT",   .n_backends = 1,  .backends = backends,
};

PARE_EXPORT const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
