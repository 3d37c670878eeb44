/* SPDX-License-Identifier: MIT */
/* The share of processor time, and the memory, that control groups leave this process: what `docker
 * run --cpus` and batch systems set. It throttles threads in the midst of their work, and no core
 * count shows it.
 */
#ifndef CORE_CGROUP_H
#define CORE_CGROUP_H

/* In cores, the least of all levels, versions 1 and 2; INFINITY where there is no limit or none can
 * be read. `root` stands before the paths of the system: "" but in tests. */
double cgroup_cpu_quota(const char *root);

/* The same for memory, in bytes. */
double cgroup_memory_limit(const char *root);

#endif
