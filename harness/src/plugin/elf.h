/* SPDX-License-Identifier: MIT */
/* A look at a shared object before the dynamic loader sees it: the loader's own messages are vague,
 * and a truncated file that it has mapped kills the process at the first touch. */
#ifndef PLUGIN_ELF_H
#define PLUGIN_ELF_H

#include "core/error.h"

/* PARE_OK if `path` is a whole ELF shared object for this machine. */
pare_status elf_check(const char *path, struct error *err);

#endif
