/* SPDX-License-Identifier: MIT */
/* From the path of a shared object to what its pare_plugin_entry returned. */
#ifndef PLUGIN_OPEN_H
#define PLUGIN_OPEN_H

#include "core/error.h"

#include <pare/plugin.h>

/* Checks the file, opens it and checks its descriptors. Of a library that the file needs and that
 * is not installed: PARE_E_UNSUPPORTED. *handle is for dlclose. [main] */
pare_status open_plugin(const char *path, struct error *err, void **handle,
                        const pare_plugin **plugin);

/* The same for others' code, which is looked at first: may everybody write to it (PARE_E_STATE)?
 * Does a process of its own survive opening it? `path` is canonical. [main] */
pare_status open_foreign(char *path, struct error *err, void **handle, const pare_plugin **plugin);

/* Refuses a folder of plugins that everybody may write to. */
pare_status open_check_folder(const char *folder, struct error *err);

#endif
