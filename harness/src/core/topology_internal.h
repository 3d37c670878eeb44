/* SPDX-License-Identifier: MIT */
/* For topology.c and its tests: a topology that need not be this machine's. */
#ifndef CORE_TOPOLOGY_INTERNAL_H
#define CORE_TOPOLOGY_INTERNAL_H

#include "core/topology.h"

#include <hwloc.h>

/* Of a loaded hwloc topology, which it takes, also when it fails. */
pare_status topology_create_from(hwloc_topology_t take, struct error *err, struct topology **out);

/* Where the k-th thread would be bound: the operating system's number of the hardware thread. */
unsigned topology_pu_of(const struct topology *topo, int32_t k);

/* What topology_bind_thread says when the k-th thread is bound. */
void topology_slot_text(const struct topology *topo, int32_t k, char *text, size_t size);

#endif
