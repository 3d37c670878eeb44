/* SPDX-License-Identifier: MIT */
/* The machine's cores, by hwloc. */
#ifndef CORE_TOPOLOGY_H
#define CORE_TOPOLOGY_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

struct topology;

/* Reads the machine. What counts as usable is what cgroups allow and the calling thread may run on
 * at this moment: create it before any thread is bound. PARE_E_UNSUPPORTED when hwloc cannot read
 * the machine, PARE_E_NOMEM. Read-only afterwards, so all other calls are [any]. */
pare_status topology_create(struct error *err, struct topology **out);
void topology_destroy(struct topology *topo);

int32_t topology_n_cores(const struct topology *topo); /* physical cores this process may use */
int32_t topology_n_pus(const struct topology *topo);   /* hardware threads it may use */

/* Kinds of cores, where a machine has several: hwloc's ranking, the fastest is big, the slowest
 * LITTLE, what lies between mid. */
enum core_kind { CORES_ANY, CORES_BIG, CORES_MID, CORES_LITTLE };

/* "any", "big", "mid" or "LITTLE" (in any case); PARE_E_ARG otherwise. */
pare_status topology_parse_kind(const char *name, struct error *err, enum core_kind *out);
const char *topology_kind_name(enum core_kind kind);

/* The same machine as if it had the cores of this kind only; independent of `topo`.
 * PARE_E_UNSUPPORTED where there are none. */
pare_status topology_of_kind(const struct topology *topo, enum core_kind kind, struct error *err,
                             struct topology **out);

/* Binds the calling thread to the k-th usable core (its first hardware thread; big cores first
 * where kinds differ), reads the binding back, and writes it as text ("core 0 pu 0": hwloc's
 * logical core, the operating system's processor; " sibling pu 4" follows where the core runs other
 * hardware threads too, " big" or " LITTLE" where kinds differ).
 * From k = number of cores on come the second hardware threads; beyond all of them they are shared,
 * round robin, and the text ends in " shared". Failing to bind is not an error: the text then says
 * "unbound: why". */
void topology_bind_thread(const struct topology *topo, int32_t k, char *text, size_t text_size);

/* One line for people and records: "2 cores (1 socket, no SMT), L1d 48K L2 1M L3 32M"; "2 of 8
 * cores" where not all may be used, and "limited to 1.5 cores' time" where control groups ration
 * it. */
void topology_describe(const struct topology *topo, char *text, size_t text_size);

/* Size in bytes of the data cache of level 1, 2 or 3 seen by one core; 0 when unknown. */
int64_t topology_cache_bytes(const struct topology *topo, int level);

#endif
