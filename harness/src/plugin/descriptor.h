/* SPDX-License-Identifier: MIT */
/* Is what pare_plugin_entry returned something this host can work with? */
#ifndef PLUGIN_DESCRIPTOR_H
#define PLUGIN_DESCRIPTOR_H

#include "core/error.h"

#include <pare/backend.h>
#include <pare/method.h>

/* Magic, ABI version and struct sizes, each with its own message; then ids, texts, required
 * functions and parameter tables of every descriptor. Reads no more of the plugin's structs than
 * their own sizes allow.
 *
 * Versions: another major is refused. A newer minor is welcome: structs that say their own size may
 * then be longer than the host's, the host reads what it knows. pare_quant says no size and so
 * never changes within a major. Sizes below those of 1.0, or above the host's without a newer
 * minor, are refused. */
pare_status descriptor_check(const pare_plugin *plugin, struct error *err);

/* The functions of a method's extensions: all those that 1.0 requires are there. */
pare_status descriptor_check_extensions(const pare_method *method, struct error *err);

#endif
