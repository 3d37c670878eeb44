/* SPDX-License-Identifier: MIT */
/* For machine.c, peak.c and their tests: the same, told where the files of the system lie ("" for
 * the real ones) and what the processor said. */
#ifndef MEASURE_MACHINE_INTERNAL_H
#define MEASURE_MACHINE_INTERNAL_H

#include "measure/machine.h"

#include <stddef.h>

/* Model name: from /proc/cpuinfo, on ARM from its part numbers and the device tree. */
void machine_cpu_name(const char *root, char *name, size_t size);

/* "none", "kvm", "qemu-user+container"... `machine` is uname's, `vendor` what a hypervisor calls
 * itself (cpuid leaf 0x40000000), NULL when the processor knows of none. */
void machine_virtualization(const char *root, const char *machine, const char *vendor, char *text,
                            size_t size);

/* Scaling governor of the processors this thread may use: "", its name, or "mixed". */
void machine_governor(const char *root, char *name, size_t size);
/* "on", "off", or "" where neither file of the kernel tells. */
void machine_boost(const char *root, char *text, size_t size);
void machine_os(const char *root, const char *kernel, char *text, size_t size);
/* Since boot, all processors, of 1/100 s; -1: not readable. */
int64_t machine_steal_ticks(const char *root);
void machine_read_state_of(const char *root, int cpu, struct machine_state *out);

/* A loop that does nothing but multiply and accumulate in registers. */
struct peak_kernel {
    const char *isa;
    int integer;            /* 0: fp32; 1: int8 products, int32 sums */
    int (*supported)(void); /* by processor and operating system */
    void (*loop)(int64_t n);
    double macs_per_step; /* of one accumulator */
};

/* All of this build, the widest first; *n of them. */
const struct peak_kernel *peak_kernels(size_t *n);
/* The one that machine_peak_macs uses. */
const struct peak_kernel *peak_best(int integer);
/* Multiply-accumulates per second of the calling thread's processor time, the best of several runs
 * of about run_ns each. */
double peak_measure(const struct peak_kernel *kernel, int64_t run_ns, int runs);

/* Processor features that matter here, "sse4.2 avx avx2 fma"; checked with the operating system. */
void peak_isa_text(char *text, size_t size);

#endif
